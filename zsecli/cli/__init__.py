"""The command `zse`. Stages are imported inside their commands, so that help and version answer at once."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from zsecli import __version__, console
from zsecli.cli.embed import embed
from zsecli.cli.evaluate import evaluate
from zsecli.cli.inspect import inspect
from zsecli.cli.match import match
from zsecli.cli.prepare import prepare
from zsecli.errors import INTERRUPTED, ZseError

app = typer.Typer(
    name="zse",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (prepare, embed, match, evaluate, inspect):
    app.command()(command)


def _version(value: bool) -> None:
    if value:
        print(f"zse {__version__}")
        raise typer.Exit()


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Retrieve photos from a drawn sketch, for classes never seen in training.

    Each command reads files and writes one, whose path it prints; the next finds it by itself:

    \b
      zse prepare demo
      zse evaluate --model frozen:tf_efficientnet_lite0

    \b
      zse embed photos/ -o photos.h5
      zse embed sketch.png | zse match - photos.h5 --top 5 --format tsv
    """


def main() -> None:
    """Run the command line; a ZseError becomes two lines and its exit code."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except Exception as error:
        if console.debug:
            raise
        if not isinstance(error, ZseError):
            error = ZseError(
                f"{type(error).__name__}: {error}", "this is a fault of zse, please report it; --debug shows where"
            )
        print(f"error: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        sys.exit(error.code)
