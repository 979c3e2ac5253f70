"""One head under six expressions as grey pictures, without and with its wrinkles, to be looked at.

python benchmarks/wrinkles.py sheet.png --age 0.7 --seed 3 --yaw 0
python benchmarks/wrinkles.py sheet.png --photo docs/portrait.jpg       # wrinkles as a model reads them off a photo
python benchmarks/wrinkles.py sheet.png --drawn 7                       # ... off the most lined of 64 drawn people
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.packs.folders import pack_folder
from deca_cli.packs.store import Pack, load_pack
from deca_cli.photo.read import read_photo
from deca_cli.pipeline.clock import Clock
from deca_cli.pipeline.fit import fit_faces
from deca_cli.pipeline.settings import Settings
from deca_cli.render.interpolate import interpolate
from deca_cli.render.normals import vertex_normals
from deca_cli.render.rasterize import rasterize
from deca_cli.synthetic.draws import Draws
from deca_cli.synthetic.expressions import EXPRESSIONS, coefficient_table
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import HeadParts, find_parts
from deca_cli.synthetic.sampling import rotation_from_degrees
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.synthetic.wrinkle_shading import SurfaceFrames, bend, cavity, slopes
from deca_cli.synthetic.wrinkles import Wrinkles, WrinkleStyle

SHOWN = "neutral,smile,brows_up,anger,disgust,kiss"
HALF_WIDTH = 0.095  # metres from the middle of the picture to its edge
LIGHTS = (((-0.35, 0.65, 0.75), 0.75), ((0.8, 0.1, 0.4), 0.25))
GROUND, SKY = 0.15, 0.18
DRAWN_PEOPLE = 64
FACING = 0.93  # least cosine between the face of a drawn person and the view


def main() -> None:
    """Draw the sheet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sheet", type=Path)
    parser.add_argument("--expressions", default=SHOWN, help="names, with commas between")
    parser.add_argument("--age", type=float, default=0.7, help="0 young to 1 old")
    parser.add_argument(
        "--variant", type=int, default=None, help="one pattern in all zones; drawn if left out"
    )
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--yaw", type=float, default=0.0, help="degrees")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument(
        "--photo", type=Path, help="take shape and wrinkles from the largest face of this photo"
    )
    parser.add_argument("--drawn", type=int, metavar="SEED", help="the same from a drawn picture")
    parser.add_argument("--model", default="open", help="model pack for --photo and --drawn")
    given = parser.parse_args()
    assets, _ = load_head(pack_folder(given.model) / "head.npz")
    head = HeadModel(assets)
    parts, draws = find_parts(head, assets, 64), Draws(given.seed)
    wrinkles = Wrinkles(head, parts, draws)
    names = given.expressions.split(",")
    expression = coefficient_table({name: EXPRESSIONS[name] for name in names}, head.expression_names)
    style = of_age(wrinkles, given.age, len(names))
    if given.variant is not None:
        style = replace(style, variant=torch.full_like(style.variant, given.variant))
    shape, picture = 0.7 * draws.normal(1, head.shape_size).expand(len(names), -1), None
    if given.photo is not None:
        shape, displacement = read_off(given.photo, load_pack(given.model), expression)
    elif given.drawn is not None:
        shape, displacement, picture = read_off_drawn(load_pack(given.model), expression, given.drawn)
    else:
        start = time.perf_counter()
        displacement = wrinkles.displacement(style, expression)
        print(f"{len(names)} displacements in {1e3 * (time.perf_counter() - start):.1f} ms")
    turn = rotation_from_degrees(*torch.tensor([[given.yaw], [0.0], [0.0]]))
    vertices = head.unposed(shape, expression)
    middle = head.on_landmarks(vertices)[:, 17:].mean(1, keepdim=True)
    rows = [
        shade(head, parts, (vertices - middle) @ turn.mT, relief, given.size)
        for relief in (None, displacement)
    ]
    sheet = Image.fromarray((255 * torch.cat([torch.cat(list(row), 1) for row in rows])).byte().numpy())
    (sheet if picture is None else beside(picture, sheet)).save(given.sheet)


@torch.no_grad()
def read_off(photo: Path, pack: Pack, expression: Tensor) -> tuple[Tensor, Tensor]:
    """Shape [N, S] and displacements [N, 1, U, U] of the photo's largest face under N expressions [N, E]."""
    face = fit_faces(read_photo(photo), pack, Settings(max_faces=1), Clock())[0].codes
    codes = replace(face.select(torch.zeros(len(expression), dtype=torch.long)), expression=expression)
    return codes.shape, pack.deca.displacement(codes)


@torch.no_grad()
def read_off_drawn(pack: Pack, expression: Tensor, seed: int) -> tuple[Tensor, Tensor, Image.Image]:
    """As ``read_off``, from a drawn picture, and that picture: the deepest wrinkles of those who face the camera."""
    bare = dict.fromkeys(("glasses_share", "hand_share", "object_share", "patch_share", "fringe_share"), 0.0)
    settings = GeneratorSettings(
        image_size=pack.deca.preprocessing.image_size, detail=True, no_face_share=0.0, degrade=False, **bare
    )
    parts = find_parts(pack.deca.head, pack.assets, settings.texture_size)
    batch = FaceGenerator(pack.deca.head, parts, settings, seed).batch(DRAWN_PEOPLE)
    depth = (batch.displacement.abs() + batch.other_displacement.abs()).mean((1, 2, 3))
    index = int((depth * (batch.rotation[:, 2, 2] > FACING)).argmax())
    codes = pack.deca.encode(batch.images[index : index + 1]).codes
    codes = replace(codes.select(torch.zeros(len(expression), dtype=torch.long)), expression=expression)
    pixels = (255 * batch.images[index].permute(1, 2, 0)).byte().numpy()
    return codes.shape, pack.deca.displacement(codes), Image.fromarray(pixels)


def beside(picture: Image.Image, sheet: Image.Image) -> Image.Image:
    """The sheet with a picture to the left of its two rows."""
    size = sheet.height // 2
    whole = Image.new("RGB", (size + sheet.width, sheet.height), (int(255 * GROUND),) * 3)
    whole.paste(picture.resize((size, size), Image.Resampling.BICUBIC), (0, size // 2))
    whole.paste(sheet, (size, 0))
    return whole


def of_age(wrinkles: Wrinkles, age: float, count: int) -> WrinkleStyle:
    """The skin of the person of the nearest age among 200, for ``count`` pictures."""
    people = wrinkles.sample(200)
    nearest = (people.age - age).abs().argmin()
    return people.index(nearest.expand(count))


def shade(head: HeadModel, parts: HeadParts, vertices: Tensor, relief: Tensor | None, size: int) -> Tensor:
    """Grey pictures [N, size, size] of vertices [N, V, 3], with wrinkles [N, 1, U, U] or without."""
    placed = vertices * vertices.new_tensor([1.0, -1.0, -1.0]) / HALF_WIDTH
    fragments = rasterize(placed, head.faces, size, size)
    tangents = SurfaceFrames(head, parts.detail_mask).tangents(vertices)
    occlusion = parts.ambient_occlusion.expand(len(vertices), -1, -1)
    values = torch.cat([vertex_normals(vertices, head.faces), tangents, occlusion], -1)
    pixels = interpolate(fragments, head.faces, values)
    normals, sky = F.normalize(pixels[:, :3], dim=1), pixels[:, 9:]
    if relief is not None:
        corners = (head.uv_coordinates * 2 - 1) * vertices.new_tensor([1.0, -1.0])
        chart = interpolate(fragments, head.uv_faces, corners).permute(0, 2, 3, 1)
        seen = F.grid_sample(slopes(relief), chart, align_corners=False)
        normals, sky = bend(normals, pixels[:, 3:9], seen[:, :2]), sky * cavity(seen[:, 2:])
    grey = SKY * sky[:, 0]
    for direction, strength in LIGHTS:
        towards = F.normalize(vertices.new_tensor(direction), dim=0)
        grey = grey + strength * (normals * towards[:, None, None]).sum(1).clamp_min(0)
    return torch.where(fragments.covered, grey.clamp(0, 1) ** (1 / 1.6), GROUND)


if __name__ == "__main__":
    main()
