"""Readers of the official files (spec section 1). The result is our own dataclasses; nothing in a file is run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deca_cli.assets.checkpoints import load_checkpoint
from deca_cli.assets.pickles import read_npy, read_pickle
from deca_cli.errors import ModelError
from deca_cli.heads.assets import HeadAssets

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

JOINTS = ("root", "neck", "jaw", "eye_left", "eye_right")
FLAME_SHAPES = 300  # identity components in front of the expressions
UV_SIZE = 256
NETWORKS = ("E_flame", "E_detail", "D_detail")


def read_flame_head(
    generic_model: Path,
    landmark_embedding: Path,
    head_template: Path,
    uv_face_eye_mask: Path,
    fixed_displacement: Path,
    *,
    n_shape: int = 100,
    n_expression: int = 50,
) -> HeadAssets:
    """FLAME as DECA uses it.

    Args:
        generic_model: `generic_model.pkl` of FLAME 2019, 2020 or 2023.
        landmark_embedding: `landmark_embedding.npy` of the DECA release.
        head_template: `head_template.obj`; only its faces and texture coordinates are used.
        uv_face_eye_mask: `uv_face_eye_mask.png`; its first channel.
        fixed_displacement: `fixed_displacement_256.npy`, metres.
        n_shape: Identity components to keep.
        n_expression: Expression components to keep.

    Raises:
        ModelError: A file is missing or damaged, an array is missing or misshapen; the message names it.
    """
    model = NamedArrays(read_pickle(generic_model), generic_model)
    template = model.array("v_template", (None, 3))
    vertices = len(template)
    directions = model.array("shapedirs", (vertices, 3, None))
    if directions.shape[2] < FLAME_SHAPES + n_expression or n_shape > FLAME_SHAPES:
        raise ModelError(
            f"{generic_model}: `shapedirs` has {directions.shape[2]} components, but {FLAME_SHAPES} for identity and "
            f"{n_expression} for expressions are needed: fetch `generic_model.pkl` of FLAME 2020."
        )
    faces, uv, uv_faces = read_template(head_template)
    _check_same_faces(model.array("f", (None, 3)), faces, generic_model, head_template)
    pose = model.array("posedirs", (vertices, 3, 9 * (len(JOINTS) - 1)))
    parents = model.array("kintree_table", (2, len(JOINTS)))[0].astype(np.int64)
    return HeadAssets(
        name="flame",
        template_vertices=_float(template),
        faces=faces,
        shape_basis=_float(directions[:, :, :n_shape]),
        expression_basis=_float(directions[:, :, FLAME_SHAPES : FLAME_SHAPES + n_expression]),
        expression_names=(),
        pose_basis=_float(pose.reshape(3 * vertices, -1).T),
        joint_regressor=_float(model.array("J_regressor", (len(JOINTS), vertices))),
        parents=np.where(parents >= len(JOINTS), -1, parents).astype(np.int32),  # the root's is 2**32 - 1
        skin_weights=_float(model.array("weights", (vertices, len(JOINTS)))),
        joint_names=JOINTS,
        uv_coordinates=uv,
        uv_faces=uv_faces,
        face_eye_mask=read_mask(uv_face_eye_mask),
        fixed_displacement=_float(
            _as_array(read_npy(fixed_displacement), (UV_SIZE, UV_SIZE), fixed_displacement)
        ),
        **_landmarks(landmark_embedding),
    )


def _landmarks(path: Path) -> dict[str, Any]:
    embedding = NamedArrays(read_npy(path), path)
    return {
        "inner_landmark_faces": _index(embedding.array("static_lmk_faces_idx", (51,))),
        "inner_landmark_barycentrics": _float(embedding.array("static_lmk_bary_coords", (51, 3))),
        "contour_landmark_faces": _index(embedding.array("dynamic_lmk_faces_idx", (79, 17))),
        "contour_landmark_barycentrics": _float(embedding.array("dynamic_lmk_bary_coords", (79, 17, 3))),
        "full_landmark_faces": _index(embedding.array("full_lmk_faces_idx", (1, 68))[0]),
        "full_landmark_barycentrics": _float(embedding.array("full_lmk_bary_coords", (1, 68, 3))[0]),
    }


def read_template(path: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Faces int32 [F, 3], texture coordinates float32 [T, 2] and texture faces int32 [F, 3] of a triangle `.obj`.

    Raises:
        ModelError: The file is missing or is no such mesh.
    """
    texture: list[list[float]] = []
    corners: list[list[list[str]]] = []
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            kind, *values = line.split() or [""]
            if kind == "vt":
                texture.append([float(value) for value in values[:2]])
            elif kind == "f":
                corners.append([value.split("/")[:2] for value in values])
        both = np.array(corners, dtype=np.int32).reshape(len(corners), 3, 2) - 1
        uv = np.array(texture, dtype=np.float32).reshape(-1, 2)
    except (OSError, ValueError, OverflowError) as error:
        raise ModelError(
            f"{path} is not the official head template ({error}): it must be an .obj file of triangles `v/vt`; "
            "get `head_template.obj` of the DECA repository."
        ) from error
    return np.ascontiguousarray(both[:, :, 0]), uv, np.ascontiguousarray(both[:, :, 1])


def read_mask(path: Path) -> np.ndarray:
    """First channel of a UV mask picture as float32 [256, 256] in 0..1, greys kept.

    Raises:
        ModelError: The file is no picture of that size.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            pixels = np.asarray(picture)
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} is not a readable picture ({error}): get it again.") from error
    first = pixels[..., 0] if pixels.ndim == 3 else pixels
    return _float(_as_array(first, (UV_SIZE, UV_SIZE), path) / np.float32(255))


def read_deca_checkpoint(path: Path) -> dict[str, dict[str, Tensor]]:
    """The state dicts `E_flame`, `E_detail` and `D_detail` of `deca_model.tar` (a torch checkpoint, not an archive).

    Raises:
        ModelError: The file is missing, damaged, asks for anything but tensors, or lacks a network.
    """
    import torch

    content = load_checkpoint(path, "deca_model.tar")
    networks = {name: content.get(name) if isinstance(content, dict) else None for name in NETWORKS}
    for name, state in networks.items():
        if not isinstance(state, dict) or not all(
            isinstance(value, torch.Tensor) for value in state.values()
        ):
            raise ModelError(f"{path} lacks the network `{name}`: it is not the checkpoint of DECA.")
    return networks  # type: ignore[return-value]


class NamedArrays:
    """Named arrays of a pickled dict; says which one is missing or misshapen, and in which file."""

    def __init__(self, content: object, path: Path) -> None:
        if not isinstance(content, dict):
            raise ModelError(f"{path} does not hold named arrays: it is not the official file of that name.")
        self._content: Mapping[object, object] = content
        self._path = path

    def array(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """The array of that name; None in the shape is any number."""
        if name not in self._content:
            raise ModelError(
                f"{self._path} lacks the array `{name}`: it is not the official file of that name."
            )
        return _as_array(self._content[name], shape, self._path, name)


def _as_array(value: object, shape: tuple[int | None, ...], path: Path, name: str = "content") -> np.ndarray:
    fits = (
        isinstance(value, np.ndarray)
        and value.dtype.kind in "biuf"
        and value.ndim == len(shape)
        and all(want is None or want == have for want, have in zip(shape, value.shape, strict=True))
    )
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        have = f"shape {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
        raise ModelError(
            f"{path}: `{name}` must be numbers of shape [{wanted}], but is {have}: get the file again."
        )
    return value  # type: ignore[return-value]


def _check_same_faces(of_model: np.ndarray, of_template: np.ndarray, model: Path, template: Path) -> None:
    if not np.array_equal(of_model.astype(np.int64), of_template):
        raise ModelError(
            f"The triangles of {model} and {template} differ: the files belong to different models; "
            "get both again (FLAME 2019, 2020 or 2023 and the template of the DECA repository)."
        )


def _float(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _index(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.int32)
