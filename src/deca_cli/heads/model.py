"""The head itself: bases, skeleton, skinning, landmarks. Spec section 4 for any number of vertices and components."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from deca_cli.heads.landmarks import LandmarkSets, contour_row, points_on_faces
from deca_cli.heads.rotations import axis_angle_to_matrix

if TYPE_CHECKING:
    from deca_cli.heads.assets import HeadAssets


class HeadModel(nn.Module):
    """A head of the FLAME form as a differentiable function of its codes.

    All buffers come from the assets and are not part of the state dict. Geometry is always computed in float32,
    also under autocast: half precision would move vertices by millimetres.
    """

    template_vertices: Tensor  # [V, 3]
    basis: Tensor  # [S + E, 3 V], shape components, then expression components
    pose_basis: Tensor  # [9 (J - 1) or 0, 3 V]
    joint_regressor: Tensor  # [J, V]
    skin_weights: Tensor  # [V, J]
    faces: Tensor  # int64 [F, 3]
    uv_coordinates: Tensor  # [T, 2]
    uv_faces: Tensor  # int64 [F, 3]
    inner_corners: Tensor  # int64 [51, 3] vertex ids
    inner_barycentrics: Tensor  # [51, 3]
    contour_corners: Tensor  # int64 [79, 17, 3] vertex ids
    contour_barycentrics: Tensor  # [79, 17, 3]
    full_corners: Tensor  # int64 [68, 3] vertex ids
    full_barycentrics: Tensor  # [68, 3]
    face_eye_mask: Tensor  # [U, U]
    fixed_displacement: Tensor  # [U, U], metres

    def __init__(self, assets: HeadAssets) -> None:
        super().__init__()
        self.name = assets.name
        self.joint_names = assets.joint_names
        self.expression_names = assets.expression_names
        self.parents: tuple[int, ...] = tuple(int(parent) for parent in assets.parents)
        self.vertex_count = len(assets.template_vertices)
        self.shape_size: int = assets.shape_basis.shape[2]
        self.expression_size: int = assets.expression_basis.shape[2]
        self._joint = {name: number for number, name in enumerate(assets.joint_names)}
        basis = np.concatenate([assets.shape_basis, assets.expression_basis], axis=2)
        self._keep("basis", np.moveaxis(basis, 2, 0).reshape(basis.shape[2], -1))
        for name in ("template_vertices", "pose_basis", "joint_regressor", "skin_weights"):
            self._keep(name, getattr(assets, name))
        for name in ("uv_coordinates", "face_eye_mask", "fixed_displacement"):
            self._keep(name, getattr(assets, name))
        self._keep("faces", assets.faces.astype(np.int64))
        self._keep("uv_faces", assets.uv_faces.astype(np.int64))
        for kind in ("inner", "contour", "full"):
            self._keep(
                f"{kind}_corners", assets.faces[getattr(assets, f"{kind}_landmark_faces")].astype(np.int64)
            )
            self._keep(f"{kind}_barycentrics", getattr(assets, f"{kind}_landmark_barycentrics"))

    def _keep(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(array), persistent=False)

    def forward(
        self,
        shape: Tensor,
        expression: Tensor,
        pose: Tensor,
        eye_pose: Tensor | None = None,
        neck_pose: Tensor | None = None,
    ) -> Tensor:
        """Vertices of posed heads.

        Args:
            shape: [B, S] identity code.
            expression: [B, E] expression code.
            pose: [B, 6] axis-angle of the whole head (3) and of the jaw (3), radians.
            eye_pose: [B, 6] axis-angle of the left and of the right eye; none = straight ahead.
            neck_pose: [B, 3] axis-angle of the neck; none = straight.

        Returns:
            [B, V, 3] vertices in the head frame, metres.
        """
        with torch.autocast(pose.device.type, enabled=False):
            unposed = self.unposed(shape, expression)
            rotations = axis_angle_to_matrix(self.full_pose(pose, eye_pose, neck_pose))  # [B, J, 3, 3]
            transforms = self._joint_transforms(rotations, self.joints(unposed))
            return self._skin(self._corrected(unposed, rotations), transforms)

    def unposed(self, shape: Tensor, expression: Tensor) -> Tensor:
        """[B, S] and [B, E] codes -> [B, V, 3] vertices before any joint moves (spec section 4, step 1)."""
        codes = torch.cat([shape, expression], dim=1).float()
        return self.template_vertices + (codes @ self.basis).unflatten(1, (self.vertex_count, 3))

    def joints(self, unposed: Tensor) -> Tensor:
        """[B, V, 3] unposed vertices -> [B, J, 3] joint positions at rest; expressions move them too."""
        return self.joint_regressor @ unposed

    def full_pose(
        self, pose: Tensor, eye_pose: Tensor | None = None, neck_pose: Tensor | None = None
    ) -> Tensor:
        """Arrange the poses by joint: [B, J, 3] axis-angle, zero where nothing is given."""
        given = {self.joint_names[0]: pose[:, :3], "jaw": pose[:, 3:]}
        if neck_pose is not None:
            given["neck"] = neck_pose
        if eye_pose is not None:
            given |= {"eye_left": eye_pose[:, :3], "eye_right": eye_pose[:, 3:]}
        missing = [name for name in given if name not in self._joint]
        if missing:
            raise ValueError(f"head `{self.name}` has no joint {missing}, only {self.joint_names}")
        still = torch.zeros_like(pose[:, :3], dtype=torch.float32)
        return torch.stack([given.get(name, still).float() for name in self.joint_names], dim=1)

    def landmarks(self, vertices: Tensor, pose: Tensor, neck_pose: Tensor | None = None) -> LandmarkSets:
        """Both sets of 68 landmarks.

        Args:
            vertices: [B, V, 3] posed vertices from `forward`.
            pose: [B, 6] the pose that was given to `forward`; picks the contour row.
            neck_pose: [B, 3] likewise.
        """
        turned = axis_angle_to_matrix(pose[:, :3].float())
        if neck_pose is not None:
            turned = turned @ axis_angle_to_matrix(neck_pose.float())
        row = contour_row(turned.detach())  # [B]
        inner = points_on_faces(vertices, self.inner_corners, self.inner_barycentrics)
        outer = points_on_faces(vertices, self.contour_corners[row], self.contour_barycentrics[row])
        return LandmarkSets(contour=torch.cat([outer, inner], dim=1), fixed=self.on_landmarks(vertices))

    def on_landmarks(self, values: Tensor) -> Tensor:
        """[B, V, D] vertex values -> [B, 68, D] at the landmarks that are fixed on the mesh."""
        return points_on_faces(values, self.full_corners, self.full_barycentrics)

    def _corrected(self, unposed: Tensor, rotations: Tensor) -> Tensor:
        """Add the pose correctives (spec section 4, step 4); [B, V, 3]."""
        if len(self.pose_basis) == 0:
            return unposed
        identity = torch.eye(3, device=rotations.device)
        feature = (rotations[:, 1:] - identity).flatten(1)  # [B, 9 (J - 1)]
        return unposed + (feature @ self.pose_basis).unflatten(1, (self.vertex_count, 3))

    def _joint_transforms(self, rotations: Tensor, joints: Tensor) -> Tensor:
        """Chain the joints (spec section 4, step 5): [B, J, 3, 4], rest position -> posed position."""
        turns: list[Tensor] = []  # [B, 3, 3] each
        places: list[Tensor] = []  # [B, 3, 1] each
        for joint, parent in enumerate(self.parents):
            if parent < 0:
                turns.append(rotations[:, joint])
                places.append(joints[:, joint, :, None])
            else:
                bone = (joints[:, joint] - joints[:, parent])[..., None]
                turns.append(turns[parent] @ rotations[:, joint])
                places.append(turns[parent] @ bone + places[parent])
        turn = torch.stack(turns, dim=1)  # [B, J, 3, 3]
        place = torch.stack(places, dim=1)  # [B, J, 3, 1]
        return torch.cat([turn, place - turn @ joints[..., None]], dim=-1)

    def _skin(self, vertices: Tensor, transforms: Tensor) -> Tensor:
        """Linear blend skinning (spec section 4, step 6); [B, V, 3]."""
        blended = (self.skin_weights @ transforms.flatten(2)).unflatten(2, (3, 4))  # [B, V, 3, 4]
        return (blended[..., :3] * vertices[:, :, None, :]).sum(dim=-1) + blended[..., 3]
