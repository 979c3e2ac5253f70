"""From the device of the networks to arrays."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from deca_cli.pipeline import transfer
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


class OnGpu(torch.Tensor):
    """Says that it is on a GPU."""

    is_cuda = True


def test_memory_that_a_gpu_writes_to_is_kept_until_it_has_done_so_even_if_something_fails(monkeypatch):
    free, waited = [], []

    class Given:
        content = np.zeros((1, 2, 4, 4), np.uint8)

        def __del__(self) -> None:
            free.append(len(waited))

    def take(_shape) -> Given:
        if given:
            raise MemoryError
        given.append(1)
        return Given()

    given: list[int] = []
    monkeypatch.setattr(transfer, "wait_for_gpu", waited.append)
    picture = torch.ones(1, 2, 4, 4, dtype=torch.uint8).as_subclass(OnGpu)
    try:
        transfer.fetch_pictures([picture, picture], SimpleNamespace(take=take))
    except MemoryError as error:
        error.__traceback__ = None
    assert free == [1]


def test_bytes_of_many_tensors_in_one_are_told_apart_and_lie_as_their_type_wants_them():
    tensors = some()
    content = joined(tensors).numpy()
    assert len(content) == sum(tensor.nbytes for tensor in tensors)
    arrays = apart(content, tensors)
    check(arrays, tensors)
    assert all(array.flags.aligned for array in arrays)
