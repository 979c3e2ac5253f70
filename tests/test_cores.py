"""How many cores a process takes as its own, alone and among those that a launcher started with it."""

import os

import pytest
import torch

from deca_cli.cores import usable_cores
from deca_cli.pipeline.pace import worker_count
from deca_cli.pipeline.start import set_threads

TORCHRUN = {"RANK": "9", "WORLD_SIZE": "16", "LOCAL_RANK": "1"}
STEP = {"SLURM_PROCID": "9", "SLURM_STEP_NUM_TASKS": "11"}


@pytest.fixture
def machine(monkeypatch):
    """A machine with so many cores, of which this process may use some."""

    def build(cores: int, usable: int) -> None:
        monkeypatch.setattr(os, "cpu_count", lambda: cores)
        monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(usable)), raising=False)

    return build


@pytest.mark.parametrize(
    ("usable", "environment", "expected"),
    [
        (32, {}, 32),
        (6, {}, 6),
        (32, TORCHRUN | {"LOCAL_WORLD_SIZE": "8"}, 4),
        (
            16,
            TORCHRUN | {"LOCAL_WORLD_SIZE": "8"},
            2,
        ),  # the mask is torchrun's: all its processes have the same
        (32, TORCHRUN | {"LOCAL_WORLD_SIZE": "5"}, 6),
        (2, TORCHRUN | {"LOCAL_WORLD_SIZE": "8"}, 1),
        (32, TORCHRUN, 32),
        (32, {"LOCAL_WORLD_SIZE": "8"}, 32),
        (32, TORCHRUN | {"LOCAL_WORLD_SIZE": "8"} | STEP | {"SLURM_STEP_TASKS_PER_NODE": "2"}, 4),
    ],
)
def test_processes_of_torchrun_divide_the_cores_of_their_machine(machine, usable, environment, expected):
    machine(32, usable)
    assert usable_cores(environment) == expected


@pytest.mark.parametrize(
    ("usable", "environment", "expected"),
    [
        (32, STEP | {"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NODEID": "1"}, 8),
        (32, STEP | {"SLURM_STEP_TASKS_PER_NODE": "4(x2),3", "SLURM_NODEID": "2"}, 10),
        (32, STEP | {"SLURM_NTASKS_PER_NODE": "8"}, 4),
        (8, STEP | {"SLURM_STEP_TASKS_PER_NODE": "4(x2),3"}, 8),  # cores of its own
        (16, STEP | {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_CPUS_ON_NODE": "16"}, 4),  # those of the step
        (4, STEP | {"SLURM_STEP_TASKS_PER_NODE": "4", "SLURM_CPUS_ON_NODE": "16"}, 4),
        (32, STEP, 32),
        (32, {"SLURM_PROCID": "0", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, 32),  # without srun
    ],
)
def test_tasks_of_slurm_divide_cores_that_are_not_divided_yet(machine, usable, environment, expected):
    machine(32, usable)
    assert usable_cores(environment) == expected


def test_where_the_system_does_not_tell_whose_cores_are_whose_all_are_divided(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores({}) == 12
    assert usable_cores(TORCHRUN | {"LOCAL_WORLD_SIZE": "3"}) == 4


def test_eight_processes_on_32_cores_start_32_workers_in_all(machine, monkeypatch):
    machine(32, 32)
    assert worker_count(3000, gpu=True, detector="lbp") == 32
    for name, value in (TORCHRUN | {"LOCAL_WORLD_SIZE": "8"}).items():
        monkeypatch.setenv(name, value)
    assert worker_count(3000, gpu=True, detector="lbp") == 4
    assert worker_count(3000, gpu=True, detector="lbp", cores=6) == 6  # --threads counts for each process


def test_threads_of_a_process_are_those_of_its_share_unless_it_is_told(machine, monkeypatch):
    machine(8, 8)
    for name, value in (TORCHRUN | {"LOCAL_WORLD_SIZE": "4"}).items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads()
    try:
        set_threads(None)
        assert torch.get_num_threads() == 2
        set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        set_threads(before)
