"""From the device of the networks to this process: one copy and one wait for many tensors, asleep meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from deca_cli.export.shape_layers import Fetched, fetched_one_by_one

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from deca_cli.pipeline.sheets import Sheets


def to_host(tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """Arrays of the same content, in the order of the tensors, which are on one device.

    Of a GPU all come in one copy: each copy of its own would wait for all that the GPU has still to do.
    """
    if not tensors or not tensors[0].is_cuda:
        return [np.asarray(tensor.numpy()) for tensor in tensors]
    flat = joined(tensors)
    there = torch.empty(len(flat), dtype=torch.uint8, pin_memory=True)
    there.copy_(flat, non_blocking=True)
    wait_for_gpu(flat.device)
    return apart(there.numpy(), tensors)


def _order(tensors: Sequence[Tensor]) -> list[int]:
    """The longest numbers first: so all lie where their type wants them."""
    return sorted(range(len(tensors)), key=lambda index: -tensors[index].element_size())


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Their bytes, one tensor after another."""
    return torch.cat([tensors[index].reshape(-1).view(torch.uint8) for index in _order(tensors)])


def apart(content: np.ndarray, tensors: Sequence[Tensor]) -> list[np.ndarray]:
    """The arrays in the bytes that `joined` made of tensors."""
    arrays, start = {}, 0
    for index in _order(tensors):
        like = tensors[index]
        part = content[start : start + like.nbytes]
        arrays[index] = part.view(str(like.dtype).removeprefix("torch.")).reshape(tuple(like.shape))
        start += like.nbytes
    return [arrays[index] for index in range(len(tensors))]


def fetch_pictures(pictures: Sequence[Tensor], sheets: Sheets | None) -> list[Fetched]:
    """What is drawn, brought into shared memory while there is room, else into that of this process.

    Args:
        pictures: uint8 [b, c, h, w] each.
        sheets: the shared memory, if there is some.
    """
    if not pictures or not (pictures[0].is_cuda or sheets):
        return fetched_one_by_one(pictures)
    on_gpu = pictures[0].is_cuda
    fetched = []
    try:
        for picture in pictures:
            sheet = None if sheets is None else sheets.take(tuple(picture.shape))
            if sheet is None:
                there = torch.empty(picture.shape, dtype=torch.uint8, pin_memory=on_gpu)
            else:
                there = torch.from_numpy(sheet.content)
            there.copy_(picture, non_blocking=True)
            fetched.append(Fetched(there.numpy(), sheet))
    finally:
        # In any case: sheets are given up afterwards, and are anybody's then.
        if on_gpu:
            wait_for_gpu(pictures[0].device)
    return fetched


def wait_for_gpu(device: torch.device) -> None:
    """Sleep until the GPU has done all that it was asked; torch's own waiting keeps a core busy."""
    done = torch.cuda.Event(blocking=True)
    done.record(torch.cuda.current_stream(device))
    done.synchronize()
