"""`zse prepare`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.cli.results import finish, show_report
from zsecli.errors import StoreError, UsageError
from zsecli.runtime import console
from zsecli.runtime.textfiles import read_lines
from zsecli.workspace import Workspace

SOURCES = ("sketchy", "tuberlin", "quickdraw", "shoe", "chair", "folder", "demo")


def prepare(
    context: typer.Context,
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help=f"{', '.join(SOURCES[:5])}: a benchmark. folder: a tree or manifest of your own. "
            "demo: the shipped pictures.",
            callback=opt.one_of(*SOURCES),
        ),
    ],
    path: Annotated[
        Path | None,
        typer.Argument(metavar="PATH", help="The same as --root; for folder the tree, or the CSV manifest."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(
            "--root", metavar="FOLDER", help="Where a benchmark lies. Default: ./datasets/NAME and its usual variants."
        ),
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
            help="Take the published train/zero file lists there for the split. Default: the split by classes.",
        ),
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
    ] = None,
    output: opt.Output = None,
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite",
            help="Replace what -o names, if it holds something else, and read every picture again, also those whose "
            "size and time are as they were.",
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

    docs/benchmarks.md says how each benchmark lies on disk. In a tree of your own, sketch/CLASS/* and photo/CLASS/*,
    an instance is what precedes `__` in a file's name, unless sketches and photos have equal whole names; else a
    photo's whole name, and for a sketch what precedes the last `-`, if that is a photo's name or a number follows.
    Names that differ in capitals, blanks or the form of their letters are one, and said.
    A manifest has the columns path, modality (sketch, photo) and class, and may have instance,
    family and split (seen, unseen); paths are relative to its folder.
    """
    from zsecli.stages import defaults

    if path is not None and root is not None:
        raise UsageError(f"prepare got the folder twice, {path} and --root {root}", "one of them is enough")
    place = _place(source, path or root)
    chosen, columns = _pairs("--where", where or []), _pairs("--column", column or [])
    if source in SOURCES[:5]:
        opt.refuse(
            context, ("instance_rule", "unseen", "where", "column"), f"has no say in {source}", "it is for a folder"
        )
        if source != "sketchy":
            opt.refuse(context, ("variant", "originals"), f"has no say in {source}", "it is for sketchy")
    else:
        opt.refuse(context, ("lists", "variant", "originals"), f"has no say in {source}", "it is for a benchmark")
        if place.is_file():
            opt.refuse(context, ("instance_rule", "unseen"), "has no say in a manifest", "it has columns for that")
        else:
            opt.refuse(context, ("where", "column"), "has no say in a tree", "it is for a manifest")
    folder = (place.resolve().parent if place.is_file() else place.resolve()).name
    name = name or (chosen.get("set") or folder if source == "folder" else source)
    for text in (name, str(place.resolve())):  # both are stored
        if not _is_text(text):
            raise UsageError(f"{text}: is a name in bytes that are not UTF-8", "rename the folder, or pass --name")
    ws = Workspace(workspace)
    target = output or ws.dataset(name)
    how = defaults.SourceOptions(
        source, place, lists, tuple(drop or ()), variant, originals, instance_rule, chosen, columns, _classes(unseen)
    )
    moved = output is None and not overwrite and _other_place(target, name, place)
    outputs.apart(context, output)
    if dry_run:
        console.print_plan(f"to list and hash the pictures of {place} as {name!r}, into {target}")
        return
    # what moved may be listed where it is now, but not replaced by another content
    may_replace = overwrite or (output is None and not moved)
    result = defaults.prepare(how, name, target, may_replace, ws.root, anew=overwrite)
    if not result.fresh:
        console.print_info(f"up to date: {target}")
        ws.make_newest(target)
    hint = "zse evaluate --model frozen:tf_efficientnet_lite0" if output is None else f"zse embed {target}"
    if console.is_watched() and not as_json:
        show_report(result.dataset)
    report = result.dataset.report
    finish(
        target, result.fresh, result.skipped, as_json, hint, passed_over=report.get("passed_over", {}), report=report
    )


def _is_text(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # Python's stand-ins for bytes that are no text
        return False
    return True


def _place(source: str, given: Path | None) -> Path:
    """The folder, or the manifest, that a source lies in."""
    from zsecli.data.sources.demo import demo_folder
    from zsecli.data.sources.registry import find_root

    if source == "folder" and given is None:
        raise UsageError("prepare folder needs the folder, or the manifest", "zse prepare folder pictures/")
    if source == "demo" and given is not None:
        hint = f"zse prepare folder {shlex.quote(str(given))}"
        raise UsageError(f"prepare demo takes no path, but got {given}", hint)
    if given is not None and not given.exists():
        raise UsageError(f"{given}: no such folder or manifest", "zse prepare --help shows the shape")
    if source in SOURCES[:5]:
        return find_root(source, given)
    return given or demo_folder() / "manifest.csv"


def _other_place(target: Path, name: str, place: Path) -> bool:
    """Whether the workspace's data set of this name lay elsewhere, where it no longer is.

    Raises:
        UsageError: it is there still, so this is another one, and the first would be lost unnoticed.
    """
    from zsecli.store.dataset import read_dataset

    try:
        old = read_dataset(target)
    except StoreError:
        return False
    source = old.header.provenance.get("source") if old.header is not None else None
    if old.name == name and source == str(place.resolve()):
        return False
    if old.name == name and not os.path.isdir(old.root):
        return True
    raise UsageError(
        f"{target}: holds the data set {old.name!r} of {old.root}",
        "pass --name to keep both, or --overwrite to replace it",
    )


def _classes(file: Path | None) -> list[str] | None:
    if file is None:
        return None
    from zsecli.data.names import tidy_name

    try:
        return [name for line in read_lines(file) if (name := tidy_name(line))]
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"--unseen {file}: {why}", "a text file with the name of a class a line") from error


def _pairs(option: str, texts: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name:
            raise UsageError(f"{option} {text!r}: needs an equals sign", "--where set=emoji, --column class=concept")
        if name in pairs:
            raise UsageError(f"{option} {text!r}: {name} is {pairs[name]!r} already", "one value a column")
        pairs[name] = value
    return pairs
