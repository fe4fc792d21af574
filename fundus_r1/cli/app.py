"""The command's root: its help, and the option that every verb takes."""

from __future__ import annotations

from typing import Annotated

import typer

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Fundus-R1: training a fundus-reading model on public data. Not a medical device.",
)


class Debug:
    """Whether tracebacks are shown."""

    on = False


@app.callback()
def common(debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks.")] = False) -> None:
    Debug.on = debug
