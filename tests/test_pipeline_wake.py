"""The GPU is woken without torch."""

import ctypes

import pytest

from deca_cli.pipeline import wake


class Driver:
    """A stand-in for NVIDIA's driver with so many GPUs."""

    def __init__(self, gpus: int, broken: str = "") -> None:
        self.gpus, self.broken, self.made = gpus, broken, []

    def cuInit(self, _flags):  # noqa: N802 - the driver's name
        return int(self.broken == "init")

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = self.gpus
        return 0

    def cuDeviceGet(self, device, number):  # noqa: N802
        device._obj.value = 10 + number
        return 0

    def cuDevicePrimaryCtxRetain(self, _context, device):  # noqa: N802
        self.made.append(device.value)
        return 0


@pytest.mark.parametrize(("gpus", "local", "made"), [(1, 0, [10]), (4, 2, [12]), (4, 5, [11]), (0, 0, [])])
def test_the_context_is_made_on_the_gpu_that_torch_will_take(monkeypatch, gpus, local, made):
    driver = Driver(gpus)
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)
    wake.wake_gpu(local)
    assert driver.made == made


def test_a_driver_that_does_not_start_is_left_for_torch_to_tell(monkeypatch):
    driver = Driver(1, broken="init")
    monkeypatch.setattr(ctypes, "CDLL", lambda _name: driver)
    wake.wake_gpu(0)
    assert driver.made == []


def test_without_a_driver_nothing_happens(monkeypatch):
    monkeypatch.setattr(wake, "DRIVER", "libno-such-driver.so")
    wake.wake_gpu(0)
