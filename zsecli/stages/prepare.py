"""The stage `prepare`: a data set on disk -> a dataset store."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from zsecli.data.dataset import Dataset
from zsecli.data.hashing import Known, hash_files
from zsecli.data.items import MODALITIES, PARTS, Column, Items
from zsecli.data.journal import Journal
from zsecli.data.sources.base import Entry, Listing
from zsecli.data.splits import hold_out_validation
from zsecli.errors import StoreError, UsageError, ZseError, did_you_mean
from zsecli.runtime.console import SILENT, Progress, print_info, print_notice
from zsecli.runtime.fingerprint import installed_versions
from zsecli.store.dataset import read_dataset, write_dataset
from zsecli.store.writer import check_target

FLAGS = ("blank", "duplicate")  # that every source has


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made: where, whether anything had to be written, and what could not be used."""

    path: Path
    fresh: bool
    dataset: Dataset
    skipped: list[tuple[str, str]] = field(default_factory=list)


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
) -> Prepared:
    """Prepare what a source lists as the data set `name`.

    Every picture is read once, to its end; a run that was killed reads the others alone. Pictures that lie elsewhere
    than in the store that is there, and are the same, renew what it says of where they lie.

    Args:
        benchmark: which standard data set it is; "" for one's own.
        drop: leave out the pictures that bear one of these flags.
        settings: what the source was told, for the provenance.
        overwrite: replace another content of `output`.
        anew: read every picture, also those whose size and time are as they were.
        progress: told the number of files, and of those just done.

    Raises:
        UsageError: no picture could bear a flag that is to be dropped.
        ZseError: none of the pictures can be read.
    """
    check_target(output, "dataset", True)  # that it is something else, before anything is read
    for flag in drop:
        if flag not in (names := (*listing.flags, *FLAGS)):
            raise UsageError(
                f"--drop {flag}: there is no such flag{did_you_mean(flag, names)}", f"flags: {', '.join(names)}"
            )
    entries = sorted(listing.entries, key=lambda e: (MODALITIES.index(e.modality), e.path))
    old = _read(output)
    with Journal(output, listing.root) as journal:
        known = {} if anew else _known(output, listing.root) | journal.known
        paths = [e.path for e in entries]
        named = paths if listing.named else ()
        hashed = hash_files(
            listing.root, paths, known, progress, decode=True, on_read=journal.add, named=frozenset(named)
        )
        bad = listing.passed.remove_own(hashed.bad) + listing.skipped
        if not len(hashed.good):
            why = f"the first: {bad[0][0]}: {bad[0][1]}" if bad else "there is no file"
            raise ZseError(
                f"{listing.root}: holds no picture that can be read ({why})",
                "paths are relative to the tree, or to the manifest's folder",
            )
        entries = [entries[i] for i in hashed.good]
        items = _items(entries, hashed.sha256)
        flags = {flag: np.array([path in named for path in items.id]) for flag, named in listing.flags.items()}
        flags |= {"blank": hashed.blank, "duplicate": _duplicates(items)}
        rows = _kept(flags, drop)
        dataset = Dataset(
            name=name, root=listing.root, items=items.take(rows), size=hashed.size[rows], mtime=hashed.mtime[rows]
        )
        dataset.flags = {flag: marks[rows] for flag, marks in flags.items()}
        dataset.partition, dataset.partitions = listing.partition, _partitions(dataset.items, listing)
        dropped = {flag: int(flags[flag].sum()) for flag in drop}
        dataset.report = _report(dataset, benchmark, bad, listing) | {"dropped": dropped}
        if old is None or old.header is None or old.header.run_key != dataset.key():
            check_target(output, "dataset", overwrite)
        elif _found(old) == _found(dataset):
            return Prepared(output, False, dataset, bad)
        provenance = {
            "argv": sys.argv[1:],
            "folder": str(Path.cwd()),
            "versions": installed_versions(),
            "drop": list(drop),
        }
        provenance |= settings or {}
        write_dataset(output, dataset, provenance)
    if old is not None and old.root != dataset.root and old.key() == dataset.key():
        say = print_info if os.path.isdir(old.root) else print_notice  # a copy is taken where --overwrite asked for it
        say(f"{output}: its pictures are now below {dataset.root}, no longer {old.root}")
    return Prepared(output, True, dataset, bad)


def _read(store: Path) -> Dataset | None:
    """What is in a dataset store, if it is one."""
    try:
        return read_dataset(store) if store.is_file() else None
    except StoreError:
        return None


def _known(output: Path, root: Path) -> Known:
    """What the dataset stores of the same folder know of the files below `root`; the same name elsewhere is another."""
    known: Known = {}
    for store in sorted({*output.parent.glob("*.h5"), output}):
        dataset = _read(store)
        if dataset is not None and dataset.root == root:
            known |= dataset.known()
    return known


def _found(dataset: Dataset) -> tuple[Any, ...]:
    """What a store says beside its content: it is renewed where this changed, so that a file is not read for ever."""
    return dataset.root, dataset.report, dataset.size.tolist(), dataset.mtime.tolist()


def _items(entries: list[Entry], sha256: Any) -> Items:
    return Items(
        id=[e.path for e in entries],
        modality=np.array([MODALITIES.index(e.modality) for e in entries], np.uint8),
        part=np.array([PARTS.index(e.part) if e.part else -1 for e in entries], np.int8),
        sha256=sha256,
        label=Column.from_values([e.label for e in entries]),
        # an instance is named within its class: two classes may both have an object "1"
        instance=Column.from_values([f"{e.label}/{e.instance}" if e.instance else None for e in entries]),
        family=Column.from_values([e.family for e in entries]),
    )


def _duplicates(items: Items) -> NDArray[np.bool_]:
    """(N,) whether an earlier picture of the same modality has the same file content."""
    rows = np.hstack([items.modality[:, None].astype(np.uint8), items.sha256])
    _, first = np.unique(rows, axis=0, return_index=True)
    marks = np.ones(len(items), bool)
    marks[first] = False
    return marks


def _kept(flags: Mapping[str, NDArray[np.bool_]], drop: Sequence[str]) -> NDArray[np.intp]:
    """The rows that bear none of the flags in `drop`."""
    out = np.zeros_like(flags["blank"])
    for flag in drop:
        out |= flags[flag]
    if out.all():
        raise UsageError(f"--drop {' --drop '.join(drop)}: leaves no picture", "drop less")
    return np.flatnonzero(~out)


def _partitions(items: Items, listing: Listing) -> dict[str, NDArray[np.int8]]:
    """The source's own splits by class, and of each split the validation parts."""
    own = {
        name: np.array([PARTS.index(parts[c]) if c in parts else -1 for c in items.label.names] + [-1], np.int8)[
            items.label.codes
        ]
        for name, parts in listing.partitions.items()
    }
    drawn = {
        f"{name}-{kind}".removeprefix("-"): part
        for name, of in {"": items.part, **own}.items()
        for kind, part in hold_out_validation(items, of).items()
    }
    return own | drawn


def _report(dataset: Dataset, benchmark: str, bad: list[tuple[str, str]], listing: Listing) -> dict[str, Any]:
    """What a reader should know of the source before trusting a number computed on it."""
    items = dataset.items
    sketches, photos = (set(items.instance.codes[items.modality == m].tolist()) - {-1} for m in (0, 1))
    return {
        "benchmark": benchmark,
        "layout": dict(listing.layout),
        "warnings": list(listing.warnings),
        "skipped": [list(pair) for pair in bad],
        "not_pictures": len(listing.others),
        "passed_over": listing.passed.counts,
        "flags": {name: int(marks.sum()) for name, marks in dataset.flags.items() if marks.any()},
        "repeated_files": int(dataset.flags["duplicate"].sum()),
        "sketched_instances_without_photo": len(sketches - photos),
    }
