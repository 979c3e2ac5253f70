"""The `deca` command: a table of subcommands, none of which imports anything heavy before it runs."""

from __future__ import annotations

from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from deca_cli import __version__
from deca_cli.cli.errors import MISUSED, say_error
from deca_cli.cli.interrupt import INTERRUPTED, say_interrupted

if TYPE_CHECKING:
    from collections.abc import Iterator

# Adding a command is one line: its name -> the module and the function or Typer app in it.
# These modules import nothing but typer and the standard library at their top.
COMMANDS = {
    "reconstruct": "deca_cli.cli.reconstruct:reconstruct",
    "fetch-models": "deca_cli.cli.fetch_models:fetch_models",
    "doctor": "deca_cli.cli.doctor:doctor",
    "train": "deca_cli.cli.train:app",
    "transfer": "deca_cli.cli.transfer:transfer",
    "animate": "deca_cli.cli.animate:animate",
    "evaluate": "deca_cli.cli.evaluate:evaluate",
}


class Commands(TyperGroup):
    """The table; typer itself would end with an empty line, and in older versions with 1, when Ctrl-C comes while it reads options."""

    def make_context(self, info_name: str | None, args: list[str], *rest: Any, **extra: Any) -> Any:  # noqa: ANN401 - click's own, of which typer has a copy
        """Read the options."""
        if not extra.get(
            "resilient_parsing"
        ):  # as for the shell's completion, where the word to complete may be empty
            _refuse_empty_names(args)
        with _until_ctrl_c():
            return super().make_context(info_name, args, *rest, **extra)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401
        """Run the command."""
        with _until_ctrl_c():
            return super().invoke(ctx)


def _refuse_empty_names(words: list[str]) -> None:
    """They would be taken for the folder one is in; mostly a variable of the shell is not set."""
    for before, word in zip(["deca", *words], words, strict=False):
        if word in {"", "--output="}:
            say_error(
                f"an empty name was given after {before}. Give one; if it comes from a variable of the shell, that is not set."
            )
            raise typer.Exit(MISUSED)


@contextmanager
def _until_ctrl_c() -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        say_interrupted()
        raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="deca",
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Turn ordinary photos into detailed, animatable 3D heads.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"deca {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version and leave."),
    ] = False,
) -> None:
    """Turn ordinary photos into detailed, animatable 3D heads."""


def _add(name: str, target: str) -> None:
    module, attribute = target.split(":")
    command = getattr(import_module(module), attribute)
    if isinstance(command, typer.Typer):
        app.add_typer(command, name=name)
    else:
        app.command(name)(command)


for _name, _target in COMMANDS.items():
    _add(_name, _target)
