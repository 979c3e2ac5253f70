"""The loader of training data: who is shown when, and what happens to damaged pictures."""

from collections import Counter
from itertools import islice

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from deca_cli.errors import DeviceError, InputError, UsageError
from deca_cli.train.data.manifest import DESCRIPTION, MANIFEST
from deca_cli.train.data.settings import DataSettings
from deca_cli.train.data.store import encode_png
from small_dataset import HELD_OUT, make_dataset, open_loader, people_of

PEOPLE = {"anna": 3, "ben": 3, "cleo": 2, "dora": 2, "emil": 4, "fred": 2, HELD_OUT: 2}
TRAIN = sorted(set(PEOPLE) - {HELD_OUT})


@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path / "set", PEOPLE)


def assert_same(one, other):
    assert one.names == other.names
    for name in ("images", "landmarks", "masks"):
        assert torch.equal(getattr(one, name), getattr(other, name))


def test_a_batch_has_the_promised_shapes_and_ranges(folder):
    batch = next(open_loader(folder).batches())
    assert batch.images.shape == (2, 2, 3, 64, 64)
    assert batch.landmarks.shape == (2, 2, 68, 3)
    assert batch.masks.shape == (2, 2, 64, 64)
    assert (batch.people, batch.per_person, len(batch.names)) == (2, 2, 4)
    assert batch.images.dtype == batch.landmarks.dtype == batch.masks.dtype == torch.float32
    assert 0 <= batch.images.min() < batch.images.max() <= 1
    assert torch.equal(batch.landmarks[..., 2], torch.ones(2, 2, 68))
    assert people_of(batch.names)[0] == people_of(batch.names)[1] != people_of(batch.names)[2]


def test_the_pictures_of_a_person_differ_while_there_are_enough(folder):
    for batch in islice(open_loader(folder).batches(), 6):
        assert len(set(batch.names)) == 4


def test_resuming_at_a_step_shows_what_that_step_would_have_shown(folder):
    all_of_them = list(islice(open_loader(folder).batches(), 7))
    resumed = list(islice(open_loader(folder).batches(first_step=5), 2))
    assert_same(resumed[0], all_of_them[5])
    assert_same(resumed[1], all_of_them[6])


def test_worker_processes_change_nothing(folder):
    alone = islice(open_loader(folder).batches(3), 4)
    helped = islice(open_loader(folder, num_workers=2).batches(3), 4)
    for one, other in zip(alone, helped, strict=True):
        assert_same(one, other)


def test_another_seed_shows_something_else(folder):
    one, other = (next(open_loader(folder, seed=seed).batches()) for seed in (0, 1))
    assert not torch.equal(one.images, other.images)


def test_everybody_is_shown_once_a_pass_and_never_to_two_processes(folder):
    loaders = [open_loader(folder, rank=rank, world=3, batch_size=1) for rank in range(3)]
    shown = [list(islice(loader.batches(), 4)) for loader in loaders]
    first_pass = [set(people_of(batch.names)) for batches in shown for batch in batches[:2]]
    assert sorted(person for people in first_pass for person in people) == TRAIN
    second_pass = [
        person for batches in shown for batch in batches[2:] for person in set(people_of(batch.names))
    ]
    assert sorted(second_pass) == TRAIN


def test_every_pass_has_another_order(folder):
    loader = open_loader(folder, batch_size=6, K=1)
    passes = [people_of(batch.names) for batch in islice(loader.batches(), 4)]
    assert len(set(map(tuple, passes))) == 4


def test_processes_together_show_what_one_process_would_show(folder):
    alone = list(islice(open_loader(folder, batch_size=4).batches(), 2))
    for rank in range(2):
        shared = open_loader(folder, rank=rank, world=2, batch_size=2)
        for one, other in zip(alone, islice(shared.batches(), 2), strict=True):
            assert torch.equal(one.images[2 * rank : 2 * rank + 2], other.images)


def test_held_out_people_are_shown_in_validation_only(folder):
    seen = {person for batch in islice(open_loader(folder).batches(), 6) for person in people_of(batch.names)}
    assert sorted(seen) == TRAIN
    validation = next(open_loader(folder, split="held_out").batches())
    assert set(people_of(validation.names)) == {HELD_OUT}


def test_fewer_pictures_than_asked_for_are_repeated_with_other_cuts(folder):
    batch = next(open_loader(folder, K=5, split="held_out", batch_size=1).batches())
    assert Counter(batch.names).most_common(1)[0][1] == 3
    same = [index for index, name in enumerate(batch.names) if name == batch.names[0]]
    assert not torch.equal(batch.images[0, same[0]], batch.images[0, same[1]])


def test_people_with_too_few_pictures_can_be_left_out(folder):
    assert open_loader(folder, least_pictures=3).people == 3


def test_two_datasets_are_mixed(folder, tmp_path):
    other = make_dataset(tmp_path / "other", {"gina": 2, "hugo": 2})
    loader = open_loader(folder, training_data=(str(folder), str(other)), batch_size=4)
    seen = [person for batch in islice(loader.batches(), 2) for person in people_of(batch.names)]
    assert loader.people == 8
    assert Counter(seen) == dict.fromkeys([*TRAIN, "gina", "hugo"], 2)


def damage(path, how):
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "overwritten":
        path.write_bytes(content[:-40] + bytes(20) + content[-20:])
    else:
        path.unlink()


@pytest.mark.parametrize("how", ["cut", "overwritten", "missing"])
@pytest.mark.parametrize("what", ["pictures/anna/01.jpg", "masks/anna/01.png"])
def test_a_damaged_picture_is_named_and_another_of_that_person_shown(folder, how, what):
    damage(folder / what, how)
    loader = open_loader(folder, K=2, batch_size=6)
    names = [name for batch in islice(loader.batches(), 6) for name in batch.names]
    of_anna = [name for name in names if name.startswith("anna/")]
    assert set(of_anna) == {"anna/00", "anna/02"}
    assert len(of_anna) == 12
    assert list(loader.problems) == ["anna/01"]


def test_a_mask_of_another_picture_is_damage(folder):
    (folder / "masks/anna/01.png").write_bytes(encode_png(np.zeros((160, 160), np.uint8)))
    loader = open_loader(folder, K=3, batch_size=6)
    next(loader.batches())
    assert "checksum" in loader.problems["anna/01"]


def test_damage_shifts_no_other_cut(folder):
    before = list(islice(open_loader(folder, batch_size=6).batches(), 3))
    damage(folder / "pictures/anna/01.jpg", "missing")
    after = list(islice(open_loader(folder, batch_size=6).batches(), 3))
    for one, other in zip(before, after, strict=True):
        for index in (i for i in range(6) if people_of(one.names)[2 * i] != "anna"):
            assert torch.equal(one.images[index], other.images[index])


def test_a_person_without_a_usable_picture_is_replaced_by_another(folder):
    for index in range(3):
        damage(folder / f"pictures/anna/{index:02d}.jpg", "missing")
    loader = open_loader(folder, batch_size=6)
    batch = next(loader.batches())
    assert "anna" not in people_of(batch.names)
    assert len(batch.names) == 12
    assert sorted(loader.problems) == ["anna/00", "anna/01", "anna/02"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_dataset_without_any_usable_picture_ends_with_a_sentence(tmp_path, workers):
    folder = make_dataset(tmp_path / "set", {"anna": 1})
    damage(folder / "pictures/anna/00.jpg", "cut")
    with pytest.raises(InputError, match=r"^50 people in a row .* anna/00: .*checksum"):
        next(open_loader(folder, num_workers=workers).batches())


def test_a_worker_that_ends_for_want_of_memory_is_told_with_advice(folder, monkeypatch):
    def no_memory(*_: object, **__: object) -> object:
        raise RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error.")

    monkeypatch.setattr(DataLoader, "__iter__", no_memory)
    with pytest.raises(DeviceError, match=r"Bus error.*shared memory.*num_workers"):
        next(open_loader(folder, num_workers=1).batches())


@pytest.mark.parametrize("workers", [0, 1])
def test_problems_of_workers_reach_the_training_process(folder, workers):
    damage(folder / "pictures/anna/01.jpg", "cut")
    loader = open_loader(folder, K=3, batch_size=6, num_workers=workers)
    next(loader.batches())
    assert "checksum" in loader.problems["anna/01"]


@pytest.mark.parametrize(
    "edit",
    [
        lambda line: line[: len(line) // 2] + "\n",
        lambda line: line.replace('"landmarks":[[', '"landmarks":[[NaN,1.0],['),
        lambda line: line.replace('"split":"train"', '"split":"other"'),
    ],
)
def test_a_damaged_label_is_named_and_the_rest_is_used(folder, edit):
    manifest = folder / MANIFEST
    lines = manifest.read_text().splitlines(keepends=True)
    lines[1] = edit(lines[1])
    manifest.write_text("".join(lines))
    loader = open_loader(folder, K=3, batch_size=6)
    names = next(loader.batches()).names
    assert list(loader.problems) == [f"{manifest}:2"]
    assert {name for name in names if name.startswith("anna")} == {"anna/00", "anna/02"}


def test_an_unfinished_dataset_is_refused_with_the_cure(folder):
    (folder / DESCRIPTION).unlink()
    with pytest.raises(InputError, match=r"not a finished dataset.*deca train prepare"):
        open_loader(folder)


def test_crops_wider_than_what_was_stored_are_refused(folder):
    with pytest.raises(UsageError, match=r"margin of 2 .* needs 2.2"):
        open_loader(folder, scale_max=1.8, trans_scale=0.2)


def test_an_unknown_set_is_refused_with_the_names_of_the_known(folder):
    with pytest.raises(UsageError, match=r"'celeba' is neither .*vggface2, vggface2hq, ethnicity, vox2"):
        open_loader(folder, training_data=("celeba",))


@pytest.mark.parametrize(
    ("name", "value"), [("scale_min", 2.0), ("batch_size", 0), ("pixel_offset", 0.5), ("box_side", "least")]
)
def test_settings_that_make_no_sense_are_named(name, value):
    with pytest.raises(UsageError, match=f"dataset.{name}={value}"):
        DataSettings(**{name: value})


def test_validation_cuts_everything_alike():
    settings = DataSettings(trans_scale=0.1, eval_data=("x",)).for_validation()
    assert (settings.scale_min, settings.scale_max, settings.trans_scale) == (1.6, 1.6, 0)
    assert settings.training_data == ("x",)
