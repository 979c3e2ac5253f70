"""Decode fits into captures: plain arrays in the photo's own pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deca_cli.export.capture import Capture, Detail, Topology
from deca_cli.heads.camera import ndc_to_photo_pixels
from deca_cli.heads.rotations import axis_angle_to_matrix, matrix_to_euler_degrees
from deca_cli.networks.codes import Codes
from deca_cli.packs.detail_mesh import load_detail_mesh
from deca_cli.packs.fingerprint import pack_fingerprint
from deca_cli.render.uv import DETAIL_NORMALS, UvChart, detail_vertices, make_chart, world2uv

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
    draw_on: str = "cpu"  # device on which pictures are drawn

    def __post_init__(self) -> None:
        if self.draw_on != "cpu" and self.draw_on != str(self.device):
            raise ValueError(f"pictures can be drawn on cpu or {self.device}, not on {self.draw_on}")

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.pack.deca.head.template_vertices.device

    @staticmethod
    def of(pack: Pack, *, draw_on: str = "cpu") -> Decoder:
        """Prepare a pack.

        Args:
            pack: the model.
            draw_on: `cpu`, or the pack's CUDA device if it has the compiled rasteriser.
        """
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
            device = head.template_vertices.device
            parts = [part.cpu() for part in (head.uv_coordinates, head.uv_faces, head.faces)]
            chart = make_chart(parts[0], parts[1], parts[2], size).to(device)
            own = load_detail_mesh(pack.folder, size, len(assets.template_vertices))
            mesh = chart if own is None else own.to(device)
        return Decoder(pack, pack_fingerprint(pack.folder), topology, chart, mesh, draw_on)

    def decode(self, photo: Photo, fits: Sequence[Fit]) -> list[Capture]:
        """Decode all faces of a photo together."""
        return self.decode_many([(photo, fits)])[0]

    @torch.inference_mode()
    def decode_many(self, photos: Sequence[tuple[Photo, Sequence[Fit]]]) -> list[list[Capture]]:
        """Decode all faces of several photos in one batch; one list for each photo, empty where it has no faces."""
        flat = [fit for _, fits in photos for fit in fits]
        if not flat:
            return [[] for _ in photos]
        arrays = self._arrays(flat)
        captures, index = [], 0
        for photo, fits in photos:
            captures.append(
                [
                    self._capture(
                        photo, fit, number, len(fits), {n: a[index + number] for n, a in arrays.items()}
                    )
                    for number, fit in enumerate(fits)
                ]
            )
            index += len(fits)
        return captures

    def _arrays(self, fits: Sequence[Fit]) -> dict[str, Any]:
        """What differs from face to face, by the name in `Capture`: arrays or lists, one row for each fit."""
        preprocessing = self.pack.deca.preprocessing
        codes = Codes.concat([fit.codes for fit in fits])
        head = self.pack.deca.decode(codes)
        to_photo = torch.from_numpy(np.stack([fit.crop.to_photo for fit in fits])).to(codes.camera.device)
        # Photo pixels per unit of the crop's NDC; the crop is a similarity, so x, y and z share it.
        pixels_per_unit = torch.hypot(to_photo[:, 0, 0], to_photo[:, 1, 0]) * preprocessing.image_size / 2

        def pixels(ndc: Tensor) -> np.ndarray:
            """[B, N, 3] NDC -> float64 [B, N, 3] photo pixels, z too."""
            points = ndc.double()
            flat = ndc_to_photo_pixels(points, to_photo, preprocessing.image_size, preprocessing.pixel_offset)
            return _array(torch.cat([flat, points[..., 2:] * pixels_per_unit[:, None, None]], dim=2))

        turned = matrix_to_euler_degrees(axis_angle_to_matrix(codes.pose[:, :3]))
        stored = {name: _array(value.flatten(1)) for name, value in codes.items()}
        return {
            "codes": [{name: rows[index] for name, rows in stored.items()} for index in range(len(fits))],
            "head_pose_deg": [tuple(angles) for angles in turned.tolist()],
            "vertices": _array(head.vertices),
            "normals": _array(head.normals),
            "vertices_px": pixels(head.projected),
            "landmarks_2d_px": pixels(head.landmarks2d)[..., :2],
            "landmarks_3d_px": pixels(head.landmarks3d),
            "landmarks_3d": _array(head.landmarks3d_world),
            "landmarks_visible": _array(head.landmarks_visible),
            "pixels_per_metre": (codes.camera[:, 0].double() * pixels_per_unit).tolist(),
            "detail": self._details(head),
        }

    def _capture(self, photo: Photo, fit: Fit, index: int, count: int, own: Mapping[str, Any]) -> Capture:
        manifest, preprocessing = self.pack.manifest, self.pack.deca.preprocessing
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
            expression_names=tuple(self.pack.assets.expression_names),
            crop_to_photo=fit.crop.to_photo,
            crop_size=preprocessing.image_size,
            topology=self.topology,
            pixel_offset=preprocessing.pixel_offset,
            draw_on=self.draw_on,
            **own,
        )

    def detail_normals(self, vertices: Tensor, normals: Tensor, displacement: Tensor | None) -> Tensor | None:
        """Normals of the detail over the chart [B, 3, U, U], as the pack wants them; None without detail.

        Args:
            vertices: [B, V, 3] metres, head frame.
            normals: [B, V, 3].
            displacement: [B, 1, U, U] metres, or None.
        """
        if self.chart is None or displacement is None:
            return None
        head, make_normals = self.pack.deca.head, DETAIL_NORMALS[self.pack.manifest.detail_normals]
        maps = world2uv(self.chart, torch.cat([vertices, normals], dim=2))
        return make_normals(
            maps[:, :3], maps[:, 3:], displacement, head.fixed_displacement, head.face_eye_mask
        )

    def _details(self, head: Head) -> list[Detail | None]:
        """The detail of every head of a batch (specification 7.1 and 7.4), or None for each."""
        fine = self.detail_normals(head.vertices, head.normals, head.displacement)
        if fine is None or self.detail_mesh is None or head.displacement is None:
            return [None] * len(head.vertices)
        mesh, fixed = self.detail_mesh, self.pack.deca.head.fixed_displacement
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
