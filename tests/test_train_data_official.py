"""Readers of the official layouts, on tiny trees of that form."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from deca_cli.errors import InputError, UsageError
from deca_cli.train.data.official.lists import read_mask
from deca_cli.train.data.sampling import generator
from deca_cli.train.data.settings import DataSettings, OfficialFolders
from deca_cli.train.data.sources import open_sources
from small_dataset import face_points, open_loader, people_of, smooth_picture


def write_sample(root: Path, name: str, suffix: str, *, mask: object = "left half") -> None:
    """One picture, landmarks and mask under three roots; the red of the picture tells which it is."""
    pixels = smooth_picture(len(name), 90, 120)
    points = np.concatenate([face_points((60, 45), 20), np.zeros((68, 1))], axis=1)
    for folder in ("images", "landmarks", "masks"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(root / "images" / f"{name}{suffix}"), pixels[..., ::-1])
    np.save(root / "landmarks" / f"{name}.npy", points)
    if isinstance(mask, str):
        mask = np.zeros((90, 120), np.uint8)
        mask[:, :60] = 1
    if mask is not None:
        np.save(root / "masks" / f"{name}.npy", mask)


def folders_of(root: Path, names: np.ndarray | list, **changes: str) -> OfficialFolders:
    path = root / "list.npy"
    np.save(path, np.array(names))
    values = {"list": str(path), **{one: str(root / one) for one in ("images", "landmarks", "masks")}}
    return OfficialFolders(**{**values, **changes})


def rows(letters: str, people: int) -> list[list[str]]:
    return [[f"{letters}{person:06d}/{index:04d}_01" for index in range(1, 6)] for person in range(people)]


def tree(root: Path, names: list[list[str]], suffix: str = ".jpg") -> list[list[str]]:
    for name in (name for row in names for name in row):
        write_sample(root, name, suffix)
    return names


def open_one(settings: DataSettings, split: str = "train"):
    return open_sources(settings.training_data, settings, split, {})[0]


@pytest.fixture
def vgg(tmp_path) -> OfficialFolders:
    return folders_of(tmp_path / "vgg", tree(tmp_path / "vgg", rows("n", 3)))


def test_vggface2_shows_random_pictures_of_a_row_without_repetition(vgg):
    loader = open_loader("vggface2", vggface2=vgg, K=4, batch_size=3)
    batches = list(islice(loader.batches(), 4))
    for batch in batches:
        assert len(set(batch.names)) == 12
        assert [len(set(people_of(batch.names)[i : i + 4])) for i in (0, 4, 8)] == [1, 1, 1]
    assert len({batch.names for batch in batches}) == 4
    assert loader.problems == {}
    assert 0.2 < batches[0].masks.mean() < 0.8


def test_vggface2_has_a_validation_list_of_its_own(vgg, tmp_path):
    np.save(tmp_path / "val.npy", np.array(rows("n", 3)[2:]))
    settings = DataSettings(
        training_data=("vggface2",), vggface2=vgg, vggface2_val_list=str(tmp_path / "val.npy")
    )
    assert len(open_one(settings)) == 3
    assert len(open_one(settings, "held_out")) == 1
    with pytest.raises(UsageError, match="vggface2_val_list"):
        open_one(DataSettings(training_data=("vggface2",), vggface2=vgg), "held_out")


def test_vggface2_names_five_pictures_a_row_at_most(vgg):
    with pytest.raises(UsageError, match="5 pictures"):
        open_one(DataSettings(training_data=("vggface2",), vggface2=vgg, K=6))


def test_vggface2hq_takes_the_first_pictures(vgg):
    source = open_one(DataSettings(training_data=("vggface2hq",), vggface2hq=vgg, K=3))
    picked = source.pick(1, 3, generator(0))
    assert [source.label(key) for key in picked] == rows("n", 2)[1][:3]


def test_ethnicity_finds_every_picture_under_its_own_roots(vgg, tmp_path):
    balanced = tree(tmp_path / "balanced", rows("A", 2))
    mixed = [rows("n", 1)[0], balanced[1], rows("n", 3)[2]]
    ethnicity = folders_of(tmp_path / "balanced", mixed)
    loader = open_loader("ethnicity", vggface2=vgg, ethnicity=ethnicity, K=4, batch_size=3)
    batch = next(loader.batches())
    assert loader.problems == {}
    assert sorted(set(people_of(batch.names))) == ["A000001", "n000000", "n000002"]


def test_ethnicity_refuses_names_of_no_known_set(vgg, tmp_path):
    ethnicity = folders_of(tmp_path / "vgg", [["n000000/0001_01", "B000000/0001_01"]], list="")
    path = tmp_path / "odd.npy"
    np.save(path, np.array([["n000000/0001_01", "B000000/0001_01"]]))
    settings = DataSettings(
        training_data=("ethnicity",),
        vggface2=vgg,
        ethnicity=OfficialFolders(str(path), ethnicity.images),
        K=2,
    )
    with pytest.raises(InputError, match="B000000/0001_01"):
        open_one(settings)


def vox_names(faces: int, frames: int) -> list[str]:
    return [f"id{face}/video/00001/{frame:03d}" for face in range(faces) for frame in range(frames)]


@pytest.fixture
def vox(tmp_path) -> OfficialFolders:
    names = [*vox_names(4, 5), "id9/video/00001/000"]
    for name in names:
        write_sample(tmp_path / "vox", name, ".png")
    return folders_of(tmp_path / "vox", names)


def test_voxceleb2_shows_every_frame_and_only_faces_with_enough(vox):
    settings = DataSettings(training_data=("vox2",), vox2=vox, K=3)
    source = open_one(settings)
    labels = [source.label(key) for person in range(len(source)) for key in source.pictures(person)]
    assert labels == vox_names(3, 5)  # the fourth is held out, the ninth has one frame
    held_out = open_one(settings, "held_out")
    assert [held_out.label(key) for key in held_out.pictures(0)] == vox_names(4, 5)[15:]
    assert len({tuple(source.pick(0, 3, generator(seed))) for seed in range(20)}) > 10


def test_voxceleb2_can_show_consecutive_frames(vox):
    source = open_one(DataSettings(training_data=("vox2",), vox2=vox, K=3, isTemporal=True))
    firsts = set()
    for seed in range(20):
        picked = list(source.pick(1, 3, generator(seed)))
        assert np.diff(picked).tolist() == [1, 1]
        firsts.add(picked[0])
    assert firsts == {5, 6, 7}


def test_voxceleb2_reads_its_pictures(vox):
    loader = open_loader("vox2", vox2=vox, K=3, batch_size=3)
    assert next(loader.batches()).images.mean() > 0.2
    assert loader.problems == {}


def test_aflw2000_is_a_validation_set_of_single_pictures(tmp_path):
    for index in range(2):
        cv2.imwrite(str(tmp_path / f"image{index}.jpg"), smooth_picture(index, 90, 120))
        points = np.concatenate([face_points((60, 45), 20).T, np.zeros((1, 68))])
        savemat(tmp_path / f"image{index}.mat", {"pt3d_68": points})
    loader = open_loader("aflw2000", aflw2000=str(tmp_path), isSingle=True)
    batch = next(loader.batches())
    assert batch.images.shape[:2] == (2, 1)
    assert sorted(batch.names) == ["aflw2000/image0", "aflw2000/image1"]
    assert loader.problems == {}


@pytest.mark.parametrize("kind", [bool, np.uint8, np.int64, np.float32])
def test_masks_of_any_number_type_mean_the_same(tmp_path, kind):
    mask = np.zeros((4, 6))
    mask[1, 2] = 1
    np.save(tmp_path / "mask.npy", mask.astype(kind))
    read = read_mask(tmp_path / "mask.npy", (4, 6))
    assert read.dtype == np.uint8
    assert read[1, 2] == 255
    assert read.sum() == 255


def test_a_missing_mask_means_skin_everywhere_and_one_of_another_size_is_damage(tmp_path):
    names = tree(tmp_path / "vgg", rows("n", 1))
    (tmp_path / "vgg/masks" / f"{names[0][0]}.npy").unlink()
    np.save(tmp_path / "vgg/masks" / f"{names[0][1]}.npy", np.ones((9, 9)))
    source = open_one(DataSettings(training_data=("vggface2",), vggface2=folders_of(tmp_path / "vgg", names)))
    assert source.read(0).mask is None
    with pytest.raises(InputError, match=r"\(90, 120\)"):
        source.read(1)


class Trap:
    """Unpickling it would leave a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.path,))


def test_lists_of_python_objects_are_never_executed_and_the_message_says_how_to_convert(vgg, tmp_path):
    path, trace = tmp_path / "list.npy", tmp_path / "trace"
    array = np.empty(1, object)
    array[0] = Trap(trace)
    np.save(path, array, allow_pickle=True)
    folders = OfficialFolders(str(path), vgg.images, vgg.landmarks, vgg.masks)
    with pytest.raises(InputError, match=r"Python objects.*astype\(str\)"):
        open_one(DataSettings(training_data=("vggface2",), vggface2=folders))
    assert not trace.exists()


@pytest.mark.parametrize(
    ("names", "message"),
    [(np.zeros((3, 5)), "must hold strings"), (np.array(["n1", "n2"]), "must hold strings"),
     (np.array([["n1", "n2"]]), "names 2 pictures a row, but 5")],
)  # fmt: skip
def test_lists_of_another_form_are_refused(vgg, tmp_path, names, message):
    np.save(tmp_path / "list.npy", names)
    folders = OfficialFolders(str(tmp_path / "list.npy"), vgg.images, vgg.landmarks, vgg.masks)
    with pytest.raises(InputError, match=message):
        open_one(DataSettings(training_data=("vggface2",), vggface2=folders))


@pytest.mark.parametrize("name", ["vggface2", "vggface2hq", "ethnicity", "vox2", "aflw2000"])
def test_a_set_that_is_not_configured_says_what_to_set(name):
    with pytest.raises(UsageError, match=f"dataset.{name}"):
        open_one(DataSettings(training_data=(name,)))


def test_damaged_official_pictures_are_named_and_replaced(vgg):
    path = Path(vgg.images, "n000001/0003_01.jpg")
    path.write_bytes(path.read_bytes()[:-60])
    np.save(Path(vgg.landmarks, "n000001/0004_01.npy"), np.zeros((5, 2)))
    loader = open_loader("vggface2", vggface2=vgg, K=3, batch_size=3)
    names = [name for batch in islice(loader.batches(), 4) for name in batch.names]
    shown = {name for name in names if name.startswith("n000001")}
    assert shown == {f"n000001/{index:04d}_01" for index in (1, 2, 5)}
    assert sorted(loader.problems) == ["n000001/0003_01", "n000001/0004_01"]
