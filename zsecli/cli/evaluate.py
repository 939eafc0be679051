"""`zse evaluate`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
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
    against: Annotated[
        list[str] | None,
        typer.Option(
            "--against",
            metavar="MODEL|RANKING.h5",
            help="Another model, or its ranking: shown side by side, with a paired bootstrap test. May be given again.",
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show what papers report on this split, where it is known.")
    ] = False,
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
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the means as CSV, a row a metric.")] = False,
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
    from zsecli.evaluate.compare import compare as compare_reports
    from zsecli.evaluate.published import published
    from zsecli.evaluate.report import (
        comparison_tables,
        csv_text,
        markdown,
        print_tables,
        published_table,
        show,
        write_json,
    )

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
    reports = [report]
    for text in against or []:
        other = Path(text)
        if not text.endswith(".h5"):
            if ranking is not None:
                raise UsageError(f"--against {text}: the ranking is given, so this must be one too", "FILE.h5")
            against_spec = pipeline.model_of(ws, text)
            how = pipeline.match_options(by, against_spec.has_relation, shortlist, ignore_same, center, 0)
            other_result, more = pipeline.rank_dataset(ws, data, against_spec, how, compute, split=split)
            other, skipped = other_result.path, skipped + more
        reports.append(stage.run(other, split, trained=trained, seed=seed))
    comparisons = compare_reports(reports, seed) if len(reports) > 1 else []
    figures = published(*pipeline.benchmark_of(ws, data, split)) if compare else []
    if compare and not figures:
        console.warn("no published figures are known for this data set and split")
    if output:
        write_json(report, output, overwrite)
    if trec:
        for part in report.protocols:
            trec_files.write(store, part.protocol, trec, overwrite, trained=report.settings.get("seen_in_training", ()))
    if as_csv:
        print(csv_text(reports), end="")
    elif as_json:
        said = report.to_dict(queries=False)
        if comparisons:
            said["against"] = [other.to_dict(queries=False) for other in reports[1:]]
            said["comparisons"] = [
                asdict(c) | {"against_first": [test._asdict() for test in c.against_first]} for c in comparisons
            ]
        if figures:
            said["published"] = [asdict(f) for f in figures]
        print(json.dumps(said, ensure_ascii=False))
    elif sys.stdout.isatty():
        show(report, per_class)
    else:
        print(markdown(report, per_class))
    if not (as_json or as_csv):
        titles = [f"{r.about['model']} {r.about['by']}{' centred' if r.about['center'] else ''}" for r in reports]
        print_tables(comparison_tables(titles, comparisons))
        print_tables([published_table(figures)] if figures else [])
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
