"""`deca` and `python -m deca_cli`."""

from __future__ import annotations


def main() -> None:
    """Run the command line; a user's error becomes one sentence and exit code 1."""
    from deca_cli.cli.app import app

    app(prog_name="deca")


if __name__ == "__main__":
    main()
