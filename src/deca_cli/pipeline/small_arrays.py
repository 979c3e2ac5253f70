"""The small arrays of captures: codes, landmarks, angles; of a whole batch at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_euler_degrees
from deca_cli.pipeline.transfer import to_host

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deca_cli.networks.codes import Codes
    from deca_cli.networks.deca import Head
    from deca_cli.networks.preprocessing import Preprocessing
    from deca_cli.pipeline.fit import Fit


class PhotoOf:
    """From the crops of faces to their photos."""

    def __init__(self, fits: Sequence[Fit], codes: Codes, preprocessing: Preprocessing) -> None:
        to_photo = torch.from_numpy(np.stack([fit.crop.to_photo for fit in fits]))
        self.to_photo = to_photo.to(codes.camera.device, non_blocking=True)
        self.size, self.offset = preprocessing.image_size, preprocessing.pixel_offset
        # Photo pixels per unit of the crop's NDC; the crop is a similarity, so x, y and z share it.
        self.per_unit = torch.hypot(self.to_photo[:, 0, 0], self.to_photo[:, 1, 0]) * self.size / 2

    def pixels(self, ndc: Tensor) -> Tensor:
        """[B, N, 3] NDC -> float64 [B, N, 3] photo pixels, z too."""
        points = ndc.double()
        flat = ndc_to_photo_pixels(points, self.to_photo, self.size, self.offset)
        return torch.cat([flat, points[..., 2:] * self.per_unit[:, None, None]], dim=2)


def small_arrays(
    head: Head, codes: Codes, photo_of: PhotoOf, more: Sequence[Tensor]
) -> tuple[dict[str, Any], list[np.ndarray]]:
    """All but meshes, pictures and details, by the name in `Capture`, and arrays of more tensors: in one copy."""
    small = {
        "head_pose_deg": matrix_to_euler_degrees(axis_angle_to_matrix(codes.pose[:, :3])),
        "landmarks_2d_px": photo_of.pixels(head.landmarks2d)[..., :2],
        "landmarks_3d_px": photo_of.pixels(head.landmarks3d),
        "landmarks_3d": head.landmarks3d_world,
        "landmarks_visible": head.landmarks_visible,
        "pixels_per_metre": codes.camera[:, 0].double() * photo_of.per_unit,
    }
    stored = {name: value.flatten(1) for name, value in codes.items()}
    arrays = to_host([*small.values(), *stored.values(), *more])
    known: dict[str, Any] = dict(zip(small, arrays, strict=False))
    known["head_pose_deg"] = [tuple(angles) for angles in known["head_pose_deg"].tolist()]
    known["pixels_per_metre"] = known["pixels_per_metre"].tolist()
    rows = zip(*arrays[len(small) : len(small) + len(stored)], strict=True)
    known["codes"] = [dict(zip(stored, row, strict=True)) for row in rows]
    return known, arrays[len(small) + len(stored) :]
