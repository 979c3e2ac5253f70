"""Options that several `deca evaluate` commands share, and how a run is shown while it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deca_cli.cli.values import whole

if TYPE_CHECKING:
    from collections.abc import Iterable

    from typing_extensions import Self

    from deca_cli.evaluate.problem_reports import Result

Output = Annotated[Path | None, typer.Option("--output", "-o", help="Folder for the results.")]
Plots = Annotated[bool, typer.Option("--plots/--no-plots", help="Draw PNG and SVG plots (needs matplotlib).")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]
Method = Annotated[str | None, typer.Option(help="Name in the results.")]
Force = Annotated[bool, typer.Option("--force", help="Measure predictions that look wrong, too.")]
Workers = Annotated[
    int | None, typer.Option("--workers", "-j", **whole(1), help="Processes (default: all cores).")
]


class Progress:
    """A bar on stderr, with what was refused and why."""

    def __init__(self, count: int, *, stop_after: int | None = None) -> None:
        from tqdm import tqdm

        self.bar = tqdm(total=count, unit="image", desc="measuring", disable=None)
        self.refused = 0
        self.stop_after = stop_after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def show(self, result: Result) -> None:
        """Advance the bar by one image.

        Raises:
            InputError: `stop_after` predictions were refused, so something is wrong with all of them.
        """
        from deca_cli.errors import InputError
        from deca_cli.evaluate.problem_reports import reasons

        self.bar.update()
        if result.is_measured:
            return
        self.refused += 1
        typer.echo(f"{result.name}: {reasons(result.problems)}", err=True)
        if self.refused == self.stop_after:
            raise InputError(
                f"stopped after {self.refused} predictions that cannot give a meaningful number (see above). "
                "Mend them and run again; what was measured is kept. --force measures what can be measured."
            )


def say_refused(results: Iterable[Result]) -> None:
    """End with exit code 1 when something was left out of the numbers."""
    refused = sum(not result.is_measured for result in results)
    if refused:
        typer.echo(f"{refused} predictions refused and left out of all numbers (see above).", err=True)
        raise typer.Exit(1)
