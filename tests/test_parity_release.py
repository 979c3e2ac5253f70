"""Our public path against the official release, quantity by quantity; see `docs/parity.md`."""

from pathlib import Path

import pytest
import torch

from deca_cli.packs.store import Pack
from official_release import Release
from parity_cases import CASES


@pytest.fixture(scope="module")
def release(parity_dir: Path, official_weights: Path, official_pack: Pack) -> Release:
    return Release(parity_dir, official_weights, official_pack)


@pytest.mark.parametrize("case", CASES)
def test_every_quantity_is_within_its_tolerance(release: Release, case: str):
    found = list(CASES[case](release))
    assert found
    broken = [
        f"{d.quantity}: {d.worst:.3g} (99.9 %: {d.most:.3g}), allowed {d.limit}" for d in found if not d.holds
    ]
    assert not broken, "\n".join(broken)


def test_decoding_and_drawing_change_nothing_they_are_given(release: Release):
    """Specification B2: the release adds 10 to z in place, and its depth pass shifts it again."""
    codes = release.official_codes.select(slice(0, 1))
    image = release.images[:1]
    before = [codes.camera.clone(), codes.pose.clone(), image.clone(), release.head.template_vertices.clone()]
    first, second = (release.decode(codes, image, texture=True) for _ in range(2))
    after = [codes.camera, codes.pose, image, release.head.template_vertices]
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert first["op_trans_verts"][..., 2].abs().max() < 3  # no 10, 20 or 30 in it


def test_the_background_of_the_grid_is_no_texel_of_the_nose(release: Release):
    """Specification B20: the grid is (0, 0) off the head, so whatever is sampled there must be masked."""
    ours = release.decode(release.official_codes.select(slice(0, 1)), release.images[:1], texture=True)
    empty = ours["op_alpha_images"] == 0
    assert (ours["op_grid"][empty[:, 0]] == 0).all()
    assert (ours["op_rendered_images"] * empty == 0).all()
    assert (ours["vis_shape_detail_images"] * empty == 0).all()
