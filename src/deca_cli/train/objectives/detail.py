"""The objective of the detail stage (spec section 8.4), and the networks that it trains."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from deca_cli.errors import ModelError
from deca_cli.heads.camera import project
from deca_cli.render.lighting import sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.passes import TEXTURE_FACING
from deca_cli.render.uv import displaced_normals, make_chart, world2uv
from deca_cli.train.losses import detail as losses
from deca_cli.train.losses.mrf import id_mrf_loss
from deca_cli.train.objectives.batches import FlatBatch, flat_order, twice
from deca_cli.train.objectives.rendering import check_colours, grey_heads, render, sample
from deca_cli.train.objectives.settings import ObjectiveSettings, Step

if TYPE_CHECKING:
    from deca_cli.networks.codes import Codes
    from deca_cli.networks.deca import Deca
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.losses.vgg19 import Vgg19
    from deca_cli.train.losses.weights import DetailWeights


class DetailNetworks(nn.Module):
    """E_detail and D_detail as one module, so that one wrapper can share their gradients between processes.

    Parameter names begin with `encoder.` and `decoder.`.

    Args:
        deca: model with detail networks; they are shared, not copied.

    Raises:
        ModelError: the model has none.
    """

    def __init__(self, deca: Deca) -> None:
        super().__init__()
        if deca.detail_encoder is None or deca.detail_decoder is None:
            raise ModelError(
                "The detail stage trains a detail encoder and a detail decoder, but this model lacks one of them. Start the "
                "stage from a run of `deca train coarse`, or from a model pack with detail networks."
            )
        self.encoder, self.decoder = deca.detail_encoder, deca.detail_decoder
        self.mean, self.std = deca.preprocessing.mean, deca.preprocessing.std

    def forward(self, images: Tensor, codes: Codes, order: Tensor) -> Tensor:
        """Displacements of the doubled batch (spec section 8.2).

        Args:
            images: [N, 3, S, S] RGB in 0..1.
            codes: [N] of the coarse encoder; their detail code is not used.
            order: int64 [P, K], see `DetailObjective`.

        Returns:
            [2 N, 1, 256, 256] metres: with the pictures' own detail codes, then with those of `order`.
        """
        return self.decode(replace(codes, detail=self.encode(images)), order)

    def encode(self, images: Tensor) -> Tensor:
        """[N, 3, S, S] -> detail codes [N, D]; the last layers always in float32."""
        prepared = (images - self.mean) / self.std
        if images.is_cuda:
            prepared = prepared.contiguous(memory_format=torch.channels_last)
        features = self.encoder.encoder(prepared)
        with torch.autocast(images.device.type, enabled=False):
            detail: Tensor = self.encoder.layers(features.float())
        return detail

    def decode(self, codes: Codes, order: Tensor) -> Tensor:
        """As `forward`, with the detail codes given; in float32: wrinkles are differences of neighbouring texels."""
        detail = torch.cat([codes.detail, codes.detail[flat_order(order)]])
        with torch.autocast(detail.device.type, enabled=False):
            displacement: Tensor = self.decoder(twice(codes.pose[:, 3:]), twice(codes.expression), detail)
        return displacement


@dataclass(frozen=True, eq=False)
class Unwrapped:
    """The frozen coarse heads and their photos in UV space; no gradients.

    Attributes:
        vertices, normals: [N, V, 3] head frame.
        projected: [N, V, 3] NDC.
        positions, directions: [N, 3, U, U], vertices and normals over the chart.
        albedo: [N, 3, U, U].
        photo: [N, 3, U, U], colours of the photo.
        visible: [N, 1, U, U] in 0..1: inside the data's mask and the head's, and turned to the camera.
    """

    vertices: Tensor
    normals: Tensor
    projected: Tensor
    positions: Tensor
    directions: Tensor
    albedo: Tensor
    photo: Tensor
    visible: Tensor


class DetailObjective:
    """Displacements and photos -> one number to minimise.

    Nothing is rendered: all terms live in UV space. What the swapped half shares with the first, which is all but the
    displacement, is computed once.

    Args:
        deca: model whose head and albedo are used, on the device of the training; its networks are not called.
        weights: of the terms.
        mrf_network: for the ID-MRF term; may be none if `weights.mrf` is 0.
        settings: see there.

    Raises:
        ModelError: a term needs something that is not given; the message says how to train without it.
    """

    def __init__(
        self,
        deca: Deca,
        weights: DetailWeights,
        mrf_network: Vgg19 | None = None,
        settings: ObjectiveSettings | None = None,
    ) -> None:
        self.uses_mrf = weights.photo_D * weights.mrf > 0
        if self.uses_mrf and mrf_network is None:
            raise ModelError(
                f"The ID-MRF term has weight {weights.photo_D * weights.mrf}, but VGG-19 is not given. Fetch it with "
                "`deca fetch-models identity`, or train without this term: `--without mrf`."
            )
        check_colours(deca, "The detail stage", "the coarse model without the detail stage")
        self.deca, self.weights, self.mrf_network = deca, weights, mrf_network
        self.settings = settings or ObjectiveSettings()
        head = deca.head
        self.size = len(head.face_eye_mask)
        self.chart = make_chart(
            head.uv_coordinates, head.uv_faces, head.faces, self.size, self.settings.uv_rule
        )
        of_head = losses.mask_patch(head.face_eye_mask) if head.expression_names else losses.OFFICIAL_PATCH
        self.patch = self.settings.patch or of_head

    def __call__(
        self, codes: Codes, displacement: Tensor, batch: PersonBatch, order: Tensor, *, pictures: bool = False
    ) -> Step:
        """Judge a batch.

        Args:
            codes: [N] of the frozen coarse encoder, N = P K, people in a row.
            displacement: [2 N, 1, U, U] metres, of `DetailNetworks` for the same order.
            batch: the photos of P people, K each.
            order: int64 [P, K], each row a permutation: whose detail code every picture got in the second half. Not looked
                at here: it is already in the displacement.
            pictures: whether to draw pictures to look at as well.

        Returns:
            Terms `photo_detail`, `photo_detail_mrf`, `z_reg`, `z_diff`, `z_sym`; those with weight 0 are missing.
        """
        del order
        flat = FlatBatch.of(batch)
        with torch.autocast(displacement.device.type, enabled=False):
            scene = self._unwrap(codes, flat)
            shading = self._shade(scene, codes.light.detach(), displacement.float())
            terms = self._terms(scene, shading, displacement.float())
            total = torch.stack(list(terms.values())).sum()
            shown = self._pictures(codes, scene, shading, flat) if pictures else None
        return Step(total, terms, shown)

    @torch.no_grad()
    def _unwrap(self, codes: Codes, flat: FlatBatch) -> Unwrapped:
        head, albedo_model = self.deca.head, self.deca.albedo
        assert albedo_model is not None  # noqa: S101 - `check_colours`; tells mypy
        vertices = head(codes.shape, codes.expression, codes.pose)
        normals = vertex_normals(vertices, head.faces)
        projected = project(vertices, codes.camera)
        shifted = torch.cat([projected[..., :2], projected[..., 2:] + self.settings.depth_shift], dim=2)
        facing = vertex_normals(shifted, head.faces)[..., 2:]
        over_chart = world2uv(self.chart, torch.cat([vertices, normals, facing, projected[..., :2]], dim=2))
        positions, directions, turned, places = over_chart.split((3, 3, 1, 2), dim=1)
        photo = sample(torch.cat([flat.images, flat.masks], dim=1), places.permute(0, 2, 3, 1))
        visible = photo[:, 3:] * (turned < TEXTURE_FACING) * head.face_eye_mask
        albedo = albedo_model(codes.albedo)
        if albedo.shape[-1] != self.size:
            albedo = F.interpolate(albedo, (self.size,) * 2, mode="bilinear", align_corners=False)
        return Unwrapped(vertices, normals, projected, positions, directions, albedo, photo[:, :3], visible)

    def _shade(self, scene: Unwrapped, light: Tensor, displacement: Tensor) -> Tensor:
        """[2 N, 3, U, U] light on the displaced surface."""
        head = self.deca.head
        fine = displaced_normals(
            twice(scene.positions),
            twice(scene.directions),
            displacement,
            head.fixed_displacement,
            head.face_eye_mask,
        )
        return sh_shading(fine, twice(light))

    def _terms(self, scene: Unwrapped, shading: Tensor, displacement: Tensor) -> dict[str, Tensor]:
        w, processes = self.weights, self.settings.processes
        terms = {}
        if w.photo_D > 0:
            texture = self.patch.cut(twice(scene.albedo) * shading, self.size)
            photo, visible = (self.patch.cut(m, self.size) for m in (scene.photo, scene.visible))
            seen = texture * twice(visible)
            terms["photo_detail"] = w.photo_D * losses.detail_photometric_loss(seen, twice(photo * visible))
            if self.uses_mrf:
                terms["photo_detail_mrf"] = w.photo_D * w.mrf * processes * self._mrf(seen, photo * visible)
        if w.reg_z > 0:
            terms["z_reg"] = w.reg_z * losses.displacement_loss(displacement)
        if w.reg_diff > 0:
            terms["z_diff"] = w.reg_diff * losses.shading_smoothness_loss(shading)
        if w.reg_sym > 0:
            symmetry = losses.symmetry_loss(displacement, twice(scene.visible))
            terms["z_sym"] = w.reg_sym * processes * symmetry
        return terms

    def _mrf(self, seen: Tensor, photo: Tensor) -> Tensor:
        assert self.mrf_network is not None  # noqa: S101 - checked at the start; tells mypy
        with torch.no_grad():
            target = self.mrf_network(photo)
        return id_mrf_loss(self.mrf_network, seen, target)

    @torch.no_grad()
    def _pictures(
        self, codes: Codes, scene: Unwrapped, shading: Tensor, flat: FlatBatch
    ) -> dict[str, Tensor]:
        head, size, count = self.deca.head, flat.images.shape[-1], len(flat.images)
        rendered = render(head, scene.projected, scene.normals, size)
        texture = scene.albedo * shading[:count]
        contour = project(head.landmarks(scene.vertices, codes.pose).contour, codes.camera)
        lit = sample(scene.albedo, rendered.grid) * sh_shading(rendered.normals, codes.light)
        return {
            "inputs": flat.images,
            "landmarks2d": contour[..., :2],
            "landmarks2d_gt": flat.landmarks[..., :2],
            "shape_images": grey_heads(head, scene.vertices, scene.normals, scene.projected, size),
            "predicted_images": lit * rendered.face,
            "predicted_detail_images": sample(texture, rendered.grid) * rendered.alpha,
            "uv_texture": texture,
            "uv_texture_gt": scene.photo,
        }
