"""The command line: one file per verb, gathered here."""

from __future__ import annotations

import typer

from penstock import __version__

app = typer.Typer(no_args_is_help=True, add_completion=False)


@app.callback()
def root() -> None:
    """One endpoint that speaks OpenAI and Ollama in front of your own engines."""


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


def main() -> None:
    """Entry point of the `penstock` script."""
    app()
