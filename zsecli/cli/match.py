"""`zse match`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, read_store_path, reject_options, was_typed
from zsecli.cli.callbacks import choice
from zsecli.cli.results import end, finish, print_lines
from zsecli.errors import StoreError
from zsecli.runtime import console

FORMATS = ("tsv", "json")


def match(
    context: typer.Context,
    sketches: Annotated[
        str | None,
        typer.Argument(
            metavar="SKETCHES",
            help="Feature store with the sketches, or - for its path on stdin. Default: the data set's.",
        ),
        INPUT,
    ] = None,
    photos: Annotated[
        str | None,
        typer.Argument(metavar="PHOTOS", help="Feature store with the photos, or -. Default: the same store."),
        INPUT,
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
            help="Photos to keep per query; 0 keeps all, which most metrics of evaluate need.",
        ),
    ] = 0,
    ann: Annotated[
        bool,
        typer.Option(
            "--ann",
            help="Find the shortlist approximately, for a gallery beyond memory, and keep no other photo; zse inspect "
            "reports its recall. Needs the extra ann.",
        ),
    ] = False,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="Hits to show per query, on a terminal or with --format.")
    ] = 5,
    output_format: Annotated[
        str | None,
        choice(
            "--format",
            FORMATS,
            "Print the top hits instead of the path: tsv (query, rank, score, photo) or json (one object per line).",
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
    from zsecli.stages import match as stage
    from zsecli.stages.defaults import Compute

    if output_format:
        reject_options(context, ("shard",), "has no hits to print before all are merged", "leave out --format")
    shard_of_process = context.with_resource(current_shard(shard))
    sketch_store = photo_store = None
    # feature stores name their model, which a default from elsewhere does not replace
    needs_model = sketches is None or was_typed(context, "model")
    spec = ModelSpec.parse(model) if model and needs_model else None
    if sketches is not None:
        reject_options(context, ("data", "split"), "cannot be combined with feature stores", "leave out the stores")
        sketch_store = _feature_store(sketches)
        photo_store = _feature_store(photos) if photos else None
        by = by or stage.default_rule(stage.has_relation_features(sketch_store))
        if by == "ret":
            reject_options(context, ("precision",), "has no effect on stored [Ret]", "leave it out, or --by cascade")
    request = stage.MatchRequest(
        sketches=sketch_store,
        photos=photo_store,
        data=data,
        split=split,
        model=spec,
        by=by,
        shortlist=shortlist,
        ignore_same=ignore_same,
        center=center,
        depth=depth,
        ann=ann,
        compute=Compute(
            device=device, batch_size=batch_size, workers=workers, precision=precision, shard=shard_of_process
        ),
        output=output,
        overwrite=overwrite,
        dry_run=dry_run,
        workspace=workspace,
        protected=input_files(context),
    )
    result = stage.run(request, progress=console.show_progress)
    print_lines(result.plan)
    if dry_run or not shard_of_process.is_main or not result.path.is_file():  # a shard may have no rows
        return
    if output_format:
        print_hits(result.path, top, output_format)
        end(result.skipped)
        return
    if sys.stdout.isatty() and console.is_watched() and not as_json:
        show_hits(result.path, top)
    hint = f"zse evaluate {shlex.quote(str(result.path))}" if sketches is None else ""
    finish(result.path, result.fresh, result.skipped, as_json, hint)


def _feature_store(text: str) -> Path:
    """The path of a feature store, which `-` reads from stdin.

    Raises:
        StoreError: it is a picture or a folder, which must be embedded first.
    """
    from zsecli.images.formats import SUFFIXES

    path = read_store_path(text)
    if path.is_dir() or path.suffix.lower() in SUFFIXES:
        raise StoreError(
            f"{path}: holds pictures, where a feature store is needed", f"zse embed {shlex.quote(str(path))} makes one"
        )
    return path
