"""The GPU's memory that runs out before the first photo."""

import sys
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from deca_cli.cli import reconstruct_setup
from deca_cli.errors import DeviceError
from deca_cli.networks.preprocessing import Preprocessing
from deca_cli.pipeline.memory import release, room_for
from deca_cli.pipeline.pace import Pace
from deca_cli.pipeline.start import warm_up


class Networks:
    """What is compiled, in a memory of so many crops."""

    preprocessing = Preprocessing(image_size=32)

    def __init__(self, crops: int, error: Exception) -> None:
        self.crops, self.error, self.asked = crops, error, []
        self.head = self
        self.template_vertices = torch.zeros(1)

    def encode(self, images) -> None:
        self.asked.append(len(images))
        if len(images) > self.crops:
            raise self.error


SHORT = (torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"))


@pytest.mark.parametrize("error", SHORT)
def test_networks_are_compiled_for_the_batch_that_memory_holds(error):
    networks = Networks(70, error)
    assert warm_up(networks, 256) == 64
    assert networks.asked == [256, 128, 64]
    with pytest.raises(DeviceError, match=r"does not hold a single face.*--device cpu"):
        warm_up(Networks(0, error), 4)


def test_the_run_goes_on_with_the_batch_that_networks_are_compiled_for():
    networks = Networks(70, SHORT[0])
    pace = Pace(batch_size=256, group=64, groups=3, workers=1, processes=True, padded=True)
    decoder = SimpleNamespace(pack=SimpleNamespace(deca=networks))
    assert reconstruct_setup._warm_up(decoder, pace, Console(quiet=True)).batch_size == 64


def test_networks_that_cannot_be_compiled_are_not_tried_smaller():
    networks = Networks(0, RuntimeError("no compiler"))
    with pytest.raises(DeviceError, match="leave --compile out"):
        warm_up(networks, 4)
    assert networks.asked == [4]


def test_what_the_rasteriser_keeps_is_given_back_before_torch_gives_back_what_it_keeps(monkeypatch):
    told = []
    rooms = SimpleNamespace(drop=lambda: told.append("rooms"))
    drawing = SimpleNamespace(rooms_of=lambda index: told.append(index) or rooms)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 3)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: told.append("torch"))
    monkeypatch.delitem(sys.modules, "deca_cli.render.cuda_draw", raising=False)
    release()
    assert told == ["torch"]
    monkeypatch.setitem(sys.modules, "deca_cli.render.cuda_draw", drawing)
    release()
    assert told == ["torch", 3, "rooms", "torch"]


@pytest.mark.parametrize("error", SHORT)
def test_a_model_that_memory_does_not_hold_is_told_with_advice(error):
    with pytest.raises(DeviceError, match=r"does not hold the model .*--device cpu"), room_for("the model"):
        raise error
    with pytest.raises(RuntimeError, match="another"), room_for("the model"):
        raise RuntimeError("another")
