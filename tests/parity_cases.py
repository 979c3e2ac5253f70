"""Every comparison with the official release, as numbers: tests assert them, `docs/parity.md` lists them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.assets.albedo_file import read_albedo
from deca_cli.heads.albedo import Albedo
from deca_cli.heads.camera import project
from deca_cli.heads.rotations import euler_to_axis_angle
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.layout import DECA_LAYOUT, raw_to_codes
from deca_cli.photo.crop import crop_face, crop_whole
from deca_cli.render import uv
from deca_cli.render.normals import vertex_normals
from official_release import CODE_NAMES, Release
from parity_compare import (
    CODES,
    CROPS,
    EXACT,
    GEOMETRY,
    TRUNCATED,
    Deviation,
    Limit,
    at,
    compare,
    compare_outputs,
)
from parity_decode import (
    decode_into_photo,
    decode_pytorch3d,
    decode_variants,
    decode_with_texture,
    decode_without_texture,
    from_photo_to_pictures,
    lights,
)
from parity_rasteriser import rasteriser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor


# --------------------------------------------------------------------------- the head


@torch.inference_mode()
def flame(release: Release) -> list[Deviation]:
    data = release.arrays("flame")
    shape, expression, pose, eyes = (
        torch.from_numpy(data[name]) for name in ("shape", "exp", "pose", "eye_pose")
    )
    head = release.head
    vertices = head(shape, expression, pose)
    landmarks = head.landmarks(vertices, pose)
    looking = head(shape, expression, pose, eyes)
    plain = head(shape[1:2], expression[1:2], torch.zeros(1, 6))
    chosen = torch.from_numpy(data["verts"][1:3])
    unflipped = project(chosen, torch.from_numpy(data["proj_cam"])) * torch.tensor([1.0, -1.0, -1.0])
    found = [
        compare("FLAME: vertices", vertices, data["verts"], GEOMETRY),
        compare("FLAME: contour landmarks", landmarks.contour, data["landmarks2d"], GEOMETRY),
        compare("FLAME: fixed landmarks", landmarks.fixed, data["landmarks3d"], GEOMETRY),
        compare(
            "FLAME: vertices with eye pose", looking[: len(data["verts_eye"])], data["verts_eye"], GEOMETRY
        ),
        compare(
            "FLAME: landmarks with eye pose",
            head.landmarks(looking, pose).contour,
            data["landmarks2d_eye"],
            GEOMETRY,
        ),
        compare("FLAME: vertices without pose", plain, data["verts_nopose"], GEOMETRY),
        compare(
            "FLAME: vertex normals", vertex_normals(chosen, head.faces), data["vertex_normals_1_2"], GEOMETRY
        ),
        compare("camera: projection before the flip", unflipped, data["proj_out"], GEOMETRY),
    ]
    code = torch.from_numpy(data["albedo_code"])
    for name, key in (("FLAME_albedo_from_BFM.npz", "albedo_s2"), ("FLAME_texture.npz", "albedo_flame_s2")):
        colours = Albedo(read_albedo(release.weights / name))(code)
        # Stored from row 1 and column 0 on.
        found.append(compare(f"albedo of {name}", colours[:, :, 1::2, ::2], data[key], GEOMETRY))
    return found


# --------------------------------------------------------------------------- photos and codes


@dataclass(frozen=True)
class OfficialRule:
    image_size: int = 224
    crop_factor: float = 1.375
    box_side: str = "mean"
    pixel_offset: float = 0.0


def crops(release: Release) -> list[Deviation]:
    arrays = release.arrays("preprocess")
    images, places = [], []
    for index, case in enumerate(release.photo_cases):
        photo = release.photo(index)
        if case["mode"] == "nocrop":
            crop = crop_whole(photo, OfficialRule())
        else:
            box = (case["box_left"], case["box_top"], case["box_right"], case["box_bottom"])
            kind = "detector" if case["box_type"] == "bbox" else "landmarks"
            crop = crop_face(photo, box, OfficialRule(), box_kind=kind)
        images.append((crop.image, arrays[f"crop_u16_{index}"] / 65535))
        places.append((np.linalg.inv(crop.to_photo), arrays[f"tform_{index}"]))
    decoded = [
        hashlib.sha256(release.photo(index).pixels.transpose(2, 0, 1).tobytes()).hexdigest()
        != case["decoded_rgb_sha256"]
        for index, case in enumerate(release.photo_cases)
    ]
    return [
        compare("photos decoded to other pixels", np.array(decoded), np.zeros(len(decoded)), EXACT),
        compare(f"{len(images)} crops", *map(np.stack, zip(*images, strict=True)), CROPS),
        compare(
            "photo to crop (matrices)", *map(np.stack, zip(*places, strict=True)), Limit(1e-5, relative=1e-5)
        ),
    ]


@torch.inference_mode()
def codes(release: Release) -> list[Deviation]:
    stored = release.arrays("codes")
    found = [
        compare(f"code: {ours}", getattr(release.codes, ours), stored[theirs], CODES)
        for theirs, ours in CODE_NAMES.items()
    ]
    first = release.images[:1]
    raw = torch.zeros(2, 236)
    raw[:, 200:203] = torch.from_numpy(stored["eulerjaw_pose"][:, :3])
    raw[:, 203:206] = torch.from_numpy(stored["eulerjaw_euler"])
    layout = tuple(("pose_euler_jaw" if name == "pose" else name, size) for name, size in DECA_LAYOUT)
    degrees = torch.deg2rad(torch.from_numpy(stored["deg2rad_axis_in"]))
    displacement = release.deca.displacement(release.official_codes.select(slice(0, 2)))
    return [
        *found,
        compare("coarse features", release.deca.encoder.encoder(first), stored["E_flame_features_0"], CODES),
        compare("detail features", release.deca.detail_encoder.encoder(first), stored["E_detail_features_0"], CODES),
        compare("raw encoder output", release.deca.encoder(first), stored["parameters_0"], CODES),
        compare("jaw in Euler angles", raw_to_codes(raw, layout, CodeSizes()).codes.pose, stored["eulerjaw_pose"], GEOMETRY),
        compare("Euler angles to axis-angle", euler_to_axis_angle(torch.from_numpy(stored["euler_in"])), stored["euler_axis"], GEOMETRY),
        compare("degrees to axis-angle", euler_to_axis_angle(degrees), stored["deg2rad_axis"], GEOMETRY),
        compare("detail decoder", displacement, stored["D_detail_raw_01"], GEOMETRY),
    ]  # fmt: skip


# --------------------------------------------------------------------------- meshes and demos


@torch.inference_mode()
def meshes(release: Release) -> list[Deviation]:
    theirs = release.arrays("mesh_export")
    index = theirs["photo_index"]
    codes = at(release.official_codes, index)
    ours = release.decode(codes, release.images[index], texture=True)
    dense = uv.detail_vertices(
        release.chart, ours["op_verts"], ours["op_normals"], ours["op_displacement_map"]
    )
    texture = _truncated(ours["op_uv_texture_gt"])
    normals = _truncated(ours["op_uv_detail_normals"] * 0.5 + 0.5)
    colours = uv.at_texels(release.chart, torch.from_numpy(texture).float())[0]
    corners = (release.chart.faces + 1).numpy()
    first = theirs["dense_faces_1based_first2000"]
    coarse = release.pack.assets
    return [
        compare("mesh: coarse vertices", ours["op_verts"][0], theirs["coarse_verts"], GEOMETRY),
        compare("mesh: coarse texture coordinates", coarse.uv_coordinates, theirs["coarse_vt"], GEOMETRY),
        compare("mesh: coarse triangles", coarse.faces + 1, theirs["coarse_faces_1based"], EXACT),
        compare(
            "mesh: coarse texture triangles", coarse.uv_faces + 1, theirs["coarse_uvfaces_1based"], EXACT
        ),
        compare("mesh: detail vertices", dense[0], theirs["dense_verts"], GEOMETRY),
        compare("mesh: detail triangles", corners[: len(first)], first, EXACT),
        compare("mesh: detail colours (of 255)", colours, theirs["dense_colors_u8"], TRUNCATED),
        compare("mesh: texture picture (of 255)", _bgr(texture), theirs["texture_png_bgr_s2"], TRUNCATED),
        compare("mesh: normal map picture (of 255)", _bgr(normals), theirs["normal_png_bgr_s2"], TRUNCATED),
    ]


def _truncated(picture: Tensor) -> np.ndarray:
    """K15: pictures are written with truncation."""
    return np.floor(np.clip(picture.numpy() * 255, 0, 255))


def _bgr(picture: np.ndarray) -> np.ndarray:
    return picture[0].transpose(1, 2, 0)[1::2, 1::2, ::-1]


def transfer(release: Release) -> list[Deviation]:
    theirs = release.arrays("transfer")
    source, driver = (at(release.official_codes, theirs[f"{who}_photo"]) for who in ("source", "driver"))
    pose = torch.cat([source.pose[:, :3], driver.pose[:, 3:]], dim=1)
    mixed = replace(source, expression=driver.expression, pose=pose)
    image = release.images[theirs["source_photo"]]
    ours = release.decode(mixed, image, texture=True)
    stored = {
        (f"vis_{name}" if "images" in name else f"op_{name}"): value
        for name, value in release.arrays("transfer", "transfer_").items()
        if not name.startswith("own_")
    }
    found = compare_outputs("transfer", ours, stored, theirs["fragile"])
    own = compare_outputs(
        "transfer", ours, {"op_uv_texture_gt_s3": theirs["transfer_own_uv_texture_gt_s3"]}, None
    )
    before = release.decode(source, image, texture=True)
    kept = compare_outputs(
        "transfer, kept", before, {"op_uv_texture_gt_s3": theirs["kept_uv_texture_gt_s3"]}, None
    )
    return [*found, *own, *kept]


def teaser(release: Release) -> list[Deviation]:
    data = release.arrays("teaser")
    found = []
    for number, title in enumerate(data["frames"].tolist()):
        words = title.split()
        theirs = release.arrays("teaser", f"f{number}_")
        pose, camera = torch.from_numpy(theirs["pose"]), torch.from_numpy(theirs["cam"])
        codes = at(release.official_codes, 0)
        if words[0] not in ("yaw", "jaw"):
            codes = replace(codes, expression=at(release.official_codes, int(words[-1])).expression)
        ours = release.decode(replace(codes, pose=pose, camera=camera), release.images[:1], texture=True)
        fragile = np.ones((1, 224, 224), np.uint8)
        fragile[:, 1::3, 1::3] = theirs["fragile"]
        stored = {
            (f"vis_{name}" if "images" in name else f"op_{name}"): value for name, value in theirs.items()
        }
        found += compare_outputs(f"teaser ({title})", ours, stored, fragile)
    return found


CASES: dict[str, Callable[[Release], Iterable[Deviation]]] = {
    function.__name__: function
    for function in (
        flame, crops, codes, rasteriser, from_photo_to_pictures, decode_with_texture, decode_without_texture, decode_variants, lights, decode_into_photo,
        decode_pytorch3d, meshes, transfer, teaser,
    )
}  # fmt: skip
