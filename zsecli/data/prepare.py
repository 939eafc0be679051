"""The stage `prepare`: a data set on disk -> a dataset store."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.console import SILENT, Progress
from zsecli.data.folder import Entry, check_rule, read_manifest, read_tree
from zsecli.data.hashing import hash_files
from zsecli.errors import StoreError, ZseError
from zsecli.store.dataset import Dataset, read_dataset, write_dataset
from zsecli.store.header import check_target, versions
from zsecli.store.items import MODALITIES, PARTS, Column, Items


@dataclass(frozen=True)
class Prepared:
    """What `prepare` made: where, whether anything had to be written, and what could not be used."""

    path: Path
    fresh: bool
    dataset: Dataset
    skipped: list[tuple[str, str]] = field(default_factory=list)


def demo_root() -> Path:
    """The pictures shipped with zse: inside the installed package, or beside it in a checkout."""
    here = Path(__file__).resolve().parents[1]
    for root in (here / "demo", here.parent / "fixtures" / "demo"):
        if root.is_dir():
            return root
    raise ZseError("the demo pictures are not installed", "install zse from its repository")


def run(
    source: Path,
    output: Path,
    name: str,
    *,
    rule: str = "auto",
    where: Mapping[str, str] | None = None,
    unseen: list[str] | None = None,
    overwrite: bool = True,
    progress: Progress = SILENT,
) -> Prepared:
    """Prepare the tree or the CSV manifest `source` as the data set `name`.

    Args:
        rule: how a file's name says its instance. where: rows of a manifest to keep, column -> value.
        unseen: the classes of a tree that training must not see; None: all.
        overwrite: replace another content of `output`.
        progress: told the number of files, and of those just read.

    Raises:
        ZseError: the source has another shape, or none of its pictures can be read.
    """
    check_rule(rule)
    others: list[str] = []
    strays: list[str] = []
    if source.is_file():
        root, entries = source.parent.resolve(), read_manifest(source, where or {})
    else:
        root = source.resolve()
        entries, others, strays = read_tree(root, rule, unseen)
    entries.sort(key=lambda e: (MODALITIES.index(e.modality), e.path))
    old = _old(output)
    # the same name below another root is another file
    known = old.known() if old is not None and old.root == root else {}
    hashed = hash_files(root, [e.path for e in entries], known, progress)
    bad = hashed.bad + [(path, "does not lie in sketch/CLASS/ or photo/CLASS/") for path in strays]
    if not len(hashed.good):
        why = f"the first: {bad[0][0]}: {bad[0][1]}" if bad else "there is no file"
        raise ZseError(
            f"{source}: holds no picture that can be read ({why})",
            "paths are relative to the tree, or to the manifest's folder",
        )
    dataset = Dataset(name, root, _items([entries[i] for i in hashed.good], hashed.sha256), hashed.size, hashed.mtime)
    dataset.report = _report(dataset.items, bad, others)
    if old is None or old.header is None or old.header.run_key != dataset.key():
        check_target(output, "dataset", dataset.key(), overwrite)
    elif _found(old) == _found(dataset):
        return Prepared(output, False, dataset, bad)
    provenance = {
        "argv": sys.argv[1:],
        "versions": versions(),
        "source": str(source.resolve()),
        "instance_rule": rule,
        "where": dict(where or {}),
        "unseen": unseen,
    }
    write_dataset(output, dataset, provenance)
    return Prepared(output, True, dataset, bad)


def _old(output: Path) -> Dataset | None:
    """What is in the store that is about to be renewed."""
    try:
        return read_dataset(output) if output.is_file() else None
    except StoreError:
        return None


def _found(dataset: Dataset) -> tuple[Any, ...]:
    """What a store says beside its content: it is renewed where this changed, so that a file is not read for ever."""
    return dataset.root, dataset.report, dataset.size.tolist(), dataset.mtime.tolist()


def _items(entries: list[Entry], sha256: Any) -> Items:
    return Items(
        id=[e.path for e in entries],
        modality=np.array([MODALITIES.index(e.modality) for e in entries], np.uint8),
        part=np.array([PARTS.index(e.part) if e.part else -1 for e in entries], np.int8),
        sha256=sha256,
        label=Column.of([e.label for e in entries]),
        # an instance is named within its class: two classes may both have an object "1"
        instance=Column.of([f"{e.label}/{e.instance}" if e.instance else None for e in entries]),
        family=Column.of([e.family for e in entries]),
    )


def _report(items: Items, bad: list[tuple[str, str]], others: list[str]) -> dict[str, Any]:
    """What a reader should know of the source before trusting a number computed on it."""
    digests = Counter(zip(items.modality.tolist(), (d.tobytes() for d in items.sha256), strict=True))
    sketches, photos = (set(items.instance.codes[items.modality == m].tolist()) - {-1} for m in (0, 1))
    return {
        "skipped": [list(pair) for pair in bad],
        "not_pictures": len(others),
        "repeated_files": sum(n - 1 for n in digests.values()),
        "sketched_instances_without_photo": len(sketches - photos),
    }
