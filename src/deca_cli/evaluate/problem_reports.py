"""What a report says about predictions with problems; the same for every benchmark of meshes."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deca_cli.evaluate.checks import Problem


class Result(Protocol):
    """What became of one prediction."""

    @property
    def name(self) -> str:
        """The image's name in the results."""

    @property
    def is_measured(self) -> bool:
        """Whether there are numbers."""

    @property
    def problems(self) -> Sequence[Problem]:
        """What was found wrong, warnings included."""


def reasons(problems: Iterable[Problem]) -> str:
    """Why a prediction was refused."""
    return " ".join(p.message for p in problems if p.level == "error")


def count_warnings(results: Iterable[Result]) -> dict[str, int]:
    """How many measured images share a kind of warning; the first one's message stands for all."""
    first: dict[str, str] = {}
    counts: dict[str, int] = {}
    for problem in (p for r in results if r.is_measured for p in r.problems):
        counts[problem.kind] = counts.get(problem.kind, 0) + 1
        first.setdefault(problem.kind, f"{problem.kind}: {problem.message}")
    return {first[kind]: n for kind, n in counts.items()}


def warning_section(results: Iterable[Result]) -> list[str]:
    """Heading and list for report.md; nothing when there are no warnings."""
    lines = [f"- {n} images: {message}" for message, n in count_warnings(results).items()]
    return ["## Warnings", "\n".join(lines)] if lines else []


def refused_entries(results: Iterable[Result]) -> list[dict[str, object]]:
    """For results.json."""
    return [
        {"image": r.name, "state": "refused", "problems": [asdict(p) for p in r.problems]}
        for r in results
        if not r.is_measured
    ]


def refused_section(results: Iterable[Result]) -> list[str]:
    """Heading and list for report.md; nothing when all was measured."""
    lines = [f"- {r.name}: {reasons(r.problems)}" for r in results if not r.is_measured]
    return ["## Refused", "Left out of all numbers:", "\n".join(lines)] if lines else []
