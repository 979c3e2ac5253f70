"""Decode fits into captures: plain arrays in the photo's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.export.capture import Capture, Detail, Topology
from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_euler_degrees
from deca_cli.networks.codes import Codes
from deca_cli.packs.detail_mesh import load_detail_mesh
from deca_cli.packs.fingerprint import pack_fingerprint
from deca_cli.render.uv import UvChart, detail_vertices, displaced_normals, make_chart, world2uv

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deca_cli.networks.deca import Head
    from deca_cli.packs.store import Pack
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.fit import Fit


@dataclass(frozen=True, eq=False)
class Decoder:
    """A pack and what all its heads share, computed once."""

    pack: Pack
    fingerprint: str  # of the pack's files
    topology: Topology
    chart: UvChart | None  # of the detail map; None without detail networks
    detail_mesh: (
        UvChart | None
    )  # vertices and triangles of the detail mesh: the pack's own, or those of the chart

    @staticmethod
    def of(pack: Pack) -> Decoder:
        """Prepare a pack."""
        assets, head = pack.assets, pack.deca.head
        mirror = assets.mirror_vertices
        topology = Topology(
            faces=assets.faces.astype(np.int64),
            uv_coordinates=assets.uv_coordinates,
            uv_faces=assets.uv_faces.astype(np.int64),
            mirror_vertices=None if mirror is None else mirror.astype(np.int64),
        )
        chart = mesh = None
        if pack.has_detail:
            size = len(assets.fixed_displacement)
            chart = make_chart(head.uv_coordinates, head.uv_faces, head.faces, size)
            own = load_detail_mesh(pack.folder, size, len(assets.template_vertices))
            mesh = chart if own is None else own.to(head.template_vertices.device)
        return Decoder(pack, pack_fingerprint(pack.folder), topology, chart, mesh)

    @torch.inference_mode()
    def decode(self, photo: Photo, fits: Sequence[Fit]) -> list[Capture]:
        """Decode all faces of a photo together."""
        if not fits:
            return []
        codes = Codes.concat([fit.codes for fit in fits])
        head = self.pack.deca.decode(codes)
        angles = matrix_to_euler_degrees(axis_angle_to_matrix(codes.pose[:, :3])).tolist()
        details = self._details(head)
        return [
            self._capture(photo, fit, head, index, len(fits), tuple(angles[index]), details[index])
            for index, fit in enumerate(fits)
        ]

    def _capture(
        self,
        photo: Photo,
        fit: Fit,
        head: Head,
        index: int,
        count: int,
        angles: tuple[float, float, float],
        detail: Detail | None,
    ) -> Capture:
        manifest, assets, preprocessing = self.pack.manifest, self.pack.assets, self.pack.deca.preprocessing
        size, offset, to_photo = preprocessing.image_size, preprocessing.pixel_offset, fit.crop.to_photo
        # Photo pixels per unit of the crop's NDC; the crop is a similarity, so x, y and z share it.
        pixels_per_unit = float(np.hypot(to_photo[0, 0], to_photo[1, 0])) * size / 2

        def pixels(ndc: Tensor) -> np.ndarray:
            """[B, N, 3] NDC -> float64 [N, 3] photo pixels of this face, z too."""
            points = ndc[index].double().cpu()
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
            model=manifest.name,
            model_licence=manifest.licence,
            model_fingerprint=self.fingerprint,
            codes={name: value[0].flatten().cpu().numpy() for name, value in fit.codes.items()},
            expression_names=tuple(assets.expression_names),
            head_pose_deg=angles,
            crop_to_photo=to_photo,
            crop_size=size,
            topology=self.topology,
            vertices=_array(head.vertices[index]),
            normals=_array(head.normals[index]),
            vertices_px=pixels(head.projected),
            landmarks_2d_px=pixels(head.landmarks2d)[:, :2],
            landmarks_3d_px=pixels(head.landmarks3d),
            landmarks_3d=_array(head.landmarks3d_world[index]),
            landmarks_visible=_array(head.landmarks_visible[index]),
            pixels_per_metre=float(fit.codes.camera[0, 0]) * pixels_per_unit,
            pixel_offset=offset,
            detail=detail,
        )

    def _details(self, head: Head) -> list[Detail | None]:
        """The detail of every head of a batch (specification 7.1 and 7.4), or None for each."""
        if self.chart is None or self.detail_mesh is None or head.displacement is None:
            return [None] * len(head.vertices)
        model, chart, mesh = self.pack.deca.head, self.chart, self.detail_mesh
        positions, normals = world2uv(chart, head.vertices), world2uv(chart, head.normals)
        mask, fixed = model.face_eye_mask, model.fixed_displacement
        fine = displaced_normals(positions, normals, head.displacement, fixed, mask)
        dense = detail_vertices(mesh, head.vertices, head.normals, head.displacement + fixed)
        rows, columns = (mesh.texels // mesh.size).float(), (mesh.texels % mesh.size).float()
        coordinates = torch.stack([columns + 0.5, mesh.size - rows - 0.5], dim=1) / mesh.size
        faces = _array(mesh.faces)
        return [
            Detail(_array(fine[index]), _array(dense[index]), faces, _array(coordinates))
            for index in range(len(dense))
        ]


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
