"""The stage `inspect`: a store or a checkpoint -> what it holds, what made it, and from what."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.data.items import PARTS, Items
from zsecli.data.splits import count_splits
from zsecli.errors import StoreError
from zsecli.model.file_format import is_weights
from zsecli.runtime.files import partial_path
from zsecli.store import h5py
from zsecli.store.dataset import read_dataset
from zsecli.store.features import TYPES, open_features
from zsecli.store.hdf5 import UNSEALED, open_store, read_header, report_damage
from zsecli.store.ranking import open_ranking
from zsecli.store.writer import COPIED

SHOWN = 20
"""Skipped files that are listed."""


@dataclass(frozen=True, kw_only=True)
class InspectRequest:
    """Which file to describe."""

    file: Path
    """A store or a checkpoint."""
    verify: bool = False
    """Read all of it, and check that it is as it was written."""


def run(request: InspectRequest) -> dict[str, Any]:
    """Describe a file as plain data: its kind, size, counts and provenance.

    Raises:
        StoreError: it is no finished store and no checkpoint, it is damaged, or it has no checksums to verify.
    """
    return describe(request.file, request.verify)


def describe(path: Path, verify: bool = False) -> dict[str, Any]:
    """As `run`."""
    if path.suffix in (".safetensors", ".pth", ".pt") or is_weights(path):
        return {"file": str(path), "kind": "checkpoint", "bytes": _size(path), **_checkpoint(path, verify)}
    if path.is_dir():
        raise StoreError(f"{path}: is a folder", "give a store or a checkpoint")
    with open_store(path) as file, report_damage(path):
        header = read_header(file, path)
        kind = header.schema
        if verify and header.version in UNSEALED:
            raise StoreError(
                f"{path}: has no checksums, as it is of version {header.version}", "delete it and make it again"
            )
        shapes = {name: _shape(file[name]) for name in file if isinstance(file[name], h5py.Dataset) and file[name].ndim}
    about = {
        "file": str(path),
        "kind": f"{kind} store",
        "version": header.version,
        "bytes": _size(path),
        "made by": header.created_by,
        "run key": header.run_key,
        **({"verified": _verified(path, kind)} if verify else {}),
        **{"dataset": _dataset, "features": _features, "ranking": _ranking}[kind](path),
    }
    return about | {"datasets": shapes, "provenance": header.provenance}


def _size(path: Path) -> int:
    if not path.is_file():
        hint = f"{partial_path(path)} is unfinished" if partial_path(path).exists() else "give a store or a checkpoint"
        raise StoreError(f"{path}: no such file", hint)
    return path.stat().st_size


def _shape(data: h5py.Dataset) -> str:
    kind = "text" if h5py.check_string_dtype(data.dtype) else str(data.dtype)
    return f"{' x '.join(map(str, data.shape))} {kind}"


def _verified(path: Path, kind: str) -> str:
    """Read every row of a store, which checks it; what was checked."""
    with contextlib.ExitStack() as opened:
        columns: dict[str, Callable[[slice], Any]] = {}
        count = 0
        if kind == "features":
            features = opened.enter_context(open_features(path))
            count = len(features.items)
            columns = {name: partial(features.read, name) for name in TYPES if name in features.file}
        elif kind == "ranking":
            ranking = opened.enter_context(open_ranking(path))
            count = len(ranking.query)
            columns = {name: getattr(ranking, name).__getitem__ for name in ("indices", "scores")}
        for read in columns.values():
            step = max(1, COPIED // max(1, read(slice(0, 1)).nbytes))
            for start in range(0, count, step):
                read(slice(start, start + step))
    return f"the structure{f', and {count} rows of ' if columns else ''}{', '.join(columns)}"


def _dataset(path: Path) -> dict[str, Any]:
    dataset = read_dataset(path)
    skipped = dataset.report.get("skipped", [])
    report = {
        **dataset.report,
        "skipped": [f"{name}: {why}" for name, why in skipped[:SHOWN]],
        "skipped files": len(skipped),
    }
    splits = {counted.split.name: str(counted) for counted in count_splits(dataset)}
    about = {"name": dataset.name, "root": str(dataset.root), **_items(dataset.items), "splits": splits}
    return {**about, "report": report}


def _features(path: Path) -> dict[str, Any]:
    with open_features(path) as features:
        skipped = [f"{name}: {why}" for name, why in features.skipped]
        return {
            **_items(features.items),
            "width": features.width,
            "tokens": features.has_tokens,
            "skipped": skipped[:SHOWN],
            "skipped files": len(skipped),
        }


def _ranking(path: Path) -> dict[str, Any]:
    with open_ranking(path) as ranking:
        return {"queries": _items(ranking.query), "gallery": _items(ranking.gallery), "depth": ranking.depth}


def _items(items: Items) -> dict[str, Any]:
    """Counts of each part and modality, classes and instances."""
    counts = {
        f"{part} {plural}".strip(): n
        for code, part in ((-1, ""), *enumerate(PARTS))
        for m, plural in enumerate(("sketches", "photos"))
        if (n := int(np.sum((items.part == code) & (items.modality == m))))
    }
    here = {
        name: int((np.unique(column.codes) >= 0).sum())
        for name, column in (("classes", items.label), ("instances", items.instance))
    }
    return {"pictures": len(items), **counts, **here}


def _checkpoint(path: Path, verify: bool) -> dict[str, Any]:
    from zsecli.model import checkpoint

    network, unused = checkpoint.load(path)
    return {
        **({"verified": checkpoint.verify(path)} if verify else {}),
        "parameters": sum(p.numel() for p in network.parameters()),
        "configuration": dataclasses.asdict(network.config),
        "unused parameters": unused,
    }
