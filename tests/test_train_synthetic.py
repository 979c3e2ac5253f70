"""The synthetic stage: schedule, average, settings, and a miniature training run."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

from deca_cli.errors import ModelError, UsageError
from deca_cli.networks.codes import CodeSizes
from deca_cli.networks.encoder import Encoder
from deca_cli.networks.layout import layout_width
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.packs.manifest import Manifest
from deca_cli.packs.store import load_pack, save_pack
from deca_cli.synthetic.constants import constant
from deca_cli.synthetic.parts import HeadParts, find_parts
from deca_cli.train import synthetic
from deca_cli.train.average import MovingAverage
from deca_cli.train.run_state import read_state
from deca_cli.train.settings import GradientShares, SyntheticSettings
from deca_cli.train.synthetic import train_synthetic
from deca_cli.train.synthetic_config import load_settings, settings_text
from deca_cli.train.synthetic_network import SyntheticNetwork, scale_gradient
from deca_cli.train.synthetic_setup import learning_rate_at, stream_seed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deca_cli.heads.assets import HeadAssets
    from deca_cli.heads.model import HeadModel


@pytest.fixture(autouse=True, scope="module")
def parts_found_once() -> Iterator[None]:
    """Looking up the parts of the head is the slowest step of a miniature run, and always gives the same."""
    known: dict[int, HeadParts] = {}

    def find(head: HeadModel, assets: HeadAssets, size: int) -> HeadParts:
        if size not in known:
            known[size] = find_parts(head, assets, size)
        return known[size]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "find_parts", find)
        yield


HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))


SMALL_LAYOUT = (("expression", 4), ("rotation_6d", 6), ("log_camera", 3), ("light", 27), ("detail", 3))


def miniature(**changes) -> SyntheticSettings:  # noqa: ANN003  # any field of the settings
    settings = SyntheticSettings(
        max_steps=4, batch_size=4, detail_faces=2, warmup_steps=1, validation_faces=2
    )
    generator = replace(
        settings.generator, image_size=64, texture_size=64, shadow_size=32, background_textures=6
    )
    return replace(settings, generator=generator, **changes)


def test_the_learning_rate_warms_up_and_ends_at_zero():
    settings = SyntheticSettings(learning_rate=1.0, warmup_steps=10)
    assert learning_rate_at(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate_at(settings, 99, 0.0) == pytest.approx(1.0)
    assert learning_rate_at(settings, 99, 0.5) == pytest.approx(0.5)
    assert learning_rate_at(settings, 99, 1.0) == pytest.approx(0.0)


def test_the_average_follows_the_weights():
    layer = nn.Linear(2, 2)
    average = MovingAverage(layer, decay=0.5)
    before = average.state["weight"].clone()
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer, step=100)
    assert torch.allclose(average.state["weight"], before + 0.5)


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match="batch_size"):
        SyntheticSettings(batch_size=1)
    odd_size = replace(SyntheticSettings().generator, image_size=63)
    with pytest.raises(UsageError, match="multiple of 8"):
        SyntheticSettings(generator=odd_size)


def test_a_miniature_run_writes_a_pack_that_loads_and_can_be_continued(tmp_path):
    seen = []
    pack_folder = train_synthetic(HEAD_FILE, tmp_path / "first", miniature(), "cpu", seen.append)
    pack = load_pack(pack_folder)
    assert pack.manifest.provenance["steps"] == 4
    assert seen[-1].step == 4
    assert json.loads((tmp_path / "first" / "log.jsonl").read_text().splitlines()[-1])["step"] == 4
    encoding = pack.deca.encode(torch.zeros(2, 3, 64, 64))
    assert encoding.codes.expression.shape == (2, 52)
    assert encoding.face_score.shape == (2,)
    assert encoding.codes.albedo.shape == (2, 50)
    assert encoding.codes.light.shape == (2, 9, 3)
    assert pack.has_detail
    assert pack.deca.decode(encoding.codes).displacement.shape == (2, 1, 256, 256)
    written = load_settings(pack_folder / "training.yaml")
    assert written == replace(miniature(), generator=replace(miniature().generator, detail=True))
    further = miniature(init=str(pack_folder), max_steps=1, learning_rate=1e-9)
    continued = load_pack(train_synthetic(HEAD_FILE, tmp_path / "second", further, "cpu", seen.append))
    assert continued.manifest.provenance["earlier_steps"] == 4
    assert "batch_size: 4" in continued.manifest.provenance["earlier_settings"]
    for part in ("encoder", "detail_decoder"):
        before, after = (getattr(one.deca, part).state_dict() for one in (pack, continued))
        for name, old in before.items():
            if "running" not in name:
                assert torch.allclose(old.float(), after[name].float(), atol=2e-3), name


def test_a_run_does_not_start_from_another_backbone():
    network = SyntheticNetwork("resnet34", SMALL_LAYOUT, GradientShares())
    with pytest.raises(ModelError, match="same backbone"):
        network.take_over(HEAD_FILE.parent, "resnet34")


def test_a_run_takes_over_the_answers_that_a_pack_has_and_starts_the_others_small(tmp_path):
    torch.manual_seed(0)
    layout = (("shape", 100), ("rotation_6d", 6), ("log_camera", 3), ("albedo", 4), ("light", 27))
    earlier = Encoder("resnet18", layout_width(layout), None)
    manifest = Manifest(
        name="earlier",
        licence="",
        backbone="resnet18",
        layout=layout,
        sizes=CodeSizes(shape=100, albedo=4, expression=0, light=27, detail=0),
        preprocessing=Preprocessing(image_size=32),
    )
    networks = {"encoder": earlier.state_dict()}
    folder = save_pack(tmp_path / "pack", manifest, HEAD_FILE, networks, dtype=torch.float32)
    wanted = (("log_camera", 3), ("rotation_6d", 6), ("albedo", 5), ("shape", 100))
    network = SyntheticNetwork("resnet18", wanted, GradientShares())
    network.take_over(folder, "resnet18")
    before, after = earlier.layers[0].weight, network.answer.weight
    assert torch.equal(after[14:], before[:100])  # shape
    assert torch.equal(after[:3], before[106:109])  # camera
    assert torch.equal(after[3:9], before[100:106])  # rotation
    assert after[9:14].abs().max() < 0.05  # five albedo components cannot come from four
    assert torch.equal(network.encoder.encoder.conv1.weight, earlier.encoder.conv1.weight)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Several threads on a busy machine need not sum in the same order twice; one does."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("one_thread")
def test_a_run_resumed_after_an_interruption_ends_with_the_same_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic, "AGREE_EVERY", 1)
    monkeypatch.setattr(synthetic, "REPORT_EVERY_S", -1.0)
    # Products of matrices differ in the last bit by where the memory lies; only the wrinkles' are large enough to show it.
    settings = miniature(minutes=1e6, renew_every=2, save_every_s=-1.0, validation_faces=0, detail_size=0)
    settings = replace(settings, generator=replace(settings.generator, wrinkle_share=0.0))
    whole = train_synthetic(HEAD_FILE, tmp_path / "whole", settings, "cpu", lambda _: None)

    def interrupt(progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_synthetic(HEAD_FILE, tmp_path / "halved", settings, "cpu", interrupt)
    assert read_state(tmp_path / "halved", torch.device("cpu")).step == 2
    other = replace(settings, learning_rate=1e-4)
    with pytest.raises(UsageError, match="other settings"):
        train_synthetic(HEAD_FILE, tmp_path / "halved", other, "cpu", interrupt, resume=True)
    halved = train_synthetic(HEAD_FILE, tmp_path / "halved", settings, "cpu", lambda _: None, resume=True)
    one, two = (load_pack(folder).deca.encoder.state_dict() for folder in (whole, halved))
    for key, value in one.items():
        assert torch.equal(value, two[key]), key


def test_there_is_nothing_to_resume_in_an_empty_folder(tmp_path):
    with pytest.raises(UsageError, match="without --resume"):
        train_synthetic(HEAD_FILE, tmp_path, miniature(), "cpu", lambda _: None, resume=True)


def test_a_state_is_read_without_running_anything_in_it(tmp_path):
    class Trap:
        def __reduce__(self) -> tuple:
            return (Path(tmp_path / "sprung").touch, ())

    torch.save({"step": Trap()}, tmp_path / "state.pt")
    with pytest.raises(UsageError, match="cannot be read"):
        read_state(tmp_path, torch.device("cpu"))
    assert not (tmp_path / "sprung").exists()


def test_every_process_and_step_draws_its_own_pictures():
    seeds = {stream_seed(seed, rank, step) for seed in range(3) for rank in range(4) for step in (0, 500)}
    assert len(seeds) == 24
    assert max(seeds) < 2**63


def test_settings_go_to_yaml_and_back(tmp_path):
    settings = miniature(init="runs/first", gradient_shares=GradientShares(detail=0.25))
    (tmp_path / "training.yaml").write_text(settings_text(settings))
    assert load_settings(tmp_path / "training.yaml") == settings
    changed = load_settings(
        tmp_path / "training.yaml", {"seed": 7, "generator.image_size": 96}, ["weights.tone=1e-1"]
    )
    assert changed.seed == 7
    assert changed.generator == replace(settings.generator, image_size=96)
    assert changed.weights == replace(settings.weights, tone=0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rat: 1.0", "line 1: there is no setting `learning_rat`. Did you mean `learning_rate`"),
        ("weights: {tones: 1.0}", r"there is no setting `weights\.tones`. Did you mean `weights\.tone`"),
        ("seed: first", "line 1: `seed` must be a whole number, but is 'first'"),
        ("generator: 3", "`generator` is a group of settings; it has image_size, "),
        ("seed: 1\nseed: 2", "seed"),
    ],
)
def test_settings_that_cannot_be_understood_are_refused(tmp_path, text, message):
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(UsageError, match=message):
        load_settings(tmp_path / "wrong.yaml")


def test_scaling_a_gradient_leaves_the_values():
    values = torch.tensor([1.0, 2.0], requires_grad=True)
    scaled = scale_gradient(values, 0.25)
    assert torch.equal(scaled, values)
    scaled.sum().backward()
    assert values.grad.tolist() == [0.25, 0.25]


def test_a_share_of_0_keeps_the_detail_terms_out_of_the_backbone():
    for share in (0.0, 1.0):
        torch.manual_seed(0)
        network = SyntheticNetwork("resnet18", SMALL_LAYOUT, GradientShares(appearance=1.0, detail=share))
        raw = network(torch.randn(2, 3, 32, 32)).raw
        raw[:, -3:].sum().backward()
        assert bool((network.encoder.encoder.conv1.weight.grad != 0).any()) == (share > 0)


def test_a_folder_that_holds_a_run_is_left_alone(tmp_path):
    (tmp_path / "state.pt").write_bytes(b"of an earlier run")
    with pytest.raises(UsageError, match="--resume"):
        train_synthetic(HEAD_FILE, tmp_path, miniature(), "cpu", lambda _: None)
    assert (tmp_path / "state.pt").read_bytes() == b"of an earlier run"


def test_weights_that_are_not_finite_replace_nothing(tmp_path, monkeypatch):
    def poison(run: synthetic._Run) -> dict[str, torch.Tensor]:
        next(iter(run.network.parameters())).data.fill_(torch.nan)
        return {"nme": torch.zeros(())}

    monkeypatch.setattr(synthetic._Run, "_step", poison)
    with pytest.raises(UsageError, match="not finite any more"):
        train_synthetic(HEAD_FILE, tmp_path, miniature(), "cpu", lambda _: None)
    assert not list(tmp_path.rglob("*.safetensors"))
    assert not (tmp_path / "state.pt").exists()


def test_tables_kept_during_an_evaluation_serve_a_training_afterwards():
    values = (0.125, 0.375)
    with torch.inference_mode():
        constant(values, torch.device("cpu"))
    weight = torch.ones(2, requires_grad=True)
    (weight * constant(values, torch.device("cpu"))).sum().backward()
    assert weight.grad.tolist() == list(values)


@pytest.mark.parametrize("value", ["nan", "inf", ".nan"])
def test_settings_that_are_no_finite_numbers_are_refused(value):
    with pytest.raises(UsageError, match="grey` must be a finite number"):
        load_settings(None, {}, [f"generator.camera.grey={value}"])
