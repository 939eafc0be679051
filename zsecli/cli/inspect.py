"""`zse inspect`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, read_store_path
from zsecli.runtime.console import escape_for_stdout, escape_for_terminal, escape_json_line_breaks


def inspect(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help="A store or a checkpoint; - for its path on stdin."), INPUT
    ],
    verify: Annotated[
        bool, typer.Option("--verify", help="Read all of it, and check that it is as it was written.")
    ] = False,
    as_json: opt.Json = False,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Describe a store or a checkpoint: what it holds, what made it, and from what.

    \b
      zse inspect zse/datasets/demo.h5
      zse inspect checkpoint.safetensors --json
      zse inspect features.h5 --verify
      zse match | zse inspect -
    """
    from zsecli.stages import inspect as stage

    description = stage.run(stage.InspectRequest(file=read_store_path(file), verify=verify))
    if as_json:
        print(escape_for_stdout(escape_json_line_breaks(json.dumps(description, ensure_ascii=False))))
    else:
        _print(description)


def _print(description: dict[str, object], indent: int = 0) -> None:
    """Print one line per value, and nested dictionaries below their names, indented."""
    width = max((len(key) for key, value in description.items() if not isinstance(value, dict)), default=0)
    for key, value in description.items():
        if isinstance(value, dict):
            if value:
                print(" " * indent + escape_for_terminal(key))
                _print(value, indent + 2)
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            print(f"{' ' * indent}{escape_for_terminal(key):<{width}}  {escape_for_terminal(text) or '-'}")
