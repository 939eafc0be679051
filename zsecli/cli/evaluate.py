"""`zse evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, read_store_path, reject_options
from zsecli.cli.callbacks import choice
from zsecli.cli.results import end, print_lines
from zsecli.errors import UsageError
from zsecli.runtime import console

if TYPE_CHECKING:
    from zsecli.evaluate.report_model import Evaluation


def evaluate(
    context: typer.Context,
    ranking: Annotated[
        str | None,
        typer.Argument(
            metavar="RANKING",
            help="Ranking store, or - for its path on stdin. Default: the data set's, made first if need be.",
        ),
        INPUT,
    ] = None,
    split: opt.Split = "zs-inter",
    train_data: Annotated[
        str | None,
        typer.Option(
            "--train-data",
            metavar="NAME[:PARTITION]",
            help="For zs-cross: the prepared data set that the model was trained on, and which of its splits if that "
            "is not its own, as sketchy:21; a second report leaves out the classes that it saw there. "
            "Default: what the checkpoint says.",
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
            help="Another model, or its ranking: shown side by side, with a paired test by classes or objects. May be "
            "given again.",
        ),
        INPUT,
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Show what papers report on this split, if that is known.")
    ] = False,
    per_class: Annotated[bool, typer.Option("--per-class", help="Show every class too.")] = False,
    trec: Annotated[
        Path | None,
        typer.Option(
            "--trec",
            metavar="FOLDER",
            help="Write TREC run and qrels files of the (first) ranking there, for other tools.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            help="Draw a contact sheet of the (first) ranking there: queries with their first photos, hits and misses "
            "marked.",
        ),
    ] = None,
    sheet_queries: Annotated[
        int, typer.Option("--sheet-queries", metavar="N", min=1, max=200, help="Queries on the sheet.")
    ] = 12,
    sheet_order: Annotated[
        str,
        choice(
            "--sheet-order",
            ("spread", "worst", "best"),
            "Which queries: spread over the classes, or the worst or best of each class.",
        ),
    ] = "spread",
    explanations: Annotated[
        bool,
        typer.Option(
            "--explanations",
            help="Test the explanations of the (first) ranking too: deletion and insertion curves, and how well "
            "strokes are located where the ground truth is known (PCK), beside controls.",
        ),
    ] = False,
    explanation_pairs: Annotated[
        int, typer.Option("--explanation-pairs", metavar="N", min=1, help="Pairs to test, evenly spread.")
    ] = 100,
    aligned: Annotated[
        str | None,
        typer.Option(
            "--aligned",
            metavar="FAMILY",
            help="For --explanations: sketches and photos of one object in this family are the same drawing, pixel on "
            "pixel, which is the ground truth. Default: photos and their own outlines.",
        ),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(
            "--keypoints",
            metavar="FILE.csv",
            help="For --explanations: marked pairs too, with the columns photo, sketch, XA, YA, XB, YB (PSC6K).",
        ),
        INPUT,
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            "--backbone-weights",
            metavar="FILE",
            help="For --explanations: the backbone's weights before training, for a control.",
        ),
        INPUT,
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.json|.csv|.md",
            help="Write the report there too: JSON with every query in it, the means as CSV, or Markdown.",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    as_json: opt.Json = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the means as CSV, one row per metric.")] = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    workers: opt.Workers = 0,
    precision: opt.Precision = "fp32",
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
      zse evaluate --sheet sheet.png --sheet-order worst
      zse evaluate --explanations

    Means are over queries, with a 95 % interval for the choice of classes (or of objects, where the sketch's own photo
    is the target). Only pictures of unseen classes count.
    The options from --data to --center choose the default ranking; a given one was made with its own.
    """
    from zsecli.model.spec import ModelSpec
    from zsecli.stages import evaluate as stage
    from zsecli.stages.defaults import Compute

    if as_json and as_csv:
        raise UsageError("--json and --csv both say how to print", "leave out one; -o writes another format to a file")
    if not explanations:
        only = ("explanation_pairs", "aligned", "keypoints", "backbone_weights")
        reject_options(context, only, "has no effect without --explanations", "add --explanations")
    if ranking is not None:
        reject_options(
            context,
            ("data", "model", "by", "shortlist", "ignore_same", "center", "precision"),
            "has no effect on a ranking that is given",
            "leave out the ranking, or make another one with zse match",
        )
    test = stage.ExplanationTest(
        pairs=explanation_pairs, aligned=aligned, keypoints=keypoints, backbone_weights=backbone_weights
    )
    request = stage.EvaluateRequest(
        ranking=read_store_path(ranking) if ranking is not None else None,
        against=[Path(text) if text.endswith(".h5") else ModelSpec.parse(text) for text in against or []],
        split=split,
        train_data=train_data,
        data=data,
        model=ModelSpec.parse(model) if model and ranking is None else None,
        by=by,
        shortlist=shortlist,
        ignore_same=ignore_same,
        center=center,
        with_published=compare,
        per_class=per_class,
        explanations=test if explanations else None,
        output=output,
        trec=trec,
        sheet=sheet,
        sheet_queries=sheet_queries,
        sheet_order=sheet_order,
        overwrite=overwrite,
        seed=seed,
        compute=Compute(device=device, batch_size=batch_size, workers=workers, precision=precision),
        dry_run=dry_run,
        workspace=workspace,
        protected=input_files(context),
    )
    result = stage.run(request, progress=console.show_progress)
    print_lines(result.plan)
    if result.evaluation is not None:
        _print(result.evaluation, per_class, as_json, as_csv)
        end(result.skipped)


def _print(evaluation: Evaluation, per_class: bool, as_json: bool, as_csv: bool) -> None:
    """Print an evaluation: as JSON or CSV, as tables on a terminal, else as Markdown."""
    from zsecli.render import report

    if as_csv:
        for note in dict.fromkeys(note for ranking in evaluation.reports for note in ranking.notes):
            console.print_notice(note)  # the CSV has no place for them
        print(report.format_csv(evaluation), end="")
    elif as_json:
        print(report.format_json(evaluation, with_queries=False), end="")
    elif sys.stdout.isatty():
        report.print_tables(evaluation, per_class)
    else:
        print(report.format_markdown(evaluation, per_class), end="")
