"""From the device of the networks to arrays."""

import numpy as np
import pytest
import torch

from deca_cli.pipeline.transfer import apart, joined, to_host
from render_scenarios import needs_gpu

DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.cuda, needs_gpu])]


def some(device="cpu") -> list[torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [
        (torch.rand(3, 5, generator=draw) > 0.5).to(device),
        torch.rand(3, 4, 3, generator=draw, dtype=torch.float64).to(device)[..., :2],
        torch.rand(3, 7, generator=draw).to(device),
        torch.rand(3, 0, generator=draw).to(device),
        torch.rand(3, generator=draw, dtype=torch.float64).to(device),
        torch.arange(6).to(device).reshape(2, 3).T,
    ]


def check(arrays, tensors) -> None:
    assert len(arrays) == len(tensors)
    for array, tensor in zip(arrays, tensors, strict=True):
        np.testing.assert_array_equal(array, tensor.cpu().numpy(), strict=True)


@pytest.mark.parametrize("device", DEVICES)
def test_tensors_of_any_kind_become_the_same_arrays(device):
    check(to_host(some(device)), some())


def test_bytes_of_many_tensors_in_one_are_told_apart_and_lie_as_their_type_wants_them():
    tensors = some()
    content = joined(tensors).numpy()
    assert len(content) == sum(tensor.nbytes for tensor in tensors)
    arrays = apart(content, tensors)
    check(arrays, tensors)
    assert all(array.flags.aligned for array in arrays)
