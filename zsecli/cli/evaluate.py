"""`zse evaluate`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from zsecli import console
from zsecli.cli import options as opt
from zsecli.cli.results import end
from zsecli.workspace import Workspace


def evaluate(
    context: typer.Context,
    ranking: Annotated[
        str | None,
        typer.Argument(
            metavar="RANKING",
            help="Ranking store, or - for its path on stdin. Default: the data set's, ranked first where that is "
            "still to do.",
        ),
    ] = None,
    split: Annotated[
        str,
        typer.Option(
            "--split",
            metavar="zs-inter|zs-intra",
            help="zs-inter: same class. zs-intra: the sketch's own photo, within its class and among all.",
        ),
    ] = "zs-inter",
    data: opt.Data = None,
    model: opt.Model = None,
    by: opt.By = None,
    shortlist: opt.Shortlist = 100,
    ignore_same: opt.IgnoreSame = None,
    center: opt.Center = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show every class too.")] = False,
    trec: Annotated[
        Path | None,
        typer.Option("--trec", metavar="FOLDER", help="Write TREC run and qrels files there, for other tools."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.json", help="Write the whole report, every query in it, as JSON."),
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = 32,
    workers: opt.Workers = 0,
    dry_run: opt.DryRun = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Measure a ranking, under every metric's full name.

    \b
      zse evaluate
      zse evaluate --split zs-intra --by ret --ignore-same family
      zse evaluate ranking.h5 --json
      zse match --by ret --center | zse evaluate -

    Means are over queries, with a 95 % bootstrap interval. Only pictures of unseen classes count.
    The options from --data to --center choose the default ranking; a given one was made with its own.
    """
    from zsecli import pipeline
    from zsecli.evaluate import evaluate as stage
    from zsecli.evaluate import trec as trec_files
    from zsecli.evaluate.report import markdown, show, write_json

    stage.check_split(split)
    ws = Workspace(workspace)
    skipped: list[tuple[str, str]] = []
    if ranking is not None:
        opt.refuse(
            context,
            ("data", "model", "by", "shortlist", "ignore_same", "center"),
            "has no say in a ranking that is given",
            "leave out the ranking, or make another one with zse match",
        )
        store = opt.store_path(ranking)
        opt.apart(output, store)
    else:
        spec = pipeline.model_of(ws, model)
        options = pipeline.match_options(by, spec.has_relation, shortlist, ignore_same, center, 0)
        compute = pipeline.Compute(device, batch_size, workers, dry_run)
        result, skipped = pipeline.rank_dataset(ws, data, spec, options, compute)
        store = result.path
    if dry_run:
        console.plan(f"to evaluate {store} under {split}")
        return
    report = stage.run(store, split, seed=seed)
    if output:
        write_json(report, output, overwrite)
    if trec:
        for part in report.protocols:
            trec_files.write(store, part.protocol, trec, overwrite)
    if as_json:
        print(json.dumps(report.to_dict(queries=False), ensure_ascii=False))
    elif sys.stdout.isatty():
        show(report, per_class)
    else:
        print(markdown(report, per_class))
    end(skipped)
