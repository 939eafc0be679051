"""The published train/zero file lists of other code: `relative/path label` a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from zsecli.data.names import tidy_name
from zsecli.data.sources.base import Listing, name_few
from zsecli.data.sources.sketchy import EXTENDED
from zsecli.data.sources.tuberlin_quickdraw import (
    QUICKDRAW_PHOTOS,
    QUICKDRAW_SKETCHES,
    TUBERLIN_PHOTOS,
    TUBERLIN_SKETCHES,
)
from zsecli.data.synonyms import class_key
from zsecli.errors import ZseError
from zsecli.runtime.textfiles import read_lines

SHAPE = "files *train*.txt and *zero*.txt (or test, unseen) with lines `relative/path label`"

PathKey = tuple[str, ...]  # folders and name of a path in one spelling
PathIndex = dict[PathKey, tuple[str, int]]  # ending of a path -> the path, and how many folders and names it has


def apply_lists(listing: Listing, folder: Path) -> Listing:
    """The listing with the parts that the lists in `folder` give; a picture in none belongs to no part.

    Raises:
        ZseError: there is no such list, or a picture is in a train list and in a zero list.
    """
    index = _index_paths(listing)
    part_of: dict[str, str] = {}  # path -> part
    source_of: dict[str, str] = {}  # path -> file and line that name it
    skipped: list[tuple[str, str]] = []
    empty_lists: list[str] = []
    files, held_out = _find_lists(folder)
    for file, part in files:
        lines = list(_read_paths(file))
        if not lines:
            empty_lists.append(file.name)
        for number, path in lines:
            source = f"{file.name}, line {number}"
            entry = _match_path(path, index)
            if not entry:
                reason = "no such file" if entry is None else "fits several files"
                skipped.append((path, f"{source}: {reason} below {listing.root.name}"))
            elif entry not in part_of:
                part_of[entry] = part
                source_of[entry] = source
            elif part_of[entry] != part:
                raise ZseError(
                    f"{folder}: {path} is in two parts ({source_of[entry]}; {source})", "mend one of the lists"
                )
    if not {"seen", "unseen"} <= set(part_of.values()):
        raise ZseError(f"{folder}: has no train and zero lists that fit {listing.root}", f"expected: {SHAPE}")
    warnings = list(listing.warnings)
    if empty_lists:
        warnings.append(f"no lines `path label` in {name_few(empty_lists)}")
    if held_out:
        warnings.append(f"not read beside the zero lists, as it holds seen classes: {name_few(held_out)}")
    if left := len(listing.entries) - len(part_of):
        warnings.append(f"{left} pictures are in no list, so in no split")
    return replace(
        listing,
        entries=[replace(entry, part=part_of.get(entry.path)) for entry in listing.entries],
        skipped=listing.skipped + skipped,
        warnings=warnings,
        layout={**listing.layout, "lists": str(folder)},
        partition="lists",
        partitions={},
    )


def _find_lists(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """(list, part), and the names of those that are not to be read.

    The last of the words in a name counts. Beside zero lists a test list holds seen classes' pictures, kept for
    validation; alone it is the unseen part.
    """
    word_of: dict[Path, str] = {}
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        name = file.stem.lower()
        words = re.findall(r"train|zero|test|unseen", name)
        if words and not name.startswith("cname"):
            word_of[file] = words[-1]
    has_zero_lists = bool({"zero", "unseen"} & set(word_of.values()))
    lists: list[tuple[Path, str]] = []
    held_out: list[str] = []
    for file, word in word_of.items():
        if word == "test" and has_zero_lists:
            held_out.append(file.name)
        else:
            lists.append((file, "seen" if word == "train" else "unseen"))
    return lists, held_out


def _read_paths(file: Path) -> Iterator[tuple[int, str]]:
    """(number, path) of the lines that end with a blank and a label."""
    for number, line in enumerate(read_lines(file, errors="replace"), 1):
        path, _, label = line.rstrip().rpartition(" ")
        if path and re.fullmatch(r"-?\d+", label):
            yield number, path


def _path_key(path: str) -> PathKey:
    folder, _, name = path.strip().replace("\\", "/").rpartition("/")
    return (*_folder_key(folder), tidy_name(name).lower())


@lru_cache(maxsize=4096)
def _folder_key(path: str) -> PathKey:
    """The folders of a path in one spelling; all names of the folder with the photos, or the sketches, are one."""
    names = [name.lower() for name in path.split("/") if name not in ("", ".")]
    return tuple(_SAME_FOLDER.get(name) or class_key(name.removesuffix("_ready")) for name in names)


_SAME_FOLDER = {  # folders that hold the same pictures, whoever unpacked them
    **{name.lower(): "(sketches)" for name in (*TUBERLIN_SKETCHES, *QUICKDRAW_SKETCHES)},
    **{name.lower(): "(photos)" for name in (*TUBERLIN_PHOTOS, *QUICKDRAW_PHOTOS)},
    **{name.lower(): "(extended)" for name in EXTENDED},
}


def _index_paths(listing: Listing) -> PathIndex:
    """Every ending of two and more names of an entry's path; its path is "" where several entries end so."""
    index: PathIndex = {}
    for entry in listing.entries:
        key = _path_key(entry.path)
        for start in range(len(key) - 1):
            ending = key[start:]
            index[ending] = ("" if ending in index else entry.path, len(key))
    return index


def _match_path(path: str, index: PathIndex) -> str | None:
    """The one entry that shares the longest ending with `path`; "" where several do, None where none does."""
    key = _path_key(path)
    for start in range(len(key) - 1):
        ending = key[start:]
        if ending in index:
            entry, depth = index[ending]
            # the folder above the class must agree: a file of that name in another one is another picture
            return entry if len(ending) >= min(3, len(key), depth) else None
    return None
