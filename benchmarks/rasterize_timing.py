"""How `rasterize.py` times calls, in milliseconds; medians."""

import statistics
import time
from collections.abc import Callable

import torch

FLUSH_BYTES = 1 << 28
REPEATS = 50
SLOW_MS, SLOW_REPEATS = 20, 5  # a call that takes longer is repeated less often

Call = Callable[[], object]


def median_ms(call: Call, repeats: int) -> float:
    """Wall clock on the CPU."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times)


def eager_ms(call: Call) -> float:
    """Between CUDA events on an idle GPU with a cold cache: launch costs count."""
    return _timed(call, wait=True)


def graph_ms(call: Call) -> float:
    """A CUDA graph of the call, replayed: what the GPU itself needs."""
    for _ in range(3):
        call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return _timed(graph.replay, wait=False)


def _timed(call: Call, *, wait: bool) -> float:
    flush = torch.empty(FLUSH_BYTES, dtype=torch.uint8, device="cuda")
    repeats = SLOW_REPEATS if 1e3 * _seconds(call) > SLOW_MS else REPEATS
    for _ in range(repeats // 5):
        call()
    pairs = [[torch.cuda.Event(enable_timing=True) for _ in range(2)] for _ in range(repeats)]
    for start, end in pairs:
        flush.zero_()
        if wait:
            torch.cuda.synchronize()
        start.record()
        call()
        end.record()
    torch.cuda.synchronize()
    return statistics.median(start.elapsed_time(end) for start, end in pairs)


def _seconds(call: Call) -> float:
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - start
