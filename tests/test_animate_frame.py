"""Where heads and photos lie in the pictures of a transfer."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import stand_in
from deca_cli.animate.frame import CROP, Window, square_in, whole_heads
from deca_cli.animate.results import cut_square
from deca_cli.heads.camera import ndc_to_photo_pixels, project
from deca_cli.networks.codes import Codes
from deca_cli.packs.store import load_pack


@pytest.fixture(scope="module")
def pack(tmp_path_factory):
    return load_pack(stand_in.make_pack(tmp_path_factory.mktemp("packs") / "pack"))


def codes_of(pack, *cameras: tuple[float, ...]):
    codes = Codes.zeros(pack.manifest.sizes, len(cameras))
    return replace(codes, camera=torch.tensor(cameras))


def test_the_window_holds_the_crop_and_all_of_every_head(pack):
    large, aside = codes_of(pack, (14.0, 0.0, 0.02)), codes_of(pack, (5.0, 0.0, 0.0), (5.0, 0.15, 0.0))
    window = whole_heads(pack.deca.head, large, aside)
    seen = torch.cat(
        [
            project(pack.deca.head(codes.shape, codes.expression, codes.pose), codes.camera)
            for codes in (large, aside)
        ]
    )
    assert seen[..., :2].abs().max() > 1.1
    placed = square_in(90, 60, window=window).place(seen)[..., :2]
    assert 0.85 < placed[..., 1].abs().max() < 1
    assert placed[..., 0].abs().max() < 60 / 90
    corners = square_in(60, 60, window=window).place(torch.tensor([[[-1.0, -1, 0], [1.0, 1, 0]]]))
    assert corners[..., :2].abs().max() <= 1 + 1e-6


def test_a_head_within_the_crop_changes_nothing(pack):
    assert whole_heads(pack.deca.head, codes_of(pack, (4.0, 0.0, 0.0))) == CROP


@pytest.mark.parametrize("window", [CROP, Window((0.1, -0.3), 1.25)])
def test_a_photo_is_cut_as_heads_are_drawn(pack, window):
    """The photo's colours are its own coordinates; a pixel must show those to which the camera takes its place."""
    side, size = 40, pack.deca.preprocessing.image_size
    rows, columns = np.mgrid[0:250, 0:250].astype(np.uint8)
    photo = np.stack([columns, rows, columns], axis=-1)
    step = 90.0 / size
    to_photo = np.array([[step, 0, 70], [0, step, 80], [0, 0, 1.0]])
    found = cut_square(photo, to_photo, pack, side, window)
    frame = square_in(side, side, window=window)
    centres = (2 * torch.arange(side, dtype=torch.float64) + 1) / side - 1
    ndc = torch.stack([(centres - frame.shift[axis]) / frame.scale[axis] for axis in (0, 1)], dim=-1)
    expected = ndc_to_photo_pixels(
        torch.cat([ndc, ndc[:, :1]], dim=1)[None],
        torch.from_numpy(to_photo)[None],
        size,
        pack.deca.preprocessing.pixel_offset,
    )[0]
    assert np.abs(found[side // 2, :, 0] - expected[:, 0].numpy()).max() < 1
    assert np.abs(found[:, side // 2, 1] - expected[:, 1].numpy()).max() < 1
