"""`zse prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli import console
from zsecli.cli import options as opt
from zsecli.cli.results import finish
from zsecli.errors import UsageError
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.store.dataset import Dataset

SOURCES = ("folder", "demo")


def prepare(
    source: Annotated[str, typer.Argument(help="folder: a tree or manifest of your own. demo: the shipped pictures.")],
    root: Annotated[
        Path | None, typer.Argument(help="The tree (sketch/CLASS/*, photo/CLASS/*) or the CSV manifest.")
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(
            "--name", help="What to call the data set. Default: the folder's name, or the value of --where set=."
        ),
    ] = None,
    instance_rule: Annotated[
        str,
        typer.Option(
            "--instance-rule",
            help="Instances by file name: auto, underscores, dash, stem, none, or a regular expression with a group.",
        ),
    ] = "auto",
    where: Annotated[
        list[str] | None, typer.Option("--where", metavar="COLUMN=VALUE", help="Rows of a manifest to keep.")
    ] = None,
    unseen: Annotated[
        Path | None,
        typer.Option("--unseen", help="A file with the unseen classes of a tree, one a line. Default: all are unseen."),
    ] = None,
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
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

    In a tree, an instance is what precedes `__` in a file's name, or the last `-` of a sketch's.
    A manifest has the columns path, modality (sketch, photo) and class, and may have instance,
    family and split (seen, unseen); paths are relative to its folder.
    """
    from zsecli.data import prepare as stage

    opt.choice(source, "source", SOURCES)
    if (root is None) == (source == "folder"):
        raise UsageError(
            "prepare folder needs the folder, or the manifest; prepare demo takes none", "zse prepare folder pictures/"
        )
    if root is not None and not root.exists():
        raise UsageError(f"{root}: no such folder or manifest", "zse prepare folder --help shows the shape")
    chosen = _pairs(where or [])
    place = root or stage.demo_root() / "manifest.csv"
    default = (
        "demo"
        if root is None
        else chosen.get("set") or (place.resolve().parent if place.is_file() else place.resolve()).name
    )
    name = name or default
    target = output or Workspace(workspace).dataset(name)
    classes = [line.strip() for line in unseen.read_text("utf-8").splitlines() if line.strip()] if unseen else None
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
    console.note(f"{name}: {_summary(result.dataset)}")
    finish(target, result.fresh, result.skipped, as_json, "zse evaluate --model frozen:tf_efficientnet_lite0")


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
    pairs = {}
    for text in where:
        column, equals, value = text.partition("=")
        if not equals or not column:
            raise UsageError(f"--where {text!r}: needs COLUMN=VALUE", "--where set=emoji")
        pairs[column] = value
    return pairs
