"""One reconstructed face as plain arrays: everything the writers need, nothing they have to compute networks for."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deca_cli.export.shape_layers import Layers
    from deca_cli.photo.crop import PixelBox
    from deca_cli.photo.read import Photo


@dataclass(frozen=True, eq=False)
class Topology:
    """The part of a mesh that all heads of a model share."""

    faces: np.ndarray  # int64 [F, 3], counter-clockwise seen from outside
    uv_coordinates: np.ndarray  # float32 [T, 2], u right, v up
    uv_faces: np.ndarray  # int64 [F, 3]
    mirror_vertices: np.ndarray | None  # int64 [V], the vertex across the symmetry plane
    clay_light: np.ndarray | None = None  # float32 [V], see export.clay; None: drawn as the release does
    facing_limit: np.ndarray | None = None  # likewise
    # float32 [V, 2], see export.ears; None: what ears show is taken for ears.
    skin_and_ears: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Detail:
    """What the detail networks add to the coarse mesh."""

    normals: np.ndarray  # float32 [3, U, U], head frame, in UV space
    vertices: np.ndarray  # float32 [N, 3] dense mesh, metres, head frame
    faces: np.ndarray  # int64 [M, 3]
    uv_coordinates: np.ndarray  # float32 [N, 2]


@dataclass(frozen=True, eq=False)
class Capture:
    """One face of one photo. Pixels: of the photo, centre of the top left pixel at (0, 0), x right, y down."""

    photo: Photo
    face_number: int  # 1 is the largest
    face_count: int  # faces reconstructed in this photo
    found_by: str  # which finder, or "given", or "whole photo"
    box_px: PixelBox  # where the face was looked for
    detection_score: float  # of the finder, its own scale
    face_score: float | None  # 0..1 from the model, None if the pack has no such output
    model: str  # name of the model pack
    model_licence: str
    model_fingerprint: str  # of the pack's files, see packs.fingerprint
    codes: Mapping[str, np.ndarray]  # one flat array a code, by the name in networks.codes
    expression_names: tuple[str, ...]  # ARKit names, or empty
    head_pose_deg: tuple[float, float, float]  # yaw, pitch, roll
    crop_to_photo: np.ndarray  # float64 [3, 3], crop pixel indices -> photo pixels
    crop_size: int
    topology: Topology
    vertices: np.ndarray  # float32 [V, 3] metres, head frame turned as in the photo
    normals: np.ndarray  # float32 [V, 3] unit, same frame
    vertices_px: np.ndarray  # float64 [V, 3]; z in pixels too, growing away from the viewer
    landmarks_2d_px: np.ndarray  # float64 [68, 2], the contour follows the visible outline
    landmarks_3d_px: np.ndarray  # float64 [68, 3], the contour is fixed on the head; z as in vertices_px
    landmarks_3d: np.ndarray  # float32 [68, 3] metres, as `vertices`
    landmarks_visible: np.ndarray  # bool [68]: the head does not face away from the viewer there
    pixels_per_metre: float  # the weak-perspective scale in photo pixels
    pixel_offset: float  # how the pack joins NDC and pixel indices, see heads.camera
    detail: Detail | None
    draw_on: str = "cpu"  # device on which its pictures are drawn
    layers: Layers | None = None  # for the overlay, if they are drawn already

    @cached_property
    def arkit(self) -> dict[str, float]:
        """ARKit coefficients by name, clipped to 0..1; empty if the head has no named expressions."""
        values = np.clip(self.codes["expression"], 0.0, 1.0)
        return dict(zip(self.expression_names, values.tolist(), strict=bool(self.expression_names)))
