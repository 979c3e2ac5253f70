"""The builder of the open head: what it draws, and that it repeats itself."""

from pathlib import Path

import numpy as np
import pytest

import deca_cli
from deca_cli.heads.npz import read_head_arrays

pytest.importorskip("scipy", reason="the head builder needs the extra open-head (scipy)")

from deca_cli.synthetic import build_head
from deca_cli.synthetic.head_basis import LARGEST_SIZE_CHANGE, SIZE_RETAINED, align
from deca_cli.synthetic.head_teeth import ARCH_VERTICES, UPPER_ROWS, arch_faces, arch_weights

HEAD = Path(deca_cli.__file__).parent / "packs" / "open" / "head.npz"


def turn(angle: float) -> np.ndarray:
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


def test_alignment_undoes_rotation_and_shift_and_tempers_the_size():
    reference = np.random.default_rng(0).standard_normal((50, 3))
    moved = 1.1 * reference @ turn(0.4) + np.array([3.0, -2.0, 5.0])
    centre = reference.mean(0)
    wanted = (reference - centre) * 1.1**SIZE_RETAINED + centre
    assert align(moved[None], reference, np.arange(50))[0] == pytest.approx(wanted)
    huge = align(2.0 * moved[None], reference, np.arange(50))[0]
    assert huge == pytest.approx((reference - centre) * np.exp(LARGEST_SIZE_CHANGE) + centre)


def test_alignment_never_mirrors_a_head():
    reference = np.random.default_rng(1).standard_normal((50, 3))
    flipped = reference * np.array([-1.0, 1.0, 1.0])
    aligned = align(flipped[None], reference, np.arange(50))[0]
    linear, *_ = np.linalg.lstsq(flipped - flipped.mean(0), aligned - aligned.mean(0), rcond=None)
    assert np.linalg.det(linear) > 0


def test_tooth_arches_are_affine_combinations_of_their_helpers_and_mirror():
    helpers = np.random.default_rng(2).standard_normal((68, 3))
    mirror = np.arange(68)
    left = np.array(UPPER_ROWS)[:, 1:].ravel()
    right = np.setdiff1d(np.arange(68), np.array(UPPER_ROWS).ravel())
    mirror[left], mirror[right] = right, left
    helpers[right] = helpers[left] * [-1, 1, 1]
    helpers[np.array(UPPER_ROWS)[:, 0], 0] = 0.0
    weights = arch_weights(helpers, mirror, UPPER_ROWS)
    assert weights.sum(1) == pytest.approx(np.ones(ARCH_VERTICES))
    faces, across = arch_faces(upper=True)
    arch = weights @ helpers
    assert arch[across] * [-1, 1, 1] == pytest.approx(arch)
    triangles = {tuple(sorted(face)) for face in faces.tolist()}
    assert triangles == {tuple(sorted(face)) for face in across[faces].tolist()}


@pytest.mark.slow
def test_building_again_gives_the_committed_head_bit_for_bit(tmp_path):
    pytest.importorskip("anny", reason="the head builder needs the extra open-head (anny)")
    committed = read_head_arrays(HEAD)
    again = tmp_path / "head.npz"
    options = [] if "albedo_mean" in committed else ["--without-albedo"]
    build_head.main(["--out", str(again), "--seed", "0", *options])
    assert again.read_bytes() == HEAD.read_bytes()


@pytest.mark.slow
def test_random_heads_keep_the_documented_amplitudes():
    pytest.importorskip("anny", reason="the head builder needs the extra open-head (anny)")
    from deca_cli.synthetic.head_sampling import LIP_HEIGHTS, draw_weights, local_deviations
    from deca_cli.synthetic.head_source import load_source

    source = load_source()
    deviations = dict(zip(source.local_names, local_deviations(source), strict=True))
    assert sum(value > 0 for value in deviations.values()) > 110
    lips = {name for name in deviations if name.startswith(LIP_HEIGHTS)}
    assert max(value for name, value in deviations.items() if name not in lips) == 0.35
    assert 0.35 < max(deviations[name] for name in lips) <= 0.6
    assert deviations["torso-trans-up"] == 0
    weights = draw_weights(np.random.default_rng(0), source, 2000)
    up = len(source.phenotype_shapes)
    left, right = (source.local_names.index(f"{side}-ear-wing-incr") for side in "lr")
    count = len(source.local_names)
    values = weights[:, up : up + count] - weights[:, up + count :]
    assert np.corrcoef(values[:, left], values[:, right])[0, 1] == pytest.approx(0.95, abs=0.02)
