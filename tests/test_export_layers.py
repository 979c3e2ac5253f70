"""Layers of the overlay: heads drawn together are drawn as each alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import stand_in
from deca_cli.export.closeup import cut_out, overlay_cut
from deca_cli.export.shape_layers import draw_layers
from deca_cli.networks.codes import Codes
from deca_cli.packs.store import load_pack
from deca_cli.photo.crop import uncut
from deca_cli.photo.face import Face
from deca_cli.photo.read import Photo
from deca_cli.pipeline.captures import Decoder, One
from deca_cli.pipeline.fit import Fit
from render_scenarios import needs_gpu

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu])]


@pytest.fixture(scope="module")
def pack_path(tmp_path_factory):
    return stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack")


def faces_for(decoder, squares, size=(300, 200)) -> list[One]:
    """The mean head in several squares of a photo."""
    rule, device = decoder.pack.deca.preprocessing, decoder.device
    photo = Photo(np.empty((size[1], size[0], 0), np.uint8), "a.png", "a")
    codes = Codes.zeros(decoder.pack.manifest.sizes, 1, device)
    codes = replace(codes, camera=torch.tensor([[8.0, 0.0, 0.0]], device=device))
    return [
        One(
            photo,
            Fit(
                Face((0, 0, 1, 1), 1.0, None, "test"),
                uncut(square, rule),
                codes,
                1.0,
                (0, 0, 1, 1),
                (0, 0, 1, 1),
            ),
            n,
            3,
        )
        for n, square in enumerate(squares, 1)
    ]


@pytest.mark.parametrize("device", DEVICES)
def test_heads_drawn_together_are_drawn_as_each_alone(pack_path, device):
    pack = load_pack(pack_path, device)
    plain = Decoder.of(pack)
    together = replace(plain, draw_on=str(plain.device)) if device == "cuda" else plain
    squares = [(20.0, 10.0, 150.0), (-60.0, -50.0, 120.0), (900.0, 900.0, 80.0), (100.0, 20.0, 60.0)]
    faces = faces_for(plain, squares)
    captures = plain.decode_faces(faces)
    if device == "cuda":
        drawn = [capture.layers for capture in together.decode_faces(faces)]
    else:
        drawn = layers_on_the_cpu(plain, faces, captures)
    enlarged = 0
    for capture, layers in zip(captures, drawn, strict=True):
        cut = overlay_cut(capture.landmarks_2d_px, (300, 200))
        shown = replace(capture, photo=Photo(np.zeros((200, 300, 3), np.uint8), "a.png", "a"))
        alone = draw_layers(cut_out(shown, cut) if cut.close else shown, cut.size)
        enlarged += cut.close
        assert layers.region == alone.region
        for one, other in ((layers.opacity, alone.opacity), (layers.coarse, alone.coarse)):
            far = np.abs(one.astype(int) - other) > 2
            assert far.mean() < 0.001 if far.size else one.shape == other.shape
    assert 0 < enlarged < len(drawn)
    assert drawn[0].opacity.max() == 255
    assert drawn[2].opacity.size == 0


def layers_on_the_cpu(decoder, faces, captures) -> list:
    vertices = torch.from_numpy(np.stack([capture.vertices_px for capture in captures]))
    normals = torch.from_numpy(np.stack([capture.normals for capture in captures]))
    details = [capture.detail for capture in captures]
    fine = None if details[0] is None else torch.from_numpy(np.stack([one.normals for one in details]))
    landmarks = np.stack([capture.landmarks_2d_px for capture in captures])
    flat = vertices[..., :2].numpy()
    ends = flat.min(axis=1), flat.max(axis=1)
    return decoder._layers([face.photo for face in faces], landmarks, ends, vertices, normals, fine)
