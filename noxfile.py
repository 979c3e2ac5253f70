"""The project's checks: `nox` runs lint and tests, each in an environment of its own."""

from __future__ import annotations

import nox

nox.needs_version = ">=2024.10.9"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "virtualenv"

PROJECT = nox.project.load_toml("pyproject.toml")
CONSTRAINTS = ("--constraint", "constraints.txt")  # the same versions on every machine


@nox.session
def lint(session: nox.Session) -> None:
    """Ruff's linter and formatter, and mypy."""
    session.install(*CONSTRAINTS, ".", *nox.project.dependency_groups(PROJECT, "lint"))
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """Pytest; arguments after `--` are passed on, for example `nox -s tests -- -k rasterize`."""
    session.install(*CONSTRAINTS, ".", *nox.project.dependency_groups(PROJECT, "test"))
    session.run("pytest", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The tables and plots of speed: rasteriser, then model and whole command, on the GPU where there is one.

    Minutes long. It installs torch as `constraints.txt` says; on a GPU machine that has its own, run the two programs there.
    """
    session.install(*CONSTRAINTS, ".[cuda]", *nox.project.dependency_groups(PROJECT, "test"))
    session.run("python", "benchmarks/rasterize.py", "--plot", "rasteriser_scaling.png")
    session.run("python", "benchmarks/reconstruct.py", "--plot", "reconstruct_scaling.png")
