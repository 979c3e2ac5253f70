"""The command line before anything heavy happens."""

import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from deca_cli import __version__
from deca_cli.__main__ import main
from deca_cli.cli.app import COMMANDS, app

HEAVY = (
    "torch",
    "numpy",
    "numba",
    "cv2",
    "skimage",
    "scipy",
    "PIL",
    "face_alignment",
    "safetensors",
    "imageio",
)
ROOT = Path(__file__).resolve().parents[1]


def cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_takes_less_than_three_tenths_of_a_second():
    times = []
    for _ in range(4):  # the first start may have to compile bytecode
        before = cpu_seconds()
        subprocess.run([sys.executable, "-m", "deca_cli", "--help"], check=True, capture_output=True)
        times.append(cpu_seconds() - before)
    assert min(times) < 0.3


@pytest.mark.parametrize("arguments", [["--help"], *([name, "--help"] for name in COMMANDS)])
def test_help_imports_nothing_heavy(arguments):
    script = (
        "import sys\nfrom deca_cli.cli.app import app\n"
        f"try:\n    app({arguments!r})\nexcept SystemExit:\n    pass\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"
    assert "Usage" in done.stdout


def loaded_after(statement):
    """Heavy packages that an import statement loads."""
    script = f"import sys\n{statement}\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    return ast.literal_eval(done.stdout)


def test_workers_are_started_before_anything_heavy_is_imported():
    count = "from deca_cli.pipeline.pace import worker_count\nassert worker_count(100, gpu=True, cores=8)"
    assert loaded_after(f"import deca_cli.cli.reconstruct_begin, deca_cli.pipeline.forks\n{count}") == []


def test_a_process_whose_workers_find_and_draw_loads_no_numba():
    modules = ("pipeline.start", "packs.store", "networks.inference", "pipeline.captures", "pipeline.batch")
    loaded = loaded_after("\n".join(f"import deca_cli.{module}" for module in modules))
    assert "torch" in loaded
    assert "numba" not in loaded


def test_version_is_printed():
    assert CliRunner().invoke(app, ["--version"]).output.strip() == f"deca {__version__}"


def test_the_module_runs_like_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "deca_cli", "--version"], check=True, capture_output=True, text=True
    )
    assert done.stdout.strip() == f"deca {__version__}"


def test_ctrl_c_before_a_command_runs_is_one_sentence_and_130(monkeypatch, capsys):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("deca_cli.cli.app.TyperGroup.make_context", interrupt)
    reading = CliRunner().invoke(app, ["--version"])
    assert (reading.exit_code, reading.stderr) == (130, "deca: interrupted.\n")
    monkeypatch.setattr("deca_cli.__main__.look_less_often", interrupt)
    with pytest.raises(SystemExit) as importing:
        main()
    assert importing.value.code == 130
    assert capsys.readouterr().err == "deca: interrupted.\n"


@pytest.mark.parametrize(
    "words",
    [["reconstruct", ""], ["transfer", ""], ["animate", ""], ["reconstruct", "a.jpg", "-o", ""], ["animate", "a.jpg", "--output="]],
)  # fmt: skip
def test_an_empty_name_is_refused(words):
    refused = CliRunner().invoke(app, words)
    assert refused.exit_code == 2
    assert refused.stderr.startswith("deca: an empty name was given after ")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion_offers_the_commands(shell):
    words = {"bash": {"COMP_WORDS": "deca rec", "COMP_CWORD": "1"}}.get(
        shell, {"_TYPER_COMPLETE_ARGS": "deca rec", "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    )
    environment = {**os.environ, "_DECA_COMPLETE": f"complete_{shell}", **words}
    done = subprocess.run(
        [sys.executable, "-m", "deca_cli"], capture_output=True, text=True, env=environment, check=False
    )
    assert "reconstruct" in done.stdout


def test_every_command_says_what_it_does():
    for name in COMMANDS:
        output = CliRunner().invoke(app, [name, "--help"]).output
        assert len(output.splitlines()) > 5
        assert name in output


def test_readme_is_short_and_its_test_line_is_the_one_that_the_check_script_runs():
    readme = (ROOT / "README.md").read_text("utf-8").splitlines()
    script = (ROOT / ".ci" / "run").read_text("utf-8").splitlines()
    lines = [line for line in readme if line.endswith(".venv/bin/nox")]
    assert len(readme) < 100
    assert len(lines) == 1
    assert lines[0] in script


@pytest.mark.parametrize("given", [{}, {"GOMP_SPINCOUNT": "7"}, {"OMP_WAIT_POLICY": "ACTIVE"}])
def test_waiting_threads_go_to_sleep_unless_the_person_has_said_how_they_wait(given):
    names = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")
    clean = {name: value for name, value in os.environ.items() if name not in names}
    script = (
        "import os, sys\nfrom deca_cli.__main__ import main\nsys.argv = ['deca', '--version']\n"
        f"try:\n    main()\nexcept SystemExit:\n    print({{n: os.environ[n] for n in {names!r} if n in os.environ}})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=clean | given, check=True, capture_output=True, text=True
    )
    usual = {} if "OMP_WAIT_POLICY" in given else {"GOMP_SPINCOUNT": "1000", "KMP_BLOCKTIME": "0"}
    assert done.stdout.splitlines()[-1] == str({n: (usual | given)[n] for n in names if n in usual | given})
