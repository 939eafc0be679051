"""`zse match`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.cli.results import end, finish
from zsecli.errors import StoreError
from zsecli.runtime import console
from zsecli.workspace import Workspace

FORMATS = ("tsv", "json")


def match(
    context: typer.Context,
    sketches: Annotated[
        str | None,
        typer.Argument(
            metavar="SKETCHES",
            help="Feature store with the sketches, or - for its path on stdin. Default: the data set's.",
        ),
    ] = None,
    photos: Annotated[
        str | None,
        typer.Argument(metavar="PHOTOS", help="Feature store with the photos, or -. Default: the same store."),
    ] = None,
    by: opt.By = None,
    shortlist: opt.Shortlist = 100,
    ignore_same: opt.IgnoreSame = None,
    center: opt.Center = False,
    depth: Annotated[
        int,
        typer.Option(
            "--depth",
            metavar="N",
            min=0,
            help="Photos to keep for a query; 0 keeps all, which most metrics of evaluate need.",
        ),
    ] = 0,
    ann: Annotated[
        bool,
        typer.Option(
            "--ann",
            help="Find the shortlist approximately, for a gallery beyond memory, and keep no other photo; zse inspect "
            "says its recall. Needs the extra ann.",
        ),
    ] = False,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Hits to show for a query, on a terminal or by --format.")
    ] = 5,
    output_format: Annotated[
        str | None,
        opt.choice(
            "--format",
            FORMATS,
            "Print the top hits instead of the path: tsv (query, rank, score, photo) or json (an object a line).",
        ),
    ] = None,
    data: opt.Data = None,
    split: opt.Split = "zs-inter",
    model: opt.Model = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    workers: opt.Workers = 0,
    precision: opt.Precision = "fp32",
    shard: opt.Shard = None,
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
      torchrun --nproc-per-node=2 -m zsecli match sketches.h5 photos.h5 --by rn

    Without stores, the data set prepared last is ranked, and embedded first where that is still to do.
    In TSV, tabs, backslashes and all that ends a line are written with a backslash.
    """
    from zsecli.model.spec import ModelSpec
    from zsecli.render.hits import print_hits, show_hits
    from zsecli.runtime.shards import current_shard
    from zsecli.stages import defaults

    if output_format:
        opt.refuse(context, ("shard",), "has no hits to print before all are put together", "leave out --format")
    part_of = context.with_resource(current_shard(shard))
    ws, compute = Workspace(workspace), defaults.Compute(device, batch_size, workers, precision, part_of, dry_run)
    outputs.apart(context, output)
    if sketches is None:
        spec = defaults.model_of(ws, model)
        options = defaults.match_options(by, spec.has_relation, shortlist, ignore_same, center, depth, precision, ann)
        result, skipped = defaults.rank_dataset(ws, data, spec, options, compute, output, overwrite, split)
    else:
        opt.refuse(context, ("data", "split"), "has no say in stores that are given", "leave out the stores")
        first = _store(sketches)
        second = _store(photos) if photos else first
        relation = defaults.can_relate(first)
        options = defaults.match_options(by, relation, shortlist, ignore_same, center, depth, precision, ann)
        if options.by == "ret":
            opt.refuse(context, ("precision",), "has no say in [Ret] that is there", "leave it out, or --by cascade")
        # the stores name their model: only one that is typed, not a default from elsewhere, takes its place
        chosen = ModelSpec.parse(model) if model and opt.typed(context, "model") else None
        result, skipped = defaults.match_stores(ws, first, second, options, compute, chosen, output, overwrite), []
    if dry_run or not part_of.is_main or not result.path.is_file():  # a shard may have no rows
        return
    if output_format:
        print_hits(result.path, top, output_format)
        end(skipped)
        return
    if sys.stdout.isatty() and console.is_watched() and not as_json:
        show_hits(result.path, top)
    hint = f"zse evaluate {shlex.quote(str(result.path))}" if sketches is None else ""
    finish(result.path, result.fresh, skipped, as_json, hint)


def _store(text: str) -> Path:
    """The path of a feature store; a picture or a folder is told its way."""
    from zsecli.images.formats import SUFFIXES

    path = opt.store_path(text)
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        raise StoreError(
            f"{path}: holds pictures, where a feature store is needed", f"zse embed {shlex.quote(str(path))} makes one"
        )
    return path
