"""Drawing on an NVIDIA GPU: memory and launches of the passes of `rasterize.cu` that find the visible surface.

Nothing here waits for the GPU or looks at what lies on it, so all of it may be captured in a CUDA graph. At small sizes
the time is that of Python and the driver: what goes by shapes and types alone is made once (`drawing_of`), and the
memory for the keys is kept from call to call, already cleared.
"""

import functools
import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deca_cli.render.cuda_plan import Plan, plan_of
from deca_cli.render.fragments import Rule
from deca_cli.render.kernels import Launcher, launcher

# Of a GPU's memory, the share that may wait for the next call.
KEPT_SHARE = 64

Place = tuple[int, int, int]  # stream, items, pixels of an item


class Room:
    """Memory for keys; those who use it one after the other count large triangles in turns (see `rasterize.cu`)."""

    __slots__ = ("address", "memory", "size", "turn")

    def __init__(self, memory: Tensor) -> None:
        self.memory = memory
        self.address = memory.data_ptr()
        self.size = memory.nbytes
        self.turn = 0


class Rooms:
    """Cleared rooms of one GPU for the next calls.

    A room belongs to one stream, whose launches run one after the other. It is taken out while launches are being
    written into it and put back when all of them have been: another thread, or the call after a failed one, finds none
    and gets one of its own. What is dropped goes back to torch, which hands it to the same stream only.

    Attributes:
        limit: bytes of all rooms that wait.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._rooms: OrderedDict[Place, Room] = OrderedDict()
        self._size = 0  # bytes
        self._lock = threading.Lock()

    def take(self, place: Place) -> Room | None:
        """The room of a stream for that many items and pixels, if one waits."""
        with self._lock:
            room = self._rooms.pop(place, None)
            self._size -= room.size if room else 0
        return room

    def put(self, place: Place, room: Room) -> None:
        """Keep a room, cleared by the launches so far; those that have waited longest go."""
        with self._lock:
            other = self._rooms.pop(place, None)
            self._rooms[place] = room
            self._size += room.size - (other.size if other else 0)
            while self._size > self.limit:
                self._size -= self._rooms.popitem(last=False)[1].size

    def drop(self) -> None:
        """Give all of them back to torch."""
        with self._lock:
            self._rooms.clear()
            self._size = 0

    def __len__(self) -> int:
        return len(self._rooms)


class Drawing:
    """One problem on one GPU. Call it with tensors of the shapes and types that it was made for."""

    def __init__(
        self, kernels: Launcher, rooms: Rooms, plan: Plan, results: Sequence[tuple[Any, ...]]
    ) -> None:
        """The launches of a plan.

        Args:
            kernels: of the GPU and the number type.
            rooms: of the same.
            plan: the sizes.
            results: arguments of `empty` for triangle, barycentrics, depth and, if wanted, the picture.
        """
        self._kernels, self._rooms, self._plan, self._results = kernels, rooms, plan, results
        self._draw, self._draw_grid = kernels.kernel("draw_triangles"), kernels.grid(plan.draw_blocks)
        self._resolve, self._pixel_grid = kernels.kernel("resolve"), kernels.grid(plan.pixel_blocks)

    def __call__(
        self,
        vertices: Tensor,
        faces: Tensor,
        attribute_faces: Tensor | None = None,
        attributes: Tensor | None = None,
        *,
        keep: bool = True,
    ) -> tuple[Tensor, ...]:
        """Triangle, barycentrics, depth and, where there are attributes, their picture.

        Args:
            vertices: on the GPU of this drawing, as all others.
            faces: int32 or int64.
            attribute_faces: int32 or int64.
            attributes: of the vertices' type.
            keep: whether room for the keys may come from an earlier call and go to a later one. Not where
                memory belongs to somebody who counts on getting it back, as in compiled programs with CUDA graphs.
        """
        if self._kernels.is_current():
            return self._run(vertices, faces, attribute_faces, attributes, keep)
        with torch.cuda.device(vertices.device):
            return self._run(vertices, faces, attribute_faces, attributes, keep)

    def _run(
        self,
        vertices: Tensor,
        faces: Tensor,
        attribute_faces: Tensor | None,
        attributes: Tensor | None,
        keep: bool,
    ) -> tuple[Tensor, ...]:
        """As above, on torch's current GPU; in the order in which the GPU needs it, for it may wait for this function."""
        plan, kernels = self._plan, self._kernels
        if not plan.batch:
            return self._memory(self._results)
        handle, stream = kernels.stream()
        # What a graph uses must be its own, and be cleared at every replay.
        keep = keep and 8 * plan.keys <= self._rooms.limit and not torch.cuda.is_current_stream_capturing()
        place = (handle, plan.batch, plan.pixels)
        room = self._rooms.take(place) if keep else None
        if room is None:
            room = self._cleared(stream)
        vertices, faces = vertices.contiguous(), faces.contiguous()
        inputs = (vertices.data_ptr(), faces.data_ptr(), room.address, *plan.sizes)
        if self._draw_grid is not None:
            kernels.launch(stream, self._draw_grid, self._draw, *inputs, room.turn, *plan.drawing)
        # Only now, while the GPU draws.
        drawn = self._memory(self._results)
        if attribute_faces is not None and attributes is not None:
            attribute_faces, attributes = attribute_faces.contiguous(), attributes.contiguous()
        outputs = self._outputs(drawn, attribute_faces, attributes)
        kernels.launch(stream, self._pixel_grid, self._resolve, *inputs, room.turn, int(keep), *outputs)
        if keep:
            room.turn = 1 - room.turn
            self._rooms.put(place, room)
        return drawn

    def _memory(self, wanted: Sequence[tuple[Any, ...]]) -> tuple[Tensor, ...]:
        """New memory, by arguments of `empty`; if there is not enough, all rooms that wait are given back first."""
        try:
            return tuple([empty(*arguments) for arguments in wanted])
        except torch.OutOfMemoryError:
            if not len(self._rooms):
                raise
            self._rooms.drop()
        return tuple([empty(*arguments) for arguments in wanted])

    def _cleared(self, stream: Any) -> Room:  # noqa: ANN401 - cuda-core's stream
        """A new room."""
        plan = self._plan
        room = Room(*self._memory([((plan.keys,), (1,), torch.int64)]))
        grid = self._kernels.grid(plan.clear_blocks)
        self._kernels.launch(stream, grid, self._kernels.kernel("clear_keys"), room.address, plan.keys // 2)
        return room

    def _outputs(
        self, drawn: Sequence[Tensor], attribute_faces: Tensor | None, attributes: Tensor | None
    ) -> tuple[int, ...]:
        """The last arguments of the last pass."""
        addresses = [part.data_ptr() for part in drawn]
        if attribute_faces is None or attributes is None:
            return *addresses, 0, 0, 0, 0, 0, 0, 0
        wide = int(attribute_faces.dtype == torch.int64)
        return *addresses, attribute_faces.data_ptr(), attributes.data_ptr(), wide, *self._plan.attributes


@functools.lru_cache(maxsize=1024)
def drawing_of(
    device_index: int, dtype: torch.dtype, shape: Sequence[int], faces_shape: Sequence[int], wide: bool,
    height: int, width: int, rule: Rule, z_offset: float, attributes_shape: Sequence[int] | None,
) -> Drawing:  # fmt: skip
    """The drawing for vertices, faces of 32 or (wide) 64 bits, and attributes or none.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    double, picture = dtype == torch.float64, (shape[0], height, width)
    results = [(picture, torch.int32), ((*picture, 3), dtype), (picture, dtype)]
    if attributes_shape is not None:
        results.append(((shape[0], attributes_shape[-1], height, width), dtype))
    return Drawing(
        launcher(device_index, double), rooms_of(device_index),
        plan_of(shape, faces_shape, wide, height, width, rule, z_offset, attributes_shape),
        [(size, _strides(size), kind) for size, kind in results],
    )  # fmt: skip


@functools.cache
def rooms_of(device_index: int) -> Rooms:
    """The rooms of a GPU; ``rooms_of(0).drop()`` gives their memory back."""
    return Rooms(torch.cuda.get_device_properties(device_index).total_memory // KEPT_SHARE)


def _strides(size: Sequence[int]) -> tuple[int, ...]:
    """Of a contiguous tensor."""
    return tuple(math.prod(size[axis + 1 :]) for axis in range(len(size)))


def _plain_empty(size: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty_strided(size, strides, dtype=dtype, device="cuda")


# Memory on torch's current GPU: by the function with which compiled programs of torch allocate, where this torch has it,
# for the public ones take three times as long.
empty: Callable[[Sequence[int], Sequence[int], torch.dtype], Tensor]
empty = getattr(torch._C._dynamo.guards, "_empty_strided_cuda", _plain_empty)  # noqa: SLF001
