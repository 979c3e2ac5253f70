"""What long work says where nobody can see a moving bar."""

import io

import pytest
from rich.console import Console

from deca_cli.cli import waiting


@pytest.fixture
def clock(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(waiting.time, "monotonic", lambda: now[0])
    return now


def console(*, terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def test_a_log_file_gets_a_line_every_five_seconds_with_the_time_to_go(clock):
    out = console(terminal=False)
    for _ in waiting.counted(range(10), 10, "Frames", out):
        clock[0] += 2
    assert out.file.getvalue().splitlines() == [
        "Frames: 3 of 10, about 14 s to go",
        "Frames: 6 of 10, about 8 s to go",
        "Frames: 9 of 10, about 2 s to go",
    ]


def test_work_that_is_quickly_done_says_nothing_into_a_log_file(clock):
    out = console(terminal=False)
    assert list(waiting.counted(range(3), 3, "Frames", out)) == [0, 1, 2]
    with waiting.waiting(out, "Looking at the drivers ...") as say:
        say("driver.mp4: frame 1")
    assert out.file.getvalue() == ""


def test_what_is_waited_for_is_said_into_a_log_file_after_a_while(clock):
    out = console(terminal=False)
    with waiting.waiting(out, "Looking at the drivers ...") as say:
        for frame in range(8):
            clock[0] += 1
            say(f"[driver].mp4: frame {frame}")
    assert out.file.getvalue() == "[driver].mp4: frame 4\n"


def test_a_terminal_gets_a_bar():
    out = console(terminal=True)
    list(waiting.counted(range(3), 3, "Frames", out))
    assert "Frames" in out.file.getvalue()


def test_a_duration_has_the_unit_that_a_person_would_take():
    said = [waiting.duration(seconds) for seconds in (0.4, 119, 120, 7199, 7200, 9000)]
    assert said == ["0 s", "119 s", "2 min", "120 min", "2.0 h", "2.5 h"]
