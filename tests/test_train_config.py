"""Settings of the training stages: YAML in and out, official files, options."""

from dataclasses import replace

import pytest

from deca_cli.errors import UsageError
from deca_cli.train.config.build import load_settings
from deca_cli.train.config.settings import LoopSettings, ModelSettings
from deca_cli.train.config.write import flat_settings, settings_text

# Values of the three official files, written down from their description.
PRETRAIN = """
output_dir: somewhere/pretrain
pretrained_modelpath: ''
dataset:
  batch_size: 64
  K: 1
train:
  resume: True
  max_epochs: 10
  max_steps: 100000
  log_steps: 10
  vis_steps: 500
  checkpoint_steps: 1000
  val_steps: 500
  eval_steps: 1000
loss:
  photo: 0.
  id: 0.
  useSeg: False
  reg_tex: 0.
  reg_light: 0.
  shape_consistency: False
"""
COARSE = """
output_dir: somewhere/coarse
pretrained_modelpath: somewhere/pretrain/model.tar
dataset:
  batch_size: 8
  K: 2
train:
  max_epochs: 10
  max_steps: 200000
  eval_steps: 1000
loss:
  photo: 2.
  id: 0.2
  reg_shape: 1e-4
"""
DETAIL = """
pretrained_modelpath: somewhere/coarse/model.tar
dataset:
  batch_size: 6
  K: 3
train:
  train_detail: True
  max_steps: 1000000
dataset:
  training_data: ['vggface2', 'vox2']
loss:
  mrf: 5e-2
  photo_D: 2
"""


def write(folder, text, name="stage.yml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_the_official_pretrain_file_gives_the_official_values(tmp_path):
    settings = load_settings("pretrain", write(tmp_path, PRETRAIN)).settings
    weights = settings.loss.coarse
    assert (settings.dataset.batch_size, settings.dataset.K) == (64, 1)
    assert (weights.photo, weights.id, weights.useSeg, weights.reg_tex, weights.reg_light) == (
        0,
        0,
        False,
        0,
        0,
    )
    assert (weights.lmk, weights.eyed, weights.lipd, weights.reg_shape) == (1.0, 1.0, 0.5, 1e-4)
    assert not weights.shape_consistency
    assert (settings.train.max_steps, settings.train.checkpoint_steps, settings.train.lr) == (
        100_000,
        1000,
        1e-4,
    )


def test_the_official_coarse_file_gives_the_official_values(tmp_path):
    settings = load_settings("coarse", write(tmp_path, COARSE)).settings
    assert (settings.dataset.batch_size, settings.dataset.K) == (8, 2)
    assert (settings.loss.coarse.photo, settings.loss.coarse.id, settings.loss.coarse.reg_shape) == (
        2.0,
        0.2,
        1e-4,
    )
    assert settings.dataset.training_data == ("vggface2", "ethnicity")
    assert settings.pretrained_modelpath == "somewhere/pretrain/model.tar"


def test_the_doubled_block_of_the_official_detail_file_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match=r"stage\.yml line 9: the key `dataset`.*line 3.*--duplicate-keys"):
        load_settings("detail", write(tmp_path, DETAIL))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("merge", (6, 3, ("vggface2", "vox2"))),
        ("first", (6, 3, ("vggface2", "ethnicity"))),
        ("last", (2, 4, ("vggface2", "vox2"))),  # what the official program trains with
    ],
)
def test_the_doubled_block_of_the_official_detail_file_can_be_decided(tmp_path, choice, expected):
    data = load_settings("detail", write(tmp_path, DETAIL), duplicates=choice).settings.dataset
    assert (data.batch_size, data.K, data.training_data) == expected


def test_without_a_file_a_stage_has_its_published_values():
    detail = load_settings("detail").settings
    assert (detail.dataset.batch_size, detail.dataset.K, detail.train.train_detail) == (6, 3, True)
    assert (detail.loss.detail.mrf, detail.loss.detail.photo_D, detail.loss.detail.reg_sym) == (
        0.05,
        2.0,
        0.005,
    )
    assert load_settings("coarse").settings.loss.coarse.photo == 2.0


def test_an_unknown_name_is_refused_with_its_line_and_the_name_that_was_meant(tmp_path):
    with pytest.raises(UsageError, match=r"line 3: there is no setting `loss\.foto`.*`loss\.photo`"):
        load_settings("coarse", write(tmp_path, "loss:\n  lmk: 1\n  foto: 2\n"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("lr", "`train.lr`"),
        ("train.learning_rate", "`train.lr`"),
        ("train.batchsize", "`dataset.batch_size`"),
        ("loop.max-steps", "`train.max_steps`"),
        ("Loss.Photo", "`loss.photo`"),
        ("steps", "`train.max_steps`, `train.warmup_steps` or `train.log_steps`"),
    ],
)
def test_what_was_meant_is_found_by_name_whatever_the_group_or_spelling(written, meant):
    with pytest.raises(UsageError) as refused:
        load_settings("coarse", options=[f"{written}=1"])
    assert str(refused.value) == (
        f"--set {written}=1: there is no setting `{written}`. Did you mean {meant}?"
    )


@pytest.mark.parametrize(
    ("written", "sentence"),
    [
        ("xyz", "There are dataset.*, loss.*, model.*, output_dir, pretrained_modelpath, stage, train.*."),
        ("model.xyz", "`model` has head, backbone, hidden, "),
        ("loss", "`loss` is a group of settings; it has lmk, "),
    ],
)
def test_a_name_that_resembles_none_is_answered_with_what_there_is(written, sentence):
    with pytest.raises(UsageError) as refused:
        load_settings("coarse", options=[f"{written}=1"])
    assert sentence in str(refused.value)


def test_a_name_that_is_set_twice_within_a_block_is_refused_with_its_line(tmp_path):
    with pytest.raises(UsageError, match=r"line 4: `loss\.lmk` is set a second time.*line 2"):
        load_settings("coarse", write(tmp_path, "loss:\n  lmk: 1\n  eyed: 1\n  lmk: 2\n"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("loss:\n  photo: much\n", r"line 2: `loss\.photo` is 'much', but must be a number"),
        ("loss:\n  useSeg: 1\n", "true or false"),
        ("dataset:\n  K: 1.5\n", "a whole number"),
        ("dataset:\n  K: {a: 1}\n", r"there is no setting `dataset\.K\.a`"),
        ("train:\n  lr: 0\n", r"train\.lr"),
        ("model:\n  backbone: vgg\n", r"model\.backbone is 'vgg'"),
        ("dataset: [\n", "no YAML.*line 2"),
        ("- 1\n", "`name: value`"),
        ("loss:\n  photo: !!python/object/apply:os.system [exit]\n", "line 2"),
        ("stage: detail\n", "deca train detail"),
        ("train:\n  train_detail: true\n", "deca train detail"),
    ],
)
def test_values_that_do_not_fit_are_refused(tmp_path, text, message):
    with pytest.raises(UsageError, match=message):
        load_settings("coarse", write(tmp_path, text))


def test_options_come_after_the_file(tmp_path):
    loaded = load_settings(
        "coarse",
        write(tmp_path, COARSE),
        ["loss.photo=3", "dataset.training_data=[a, b]", "dataset.augmentation.flip=0.5", "train.lr=1e-3"],
    )
    assert loaded.settings.loss.coarse.photo == 3.0
    assert loaded.settings.dataset.training_data == ("a", "b")
    assert loaded.settings.dataset.augmentation.flip == 0.5
    assert loaded.settings.train.lr == 1e-3
    assert "train.lr" in loaded.written
    assert "train.clip" not in loaded.written


@pytest.mark.parametrize("option", ["loss.photo", "=1", "loss.photo=[", "loss.photos=1"])
def test_options_that_cannot_be_read_are_refused(option):
    with pytest.raises(UsageError, match="--set"):
        load_settings("coarse", options=[option])


def test_official_names_without_effect_are_named_with_the_reason(tmp_path):
    notes = load_settings("pretrain", write(tmp_path, PRETRAIN + "device: cuda\n")).notes
    assert any(
        "line 15" in note and "train.eval_steps" in note and "deca evaluate now" in note for note in notes
    )
    assert any("`device`" in note and "--device" in note for note in notes)


@pytest.mark.parametrize("stage", ["pretrain", "coarse", "detail"])
def test_saved_settings_read_back_as_they_were(tmp_path, stage):
    settings = load_settings(stage, options=["loss.reg_exp=1e-7", "dataset.training_data=['ä b']"]).settings
    again = load_settings(stage, write(tmp_path, settings_text(settings))).settings
    assert again == settings
    assert flat_settings(again)["loss.reg_exp"] == 1e-7


def test_every_setting_can_be_written():
    settings = load_settings("detail").settings
    options = [
        f"{key}={value!r}" for key, value in flat_settings(settings).items() if not isinstance(value, str)
    ]
    options = [option.replace("None", "null") for option in options]
    assert load_settings("detail", options=options).settings == settings


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(UsageError, match=r"train\.ema"):
        LoopSettings(ema=1.0)
    with pytest.raises(UsageError, match=r"train\.keep_last"):
        replace(LoopSettings(), keep_last=0)
    with pytest.raises(UsageError, match="detail decoder"):
        ModelSettings(uv_size=512)
