"""The checks of `deca doctor`: each gives one line, and none of them connects to anything."""

from __future__ import annotations

import platform
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING

from deca_cli.assets.catalogue import ASSETS, GROUPS
from deca_cli.assets.licences import LICENCES
from deca_cli.assets.store import accepted_licences, is_here, path_of
from deca_cli.cache import cache_folder
from deca_cli.errors import DecaError, ModelError
from deca_cli.packs.folders import DECA, OPEN, best_installed, is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

FINE, OPTIONAL, BROKEN = "ok", "--", "!!"
OLDEST_PYTHON = (3, 10)
LEAST_FREE_BYTES = 2**30


@dataclass(frozen=True)
class Check:
    """One line: how it is, of what, and what to do."""

    state: str
    subject: str
    text: str


def examine() -> Iterator[Check]:
    """All checks, in order; one that fails by itself is a line too."""
    for subject, check in CHECKS.items():
        try:
            state, text = check()
        except Exception as error:  # noqa: BLE001 - a broken installation breaks in any way, and that is the news
            state, text = BROKEN, f"{type(error).__name__}: {error}"
        yield Check(state, subject, text)


Verdict = tuple[str, str]


def _python() -> Verdict:
    text = f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    if sys.version_info < OLDEST_PYTHON:
        return BROKEN, f"{text}; install Python 3.10 or later"
    return FINE, text


def _torch() -> Verdict:
    try:
        import torch
    except (ImportError, OSError) as error:
        return BROKEN, f"cannot be loaded ({error}); install it again: pip install --force-reinstall torch"
    return FINE, f"{torch.__version__}"


def _device() -> Verdict:
    import torch

    if torch.cuda.is_available():
        return FINE, f"cuda: {torch.cuda.get_device_name()}"
    if torch.version.cuda is None:
        return (
            OPTIONAL,
            "cpu; this torch is built without CUDA, install a CUDA build if you have an NVIDIA GPU",
        )
    return OPTIONAL, "cpu; torch finds no NVIDIA GPU, look at `nvidia-smi` if you have one"


def _cpu_kernel() -> Verdict:
    from deca_cli.render import cpu

    if cpu.is_compiled():
        return FINE, "compiled"
    return OPTIONAL, "not compiled yet; the first `deca reconstruct` does it in some seconds"


def _cuda_extra() -> Verdict:
    """NVIDIA's cuda-core, with which the CUDA rasteriser is compiled."""
    import torch

    try:
        version = metadata.version("cuda-core")
    except metadata.PackageNotFoundError:
        if not torch.cuda.is_available():
            return OPTIONAL, "cuda-core is not installed, and not needed without an NVIDIA GPU"
        return (
            OPTIONAL,
            (
                "cuda-core is not installed, so the GPU cannot draw: pip install 'deca-cli[cuda]' (in a clone: "
                "'.[cuda]'), or use --rasterizer cpu"
            ),
        )
    return FINE, f"cuda-core {version}"


def _cuda_kernel() -> Verdict:
    """Compile the rasteriser and draw a triangle."""
    import time

    import torch

    if not torch.cuda.is_available():
        return OPTIONAL, "not used without an NVIDIA GPU"
    from deca_cli.pipeline.start import draw_triangle

    started = time.perf_counter()
    try:
        draw_triangle(torch.device("cuda"))
    except DecaError as error:
        return OPTIONAL, str(error)
    return FINE, f"draws a triangle, ready after {time.perf_counter() - started:.1f} s"


def _open_pack() -> Verdict:
    return FINE, _loaded(OPEN)


def _deca_pack() -> Verdict:
    from deca_cli.assets.install import missing_for_pack

    if is_installed(DECA):
        try:
            return FINE, _loaded(DECA)
        except ModelError as error:
            return BROKEN, f"{error} Make it anew: delete it and run `deca fetch-models deca`"
    missing = ", ".join(asset.name for asset in missing_for_pack())
    if not missing:
        return OPTIONAL, "its files are here but not converted; run `deca fetch-models deca`"
    return (
        OPTIONAL,
        f"not installed, lacks {missing}; run `deca fetch-models deca`, or --from with your own files",
    )


def _loaded(name: str) -> str:
    import time

    from deca_cli.packs.store import load_pack

    started = time.perf_counter()
    pack = load_pack(name)
    detail = "with detail" if pack.has_detail else "without detail networks"
    albedo = "" if pack.deca.albedo is None else ", albedo"
    used = "; used where --model is left out" if name == best_installed() else ""
    return f"{detail}{albedo}, loads in {time.perf_counter() - started:.1f} s ({pack.folder}){used}"


def _files() -> Verdict:
    """Compare the fetched files with their published check sums."""
    from deca_cli.assets.fetch import check_sums

    here = [asset for asset in ASSETS if is_here(asset)]
    damaged = []
    for asset in here:
        try:
            check_sums(asset, path_of(asset))
        except ModelError:  # noqa: PERF203 - a handful of files
            damaged.append(asset)
    if damaged:
        names = " ".join(asset.name for asset in damaged)
        return (
            OPTIONAL,
            f"{names}: other content than published; take it out of {path_of(damaged[0]).parent} and fetch again",
        )
    if not here:
        return OPTIONAL, "none fetched; nothing needs them but `--model deca` and training"
    return FINE, ", ".join(asset.name for asset in here)


def _identity() -> Verdict:
    missing = [asset.name for asset in GROUPS["identity"] if not is_here(asset)]
    if missing:
        return (
            OPTIONAL,
            f"without {', '.join(missing)}; only training DECA needs them: `deca fetch-models identity`",
        )
    return FINE, "installed"


def _detectors() -> Verdict:
    from deca_cli.photo.detectors import DETECTORS, choose_detector

    reasons = {name: detector.missing() for name, detector in DETECTORS.items()}
    missing = [name for name, reason in reasons.items() if reason is not None]
    used = choose_detector().name
    if missing:
        return OPTIONAL, f"uses {used}; {', '.join(missing)} lacks weights: `deca fetch-models detector`"
    return FINE, f"uses {used}"


def _cache() -> Verdict:
    from deca_cli.export.atomic import check_writable

    folder = cache_folder()
    try:
        check_writable(folder)
    except DecaError:
        return BROKEN, f"{folder} cannot be written; set DECA_HOME to a folder of your own"
    free = shutil.disk_usage(folder).free
    if free < LEAST_FREE_BYTES:
        return OPTIONAL, f"{folder} has only {free / 1e9:.1f} GB left; set DECA_HOME to a disk with more room"
    return FINE, f"{folder}, {free / 1e9:.0f} GB free"


def _licences() -> Verdict:
    done = [name for name in accepted_licences() if name in LICENCES]
    return FINE, f"accepted: {', '.join(done)}" if done else "none accepted, none needed for `--model open`"


CHECKS: dict[str, Callable[[], Verdict]] = {
    "Python": _python,
    "torch": _torch,
    "device": _device,
    "CPU kernel": _cpu_kernel,
    "CUDA extra": _cuda_extra,
    "CUDA kernel": _cuda_kernel,
    "model open": _open_pack,
    "model deca": _deca_pack,
    "fetched files": _files,
    "face detectors": _detectors,
    "for training": _identity,
    "cache": _cache,
    "licences": _licences,
}
