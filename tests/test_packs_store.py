import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from deca_cli.errors import ModelError, OutputError
from deca_cli.heads.assets import save_head
from deca_cli.networks.codes import Codes, CodeSizes
from deca_cli.networks.detail_decoder import DetailDecoder
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.folders import is_installed
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import load_pack, save_pack
from small_head import random_albedo, random_head, small_head

MANIFEST = Manifest(
    name="test",
    licence="Apache-2.0",
    backbone="resnet18",
    layout=(("shape", 5), ("expression", 4), ("pose", 6), ("camera", 3), ("face_score", 1)),
    sizes=CodeSizes(shape=5, albedo=3, expression=4, light=0, detail=0),
    preprocessing=Preprocessing(image_size=32, pixel_offset=-0.5),
    expression_range=(0.0, 1.0),
)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    torch.manual_seed(0)
    return Encoder("resnet18", 19, None).eval()


@pytest.fixture(scope="module")
def head_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("head") / "any-name.npz"
    save_head(path, random_head(), random_albedo())
    return path


@pytest.fixture
def pack(tmp_path: Path, encoder: Encoder, head_file: Path) -> Path:
    return save_pack(tmp_path / "pack", MANIFEST, head_file, {"encoder": encoder.state_dict()})


def test_a_saved_pack_encodes_like_the_network_it_was_made_of(
    tmp_path: Path, encoder: Encoder, head_file: Path
):
    networks = {"encoder": encoder.state_dict()}
    loaded = load_pack(save_pack(tmp_path / "exact", MANIFEST, head_file, networks, dtype=torch.float32))
    images = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = encoder(images)
        assert torch.equal(loaded.deca.encoder(images), expected)
        halved = load_pack(save_pack(tmp_path / "half", MANIFEST, head_file, networks))
        torch.testing.assert_close(halved.deca.encoder(images), expected, atol=2e-2, rtol=1e-2)
        assert loaded.deca.decode(loaded.deca.encode(images).codes).vertices.shape == (2, 40, 3)


def test_a_loaded_pack_is_ready_for_use(pack: Path, head_file: Path):
    loaded = load_pack(pack)
    assert loaded.manifest == MANIFEST
    assert not loaded.has_detail
    assert not loaded.deca.training
    assert not any(parameter.requires_grad for parameter in loaded.deca.parameters())
    assert {value.dtype for value in loaded.deca.parameters()} == {torch.float32}
    assert loaded.assets.name == "random"
    assert loaded.deca.albedo is not None
    assert (pack / "head.npz").read_bytes() == head_file.read_bytes()


def test_matrices_are_halved_on_disk_and_vectors_are_not(pack: Path):
    types = {name: tensor.dtype for name, tensor in load_file(pack / "encoder.safetensors").items()}
    assert types["encoder.conv1.weight"] == types["layers.0.weight"] == torch.float16
    assert types["encoder.bn1.running_var"] == types["layers.0.bias"] == torch.float32
    assert not any("num_batches" in name for name in types)


def test_a_pack_with_detail_networks(tmp_path: Path, encoder: Encoder, head_file: Path):
    manifest = replace(
        MANIFEST, sizes=replace(MANIFEST.sizes, detail=3), detail_backbone="resnet18", detail_hidden=8
    )
    networks = {
        "encoder": encoder.state_dict(),
        "detail_encoder": Encoder("resnet18", 3, 8).state_dict(),
        "detail_decoder": DetailDecoder(4, 3).state_dict(),
    }
    loaded = load_pack(save_pack(tmp_path / "pack", manifest, head_file, networks))
    assert loaded.has_detail
    head = loaded.deca.decode(Codes.zeros(manifest.sizes, 2))
    assert head.displacement.shape == (2, 1, 256, 256)


def test_the_coarse_encoder_may_answer_the_detail_code_itself(tmp_path: Path, head_file: Path):
    manifest = replace(
        MANIFEST,
        layout=(*MANIFEST.layout, ("albedo", 3), ("light", 27), ("detail", 3)),
        sizes=replace(MANIFEST.sizes, light=27, detail=3),
        detail_norm_eps=1e-5,
    )
    torch.manual_seed(0)
    encoder, decoder = Encoder("resnet18", 52, None), DetailDecoder(4, 3, 1e-5)
    networks = {"encoder": encoder.state_dict(), "detail_decoder": decoder.state_dict()}
    loaded = load_pack(save_pack(tmp_path / "pack", manifest, head_file, networks, dtype=torch.float32))
    assert loaded.has_detail
    assert loaded.deca.has_detail
    with torch.inference_mode():
        images = torch.rand(2, 3, 32, 32)
        raw, codes = encoder.eval()(images), loaded.deca.encode(images).codes
        torch.testing.assert_close(codes.albedo, raw[:, 19:22])
        torch.testing.assert_close(codes.light.flatten(1), raw[:, 22:49])
        torch.testing.assert_close(codes.detail, raw[:, 49:])
        expected = decoder.eval()(codes.pose[:, 3:], codes.expression, codes.detail)
        torch.testing.assert_close(loaded.deca.decode(codes).displacement, expected)


def test_an_albedo_of_another_size_than_the_manifest_says_is_refused(
    tmp_path: Path, head_file: Path, encoder
):
    manifest = replace(MANIFEST, sizes=replace(MANIFEST.sizes, albedo=4))
    folder = save_pack(tmp_path / "pack", manifest, head_file, {"encoder": encoder.state_dict()})
    with pytest.raises(ModelError, match="3 albedo components, but its manifest says 4"):
        load_pack(folder)


def edited(pack: Path, **changes: torch.Tensor | None) -> None:
    state = load_file(pack / "encoder.safetensors") | {
        name.replace("__", "."): value for name, value in changes.items()
    }
    save_file(
        {name: value for name, value in state.items() if value is not None}, pack / "encoder.safetensors"
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layers__0__bias": None}, r"missing: layers\.0\.bias"),
        ({"layers__0__bias": torch.zeros(20)}, r"misshapen: layers\.0\.bias \(\[20\] instead of \[19\]\)"),
        ({"layers__2__bias": torch.zeros(1)}, r"unknown: layers\.2\.bias"),
    ],
)
def test_weights_are_loaded_strictly(pack: Path, changes: dict, message: str):
    edited(pack, **changes)
    with pytest.raises(ModelError, match=message) as caught:
        load_pack(pack)
    assert str(pack / "encoder.safetensors") in str(caught.value)


def test_many_missing_tensors_are_counted_not_listed(pack: Path):
    save_file({"x": torch.zeros(1)}, pack / "encoder.safetensors")
    with pytest.raises(ModelError, match=r"and 9\d more.*unknown: x"):
        load_pack(pack)


@pytest.mark.parametrize("file", ["encoder.safetensors", "head.npz", "manifest.toml"])
def test_missing_and_damaged_files_are_named(pack: Path, file: str):
    content = (pack / file).read_bytes()
    (pack / file).write_bytes(content[: len(content) // 2])
    with pytest.raises(ModelError, match=file):
        load_pack(pack)
    (pack / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_pack(pack)


def test_a_head_of_another_pack_is_noticed(pack: Path):
    save_head(pack / "head.npz", small_head())
    with pytest.raises(ModelError, match="2 shape components, but its manifest says 5"):
        load_pack(pack)


def test_a_new_pack_takes_the_place_of_an_old_one_and_keeps_its_notes(
    pack: Path, encoder: Encoder, head_file: Path
):
    (pack / "NOTICE").write_text("made from nothing")
    (pack / "detail_encoder.safetensors").write_bytes(b"of the old pack")
    save_pack(pack, replace(MANIFEST, name="second"), head_file, {"encoder": encoder.state_dict()})
    assert load_pack(pack).manifest.name == "second"
    assert sorted(file.name for file in pack.iterdir()) == [
        "NOTICE",
        "encoder.safetensors",
        "head.npz",
        "manifest.toml",
    ]
    assert [entry.name for entry in pack.parent.iterdir()] == ["pack"]


def test_a_save_that_fails_leaves_the_old_pack(pack: Path, head_file: Path, monkeypatch: pytest.MonkeyPatch):
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("deca_cli.packs.store.save_weights", disk_full)
    with pytest.raises(OutputError, match="No space left"):
        save_pack(pack, replace(MANIFEST, name="second"), head_file, {"encoder": {}})
    assert load_pack(pack).manifest.name == "test"
    assert [entry.name for entry in pack.parent.iterdir()] == ["pack"]


def test_other_folders_are_not_overwritten(tmp_path: Path, head_file: Path):
    (tmp_path / "photo.jpg").write_bytes(b"dear")
    with pytest.raises(OutputError, match="other files"):
        save_pack(tmp_path, MANIFEST, head_file, {})
    assert [entry.name for entry in tmp_path.iterdir()] == ["photo.jpg"]


def test_a_path_without_a_pack_says_what_to_give(tmp_path: Path):
    with pytest.raises(ModelError, match="`open`, `deca` or the path"):
        load_pack(tmp_path / "nowhere")


def test_the_deca_pack_lies_in_the_folder_deca_home_names(
    pack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("DECA_HOME", str(tmp_path / "home"))
    assert not is_installed("deca")
    with pytest.raises(ModelError, match="--model open"):
        load_pack("deca")
    (tmp_path / "home" / "packs").mkdir(parents=True)
    pack.rename(tmp_path / "home" / "packs" / "deca")
    assert is_installed("deca")
    assert load_pack("deca").manifest.name == "test"


def test_the_bundled_pack_loads_quickly_and_holds_an_arkit_head():
    load_pack("open")  # the first time the files come from the disk
    start = time.perf_counter()
    pack = load_pack("open")
    assert time.perf_counter() - start < 0.5
    assert pack.manifest.name == "open"
    assert len(pack.deca.head.expression_names) == 52
    assert "jawOpen" in pack.deca.head.expression_names
    assert pack.manifest.expression_range == (0, 1)
    assert sum(file.stat().st_size for file in pack.folder.glob("*.safetensors")) <= 40e6
    assert (pack.folder / pack.manifest.head).stat().st_size <= 8e6
