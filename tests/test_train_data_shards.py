"""Tar shards: the same pictures as the single files, read in rows, written on after a stop."""

import os
import tarfile
from dataclasses import replace
from itertools import islice

import numpy as np
import psutil
import pytest
import torch

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data import storage
from deca_cli.train.data.manifest import MANIFEST, to_line, to_lines, walk_records
from deca_cli.train.data.prepared import PreparedSource
from deca_cli.train.data.sampling import generator
from deca_cli.train.data.shards import write_shards
from small_dataset import make_dataset, open_loader, small_settings

PEOPLE = {f"p{index:02d}": 2 for index in range(12)}


@pytest.fixture
def folder(tmp_path):
    return make_dataset(tmp_path / "set", PEOPLE)


def sharded(folder, people_a_shard=2):
    size = sum(path.stat().st_size for path in folder.rglob("p00/*"))
    output = folder.with_name("tars")
    assert write_shards(folder, output, shard_bytes=people_a_shard * (size + 8000)) == 12 // people_a_shard
    return output


def test_tars_hold_the_same_pictures_and_labels(folder):
    output = sharded(folder)
    expected = {name: (image, label, mask) for name, image, label, mask in all_pictures(folder)}
    seen = {name: (image, label, mask) for name, image, label, mask in all_pictures(output)}
    assert seen.keys() == expected.keys()
    assert len(seen) == 24
    for name, values in seen.items():
        for one, other in zip(values, expected[name], strict=True):
            assert torch.equal(one, other)


def all_pictures(folder):
    loader = open_loader(folder, batch_size=12, scale_min=1.5, scale_max=1.5)
    for batch in islice(loader.batches(), 1):
        for index, name in enumerate(batch.names):
            yield (
                name,
                *(getattr(batch, one).flatten(0, 1)[index] for one in ("images", "landmarks", "masks")),
            )
    assert loader.problems == {}


def test_other_programs_can_read_the_tars(folder):
    with tarfile.open(sharded(folder) / "shards/00000.tar") as tar:
        names = tar.getnames()
    assert names[:3] == ["p00__00.jpg", "p00__00.mask.png", "p00__00.json"]
    assert len(names) == 12


def test_the_order_is_random_but_reads_few_tars_at_a_time(folder):
    output = sharded(folder)
    source = PreparedSource(output, small_settings(output, shuffle_shards=2), "train", {})
    order = source.order(generator(0))
    assert sorted(order) == list(range(12))
    assert list(order) != sorted(order)
    for first in (0, 4, 8):
        assert len({int(source.shard_of[person]) for person in order[first : first + 4]}) == 2


def test_a_stopped_writer_goes_on_after_the_whole_tars(folder):
    output = sharded(folder)
    (output / "dataset.json").unlink()
    first, third = (output / f"shards/{number:05d}.tar" for number in (0, 2))
    kept = first.stat().st_ino
    third.with_suffix(".jsonl").unlink()  # as if it had been stopped right before its list was written
    rewritten = third.stat().st_ino
    sharded(folder)
    assert first.stat().st_ino == kept
    assert third.stat().st_ino != rewritten
    assert len(list(all_pictures(output))) == 24


@pytest.mark.parametrize(
    "change",
    [
        {"split": "held_out"},
        {"landmarks": np.full((68, 2), 7.0)},
        {"to_source": (2.0, 1.0, 1.0)},
        {"quality": {"blur": 0.5}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_tar_whose_labels_or_split_changed_is_written_again(folder, change):
    output = sharded(folder)
    first, second = (output / f"shards/{number:05d}.tar" for number in (0, 1))
    before, kept = first.stat().st_ino, second.stat().st_ino
    records = [one.record for one in walk_records(folder / MANIFEST, {})]
    changed = [replace(one, **change) if one.name == "p01/00" else one for one in records]
    (folder / MANIFEST).write_text(to_lines(changed))
    sharded(folder)
    assert first.stat().st_ino != before
    assert second.stat().st_ino == kept
    expected = next(one for one in changed if one.name == "p01/00")
    for manifest in (output / MANIFEST, first.with_suffix(".jsonl")):
        written = next(one.record for one in walk_records(manifest, {}) if one.record.name == "p01/00")
        assert to_line(replace(written, image=expected.image, mask=expected.mask, at=None)) == to_line(
            expected
        )


def test_a_tar_that_is_cut_short_is_damage_of_its_pictures_only(folder):
    output = sharded(folder)
    path = output / "shards/00000.tar"
    os.truncate(path, 4096)
    loader = open_loader(output, batch_size=12)
    batch = next(loader.batches())
    assert {name.split("/")[0] for name in loader.problems} == {"p00", "p01"}
    assert len(batch.names) == 24


def test_few_tars_are_open_at_a_time(folder, monkeypatch):
    monkeypatch.setattr(storage, "OPEN_TARS", 2)
    output = sharded(folder)
    before = psutil.Process().num_fds()
    loader = open_loader(output, batch_size=12)
    next(loader.batches())
    assert loader.problems == {}
    assert psutil.Process().num_fds() == before + 2


def test_worker_processes_read_tars_too(folder):
    output = sharded(folder)
    alone = next(open_loader(output).batches())
    helped = next(open_loader(output, num_workers=1).batches())
    assert torch.equal(alone.images, helped.images)


def test_damaged_single_files_are_not_packed(folder):
    path = folder / "pictures/p03/00.jpg"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InputError, match="checksum"):
        sharded(folder)


def test_tars_are_not_packed_again(folder):
    with pytest.raises(UsageError, match="already"):
        write_shards(sharded(folder), folder.with_name("more"))
