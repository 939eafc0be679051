"""The published train/zero file lists of other code: `relative/path label` a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath

from zsecli.data.source import Listing
from zsecli.data.sources.tree import some
from zsecli.errors import ZseError

SHAPE = "files *train*.txt and *zero*.txt (or test, unseen) with lines `relative/path label`"


def apply(listing: Listing, folder: Path) -> Listing:
    """The listing with the parts that the lists in `folder` give; a picture in none belongs to no part.

    Raises:
        ZseError: there is no such list, or a picture is in a train list and in a zero list.
    """
    at = _index(listing)
    found: dict[str, tuple[str, str]] = {}  # path: part, where it is named
    skipped, strange = [], []
    for file, part in _lists(folder):
        lines = list(_lines(file))
        if not lines:
            strange.append(file.name)
        for number, path in lines:
            where = f"{file.name}, line {number}"
            entry = _match(path, at)
            if entry is None:
                skipped.append((path, f"{where}: no such file below {listing.root.name}"))
            elif found.setdefault(entry, (part, where))[0] != part:
                raise ZseError(
                    f"{folder}: {path} is in two parts ({found[entry][1]}; {where})", "mend one of the lists"
                )
    if not {"seen", "unseen"} <= {part for part, _ in found.values()}:
        raise ZseError(f"{folder}: has no train and zero lists that fit {listing.root}", f"expected: {SHAPE}")
    entries = [replace(e, part=found[e.path][0] if e.path in found else None) for e in listing.entries]
    warnings = list(listing.warnings)
    if strange:
        warnings.append(f"no lines `path label` in {some(strange)}")
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


def _lists(folder: Path) -> Iterator[tuple[Path, str]]:
    for file in sorted(folder.glob("*.txt")) if folder.is_dir() else ():
        name = file.stem.lower()
        if name.startswith("cname") or not re.search(r"train|zero|test|unseen", name):
            continue
        yield file, "unseen" if re.search(r"zero|test|unseen", name) else "seen"


def _lines(file: Path) -> Iterator[tuple[int, str]]:
    """(number, path) of the lines that end with a blank and a label."""
    for number, line in enumerate(file.read_text("utf-8-sig", errors="replace").splitlines(), 1):
        path, _, label = line.rstrip().rpartition(" ")
        if path and re.fullmatch(r"-?\d+", label):
            yield number, path


def _parts(path: str) -> tuple[str, ...]:
    parts = PurePosixPath(path.strip().replace("\\", "/")).parts
    return tuple(part.removesuffix("_ready").lower() for part in parts if part not in (".", "/"))


def _index(listing: Listing) -> dict[tuple[str, ...], str | None]:
    """Every ending of two and more parts of an entry's path -> the entry; None where several end so."""
    at: dict[tuple[str, ...], str | None] = {}
    for entry in listing.entries:
        parts = _parts(entry.path)
        for start in range(len(parts) - 1):
            at[parts[start:]] = entry.path if parts[start:] not in at else None
    return at


def _match(path: str, at: dict[tuple[str, ...], str | None]) -> str | None:
    """The one entry that shares the longest ending with `path`."""
    parts = _parts(path)
    for start in range(len(parts) - 1):
        entry = at.get(parts[start:])
        # the folder above the class must agree: a file of that name in another one is another picture
        if entry and len(parts) - start >= min(3, len(parts), len(_parts(entry))):
            return entry
    return None
