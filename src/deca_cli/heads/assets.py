"""What a head model is made of: plain arrays, one frozen dataclass, one ``.npz`` file.

Shape letters: V vertices, F triangles, S identity components, E expression components, J joints,
T texture vertices, U size of the UV maps, A size of the albedo map, N albedo components.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np


@dataclass(frozen=True, eq=False)
class HeadAssets:
    """A head of the FLAME form. Head frame: x subject's left, y up, z out of the face; metres."""

    name: str
    template_vertices: np.ndarray  # float32 [V, 3]
    faces: np.ndarray  # int32 [F, 3], counter-clockwise seen from outside
    shape_basis: np.ndarray  # float32 [V, 3, S], metres per unit of the shape code
    expression_basis: np.ndarray  # float32 [V, 3, E], metres per unit of the expression code
    expression_names: tuple[str, ...]  # E names, or empty when the components have none (FLAME)
    pose_basis: np.ndarray  # float32 [9 (J - 1), 3 V], or [0, 3 V] without pose correctives
    joint_regressor: np.ndarray  # float32 [J, V]
    parents: np.ndarray  # int32 [J], -1 at the root, parents before children
    skin_weights: np.ndarray  # float32 [V, J], rows sum to 1
    joint_names: tuple[str, ...]  # among them root, jaw; usually also neck, eye_left, eye_right
    uv_coordinates: np.ndarray  # float32 [T, 2], u right, v up
    uv_faces: np.ndarray  # int32 [F, 3]
    inner_landmark_faces: np.ndarray  # int32 [51], points 17..67 of the 68
    inner_landmark_barycentrics: np.ndarray  # float32 [51, 3]
    contour_landmark_faces: np.ndarray  # int32 [79, 17], row = yaw bin
    contour_landmark_barycentrics: np.ndarray  # float32 [79, 17, 3]
    full_landmark_faces: np.ndarray  # int32 [68], contour fixed on the mesh
    full_landmark_barycentrics: np.ndarray  # float32 [68, 3]
    face_eye_mask: np.ndarray  # float32 [U, U] in 0..1, where detail belongs
    fixed_displacement: np.ndarray  # float32 [U, U], metres along the normal
    masks: Mapping[str, np.ndarray] = field(default_factory=lambda: MappingProxyType({}))  # uint8 [U, U]
    mirror_vertices: np.ndarray | None = None  # int32 [V], the vertex across the symmetry plane
    vertex_regions: np.ndarray | None = None  # uint8 [V], which of `region_names` the vertex belongs to
    region_names: tuple[str, ...] = ()  # skin, scalp, lips, eyeball_left, ... of the open head

    def region(self, *names: str) -> np.ndarray:
        """Indices int64 of the vertices in the named regions.

        Raises:
            ModelError: The head has no such region.
        """
        import numpy as np

        from deca_cli.errors import ModelError

        unknown = [name for name in names if name not in self.region_names]
        if unknown or self.vertex_regions is None:
            raise ModelError(
                f"The head `{self.name}` has no vertex region {', '.join(unknown)}, only "
                f"{', '.join(self.region_names) or 'none at all'}: use the bundled open head here."
            )
        numbers = [self.region_names.index(name) for name in names]
        return np.flatnonzero(np.isin(self.vertex_regions, numbers))


@dataclass(frozen=True, eq=False)
class AlbedoAssets:
    """A linear model of skin colour in UV space: red, green, blue; about 0..1."""

    mean: np.ndarray  # float32 [3, A, A]
    basis: np.ndarray  # float32 [3, A, A, N]


def save_head(
    path: Path, assets: HeadAssets, albedo: AlbedoAssets | None = None, *, compact: bool = False
) -> None:
    """Write a head, and its albedo if given, into one ``.npz`` file; see `deca_cli.heads.npz`.

    Args:
        path: Destination; replaced only when the whole file has been written.
        assets: The head; checked first.
        albedo: Its albedo model, if any.
        compact: Store the bases as float16 and the albedo basis as int8 with one scale per component, compressed;
            otherwise all float32 values are kept, and stored as they are, which loads faster.

    Raises:
        ModelError: An array does not fit; the message names it.
        OutputError: The file cannot be written.
    """
    from deca_cli.heads import npz
    from deca_cli.heads.checks import check_albedo, check_head

    check_head(assets)
    if albedo is not None:
        check_albedo(albedo)
    npz.write_head_arrays(path, npz.to_arrays(assets, albedo, compact=compact), compress=compact)


def load_head(path: Path) -> tuple[HeadAssets, AlbedoAssets | None]:
    """Read a head written by `save_head`; the bases come back as float32.

    Raises:
        ModelError: The file is missing or damaged, or an array in it does not fit; the message names it.
    """
    from deca_cli.heads import npz
    from deca_cli.heads.checks import check_albedo, check_head

    assets, albedo = npz.from_arrays(npz.read_head_arrays(path), path)
    check_head(assets, path)
    if albedo is not None:
        check_albedo(albedo, path)
    return assets, albedo
