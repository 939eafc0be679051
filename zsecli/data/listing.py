"""Pictures given one by one: files, folders, a list."""

from __future__ import annotations

import os.path
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from zsecli.console import SILENT, Progress
from zsecli.data.hashing import hash_files
from zsecli.data.modality import guess
from zsecli.data.pictures import SUFFIXES, by_name
from zsecli.errors import ZseError
from zsecli.store.items import MODALITIES, NEITHER, Items

NONE_INSIDE = f"no picture in this folder (looked for {', '.join(sorted(SUFFIXES))})"


def find(inputs: Iterable[Path]) -> list[str]:
    """The pictures among files and folders (searched to the bottom), each once, in order, as posix paths.

    A folder without one stands for itself, so that it is listed among what cannot be used.
    """
    found: dict[str, None] = {}
    for path in inputs:  # os.path: what Path.is_dir raises for a name that is too long would end the run
        inside = by_name([f for f in path.rglob("*") if _shown(f, path)]) if os.path.isdir(path) else ()
        found.update(dict.fromkeys(f.as_posix() for f in sorted(inside) or [path]))
    return list(found)


def _shown(file: Path, folder: Path) -> bool:
    """Whether `file` is no folder, and no part of its name below `folder` begins with a dot."""
    return not file.is_dir() and not any(part.startswith(".") for part in file.relative_to(folder).parts)


def items_of(paths: list[str], modality: str, progress: Progress = SILENT) -> tuple[Items, list[tuple[str, str]]]:
    """The table of these pictures, and (path, reason) of those that cannot be read.

    Args:
        modality: "sketch" or "photo" for all, or "auto" to look at each.
    """
    hashed = hash_files(Path(), paths, {}, progress)
    bad = [(p, NONE_INSIDE if os.path.isdir(p) else why) for p, why in hashed.bad]
    ids = [paths[i] for i in hashed.good]
    if not ids:
        names = "; ".join(f"{p}: {why}" for p, why in bad[:3])
        raise ZseError(
            f"no picture to embed ({names or 'the list is empty'})",
            "give pictures, a folder, a dataset store, or a list on stdin with -",
        )
    with ThreadPoolExecutor() as pool:
        kinds = list(pool.map(guess, map(Path, ids))) if modality == "auto" else [modality] * len(ids)
    items = Items(
        ids,
        np.array([MODALITIES.index(k) for k in kinds], np.uint8),
        np.full(len(ids), NEITHER, np.int8),
        hashed.sha256,
    )
    return items, bad
