"""The compiler's cache on disk, with a stand-in for cuda-core; and the source in what is installed."""

import types
from importlib import resources
from pathlib import Path
from types import ModuleType

import pytest
import torch

from deca_cli.errors import DeviceError
from deca_cli.render import kernels

PROJECT = Path(__file__).parent.parent


class Core:
    """As much of cuda-core as compiling needs. What is wrong with the cache is said at construction."""

    def __init__(
        self, *, full: bool = False, damaged: bool = False, unwritable: bool = False, broken: bool = False
    ) -> None:
        self.__name__ = "core"
        self.full, self.damaged, self.unwritable, self.broken = full, damaged, unwritable, broken
        self.compiled: list[bool] = []  # with the cache or without
        self.utils = types.SimpleNamespace(FileStreamProgramCache=self.open_cache)

    def open_cache(self) -> dict[str, bytes]:
        if self.unwritable:
            raise PermissionError(13, "Permission denied")
        return {}

    def Device(self, _index: int) -> types.SimpleNamespace:  # noqa: N802 - cuda-core's name
        return types.SimpleNamespace(set_current=lambda: None)

    def ProgramOptions(self, **options: object) -> dict[str, object]:  # noqa: N802
        return options

    def Program(self, source: str, language: str, options: dict[str, object]) -> types.SimpleNamespace:  # noqa: N802
        assert "interpolate_backward" in source
        assert (language, options["fma"]) == ("c++", False)
        return types.SimpleNamespace(compile=self.compile)

    def compile(self, _kind: str, *, cache: dict[str, bytes] | None = None) -> types.SimpleNamespace:
        self.compiled.append(cache is not None)
        if self.broken:
            raise RuntimeError("NVRTC says no")
        if cache is not None and self.full:
            raise OSError(28, "No space left on device")
        damaged = cache is not None and self.damaged

        def get_kernel(name: str) -> str:
            if damaged:
                raise RuntimeError("CUDA_ERROR_INVALID_IMAGE")
            return f"kernel {name}"

        return types.SimpleNamespace(get_kernel=get_kernel)


@pytest.fixture
def compile_with(monkeypatch: pytest.MonkeyPatch):
    def run(core: Core) -> dict[str, str]:
        monkeypatch.setattr(kernels, "cuda_core", lambda: core)
        monkeypatch.setattr(kernels.importlib, "import_module", lambda name: {"core.utils": core.utils}[name])
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")
        return kernels._compile(0, double=False)

    return run


RIGHT = {name: f"kernel {name}" for name in kernels.KERNELS}


def test_kernels_come_from_the_cache_on_disk(compile_with):
    core = Core()
    assert compile_with(core) == RIGHT
    assert core.compiled == [True]


@pytest.mark.parametrize("trouble", ["full", "damaged"])
def test_with_a_full_or_damaged_cache_the_kernels_are_compiled_without(compile_with, trouble: str):
    core = Core(**{trouble: True})
    assert compile_with(core) == RIGHT
    assert core.compiled == [True, False]


def test_a_cache_that_cannot_be_opened_or_is_not_there_is_not_used(compile_with):
    core, old = Core(unwritable=True), Core()
    del old.utils.FileStreamProgramCache
    for one in (core, old):
        assert compile_with(one) == RIGHT
        assert one.compiled == [False]


def test_what_does_not_compile_at_all_is_an_error_that_says_how_to_go_on(compile_with):
    with pytest.raises(DeviceError, match=r"for a GPU \(sm_90\): NVRTC says no\. .*--device cpu"):
        compile_with(Core(broken=True))


def test_without_cuda_core_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch):
    def missing(name: str) -> ModuleType:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(kernels.importlib, "import_module", missing)
    with pytest.raises(
        DeviceError, match=r"pip install 'deca-cli\[cuda\]'.*--device cpu; `deca reconstruct`"
    ):
        kernels.cuda_core.__wrapped__()


def test_the_kernels_source_is_installed_with_the_package():
    source = resources.files("deca_cli.render").joinpath("rasterize.cu").read_text(encoding="utf-8")
    assert all(f"{name}(" in source for name in kernels.KERNELS)


def test_the_kernels_source_goes_into_wheel_and_sdist():
    wheels = pytest.importorskip("hatchling.builders.wheel", reason="what is packed is asked of hatchling")
    from hatchling.builders.sdist import SdistBuilder

    for builder, path in (
        (wheels.WheelBuilder(str(PROJECT)), "deca_cli/render/rasterize.cu"),
        (SdistBuilder(str(PROJECT)), "src/deca_cli/render/rasterize.cu"),
    ):
        with builder.config.set_build_data({"artifacts": [], "force_include": {}}):
            packed = {file.distribution_path for file in builder.recurse_included_files()}
        assert path in packed
