"""Parts of the stages: first weights, what is taken over from an earlier run, what is measured and shown."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deca_cli.errors import ModelError, UsageError
from deca_cli.heads.assets import save_head
from deca_cli.networks.layout import split_raw
from deca_cli.packs.folders import pack_folder
from deca_cli.packs.store import load_pack
from deca_cli.train import models, run_log
from deca_cli.train.config.build import load_settings
from deca_cli.train.data.batch import PersonBatch
from deca_cli.train.processes import Process
from deca_cli.train.run_pack import write_run_pack
from deca_cli.train.stages import codes_of, make_stage, within_range, without
from deca_cli.train.validation import Validation, aligned_distance, face_vertices, landmark_error
from small_head import random_albedo, random_head

TINY = ["model.backbone=resnet18", "model.hidden=0", "dataset.image_size=32"]
ALONE = Process(0, 1, torch.device("cpu"))


@pytest.fixture
def head_file(tmp_path):
    head = replace(random_head(), expression_names=("a", "b", "c", "d"))
    save_head(tmp_path / "head.npz", head, random_albedo())
    return tmp_path / "head.npz"


def build(stage, head_file, *options: str):
    return models.build_model(load_settings(stage, options=[*TINY, f"model.head={head_file}", *options]))


def test_training_starts_at_the_mean_face_in_the_middle_of_the_crop(head_file):
    trainee, _ = build("pretrain", head_file)
    raw = trainee.deca.encoder.eval()(trainee.deca.prepare(torch.rand(2, 3, 32, 32)))
    codes = codes_of(raw, trainee.deca)
    box = 2 / (codes.camera[:, 0] * trainee.deca.preprocessing.crop_factor)
    assert box.tolist() == pytest.approx([models.TYPICAL_SIZE_M] * 2, rel=0.3)
    assert codes.shape.abs().max() < 0.5
    assert codes.pose.abs().max() < 0.5
    assert codes.light[:, 0].detach().numpy() == pytest.approx(models.FIRST_LIGHT, abs=0.5)


def test_answers_follow_the_head(head_file):
    open_like, settings = build("pretrain", head_file)
    assert dict(open_like.manifest.layout) == {
        "shape": 5, "albedo": 3, "expression": 4, "rotation_6d": 6, "log_camera": 3, "light": 27,
    }  # fmt: skip
    assert settings.dataset.pixel_offset == -0.5
    assert (settings.model.n_exp, settings.model.outputs) == (4, "open")
    official, _ = build("pretrain", head_file, "model.outputs=official", "model.jaw_type=euler")
    assert [name for name, _ in official.manifest.layout] == [
        "shape", "albedo", "expression", "pose_euler_jaw", "camera", "light",
    ]  # fmt: skip


def test_sizes_that_the_head_does_not_have_are_refused(head_file):
    with pytest.raises(UsageError, match=r"model\.n_shape is 100, but .* has 5"):
        build("pretrain", head_file, "model.n_shape=100")


def test_a_stage_goes_on_with_the_weights_of_the_one_before(head_file, tmp_path):
    trainee, settings = build("pretrain", head_file)
    write_run_pack(tmp_path / "run", trainee, settings, {"steps": 3, **trainee.origin}, {})
    assert pack_folder(tmp_path / "run") == tmp_path / "run" / "pack"
    after, later = models.build_model(
        load_settings("detail", options=[f"pretrained_modelpath={tmp_path / 'run'}"])
    )
    for name, value in trainee.deca.encoder.state_dict().items():
        assert torch.equal(value, after.deca.encoder.state_dict()[name]), name
    assert (later.model.backbone, later.model.hidden, later.dataset.image_size) == ("resnet18", 0, 32)
    assert after.origin == {"start": str(tmp_path / "run"), "start_stage": "pretrain", "start_steps": 3}
    assert after.manifest.has_detail
    images = torch.rand(1, 3, 32, 32)
    same = load_pack(tmp_path / "run").deca.encode(images).codes
    assert torch.allclose(
        same.shape, codes_of(after.deca.encoder.eval()(after.deca.prepare(images)), after.deca).shape
    )


def test_answers_that_the_start_does_not_have_begin_fresh(head_file, tmp_path):
    plain, settings = build("pretrain", head_file, "model.use_tex=false")
    assert "light" not in dict(plain.manifest.layout)
    write_run_pack(tmp_path / "run", plain, settings, {}, {})
    options = [f"pretrained_modelpath={tmp_path / 'run'}"]
    after, _ = models.build_model(load_settings("coarse", options=options))
    answer, before = after.deca.encoder.layers[-1], plain.deca.encoder.layers[-1]
    rows = split_raw(answer.weight.T, after.deca.layout)
    old = split_raw(before.weight.T, plain.deca.layout)
    for name, value in old.items():
        assert torch.equal(rows[name], value), name
    assert split_raw(answer.bias[None], after.deca.layout)["light"][0, 0] == models.FIRST_LIGHT


def test_a_start_with_another_network_is_refused(head_file, tmp_path):
    trainee, settings = build("pretrain", head_file)
    write_run_pack(tmp_path / "run", trainee, settings, {}, {})
    start = f"pretrained_modelpath={tmp_path / 'run'}"
    with pytest.raises(UsageError, match=r"resnet34.*has 'resnet18'"):
        models.build_model(load_settings("coarse", options=[start, "model.backbone=resnet34"]))
    official = tmp_path / "model.tar"
    official.write_bytes(b"")
    with pytest.raises(UsageError, match="deca fetch-models"):
        models.build_model(load_settings("coarse", options=[f"pretrained_modelpath={official}"]))


def test_a_model_without_colours_has_nothing_for_the_coarse_stage(head_file):
    trainee, settings = build("coarse", head_file, "model.use_tex=false", "loss.id=0")
    with pytest.raises(ModelError, match="colours"):
        make_stage(trainee, settings, ALONE)


def test_in_the_detail_stage_only_the_detail_networks_have_gradients(head_file):
    trainee, settings = build("detail", head_file, "loss.mrf=0")
    stage = make_stage(trainee, settings, ALONE)
    stage.set_training(on=True)
    assert not any(p.requires_grad for p in trainee.deca.encoder.parameters())
    assert all(p.requires_grad for p in stage.trained.parameters())
    assert not trainee.deca.encoder.training
    assert stage.trained.training


def test_expressions_of_the_finished_pack_stay_in_their_range(head_file):
    trainee, _ = build("pretrain", head_file)
    raw = trainee.deca.encoder.eval()(torch.randn(4, 3, 32, 32)) * 50
    codes = codes_of(raw, trainee.deca)
    assert codes.expression.min() < 0
    kept = within_range(codes, trainee).expression
    assert kept.min() >= 0
    assert kept.max() <= 1


def test_terms_can_be_left_out_by_name():
    settings = without(load_settings("coarse").settings, ("identity", "mrf"))
    assert (settings.loss.coarse.id, settings.loss.detail.mrf, settings.loss.coarse.photo) == (0.0, 0.0, 2.0)
    with pytest.raises(UsageError, match="identity and mrf"):
        without(settings, ("hair",))


def test_the_shape_error_ignores_rotation_and_shift_and_if_wanted_size():
    torch.manual_seed(0)
    points = torch.randn(2, 30, 3)
    turn, _ = torch.linalg.qr(torch.randn(3, 3))
    turn = turn * torch.det(turn).sign()
    moved = points @ turn + torch.tensor([1.0, -2.0, 3.0])
    assert aligned_distance(moved, points, scaled=False) < 1e-6
    assert (
        aligned_distance(points * torch.tensor([-1.0, 1.0, 1.0]), points, scaled=False) > 0.1
    )  # a mirror image is another shape
    scaled = (points - points.mean(1, keepdim=True)).norm(dim=-1).mean()
    assert float(aligned_distance(1.1 * moved, points, scaled=False)) == pytest.approx(
        0.1 * float(scaled), rel=1e-4
    )
    assert float(aligned_distance(1.1 * moved, points, scaled=True)) < 1e-6


def test_the_landmark_error_is_in_percent_of_the_box(head_file):
    trainee, _ = build("pretrain", head_file)
    deca = trainee.deca
    codes = codes_of(torch.randn(3, deca.encoder.outputs) * 0.1, deca)
    head = deca.decode(codes)
    labels = torch.cat([head.landmarks2d[..., :2], torch.ones(3, 68, 1)], -1)
    assert landmark_error(deca.head, codes, labels) < 1e-4
    size = (labels[..., :2].amax(1) - labels[..., :2].amin(1)).prod(1).sqrt()
    shifted = labels.clone()
    shifted[..., 0] += 0.07
    assert float(landmark_error(deca.head, codes, shifted)) == pytest.approx(
        float((7 / size).mean()), rel=1e-4
    )


def test_the_face_of_the_open_head_is_a_part_of_it_in_front():
    pack = load_pack("open")
    head = pack.deca.head
    face = face_vertices(head)
    assert 0.05 < len(face) / head.vertex_count < 0.9
    assert head.template_vertices[face, 2].mean() > head.template_vertices[:, 2].mean()


def test_sheets_show_eight_faces_in_rows():
    pictures = {
        "inputs": torch.zeros(10, 3, 16, 16),
        "landmarks2d": torch.zeros(10, 68, 2),
        "predicted_images": torch.full((10, 3, 16, 16), 2.0),
        "uv_texture": torch.rand(10, 3, 32, 32),
    }
    sheet = run_log.picture_sheet(pictures)
    assert sheet.shape == (4 * 16, 8 * 16, 3)
    assert tuple(sheet[16 + 8, 8]) == (0, 255, 0)  # NDC 0 is the middle
    assert (sheet[32:48] == 255).all()


def test_curves_are_drawn_from_the_log(tmp_path):
    pytest.importorskip("matplotlib")
    lines = [{"kind": "train", "step": step, "all_loss": 1 / step, "lr": 1.0} for step in range(1, 9)]
    path = run_log.draw_curves(lines, tmp_path / "curves.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    assert run_log.draw_curves([], tmp_path / "none.png") is None


def test_scalars_and_sheets_reach_tensorboard(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = run_log.RunLog(tmp_path, 0, tensorboard=True)
    log.write("train", 3, {"all_loss": 0.5})
    log.show(3, {"inputs": torch.rand(2, 3, 16, 16)})
    log.close()
    events = EventAccumulator(str(tmp_path / run_log.SUMMARY)).Reload()
    assert events.Scalars("train/all_loss")[0].step == 3
    assert events.Tags()["images"] == ["train_images"]


def test_a_detail_step_gives_gradients_to_all_its_networks():
    trainee, settings = build("detail", "open", "loss.mrf=0")
    stage = make_stage(trainee, settings, ALONE)
    stage.set_training(on=True)
    batch = PersonBatch(
        torch.rand(1, 2, 3, 32, 32), torch.rand(1, 2, 68, 3), torch.ones(1, 2, 32, 32), ("a",) * 2
    )
    step = stage.step(stage.trained, batch, torch.tensor([[1, 0]]), pictures=False)
    step.total.backward()
    assert np.isfinite(float(step.total.detach()))
    assert all(p.grad is not None for p in stage.trained.parameters())


def test_a_number_that_not_every_batch_has_is_the_mean_of_those_that_have_it():
    validation = Validation.__new__(Validation)
    validation.stage = SimpleNamespace(set_training=lambda **_: None)
    validation.groups = {"": [{"a": 1.0, "b": 3.0}, {"a": 2.0}, {"a": 6.0, "b": 5.0}], "train_": [{"b": 7.0}]}
    validation._measure_batch = lambda known: {name: torch.tensor(value) for name, value in known.items()}
    assert validation.measure() == {"a": 3.0, "b": 4.0, "train_b": 7.0}
