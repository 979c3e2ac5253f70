"""Decode fits into captures: plain arrays in the photo's own pixels."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deca_cli.export.capture import Capture, Detail, Topology
from deca_cli.export.clay import clay_light, facing_limit
from deca_cli.export.closeup import overlay_cut
from deca_cli.export.ears import skin_and_ears
from deca_cli.export.shape_layers import Heads, draw_layers_together
from deca_cli.packs.detail_mesh import load_detail_mesh
from deca_cli.packs.fingerprint import pack_fingerprint
from deca_cli.pipeline.fit import codes_of
from deca_cli.pipeline.small_arrays import PhotoOf, small_arrays
from deca_cli.pipeline.transfer import fetch_pictures
from deca_cli.render.fine_mesh import fine_mesh, rounding
from deca_cli.render.normals import vertex_normals
from deca_cli.render.uv import (
    DETAIL_NORMALS,
    UvChart,
    detail_vertices,
    make_chart,
    uv_to_ndc,
    world2uv,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from deca_cli.export.shape_layers import Fetched, Layers
    from deca_cli.networks.deca import Head
    from deca_cli.packs.store import Pack
    from deca_cli.photo.read import Photo
    from deca_cli.pipeline.fit import Fit
    from deca_cli.pipeline.sheets import Sheets


@dataclass(frozen=True, eq=False)
class One:
    """One face to decode."""

    photo: Photo  # its outline will do
    fit: Fit
    number: int  # 1 is the largest of its photo
    count: int  # faces of that photo


@dataclass(frozen=True, eq=False)
class Decoder:
    """A pack and what all its heads share, computed once."""

    pack: Pack
    fingerprint: str  # of the pack's files
    topology: Topology
    chart: UvChart | None  # of the detail map; None without detail networks
    detail_mesh: UvChart | None  # vertices and triangles of the detail mesh
    draw_on: str = "cpu"  # device on which pictures are drawn
    whole: bool = True  # captures hold the meshes, too, not only what overlay, landmarks and parameters need
    # [N, 2], where its vertices lie in UV; None: in the middle of their texels.
    detail_uv: np.ndarray | None = None
    sheets: Sheets | None = None  # shared memory for layers; None: they stay in this process's own

    def __post_init__(self) -> None:
        if self.draw_on != "cpu" and self.draw_on != str(self.device):
            raise ValueError(f"pictures can be drawn on cpu or {self.device}, not on {self.draw_on}")

    @property
    def device(self) -> torch.device:
        """Where the networks are."""
        return self.pack.deca.head.template_vertices.device

    @staticmethod
    def of(pack: Pack, *, draw_on: str = "cpu", whole: bool = True) -> Decoder:
        """Prepare a pack.

        Args:
            pack: the model.
            draw_on: `cpu`, or the pack's CUDA device if it has the compiled rasteriser; then captures come with the
                layers of their overlays.
            whole: whether meshes are asked for.
        """
        assets, head = pack.assets, pack.deca.head
        mirror = assets.mirror_vertices
        topology = Topology(
            faces=assets.faces.astype(np.int64),
            uv_coordinates=assets.uv_coordinates,
            uv_faces=assets.uv_faces.astype(np.int64),
            mirror_vertices=None if mirror is None else mirror.astype(np.int64),
            clay_light=clay_light(assets),
            facing_limit=facing_limit(assets),
            skin_and_ears=skin_and_ears(assets),
        )
        chart = mesh = places = None
        if pack.has_detail:
            size = len(assets.fixed_displacement)
            device = head.template_vertices.device
            parts = [part.to(draw_on) for part in (head.uv_coordinates, head.uv_faces, head.faces)]
            chart = make_chart(parts[0], parts[1], parts[2], size).to(device)
            mesh, places = _detail_mesh(pack, chart, cut=whole)
            mesh = mesh.to(device)
        return Decoder(pack, pack_fingerprint(pack.folder), topology, chart, mesh, draw_on, whole, places)

    def decode(self, photo: Photo, fits: Sequence[Fit]) -> list[Capture]:
        """Decode all faces of a photo together."""
        return self.decode_faces([One(photo, fit, number, len(fits)) for number, fit in enumerate(fits, 1)])

    @torch.inference_mode()
    def decode_faces(self, faces: Sequence[One]) -> list[Capture]:
        """Decode faces, perhaps of several photos, in one batch."""
        if not faces:
            return []
        arrays = self._arrays([face.fit for face in faces], [face.photo for face in faces])
        return [
            self._capture(face, {name: rows[index] for name, rows in arrays.items()})
            for index, face in enumerate(faces)
        ]

    def _arrays(self, fits: Sequence[Fit], photos: Sequence[Photo]) -> dict[str, Any]:
        """What differs from face to face, by the name in `Capture`: arrays or lists, one row for each fit."""
        codes = codes_of(fits)
        head = self.pack.deca.decode(codes)
        if head.vertices.is_cuda:
            # A GPU adds up a vertex's faces in any order: in float64 no digit that is kept depends on that.
            exact = vertex_normals(head.vertices.double(), self.pack.deca.head.faces)
            head = replace(head, normals=exact.float())
        photo_of = PhotoOf(fits, codes, self.pack.deca.preprocessing)
        vertices_px = photo_of.pixels(head.projected)
        fine = self.detail_normals(head.vertices, head.normals, head.displacement)
        ends = vertices_px[..., :2].amin(1), vertices_px[..., :2].amax(1)
        known, [low, high] = small_arrays(head, codes, photo_of, ends)
        drawn = self.draw_on != "cpu"
        kept = slice(None) if self.whole or not drawn else slice(0, 0)  # of the vertices
        large = {"vertices": head.vertices, "normals": head.normals, "vertices_px": vertices_px}
        known |= {name: _array(value[:, kept]) for name, value in large.items()}
        known["detail"] = self._details(head, fine)
        known["layers"] = [None] * len(fits)
        if drawn:
            landmarks = known["landmarks_2d_px"]
            known["layers"] = self._layers(photos, landmarks, (low, high), vertices_px, head.normals, fine)
        return known

    def _layers(
        self,
        photos: Sequence[Photo],
        landmarks_px: np.ndarray,
        ends: tuple[np.ndarray, np.ndarray],
        vertices_px: Tensor,
        normals: Tensor,
        fine: Tensor | None,
    ) -> list[Layers]:
        """What is laid over each photo's overlay, drawn on the device of the networks.

        Args:
            photos: of the faces.
            landmarks_px: [B, 68, 2].
            ends: least and greatest x and y of the vertices, [B, 2] each.
            vertices_px: [B, V, 3].
            normals: [B, V, 3].
            fine: of `detail_normals`.
        """
        model = self.pack.deca.head
        offset = self.pack.deca.preprocessing.pixel_offset
        cuts = [
            overlay_cut(points, (photo.width, photo.height))
            for points, photo in zip(landmarks_px, photos, strict=True)
        ]
        first = np.array([[cut.region.left, cut.region.top, 0.0] for cut in cuts])
        heads = Heads(
            vertices_px - torch.from_numpy(first).to(vertices_px.device, non_blocking=True)[:, None],
            normals,
            fine,
            model.faces,
            uv_to_ndc(model.uv_coordinates),
            model.uv_faces,
            offset,
            self._clay_light(normals),
        )
        low, high = (end - first[:, :2] for end in ends)
        parts = [(cut.region.width, cut.region.height) for cut in cuts]
        return draw_layers_together(heads, (low, high), parts, [cut.size for cut in cuts], self.fetch)

    def _clay_light(self, like: Tensor) -> Tensor | None:
        light = self.topology.clay_light
        return None if light is None else torch.from_numpy(light).to(like, non_blocking=True)

    def fetch(self, pictures: Sequence[Tensor]) -> list[Fetched]:
        """Bring pictures from the GPU, into shared memory while there is room."""
        return fetch_pictures(pictures, self.sheets)

    def _capture(self, face: One, own: Mapping[str, Any]) -> Capture:
        manifest, preprocessing, fit = self.pack.manifest, self.pack.deca.preprocessing, face.fit
        return Capture(
            photo=face.photo,
            face_number=face.number,
            face_count=face.count,
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

    def _details(self, head: Head, fine: Tensor | None) -> list[Detail | None]:
        """The detail of every head of a batch (specification 7.1 and 7.4), or None for each."""
        drawn = self.draw_on != "cpu"
        if fine is None or (drawn and not self.whole):
            return [None] * len(head.vertices)
        normals = _array(fine)
        dense = np.empty((len(normals), 0, 3), np.float32)
        if self.whole and self.detail_mesh is not None and head.displacement is not None:
            fixed = self.pack.deca.head.fixed_displacement
            displaced = head.displacement + fixed
            places = detail_vertices(self.detail_mesh, head.vertices, head.normals, displaced)
            if self.detail_uv is not None:
                places = places + rounding(self.detail_mesh, head.vertices, head.normals)
            dense = _array(places)
        faces, coordinates = self.detail_topology
        return [Detail(normals[index], dense[index], faces, coordinates) for index in range(len(dense))]

    @cached_property
    def detail_topology(self) -> tuple[np.ndarray, np.ndarray]:
        """Triangles of the detail mesh, int64 [M, 3], and where its vertices lie in UV, float32 [N, 2]."""
        mesh = self.detail_mesh
        if mesh is None or not self.whole:
            return np.empty((0, 3), np.int64), np.empty((0, 2), np.float32)
        if self.detail_uv is not None:
            return _array(mesh.faces), self.detail_uv
        rows, columns = (mesh.texels // mesh.size).float(), (mesh.texels % mesh.size).float()
        coordinates = torch.stack([columns + 0.5, mesh.size - rows - 0.5], dim=1) / mesh.size
        return _array(mesh.faces), _array(coordinates)


def _detail_mesh(pack: Pack, chart: UvChart, *, cut: bool) -> tuple[UvChart, np.ndarray | None]:
    """The pack's own detail mesh; else the texels of the chart as officially, or for our own heads, where `cut`, the head cut fine."""
    assets = pack.assets
    own = load_detail_mesh(pack.folder, chart.size, len(assets.template_vertices))
    if own is not None or pack.manifest.detail_normals != "smooth" or not cut:
        return (chart if own is None else own), None
    fine = fine_mesh(assets.uv_coordinates, assets.uv_faces, assets.faces, chart)
    return fine.points, fine.uv_coordinates


def _array(tensor: Tensor) -> np.ndarray:
    array: np.ndarray = tensor.cpu().numpy()
    return array
