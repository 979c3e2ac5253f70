"""Clips in and out, frame by frame."""

import numpy as np
import pytest
from PIL import Image

from deca_cli.animate import gif, video
from deca_cli.animate.video import kind_of_output, open_writer, read_video, video_fps, write_all
from deca_cli.errors import InputError, OutputError, UsageError

needs_ffmpeg = pytest.mark.skipif(
    not video.has_ffmpeg(), reason="imageio-ffmpeg is not installed (extra `video`)"
)


def frames(count=12, height=60, width=81):
    """A square that walks over a gradient."""
    for index in range(count):
        frame = np.broadcast_to(
            np.linspace(0, 200, width).astype(np.uint8)[None, :, None], (height, width, 3)
        ).copy()
        frame[10:30, 5 * index : 5 * index + 20] = (220, 60, 30)
        yield frame


@needs_ffmpeg
def test_an_mp4_holds_all_frames_with_their_colours(tmp_path):
    path = tmp_path / "clip.mp4"
    assert write_all(path, frames(), 20) == 12
    assert video_fps(path) == 20
    back = list(read_video(path))
    assert len(back) == 12
    assert back[0].shape == (60, 82, 3)  # sides become even
    assert np.abs(back[6][:, :80].astype(int) - list(frames())[6][:, :80]).mean() < 6
    assert list(tmp_path.iterdir()) == [path]


def test_a_gif_holds_all_frames_and_lasts_as_long(tmp_path):
    path = tmp_path / "clip.gif"
    write_all(path, frames(), 12.5)
    with Image.open(path) as picture:
        assert picture.n_frames == 12
        assert picture.info["loop"] == 0
        assert picture.info["duration"] == 80
        picture.seek(7)
        shown = np.array(picture.convert("RGB"))
    assert np.abs(shown.astype(int) - list(frames())[7]).mean() < 8


def test_frames_of_a_gif_that_do_not_change_cost_nothing(tmp_path):
    still = next(frames())
    write_all(tmp_path / "one.gif", [still] * 2, 10)
    write_all(tmp_path / "many.gif", [still] * 200, 10)
    assert (tmp_path / "many.gif").stat().st_size == (tmp_path / "one.gif").stat().st_size


def test_a_long_gif_does_not_hold_its_frames(tmp_path, monkeypatch):
    monkeypatch.setattr(gif, "HELD_BYTES", 5 * 60 * 81 * 3)
    with open_writer(tmp_path / "clip.gif", 10) as writer:
        for frame in frames(40):
            writer.write(frame)
            assert len(writer.held) <= 5


def test_a_sequence_of_pngs_is_exact_and_leaves_other_files_alone(tmp_path):
    folder = tmp_path / "frames"
    write_all(folder, frames(5), 25)
    (folder / "notes.txt").write_text("mine")
    write_all(folder, frames(3), 25)
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["frame_00001.png", "frame_00002.png", "frame_00003.png", "notes.txt"]
    assert np.array_equal(np.array(Image.open(folder / "frame_00003.png")), list(frames(3))[2])


@pytest.mark.parametrize("name", [pytest.param("clip.mp4", marks=needs_ffmpeg), "clip.gif", "frames"])
def test_a_clip_that_fails_half_way_leaves_nothing_behind(tmp_path, name):
    def broken() -> object:
        yield from frames(3)
        raise ValueError("in the middle")

    with pytest.raises(ValueError, match="in the middle"):
        write_all(tmp_path / name, broken(), 25)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [pytest.param("clip.mp4", marks=needs_ffmpeg), "clip.gif", "frames"])
def test_a_clip_without_frames_is_an_error(tmp_path, name):
    with pytest.raises(OutputError, match="no frame"):
        write_all(tmp_path / name, [], 25)


def test_without_ffmpeg_mp4_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "has_ffmpeg", lambda: False)
    with pytest.raises(UsageError, match=r"pip install 'deca-cli\[video\]'"):
        kind_of_output(tmp_path / "clip.mp4")
    assert kind_of_output(tmp_path / "clip.gif") == "gif"


def test_other_endings_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"end in .mp4 or .gif"):
        kind_of_output(tmp_path / "clip.mkv")


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_files_that_are_no_videos_are_refused(tmp_path, content):
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match="not a video that can be read"):
        list(read_video(path))
    with pytest.raises(InputError, match="does not exist"):
        list(read_video(tmp_path / "missing.mp4"))
