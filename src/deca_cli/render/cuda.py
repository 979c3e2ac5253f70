"""Rasterisation on an NVIDIA GPU: compiles `rasterize.cu` at first use and launches it on torch's stream."""

import functools
import importlib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from deca_cli.errors import DeviceError
from deca_cli.render.barycentrics import area_epsilon
from deca_cli.render.fragments import Fragments, Rule

SOURCE = Path(__file__).with_name("rasterize.cu")
KERNELS = ("draw_triangles", "unpack")
BLOCK = 128  # BLOCK in rasterize.cu


class _CurrentStream:
    """torch's current stream of the current device, as cuda-core takes it."""

    def __cuda_stream__(self) -> tuple[int, int]:
        """Version of the protocol and the handle."""
        return 0, torch.cuda.current_stream().cuda_stream


def rasterize(
    vertices: Tensor, faces: Tensor, height: int, width: int, rule: Rule, z_offset: float
) -> Fragments:
    """Rasterise on the vertices' CUDA device; the contract is that of `render.rasterize`. No host synchronisation.

    Raises:
        DeviceError: cuda-core is missing, or the kernel does not compile or load on this device.
    """
    device = vertices.device
    batch, vertex_count, _ = vertices.shape
    dtype = torch.float64 if vertices.dtype == torch.float64 else torch.float32
    points = vertices.detach().to(torch.float64).contiguous()
    corners = faces.to(device=device, dtype=torch.int32).contiguous()
    shape = (batch, height, width)
    keys = torch.full(shape, -1, dtype=torch.int64, device=device)
    triangle = torch.empty(shape, dtype=torch.int32, device=device)
    barycentrics = torch.empty((*shape, 3), dtype=torch.float32, device=device)
    depth = torch.empty(shape, dtype=torch.float32, device=device)
    sizes = [np.int32(size) for size in (batch, vertex_count, len(corners), height, width)]
    settings = (*sizes, np.int32(rule == "standard"), np.float64(area_epsilon(rule, height, width)),
                np.float64(z_offset))  # fmt: skip
    with torch.cuda.device(device):
        inputs = [tensor.data_ptr() for tensor in (points, corners, keys)]
        outputs = [tensor.data_ptr() for tensor in (triangle, barycentrics, depth)]
        _launch("draw_triangles", batch * len(corners), *inputs, *settings)
        _launch("unpack", batch * height * width, *inputs, *outputs, *settings)
    return Fragments(triangle, barycentrics.to(dtype), depth.to(dtype))


def _launch(name: str, threads: int, *arguments: Any) -> None:  # noqa: ANN401 - pointers and numpy scalars
    """Start one kernel with at least that many threads on torch's current device and stream."""
    if threads == 0:
        return
    core = _cuda_core()
    kernel = _kernels(torch.cuda.current_device())[name]
    config = core.LaunchConfig(grid=-(-threads // BLOCK), block=BLOCK)
    core.launch(_CurrentStream(), config, kernel, *arguments)


@functools.cache
def _cuda_core() -> ModuleType:
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
        "imported. Install it with `pip install 'deca-cli[cuda]'` (in a clone: '.[cuda]'), or choose the rasteriser `cpu`."
    )


@functools.cache
def _kernels(device_index: int) -> dict[str, Any]:
    """The compiled kernels of `rasterize.cu` for one device."""
    core = _cuda_core()
    core.Device(device_index).set_current()
    major, minor = torch.cuda.get_device_capability(device_index)
    # Without fused multiply-add: the CPU kernel and the reference round every product, too.
    options = core.ProgramOptions(arch=f"sm_{major}{minor}", fma=False, std="c++17")
    try:
        program = core.Program(SOURCE.read_text(encoding="utf-8"), "c++", options)
        code = program.compile("cubin", **_disk_cache(core))
        return {name: code.get_kernel(name) for name in KERNELS}
    except Exception as error:
        raise DeviceError(
            f"The CUDA rasteriser could not be compiled for {torch.cuda.get_device_name(device_index)} "
            f"(sm_{major}{minor}): {error}. Choose the rasteriser `cpu`, or update cuda-core and the driver."
        ) from error


def _disk_cache(core: ModuleType) -> dict[str, Any]:
    """The cache argument of `Program.compile`, where cuda-core has one and its folder can be written."""
    try:
        utils = importlib.import_module(f"{core.__name__}.utils")
        return {"cache": utils.FileStreamProgramCache()}
    except (ImportError, AttributeError, TypeError, OSError):
        return {}
