"""Pictures given one by one: files, folders, a list."""

from __future__ import annotations

import os.path
from collections.abc import Collection, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsecli.data.folder_walk import PassedOver, find_pictures_in, system_reason
from zsecli.data.hashing import hash_files
from zsecli.data.items import MODALITIES, NEITHER, Items
from zsecli.data.names import find_spelling_on_disk
from zsecli.errors import ZseError
from zsecli.images.decode import SUFFIXES
from zsecli.images.guess_modality import guess_modality
from zsecli.runtime.console import SILENT, Progress

NONE_INSIDE = f"no picture in this folder (looked for {', '.join(sorted(SUFFIXES))}, and at the content of all others)"


@dataclass
class PictureSearch:
    """The pictures among files, folders and lists, as posix paths, each once, in order, and what was passed over.

    named: those that were named themselves, not found in a folder or a list.
    """

    pictures: list[str]
    named: frozenset[str]
    passed: PassedOver


def find_pictures(inputs: Iterable[Path], listed: Collection[Path] = (), apart: Collection[Path] = ()) -> PictureSearch:
    """The pictures among files and folders (searched to the bottom), and what was passed over.

    A folder without a picture stands for itself, so that it is listed among what cannot be used.

    Args:
        listed: those of `inputs` that a list names, of which files of the system are passed over.
        apart: folders that are passed over, as zse wrote what they hold.
    """
    found, named, passed, listed = dict[str, None](), set[str](), PassedOver(), frozenset(listed)
    for path in inputs:  # os.path: what Path.is_dir raises for a name that is too long would end the run
        if os.path.isdir(path):
            known = len(passed.skipped)
            pictures = find_pictures_in(path, passed, apart)
            if pictures or len(passed.skipped) == known:
                found.update(dict.fromkeys(file.as_posix() for file in pictures or [path]))
        elif path in listed and (reason := system_reason(path.as_posix())):
            passed.add(reason, path.as_posix())
        else:
            name = find_spelling_on_disk(Path(), path.as_posix())
            found[name] = None
            if path not in listed:
                named.add(name)
    return PictureSearch(list(found), frozenset(named), passed)


def make_items(
    paths: list[str] | PictureSearch, modality: str, progress: Progress = SILENT
) -> tuple[Items, list[tuple[str, str]]]:
    """The table of these pictures, and (path, reason) of those that cannot be read.

    Args:
        modality: "sketch" or "photo" for all, or "auto" to look at each.
    """
    wanted = paths if isinstance(paths, PictureSearch) else PictureSearch(paths, frozenset(paths), PassedOver())
    paths, passed = wanted.pictures, wanted.passed
    hashed = hash_files(Path(), paths, {}, progress, named=wanted.named)
    bad = [(p, NONE_INSIDE if os.path.isdir(p) else why) for p, why in passed.take_own(hashed.bad)] + passed.skipped
    ids = [paths[i] for i in hashed.good]
    if not ids:
        names = "; ".join(f"{p}: {why}" for p, why in bad[:3])
        over = ", ".join(f"{count} {reason}" for reason, count in passed.counts.items())
        raise ZseError(
            f"no picture to embed ({names or (f'passed over: {over}' if over else 'the list is empty')})",
            "give pictures, a folder, a dataset store, or a list on stdin with -",
        )
    with ThreadPoolExecutor() as pool:
        kinds = list(pool.map(guess_modality, map(Path, ids))) if modality == "auto" else [modality] * len(ids)
    items = Items(
        id=ids,
        modality=np.array([MODALITIES.index(k) for k in kinds], np.uint8),
        part=np.full(len(ids), NEITHER, np.int8),
        sha256=hashed.sha256,
    )
    return items, bad
