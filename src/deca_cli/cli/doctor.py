"""`deca doctor`: is everything in order on this machine?"""

from __future__ import annotations

from typing import Annotated

import typer

from deca_cli.cli.errors import FAILED, in_a_sentence


@in_a_sentence
def doctor(
    *,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")] = False,
) -> None:
    """Check Python, torch, device, kernels, models and detectors; one line each, fine or what to do.

    `ok` is fine, `--` is optional and missing, `!!` keeps the program from working (then the exit code is 1).
    """
    from deca_cli.cli.doctor_checks import BROKEN, examine

    del debug  # `in_a_sentence` looks at it
    broken = False
    for check in examine():
        typer.echo(f"{check.state}  {check.subject:<16} {check.text}")
        broken |= check.state == BROKEN
    raise typer.Exit(FAILED if broken else 0)
