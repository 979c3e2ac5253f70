"""The painter for GPUs draws what the one for CPUs draws."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import stand_in
from deca_cli.animate import render
from deca_cli.animate.combine import TransferRule, transfer
from deca_cli.animate.frame import square_in
from deca_cli.animate.looks import parse_light, studio
from deca_cli.animate.motion import expression_only
from deca_cli.animate.posing import Poser
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.spaces import space_of
from deca_cli.export.clay import lifted
from deca_cli.export.shape_layers import clay
from deca_cli.networks.codes import Codes
from deca_cli.packs.store import load_pack
from deca_cli.pipeline.captures import Decoder
from deca_cli.render.interpolate import interpolate
from deca_cli.render.passes import SHAPE_FACING
from deca_cli.render.rasterize import rasterize


def scene_and_codes(folder, device, light):
    pack = load_pack(folder, device)
    codes = Codes.zeros(pack.manifest.sizes, 1, device)
    pose = torch.tensor([[0.1, 0.5, 0.0, 0.0, 0.0, 0.0]], device=device)
    codes = replace(codes, pose=pose, camera=torch.tensor([[7.0, 0.01, 0.0]], device=device))
    motion = expression_only(space_of(pack), torch.linspace(0, 1, 3)[:, None].repeat(1, 4))
    texture = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    opacity = np.linspace(0, 1, 64 * 64, dtype=np.float32).reshape(64, 64)
    frame = square_in(90, 80, (10, 20, 30))
    panels = tuple(
        Panel(kind, frame, 90 * index)
        for index, kind in enumerate(("shape", "detail", "textured", "normals"))
    )
    scene = Scene(Decoder.of(pack), panels, light, texture, opacity=opacity)
    return scene, transfer(codes, motion, TransferRule())


def assert_alike(found, expected):
    assert expected.shape == found.shape == (3, 80, 360, 3)
    assert (np.abs(found.astype(int) - expected) > 2).mean() < 2e-3
    assert expected.std() > 20


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("light", [studio(), parse_light("left")])
def test_both_painters_agree(tmp_path, light, regions):
    """The one for GPUs is plain torch and runs anywhere. Heads with regions show surface that faces further away."""
    scene, codes = scene_and_codes(stand_in.make_pack(tmp_path / "pack", detail=8), "cpu", light)
    if regions:
        light = np.linspace(0, 1, scene.decoder.pack.deca.head.vertex_count, dtype=np.float32)
        topology = replace(scene.decoder.topology, clay_light=light, facing_limit=light[::-1].copy())
        scene = replace(scene, decoder=replace(scene.decoder, topology=topology))
    posed = Poser(scene.decoder, detail=True).pose(codes)
    assert_alike(
        np.stack(list(render._GpuPainter(scene).frames(posed))),
        np.stack(list(render._CpuPainter(scene).frames(posed))),
    )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_a_gpu_draws_what_the_cpu_draws(tmp_path):
    folder = stand_in.make_pack(tmp_path / "pack", detail=8)
    drawn = [
        np.stack(list(render_clip(*scene_and_codes(folder, device, studio())))) for device in ("cuda", "cpu")
    ]
    assert_alike(*drawn)


def test_seen_from_behind_the_face_is_a_hollow_like_the_neck(tmp_path):
    scene, codes = scene_and_codes(stand_in.make_pack(tmp_path / "pack"), "cpu", studio())
    limit = np.where(scene.decoder.pack.assets.template_vertices[:, 2] > 0, 0.8, SHAPE_FACING).astype(
        np.float32
    )
    decoder = replace(scene.decoder, topology=replace(scene.decoder.topology, facing_limit=limit))
    turned = codes.pose.clone()
    turned[:, 1] = torch.tensor([0.2, 1.0, 3.0])
    found = Poser(decoder, detail=False).pose(replace(codes, pose=turned)).facing_limit
    assert torch.equal(found[0], torch.from_numpy(limit))
    assert torch.equal(found[1], found[0])
    assert (found[2] == np.float32(SHAPE_FACING)).all()
    assert Poser(scene.decoder, detail=False).pose(codes).facing_limit is None


@pytest.mark.parametrize("light", ["studio", "left"])
def test_clay_looks_in_clips_as_in_pictures_under_the_studios_light(tmp_path, light):
    scene, codes = scene_and_codes(stand_in.make_pack(tmp_path / "pack"), "cpu", parse_light(light))
    share = np.linspace(0.3, 1, scene.decoder.pack.deca.head.vertex_count, dtype=np.float32)
    topology = replace(scene.decoder.topology, clay_light=share)
    decoder = replace(scene.decoder, topology=topology)
    scene = replace(scene, decoder=decoder, panels=scene.panels[:1], samples=1, opacity=None)
    posed = Poser(decoder, detail=False).pose(codes)
    faces = decoder.pack.deca.head.faces
    fragments = rasterize(scene.panels[0].frame.place(posed.projected), faces, 80, 90)
    normals = interpolate(fragments, faces, posed.normals * torch.from_numpy(share)[:, None])
    as_in_pictures = 255 * lifted(clay(normals))[:, 0].numpy()
    found = np.stack(list(render._CpuPainter(scene).frames(posed)))[..., 0]
    seen = (fragments.covered & (-normals[:, 2] < 0)).numpy()
    difference = np.abs(found[seen] - as_in_pictures[seen])
    assert (difference.max() < 1.5) == (light == "studio")
