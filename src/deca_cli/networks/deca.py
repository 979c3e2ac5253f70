"""DECA: crops -> codes -> heads. No rendering happens here."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from torch import Tensor, nn

from deca_cli.heads.camera import project
from deca_cli.networks.layout import Layout, layout_width, raw_to_codes
from deca_cli.render.normals import vertex_normals

if TYPE_CHECKING:
    from deca_cli.heads.albedo import Albedo
    from deca_cli.heads.model import HeadModel
    from deca_cli.networks.codes import Codes, CodeSizes, Encoding
    from deca_cli.networks.detail_decoder import DetailDecoder
    from deca_cli.networks.encoder import Encoder
    from deca_cli.networks.preprocessing import Preprocessing

# n_z of the camera-facing normal up to which a landmark counts as seen (spec section 6.9).
VISIBLE_BELOW = 0.1


@dataclass(frozen=True, eq=False)
class Head:
    """Decoded heads. World = head frame, metres. NDC = x right, y down, -1..1 over the crop, smaller z nearer."""

    vertices: Tensor  # [B, V, 3] world
    projected: Tensor  # [B, V, 3] NDC (spec: trans_verts, without the shift in z)
    landmarks2d: Tensor  # [B, 68, 3] NDC, contour as seen from the camera
    landmarks3d: Tensor  # [B, 68, 3] NDC, contour fixed on the mesh
    landmarks3d_world: Tensor  # [B, 68, 3] world, contour fixed on the mesh
    landmarks_visible: Tensor  # [B, 68] bool, which points of `landmarks3d` face the camera
    normals: Tensor  # [B, V, 3] world, unit length but for tiny triangles (spec section 6.3)
    displacement: (
        Tensor | None
    )  # [B, 1, U, U] metres from the detail decoder, not masked, without the fixed part


class Deca(nn.Module):
    """Encoder, head model and, where the pack has them, albedo and detail networks."""

    def __init__(
        self,
        *,
        head: HeadModel,
        encoder: Encoder,
        layout: Layout,
        sizes: CodeSizes,
        preprocessing: Preprocessing,
        expression_range: tuple[float, float] | None = None,
        albedo: Albedo | None = None,
        detail_encoder: Encoder | None = None,
        detail_decoder: DetailDecoder | None = None,
    ) -> None:
        super().__init__()
        self.head = head
        self.encoder = encoder
        self.albedo = albedo
        self.detail_encoder = detail_encoder
        self.detail_decoder = detail_decoder
        self.layout = layout
        self.sizes = sizes
        self.preprocessing = preprocessing
        self.expression_range = expression_range
        if encoder.outputs != layout_width(layout):
            raise ValueError(
                f"the encoder gives {encoder.outputs} numbers, but the layout names {layout_width(layout)}"
            )

    @property
    def has_detail(self) -> bool:
        """Whether heads get a displacement."""
        return self.detail_decoder is not None

    def prepare(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] RGB in 0..1 -> what the encoders want to see."""
        return (images - self.preprocessing.mean) / self.preprocessing.std

    def encode(self, images: Tensor) -> Encoding:
        """[B, 3, S, S] crops, RGB in 0..1 -> codes and, if the pack has one, a face score."""
        prepared = self.prepare(images)
        encoding = raw_to_codes(self.encoder(prepared), self.layout, self.sizes, self.expression_range)
        if self.detail_encoder is None:
            return encoding
        detail = self.detail_encoder(prepared).float()
        return replace(encoding, codes=replace(encoding.codes, detail=detail))

    def decode(self, codes: Codes) -> Head:
        """Codes -> posed heads, projected points, landmarks, normals, displacement."""
        vertices = self.head(codes.shape, codes.expression, codes.pose)
        landmarks = self.head.landmarks(vertices, codes.pose)
        normals = vertex_normals(vertices, self.head.faces)
        # The camera looks along -z: the projected normal is the world normal with y and z turned round.
        facing = -self.head.on_landmarks(normals)[..., 2]
        return Head(
            vertices=vertices,
            projected=project(vertices, codes.camera),
            landmarks2d=project(landmarks.contour, codes.camera),
            landmarks3d=project(landmarks.fixed, codes.camera),
            landmarks3d_world=landmarks.fixed,
            landmarks_visible=facing < VISIBLE_BELOW,
            normals=normals,
            displacement=self.displacement(codes),
        )

    def displacement(self, codes: Codes) -> Tensor | None:
        """[B, 1, U, U] metres along the normals, or none without a detail decoder.

        Another person's expression on this person's wrinkles: give codes with that expression and jaw pose.
        """
        if self.detail_decoder is None:
            return None
        return self.detail_decoder(codes.pose[:, 3:], codes.expression, codes.detail)
