"""The commands of `zse`. Stages are imported inside them, so that help and version answer at once."""

from __future__ import annotations

import difflib
import os
import sys
import warnings
from functools import cache
from typing import Annotated, Any

import typer

from zsecli import __version__
from zsecli.cli.draw import draw
from zsecli.cli.embed import embed
from zsecli.cli.evaluate import evaluate
from zsecli.cli.explain import explain
from zsecli.cli.help_format import Command
from zsecli.cli.inspect import inspect
from zsecli.cli.log_handler import log_to_console
from zsecli.cli.match import match
from zsecli.cli.prepare import prepare
from zsecli.cli.results import print_lines
from zsecli.cli.synthesize import synthesize
from zsecli.cli.train import train
from zsecli.errors import DONE, USAGE, DryRunEnded
from zsecli.runtime import console, distributed

VARIABLES = {"ZSE_DEBUG", "ZSE_DEVICE", "ZSE_MODEL", "ZSE_WORKSPACE"}  # of the environment, that options read
SPELLED_WRONG = 0.85  # from this similarity on; other programs may have variables that begin so

app = typer.Typer(
    name="zse",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (prepare, train, embed, match, evaluate, explain, synthesize, inspect, draw):
    app.command(cls=Command)(command)


def _version(value: bool) -> None:
    if value:
        print(f"zse {__version__}")
        raise typer.Exit()


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
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
      zse embed photos/ --modality photo -o photos.h5
      zse embed sketch.png | zse match - photos.h5 --top 5 --format tsv
      zse explain sketch.png photo.jpg

    And all of it on a page to draw in:

    \b
      zse draw

    Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
    3 a store or checkpoint that cannot be used, 4 done but some inputs were skipped, 130 interrupted.
    """
    for name in sorted(os.environ.keys() - VARIABLES):
        if name.startswith("ZSE_") and (meant := difflib.get_close_matches(name, VARIABLES, 1, SPELLED_WRONG)):
            console.print_notice(f"{name} ignored: did you mean {meant[0]}?")
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


@cache  # a tenth of a second, which a process that runs many commands pays once
def top() -> Any:
    """The command above all others, as Click has it."""
    return typer.main.get_command(app)


def run() -> int:
    """What the command line asks for; the exit code."""
    distributed.forget_launch()
    try:
        # for all threads: that a picture's EXIF block is damaged, say
        with log_to_console(), warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="PIL")
            return top()(prog_name="zse", standalone_mode=False) or DONE
    except DryRunEnded as ended:
        print_lines([str(ended)])
        return DONE
    finally:
        distributed.forget_launch()
