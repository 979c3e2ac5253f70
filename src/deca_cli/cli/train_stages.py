"""`deca train pretrain`, `coarse` and `detail`: the stages of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deca_cli.cli.errors import in_a_sentence
from deca_cli.cli.values import DEVICES, choice, number, whole

Data = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[DATA]...",
        help="Folders made by `deca train prepare` or `render-set`, or official sets set up in the configuration.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        help="Folder of the run; the same command goes on with it.",
        show_default="runs/STAGE",
    ),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config", help="YAML file: an official one, or settings.yaml of a run.", show_default=False
    ),
]
Options = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="Change a setting, as in --set loss.photo=2.0; --show-settings names them.",
        show_default=False,
    ),
]
Init = Annotated[
    str | None,
    typer.Option(
        "--init",
        help="Start from the networks of this run or model pack; fresh ones if left out.",
        show_default=False,
    ),
]
HeadName = Annotated[
    str | None,
    typer.Option(
        "--head",
        help="Head to learn: open, deca, a pack or a head file (.npz).",
        show_default="that of --init, or open",
    ),
]
Without = Annotated[
    str,
    typer.Option("--without", metavar="TERMS", help="Train without identity, mrf, or both: identity,mrf."),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        "--minutes",
        **number(above=0),
        help="Stop by the clock, whatever the steps and epochs.",
        show_default=False,
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", **whole(1), help="Stop after that many steps, whatever the epochs.", show_default=False
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device", **choice(*DEVICES), help="cuda (every process its own GPU), cpu, or auto: what there is."
    ),
]
Duplicates = Annotated[
    str,
    typer.Option(
        "--duplicate-keys",
        metavar="CHOICE",
        help="What a group that stands in the file twice means: refuse, merge, first or last.",
    ),
]
ShowSettings = Annotated[
    bool, typer.Option("--show-settings", help="Only print all settings as YAML; they can be a --config.")
]
Debug = Annotated[bool, typer.Option("--debug", help="Show a traceback instead of one sentence.")]


def _command(stage: str, purpose: str) -> None:
    """Define the command of a stage; all three take the same options."""

    @in_a_sentence
    def train(
        data: Data = None,
        *,
        output: Output = None,
        config: Config = None,
        options: Options = None,
        init: Init = None,
        head: HeadName = None,
        without: Without = "",
        minutes: Minutes = None,
        steps: Steps = None,
        device: Device = "auto",
        duplicates: Duplicates = "refuse",
        show_settings: ShowSettings = False,
        debug: Debug = False,
    ) -> None:
        from deca_cli.cli.train_stages_run import Request, run

        del debug  # `in_a_sentence` looks at it
        run(
            Request(
                stage=stage,
                data=tuple(data or ()),
                output=output,
                config=config,
                options=tuple(options or ()),
                init=init,
                head=head,
                without=tuple(name for name in without.split(",") if name),
                minutes=minutes,
                steps=steps,
                device=device,
                duplicates=duplicates,
                show_settings=show_settings,
            )
        )

    train.__doc__ = f"""{purpose}

    Several GPUs: torchrun --nproc-per-node 4 -m deca_cli train {stage} ... The batch size is that of all together.
    Interrupted runs go on where they were when the same command is given again.
    """
    COMMANDS[stage] = train


COMMANDS: dict[str, object] = {}
_command("pretrain", "Train the coarse encoder on landmarks alone.")
_command("coarse", "Train the coarse encoder on landmarks, colours and identity.")
_command("detail", "Train the detail encoder and decoder on the colours of the skin.")


def add_to(app: typer.Typer) -> None:
    """Add the commands to `deca train`."""
    for name, command in COMMANDS.items():
        app.command(name)(command)  # type: ignore[type-var]
