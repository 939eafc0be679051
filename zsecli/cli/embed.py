"""`zse embed`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.results import finish
from zsecli.errors import UsageError
from zsecli.workspace import Workspace


def embed(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[INPUT]...",
            help="Dataset store (.h5), pictures, folders, or - for a list on stdin. Default: the newest data set.",
        ),
    ] = None,
    model: opt.Model = None,
    data: opt.Data = None,
    part: Annotated[
        str, typer.Option("--part", help="Part of a data set: unseen (what benchmarks evaluate), seen, or all.")
    ] = "unseen",
    modality: Annotated[
        str, typer.Option("--modality", help="What single pictures are: sketch, photo, or auto (each is looked at).")
    ] = "auto",
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = 32,
    workers: opt.Workers = 0,
    dry_run: opt.DryRun = False,
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Compute tokens and [Ret] of pictures into a feature store.

    \b
      zse embed
      zse embed sketch.png photos/ --model checkpoint.safetensors
      find pictures -name '*.jpg' | zse embed - --modality photo

    A store that holds just these features already is left as it is; a run that was stopped goes on.
    """
    from zsecli import pipeline
    from zsecli.data.listing import find
    from zsecli.store.items import MODALITIES, PARTS

    opt.choice(part, "--part", (*PARTS, "all"))
    opt.choice(modality, "--modality", (*MODALITIES, "auto"))
    ws, compute = Workspace(workspace), pipeline.Compute(device, batch_size, workers, dry_run)
    stores = [Path(i) for i in inputs or [] if Path(i).suffix == ".h5"]
    if len(stores) > 1 or (stores and len(inputs or []) > 1):
        raise UsageError("one dataset store at a time, and no pictures beside it", "run zse embed once for each")
    spec = pipeline.model_of(ws, model)
    if stores or not inputs:
        store = stores[0] if stores else ws.find_dataset(data)
        result = pipeline.embed_dataset(ws, store, spec, part, compute, output, overwrite)
    else:
        listed = [Path(p) for i in inputs for p in (_list() if i == "-" else [i])]
        result = pipeline.embed_pictures(ws, find(listed), spec, modality, compute, output, overwrite)
    finish(
        result.path,
        result.fresh,
        result.skipped,
        as_json,
        "zse match" if stores or not inputs else f"zse match SKETCHES {result.path} --top 5",
    )


def _list() -> list[str]:
    """Paths on stdin, one a line."""
    if sys.stdin.isatty():
        raise UsageError(
            "- reads a list of pictures from stdin, and nothing is piped in",
            "find pictures -name '*.jpg' | zse embed -",
        )
    return [line for line in sys.stdin.read().splitlines() if line.strip()]
