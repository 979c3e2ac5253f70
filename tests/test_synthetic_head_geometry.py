"""What must hold for the bundled open head: symmetry, sizes of random heads, actions, skeleton."""

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import deca_cli
from deca_cli.heads.assets import HeadAssets, load_head
from deca_cli.heads.model import HeadModel

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HEAD = Path(deca_cli.__file__).parent / "packs" / "open" / "head.npz"
ARKIT_IN_DOCUMENTED_ORDER = (
    "eyeBlinkLeft eyeLookDownLeft eyeLookInLeft eyeLookOutLeft eyeLookUpLeft eyeSquintLeft eyeWideLeft "
    "eyeBlinkRight eyeLookDownRight eyeLookInRight eyeLookOutRight eyeLookUpRight eyeSquintRight eyeWideRight "
    "jawForward jawLeft jawRight jawOpen mouthClose mouthFunnel mouthPucker mouthLeft mouthRight "
    "mouthSmileLeft mouthSmileRight mouthFrownLeft mouthFrownRight mouthDimpleLeft mouthDimpleRight "
    "mouthStretchLeft mouthStretchRight mouthRollLower mouthRollUpper mouthShrugLower mouthShrugUpper "
    "mouthPressLeft mouthPressRight mouthLowerDownLeft mouthLowerDownRight mouthUpperUpLeft mouthUpperUpRight "
    "browDownLeft browDownRight browInnerUp browOuterUpLeft browOuterUpRight cheekPuff cheekSquintLeft "
    "cheekSquintRight noseSneerLeft noseSneerRight tongueOut"
)


@pytest.fixture(scope="module")
def head() -> HeadAssets:
    return load_head(HEAD)[0]


@pytest.fixture(scope="module")
def random_heads(head: HeadAssets) -> np.ndarray:
    codes = np.random.default_rng(4).standard_normal((60, 100)).astype(np.float32)
    return head.template_vertices + np.einsum("vds,ns->nvd", head.shape_basis, codes)


def action(head: HeadAssets, name: str) -> np.ndarray:
    return head.expression_basis[:, :, head.expression_names.index(name)]


def mirrored(points: np.ndarray, head: HeadAssets) -> np.ndarray:
    return points[..., head.mirror_vertices, :] * np.array([-1.0, 1.0, 1.0])


def landmarks(head: HeadAssets, vertices: np.ndarray) -> np.ndarray:
    corners = vertices[..., head.faces[head.full_landmark_faces], :]
    return np.einsum("nk,...nkd->...nd", head.full_landmark_barycentrics, corners)


def test_the_file_stays_under_its_size_limit():
    assert HEAD.stat().st_size < 8e6


def test_the_provenance_beside_the_file_names_this_very_file():
    with HEAD.with_suffix(".provenance.toml").open("rb") as stream:
        provenance = tomllib.load(stream)
    assert provenance["sha256"] == hashlib.sha256(HEAD.read_bytes()).hexdigest()
    assert "CC0" in provenance["licences"]["mesh_targets_rig"]


def test_the_expression_code_is_an_arkit_vector_in_the_documented_order(head):
    assert head.expression_names == tuple(ARKIT_IN_DOCUMENTED_ORDER.split())


def test_the_mean_head_is_its_own_mirror_image(head):
    assert np.abs(mirrored(head.template_vertices, head) - head.template_vertices).max() < 1e-7
    assert (head.mirror_vertices[head.mirror_vertices] == np.arange(len(head.template_vertices))).all()


def test_every_triangle_has_a_mirror_triangle(head):
    triangles = {tuple(sorted(face)) for face in head.faces.tolist()}
    images = {tuple(sorted(face)) for face in head.mirror_vertices[head.faces].tolist()}
    assert triangles == images


def test_every_identity_component_is_symmetric_or_antisymmetric(head):
    moved = np.moveaxis(head.shape_basis, 2, 0)  # [S, V, 3]
    image = mirrored(moved, head)
    same, opposite = (np.abs(image - sign * moved).max((1, 2)) for sign in (1, -1))
    assert np.minimum(same, opposite).max() < 1e-5
    assert (same < opposite).sum() > 80  # the two sides of a face are mostly alike


def test_every_identity_component_moves_the_head_by_a_plausible_distance(head):
    size_mm = 1e3 * np.sqrt((head.shape_basis**2).sum(1).mean(0))
    assert 2.0 < size_mm[0] < 6.0
    assert 0.02 < size_mm[-1] < 0.3


def test_random_heads_have_the_proportions_of_adults(head, random_heads):
    points = 1e3 * landmarks(head, random_heads)
    left, right = (
        1e3 * random_heads[:, head.region(name)].mean(1) for name in ("eyeball_left", "eyeball_right")
    )
    pupils = np.linalg.norm(left - right, axis=1)
    assert 60.0 < pupils.mean() < 65.0
    assert 2.5 < pupils.std() < 5.0
    nose = np.linalg.norm(points[:, 27] - points[:, 33], axis=1)
    assert 48.0 < nose.mean() < 56.0
    face = np.linalg.norm(points[:, 27] - points[:, 8], axis=1)
    assert 110.0 < face.mean() < 126.0


def test_the_front_of_random_faces_does_not_fold(head, random_heads):
    skin = np.isin(head.faces, head.region("skin", "brows")).all(1)
    front = skin & (head.template_vertices[head.faces].mean(1)[:, 2] > 0.05)

    def normals(vertices: np.ndarray) -> np.ndarray:
        corners = vertices[..., head.faces[front], :]
        return np.cross(corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :])

    turned = (normals(random_heads) * normals(head.template_vertices)).sum(-1) < 0
    assert turned.mean() < 0.004


def test_eyeballs_stay_round_under_identity(head, random_heads):
    eye = random_heads[:, head.region("eyeball_left")]
    radius = np.linalg.norm(eye - eye.mean(1, keepdims=True), axis=2)
    assert (radius.std(1) < 0.0006).all()
    assert 0.013 < radius.mean() < 0.018


def test_jaw_open_lowers_the_chin_the_lower_lip_and_the_lower_teeth_only(head):
    open_mm = 1e3 * landmarks(head, head.template_vertices + action(head, "jawOpen"))
    rest_mm = 1e3 * landmarks(head, head.template_vertices)
    drop = rest_mm[:, 1] - open_mm[:, 1]
    assert drop[8] > 15.0  # chin
    assert drop[57] > 25.0  # lower lip
    assert drop[66] > 25.0
    assert abs(drop[51]) < 2.5  # upper lip
    assert abs(drop[30]) < 1.5  # nose
    assert (action(head, "jawOpen")[head.region("teeth_lower"), 1] < -0.005).all()
    assert np.abs(action(head, "jawOpen")[head.region("teeth_upper")]).max() < 1e-3


@pytest.mark.parametrize(
    ("side", "upper", "lower"), [("Left", (43, 44), (47, 46)), ("Right", (38, 37), (40, 41))]
)
def test_a_blink_brings_the_upper_lid_down_to_the_lower_one(head, side, upper, lower):
    closed = 1e3 * landmarks(head, head.template_vertices + action(head, f"eyeBlink{side}"))
    gap = closed[list(upper), 1] - closed[list(lower), 1]
    assert (np.abs(gap) < 1.5).all()
    rest = 1e3 * landmarks(head, head.template_vertices)
    assert (rest[list(upper), 1] - rest[list(lower), 1] > 8.0).all()


@pytest.mark.parametrize(("name", "width_mm"), [("mouthPucker", 33.9), ("mouthFunnel", 39.6)])
def test_rounded_lips_make_the_mouth_as_narrow_as_documented(head, name, width_mm):
    def width(vertices: np.ndarray) -> float:
        left, right = landmarks(head, vertices)[[54, 48]]
        return 1000 * float(np.linalg.norm(left - right))

    assert width(head.template_vertices) == pytest.approx(48.6, abs=0.1)
    assert width(head.template_vertices + action(head, name)) == pytest.approx(width_mm, abs=0.1)


def test_left_and_right_actions_mirror_each_other(head):
    for name in head.expression_names:
        if name.endswith("Left"):
            other = action(head, name.removesuffix("Left") + "Right")
            off = np.abs(mirrored(action(head, name), head) - other).max()
            assert off < 0.002, name


def test_left_is_the_subjects_left(head):
    for name in ("eyeBlinkLeft", "mouthSmileLeft", "browDownLeft", "cheekSquintLeft"):
        motion = np.linalg.norm(action(head, name), axis=1)
        assert (motion * head.template_vertices[:, 0]).sum() > 0, name
    assert action(head, "jawLeft")[head.region("teeth_lower"), 0].mean() > 0.001


def test_the_closed_lips_of_the_mean_head_hide_the_teeth(head):
    points = landmarks(head, head.template_vertices)
    assert (points[[67, 66, 65], 1] - points[[61, 62, 63], 1] > 0).all()  # lower lip laps over the upper


def test_skin_weights_sum_to_one_and_are_rigid_where_bodies_are_rigid(head):
    weights = head.skin_weights
    assert np.abs(weights.sum(1) - 1).max() < 1e-6
    assert weights.min() >= 0
    for region, joint in (("eyeball_left", 3), ("eyeball_right", 4), ("teeth_lower", 2), ("teeth_upper", 1)):
        assert (weights[head.region(region), joint] == 1).all(), region


def test_joints_lie_where_they_belong_and_follow_the_identity(head, random_heads):
    assert head.joint_names == ("root", "neck", "jaw", "eye_left", "eye_right")
    assert np.abs(head.joint_regressor.sum(1) - 1).max() < 1e-5
    root, neck, jaw, left, right = head.joint_regressor @ head.template_vertices
    assert np.abs(root).max() < 1e-5  # the origin
    ears = head.template_vertices[head.region("ears")]
    assert abs(ears[:, 2].mean() - root[2]) < 0.002
    assert abs(neck[1] - root[1]) < 0.002
    assert jaw[2] > root[2]
    assert jaw[1] < root[1]
    assert left[0] > 0 > right[0]
    jaws = np.einsum("v,nvd->nd", head.joint_regressor[2], random_heads)
    assert 0.0005 < jaws.std(0)[1] < 0.01


def test_turning_the_jaw_joint_opens_the_mouth_as_jaw_open_does(head):
    model = HeadModel(head)
    codes = torch.zeros(1, 100), torch.zeros(1, 52)
    pose = torch.tensor([[0.0, 0.0, 0.0, np.radians(20.7), 0.0, 0.0]])
    turned = model(*codes, pose)[0].numpy()
    wanted = head.template_vertices + action(head, "jawOpen")
    teeth = head.region("teeth_lower")
    assert np.abs(turned[teeth] - wanted[teeth]).max() < 0.002
    chin = landmarks(head, turned)[8] - landmarks(head, wanted)[8]
    assert np.abs(chin).max() < 0.006


def test_the_masks_mark_what_they_name(head):
    assert set(head.masks) == {"face", "eyes", "lips", "scalp", "brows"}
    assert all(mask.max() == 255 and mask.min() == 0 for mask in head.masks.values())
    face, scalp = head.masks["face"] / 255, head.masks["scalp"] / 255
    assert (face * scalp).mean() < 0.001
    assert (head.face_eye_mask <= face + 1 / 255).all()
    assert 0.15 < face.mean() < 0.5
