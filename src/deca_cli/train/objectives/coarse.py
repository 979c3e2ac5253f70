"""The objective of the stages pretrain and coarse (spec section 8.3)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from deca_cli.errors import ModelError
from deca_cli.heads.camera import project
from deca_cli.render.lighting import sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.train.losses import landmarks as points
from deca_cli.train.losses import pictures as colours
from deca_cli.train.objectives.batches import FlatBatch, flat_order, twice
from deca_cli.train.objectives.rendering import Rendered, check_colours, grey_heads, render, sample
from deca_cli.train.objectives.settings import ObjectiveSettings, Step

if TYPE_CHECKING:
    from deca_cli.networks.codes import Codes
    from deca_cli.networks.deca import Deca
    from deca_cli.train.data.batch import PersonBatch
    from deca_cli.train.losses.face_recognition import FaceRecognition
    from deca_cli.train.losses.weights import CoarseWeights

COPIES = 2  # the batch is doubled, and sums over it with it


@dataclass(frozen=True, eq=False)
class Decoded:
    """Heads of the doubled batch (M = 2 N, or N where doubling would change nothing)."""

    vertices: Tensor  # [M, V, 3] head frame
    projected: Tensor  # [M, V, 3] NDC
    landmarks: Tensor  # [M, 68, 2] NDC


class CoarseObjective:
    """Codes and photos -> one number to minimise.

    Args:
        deca: model whose head and albedo are used, on the device of the training; its networks are not called.
        weights: of the terms.
        identity_network: for the identity term; may be none if `weights.id` is 0.
        settings: see there.

    Raises:
        ModelError: a term needs something that is not given; the message says how to train without it.
    """

    def __init__(
        self,
        deca: Deca,
        weights: CoarseWeights,
        identity_network: FaceRecognition | None = None,
        settings: ObjectiveSettings | None = None,
    ) -> None:
        if weights.id > 0 and identity_network is None:
            raise ModelError(
                f"The identity term has weight {weights.id}, but no face recognition network is given. Fetch it with "
                "`deca fetch-models identity`, or train without this term: `--without identity`."
            )
        if weights.renders:
            check_colours(deca, "The photometric or identity term", "`--set loss.photo=0 --set loss.id=0`")
        self.deca, self.weights, self.identity_network = deca, weights, identity_network
        self.settings = settings or ObjectiveSettings()
        device = deca.head.faces.device
        self.point_weights = points.landmark_weights().to(device)
        self.lids = torch.tensor(points.EYELID_PAIRS, device=device)
        self.lips = torch.tensor(points.LIP_PAIRS, device=device)
        self.euler_jaw = "pose_euler_jaw" in dict(deca.layout)

    def __call__(self, codes: Codes, batch: PersonBatch, order: Tensor, *, pictures: bool = False) -> Step:
        """Judge a batch.

        Args:
            codes: [N] of `deca.encode`, N = P K, people in a row.
            batch: the photos of P people, K each.
            order: int64 [P, K], each row a permutation: whose shape code every picture gets in the second half.
            pictures: whether to draw pictures to look at as well.

        Returns:
            Terms `landmark`, `eye_distance`, `lip_distance`, `photometric_texture`, `identity`, `shape_reg`,
            `expression_reg`, `tex_reg`, `light_reg`, and for jaws in Euler angles `reg_jawpose_roll`, `reg_jawpose_close`;
            those with weight 0 are missing.
        """
        with torch.autocast(codes.pose.device.type, enabled=False):
            return self._judge(codes, FlatBatch.of(batch), order, pictures=pictures)

    def _judge(self, codes: Codes, flat: FlatBatch, order: Tensor, *, pictures: bool) -> Step:
        # With one picture each the second half would repeat the first, and all means stay as they are.
        doubled = order.shape[1] > 1 and self.weights.shape_consistency
        decoded = self._decode(codes, order if doubled else None)
        labels = twice(flat.landmarks) if doubled else flat.landmarks
        terms = self._points(decoded.landmarks, labels)
        shown: dict[str, Tensor] = {}
        if self.weights.renders:
            found, shown = self._colours(codes, decoded, flat)
            terms |= found
        terms |= self._regularisers(codes)
        total = torch.stack(list(terms.values())).sum()
        if not pictures:
            return Step(total, terms)
        return Step(total, terms, self._pictures(decoded, flat) | shown)

    def _decode(self, codes: Codes, order: Tensor | None) -> Decoded:
        head, given = self.deca.head, (codes.shape, codes.expression, codes.pose, codes.camera)
        shape, expression, pose, camera = given
        if order is not None:
            shape = torch.cat([shape, shape[flat_order(order)]])
            expression, pose, camera = twice(expression), twice(pose), twice(camera)
        vertices = head(shape, expression, pose)
        contour = head.landmarks(vertices, pose).contour
        return Decoded(vertices, project(vertices, camera), project(contour, camera)[..., :2])

    def _points(self, predicted: Tensor, labels: Tensor) -> dict[str, Tensor]:
        w = self.weights
        landmark = (
            points.landmark_loss(predicted, labels, self.point_weights)
            if w.useWlmk
            else points.unweighted_landmark_loss(predicted, labels)
        )
        terms = {
            "landmark": w.lmk * landmark,
            "eye_distance": w.eyed * points.opening_loss(predicted, labels, self.lids),
            "lip_distance": w.lipd * points.opening_loss(predicted, labels, self.lips),
        }
        weights = (w.lmk, w.eyed, w.lipd)
        return {name: term for (name, term), weight in zip(terms.items(), weights, strict=True) if weight}

    def _colours(
        self, codes: Codes, decoded: Decoded, flat: FlatBatch
    ) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """Terms that need a rendered picture, and the pictures."""
        w, albedo_model = self.weights, self.deca.albedo
        assert albedo_model is not None  # noqa: S101 - `check_colours`; tells mypy
        doubled = len(decoded.vertices) > codes.batch_size
        rendered = render(
            self.deca.head,
            decoded.projected,
            vertex_normals(decoded.vertices, self.deca.head.faces),
            flat.images.shape[-1],
        )
        albedo, light, photos, masks = albedo_model(codes.albedo), codes.light, flat.images, flat.masks
        if doubled:
            albedo, light, photos, masks = (twice(value) for value in (albedo, light, photos, masks))
        terms, shown = {}, {}
        if w.photo > 0:
            predicted = self._predict(rendered, albedo, light)
            mask = masks if w.useSeg else rendered.face
            terms["photometric_texture"] = w.photo * colours.photometric_loss(predicted, photos, mask)
            shown["predicted_images"] = predicted[: codes.batch_size].detach()
        if w.id > 0:
            overlay = self._overlay(rendered, albedo.detach(), light.detach(), photos)
            terms["identity"] = w.id * self._identity(overlay, flat.images)
            shown["overlay_images"] = overlay[: codes.batch_size].detach()
        return terms, shown

    def _predict(self, rendered: Rendered, albedo: Tensor, light: Tensor) -> Tensor:
        colour = sample(albedo, rendered.grid)
        if self.settings.light_in_photometric:
            colour = colour * sh_shading(rendered.normals, light)
        return colour * rendered.face

    def _overlay(self, rendered: Rendered, albedo: Tensor, light: Tensor, photos: Tensor) -> Tensor:
        """The lit face laid over the photo; gradients reach the geometry only (spec section 8.5)."""
        lit = sample(albedo, rendered.grid) * sh_shading(rendered.normals, light)
        mask = rendered.face if self.settings.photo_behind_overlay else rendered.mask
        return lit * mask + photos * (1 - mask)

    def _identity(self, overlay: Tensor, photos: Tensor) -> Tensor:
        assert self.identity_network is not None  # noqa: S101 - checked at the start; tells mypy
        with torch.no_grad():
            truth = self.identity_network(photos)
        copies = len(overlay) // len(photos)
        return colours.identity_loss(self.identity_network(overlay), truth.repeat(copies, 1))

    def _regularisers(self, codes: Codes) -> dict[str, Tensor]:
        """Sums over the doubled batch: swapping does not change them, so they are taken once and counted twice."""
        w, count = self.weights, COPIES * self.settings.processes
        terms = {}
        energies = (
            ("shape_reg", w.reg_shape, codes.shape),
            ("expression_reg", w.reg_exp, codes.expression),
            ("tex_reg", w.reg_tex, codes.albedo),
        )
        for name, weight, code in energies:
            if weight > 0 and code.shape[1]:
                terms[name] = weight * count * colours.code_energy(code)
        if w.reg_light > 0 and codes.light.shape[1]:
            terms["light_reg"] = w.reg_light * colours.light_loss(codes.light)
        if self.euler_jaw:
            jaw = colours.euler_angles(codes.pose[:, 3:])
            terms["reg_jawpose_roll"] = count * colours.jaw_roll_loss(jaw)
            terms["reg_jawpose_close"] = count * colours.jaw_close_loss(jaw)
        return terms

    @torch.no_grad()
    def _pictures(self, decoded: Decoded, flat: FlatBatch) -> dict[str, Tensor]:
        count, head = len(flat.images), self.deca.head
        vertices, projected = decoded.vertices[:count].detach(), decoded.projected[:count].detach()
        normals = vertex_normals(vertices, head.faces)
        return {
            "inputs": flat.images,
            "landmarks2d": decoded.landmarks[:count].detach(),
            "landmarks2d_gt": flat.landmarks[..., :2],
            "shape_images": grey_heads(head, vertices, normals, projected, flat.images.shape[-1]),
        }
