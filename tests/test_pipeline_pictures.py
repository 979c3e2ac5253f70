"""The pictures of a decoded batch equal the plain passes."""

from dataclasses import replace

import pytest
import torch

from deca_cli.heads.albedo import Albedo
from deca_cli.heads.model import HeadModel
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.deca import Deca
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.pipeline.pictures import DecodePictures
from deca_cli.render import passes, uv
from deca_cli.render.lighting import sh_shading
from deca_cli.render.rasterize import rasterize
from small_head import random_albedo
from stand_in import stand_in_head

SIZES = CodeSizes(shape=4, albedo=3, expression=4, light=27, detail=6)


@pytest.fixture(scope="module")
def deca():
    torch.manual_seed(0)
    layout = (("shape", 4), ("expression", 4), ("pose", 6), ("camera", 3))
    return (
        Deca(
            head=HeadModel(stand_in_head()),
            albedo=Albedo(random_albedo(size=256, components=3)),
            encoder=Encoder("resnet18", 17, None),
            detail_encoder=Encoder("resnet18", 6, None),
            detail_decoder=DetailDecoder(4, 6),
            layout=layout,
            sizes=SIZES,
            preprocessing=Preprocessing(64),
        )
        .eval()
        .requires_grad_(False)
    )


@pytest.fixture(scope="module")
def drawn(deca):
    torch.manual_seed(1)
    codes = Codes.zeros(SIZES, 2)
    codes = replace(
        codes,
        shape=torch.randn(2, 4),
        albedo=torch.randn(2, 3),
        pose=torch.tensor([[0.1, 0.4, 0.0, 0.1, 0, 0], [0.0, -0.3, 0.2, 0, 0, 0]]),
        camera=torch.tensor([[7.0, 0.0, 0.01], [6.0, 0.02, 0.0]]),
        light=torch.randn(2, 9, 3),
        detail=torch.randn(2, 6),
    )
    images = torch.rand(2, 3, 64, 64)
    with torch.inference_mode():
        return codes, images, deca.decode(codes), DecodePictures(deca)(codes, images)


@torch.inference_mode()
def test_every_picture_equals_the_plain_pass(deca, drawn):
    codes, images, decoded, found = drawn
    head = deca.head
    chart = uv.make_chart(head.uv_coordinates, head.uv_faces, head.faces, 256)
    positions, normals = uv.world2uv(chart, decoded.vertices), uv.world2uv(chart, decoded.normals)
    mask, fixed = head.face_eye_mask, head.fixed_displacement
    fine = uv.displaced_normals(positions, normals, decoded.displacement, fixed, mask)
    fragments = rasterize(decoded.projected, head.faces, 64, 64)
    surface = passes.read_surface(
        fragments,
        head.faces,
        head.uv_coordinates,
        head.uv_faces,
        decoded.vertices,
        decoded.normals,
        decoded.projected,
    )
    albedo = deca.albedo(codes.albedo)
    texture = albedo * sh_shading(fine, codes.light)
    taken = uv.photo_to_uv(chart, images, decoded.projected)
    inside = torch.zeros(256 * 256).index_fill(0, chart.texels, 1).view(256, 256)
    fine_picture = passes.detail_normal_pass(surface, fine)
    expected = {
        "alpha": surface.alpha,
        "normals": surface.normals,
        "uv_detail_normals": fine,
        "uv_displacement": decoded.displacement + fixed,
        "uv_texture": texture,
        "detail_normals": fine_picture,
        "shape": passes.shape_pass(surface)[:, :1],
        "detail_shape": passes.shape_pass(surface, fine_picture)[:, :1],
        "albedo": passes.texture_pass(surface, albedo, None),
        "rendered": passes.texture_pass(surface, albedo, codes.light),
    }
    for name, picture in expected.items():
        torch.testing.assert_close(
            found[name], picture, rtol=1e-4, atol=2e-5, msg=lambda text, n=name: f"{n}: {text}"
        )
    photo = (taken * mask + texture * (1 - mask)) * inside
    torch.testing.assert_close(found["uv_photo"] * inside, photo, rtol=1e-4, atol=2e-5)
    one = passes.depth_pass(
        rasterize(decoded.projected[:1], head.faces, 64, 64), head.faces, decoded.projected[:1]
    )
    torch.testing.assert_close(found["depth"][:1], one, rtol=1e-4, atol=1e-5)


def test_the_heads_are_seen_and_every_head_is_drawn_by_itself(drawn):
    found = drawn[3]
    cover = found["alpha"].mean(dim=(1, 2, 3))
    assert (cover > 0.2).all()
    assert (cover[0] - cover[1]).abs() > 0.01
    assert found["depth"].amax(dim=(1, 2, 3)).min() > 0.9
