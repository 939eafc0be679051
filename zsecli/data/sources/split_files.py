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


def apply(listing: Listing, folder: Path) -> Listing:
    """The listing with the parts that the lists in `folder` give; a picture in none belongs to no part.

    Raises:
        ZseError: there is no such list, or a picture is in a train list and in a zero list.
    """
    at = _index(listing)
    found: dict[str, tuple[str, str]] = {}  # path: part, where it is named
    skipped, strange = [], []
    files, held_out = _lists(folder)
    for file, part in files:
        lines = list(_lines(file))
        if not lines:
            strange.append(file.name)
        for number, path in lines:
            where = f"{file.name}, line {number}"
            entry = _match(path, at)
            if not entry:
                why = "no such file" if entry is None else "fits several files"
                skipped.append((path, f"{where}: {why} below {listing.root.name}"))
            elif found.setdefault(entry, (part, where))[0] != part:
                raise ZseError(
                    f"{folder}: {path} is in two parts ({found[entry][1]}; {where})", "mend one of the lists"
                )
    if not {"seen", "unseen"} <= {part for part, _ in found.values()}:
        raise ZseError(f"{folder}: has no train and zero lists that fit {listing.root}", f"expected: {SHAPE}")
    entries = [replace(e, part=found[e.path][0] if e.path in found else None) for e in listing.entries]
    warnings = list(listing.warnings)
    if strange:
        warnings.append(f"no lines `path label` in {name_few(strange)}")
    if held_out:
        warnings.append(f"not read beside the zero lists, as it holds seen classes: {name_few(held_out)}")
    if left := len(entries) - len(found):
        warnings.append(f"{left} pictures are in no list, so in no split")
    return replace(
        listing,
        entries=entries,
        skipped=listing.skipped + skipped,
        warnings=warnings,
        layout={**listing.layout, "lists": str(folder)},
        partition="lists",
        partitions={},
    )


def _lists(folder: Path) -> tuple[list[tuple[Path, str]], list[str]]:
    """(list, part), and the names of those that are not to be read.

    The last of the words in a name counts. Beside zero lists a test list holds seen classes' pictures, kept for
    validation; alone it is the unseen part.
    """
    words: dict[Path, str] = {}
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        name = file.stem.lower()
        if not name.startswith("cname") and (said := re.findall(r"train|zero|test|unseen", name)):
            words[file] = said[-1]
    held_out = [f for f, word in words.items() if word == "test" and {"zero", "unseen"} & {*words.values()}]
    read = [(f, "seen" if word == "train" else "unseen") for f, word in words.items() if f not in held_out]
    return read, [file.name for file in held_out]


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number, path) of the lines that end with a blank and a label."""
    for number, line in enumerate(read_lines(file, errors="replace"), 1):
        path, _, label = line.rstrip().rpartition(" ")
        if path and re.fullmatch(r"-?\d+", label):
            yield number, path


def _parts(path: str) -> tuple[str, ...]:
    folder, _, name = path.strip().replace("\\", "/").rpartition("/")
    return (*_folders(folder), tidy_name(name).lower())


@lru_cache(maxsize=4096)
def _folders(path: str) -> tuple[str, ...]:
    """The folders of a path in one spelling; all names of the folder with the photos, or the sketches, are one."""
    parts = (part.lower() for part in path.split("/") if part not in ("", "."))
    return tuple(_SAME.get(part) or class_key(part.removesuffix("_ready")) for part in parts)


_SAME = {  # folders that the same pictures have, whoever unpacked them
    **{name.lower(): "(sketches)" for name in (*TUBERLIN_SKETCHES, *QUICKDRAW_SKETCHES)},
    **{name.lower(): "(photos)" for name in (*TUBERLIN_PHOTOS, *QUICKDRAW_PHOTOS)},
    **{name.lower(): "(extended)" for name in EXTENDED},
}


def _index(listing: Listing) -> dict[tuple[str, ...], tuple[str, int]]:
    """Every ending of two and more parts of an entry's path -> the entry, its parts; "" where several end so."""
    at: dict[tuple[str, ...], tuple[str, int]] = {}
    for entry in listing.entries:
        parts = _parts(entry.path)
        for start in range(len(parts) - 1):
            at[parts[start:]] = ("" if parts[start:] in at else entry.path, len(parts))
    return at


def _match(path: str, at: dict[tuple[str, ...], tuple[str, int]]) -> str | None:
    """The one entry that shares the longest ending with `path`; "" where several do, None where none does."""
    parts = _parts(path)
    for start in range(len(parts) - 1):
        if parts[start:] in at:
            entry, depth = at[parts[start:]]
            # the folder above the class must agree: a file of that name in another one is another picture
            return entry if len(parts) - start >= min(3, len(parts), depth) else None
    return None
