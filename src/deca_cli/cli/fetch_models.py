"""`deca fetch-models`: get the files that may not be bundled."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence


@in_a_sentence
def fetch_models(
    what: Annotated[
        list[str] | None,
        typer.Argument(
            help="deca, flame, detector, identity, all, or names from --list.", show_default=False
        ),
    ] = None,
    *,
    show_list: Annotated[
        bool, typer.Option("--list", help="Show everything that can be fetched, and what is installed.")
    ] = False,
    sources: Annotated[
        list[Path] | None,
        typer.Option(
            "--from",
            metavar="DIR_OR_ZIP",
            help="Take files from here instead: a folder, a zip, or a file under any name.",
            show_default=False,
        ),
    ] = None,
    accept_licence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Accept a licence without being asked; --list names them.",
            show_default=False,
        ),
    ] = None,
    any_flame: Annotated[
        bool, typer.Option("--any-flame", help="Take a FLAME that does not look like that of 2020.")
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Only say what is missing, connect to nothing.")
    ] = False,
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL", help="Proxy; HTTPS_PROXY and its like are used if left out.", show_default=False
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")] = False,
) -> None:
    """Fetch the official DECA weights, FLAME, detectors and networks for training.

    Files under a licence are fetched only after it was shown and accepted.

    User name and password of the FLAME site are asked for and never stored.

    DECA_FLAME_USERNAME and DECA_FLAME_PASSWORD give them without asking.
    """
    from deca_cli.cli.fetch_models_run import Request, run

    del debug  # `in_a_sentence` looks at it
    request = Request(
        words=tuple(what or ()),
        show_list=show_list,
        sources=tuple(sources or ()),
        accept=tuple(accept_licence or ()),
        any_flame=any_flame,
        offline=offline,
        proxy=proxy,
    )
    raise typer.Exit(run(request))
