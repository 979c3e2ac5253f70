import os
from pathlib import Path
from typing import NoReturn

import pytest

from deca_cli.errors import InputError
from deca_cli.photo.inputs import find_inputs, list_inputs


def make(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")


def names(paths: list[Path], root: Path) -> list[str]:
    return [path.relative_to(root).as_posix() for path in paths]


def test_a_folder_gives_its_photos_in_natural_order_whatever_the_case_of_the_ending(tmp_path):
    make(tmp_path, "img10.JPG", "img2.jpeg", "img1.Png", "a.webp", "b.tiff", "c.TIF", "d.bmp")
    make(tmp_path, "notes.txt", ".hidden.jpg", "movie.mp4", "below/e.jpg")
    expected = ["a.webp", "b.tiff", "c.TIF", "d.bmp", "img1.Png", "img2.jpeg", "img10.JPG"]
    assert names(list_inputs([tmp_path]), tmp_path) == expected


def test_recursive_goes_down_in_natural_order_but_not_into_hidden_folders(tmp_path):
    make(tmp_path, "day10/b.jpg", "day2/c.jpg", "a.jpg", ".cache/d.jpg")
    assert names(list_inputs([tmp_path], recursive=True), tmp_path) == ["a.jpg", "day2/c.jpg", "day10/b.jpg"]


def test_arguments_keep_their_order_and_a_photo_reached_twice_is_listed_once(tmp_path):
    make(tmp_path, "b/2.jpg", "b/1.jpg", "a/3.jpg")
    (tmp_path / "link.jpg").symlink_to(tmp_path / "b" / "1.jpg")
    found = list_inputs([tmp_path / "b" / "2.jpg", tmp_path / "b", tmp_path / "a", tmp_path / "link.jpg"])
    assert names(found, tmp_path) == ["b/2.jpg", "b/1.jpg", "a/3.jpg"]


def test_a_glob_takes_photos_only_and_two_stars_reach_any_depth(tmp_path):
    make(tmp_path, "x/1.jpg", "x/1.txt", "y/z/2.png", "3.jpg")
    assert names(list_inputs([f"{tmp_path}/*/1.*"]), tmp_path) == ["x/1.jpg"]
    assert names(list_inputs([f"{tmp_path}/**/*"]), tmp_path) == ["3.jpg", "x/1.jpg", "y/z/2.png"]


def test_an_existing_file_with_brackets_in_its_name_is_not_read_as_a_glob(tmp_path):
    make(tmp_path, "me [1].jpg", "me 1.jpg")
    assert names(list_inputs([tmp_path / "me [1].jpg"]), tmp_path) == ["me [1].jpg"]


def test_a_file_named_outright_is_taken_whatever_its_ending(tmp_path):
    make(tmp_path, "photo.heic")
    assert names(list_inputs([tmp_path / "photo.heic"]), tmp_path) == ["photo.heic"]


MARKS = [frozenset({"other"}), frozenset({"mark", "more"})]


def test_folders_that_hold_results_are_left_out_unless_they_are_named(tmp_path):
    make(tmp_path, "a.jpg", "deca-out/b.jpg", "deca-out/mark")  # one of two files is no mark
    make(tmp_path, "deca-out/a/overlay.png", "deca-out/a/face2/x.png", "deca-out/a/mark", "deca-out/a/more")
    for inputs in ([tmp_path], [f"{tmp_path}/**/*.*"]):
        assert names(list_inputs(inputs, recursive=True, marks=MARKS), tmp_path) == [
            "a.jpg",
            "deca-out/b.jpg",
        ]
    named = tmp_path / "deca-out" / "a"
    for inputs in (named, f"{named}/*.png"):
        assert names(list_inputs([inputs], marks=MARKS), named) == ["overlay.png"]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("gone.jpg", r"gone\.jpg does not exist\. Check the spelling"),
        ("nowhere/gone.jpg", r"its folder .*nowhere does not exist"),
        ("photo.jpg", r"does not exist, but photo\.png does"),
        ("photo.png/x.jpg", r"photo\.png is a file"),
        ("phones", r"holds no photo .*1 of kinds that cannot be read \(\.heic\): export them as JPEG"),
        ("empty", r"folder .*empty holds no photo \(\.jpg, .*\)"),
        ("deep", r"its sub-folders do\. Add --recursive"),
        ("*.bmp", r"No photo .* matches .*\*\.bmp"),
    ],
)
def test_what_cannot_be_found_is_an_error_with_the_cure(tmp_path, argument, message):
    make(tmp_path, "photo.png", "deep/er/1.jpg", "empty/readme.txt", "phones/a.heic")
    with pytest.raises(InputError, match=message):
        list_inputs([tmp_path / argument])


def test_a_link_to_nothing_is_named_as_such(tmp_path):
    (tmp_path / "me.png").symlink_to(tmp_path / "moved.png")
    with pytest.raises(InputError, match=r"me\.png is a link to .*moved\.png, which does not exist"):
        list_inputs([tmp_path / "me.png"])


def test_a_link_to_itself_is_named_as_such(tmp_path):
    (tmp_path / "loop.jpg").symlink_to("loop.jpg")
    with pytest.raises(InputError, match=r"loop\.jpg is a link that leads back to itself"):
        list_inputs([tmp_path / "loop.jpg"])


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_what_is_named_like_a_picture_and_is_no_file_is_counted(tmp_path):
    make(tmp_path, "a.jpg", "e.jpg/b.jpg", "f/c.jpg", ".g.jpg/d.jpg")
    (tmp_path / "b.png").symlink_to("gone.png")
    (tmp_path / "c.png").symlink_to("c.png")
    os.mkfifo(tmp_path / "d.jpg")
    found = find_inputs([tmp_path])
    assert names(found.photos, tmp_path) == ["a.jpg"]
    assert [path.name for path in found.no_files] == ["b.png", "c.png", "d.jpg", "e.jpg"]
    assert found.left_out() == "4 that are no files (dead links, pipes, folders)"
    deep = find_inputs([tmp_path], recursive=True)
    assert names(deep.photos, tmp_path) == ["a.jpg", "e.jpg/b.jpg", "f/c.jpg"]
    assert [path.name for path in deep.no_files] == ["b.png", "c.png", "d.jpg"]


def test_pictures_of_kinds_that_cannot_be_read_are_counted(tmp_path):
    make(tmp_path, "a.jfif", "b.gif", "c.ppm", "d.HEIC", "e.avif", "f.txt")
    found = find_inputs([tmp_path, f"{tmp_path}/*"])
    assert names(found.photos, tmp_path) == ["a.jfif", "b.gif", "c.ppm"]
    assert names(found.passed_over, tmp_path) == ["d.HEIC", "e.avif"]
    assert "2 of kinds that cannot be read (.avif, .heic)" in found.left_out()
    assert find_inputs([tmp_path / "a.jfif"]).left_out() == ""


def test_sub_folders_that_may_not_be_read_are_told(tmp_path, monkeypatch):
    make(tmp_path, "a.jpg", "locked/b.jpg")
    real = os.scandir

    def refuse(path) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = find_inputs([tmp_path], recursive=True)
    assert names(found.photos, tmp_path) == ["a.jpg"]
    assert names(found.closed, tmp_path) == ["locked"]
    assert "locked" in found.left_out()


def test_a_path_that_may_not_be_looked_up_is_an_error(tmp_path, monkeypatch):
    def refuse(_) -> NoReturn:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "is_dir", refuse)
    with pytest.raises(InputError, match=r"cannot be looked up: .*Permission denied"):
        list_inputs([tmp_path / "a.jpg"])


def test_no_argument_at_all_is_an_error():
    with pytest.raises(InputError, match="No photo was given"):
        list_inputs([])


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="the superuser may read everything"
)
def test_a_folder_without_read_permission_is_an_error(tmp_path):
    make(tmp_path, "locked/a.jpg")
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(InputError, match="may not be read"):
            list_inputs([tmp_path / "locked"])
    finally:
        (tmp_path / "locked").chmod(0o700)
