"""The command `zse`. Stages are imported inside their commands, so that help and version answer at once."""

from __future__ import annotations

import os
import sys
import traceback
import warnings
from typing import Annotated

import typer

from zsecli import __version__, console
from zsecli.cli.embed import embed
from zsecli.cli.evaluate import evaluate
from zsecli.cli.explain import explain
from zsecli.cli.failures import in_words
from zsecli.cli.help import Command
from zsecli.cli.inspect import inspect
from zsecli.cli.match import match
from zsecli.cli.prepare import prepare
from zsecli.cli.synthesize import synthesize
from zsecli.cli.train import train
from zsecli.errors import DONE, FAILED, INTERRUPTED, USAGE

app = typer.Typer(
    name="zse",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
for command in (prepare, train, embed, match, evaluate, explain, synthesize, inspect):
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

    Data goes to stdout, everything else to stderr. Exit codes: 0 done, 1 failed, 2 wrong usage,
    3 a store or checkpoint that cannot be used, 4 done but some inputs were skipped, 130 interrupted.
    """
    if context.invoked_subcommand is None:
        print(context.get_help(), file=sys.stderr)
        raise typer.Exit(USAGE)


def main() -> None:
    """Run the command line; whatever goes wrong becomes two lines and an exit code."""
    _streams()
    try:
        with warnings.catch_warnings():  # for all threads: that a picture's EXIF block is damaged, say
            warnings.filterwarnings("ignore", module="PIL")
            code = app(prog_name="zse", standalone_mode=False) or DONE
        sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's last breath
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        code = FAILED
    except Exception as error:
        code = _report(error)
    _drop_output()
    if code == INTERRUPTED:
        print("interrupted: the same command goes on from what is done", file=sys.stderr)
    sys.exit(code)


def _streams() -> None:
    """Streams for a process that was started without some; names in bytes that are no text pass as they are."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(errors="surrogateescape")


def _drop_output() -> None:
    """Send what stdout could not take nowhere, or Python would complain of it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    if console.debug:
        traceback.print_exception(error)
    explained = in_words(error)
    print(f"error: {console.plain(explained.message)}", file=sys.stderr)
    if explained.hint:
        print(f"hint: {console.plain(explained.hint)}", file=sys.stderr)
    return explained.code
