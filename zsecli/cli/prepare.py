"""`zse prepare`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli import console
from zsecli.cli import options as opt
from zsecli.cli.results import finish
from zsecli.errors import StoreError, UsageError
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.store.dataset import Dataset

SOURCES = ("folder", "demo")


def prepare(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="|".join(SOURCES),
            help="folder: a tree or manifest of your own. demo: the shipped pictures.",
            callback=opt.one_of(*SOURCES),
        ),
    ],
    root: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The tree (sketch/CLASS/*, photo/CLASS/*) or the CSV manifest."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="NAME",
            help="What to call the data set. Default: the folder's name, or the value of --where set=.",
        ),
    ] = None,
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
    unseen: Annotated[
        Path | None,
        typer.Option(
            "--unseen",
            metavar="FILE",
            help="A file with the unseen classes of a tree, one a line. Default: all are unseen.",
        ),
    ] = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    dry_run: opt.DryRun = False,
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """List and hash a data set's pictures, once, with their classes and parts.

    \b
      zse prepare demo
      zse prepare folder pictures/
      zse prepare folder manifest.csv --where set=emoji

    In a tree, an instance is what precedes `__` in a file's name; else a photo's whole name, and for a
    sketch what precedes the last `-`, if that is a photo's name or a number follows.
    A manifest has the columns path, modality (sketch, photo) and class, and may have instance,
    family and split (seen, unseen); paths are relative to its folder.
    """
    from zsecli.data import prepare as stage

    if source == "folder" and root is None:
        raise UsageError("prepare folder needs the folder, or the manifest", "zse prepare folder pictures/")
    if source == "demo" and root is not None:
        raise UsageError(f"prepare demo takes no path, but got {root}", f"zse prepare folder {shlex.quote(str(root))}")
    if root is not None and not root.exists():
        raise UsageError(f"{root}: no such folder or manifest", "zse prepare folder --help shows the shape")
    place = root or stage.demo_root() / "manifest.csv"
    if place.is_file():
        opt.refuse(context, ("instance_rule", "unseen"), "has no say in a manifest", "it has columns for that")
    else:
        opt.refuse(context, ("where",), "has no say in a tree", "it picks the rows of a manifest")
    chosen = _pairs(where or [])
    default = (
        "demo"
        if root is None
        else chosen.get("set") or (place.resolve().parent if place.is_file() else place.resolve()).name
    )
    name, ws = name or default, Workspace(workspace)
    target = output or ws.dataset(name)
    classes = _classes(unseen) if unseen else None
    if output is None and not overwrite:
        _same_place(target, name, place)
    else:
        opt.apart(output, place)
    if dry_run:
        console.plan(f"to list and hash the pictures of {place} as {name!r}, into {target}")
        return
    with console.progress("hashing") as progress:
        result = stage.run(
            place,
            target,
            name,
            rule=instance_rule,
            where=chosen,
            unseen=classes,
            overwrite=overwrite or output is None,
            progress=progress,
        )
    if not result.fresh:
        console.note(f"up to date: {target}")
        ws.make_newest(target)
    console.note(f"{name}: {_summary(result.dataset)}")
    hint = "zse evaluate --model frozen:tf_efficientnet_lite0" if output is None else f"zse embed {target}"
    finish(target, result.fresh, result.skipped, as_json, hint)


def _same_place(target: Path, name: str, place: Path) -> None:
    """UsageError where the workspace's data set of this name is another one: it would be lost unnoticed."""
    from zsecli.store.dataset import read_dataset

    try:
        old = read_dataset(target)
    except StoreError:
        return
    source = str(place.resolve())
    if old.name != name or (old.header is not None and old.header.provenance.get("source") != source):
        raise UsageError(
            f"{target}: holds the data set {old.name!r} of {old.root}",
            "pass --name to keep both, or --overwrite to replace it",
        )


def _classes(file: Path) -> list[str]:
    try:
        return [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"--unseen {file}: {why}", "a text file with the name of a class a line") from error


def _summary(dataset: Dataset) -> str:
    items, report = dataset.items, dataset.report
    counts = {
        "sketches": (items.modality == 0).sum(),
        "photos": (items.modality == 1).sum(),
        "classes": len(items.label.names),
        "instances": len(items.instance.names),
        "repeated files": report["repeated_files"],
        "files that are no pictures": report["not_pictures"],
    }
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _pairs(where: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in where:
        column, equals, value = text.partition("=")
        if not equals or not column:
            raise UsageError(f"--where {text!r}: needs COLUMN=VALUE", "--where set=emoji")
        if column in pairs:
            raise UsageError(f"--where {text!r}: {column} must be {pairs[column]!r} already", "one value a column")
        pairs[column] = value
    return pairs
