"""A head of two triangles per part whose every number can be worked out by hand, and a random one."""

import dataclasses

import numpy as np

from deca_cli.heads.assets import AlbedoAssets, HeadAssets

JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
PARENTS = np.array([-1, 0, 1, 1, 1], dtype=np.int32)
SIZE = 8  # of the UV maps


def small_head(**changes: object) -> HeadAssets:
    """Six vertices: 0 to 3 on the head, 4 on the jaw, 5 on the left eye; joints at easy places.

    Joint positions at rest: root (0, 0, 0), neck (0, 1, 0), jaw (0, 1, 1), eyes (1, 2, 1) and (-1, 2, 1); the
    regressor reads them off the vertices 0 to 5: root v0, neck v1, jaw v4, left eye v5, right eye v2.
    """
    template = [[0, 0, 0], [0, 1, 0], [-1, 2, 1], [1, 0, 0], [0, 1, 1], [1, 2, 1]]
    regressor = np.zeros((5, 6))
    regressor[[0, 1, 2, 3, 4], [0, 1, 4, 5, 2]] = 1
    weights = np.zeros((6, 5))
    weights[[0, 1, 2, 3, 4, 5], [0, 1, 1, 0, 2, 3]] = 1
    shape_basis = np.zeros((6, 3, 2))
    shape_basis[3, 0, 0] = 0.5  # the first component moves vertex 3 along x
    shape_basis[:, 1, 1] = 0.25  # the second moves everything up
    expression_basis = np.zeros((6, 3, 1))
    expression_basis[4, 2, 0] = 0.125  # moves vertex 4, and with it the jaw joint, forwards
    faces = np.array([[0, 1, 3], [1, 4, 2], [3, 4, 5]])
    contour = np.arange(79 * 17).reshape(79, 17)
    head = HeadAssets(
        name="small",
        template_vertices=np.array(template, dtype=np.float32),
        faces=faces.astype(np.int32),
        shape_basis=shape_basis.astype(np.float32),
        expression_basis=expression_basis.astype(np.float32),
        expression_names=("jawForward",),
        pose_basis=np.zeros((0, 18), dtype=np.float32),
        joint_regressor=regressor.astype(np.float32),
        parents=PARENTS,
        skin_weights=weights.astype(np.float32),
        joint_names=JOINTS,
        uv_coordinates=np.array([[0, 0], [1, 0], [0, 1], [1, 1], [0.5, 0.5], [0.5, 1]], dtype=np.float32),
        uv_faces=faces.astype(np.int32),
        inner_landmark_faces=(np.arange(51) % 3).astype(np.int32),
        inner_landmark_barycentrics=corners(np.arange(51)),
        contour_landmark_faces=(contour % 3).astype(np.int32),
        contour_landmark_barycentrics=corners(contour),
        full_landmark_faces=(np.arange(68) % 3).astype(np.int32),
        full_landmark_barycentrics=corners(np.arange(68)),
        face_eye_mask=np.ones((SIZE, SIZE), dtype=np.float32),
        fixed_displacement=np.zeros((SIZE, SIZE), dtype=np.float32),
    )
    return dataclasses.replace(head, **changes)


def corners(numbers: np.ndarray) -> np.ndarray:
    """Barycentrics that lie half on one corner, half on the next, so that every point differs."""
    return (np.eye(3)[numbers // 3 % 3] / 2 + np.eye(3)[(numbers // 3 + 1) % 3] / 2).astype(np.float32)


def random_head(seed: int = 0, vertices: int = 40, shapes: int = 5, expressions: int = 4) -> HeadAssets:
    """A head without any symmetry, with pose correctives and blended weights."""
    random = np.random.default_rng(seed)
    head = small_head()

    def noise(*shape: int) -> np.ndarray:
        return random.normal(size=shape).astype(np.float32)

    def weights(*shape: int) -> np.ndarray:
        drawn = random.random(shape)
        return (drawn / drawn.sum(axis=-1, keepdims=True)).astype(np.float32)

    faces = np.array([random.permutation(vertices)[:3] for _ in range(60)], dtype=np.int32)
    return dataclasses.replace(
        head,
        name="random",
        template_vertices=noise(vertices, 3),
        faces=faces,
        shape_basis=noise(vertices, 3, shapes) / 10,
        expression_basis=noise(vertices, 3, expressions) / 10,
        expression_names=(),
        pose_basis=noise(36, 3 * vertices) / 10,
        joint_regressor=weights(5, vertices),
        skin_weights=weights(vertices, 5),
        uv_coordinates=random.random((50, 2)).astype(np.float32),
        uv_faces=random.integers(0, 50, faces.shape).astype(np.int32),
        inner_landmark_faces=random.integers(0, 60, 51).astype(np.int32),
        inner_landmark_barycentrics=weights(51, 3),
        contour_landmark_faces=random.integers(0, 60, (79, 17)).astype(np.int32),
        contour_landmark_barycentrics=weights(79, 17, 3),
        full_landmark_faces=random.integers(0, 60, 68).astype(np.int32),
        full_landmark_barycentrics=weights(68, 3),
        masks={"face": random.integers(0, 256, (SIZE, SIZE)).astype(np.uint8)},
        mirror_vertices=random.permutation(vertices).astype(np.int32),
    )


def random_albedo(seed: int = 0, size: int = SIZE, components: int = 3) -> AlbedoAssets:
    random = np.random.default_rng(seed)
    return AlbedoAssets(
        mean=random.random((3, size, size)).astype(np.float32),
        basis=random.normal(size=(3, size, size, components)).astype(np.float32),
    )
