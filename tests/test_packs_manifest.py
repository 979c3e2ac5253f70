import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deca_cli.errors import ModelError
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import Manifest, manifest_text, parse_manifest, read_manifest
from deca_cli.packs.toml import to_toml

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

OPEN = Manifest(
    name="open",
    licence='Apache-2.0; the head is "CC0"',
    backbone="resnet18",
    layout=(("shape", 100), ("expression", 52), ("rotation_6d", 6), ("log_camera", 3), ("face_score", 1)),
    sizes=CodeSizes(albedo=0, expression=52, light=0, detail=0),
    preprocessing=Preprocessing(
        image_size=160, crop_factor=1.45, box_side="max", pixel_offset=-0.5, mean=0.45, std=0.25
    ),
    expression_range=(0.0, 1.0),
    provenance={"seed": 7, "steps": [1, 2, 3], "note": 'line\nbreak, ö, \\ and "quotes"', "exact": True},
    accuracy={"median NME, inner 51 points (%)": 2.63},
)


def test_a_manifest_survives_the_way_through_its_text():
    assert parse_manifest(manifest_text(OPEN)) == OPEN


def test_what_is_not_set_is_not_written():
    text = manifest_text(OPEN)
    assert "hidden" not in text
    assert "detail_backbone" not in text
    assert parse_manifest(manifest_text(replace(OPEN, hidden=1024))).hidden == 1024


def test_a_detail_code_has_one_source():
    with_code = replace(OPEN.sizes, detail=128)
    from_encoder = (*OPEN.layout, ("detail", 128))
    assert not OPEN.has_detail
    assert replace(OPEN, sizes=with_code, layout=from_encoder).has_detail
    assert replace(OPEN, sizes=with_code, detail_backbone="resnet50").has_detail
    with pytest.raises(ValueError, match="one source"):
        replace(OPEN, sizes=with_code)
    with pytest.raises(ValueError, match="one source"):
        replace(OPEN, sizes=with_code, layout=from_encoder, detail_backbone="resnet50")
    with pytest.raises(ValueError, match="one source"):
        replace(OPEN, detail_backbone="resnet50")


def test_manifests_that_say_nothing_about_the_decoder_mean_the_official_one():
    lines = manifest_text(replace(OPEN, detail_norm_eps=1e-5, detail_limit_m=0.002)).splitlines()
    old = parse_manifest("\n".join(line for line in lines if not line.startswith("detail_")))
    assert (old.detail_norm_eps, old.detail_limit_m) == (0.8, 0.01)


@pytest.mark.parametrize(
    "text", ["plain", "", 'a "b" \\ c', "tab\tnew\nline", "\x00\x1f\x7f", "ünï 你 🙂", "'''", "#"]
)
def test_any_text_can_be_a_key_or_a_value(text: str):
    assert tomllib.loads(to_toml({"table": {text: text}})) == {"table": {text: text}}


def test_numbers_keep_their_type_and_value():
    values = {
        "integer": -3,
        "fraction": 0.1,
        "large": 1e300,
        "tiny": 5e-324,
        "yes": True,
        "nested": [["a", 1], [2.0]],
    }
    back = tomllib.loads(to_toml(values))
    assert back == values
    assert [type(value) for value in back.values()] == [type(value) for value in values.values()]


def test_unwritable_values_are_refused():
    with pytest.raises(TypeError, match="NoneType"):
        to_toml({"a": None})


def change(old: str, new: str) -> str:
    text = manifest_text(OPEN)
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (change("format = 1", "format = 2"), "format is 2"),
        (change('backbone = "resnet18"', 'backbone = "vgg"'), "vgg"),
        (change('backbone = "resnet18"', 'backbones = "resnet18"'), "backbones"),
        (change('licence = "Apache', 'license = "Apache'), "license"),
        (change("[preprocessing]", "[preparation]"), "preparation"),
        (change("image_size = 160", 'image_size = "big"'), "image_size|str"),
        (change("shape = 100", "shape = 90"), "`shape` has size 100, but the sizes say 90"),
        (change("shape = 100", "form = 100"), "form"),
        (change("detail = 0", "detail = 128"), "detail"),
        (change("detail_norm_eps = 0.8", "detail_norm_eps = 0.0"), "detail_norm_eps must be positive"),
        (change('["face_score", 1]]', '["face_score", 1], ["detail", 128]]'), "`detail` has size 128"),
        (change('head = "head.npz"', 'head = "../head.npz"'), "in the pack itself"),
        (change("expression_range = [0.0, 1.0]", "expression_range = [0.0]"), "values"),
        ("not = [toml", "line 1"),
        ("", "format is None"),
    ],
)
def test_a_manifest_that_makes_no_sense_says_why(tmp_path: Path, text: str, reason: str):
    (tmp_path / "manifest.toml").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=reason) as caught:
        read_manifest(tmp_path / "manifest.toml")
    assert "manifest.toml" in str(caught.value)


def test_a_missing_or_binary_manifest_is_a_model_error(tmp_path: Path):
    with pytest.raises(ModelError, match="Cannot read"):
        read_manifest(tmp_path / "manifest.toml")
    (tmp_path / "manifest.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="Cannot read"):
        read_manifest(tmp_path / "manifest.toml")
