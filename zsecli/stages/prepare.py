"""The stage `prepare`: a data set on disk -> a dataset store."""

from __future__ import annotations

import dataclasses
import logging
import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsecli.data.dataset import Dataset
from zsecli.data.folder_walk import workspace_folders
from zsecli.data.names import tidy_name
from zsecli.data.sources import split_files
from zsecli.data.sources.base import Listing
from zsecli.data.sources.options import SourceOptions, flag_of
from zsecli.data.sources.source import DataSource
from zsecli.errors import StoreError, UsageError
from zsecli.runtime.textfiles import read_lines
from zsecli.stages.defaults import DEFAULT_WORKSPACE, ProgressBars, no_progress
from zsecli.stages.guards import reject_inputs
from zsecli.stages.prepare_listing import prepare_listing
from zsecli.store.dataset import read_dataset
from zsecli.vocabulary import DATA_SOURCES
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """Which data set to prepare, and how to read it."""

    source: str
    """Name of a data source (`zsecli.vocabulary.DATA_SOURCES`)."""
    path: Path | None = None
    """Its folder or manifest; None: the usual place of a benchmark."""
    name: str | None = None
    """What to call the data set; None: as the source or its folder is called."""
    options: SourceOptions = field(default_factory=SourceOptions)
    drop: Sequence[str] = ()
    """Flags whose pictures are left out."""
    output: Path | None = None
    """The dataset store; None: in the workspace."""
    overwrite: bool = False
    """Replace another data set at `output`, and read every picture again."""
    dry_run: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class PrepareResult:
    """The dataset store, or after a dry run what would be done."""

    path: Path
    name: str
    fresh: bool = False
    """Whether the store had to be written."""
    dataset: Dataset | None = None
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of pictures that cannot be used."""
    plan: list[str] = field(default_factory=list)
    """What a dry run found still to do."""


def run(request: PrepareRequest, *, progress: ProgressBars = no_progress) -> PrepareResult:
    """List and hash the pictures of a data set.

    Raises:
        UsageError: an option does not go with the source, or the target holds another data set.
        ZseError: the pictures are not where they should be, or none can be read.
    """
    workspace = Workspace(request.workspace)
    source: DataSource = DATA_SOURCES.load(request.source)
    path = find_pictures(request.source, request.path)
    _check_options(request, source, path)
    name = request.name or source.default_name(path, request.options)
    _check_is_text(name)
    _check_is_text(str(path.resolve()))
    target = request.output or workspace.dataset(name)
    reject_inputs(request.output, [path, *request.protected])
    has_moved = False
    if request.output is None and not request.overwrite:
        has_moved = _has_moved(target, name, path)
    if request.dry_run:
        plan = f"to list and hash the pictures of {path} as {name!r}, into {target}"
        return PrepareResult(path=target, name=name, plan=[plan])
    listing = _list_pictures(request, source, path, workspace)
    # a data set that moved may be listed where it is now, but not replaced by another content
    may_replace = request.overwrite or (request.output is None and not has_moved)
    with progress("reading") as bar:
        prepared = prepare_listing(
            listing,
            target,
            name,
            benchmark=request.source if source.is_benchmark else "",
            drop=tuple(request.drop),
            settings=_settings(path, request.options),
            overwrite=may_replace,
            anew=request.overwrite,
            progress=bar,
        )
    listing.passed.report()
    if not prepared.fresh:
        logger.info(f"up to date: {target}")
        workspace.make_newest(target)
    return PrepareResult(
        path=prepared.path, name=name, fresh=prepared.fresh, dataset=prepared.dataset, skipped=prepared.skipped
    )


def find_pictures(source: str, path: Path | None) -> Path:
    """The folder or manifest that a source reads.

    Raises:
        UsageError: there is no such source, or it takes no path or needs one. ZseError: nothing is there.
    """
    found: DataSource = DATA_SOURCES.load(source)
    if path is not None and not found.takes_path:
        hint = f"zse prepare folder {shlex.quote(str(path))}"
        raise UsageError(f"prepare {source} takes no path, but got {path}", hint)
    if path is not None and not path.exists():
        raise UsageError(f"{path}: no such folder or manifest", "zse prepare --help shows the shape")
    return found.find(path)


def read_class_names(file: Path) -> tuple[str, ...]:
    """The classes that a text file names, one a line; UsageError where it cannot be read."""
    try:
        return tuple(name for line in read_lines(file) if (name := tidy_name(line)))
    except (OSError, UnicodeDecodeError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"--unseen {file}: {why}", "a text file with the name of a class a line") from error


def check_option(name: str, source: str, path: Path) -> None:
    """Check that a field of `SourceOptions` matters to a source; UsageError where it has no effect."""
    found: DataSource = DATA_SOURCES.load(source)
    accepted = found.options_for(path)
    if name in accepted:
        return
    flags = ", ".join(sorted(map(flag_of, accepted))) or "none"
    raise UsageError(f"{flag_of(name)} has no effect with {source} {path}", f"options of {source} there: {flags}")


def _check_options(request: PrepareRequest, source: DataSource, path: Path) -> None:
    for name in request.options.changed():
        check_option(name, request.source, path)


def _check_is_text(name: str) -> None:
    """Check that a name can be stored: UsageError for bytes that are not UTF-8, for which Python has stand-ins."""
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{name}: is a name in bytes that are not UTF-8", "rename the folder, or pass --name"
        ) from None


def _has_moved(target: Path, name: str, path: Path) -> bool:
    """Whether the workspace's data set of this name was elsewhere, where it no longer is.

    Raises:
        UsageError: it is still there, so this is another data set, and the first would be lost unnoticed.
    """
    try:
        stored = read_dataset(target)
    except StoreError:
        return False
    source = stored.header.provenance.get("source") if stored.header is not None else None
    if stored.name == name and source == str(path.resolve()):
        return False
    if stored.name == name and not os.path.isdir(stored.root):
        return True
    raise UsageError(
        f"{target}: holds the data set {stored.name!r} of {stored.root}",
        "pass --name to keep both, or --overwrite to replace it",
    )


def _list_pictures(request: PrepareRequest, source: DataSource, path: Path, workspace: Workspace) -> Listing:
    options = dataclasses.replace(request.options, exclude=tuple(workspace_folders(workspace.root)))
    listing = source.read(path, options)
    if options.lists is not None:
        listing = split_files.apply_lists(listing, options.lists)
    for warning in listing.warnings:
        logger.warning(warning)
    return listing


def _settings(path: Path, options: SourceOptions) -> dict[str, Any]:
    """What the store records of the options."""
    return {
        "source": str(path.resolve()),
        "lists": str(options.lists.resolve()) if options.lists else None,
        "variant": options.variant,
        "originals": options.originals,
        "instance_rule": options.instance_rule,
        "where": dict(options.where),
        "columns": dict(options.columns),
        "unseen": list(options.unseen) if options.unseen is not None else None,
    }
