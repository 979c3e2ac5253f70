"""Decode fits into captures: plain arrays in the photo's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.export.capture import Capture, Detail, Topology
from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_euler_degrees
from deca_cli.networks.codes import Codes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deca_cli.networks.deca import Head
    from deca_cli.packs.store import Pack
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.fit import Fit


@torch.inference_mode()
def decode_fits(photo: Photo, fits: Sequence[Fit], pack: Pack, topology: Topology) -> list[Capture]:
    """Decode all faces of a photo together; `topology` is the pack's, see `topology_of`."""
    if not fits:
        return []
    codes = Codes.concat([fit.codes for fit in fits])
    head = pack.deca.decode(codes)
    angles = matrix_to_euler_degrees(axis_angle_to_matrix(codes.pose[:, :3])).tolist()
    return [
        _capture(photo, fit, head, index, tuple(angles[index]), pack, topology, len(fits))
        for index, fit in enumerate(fits)
    ]


def _capture(
    photo: Photo,
    fit: Fit,
    head: Head,
    index: int,
    angles: tuple[float, float, float],
    pack: Pack,
    topology: Topology,
    count: int,
) -> Capture:
    preprocessing = pack.deca.preprocessing
    size, offset, to_photo = preprocessing.image_size, preprocessing.pixel_offset, fit.crop.to_photo
    # Photo pixels per unit of the crop's NDC; the crop is a similarity, so x, y and z share it.
    pixels_per_unit = float(np.hypot(to_photo[0, 0], to_photo[1, 0])) * size / 2

    def pixels(ndc: Tensor) -> np.ndarray:
        """[N, 3] NDC -> float64 [N, 3] photo pixels, z too."""
        points = ndc.double().cpu()
        flat = ndc_to_photo_pixels(points[None], torch.from_numpy(to_photo)[None], size, offset)[0]
        return torch.cat([flat, points[:, 2:] * pixels_per_unit], dim=1).numpy()

    return Capture(
        photo=photo,
        face_number=index + 1,
        face_count=count,
        found_by=fit.face.source,
        box_px=fit.box_px,
        detection_score=float(fit.face.score),
        face_score=fit.face_score,
        model=pack.manifest.name,
        model_licence=pack.manifest.licence,
        codes={name: value[0].flatten().cpu().numpy() for name, value in fit.codes.items()},
        expression_names=tuple(pack.assets.expression_names),
        head_pose_deg=angles,
        crop_to_photo=to_photo,
        crop_size=size,
        topology=topology,
        vertices=_array(head.vertices[index]),
        normals=_array(head.normals[index]),
        vertices_px=pixels(head.projected[index]),
        landmarks_2d_px=pixels(head.landmarks2d[index])[:, :2],
        landmarks_3d_px=pixels(head.landmarks3d[index]),
        landmarks_3d=_array(head.landmarks3d_world[index]),
        landmarks_visible=_array(head.landmarks_visible[index]),
        pixels_per_metre=float(fit.codes.camera[0, 0]) * pixels_per_unit,
        pixel_offset=offset,
        detail=_detail(head, index, pack),
    )


def topology_of(pack: Pack) -> Topology:
    """The arrays that all heads of a pack share."""
    assets = pack.assets
    mirror = assets.mirror_vertices
    return Topology(
        faces=assets.faces.astype(np.int64),
        uv_coordinates=assets.uv_coordinates,
        uv_faces=assets.uv_faces.astype(np.int64),
        mirror_vertices=None if mirror is None else mirror.astype(np.int64),
    )


def _detail(head: Head, index: int, pack: Pack) -> Detail | None:
    return None


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
