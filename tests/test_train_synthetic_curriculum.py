"""Curriculum: what is drawn gets harder in steps, follows from the share of the run, and survives an interruption."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest
import torch

from deca_cli.errors import UsageError
from deca_cli.heads.assets import load_head
from deca_cli.heads.model import HeadModel
from deca_cli.packs.store import load_pack
from deca_cli.synthetic import generator as generator_module
from deca_cli.synthetic.generator import FaceGenerator
from deca_cli.synthetic.parts import find_parts
from deca_cli.synthetic.settings import GeneratorSettings
from deca_cli.train import synthetic
from deca_cli.train.run_state import read_state
from deca_cli.train.settings import Curriculum, LossWeights, SyntheticSettings
from deca_cli.train.synthetic import train_synthetic
from deca_cli.train.synthetic_config import load_settings
from deca_cli.train.synthetic_curriculum import generator_at, strength_at

HEAD_FILE = Path(str(files("deca_cli.packs") / "open" / "head.npz"))
SMALL = {
    "image_size": 64,
    "texture_size": 64,
    "shadow_size": 32,
    "background_textures": 6,
    "wrinkle_share": 0.0,
}


@pytest.fixture(scope="module")
def open_head():
    assets, _ = load_head(HEAD_FILE)
    head = HeadModel(assets)
    return head, find_parts(head, assets, SMALL["texture_size"])


def test_pictures_get_harder_in_equal_steps():
    curriculum = Curriculum(share=0.6, start=0.4, levels=3)
    found = [strength_at(curriculum, done) for done in (0.0, 0.19, 0.21, 0.39, 0.41, 0.59, 0.6, 1.0)]
    assert found == pytest.approx([0.4, 0.4, 0.6, 0.6, 0.8, 0.8, 1.0, 1.0])


def test_without_a_curriculum_nothing_changes():
    settings = SyntheticSettings()
    assert settings.curriculum.share == 0
    assert generator_at(settings, 0.0) is settings.generator


def test_poses_degradations_and_occluders_grow_and_nothing_else():
    settings = SyntheticSettings(curriculum=Curriculum(share=0.5, start=0.5))
    early, full = generator_at(settings, 0.0), settings.generator
    assert early.pose.yaw_limit == full.pose.yaw_limit / 2
    assert early.camera.noise == full.camera.noise / 2
    assert early.hand_share == full.hand_share / 2
    assert early.camera.tone_curve == full.camera.tone_curve
    assert (early.light, early.skin, early.no_face_share) == (full.light, full.skin, full.no_face_share)
    assert generator_at(settings, 0.5) is full


def test_settings_of_the_curriculum():
    settings = load_settings(options=["curriculum.share=0.3", "curriculum.levels=2"])
    assert settings.curriculum == Curriculum(share=0.3, levels=2)
    for wrong in ("curriculum.share=2", "curriculum.start=-1", "curriculum.levels=0"):
        with pytest.raises(UsageError, match="curriculum"):
            load_settings(options=[wrong])


def test_a_generator_draws_by_the_settings_it_is_told_to_use(open_head):
    full = GeneratorSettings(**SMALL, no_face_share=0.0)
    settings = SyntheticSettings(generator=full, curriculum=Curriculum(share=0.5, start=0.1))
    generator = FaceGenerator(*open_head, full, 0)

    def largest_turn() -> float:
        rotation = generator.batch(24).rotation
        return float(torch.rad2deg(torch.acos(rotation[:, 2, 2].clamp(-1, 1))).max())

    generator.use(generator_at(settings, 0.0))
    assert largest_turn() < 12
    assert generator.studio.settings.hand_share == pytest.approx(0.1 * full.hand_share)
    generator.use(generator_at(settings, 0.9))
    assert largest_turn() > 30


def test_a_recorded_batch_is_recorded_anew_when_the_settings_change(open_head, monkeypatch):
    recorded = []

    class Fake:
        """A recording as a graph makes it: it keeps to the settings of the moment when it was made."""

        def __init__(self, draw, _draws, _lasting) -> None:
            recorded.append(generator.settings.pose.yaw_limit)
            self.replay = draw

    monkeypatch.setattr(generator_module, "Recording", Fake)
    settings = GeneratorSettings(**SMALL, graph=True)
    generator = FaceGenerator(*open_head, settings, 0)
    easy = replace(settings, pose=replace(settings.pose, yaw_limit=5.0))
    for used in (easy, easy, settings, settings):
        generator.use(used)
        generator.batch(2)
    assert recorded == [5.0, settings.pose.yaw_limit]


def test_a_run_with_curriculum_and_mirrored_pictures_resumes_to_the_same_weights(
    tmp_path, monkeypatch, open_head
):
    monkeypatch.setattr(synthetic, "AGREE_EVERY", 1)
    monkeypatch.setattr(synthetic, "REPORT_EVERY_S", -1.0)
    monkeypatch.setattr(synthetic, "find_parts", lambda *_: open_head[1])
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    used = []
    use = FaceGenerator.use

    def watched(self, settings) -> None:
        used.append(settings.pose.yaw_limit)
        use(self, settings)

    monkeypatch.setattr(FaceGenerator, "use", watched)
    settings = SyntheticSettings(
        minutes=1e6,
        max_steps=4,
        batch_size=4,
        warmup_steps=1,
        renew_every=2,
        save_every_s=-1.0,
        validation_faces=0,
        detail_size=0,
        flip_share=0.5,
        weights=LossWeights(flip=0.5),
        curriculum=Curriculum(share=0.75, start=0.1, levels=3),
        generator=GeneratorSettings(**SMALL),
    )
    seen = []
    whole = train_synthetic(HEAD_FILE, tmp_path / "whole", settings, "cpu", lambda p: seen.append(p.values))
    assert used == pytest.approx([9.0, 36.0, 63.0, 90.0])
    assert all(values["flip"] > 0 for values in seen)

    def interrupt(progress) -> None:
        if progress.step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_synthetic(HEAD_FILE, tmp_path / "halved", settings, "cpu", interrupt)
    assert read_state(tmp_path / "halved", torch.device("cpu")).step == 2
    used.clear()
    halved = train_synthetic(HEAD_FILE, tmp_path / "halved", settings, "cpu", lambda _: None, resume=True)
    assert used == pytest.approx([63.0, 90.0])
    torch.set_num_threads(threads)
    one, two = (load_pack(folder).deca.encoder.state_dict() for folder in (whole, halved))
    for key, value in one.items():
        assert torch.equal(value, two[key]), key
