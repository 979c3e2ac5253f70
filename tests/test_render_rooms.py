"""Memory for keys that is kept between calls of the CUDA rasteriser: who gets it, and that it is always clear."""

import threading

import pytest
import torch
from torch import Tensor

from deca_cli.render import cuda_draw, cuda_plan
from deca_cli.render.cuda_draw import Drawing, Room, Rooms
from deca_cli.render.cuda_plan import parts_of, plan_of


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


ALL, WARM = ["clear_keys", "draw_triangles", "resolve"], ["draw_triangles", "resolve"]


@pytest.mark.parametrize("batch", [0, 1, 2, 7, 64, 257])
@pytest.mark.parametrize("pixels", [1, 224**2, 1024**2, 4096**2])
def test_the_parts_of_a_batch_cover_it_and_fit(batch: int, pixels: int):
    parts = parts_of(batch, pixels)
    items = [item for first, count in parts for item in range(first, first + count)]
    assert items == list(range(batch))
    for _, count in parts:
        assert count == 1 or 8 * pixels * count <= cuda_plan.ROOM
        assert parts[0][1] - 1 <= count <= parts[0][1]


def test_only_the_first_call_clears_a_room_and_the_counters_are_used_in_turns(recorder: Recorder):
    draw = drawing(recorder, Rooms())
    turns = []
    for expected in (ALL, WARM, WARM):
        call(draw)
        turn = len(("vertices", "faces", "keys")) + 9 + 1  # after the sizes and the first item
        turns.append({arguments[turn] for _, name, _, arguments in recorder.launched if name != "clear_keys"})
        assert recorder.names() == expected
    assert turns == [{0}, {1}, {0}]


def test_sizes_and_streams_have_rooms_of_their_own(recorder: Recorder):
    rooms = Rooms()
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
    rooms = Rooms()
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
    draw = drawing(recorder, Rooms())
    call(draw)
    kept = recorder.launched[0][3][0]
    recorder.names()
    with monkeypatch.context() as patch:
        patch.setattr(torch.cuda, "is_current_stream_capturing", lambda: True)
        call(draw)
    assert recorder.launched[0][3][0] != kept
    assert recorder.names() == ALL
    call(draw)
    assert recorder.launched[0][3][2] == kept
    assert recorder.names() == WARM


def test_a_call_that_may_not_keep_memory_neither_takes_nor_leaves_a_room(recorder: Recorder):
    rooms = Rooms()
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
    rooms, meeting, used = Rooms(), threading.Barrier(2, timeout=10), []
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


def test_few_rooms_are_kept_and_the_one_that_waited_longest_goes():
    rooms = Rooms()
    made = [Room(torch.zeros(1)) for _ in range(cuda_draw.KEPT_ROOMS + 1)]
    for number, room in enumerate(made):
        rooms.put((0, 1, number), room)
    assert len(rooms) == cuda_draw.KEPT_ROOMS
    assert rooms.take((0, 1, 0)) is None
    assert rooms.take((0, 1, 1)) is made[1]
    assert rooms.take((0, 1, 1)) is None


def test_a_batch_without_room_for_all_keys_is_drawn_in_parts(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cuda_plan, "ROOM", 2 * 8 * 64)
    plan_of.cache_clear()
    call(drawing(recorder, Rooms(), batch=5), batch=5)
    plan_of.cache_clear()
    drawn = [(arguments[12], arguments[13], grid) for _, name, grid, arguments in recorder.launched
             if name == "resolve"]  # fmt: skip
    assert drawn == [(0, 0, 4), (2, 1, 4), (4, 0, 2)]
    assert recorder.names() == ["clear_keys", *3 * WARM]


def test_nothing_is_launched_for_an_empty_batch(recorder: Recorder):
    results = call(drawing(recorder, Rooms(), batch=0), batch=0)
    assert [len(result) for result in results] == [0, 0]
    assert not recorder.launched
