"""`zse prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, was_typed
from zsecli.cli.callbacks import one_of
from zsecli.cli.results import finish, print_lines, show_report
from zsecli.errors import UsageError
from zsecli.runtime import console
from zsecli.vocabulary import DATA_SOURCES


def prepare(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(metavar="SOURCE", help=f"{DATA_SOURCES.describe()}.", callback=one_of(DATA_SOURCES)),
    ],
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The same as --root; for folder the tree, or the CSV manifest."),
        INPUT,
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="FOLDER", help="Where a benchmark is. Default: ./datasets/NAME and its usual variants."
        ),
        INPUT,
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What to call the data set. Default: the benchmark's or the folder's name, or the value of "
            "--where set=.",
        ),
    ] = None,
    lists: Annotated[
        Path | None,
        typer.Option(
            "--lists",
            metavar="FOLDER",
            help="Take the split from the published train/zero file lists there. Default: the split by classes.",
        ),
        INPUT,
    ] = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop",
            metavar="FLAG",
            help="Leave out pictures with this flag: blank, duplicate; of sketchy also repeated (originals again among "
            "the extended photos), error, ambiguous, pose, context, testset. May be given again.",
        ),
    ] = None,
    variant: Annotated[
        str | None,
        typer.Option("--variant", metavar="tx_...", help="Which rendering of sketchy. Default: tx_000000000000."),
    ] = None,
    originals: Annotated[
        bool, typer.Option("--originals", help="Of sketchy the original photos alone, without the extended ones.")
    ] = False,
    instance_rule: Annotated[
        str,
        typer.Option(
            "--instance-rule",
            metavar="RULE",
            help="How a file's name in a tree says its instance: auto, underscores, dash, stem, none, or a regular "
            "expression with a group.",
        ),
    ] = "auto",
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Rows of a manifest to keep.")
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="NAME=COLUMN",
            help="Where a manifest calls a column otherwise: class=concept takes the classes from `concept`.",
        ),
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option(
            "--unseen",
            metavar="FILE",
            help="A file with the unseen classes of a tree, one a line. Default: all are unseen.",
        ),
        INPUT,
    ] = None,
    output: opt.Output = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace what -o names, if it holds something else, and read every picture again, also those whose "
            "size and time did not change.",
        ),
    ] = False,
    dry_run: opt.DryRun = False,
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """List and hash a data set's pictures, once, with their classes and splits.

    \b
      zse prepare sketchy
      zse prepare tuberlin --root /data/TUBerlin
      zse prepare folder pictures/
      zse prepare folder manifest.csv --where set=emoji

    docs/benchmarks.md says how each benchmark is laid out on disk. In a tree of your own, sketch/CLASS/* and
    photo/CLASS/*, an instance is what precedes `__` in a file's name, unless sketches and photos have equal whole
    names; else a photo's whole name, and for a sketch what precedes the last `-`, if that is a photo's name or a number
    follows. Names that differ in capitals, blanks or the form of their letters are taken for one, and reported.
    A manifest has the columns path, modality (sketch, photo) and class, and may have instance,
    family and split (seen, unseen); paths are relative to its folder.
    """
    from zsecli.data.sources.options import SourceOptions
    from zsecli.stages import prepare as stage

    if path is not None and root is not None:
        raise UsageError(f"prepare got the folder twice, {path} and --root {root}", "one of them is enough")
    pictures = stage.find_pictures(source, path or root)
    for option, parameter in SOURCE_PARAMETERS.items():
        if was_typed(context, parameter):
            stage.check_option(option, source, pictures)
    given: dict[str, Any] = {
        "lists": lists,
        "variant": variant,
        "originals": originals,
        "instance_rule": instance_rule,
        "where": _parse_pairs("--where", where or []),
        "columns": _parse_pairs("--column", column or []),
        "unseen": stage.read_class_names(unseen) if unseen else None,
    }
    accepted = DATA_SOURCES.load(source).options_for(pictures)  # others may come from --config, for all sources
    request = stage.PrepareRequest(
        source=source,
        path=path or root,
        name=name,
        options=SourceOptions(**{option: value for option, value in given.items() if option in accepted}),
        drop=tuple(drop or ()),
        output=output,
        overwrite=overwrite,
        dry_run=dry_run,
        workspace=workspace,
        protected=input_files(context),
    )
    result = stage.run(request, progress=console.show_progress)
    if result.dataset is None:
        print_lines(result.plan)
        return
    if console.is_watched() and not as_json:
        show_report(result.dataset)
    report = result.dataset.report
    hint = f"zse embed {result.path}" if output else "zse evaluate --model frozen:tf_efficientnet_lite0"
    finish(
        result.path,
        result.fresh,
        result.skipped,
        as_json,
        hint,
        passed_over=report.get("passed_over", {}),
        report=report,
    )


SOURCE_PARAMETERS = {
    "lists": "lists",
    "variant": "variant",
    "originals": "originals",
    "instance_rule": "instance_rule",
    "where": "where",
    "columns": "column",
    "unseen": "unseen",
}
"""Option of a data source -> the parameter that sets it."""


def _parse_pairs(option: str, texts: list[str]) -> dict[str, str]:
    """NAME=VALUE texts as a dictionary; UsageError where one has no equals sign or repeats a name."""
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r}: needs an equals sign", "--where set=emoji, --column class=concept")
        if name in pairs:
            raise UsageError(f"{option} {text!r}: {name} is {pairs[name]!r} already", "one value a column")
        pairs[name] = value
    return pairs
