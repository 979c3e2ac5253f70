"""Damaged files of every kind: whatever is in them, only our own error comes out, and nothing is run."""

import io
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy import sparse

from deca_cli.assets.albedo_file import read_albedo
from deca_cli.assets.dense_template import read_dense_template
from deca_cli.assets.loss_networks import read_identity_network, read_vgg19_features
from deca_cli.assets.official import read_deca_checkpoint, read_flame_head, read_mask, read_template
from deca_cli.assets.pickles import read_npy, read_pickle
from deca_cli.assets.recognise import recognise
from deca_cli.assets.unpack import unpack_zip
from deca_cli.errors import ModelError


def written(save: Callable[[io.BytesIO], object]) -> bytes:
    stream = io.BytesIO()
    save(stream)
    return stream.getvalue()


def zipped(stream: io.BytesIO) -> None:
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("FLAME/generic_model.pkl", PICKLE)


def _save_mask(stream: io.BytesIO) -> None:
    from PIL import Image

    Image.fromarray(np.eye(256, dtype=np.uint8) * 255).save(stream, "PNG")


MODEL = {
    "v_template": np.arange(15.0).reshape(5, 3),
    "J_regressor": sparse.csc_matrix(np.eye(3)),
    "t": torch.ones(3),
    "f": np.zeros((2, 3), np.uint32),
    "names": ["a", {"b": (1, 2.5)}],
}
NETS = OrderedDict(E_flame=OrderedDict(w=torch.arange(4.0)), E_detail=OrderedDict(), D_detail=OrderedDict())
PICKLE = pickle.dumps(MODEL, 2)
DICT_NPY = written(lambda stream: np.save(stream, np.array(MODEL, dtype=object), allow_pickle=True))
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.5 0.25\nvt 0 1\nf 1/2 2/1 3/2\n"
SMALL = np.zeros((1, 1, 3), np.float32)


def flame_of(path: Path) -> object:
    return read_flame_head(path, path, path, path, path)


def unpacked(path: Path) -> object:
    target = path.with_name("unpacked")
    try:
        return unpack_zip(path, target)
    finally:
        if target.is_dir():
            for file in sorted(target.rglob("*"), reverse=True):
                file.rmdir() if file.is_dir() else file.unlink()
            target.rmdir()


CASES: dict[str, tuple[Callable[[Path], object], bytes]] = {
    "pickle": (read_pickle, PICKLE),
    "text pickle": (read_pickle, pickle.dumps(MODEL, 0)),
    "framed pickle": (read_pickle, pickle.dumps(MODEL, 5)),
    "flame": (flame_of, PICKLE),
    "identity network": (read_identity_network, pickle.dumps({"conv1.weight": np.zeros(3)}, 2)),
    "array": (read_npy, written(lambda stream: np.save(stream, np.eye(3)))),
    "array of objects": (read_npy, DICT_NPY),
    "dense template": (read_dense_template, DICT_NPY),
    "checkpoint": (read_deca_checkpoint, written(partial(torch.save, NETS))),
    "old checkpoint": (
        read_deca_checkpoint,
        written(partial(torch.save, NETS, _use_new_zipfile_serialization=False)),
    ),
    "vgg": (read_vgg19_features, written(partial(torch.save, {"features.0.bias": torch.zeros(64)}))),
    "albedo": (read_albedo, written(lambda stream: np.savez_compressed(stream, MU=SMALL, PC=SMALL))),
    "archive": (unpacked, written(zipped)),
    "template": (read_template, OBJ),
    "mask": (read_mask, written(_save_mask)),
}


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Bytes changed, pieces cut out, doubled or moved, the end missing."""
    edits = draw(
        st.lists(
            st.tuples(st.sampled_from("=-+<"), st.floats(0, 1), st.integers(0, 255), st.integers(1, 40)),
            max_size=4,
        )
    )
    keep = draw(st.sampled_from([1.0, 1.0, 0.95, 0.5]))

    def damage(content: bytes) -> bytes:
        changed = bytearray(content)
        for kind, where, value, length in edits:
            place = int(where * max(len(changed) - 1, 0))
            piece = bytes(changed[place : place + length])
            if kind == "=" and changed:
                changed[place] = value
            elif kind == "-":
                del changed[place : place + length]
            elif kind == "+":
                changed[place:place] = piece
            else:
                changed[place:place] = bytes([value])
        return bytes(changed[: int(keep * len(changed))])

    return damage


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", CASES)
@given(damage=damages())
@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_damaged_files_fail_with_our_own_error_only(
    name: str, folder: Path, damage: Callable[[bytes], bytes]
):
    read, content = CASES[name]
    path = folder / "file"
    path.write_bytes(damage(content))
    try:
        read(path)
    except ModelError as error:
        assert str(path) in str(error)  # noqa: PT017 - most damages raise nothing
    found = recognise(path)  # never raises
    assert found.problem is None or found.problem.strip()


def test_the_undamaged_files_are_read(folder: Path):
    """Or the test above would only ever see refusals."""
    for name in ("pickle", "text pickle", "framed pickle", "array", "array of objects", "checkpoint", "old checkpoint",
                 "archive", "template", "mask"):  # fmt: skip
        read, content = CASES[name]
        (folder / "file").write_bytes(content)
        read(folder / "file")
