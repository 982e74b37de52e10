"""The `savos` command: parses arguments, then hands over to the module that does the work."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    name="savos",
    help="Amodal instance masks from camera images and tracked instance masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def savos() -> None:
    """Amodal instance masks from camera images and tracked instance masks."""


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Say what was found on this machine and what each absence costs."""
    from savos_ros.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json=as_json))


def main() -> None:
    """Entry point of the console script."""
    app()


if __name__ == "__main__":
    main()
