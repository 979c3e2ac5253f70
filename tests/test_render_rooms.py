"""Memory for keys that is kept between calls of the CUDA rasteriser: who gets it, and that it is always clear."""

import threading
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from deca_cli.render import cuda_draw
from deca_cli.render.cuda_draw import Drawing, Room, Rooms
from deca_cli.render.cuda_plan import plan_of


class Recorder:
    """Takes the place of the launcher: notes the launches, and can fail in one of them."""

    def __init__(self) -> None:
        self.launched: list[tuple] = []
        self.handle, self.fails = 5, ""

    def is_current(self) -> bool:
        return True

    def stream(self) -> tuple[int, str]:
        return self.handle, f"stream {self.handle}"

    def grid(self, blocks: int) -> int | None:
        return blocks or None

    def kernel(self, name: str) -> str:
        return name

    def launch(self, stream: str, grid: int, kernel: str, *arguments: float) -> None:
        if kernel == self.fails:
            raise RuntimeError(kernel)
        self.launched.append((stream, kernel, grid, arguments))

    def last(self, kernel: str) -> tuple[float, ...]:
        """Arguments of a kernel's last launch."""
        return next(arguments for _, name, _, arguments in reversed(self.launched) if name == kernel)

    def names(self) -> list[str]:
        """Kernels since the last question."""
        names = [kernel for _, kernel, _, _ in self.launched]
        self.launched.clear()
        return names


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(torch.cuda, "is_current_stream_capturing", lambda: False)
    monkeypatch.setattr(
        cuda_draw,
        "empty",
        lambda size, strides, dtype: torch.empty_strided(size, strides, dtype=dtype),
    )
    return Recorder()


def drawing(recorder: Recorder, rooms: Rooms, batch: int = 1, size: int = 8) -> Drawing:
    plan = plan_of((batch, 3, 3), (1, 3), False, size, size, "standard", 10.0, None)
    picture = (batch, size, size)
    strides = (size * size, size, 1)
    results = [(picture, strides, torch.int32), (picture, strides, torch.float32)]
    return Drawing(recorder, rooms, plan, results)


def call(draw: Drawing, batch: int = 1) -> tuple[Tensor, ...]:
    return draw(torch.zeros(batch, 3, 3), torch.zeros(1, 3, dtype=torch.int32))


TURN = len(("vertices", "faces", "keys")) + 9  # after the sizes
AGAIN = TURN + 1
ALL, WARM = ["clear_keys", "draw_triangles", "resolve"], ["draw_triangles", "resolve"]


def test_only_the_first_call_clears_a_room_and_the_counters_are_used_in_turns(recorder: Recorder):
    draw = drawing(recorder, Rooms(1 << 20))
    turns = []
    for expected in (ALL, WARM, WARM):
        call(draw)
        turns.append({recorder.last(kernel)[TURN] for kernel in WARM})
        assert recorder.last("resolve")[AGAIN] == 1
        assert recorder.names() == expected
    assert turns == [{0}, {1}, {0}]


def test_sizes_and_streams_have_rooms_of_their_own(recorder: Recorder):
    rooms = Rooms(1 << 20)
    small, large = drawing(recorder, rooms), drawing(recorder, rooms, size=16)
    for draw in (small, large):
        call(draw)
        assert recorder.names() == ALL
    recorder.handle = 6
    call(small)
    assert recorder.names() == ALL
    call(large)
    assert recorder.names() == ALL
    recorder.handle = 5
    for draw in (small, large):
        call(draw)
        assert recorder.names() == WARM


@pytest.mark.parametrize("kernel", ["clear_keys", "draw_triangles", "resolve"])
def test_a_room_whose_launches_failed_is_not_used_again(recorder: Recorder, kernel: str):
    rooms = Rooms(1 << 20)
    draw = drawing(recorder, rooms)
    if kernel != "clear_keys":
        call(draw)
    recorder.fails = kernel
    with pytest.raises(RuntimeError, match=kernel):
        call(draw)
    assert len(rooms) == 0
    recorder.fails = ""
    recorder.names()
    call(draw)
    assert recorder.names() == ALL


def test_a_graph_gets_a_room_that_it_clears_and_leaves_the_kept_one_alone(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    draw = drawing(recorder, Rooms(1 << 20))
    call(draw)
    kept = recorder.launched[0][3][0]
    recorder.names()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        call(draw)
    assert recorder.launched[0][3][0] != kept
    assert recorder.last("resolve")[AGAIN] == 0
    assert recorder.names() == ALL
    call(draw)
    assert recorder.launched[0][3][2] == kept
    assert recorder.names() == WARM


def test_a_call_that_may_not_keep_memory_neither_takes_nor_leaves_a_room(recorder: Recorder):
    rooms = Rooms(1 << 20)
    draw = drawing(recorder, rooms)
    inputs = torch.zeros(1, 3, 3), torch.zeros(1, 3, dtype=torch.int32)
    draw(*inputs, keep=False)
    assert len(rooms) == 0
    draw(*inputs)
    recorder.names()
    draw(*inputs, keep=False)
    assert recorder.names() == ALL
    assert len(rooms) == 1


def test_calls_at_the_same_time_have_rooms_of_their_own(recorder: Recorder):
    rooms, meeting, used = Rooms(1 << 20), threading.Barrier(2, timeout=10), []
    draw = drawing(recorder, rooms)
    call(draw)

    class Slow(Recorder):
        def launch(self, stream: str, grid: int, kernel: str, *arguments: float) -> None:
            super().launch(stream, grid, kernel, *arguments)
            if kernel == "draw_triangles":
                used.append(arguments[2])
                meeting.wait()

    threads = [threading.Thread(target=call, args=(drawing(Slow(), rooms),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(used)) == 2
    assert len(rooms) == 1


def rooms_of_bytes(*sizes: int) -> list[Room]:
    return [Room(torch.zeros(size, dtype=torch.uint8)) for size in sizes]


def test_rooms_are_kept_up_to_the_limit_and_those_that_waited_longest_go():
    rooms = Rooms(100)
    first, second, third, last = rooms_of_bytes(40, 30, 30, 65)
    for number, room in enumerate((first, second, third)):
        rooms.put((0, 1, number), room)
    assert rooms.take((0, 1, 0)) is first
    rooms.put((0, 1, 0), first)
    rooms.put((0, 1, 3), last)
    assert len(rooms) == 1
    assert rooms.take((0, 1, 3)) is last
    assert rooms.take((0, 1, 3)) is None


def test_a_room_in_the_place_of_another_is_counted_alone():
    rooms = Rooms(100)
    other, one, second = rooms_of_bytes(60, 60, 40)
    for number, room in ((0, other), (0, one), (1, second)):
        rooms.put((0, 1, number), room)
    assert rooms.take((0, 1, 0)) is one
    assert rooms.take((0, 1, 1)) is second


def test_dropped_rooms_leave_place_for_others():
    rooms = Rooms(100)
    first, second = rooms_of_bytes(90, 90)
    rooms.put((0, 1, 0), first)
    rooms.drop()
    assert len(rooms) == 0
    rooms.put((0, 1, 1), second)
    assert rooms.take((0, 1, 1)) is second


def test_a_room_larger_than_the_limit_is_cleared_by_its_call_and_nobody_clears_it_afterwards(
    recorder: Recorder,
):
    rooms = Rooms(5 * 4096)  # a little less than five pictures and their lists
    draw = drawing(recorder, rooms, batch=5)
    for _ in range(2):
        call(draw, batch=5)
        assert recorder.last("resolve")[AGAIN] == 0
        assert recorder.names() == ALL
    assert len(rooms) == 0


def test_the_rooms_of_a_gpu_may_have_a_64th_of_its_memory(monkeypatch: pytest.MonkeyPatch):
    properties = SimpleNamespace(total_memory=8 << 30)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    assert cuda_draw.rooms_of.__wrapped__(0).limit == 128 << 20


class Full:
    """Takes the place of `empty`: there is no memory before the rooms have been dropped (or, stubborn, at all)."""

    def __init__(self, rooms: Rooms, *, stubborn: bool = False) -> None:
        self.rooms, self.stubborn, self.asked = rooms, stubborn, 0

    def __call__(self, size: tuple[int, ...], strides: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        self.asked += 1
        if len(self.rooms) or self.stubborn:
            raise torch.OutOfMemoryError("full")
        return torch.empty_strided(size, strides, dtype=dtype)


@pytest.mark.parametrize("before", [8, 16])
def test_rooms_are_given_back_before_a_call_fails_for_lack_of_memory(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, before: int
):
    """Whether the room that waits beside that of the call is missed for the room itself, or for a result."""
    rooms = Rooms(1 << 20)
    draw = drawing(recorder, rooms, size=16)
    for size in (8, before):
        call(drawing(recorder, rooms, size=size))
    recorder.names()
    monkeypatch.setattr(cuda_draw, "empty", Full(rooms))
    call(draw)
    assert recorder.names() == (WARM if before == 16 else ALL)
    assert len(rooms) == 1


def test_a_call_fails_if_there_is_no_memory_without_any_room_either(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    rooms = Rooms(1 << 20)
    call(drawing(recorder, rooms))
    full = Full(rooms, stubborn=True)
    monkeypatch.setattr(cuda_draw, "empty", full)
    for asked in (2, 3):
        with pytest.raises(torch.OutOfMemoryError):
            call(drawing(recorder, rooms, size=16))
        assert full.asked == asked
    assert len(rooms) == 0


def test_nothing_is_launched_for_an_empty_batch(recorder: Recorder):
    results = call(drawing(recorder, Rooms(1 << 20), batch=0), batch=0)
    assert [len(result) for result in results] == [0, 0]
    assert not recorder.launched
