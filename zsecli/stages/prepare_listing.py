"""From what a source lists to a dataset store: every picture is read once, hashed and checked."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.data.dataset import Dataset
from zsecli.data.hashing import Hashed, Known, hash_files
from zsecli.data.items import MODALITIES, PARTS, PHOTO, SKETCH, Column, Items
from zsecli.data.journal import Journal
from zsecli.data.sources.base import Entry, Listing
from zsecli.data.splits import hold_out_validation
from zsecli.errors import StoreError, UsageError, ZseError, did_you_mean
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.fingerprint import installed_versions
from zsecli.runtime.log_levels import NOTICE
from zsecli.store.dataset import read_dataset, write_dataset
from zsecli.store.writer import check_target

logger = logging.getLogger(__name__)

FLAGS = ("blank", "duplicate")
"""Flags that every source has."""


@dataclass(frozen=True)
class PreparedDataset:
    """A dataset store."""

    path: Path
    fresh: bool
    """Whether it had to be written."""
    dataset: Dataset
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(path, reason) of pictures that cannot be used."""


def prepare_listing(
    listing: Listing,
    output: Path,
    name: str,
    *,
    benchmark: str = "",
    drop: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    overwrite: bool = True,
    anew: bool = False,
    progress: Progress = SILENT,
) -> PreparedDataset:
    """Prepare what a source lists as the data set `name`.

    Every picture is read once, to its end; a run that was killed reads the others alone. If the pictures lie elsewhere
    than the existing store says, and are the same, the store is updated.

    Args:
        benchmark: which standard data set it is; "" for one's own.
        drop: leave out the pictures that have one of these flags.
        settings: the options of the source, for the provenance.
        overwrite: replace another content of `output`.
        anew: read every picture, also those whose size and time are as they were.
        progress: is given the number of files, and of those just done.

    Raises:
        UsageError: no picture could have a flag that is to be dropped.
        ZseError: none of the pictures can be read.
    """
    check_target(output, "dataset", True)  # that it is a dataset store, before anything is read
    _check_flags(listing, drop)
    entries = sorted(listing.entries, key=lambda entry: (MODALITIES.index(entry.modality), entry.path))
    stored = _read_if_dataset(output)
    with Journal(output, listing.root) as journal:
        known: Known = {}
        if not anew:
            known = _known_files(output, listing.root) | journal.known
        paths = [entry.path for entry in entries]
        named = frozenset(paths) if listing.named else frozenset()
        hashed = hash_files(listing.root, paths, known, progress, decode=True, on_read=journal.add, named=named)
        skipped = listing.passed.remove_own(hashed.bad) + listing.skipped
        if not len(hashed.good):
            raise _no_picture(listing, skipped)
        dataset = _build_dataset(name, listing, [entries[i] for i in hashed.good], hashed, drop)
        dataset.report = _report_source(dataset, benchmark, skipped, listing) | dataset.report
        if stored is None or stored.header is None or stored.header.run_key != dataset.key():
            check_target(output, "dataset", overwrite)
        elif _details(stored) == _details(dataset):
            return PreparedDataset(output, False, dataset, skipped)
        provenance = {
            "argv": sys.argv[1:],
            "folder": str(Path.cwd()),
            "versions": installed_versions(),
            "drop": list(drop),
        }
        write_dataset(output, dataset, provenance | dict(settings or {}))
    if stored is not None and stored.root != dataset.root and stored.key() == dataset.key():
        is_copy = os.path.isdir(stored.root)  # --overwrite asked for it, so that is no news
        level = logging.INFO if is_copy else NOTICE
        logger.log(level, f"{output}: its pictures are now below {dataset.root}, no longer {stored.root}")
    return PreparedDataset(output, True, dataset, skipped)


def _check_flags(listing: Listing, drop: Sequence[str]) -> None:
    names = (*listing.flags, *FLAGS)
    for flag in drop:
        if flag not in names:
            raise UsageError(
                f"--drop {flag}: there is no such flag{did_you_mean(flag, names)}", f"flags: {', '.join(names)}"
            )


def _no_picture(listing: Listing, skipped: list[tuple[str, str]]) -> ZseError:
    why = "there is no file"
    if skipped:
        path, reason = skipped[0]
        why = f"the first: {path}: {reason}"
    return ZseError(
        f"{listing.root}: holds no picture that can be read ({why})",
        "paths are relative to the tree, or to the manifest's folder",
    )


def _read_if_dataset(store: Path) -> Dataset | None:
    """The content of a dataset store; None where there is no such store."""
    try:
        return read_dataset(store) if store.is_file() else None
    except StoreError:
        return None


def _known_files(output: Path, root: Path) -> Known:
    """What the dataset stores beside `output` know of the files below `root`.

    Stores of other folders do not count: the same name is another file there.
    """
    known: Known = {}
    for store in sorted({*output.parent.glob("*.h5"), output}):
        dataset = _read_if_dataset(store)
        if dataset is not None and dataset.root == root:
            known |= dataset.known()
    return known


def _details(dataset: Dataset) -> tuple[Any, ...]:
    """What a store holds beside its content. It is updated where this changed, so that no file is read at every run."""
    return dataset.root, dataset.report, dataset.size.tolist(), dataset.mtime.tolist()


def _build_dataset(name: str, listing: Listing, entries: list[Entry], hashed: Hashed, drop: Sequence[str]) -> Dataset:
    """The data set of the pictures that could be read, without those that have a flag in `drop`."""
    items = _items(entries, hashed.sha256)
    flags: dict[str, NDArray[np.bool_]] = {}
    for flag, paths in listing.flags.items():
        flags[flag] = np.array([path in paths for path in items.id])
    flags["blank"] = hashed.blank
    flags["duplicate"] = _find_duplicates(items)
    rows = _rows_without(flags, drop)
    dataset = Dataset(
        name=name, root=listing.root, items=items.take(rows), size=hashed.size[rows], mtime=hashed.mtime[rows]
    )
    dataset.flags = {flag: marks[rows] for flag, marks in flags.items()}
    dataset.partition = listing.partition
    dataset.partitions = _partitions(dataset.items, listing)
    dataset.report = {"dropped": {flag: int(flags[flag].sum()) for flag in drop}}
    return dataset


def _items(entries: list[Entry], sha256: Any) -> Items:
    return Items(
        id=[entry.path for entry in entries],
        modality=np.array([MODALITIES.index(entry.modality) for entry in entries], np.uint8),
        part=np.array([PARTS.index(entry.part) if entry.part else -1 for entry in entries], np.int8),
        sha256=sha256,
        label=Column.from_values([entry.label for entry in entries]),
        # an instance is named within its class: two classes may both have an object "1"
        instance=Column.from_values(
            [f"{entry.label}/{entry.instance}" if entry.instance else None for entry in entries]
        ),
        family=Column.from_values([entry.family for entry in entries]),
    )


def _find_duplicates(items: Items) -> NDArray[np.bool_]:
    """(N,) whether an earlier picture of the same modality has the same file content."""
    contents = np.hstack([items.modality[:, None].astype(np.uint8), items.sha256])
    _, first = np.unique(contents, axis=0, return_index=True)
    is_duplicate = np.ones(len(items), bool)
    is_duplicate[first] = False
    return is_duplicate


def _rows_without(flags: Mapping[str, NDArray[np.bool_]], drop: Sequence[str]) -> NDArray[np.intp]:
    """The rows that have none of the flags in `drop`."""
    dropped = np.zeros_like(flags["blank"])
    for flag in drop:
        dropped |= flags[flag]
    if dropped.all():
        raise UsageError(f"--drop {' --drop '.join(drop)}: leaves no picture", "drop less")
    return np.flatnonzero(~dropped)


def _partitions(items: Items, listing: Listing) -> dict[str, NDArray[np.int8]]:
    """Split name -> (N,) parts: the source's own splits by class, and the validation parts of each split."""
    own = {}
    for name, part_of_class in listing.partitions.items():
        codes = [PARTS.index(part_of_class[c]) if c in part_of_class else -1 for c in items.label.names]
        own[name] = np.array([*codes, -1], np.int8)[items.label.codes]  # the last is for code -1, no class
    validation = {}
    for name, parts in {"": items.part, **own}.items():
        for kind, held_out in hold_out_validation(items, parts).items():
            validation[f"{name}-{kind}".removeprefix("-")] = held_out
    return own | validation


def _report_source(
    dataset: Dataset, benchmark: str, skipped: list[tuple[str, str]], listing: Listing
) -> dict[str, Any]:
    """What a reader should know of the source before trusting a number computed on it."""
    items = dataset.items
    sketched, photographed = (set(items.instance.codes[items.modality == m].tolist()) for m in (SKETCH, PHOTO))
    return {
        "benchmark": benchmark,
        "layout": dict(listing.layout),
        "warnings": list(listing.warnings),
        "skipped": [list(pair) for pair in skipped],
        "not_pictures": len(listing.others),
        "passed_over": listing.passed.counts,
        "flags": {name: int(marks.sum()) for name, marks in dataset.flags.items() if marks.any()},
        "repeated_files": int(dataset.flags["duplicate"].sum()),
        "sketched_instances_without_photo": len(sketched - photographed - {-1}),
    }
