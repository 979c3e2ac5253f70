"""What the official weights cost: memory once for the conversion, time at every later start."""

import json
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.assets.albedo_file import read_albedo

CONVERT = """
import json, sys, threading, time
from pathlib import Path
import psutil
from deca_cli.assets.convert import convert_official

process, peak, done = psutil.Process(), [0], threading.Event()

def watch():
    while not done.wait(0.01):
        memory = process.memory_info()
        peak[0] = max(peak[0], memory.rss)

watcher = threading.Thread(target=watch)
watcher.start()
convert_official(Path(sys.argv[1]), Path(sys.argv[2]))
done.set()
watcher.join()
print(json.dumps(peak[0]))
"""
LOAD = """
import json, pickle, sys, time
import torch
import deca_cli.packs.store as store

def refuse(*_, **__):
    raise AssertionError("a pickle was opened")

torch.load = pickle.load = pickle.loads = pickle._Unpickler = refuse
torch.set_num_threads(1)
times = []
for _ in range(3):
    started = time.perf_counter()
    store.load_pack(sys.argv[1])
    times.append(time.perf_counter() - started)
print(json.dumps(times))
"""


def result_of(script: str, *arguments: Path) -> object:
    done = subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)], check=True, capture_output=True, text=True
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def training_weights(official_weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official files; the checkpoint holds what training keeps too, which makes it as large as the published one."""
    folder = tmp_path_factory.mktemp("full")
    for file in official_weights.iterdir():
        (folder / file.name).symlink_to(file)
    checkpoint = torch.load(official_weights / "deca_model.tar", weights_only=True, mmap=True)
    (folder / "deca_model.tar").unlink()
    extra = {"opt": {"moments": torch.zeros(55_000_000)}, "global_step": 1, "batch_size": 8}
    torch.save(checkpoint | extra, folder / "deca_model.tar")
    return folder


def test_conversion_takes_less_than_one_and_a_half_gigabytes_and_loading_less_than_a_second(
    training_weights: Path, tmp_path: Path
):
    assert (training_weights / "deca_model.tar").stat().st_size > 430_000_000
    assert result_of(CONVERT, training_weights, tmp_path / "pack") < 1.5e9
    assert min(result_of(LOAD, tmp_path / "pack")) < 1.0


def test_an_albedo_file_of_full_size_is_read_in_pieces(tmp_path: Path):
    """The official basis has 199 components in float64, 1.2 GB; here as many rows as matter are counted."""
    mean, basis = np.zeros((512, 512, 3)), np.zeros((512, 512, 3, 60))
    basis[2, 4, 0, 49] = 1
    np.savez_compressed(tmp_path / "albedo.npz", MU=mean, PC=basis)
    whole = basis.nbytes
    del mean, basis
    tracemalloc.start()
    try:
        albedo = read_albedo(tmp_path / "albedo.npz")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert albedo.basis.shape == (3, 256, 256, 50)
    assert albedo.basis[2, 1, 2, 49] == 1
    assert peak < whole * 0.7  # the part in use, in float64 and again in float32, but never the whole
