"""Transfer and teaser against the numbers of the official release, with synthetic weights in the official formats."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from deca_cli.animate import render, teaser
from deca_cli.animate.combine import TransferRule, transfer
from deca_cli.animate.frame import square_in
from deca_cli.animate.looks import studio
from deca_cli.animate.motion import Motion
from deca_cli.animate.posing import Poser
from deca_cli.animate.render import Panel, Scene, render_clip
from deca_cli.animate.shade_plain import shade_plain
from deca_cli.animate.spaces import space_of
from deca_cli.networks.codes import Codes
from deca_cli.pipeline.captures import Decoder
from deca_cli.render.rasterize import rasterize
from parity_weights import official_pack, official_weights  # noqa: F401 - fixtures

NAMES = {
    "shape": "shape", "albedo": "tex", "expression": "exp", "pose": "pose", "camera": "cam", "light": "light",
    "detail": "detail",
}  # fmt: skip


@pytest.fixture(scope="module")
def decoder(official_pack):  # noqa: F811
    return Decoder.of(official_pack)


@pytest.fixture(scope="module")
def photo_codes(parity_dir):
    with np.load(parity_dir / "codes.npz") as data:
        return Codes(**{name: torch.tensor(data[official]) for name, official in NAMES.items()})


def load(folder, name):
    with np.load(folder / f"{name}.npz") as data:
        return {key: data[key] for key in data.files}


def driver_of(decoder, codes):
    return Motion(space_of(decoder.pack), codes.expression, codes.pose[:, 3:], codes.pose[:, :3], None)


def drawn(decoder, codes, kind):
    """[1, 3, 224, 224] before it is rounded to bytes."""
    deca = decoder.pack.deca.head
    posed = Poser(decoder, detail=True).pose(codes)
    fragments = rasterize(posed.projected, deca.faces, 224, 224)
    return shade_plain(
        fragments,
        deca.faces,
        deca.uv_coordinates,
        deca.uv_faces,
        posed.normals,
        posed.detail,
        None,
        studio(),
        kind,
    )[0]


def assert_pictures_close(found, expected, clear, most, worst):
    """Every third pixel from pixel 1, off the places where rounding decides which triangle is seen."""
    errors = np.abs(found.numpy()[..., 1::3, 1::3] - expected)[
        np.broadcast_to(clear[:, None], expected.shape)
    ]
    assert np.quantile(errors, 0.999) < most
    assert errors.max() < worst


def test_a_transfer_is_the_official_one(decoder, photo_codes, parity_dir):
    expected = load(parity_dir, "transfer")
    source, driver = photo_codes.select(0), photo_codes.select(3)
    codes = transfer(source, driver_of(decoder, driver), TransferRule())
    head = decoder.pack.deca.decode(codes)
    np.testing.assert_allclose(head.vertices.numpy(), expected["transfer_verts"], atol=1e-6)
    np.testing.assert_allclose(head.landmarks2d.numpy()[..., :2], expected["transfer_landmarks2d"], atol=1e-5)
    np.testing.assert_allclose(head.landmarks3d.numpy(), expected["transfer_landmarks3d"][..., :3], atol=1e-5)
    shown = head.landmarks_visible.numpy()
    assert (shown == (expected["transfer_landmarks3d"][..., 3] > 0.5)).mean() > 0.98
    moved = head.displacement + decoder.pack.deca.head.fixed_displacement
    np.testing.assert_allclose(
        moved.numpy()[..., 1::2, 1::2], expected["transfer_displacement_map"], atol=1e-6
    )


def test_the_displacement_follows_the_expression_and_not_the_drivers_wrinkles(decoder, photo_codes):
    deca, source = decoder.pack.deca, photo_codes.select(0)
    codes = transfer(source, driver_of(decoder, photo_codes.select(3)), TransferRule())
    assert (deca.displacement(codes) - deca.displacement(source)).abs().max() > 1e-5
    assert torch.equal(codes.detail, source.detail)
    assert torch.equal(codes.camera, source.camera)
    assert torch.equal(codes.pose[:, :3], source.pose[:, :3])


@pytest.mark.parametrize(("kind", "name"), [("shape", "shape_images"), ("detail", "shape_detail_images")])
def test_pictures_of_a_transfer_are_the_official_ones(decoder, photo_codes, parity_dir, kind, name):
    expected = load(parity_dir, "transfer")
    codes = transfer(photo_codes.select(0), driver_of(decoder, photo_codes.select(3)), TransferRule())
    clear = expected["fragile"][:, 1::3, 1::3] == 0
    found = drawn(decoder, codes, kind)
    # The official detail lookup reads zeros beyond the border of the map, this one repeats the border.
    assert_pictures_close(found, expected[f"transfer_{name}_s3"], clear, 5e-5, 5e-4)


def test_teaser_frames_are_the_official_ones(decoder, photo_codes, parity_dir):
    expected = load(parity_dir, "teaser")
    own = photo_codes.select(0)
    columns = teaser.official_columns(own, driver_of(decoder, photo_codes.select(5)))
    assert columns.views.batch_size == 16  # 15 openings of the jaw and one expression
    frames = [
        columns.views.select(4), columns.views.select(15), columns.expressions.select(5),
        columns.expressions.select(13), columns.expressions.select(15),
    ]  # fmt: skip
    # Yaw -25 is reached only with more expressions.
    more = teaser.official_columns(own, driver_of(decoder, photo_codes.select(torch.tensor([5] * 9))))
    frames[1] = more.views.select(teaser.YAWS_DEG.index(-25))
    for index, codes in enumerate(frames):
        np.testing.assert_allclose(codes.pose[:, :3].numpy(), expected[f"f{index}_pose"][:, :3], atol=1e-6)
        assert codes.camera.tolist() == expected[f"f{index}_cam"].tolist()
        head = decoder.pack.deca.decode(codes)
        np.testing.assert_allclose(head.vertices.numpy(), expected[f"f{index}_verts"], atol=1e-6)
        np.testing.assert_allclose(
            head.landmarks2d.numpy()[..., :2], expected[f"f{index}_landmarks2d"], atol=1e-5
        )
        clear = expected[f"f{index}_fragile"] == 0
        assert_pictures_close(
            drawn(decoder, codes, "detail"), expected[f"f{index}_shape_detail_images_s3"], clear, 5e-5, 5e-4
        )


def test_nine_expressions_give_the_24_official_frames(decoder, photo_codes):
    nine = driver_of(decoder, photo_codes.select(torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 1])))
    columns = teaser.official_columns(photo_codes.select(0), nine)
    assert columns.views.batch_size == columns.expressions.batch_size == 24
    yaw = torch.rad2deg(columns.views.pose[:, 1]).round().int().tolist()
    assert yaw == list(teaser.YAWS_DEG)
    assert torch.equal(columns.expressions.expression[14], photo_codes.expression[0])
    assert torch.equal(columns.expressions.expression[15:18], photo_codes.expression[:3])


@pytest.mark.parametrize("kind", ["shape", "detail", "normals", "textured"])
@pytest.mark.parametrize("samples", [1, 2])
def test_the_compiled_shading_gives_what_the_plain_one_says(decoder, photo_codes, kind, samples):
    """Drawn into its bounding box against drawn in the whole frame."""
    deca = decoder.pack.deca.head
    texture = np.random.default_rng(0).integers(0, 255, (32, 32, 3), dtype=np.uint8)
    codes = replace(photo_codes.select(0), camera=torch.tensor([[6.0, 0.02, 0.01]]))
    frame = square_in(150, 120, (10, 20, 30))
    scene = Scene(decoder, (Panel(kind, frame),), studio(), texture, samples=samples)
    found = next(render_clip(scene, codes))
    posed = Poser(decoder, detail=True).pose(codes)
    fragments = rasterize(frame.place(posed.projected), deca.faces, 120 * samples, 150 * samples)
    picture = torch.from_numpy(texture).permute(2, 0, 1) / 255
    colour, mask = (
        torch.nn.functional.avg_pool2d(values, samples)
        for values in shade_plain(
            fragments,
            deca.faces,
            deca.uv_coordinates,
            deca.uv_faces,
            posed.normals,
            posed.detail,
            picture,
            studio(),
            kind,
        )
    )
    ground = torch.tensor([10.0, 20.0, 30.0])[:, None, None]
    expected = (255 * colour + (1 - mask) * ground + 0.5).clamp(0, 255)[0].permute(1, 2, 0).floor().numpy()
    difference = np.abs(found - expected)
    assert (difference > 1).mean() < 2e-3  # a triangle's edge may fall on the other side of a sample
    assert found.std() > 20


def test_frames_are_drawn_batch_after_batch(decoder, photo_codes, monkeypatch):
    """No more than a batch is decoded before the first frame is given out, however long the clip."""
    decoded = []
    original = Poser.pose

    def counting(self, codes) -> object:
        decoded.append(codes.batch_size)
        return original(self, codes)

    monkeypatch.setattr(Poser, "pose", counting)
    clip = photo_codes.select(torch.zeros(1000, dtype=torch.long))
    frames = render_clip(Scene(decoder, (Panel("shape", square_in(64, 64)),), studio()), clip)
    next(frames)
    assert decoded == [render.CPU_BATCH]


def test_a_face_that_rests_is_not_decoded_again_and_looks_the_same(decoder, photo_codes, monkeypatch):
    """Frames 0 0 0 1 | 1 0, the head turning all the while: three displacements, and every frame as if it were alone."""
    codes = photo_codes.select(torch.tensor([0, 0, 0, 1, 1, 0]))
    pose = codes.pose.clone()
    pose[:, 1] = torch.linspace(-0.5, 0.5, 6)
    codes = replace(codes, pose=pose)
    alone = [Poser(decoder, detail=True).pose(codes.select(index)).detail for index in range(6)]
    decoded = []
    original = decoder.pack.deca.displacement
    monkeypatch.setattr(
        decoder.pack.deca, "displacement", lambda codes: decoded.append(codes.batch_size) or original(codes)
    )
    poser = Poser(decoder, detail=True)
    found = [poser.pose(codes.select(part)).detail for part in (slice(0, 4), slice(4, 6))]
    assert decoded == [2, 1]
    torch.testing.assert_close(
        torch.cat(found), torch.cat(alone), rtol=0, atol=1e-3
    )  # convolutions round by batch
    assert (alone[2] - alone[3]).abs().max() > 0.05
