"""Every way of handing in a wrong prediction is met by the sentence that mends it; right ones pass in silence."""

import numpy as np
import pytest

from deca_cli.evaluate.alignment import Similarity
from deca_cli.evaluate.checks import check_prediction, likely_order
from deca_cli.evaluate.meshes import Mesh
from deca_cli.evaluate.now import Protocol
from deca_cli.evaluate.synthetic_faces import random_similarity, synthetic_head

METRES = Similarity(1e-3, np.eye(3), np.zeros(3))
HEAD = synthetic_head()
METRICAL = Protocol(metrical=True, unit="m")


def check(mesh=None, landmarks=None, protocol=METRICAL, motion=METRES):
    """Problems of the made-up head in metres, with mesh or landmarks (mm) replaced."""
    mesh = mesh or HEAD.mesh
    landmarks = HEAD.landmarks if landmarks is None else landmarks
    moved = Mesh(motion.apply(mesh.vertices), mesh.faces, mesh.has_vertex_colours)
    return check_prediction(moved, motion.apply(landmarks), HEAD.landmarks, protocol)


def only(problems, level, kind):
    assert [(p.level, p.kind) for p in problems] == [(level, kind)]
    return problems[0].message


@pytest.mark.parametrize("seed", range(5))
def test_good_prediction_in_any_pose_passes_in_silence(seed):
    noise = np.random.default_rng(seed).standard_normal((7, 3))
    assert check(landmarks=HEAD.landmarks + noise, motion=random_similarity(seed, 1e-3)) == []


def test_left_and_right_swapped_is_named_with_the_cure():
    message = only(check(landmarks=HEAD.landmarks[[3, 2, 1, 0, 4, 6, 5]]), "error", "landmark-order")
    assert "left and right are swapped (the subject's right is the viewer's left)" in message
    assert "save landmarks[[3, 2, 1, 0, 4, 6, 5]]" in message


@pytest.mark.parametrize("seed", range(6))
def test_any_wrong_order_is_named_with_the_right_one(seed):
    shuffle = np.random.default_rng(seed).permutation(7)
    given = HEAD.landmarks[shuffle]
    message = only(check(landmarks=given), "error", "landmark-order")
    order = likely_order(given, HEAD.landmarks)
    assert given[list(order)] == pytest.approx(HEAD.landmarks)
    assert f"save landmarks[{list(order)}] (rows from 0) instead" in message


def test_wrong_order_message_says_what_each_row_is():
    given = HEAD.landmarks[[4, 0, 1, 2, 3, 5, 6]]
    message = only(check(landmarks=given), "error", "landmark-order")
    assert "the rows seem to be nose bottom, right eye outer corner, right eye inner corner" in message


def test_seven_other_points_of_the_face_are_named():
    random = np.random.default_rng(0)
    other = HEAD.mesh.vertices[random.choice(np.flatnonzero(HEAD.mesh.vertices[:, 2] > 20), 7)]
    assert "they are other points, or of another face" in only(
        check(landmarks=other), "error", "landmark-fit"
    )


@pytest.mark.parametrize(("given", "likely"), [("mm", "m"), ("cm", "m")])
def test_metres_taken_for_another_unit_name_the_likely_one(given, likely):
    message = only(check(protocol=Protocol(metrical=True, unit=given)), "error", "unit")
    assert f"the prediction is not in {given}: one of its units is 1000 mm on the scan" in message
    assert f"It looks like {likely}: add --unit {likely}." in message


def test_millimetres_taken_for_metres_name_the_unit():
    message = only(check(motion=Similarity(1.0, np.eye(3), np.zeros(3))), "error", "unit")
    assert "It looks like mm: add --unit mm." in message


def test_unit_that_is_none_of_the_three_asks_for_one():
    message = only(check(motion=Similarity(0.2, np.eye(3), np.zeros(3))), "error", "unit")
    assert "Save it in metres, centimetres or millimetres." in message


def test_unit_does_not_matter_in_the_non_metrical_ranking():
    assert check(protocol=Protocol(), motion=Similarity(17.0, np.eye(3), np.zeros(3))) == []


def test_mesh_and_landmarks_in_different_units_are_named():
    problems = check_prediction(
        Mesh(METRES.apply(HEAD.mesh.vertices), HEAD.mesh.faces), HEAD.landmarks, HEAD.landmarks, Protocol()
    )
    assert "they are in different units" in only(problems, "error", "landmark-unit")


def test_landmarks_of_another_frame_are_named():
    message = only(check(landmarks=HEAD.landmarks + np.array([0, 0, 150.0])), "error", "landmarks-off-mesh")
    assert (
        "150 mm away from the mesh: they are in another frame" in message
        or "mm away from the mesh" in message
    )


def test_mirrored_head_is_named_but_measured():
    mirrored = Mesh(HEAD.mesh.vertices * [-1, 1, 1], HEAD.mesh.faces)
    message = only(check(mirrored, HEAD.landmarks * [-1, 1, 1]), "warning", "mirrored")
    assert "mirror image of a head" in message


def test_inward_winding_is_named():
    message = only(check(Mesh(HEAD.mesh.vertices, HEAD.mesh.faces[:, ::-1])), "warning", "winding")
    assert "the triangles face inwards" in message


def test_mixed_winding_is_named():
    faces = HEAD.mesh.faces.copy()
    faces[100] = faces[100, ::-1]
    assert "wound in opposite senses" in only(check(Mesh(HEAD.mesh.vertices, faces)), "warning", "winding")


def test_vertex_colours_are_named():
    message = only(
        check(Mesh(HEAD.mesh.vertices, HEAD.mesh.faces, has_vertex_colours=True)), "warning", "vertex-colours"
    )
    assert "the official loader takes colours for coordinates" in message
    assert "--submission" in message


def test_triangles_without_area_are_counted():
    faces = np.vstack([HEAD.mesh.faces, [[5, 5, 6], [7, 7, 7]]])
    problems = check(Mesh(HEAD.mesh.vertices, faces))
    assert problems[0].kind == "degenerate"
    assert problems[0].message.startswith(f"2 of {len(faces)} triangles have no area.")


def test_edges_of_three_triangles_are_named():
    faces = np.vstack([HEAD.mesh.faces, [[*HEAD.mesh.faces[2000, :2], 5000]]])
    kinds = [p.kind for p in check(Mesh(HEAD.mesh.vertices, faces))]
    assert "non-manifold" in kinds


def test_mesh_without_triangles_is_refused():
    message = only(check(Mesh(HEAD.mesh.vertices, np.zeros((0, 3), int))), "error", "no-faces")
    assert "Export it with its faces." in message


def test_nan_is_refused():
    vertices = HEAD.mesh.vertices.copy()
    vertices[17] = np.nan
    assert "1 of 5400 vertices are NaN" in only(check(Mesh(vertices, HEAD.mesh.faces)), "error", "not-finite")
