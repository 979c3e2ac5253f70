"""The kernels of `rasterize.cu` on one GPU: compiled at first use by NVRTC, started on torch's current stream."""

import functools
import importlib
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from deca_cli.errors import DeviceError

SOURCE = Path(__file__).with_name("rasterize.cu")
KERNELS = (
    "clear_keys", "draw_triangles", "resolve", "interpolate", "interpolate_backward", "rasterize_backward",
)  # fmt: skip
BLOCK = 128  # BLOCK in rasterize.cu


class Launcher:
    """Starts the kernels of one GPU and one number type. Keeps what every start needs: kernels, grids, streams."""

    def __init__(self, device_index: int, double: bool) -> None:
        core = cuda_core()
        self._device_index = device_index
        self._kernels = _compile(device_index, double)
        # launch(stream, grid, kernel, *arguments): starts a kernel, nothing waits. The GPU must be torch's current one.
        # Arguments are Python ints (addresses and sizes: 64 bits in the kernel) and floats (double).
        self.launch = core.launch
        self._device = core.Device(device_index)
        self._ready = threading.local()  # threads in which this GPU's context has been made current
        self._only = torch.cuda.device_count() == 1
        self._stream_of = functools.lru_cache(maxsize=256)(core.Stream.from_handle)
        self._grid_of = functools.lru_cache(maxsize=1024)(
            lambda blocks: core.LaunchConfig(grid=blocks, block=BLOCK)
        )

    def is_current(self) -> bool:
        """Whether this GPU is torch's current one."""
        return self._only or torch.cuda.current_device() == self._device_index

    def stream(self) -> tuple[int, Any]:
        """The current stream that torch has for this GPU: as a number, and for `launch`."""
        if not hasattr(self._ready, "done"):
            self._device.set_current()
            self._ready.done = True
        # What torch.cuda.current_stream reads, without the object around it: that costs as much as half a launch.
        handle = torch._C._cuda_getCurrentRawStream(self._device_index)  # noqa: SLF001
        return handle, self._stream_of(handle)

    def grid(self, blocks: int) -> Any:  # noqa: ANN401 - cuda-core's configuration of a launch
        """That many blocks of BLOCK threads, for `launch`; None for none."""
        return self._grid_of(blocks) if blocks else None

    def kernel(self, name: str) -> Any:  # noqa: ANN401 - cuda-core's kernel
        """One of `KERNELS`, for `launch`."""
        return self._kernels[name]

    def start(self, name: str, blocks: int, *arguments: float) -> None:
        """`launch` on the current stream, unless there are no blocks."""
        if blocks:
            self.launch(self.stream()[1], self.grid(blocks), self._kernels[name], *arguments)


@functools.cache
def launcher(device_index: int, double: bool) -> Launcher:
    """The launcher of a GPU; ``double`` for float64 tensors, else float32.

    Raises:
        DeviceError: cuda-core is missing, or the kernels do not compile or load on this device.
    """
    return Launcher(device_index, double)


@functools.cache
def cuda_core() -> ModuleType:
    """NVIDIA's cuda-core, wherever the installed version keeps it."""
    for name in ("cuda.core", "cuda.core.experimental"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if hasattr(module, "Program") and hasattr(module, "launch"):
            return module
    raise DeviceError(
        "The CUDA rasteriser compiles its kernel with NVIDIA's cuda-core, which is not installed or cannot be "
        "imported. Install it with `pip install 'deca-cli[cuda]'` (in a clone: '.[cuda]'), or run on the CPU: --device cpu; "
        "`deca reconstruct` also has --rasterizer cpu."
    )


def _compile(device_index: int, double: bool) -> dict[str, Any]:
    """The kernels of `rasterize.cu`, from cuda-core's cache on disk or compiled now.

    Raises:
        DeviceError: cuda-core is missing, or they do not compile or load on this device.
    """
    core = cuda_core()
    core.Device(device_index).set_current()
    major, minor = torch.cuda.get_device_capability(device_index)
    # Without fused multiply-add: the CPU kernel and the reference round every product, too.
    options = core.ProgramOptions(
        arch=f"sm_{major}{minor}",
        fma=False,
        std="c++17",
        define_macro=[("REAL", "double" if double else "float")],
    )
    try:
        return _from_cache(core, options) or _kernels_of(core, options)
    except Exception as error:
        raise DeviceError(
            f"The CUDA rasteriser could not be compiled for {torch.cuda.get_device_name(device_index)} "
            f"(sm_{major}{minor}): {error}. Update cuda-core and the driver, or run on the CPU: --device cpu; "
            "`deca reconstruct` also has --rasterizer cpu."
        ) from error


def _kernels_of(core: ModuleType, options: Any, **cache: Any) -> dict[str, Any]:  # noqa: ANN401 - cuda-core's
    """The kernels by name, compiled unless the cache has them."""
    code = core.Program(SOURCE.read_text(encoding="utf-8"), "c++", options).compile("cubin", **cache)
    return {name: code.get_kernel(name) for name in KERNELS}


def _from_cache(core: ModuleType, options: Any) -> dict[str, Any]:  # noqa: ANN401 - cuda-core's
    """The kernels with cuda-core's cache on disk, or nothing.

    A cache that is full, read-only or damaged must not keep anybody from drawing. What else may be wrong shows again
    without it.
    """
    try:
        cache = _disk_cache(core)
        return _kernels_of(core, options, **cache) if cache else {}
    except Exception:  # noqa: BLE001 - cuda-core says with errors of its own that an entry is damaged
        return {}


def _disk_cache(core: ModuleType) -> dict[str, Any]:
    """The cache argument of `Program.compile`, where cuda-core has one and its folder can be written."""
    try:
        utils = importlib.import_module(f"{core.__name__}.utils")
        return {"cache": utils.FileStreamProgramCache()}
    except (ImportError, AttributeError, TypeError, OSError):
        return {}
