"""`zse evaluate`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.cli.results import end
from zsecli.errors import UsageError
from zsecli.model.spec import ModelSpec
from zsecli.runtime import console
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.data.splits import Split


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
            metavar="NAME[:PARTITION]",
            help="Of zs-cross: the prepared data set that the model was trained on, and which of its splits where that "
            "is not its own, as sketchy:21; the classes that it saw there are left out in a report of their own. "
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
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Put what papers report on this split beside it, where that is known.")
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
        opt.choice(
            "--sheet-order",
            ("spread", "worst", "best"),
            "Which: spread over the classes, or those of each class that are found worst or best.",
        ),
    ] = "spread",
    explanations: Annotated[
        bool,
        typer.Option(
            "--explanations",
            help="Test the explanations of the (first) ranking too: deletion and insertion curves, and how well "
            "strokes are found where the truth is known (PCK), beside controls.",
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
            help="Of --explanations: sketches and photos of one object in this family are the same drawing, pixel on "
            "pixel, so the truth is known there. Default: of photos and their own outlines.",
        ),
    ] = None,
    keypoints: Annotated[
        Path | None,
        typer.Option(
            "--keypoints",
            metavar="FILE.csv",
            help="Of --explanations: marked pairs too, with the columns photo, sketch, XA, YA, XB, YB (PSC6K).",
        ),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            "--backbone-weights",
            metavar="FILE",
            help="Of --explanations: the backbone's weights before training, for a control.",
        ),
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
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the means as CSV, a row a metric.")] = False,
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

    Means are over queries, with a 95 % interval for the choice of classes (of objects, where the sketch's own photo is
    asked). Only pictures of unseen classes count.
    The options from --data to --center choose the default ranking; a given one was made with its own.
    """
    from zsecli.evaluate.compare import compare_rankings
    from zsecli.evaluate.evaluate_ranking import evaluate_ranking
    from zsecli.evaluate.published import find_published
    from zsecli.evaluate.report_model import Evaluation
    from zsecli.render import contact_sheet as sheets
    from zsecli.render import trec as trec_files
    from zsecli.render.report import (
        check_report_path,
        format_csv,
        format_json,
        format_markdown,
        print_tables,
        write_report,
    )
    from zsecli.stages import defaults

    asked = _split(split, train_data, data, ranking)
    if as_json and as_csv:
        raise UsageError("--json and --csv both say how to print", "leave out one; -o writes another format to a file")
    if output:
        check_report_path(output)
    if sheet:
        sheets.check_sheet_path(sheet, overwrite)
    for file in (output, sheet):  # before anything is computed; once more when it is known which pictures are read
        outputs.apart(context, file)
    if not explanations:
        only = ("explanation_pairs", "aligned", "keypoints", "backbone_weights")
        opt.refuse(context, only, "is for --explanations", "add --explanations")
    for name, given in (("--keypoints", keypoints), ("--backbone-weights", backbone_weights)):
        if given is not None and not given.is_file():
            raise UsageError(f"{name} {given}: no such file", "look at its path")
    if keypoints:
        from zsecli.explain.keypoints import read

        read(keypoints)  # a fault in it is told before anything is computed
    ws = Workspace(workspace)
    compute = defaults.Compute(device, batch_size, workers, precision, dry_run=dry_run)
    chosen: list[Path | ModelSpec] = [
        _known(Path(t)) if t.endswith(".h5") else ModelSpec.parse(t) for t in against or []
    ]
    if ranking is not None:
        opt.refuse(
            context,
            ("data", "model", "by", "shortlist", "ignore_same", "center", "precision"),
            "has no say in a ranking that is given",
            "leave out the ranking, or make another one with zse match",
        )
        if models := [one.text for one in chosen if isinstance(one, ModelSpec)]:
            raise UsageError(f"--against {models[0]}: the ranking is given, so this must be one too", "FILE.h5")
        chosen.insert(0, _known(opt.store_path(ranking)))
    else:
        chosen.insert(0, defaults.model_of(ws, model))
        if explanations and isinstance(chosen[0], ModelSpec) and not chosen[0].has_relation:
            raise UsageError(f"--explanations: {chosen[0].text} has no relation network", "--model small")
    trained = None
    if train_data:
        trained = defaults.trained_classes(ws, train_data, dry_run)
    elif asked.protocol.startswith("zs-cross"):
        trained = defaults.seen_by([one for one in chosen if isinstance(one, ModelSpec)])
        if not trained:
            hint = f"zse evaluate --split {split} --train-data sketchy --data tuberlin"
            raise UsageError(f"--split {split} needs --train-data: the model does not say what it saw", hint)
    stores, skipped = list[Path](), list[tuple[str, str]]()
    for one in chosen:
        if isinstance(one, ModelSpec):
            options = defaults.match_options(by, one.has_relation, shortlist, ignore_same, center, 0, precision, False)
            result, more = defaults.rank_dataset(ws, data, one, options, compute, split=split)
            one, skipped = result.path, [*dict.fromkeys(skipped + more)]
        if one in stores:
            raise UsageError(f"--against {one}: is a ranking that is there already", "name another model or ranking")
        stores.append(one)
    if dry_run:
        console.print_plan(f"to evaluate {', '.join(map(str, stores))} under {asked.name}")
        return
    reports = [evaluate_ranking(store, split, trained=trained) for store in stores]
    files = [output, sheet]
    if trec:
        files += [file for part in reports[0].protocols for file in trec_files.trec_paths(part.protocol, trec)]
    if any(file and file.exists() for file in files):  # a big ranking names many
        inputs = [*stores, *outputs.pictures_of(*stores)]
        for file in files:
            outputs.apart(context, file, inputs)
    if train_data and reports[0].provenance["data"] == train_data.partition(":")[0]:
        raise UsageError(f"--train-data {train_data}: is the data set that is asked", "zs-cross asks another one")
    benchmark = reports[0].provenance["benchmark"]
    figures = find_published(benchmark) if compare and asked.protocol == "zs-inter" and benchmark else None
    if compare and figures is None:
        console.print_warning("no published figures are known for this data set and split")
    tested = None
    if explanations:
        from zsecli.explain import assess

        with console.show_progress("explanations") as progress:
            tested = assess.run(
                stores[0],
                pairs=explanation_pairs,
                aligned=aligned,
                marked=keypoints,
                backbone_weights=backbone_weights,
                device=device,
                seed=seed,
                progress=progress,
            )
    compared = compare_rankings(reports, seed) if len(reports) > 1 else []
    found = Evaluation(reports=reports, comparisons=compared, published=figures, explanations=tested, seed=seed)
    if output:
        write_report(found, output, per_class, overwrite)
    if trec:
        known = reports[0].settings.get("seen_in_training", ())
        for part in reports[0].protocols:
            trec_files.write_trec(stores[0], part.protocol, trec, overwrite, seen_classes=known)
    if as_csv:  # which has no place for them
        for note in dict.fromkeys(note for report in reports for note in report.notes):
            console.print_notice(note)
    if as_csv or as_json or not sys.stdout.isatty():
        text = (
            format_csv(found)
            if as_csv
            else format_json(found, with_queries=False)
            if as_json
            else format_markdown(found, per_class)
        )
        print(text, end="")
    else:
        print_tables(found, per_class)
    if sheet:
        how = sheets.SheetOptions(queries=sheet_queries, order=cast("sheets.Order", sheet_order))
        known = reports[0].settings.get("seen_in_training", ())
        measured = next(report for report in reports[0].protocols if report.per_query)
        sheets.write_contact_sheet(stores[0], measured, sheet, how, known)
        console.print_info(f"contact sheet: {sheet}")
    end(skipped)


def _split(text: str, train_data: str | None, data: str | None, ranking: str | None) -> Split:
    """The split; UsageError where there is none of that name, or the other options do not go with it."""
    from zsecli.data.splits import Split

    split = Split.parse(text)
    if split.protocol.startswith("zs-cross"):
        hint = f"zse evaluate --split {text} --train-data sketchy --data tuberlin"
        if data is None and ranking is None:
            raise UsageError(f"--split {text} needs --data, the data set that is asked", hint)
        if train_data is not None and data == train_data.partition(":")[0]:
            raise UsageError(f"--train-data {train_data}: is the data set that is asked", hint)
    elif train_data is not None:
        raise UsageError(f"--train-data has no say in --split {text}", "it is for zs-cross and zs-cross-all")
    return split


def _known(ranking: Path) -> Path:
    """A ranking that can be read: better to know before others are made."""
    from zsecli.store.ranking import open_ranking

    with open_ranking(ranking):
        return ranking
