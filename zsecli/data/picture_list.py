"""Pictures given one by one: files, folders, a list."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsecli.data.folder_walk import PassedOver, find_pictures_in, system_reason
from zsecli.data.hashing import hash_files
from zsecli.data.items import MODALITIES, NEITHER, Items
from zsecli.data.names import find_spelling_on_disk
from zsecli.errors import ZseError
from zsecli.images.formats import SUFFIXES
from zsecli.images.guess_modality import guess_modality
from zsecli.runtime.console import SILENT, Progress

EMPTY_FOLDER = f"no picture in this folder (looked for {', '.join(sorted(SUFFIXES))}, and at the content of all others)"


@dataclass
class PictureSearch:
    """The pictures among files, folders and lists, and what was passed over."""

    pictures: list[str]  # posix paths, each once, in order
    named: frozenset[str]  # those that were named themselves, not found in a folder or a list
    passed: PassedOver


def find_pictures(
    inputs: Iterable[Path], listed: Collection[Path] = (), excluded: Collection[Path] = ()
) -> PictureSearch:
    """The pictures among files and folders (searched to the bottom), and what was passed over.

    A folder without a picture stands for itself, so that it is listed among what cannot be used.

    Args:
        listed: those of `inputs` that a list names, of which files of the system are passed over.
        excluded: folders that are passed over, as zse wrote what they hold.
    """
    pictures: dict[str, None] = {}  # in order
    named: set[str] = set()
    passed = PassedOver()
    listed = frozenset(listed)
    for path in inputs:
        if os.path.isdir(path):  # what Path.is_dir raises for a name that is too long would end the run
            skipped_before = len(passed.skipped)
            in_folder = find_pictures_in(path, passed, excluded)
            if not in_folder and len(passed.skipped) == skipped_before:
                in_folder = [path]
            for file in in_folder:
                pictures[file.as_posix()] = None
        elif path in listed and (reason := system_reason(path.as_posix())):
            passed.add(reason, path.as_posix())
        else:
            name = find_spelling_on_disk(Path(), path.as_posix())
            pictures[name] = None
            if path not in listed:
                named.add(name)
    return PictureSearch(list(pictures), frozenset(named), passed)


def make_items(
    pictures: Sequence[str] | PictureSearch, modality: str, progress: Progress = SILENT
) -> tuple[Items, list[tuple[str, str]]]:
    """The table of these pictures, and (path, reason) of those that cannot be read.

    Args:
        pictures: what was found, or paths that were named.
        modality: "sketch" or "photo" for all, or "auto" to look at each.
    """
    if not isinstance(pictures, PictureSearch):
        pictures = PictureSearch(list(pictures), frozenset(pictures), PassedOver())
    paths, passed = pictures.pictures, pictures.passed
    hashed = hash_files(Path(), paths, {}, progress, named=pictures.named)
    skipped = []
    for path, reason in passed.remove_own(hashed.bad):
        skipped.append((path, EMPTY_FOLDER if os.path.isdir(path) else reason))
    skipped += passed.skipped
    ids = [paths[row] for row in hashed.good]
    if not ids:
        raise ZseError(
            f"no picture to embed ({_explain_nothing(skipped, passed)})",
            "give pictures, a folder, a dataset store, or a list on stdin with -",
        )
    modalities: list[str] = [modality] * len(ids)
    if modality == "auto":
        with ThreadPoolExecutor() as pool:
            modalities = list(pool.map(guess_modality, map(Path, ids)))
    items = Items(
        id=ids,
        modality=np.array([MODALITIES.index(name) for name in modalities], np.uint8),
        part=np.full(len(ids), NEITHER, np.int8),
        sha256=hashed.sha256,
    )
    return items, skipped


def _explain_nothing(skipped: list[tuple[str, str]], passed: PassedOver) -> str:
    """Why there is no picture."""
    if skipped:
        return "; ".join(f"{path}: {reason}" for path, reason in skipped[:3])
    if passed.counts:
        return "passed over: " + ", ".join(f"{count} {reason}" for reason, count in passed.counts.items())
    return "the list is empty"
