"""`zse match`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from zsecli import console
from zsecli.cli import options as opt
from zsecli.cli.results import end, finish
from zsecli.errors import UsageError
from zsecli.workspace import Workspace


def match(
    sketches: Annotated[
        str | None,
        typer.Argument(help="Feature store with the sketches, or - for its path on stdin. Default: the data set's."),
    ] = None,
    photos: Annotated[
        str | None, typer.Argument(help="Feature store with the photos. Default: the same store.")
    ] = None,
    by: opt.By = None,
    shortlist: opt.Shortlist = 100,
    ignore_same: opt.IgnoreSame = None,
    center: opt.Center = False,
    depth: Annotated[
        int, typer.Option("--depth", min=0, help="Photos to keep for a query; 0 keeps all, which evaluate needs.")
    ] = 0,
    top: Annotated[int, typer.Option("--top", min=1, help="Hits to show for a query.")] = 5,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Print the top hits instead of the path: tsv (query, rank, score, photo) or json (an object a line).",
        ),
    ] = None,
    data: opt.Data = None,
    model: opt.Model = None,
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
    """Rank photos for sketches.

    \b
      zse match
      zse match sketches.h5 photos.h5 --by ret
      zse embed sketch.png | zse match - photos.h5 --top 5 --format tsv

    Without stores, the data set prepared last is ranked, and embedded first where that is still to do.
    """
    from zsecli import pipeline
    from zsecli.model.spec import ModelSpec
    from zsecli.retrieval.hits import print_hits, show_hits

    opt.choice(output_format or "tsv", "--format", ("tsv", "json"))
    ws, compute = Workspace(workspace), pipeline.Compute(device, batch_size, workers, dry_run)
    if sketches is None:
        spec = pipeline.model_of(ws, model)
        options = pipeline.match_options(by, spec.has_relation, shortlist, ignore_same, center, depth)
        result, skipped = pipeline.rank_dataset(ws, data, spec, options, compute, output, overwrite)
    else:
        first = _path(sketches)
        second = Path(photos) if photos else first
        options = pipeline.match_options(by, pipeline.can_relate(first), shortlist, ignore_same, center, depth)
        chosen = ModelSpec.parse(model) if model else None
        result, skipped = pipeline.match_stores(ws, first, second, options, compute, chosen, output, overwrite), []
    if dry_run:
        return
    if output_format:
        print_hits(result.path, top, output_format)
        end(skipped)
        return
    if sys.stdout.isatty() and not as_json and not console.quiet:
        show_hits(result.path, top)
    finish(result.path, result.fresh, skipped, as_json, "zse evaluate")


def _path(text: str) -> Path:
    if text != "-":
        return Path(text)
    line = "" if sys.stdin.isatty() else sys.stdin.readline().strip()
    if not line:
        raise UsageError(
            "- reads the path of a feature store from stdin, and none came",
            "zse embed sketch.png | zse match - photos.h5",
        )
    return Path(line)
