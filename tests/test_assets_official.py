"""Reading official files: right content from right files, and nothing is ever run from wrong ones."""

import io
import os
import pickle
import shutil
from collections import Counter, OrderedDict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import sparse

from deca_cli.assets.albedo_file import read_albedo
from deca_cli.assets.convert import convert_official
from deca_cli.assets.dense_template import read_dense_template
from deca_cli.assets.loss_networks import read_identity_network, read_vgg19_features
from deca_cli.assets.official import read_deca_checkpoint, read_flame_head, read_mask, read_template
from deca_cli.assets.pickles import plain_loads, read_npy, read_pickle
from deca_cli.assets.recognise import recognise
from deca_cli.errors import ModelError


def through_pickle(value: object, protocol: int = 2) -> object:
    return plain_loads(pickle.dumps(value, protocol), "test.pkl")


ARRAYS = [
    np.arange(6, dtype=np.float64).reshape(2, 3),
    np.asfortranarray(np.arange(6, dtype=np.float32).reshape(2, 3)),
    np.arange(4, dtype=">i4"),
    np.array([True, False]),
    np.zeros((0, 3), dtype=np.uint32),
    np.array(2.5),
    np.array([1 + 2j]),
]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("array", ARRAYS, ids=lambda array: f"{array.dtype.str}{array.shape}")
def test_arrays_of_every_protocol_come_back(array: np.ndarray, protocol: int):
    back = through_pickle(array, protocol)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_come_back(protocol: int):
    values = {"a": [1, 2.5, None, True], "b": ("x", b"y", {3}), "c": {"d": np.float64(1.5), "e": np.int32(7)}}
    assert through_pickle(values, protocol) == values


@pytest.mark.parametrize("form", ["csc", "csr", "coo"])
@pytest.mark.parametrize("kind", ["matrix", "array"])
def test_sparse_matrices_come_back_dense(form: str, kind: str):
    dense = np.zeros((3, 5))
    dense[[0, 2, 2], [4, 0, 1]] = [1.5, -2, 3]
    matrix = getattr(sparse, f"{form}_{kind}")(dense)
    np.testing.assert_array_equal(through_pickle(matrix), dense)


def test_tensors_come_back_as_arrays():
    tensor = torch.arange(12.0).view(3, 4)
    np.testing.assert_array_equal(through_pickle(tensor), tensor.numpy())
    np.testing.assert_array_equal(through_pickle(tensor.t()[1:]), tensor.t()[1:].numpy())
    assert through_pickle(OrderedDict(a=torch.tensor([1, 2])))["a"].tolist() == [1, 2]


def test_arrays_of_objects_hold_plain_data(tmp_path: Path):
    content = np.array({"faces": np.arange(3), "name": "x"}, dtype=object)
    np.save(tmp_path / "dict.npy", content, allow_pickle=True)
    back = read_npy(tmp_path / "dict.npy")
    assert back["name"] == "x"
    assert back["faces"].tolist() == [0, 1, 2]
    np.save(tmp_path / "list.npy", np.array([None, "a"], dtype=object), allow_pickle=True)
    assert read_npy(tmp_path / "list.npy").tolist() == [None, "a"]
    np.save(tmp_path / "plain.npy", np.eye(2))
    assert read_npy(tmp_path / "plain.npy").tolist() == [[1, 0], [0, 1]]


# --------------------------------------------------------------------------- refusals

MARK = "deca_cli_test_was_here"


class Runs:
    """Pickles as a call."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple:
        return self.call


def mark(*_: object) -> None:
    os.environ[MARK] = "1"


ATTACKS = {
    "os.system": Runs(os.system, f"touch {MARK}"),
    "eval": Runs(eval, f"__import__('os').environ.setdefault('{MARK}', '1')"),
    "exec": Runs(exec, f"import os; os.environ['{MARK}'] = '1'"),
    "getattr": Runs(getattr, MARK, "upper"),
    "open": Runs(open, MARK, "w"),
    "own function": Runs(mark),
    "class with state": Runs(Counter, "aab"),
    "numpy file loader": Runs(np.load, MARK),
    "torch loader": Runs(torch.load, MARK),
    "hidden in an array": np.array([Runs(mark)], dtype=object),
    "hidden in a dict": {"v_template": {"x": Runs(mark)}},
}


@pytest.fixture
def _nothing_ran(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(MARK, raising=False)
    yield
    assert MARK not in os.environ
    assert not (tmp_path / MARK).exists()


@pytest.mark.usefixtures("_nothing_ran")
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("attack", ATTACKS)
def test_pickles_that_run_code_are_refused_by_every_reader(tmp_path: Path, attack: str, protocol: int):
    content = pickle.dumps(ATTACKS[attack], protocol)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|O", "fortran_order": False, "shape": ()})
    for name, readers, start in (
        ("bad.pkl", (read_pickle, read_identity_network), b""),
        ("bad.npy", (read_npy, read_dense_template), header.getvalue()),
        ("deca_model.tar", (read_deca_checkpoint, read_vgg19_features), b""),
    ):
        (tmp_path / name).write_bytes(start + content)
        for read in readers:
            refused = name if name.endswith("tar") else rf"{name} was refused: it asks for"
            with pytest.raises(ModelError, match=refused):
                read(tmp_path / name)
        found = recognise(tmp_path / name)
        assert found.asset is None
        assert found.problem is not None or protocol == 0  # a text pickle may look like any other text


@pytest.mark.usefixtures("_nothing_ran")
def test_checkpoints_that_run_code_are_refused(tmp_path: Path):
    for zipped in (True, False):
        torch.save(
            {"E_flame": Runs(mark)}, tmp_path / "deca_model.tar", _use_new_zipfile_serialization=zipped
        )
        for read in (read_deca_checkpoint, read_vgg19_features):
            with pytest.raises(ModelError, match="deca_model"):
                read(tmp_path / "deca_model.tar")
        found = recognise(tmp_path / "deca_model.tar")
        assert found.asset is None
        assert found.problem is not None


@pytest.mark.usefixtures("_nothing_ran")
def test_albedo_files_that_run_code_are_refused(tmp_path: Path):
    np.savez(tmp_path / "albedo.npz", MU=np.array([Runs(mark)], dtype=object), PC=np.zeros(3))
    with pytest.raises(ModelError, match="albedo"):
        read_albedo(tmp_path / "albedo.npz")


@pytest.mark.usefixtures("_nothing_ran")
def test_code_inside_a_tensor_storage_is_refused():
    inner = io.BytesIO()
    torch.save(Runs(mark), inner)
    storage = Runs(torch.storage._load_from_bytes, inner.getvalue())
    tensor = Runs(torch._utils._rebuild_tensor_v2, storage, 0, (1,), (1,), False, OrderedDict())
    with pytest.raises(ModelError):
        through_pickle(tensor)


def stacked(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


DTYPE = b"cnumpy\ndtype\n"
POISON = {
    "an attribute of a class": stacked(DTYPE, b"N}X\x05\x00\x00\x00valueNs\x86b"),
    "the state of a class": stacked(DTYPE, b"}X\x05\x00\x00\x00valueNsb"),
    "an attribute of an instance": stacked(DTYPE, b")R", b"N}X\x09\x00\x00\x00argumentsNs\x86b"),
    "an attribute of dict": stacked(b"ccollections\nOrderedDict\n", b"N}X\x03\x00\x00\x00getNs\x86b"),
}


@pytest.mark.parametrize("attack", POISON)
def test_pickles_cannot_change_the_reader(attack: str):
    with pytest.raises(ModelError):
        plain_loads(POISON[attack], "test.pkl")
    np.testing.assert_array_equal(through_pickle(ARRAYS[0]), ARRAYS[0])


@pytest.mark.parametrize(
    "content",
    [
        pickle.dumps(np.array(["text"])),  # an array of texts
        pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),  # an array of records
        pickle.dumps(torch.nn.Linear(1, 1)),  # a module
        stacked(b"cnumpy\nndarray\n"),  # a class where a value belongs
        stacked(b"]q\x00h\x00a"),  # a list that contains itself
        b"P1\n.",  # a reference to data outside of the file
        b"<!DOCTYPE html><html>Please log in</html>",
        b"",
    ],
)
def test_what_is_not_plain_data_is_refused(content: bytes):
    with pytest.raises(ModelError, match=r"test\.pkl"):
        plain_loads(content, "test.pkl")


def test_an_array_whose_content_is_shorter_than_its_shape_is_refused():
    good = pickle.dumps(np.zeros(8), protocol=2)
    with pytest.raises(ModelError):
        plain_loads(good.replace(b"K\x08\x85", b"K\x09\x85"), "test.pkl")


def test_mutated_pickles_fail_in_no_other_way():
    """Every mutation is either read or refused with our own error."""
    draw = np.random.default_rng(0)
    original = pickle.dumps(
        {
            "v": np.arange(90.0).reshape(30, 3),
            "t": torch.ones(3),
            "s": sparse.csc_matrix(np.eye(3)),
            "n": [1, "a"],
        },
        2,
    )
    outcomes = {True: 0, False: 0}
    for _ in range(1500):
        content = bytearray(original)
        for _ in range(draw.integers(1, 4)):
            content[draw.integers(len(content))] = draw.integers(256)
        if draw.random() < 0.2:
            del content[draw.integers(len(content)) :]
        try:
            plain_loads(bytes(content), "test.pkl")
            outcomes[True] += 1
        except ModelError:
            outcomes[False] += 1
    assert min(outcomes.values()) > 100  # both kinds occurred


# --------------------------------------------------------------------------- the official files


@pytest.fixture
def official(official_weights: Path, tmp_path: Path) -> Path:
    """A folder of links to the official files, to spoil single ones."""
    for file in official_weights.iterdir():
        (tmp_path / file.name).symlink_to(file)
    return tmp_path


def spoil(folder: Path, name: str, content: bytes) -> None:
    (folder / name).unlink()
    (folder / name).write_bytes(content)


def test_the_head_has_the_official_sizes(official_weights: Path):
    names = ("generic_model.pkl", "landmark_embedding.npy", "head_template.obj", "uv_face_eye_mask.png")
    head = read_flame_head(
        *(official_weights / name for name in names),
        official_weights / "fixed_displacement_256.npy",
        n_shape=300,
        n_expression=100,
    )
    assert head.template_vertices.shape == (5023, 3)
    assert head.shape_basis.shape == (5023, 3, 300)
    assert head.expression_basis.shape == (5023, 3, 100)
    assert head.parents.tolist() == [-1, 0, 1, 1, 1]
    assert head.uv_coordinates.shape == (5118, 2)
    assert (head.face_eye_mask == 1).sum() == 20_252
    assert (head.face_eye_mask == 0).sum() == 39_758
    assert (head.fixed_displacement != 0).sum() == 57_909
    left, right = head.joint_names.index("eye_left"), head.joint_names.index("eye_right")
    joints = head.joint_regressor @ head.template_vertices
    assert joints[left, 0] > 0 > joints[right, 0]  # x is the subject's left


def test_every_second_texel_of_the_albedo_is_taken_and_turned_to_rgb(tmp_path: Path):
    mean = np.zeros((512, 512, 3), dtype=np.float32)
    mean[2, 4] = [0.1, 0.2, 0.3]
    basis = np.zeros((512, 512, 3, 2), dtype=np.float32)
    basis[2, 4, :, 1] = [1, 2, 3]
    np.savez(tmp_path / "a.npz", MU=mean, PC=basis)
    albedo = read_albedo(tmp_path / "a.npz", n_components=2)
    np.testing.assert_allclose(albedo.mean[:, 1, 2], [0.3, 0.2, 0.1])
    assert albedo.basis[:, 1, 2].tolist() == [[0, 3], [0, 2], [0, 1]]
    np.savez(tmp_path / "f.npz", MU=np.asfortranarray(mean), PC=np.asfortranarray(basis))
    np.testing.assert_array_equal(read_albedo(tmp_path / "f.npz", n_components=2).basis, albedo.basis)
    np.savez(tmp_path / "b.npz", mean=mean * 255, tex_dir=basis * 255)
    np.testing.assert_allclose(read_albedo(tmp_path / "b.npz", 2).mean, albedo.mean, atol=1e-7)
    with pytest.raises(ModelError, match="`MU` or `PC`"):
        read_albedo(tmp_path / "a.npz", n_components=3)


@pytest.mark.parametrize(
    "name",
    [
        "generic_model.pkl",
        "landmark_embedding.npy",
        "head_template.obj",
        "uv_face_eye_mask.png",
        "fixed_displacement_256.npy",
        "deca_model.tar",
    ],
)
def test_a_missing_or_wrong_file_is_named(official: Path, name: str):
    spoil(official, name, b"<!DOCTYPE html><title>Log in</title>")
    with pytest.raises(ModelError, match=name):
        convert_official(official, official / "pack")
    (official / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        convert_official(official, official / "pack")
    assert not (official / "pack").exists()


@pytest.mark.parametrize(("name", "keep"), [("generic_model.pkl", 0.9), ("deca_model.tar", 0.5)])
def test_a_truncated_file_is_named(official: Path, name: str, keep: float):
    content = (official / name).read_bytes()
    spoil(official, name, content[: int(len(content) * keep)])
    with pytest.raises(ModelError, match=name):
        convert_official(official, official / "pack")


def test_a_checkpoint_without_a_network_or_a_tensor_is_told_apart(official: Path):
    checkpoint = read_deca_checkpoint(official / "deca_model.tar")
    bias = checkpoint["E_flame"].pop("layers.2.bias")
    (official / "deca_model.tar").unlink()
    torch.save(checkpoint, official / "deca_model.tar")
    with pytest.raises(ModelError, match=r"E_flame.*missing: layers\.2\.bias"):
        convert_official(official, official / "pack")
    checkpoint["E_flame"]["layers.2.bias"] = bias[:100]
    torch.save(checkpoint, official / "deca_model.tar")
    with pytest.raises(ModelError, match=r"layers\.2\.bias \(\[100\] instead of \[236\]\)"):
        convert_official(official, official / "pack")
    del checkpoint["E_detail"]
    torch.save(checkpoint, official / "deca_model.tar")
    with pytest.raises(ModelError, match="lacks the network `E_detail`"):
        convert_official(official, official / "pack")


def test_checkpoints_in_the_old_torch_format_are_read_too(tmp_path: Path):
    nets = {name: OrderedDict(weight=torch.arange(3.0)) for name in ("E_flame", "E_detail", "D_detail")}
    torch.save(nets | {"global_step": 5}, tmp_path / "deca_model.tar", _use_new_zipfile_serialization=False)
    assert read_deca_checkpoint(tmp_path / "deca_model.tar")["E_detail"]["weight"].tolist() == [0, 1, 2]


def test_a_model_with_other_triangles_is_noticed(official: Path):
    text = (official / "head_template.obj").read_text().splitlines()
    last = max(i for i, line in enumerate(text) if line.startswith("f "))
    first = min(i for i, line in enumerate(text) if line.startswith("f "))
    text[first], text[last] = text[last], text[first]
    spoil(official, "head_template.obj", "\n".join(text).encode())
    with pytest.raises(
        ModelError, match=r"triangles of .*generic_model\.pkl and .*head_template\.obj differ"
    ):
        convert_official(official, official / "pack")


def test_an_array_of_the_wrong_shape_is_named(official: Path):
    content = read_npy(official / "landmark_embedding.npy")
    content["static_lmk_bary_coords"] = content["static_lmk_bary_coords"][:50]
    (official / "landmark_embedding.npy").unlink()
    np.save(official / "landmark_embedding.npy", np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(
        ModelError,
        match=r"landmark_embedding\.npy: `static_lmk_bary_coords` .* \[51, 3\], but is shape \[50, 3\]",
    ):
        convert_official(official, official / "pack")


def test_the_template_reader_keeps_faces_and_texture_apart(tmp_path: Path):
    (tmp_path / "t.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0.5 0.25\nvt 0 1\nf 1/2 2/1 3/2\n")
    faces, uv, uv_faces = read_template(tmp_path / "t.obj")
    assert faces.tolist() == [[0, 1, 2]]
    assert uv.tolist() == [[0.5, 0.25], [0, 1]]
    assert uv_faces.tolist() == [[1, 0, 1]]


def test_masks_of_another_size_are_refused(tmp_path: Path, parity_dir: Path):
    shutil.copyfile(parity_dir / "release-data" / "mean_texture.jpg", tmp_path / "mask.png")
    with pytest.raises(ModelError, match=r"\[256, 256\]"):
        read_mask(tmp_path / "mask.png")
