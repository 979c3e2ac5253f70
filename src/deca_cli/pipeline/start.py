"""Set the machine up for a run: threads, device, precision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import torch
from torch.nn import functional as F

from deca_cli.cores import usable_cores
from deca_cli.errors import DeviceError, UsageError
from deca_cli.networks.inference import PRECISIONS, Precision, set_convolution_precision
from deca_cli.pipeline.memory import ran_out, release, too_small

if TYPE_CHECKING:
    from deca_cli.networks.deca import Deca


def set_threads(wanted: int | None) -> None:
    """Let torch, the rasteriser (it follows torch) and OpenCV use so many CPU threads; None = all cores given to us."""
    count = wanted or usable_cores()
    torch.set_num_threads(count)
    cv2.setNumThreads(count)


def choose_device(name: str, local: int = 0) -> torch.device:
    """`auto`, `cpu` or `cuda` -> a device; `auto` takes the GPU if there is one.

    Args:
        name: what is asked for.
        local: number of this process among those on this machine; they take the GPUs in turn.

    Raises:
        DeviceError: `cuda` without a usable NVIDIA GPU.
    """
    if name == "cpu" or (name == "auto" and not torch.cuda.is_available()):
        return torch.device("cpu")
    if not torch.cuda.is_available():
        raise DeviceError(
            "--device cuda needs an NVIDIA GPU that torch can use, and there is none here. Check `nvidia-smi` and "
            "that a CUDA build of torch is installed, or use --device cpu."
        )
    device = torch.device("cuda", local % torch.cuda.device_count())
    torch.cuda.set_device(device)
    return device


def choose_precision(name: str | None, device: torch.device) -> Precision:
    """The precision of the encoders, set for this process; TF32 on a GPU and full float32 on the CPU if not asked for.

    Raises:
        UsageError: TF32 on the CPU, which has no such arithmetic.
    """
    if name == "tf32" and device.type == "cpu":
        raise UsageError("--precision tf32 is arithmetic of NVIDIA GPUs. On the CPU use fp32 or bf16.")
    precision = name or ("tf32" if device.type == "cuda" else "fp32")
    chosen = next(one for one in PRECISIONS if one == precision)
    set_convolution_precision(chosen)
    return chosen


def choose_drawing_device(rasterizer: str, device: torch.device) -> str:
    """Where pictures are drawn: `cpu`, or the networks' GPU, on which the rasteriser is compiled now.

    Raises:
        DeviceError: it cannot be compiled, for example because the extra `cuda` is missing.
        UsageError: `cuda` without networks on a GPU.
    """
    if rasterizer == "cpu" or (rasterizer == "auto" and device.type == "cpu"):
        return "cpu"
    if device.type != "cuda":
        raise UsageError(
            "--rasterizer cuda draws on the GPU that the networks run on: use --device cuda with it."
        )
    draw_triangle(device)
    return str(device)


def draw_triangle(device: torch.device) -> None:
    """Draw one triangle with the compiled rasteriser of a GPU; compiles it at first.

    Raises:
        DeviceError: that does not work; says what to do.
    """
    from deca_cli.render.rasterize import rasterize

    with torch.cuda.device(device):  # called in threads, too: each has a current GPU of its own
        corners = torch.tensor([[[-1.0, -1.0, 0.0], [1.0, -1.0, 0.0], [0.0, 1.0, 0.0]]], device=device)
        fragments = rasterize(corners, torch.tensor([[0, 1, 2]], device=device), 8, 8, backend="cuda")
        drawn = bool(fragments.covered.any())
    if not drawn:
        raise DeviceError(
            "the CUDA rasteriser draws nothing on this GPU. Update the driver, or run on the CPU: --device cpu; "
            "`deca reconstruct` also has --rasterizer cpu."
        )


@torch.inference_mode()
def load_gpu_libraries(device: torch.device) -> None:
    """Let torch load what convolves and multiplies on a GPU; for a thread beside the one that loads the model."""
    with torch.cuda.device(device):
        square = torch.ones(1, 8, 8, 8, device=device)
        F.conv2d(square, torch.ones(8, 8, 3, 3, device=device))
        square[0, 0] @ square[0, 0]


@torch.inference_mode()
def first_batch(deca: Deca, batch_size: int) -> None:
    """Encode and decode nothing in particular, so that the first photos need not wait for the GPU's kernels to be loaded.

    For a thread beside the one that goes on; what goes wrong is left for the first photos to find.
    """
    size, device = deca.preprocessing.image_size, deca.head.template_vertices.device
    with torch.cuda.device(device):
        deca.decode(deca.encode(torch.zeros(batch_size, 3, size, size, device=device)).codes)


@torch.inference_mode()
def warm_up(deca: Deca, batch_size: int) -> int:
    """Run the encoders once, so that what is compiled is compiled; tell for which batch size.

    That is halved where memory runs out.

    Raises:
        DeviceError: compiling fails, or memory does not even hold one crop.
    """
    size, device = deca.preprocessing.image_size, deca.head.template_vertices.device
    while True:
        try:
            deca.encode(torch.zeros(batch_size, 3, size, size, device=device))
        except Exception as error:
            if not ran_out(error):
                raise _not_compiled(error) from error
            if batch_size == 1:
                raise too_small("a single face", error) from error
        else:
            return batch_size
        batch_size //= 2
        release()


def _not_compiled(error: Exception) -> DeviceError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return DeviceError(
        f"the networks cannot be compiled here ({lines[0][:200]}). torch.compile needs a C++ compiler on the CPU, "
        "and Triton on a GPU; leave --compile out."
    )
