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
from deca_cli.render import passes, uv
from deca_cli.render.interpolate import interpolate
from deca_cli.render.lighting import directional_shading, point_shading, sh_shading
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize
from official_release import CODE_NAMES, Release, thinned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from torch import Tensor

    from deca_cli.networks.codes import Codes
    from deca_cli.render.fragments import Fragments


@dataclass(frozen=True)
class Limit:
    """What may differ, from the README of the data: all values by `worst`, 99.9 % of them by `most`."""

    worst: float
    most: float | None = None
    relative: float = 0.0

    def __str__(self) -> str:
        text = f"{self.worst:g}"
        if self.relative:
            text += f" + {self.relative:g} of the value"
        return text if self.most is None else f"{text}; 99.9 %: {self.most:g}"


GEOMETRY = Limit(1e-6, relative=1e-5)
CODES = Limit(1e-5, relative=1e-5)
CROPS = Limit(2e-5)
# The release's own rounding of vertices (2e-8 m) turns the normals of its smallest triangles by up to 5e-5.
NORMALS = Limit(1e-4)
IMAGES = Limit(5e-4, most=1e-5)
DETAIL = Limit(5e-4, most=5e-5)
# With codes of our own, which differ from theirs by up to 1e-5; and for differences of neighbouring points.
END_TO_END = Limit(5e-4, most=1e-4)
PYTORCH3D = Limit(4e-3, most=1e-3)
TRIANGLES = Limit(2e-4)  # the share of other triangles: float64 decides a pixel in ten thousand another way
SHARE_OF_PIXELS = Limit(0.01)  # no map says where edges and ties are
EXACT = Limit(0.0)
TRUNCATED = Limit(1.0)  # of 255: a value that lies on a step may fall to either side


@dataclass(frozen=True)
class Deviation:
    """One quantity compared."""

    quantity: str
    limit: Limit
    count: int
    worst: float
    most: float  # 99.9 % of the values are within this
    excess: float  # 1 = at the limit

    @property
    def holds(self) -> bool:
        return self.count > 0 and self.excess <= 1


def compare(
    quantity: str, have: Tensor | np.ndarray, want: np.ndarray, limit: Limit, where: np.ndarray | None = None
) -> Deviation:
    """Measure how far two arrays are apart, where `where` says so (broadcast over their shape)."""
    have, want = np.asarray(have, dtype=np.float64), np.asarray(want, dtype=np.float64)
    assert have.shape == want.shape, f"{quantity}: {have.shape} against {want.shape}"
    errors = np.abs(have - want)
    allowed = limit.worst + limit.relative * np.abs(want)
    if where is not None:
        chosen = np.broadcast_to(where, errors.shape)
        errors, allowed = errors[chosen], allowed[chosen]
    if not errors.size:
        return Deviation(quantity, limit, 0, 0.0, 0.0, np.inf)
    assert np.isfinite(errors).all(), f"{quantity} has values that are no numbers"
    most = float(np.quantile(errors, 0.999))
    with np.errstate(divide="ignore", invalid="ignore"):
        excess = float(np.where(errors == 0, 0.0, errors / allowed).max())
    if limit.most is not None:
        excess = max(excess, most / limit.most)
    return Deviation(quantity, limit, errors.size, float(errors.max()), most, excess)


LIMITS = {
    "op_verts": GEOMETRY,
    "op_trans_verts": GEOMETRY,
    "op_landmarks2d": GEOMETRY,
    "op_landmarks3d": GEOMETRY,
    "op_landmarks3d_world": GEOMETRY,
    "op_normals": NORMALS,
    "op_displacement_map": GEOMETRY,
    "op_albedo": GEOMETRY,
    "op_alpha_images": EXACT,
    "op_grid": IMAGES,
    "op_normal_images": DETAIL,
    "op_rendered_images": IMAGES,
    "op_uv_texture": DETAIL,
    "op_uv_texture_gt": DETAIL,
    "op_uv_detail_normals": END_TO_END,
    "vis_shape_images": IMAGES,
    "vis_shape_detail_images": DETAIL,
    "depth_image": IMAGES,
}
DRAWN = ("op_grid", "op_alpha_images", "op_normal_images", "op_rendered_images", "vis_shape", "depth_image")
NOT_OURS = ("vis_landmarks", "vis_inputs")  # drawings of points, which we draw in our own way


def compare_outputs(
    title: str,
    ours: dict[str, Tensor],
    theirs: dict[str, np.ndarray],
    fragile: np.ndarray | None,
    *,
    stride: int | None = None,
    limits: dict[str, Limit] | None = None,
) -> list[Deviation]:
    """Compare everything that both have; names in the file may end in `_s3` and the like."""
    found = []
    for stored, value in theirs.items():
        name = next((name for name in ours if stored == name or stored.startswith(f"{name}_s")), None)
        if name is None or stored.startswith(NOT_OURS):
            continue
        have = ours[name].numpy()
        limit = (limits or LIMITS).get(name, LIMITS[name])
        want = value / 65535 if value.dtype == np.uint16 else value
        if name == "op_trans_verts":
            want, shift = _without_shift(want, have)
            limit = Limit(3e-6, relative=1e-5) if shift else limit  # adding 10 rounds z to 2e-6 (README)
        where = None
        if have.ndim == 4:
            rows = 1 if name == "op_grid" else 2
            have = thinned(
                have, want.shape[rows], rows=rows, given=stride if name.startswith(DRAWN) else None
            )
            if name.startswith(DRAWN) and fragile is not None:
                clear = thinned(fragile, want.shape[rows], rows=1, given=stride) == 0
                where = clear[..., None] if name == "op_grid" else clear[:, None]
        found.append(
            compare(f"{title}: {name.removeprefix('op_').removeprefix('vis_')}", have, want, limit, where)
        )
    return found


def _without_shift(points: np.ndarray, ours: np.ndarray) -> tuple[np.ndarray, float]:
    """The release adds 10 to z in place, up to three times."""
    shift = 10 * np.rint((points[..., 2] - ours[..., 2]).mean() / 10)
    return points - np.array([0, 0, shift], np.float32), float(shift)


def at(codes: Codes, index: np.ndarray) -> Codes:
    return codes.select(torch.from_numpy(np.atleast_1d(index)))


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


# --------------------------------------------------------------------------- decoding


def decode_with_texture(release: Release) -> list[Deviation]:
    theirs = release.arrays("decode_tex_full")
    index = theirs["photo_index"]
    ours = release.decode(at(release.official_codes, index), release.images[index], texture=True)
    return compare_outputs("decode with texture", ours, theirs, theirs["fragile"])


def from_photo_to_pictures(release: Release) -> list[Deviation]:
    """The whole path with our own codes; the cases below start from theirs, so that each stands on its own."""
    theirs = release.arrays("decode_tex_full")
    index = theirs["photo_index"]
    ours = release.decode(at(release.codes, index), release.images[index], texture=True)
    looser = {name: END_TO_END if limit.most is not None else limit for name, limit in LIMITS.items()}
    looser |= {
        "op_albedo": CODES,
        "op_normals": Limit(3e-4),
        "op_trans_verts": CODES,
        "op_landmarks2d": CODES,
    }
    looser |= {"op_landmarks3d": CODES}
    return compare_outputs("encoded and decoded", ours, theirs, theirs["fragile"], limits=looser)


def decode_without_texture(release: Release) -> list[Deviation]:
    theirs = release.arrays("decode_notex")
    index = theirs["photo_index"]
    ours = release.decode(at(release.official_codes, index), release.images[index], texture=False)
    found = compare_outputs("decode without texture", ours, theirs, theirs["fragile"])
    names = {name.removeprefix("op_") for name in ours if name.startswith("op_")}
    assert names == set(theirs["keys"].tolist())
    whole = theirs["op_uv_texture_gt_full_u16"] / 65535
    return [
        *found,
        compare("decode without texture: whole uv_texture_gt", ours["op_uv_texture_gt"], whole, DETAIL),
    ]


def decode_variants(release: Release) -> list[Deviation]:
    theirs = release.arrays("decode_variants")
    codes = release.official_codes
    plain = release.decode(at(codes, 0), release.images[:1], texture=True)
    plain["op_landmarks3d"] = plain["op_landmarks3d"][..., :3]
    named = {f"op_{name}": value for name, value in release.arrays("decode_variants", "plain_").items()}
    found = compare_outputs("plain decode", plain, named, None)
    assert set(theirs["plain_keys"].tolist()) <= {name.removeprefix("op_") for name in plain}
    driver = at(codes, theirs["iddict_photo"])
    driven = release.decode(at(codes, 0), release.images[:1], texture=True, detail_of=driver)
    fragile = release.arrays("decode_tex_full")["fragile"]  # of the same photo
    found += compare_outputs(
        "wrinkles of another",
        driven,
        {
            "op_displacement_map_s2": theirs["iddict_displacement_s2"],
            "vis_shape_detail_images_s3": theirs["iddict_shape_detail_images_s3"],
        },
        fragile,
    )
    index = theirs["noextract_photo"]
    kept = release.decode(at(codes, index), release.images[index], texture=True, extract=False)
    stored = {"op_uv_texture_gt_s3": theirs["noextract_uv_texture_gt_s3"]}
    return found + compare_outputs("no texture from the photo", kept, stored, None)


@torch.inference_mode()
def lights(release: Release) -> list[Deviation]:
    theirs = release.arrays("decode_variants")
    photo = theirs["lit_photo"]
    codes = at(release.official_codes, photo)
    head = release.deca.decode(codes)
    surface = release.draw(head.vertices, head.normals, head.projected, (224, 224), "standard").surface
    albedo = passes.sample_texture(surface, release.deca.albedo(codes.albedo))
    points = torch.from_numpy(theirs["lit_point_lights"])
    shadings = {
        "sh": sh_shading(surface.normals, codes.light),
        "point": point_shading(surface.positions, surface.normals, points),
        "dir": directional_shading(surface.normals, points),
    }
    clear = (theirs["lit_fragile"] == 0)[:, None]
    covered = clear & (surface.alpha.numpy() > 0)
    found = [
        compare("lights: facing mask", surface.facing_mask(passes.TEXTURE_FACING), theirs["lit_pos_mask"], EXACT, _off_threshold(surface, covered)),
        compare("lights: albedo_images", _third(albedo), theirs["lit_albedo_images_s3"], IMAGES, _third(covered)),
        compare("lights: transformed_normals", vertex_normals(head.projected, release.head.faces), theirs["lit_transformed_normals"], Limit(5e-4, most=2e-4)),
        compare("world2uv of the vertices", uv.world2uv(release.chart, head.vertices)[..., 1::2, 1::2], theirs["world2uv_s2"], GEOMETRY, _inside(release)),
    ]  # fmt: skip
    for name, shading in shadings.items():
        limit = DETAIL if name == "sh" else Limit(1e-3, most=1e-4)  # these are up to 5, not 1
        image = albedo * shading * surface.alpha
        found += [
            compare(
                f"lights: {name} shading",
                _third(shading),
                theirs[f"lit_{name}_shading_s3"],
                limit,
                _third(covered),
            ),
            compare(
                f"lights: {name} images", _third(image), theirs[f"lit_{name}_images_s3"], limit, _third(clear)
            ),
        ]
    colours = torch.from_numpy(theirs["colors_in_u16"] / np.float32(65535)).float()
    drawn = release.draw(head.vertices, head.normals, head.projected, (224, 224), "standard").fragments
    coloured = interpolate(drawn, release.head.faces, colours)
    return [
        *found,
        compare(
            "vertex colours",
            _third(coloured),
            theirs["colors_images_s3"],
            Limit(1e-3, most=5e-5),
            _third(clear),
        ),
    ]


def _third(picture: Tensor | np.ndarray) -> Tensor | np.ndarray:
    return picture[..., 1::3, 1::3]


def _off_threshold(surface: passes.Surface, where: np.ndarray) -> np.ndarray:
    """Their normals are rounded after the shift of z, so pixels at the threshold may fall to either side."""
    return where & (np.abs(surface.facing.numpy() - passes.TEXTURE_FACING) > 1e-3)


def _inside(release: Release) -> np.ndarray:
    """Texels where the choice of the triangle is not a matter of rounding."""
    stored = release.arrays("rasteriser")
    return ((stored["uv_fragile"] == 0) & (stored["uv_tri"] >= 0))[None, None, 1::2, 1::2]


def decode_into_photo(release: Release) -> list[Deviation]:
    data = release.arrays("decode_orig")
    found = []
    for name in sorted({key.split("_")[0] for key in data}):
        theirs = release.arrays("decode_orig", f"{name}_")
        photo = release.photo(int(theirs["photo_index"][0]))
        image = torch.from_numpy(np.ascontiguousarray(photo.pixels.transpose(2, 0, 1)))[None].float() / 255
        to_photo = torch.from_numpy(theirs["tform_inv_T"]).transpose(1, 2)
        chosen = theirs["codes_photo"]
        ours = release.decode(
            at(release.official_codes, chosen), release.images[chosen], texture=True, into=(image, to_photo)
        )
        assert [*image.shape[2:]] == theirs["hw"].tolist()
        stride = int(theirs["stride"][0])
        theirs["op_alpha_images_s"] = theirs.pop("op_alpha_s")
        fragile = np.ones((1, *image.shape[2:]), np.uint8)
        fragile[:, 1::stride, 1::stride] = theirs["fragile_s"]
        found += compare_outputs(f"into the photo ({name})", ours, theirs, fragile, stride=stride)
    return found


def decode_pytorch3d(release: Release) -> list[Deviation]:
    theirs = release.arrays("decode_pytorch3d")
    index = theirs["photo_index"]
    ours = release.decode(
        at(release.official_codes, index), release.images[index], texture=True, rule="pytorch3d"
    )
    limits = dict.fromkeys(
        (name for name in LIMITS if name.startswith(("op_grid", *DRAWN, "op_uv_texture"))), PYTORCH3D
    )
    limits |= {"op_alpha_images": Limit(1.0, most=1.0), "op_uv_detail_normals": Limit(5e-2, most=4e-3)}
    clear = _far_from_edges(ours["op_alpha_images"].numpy() > 0)
    return compare_outputs("pytorch3d rasteriser", ours, theirs, ~clear, limits=limits)


def _far_from_edges(alpha: np.ndarray) -> np.ndarray:
    """[B, H, W]: not at the outline, where one pixel more or less is covered (no map of fragile pixels is stored)."""
    import cv2

    kernel = np.ones((3, 3), np.uint8)
    grown = [
        cv2.dilate(item[0].astype(np.uint8), kernel) - cv2.erode(item[0].astype(np.uint8), kernel)
        for item in alpha
    ]
    return np.stack(grown) == 0


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


# --------------------------------------------------------------------------- the rasteriser


def rasteriser(release: Release) -> list[Deviation]:
    """Triangles, barycentrics and depth of soups and heads; z comes with its offset already."""
    data = release.arrays("rasteriser")
    found = []
    for name in sorted(key.removesuffix("_hw") for key in data if key.endswith("_hw")):
        size = data[f"{name}_hw"].tolist()
        is_head = name.startswith("head")
        vertices = data["head_vertices" if is_head else f"{name}_vertices"]
        faces = release.head.faces if is_head else torch.from_numpy(data[f"{name}_faces"])
        ours = rasterize(torch.from_numpy(vertices)[None], faces, *size, z_offset=0.0)
        depth_step, weight_step = data[f"{name}_strides"].tolist() if is_head else (1, 1)
        limits = (
            (Limit(5e-4), Limit(0, relative=1e-5))
            if is_head
            else (Limit(5e-3, most=1e-3), Limit(0, relative=1e-3))
        )
        found += _compare_fragments(
            name, ours, data, limits, (depth_step, weight_step), depth_scale=size[1] / 2
        )
    chart = uv.rasterize_uv(release.head.uv_coordinates, release.head.uv_faces, 256)
    clear = data["uv_fragile"] == 0
    weights = chart.barycentrics[0].numpy()[1::2, 1::2]
    seen = (clear & (data["uv_tri"] >= 0))[1::2, 1::2, None]
    return [
        *found,
        _share(
            "uv chart: share of other triangles", chart.triangle[0].numpy(), data["uv_tri"], clear, TRIANGLES
        ),
        compare("uv chart: barycentrics", weights, data["uv_bary_s2"], Limit(1e-4), seen),
        *_batch_of_two(data),
        *_pytorch3d_soups(release, data),
    ]


def _compare_fragments(
    name: str,
    ours: Fragments,
    data: dict[str, np.ndarray],
    limits: tuple[Limit, Limit],
    steps: tuple[int, int],
    depth_scale: float,
) -> list[Deviation]:
    triangle, theirs = ours.triangle[0].numpy(), data[f"{name}_tri"]
    clear = data[f"{name}_fragile"] == 0
    same = clear & (theirs >= 0) & (triangle == theirs)
    depth = ours.depth[0].numpy()[:: steps[0], :: steps[0]] * depth_scale
    weights = ours.barycentrics[0].numpy()[:: steps[1], :: steps[1]]
    there = same[:: steps[0], :: steps[0]]
    return [
        _share(f"{name}: share of other triangles", triangle, theirs, clear, TRIANGLES),
        compare(
            f"{name}: barycentrics",
            weights,
            data[f"{name}_bary"],
            limits[0],
            same[:: steps[1], :: steps[1], None],
        ),
        compare(
            f"{name}: depth",
            np.where(there, depth, 1),
            np.where(there, data[f"{name}_depth"], 1),
            limits[1],
            there,
        ),
    ]


def _share(quantity: str, have: np.ndarray, want: np.ndarray, where: np.ndarray, limit: Limit) -> Deviation:
    share = np.array([(have != want)[where].mean()])
    return compare(quantity, share, np.zeros(1), limit)


def _batch_of_two(data: dict[str, np.ndarray]) -> list[Deviation]:
    """The release gives every item the attributes of item 0, so they are passed as shared ones here."""
    attributes = torch.from_numpy(data["batch2_attributes"][0]).reshape(-1, 2)
    faces = torch.arange(len(attributes)).view(-1, 3)
    expected = data["batch2_official_output"]
    ours = rasterize(torch.from_numpy(data["batch2_vertices"]), faces, *expected.shape[2:], z_offset=0.0)
    mixed = torch.cat([interpolate(ours, faces, attributes), ours.covered[:, None].float()], 1).numpy()
    other = (np.abs(mixed - expected) > 1e-4).any(1)
    return [
        compare("batch of two: coverage", mixed[:, 2], expected[:, 2], EXACT),
        _share(
            "batch of two: share of other pixels", other, np.zeros_like(other), other | True, SHARE_OF_PIXELS
        ),
    ]


def _pytorch3d_soups(release: Release, data: dict[str, np.ndarray]) -> list[Deviation]:
    theirs = release.arrays("decode_pytorch3d")
    found = []
    for name in sorted(key.removesuffix("_zbuf") for key in theirs if key.endswith("_zbuf")):
        vertices, faces = (torch.from_numpy(data[f"{name}_{part}"]) for part in ("vertices", "faces"))
        size = theirs[f"{name}_tri"].shape
        ours = rasterize(vertices[None], faces, *size, rule="pytorch3d", z_offset=0.0)
        triangle = ours.triangle[0].numpy()
        same = (triangle == theirs[f"{name}_tri"]) & (triangle >= 0)
        where = np.ones_like(same)
        depth = np.where(same, ours.depth[0].numpy(), 1)
        limit = Limit(0, relative=5e-4)
        found += [
            _share(f"pytorch3d {name}: share of other triangles", triangle, theirs[f"{name}_tri"], where, TRIANGLES),
            compare(f"pytorch3d {name}: barycentrics", ours.barycentrics[0], theirs[f"{name}_bary"], Limit(2e-4), same[..., None]),
            compare(f"pytorch3d {name}: depth", depth, np.where(same, theirs[f"{name}_zbuf"], 1), limit, same),
        ]  # fmt: skip
    return found


CASES: dict[str, Callable[[Release], Iterable[Deviation]]] = {
    function.__name__: function
    for function in (
        flame, crops, codes, rasteriser, from_photo_to_pictures, decode_with_texture, decode_without_texture, decode_variants, lights, decode_into_photo,
        decode_pytorch3d, meshes, transfer, teaser,
    )
}  # fmt: skip
