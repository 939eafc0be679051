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
from zsecli.errors import UsageError
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
    split: opt.Split = "zs-inter",
    train_data: Annotated[
        str | None,
        typer.Option(
            "--train-data",
            metavar="NAME",
            help="Of zs-cross: the prepared data set that the model was trained on; the classes that it saw there are "
            "left out in a report of their own.",
        ),
    ] = None,
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

    _check_split(split, train_data)
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
        result, skipped = pipeline.rank_dataset(ws, data, spec, options, compute, split=split)
        store = result.path
    if dry_run:
        console.plan(f"to evaluate {store} under {split}")
        return
    trained = pipeline.trained_classes(ws, train_data) if train_data else None
    report = stage.run(store, split, trained=trained, seed=seed)
    if output:
        write_json(report, output, overwrite)
    if trec:
        for part in report.protocols:
            trec_files.write(store, part.protocol, trec, overwrite, trained=report.settings.get("seen_in_training", ()))
    if as_json:
        print(json.dumps(report.to_dict(queries=False), ensure_ascii=False))
    elif sys.stdout.isatty():
        show(report, per_class)
    else:
        print(markdown(report, per_class))
    end(skipped)


def _check_split(split: str, train_data: str | None) -> None:
    """UsageError where there is no such split, or --train-data does not go with it."""
    from zsecli.data.splits import Split

    cross = Split.parse(split).family.startswith("zs-cross")
    if cross and train_data is None:
        hint = f"zse evaluate --split {split} --train-data sketchy --data tuberlin"
        raise UsageError(f"--split {split} needs --train-data, the data set that the model was trained on", hint)
    if train_data is not None and not cross:
        raise UsageError(f"--train-data has no say in --split {split}", "it is for zs-cross and zs-cross-all")
