"""Every output of the official decode: with and without texture, lit, into the photo, with the other rasteriser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.render import passes, uv
from deca_cli.render.interpolate import interpolate
from deca_cli.render.lighting import directional_shading, point_shading, sh_shading
from deca_cli.render.normals import vertex_normals
from parity_compare import (
    CODES,
    DETAIL,
    DRAWN,
    END_TO_END,
    EXACT,
    GEOMETRY,
    IMAGES,
    LIMITS,
    PYTORCH3D,
    Deviation,
    Limit,
    at,
    compare,
    compare_outputs,
)

if TYPE_CHECKING:
    from torch import Tensor

    from official_release import Release


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
