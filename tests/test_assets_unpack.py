"""Archives that nobody vouches for."""

import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from deca_cli.assets.unpack import unpack_zip
from deca_cli.errors import ModelError, OutputError


def zipped(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes], packed: bool = False) -> Path:
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(path, "w", kind) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


def test_folders_and_files_come_out(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", ("FLAME2020/", b""), ("FLAME2020/a.pkl", b"1"), ("b.txt", b"22"))
    folder = unpack_zip(archive, tmp_path / "out")
    found = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    assert found == {str(Path("FLAME2020/a.pkl")): b"1", "b.txt": b"22"}


def link(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.external_attr = (mode | 0o777) << 16
    return info


BAD: dict[str, tuple[tuple[str | zipfile.ZipInfo, bytes], str]] = {
    "a path upwards": (("../evil", b"x"), "outside of the folder"),
    "a path upwards inside": (("a/../../evil", b"x"), "outside of the folder"),
    "an absolute path": (("/evil", b"x"), "outside of the folder"),
    "a drive": (("C:/evil", b"x"), "outside of the folder"),
    "backslashes upwards": (("..\\evil", b"x"), "outside of the folder"),
    "a link": ((link("model.pkl", stat.S_IFLNK), b"/etc/passwd"), "is a link"),
    "a device": ((link("model.pkl", stat.S_IFCHR), b""), "no ordinary file"),
}


@pytest.mark.parametrize("name", BAD)
def test_members_that_would_land_elsewhere_are_refused_before_anything_is_written(tmp_path: Path, name: str):
    member, expected = BAD[name]
    archive = zipped(tmp_path / "a.zip", ("good", b"1"), member)
    with pytest.raises(ModelError, match=expected):
        unpack_zip(archive, tmp_path / "inside" / "out")
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["a.zip"]


def test_a_name_that_comes_twice_is_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="holds a name twice"):
        unpack_zip(zipped(tmp_path / "a.zip", ("a", b"1"), ("A", b"2")), tmp_path / "out")


def test_a_bomb_is_refused_before_anything_is_written(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", ("big", bytes(80 * 2**20)), packed=True)
    assert archive.stat().st_size < 2**18
    with pytest.raises(ModelError, match="is no official archive"):
        unpack_zip(archive, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_too_many_members_are_refused(tmp_path: Path):
    archive = zipped(tmp_path / "a.zip", *((f"{number}", b"") for number in range(10_001)))
    with pytest.raises(ModelError, match="10001 files"):
        unpack_zip(archive, tmp_path / "out")


def truncate(content: bytes) -> bytes:
    return content[:-10]


def flip(content: bytes) -> bytes:
    place = content.index(b"hello")
    return content[:place] + b"j" + content[place + 1 :]


def lie_about_the_size(content: bytes) -> bytes:
    """The directory at the end promises five bytes more than there are."""
    return content.replace((300).to_bytes(4, "little"), (305).to_bytes(4, "little"))


@pytest.mark.parametrize("damage", [truncate, flip, lie_about_the_size])
def test_damaged_archives_leave_nothing_behind(tmp_path: Path, damage: Callable[[bytes], bytes]):
    archive = zipped(tmp_path / "a.zip", ("first", b"1"), ("second", b"hello" * 60))
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(ModelError, match="is damaged"):
        unpack_zip(archive, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["a.zip"]


def test_a_disk_that_does_not_take_it_is_told(tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="DECA_HOME"):
        unpack_zip(zipped(tmp_path / "a.zip", ("a", b"1")), tmp_path / "file" / "out")
