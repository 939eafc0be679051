"""Folders of classes, as every benchmark has them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from zsecli.data.pictures import SUFFIXES
from zsecli.data.source import Entry, Listing
from zsecli.data.sources.classes import Classes
from zsecli.errors import ZseError, nearest

FEW = 5  # of a kind named in a warning
Instance = Callable[[str], str | None]


def subfolder(parents: Iterable[Path], *names: str) -> Path | None:
    """The first folder of one of `names`, whatever its capitals, in one of `parents`."""
    for parent in parents:
        there = {p.name.lower(): p for p in sorted(parent.iterdir()) if p.is_dir()} if parent.is_dir() else {}
        for name in names:
            if name.lower() in there:
                return there[name.lower()]
    return None


def needed(found: Path | None, root: Path, looked_for: str, shape: str) -> Path:
    """`found`, or a ZseError that says what was looked for."""
    if found is None:
        here = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise ZseError(f"{root}: needs {looked_for} (found: {here or 'nothing'})", f"expected: {shape}")
    return found


def add_classes(listing: Listing, folder: Path, modality: str, classes: Classes, instance: Instance) -> None:
    """Add the pictures of `folder`/CLASS/ to a listing; `instance` takes a file's name without its suffix.

    `folder` lies below the listing's root by its name, whatever it links to.
    """
    split, above = next(iter(classes.parts)), len(os.path.join(listing.root, ""))
    for child in sorted(os.scandir(folder), key=lambda e: e.name):
        if child.name.startswith("."):
            continue
        if not child.is_dir():
            _stray(listing, child.path[above:], f"does not lie in {folder.name}/CLASS/")
            continue
        name = classes.of(child.name)
        for file in _files(Path(child.path)):
            path, (stem, suffix) = file[above:], os.path.splitext(os.path.basename(file))
            if suffix.lower() not in SUFFIXES:
                listing.others.append(path)
                continue
            part = classes.parts[split][name] if name else None
            listing.entries.append(Entry(path, modality, name or child.name, instance(stem), part=part))


def _files(folder: Path) -> Iterator[str]:
    """The files below a class's folder, without those that begin with a dot."""
    for base, folders, names in os.walk(folder):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        yield from (os.path.join(base, name) for name in sorted(names) if not name.startswith("."))


def _stray(listing: Listing, path: str, why: str) -> None:
    if os.path.splitext(path)[1].lower() in SUFFIXES:
        listing.skipped.append((path, why))
    else:
        listing.others.append(path)


def finish(listing: Listing, classes: Classes) -> Listing:
    """Say what a complete tree has and this one lacks, and give the listing the benchmark's splits."""
    unknown = Counter(e.label for e in listing.entries if e.label not in classes.parts[next(iter(classes.parts))])
    for name, count in sorted(unknown.items())[:FEW]:
        listing.warnings.append(
            f"{name!r} is no class of this data set{nearest(name, classes.names)}; "
            f"its {count} pictures are kept, but in no split"
        )
    if more := sorted(unknown)[FEW:]:
        listing.warnings.append(
            f"{len(more)} more folders are no classes of this data set: {some(more)}; "
            f"their {sum(unknown[name] for name in more)} pictures are kept, but in no split"
        )
    for modality, plural in (("sketch", "sketches"), ("photo", "photos")):
        there = {e.label for e in listing.entries if e.modality == modality}
        if missing := [name for name in classes.names if name not in there]:
            listing.warnings.append(f"{len(missing)} classes have no {plural}: {some(missing)}")
    alone(listing)
    listing.partition, *others = classes.parts
    listing.partitions = {name: classes.parts[name] for name in others}
    return listing


def alone(listing: Listing) -> None:
    """Warn of sketches whose own photo is not there."""
    photos = {(e.label, e.instance) for e in listing.entries if e.modality == "photo"}
    drawn = (e for e in listing.entries if e.modality == "sketch" and e.instance)
    lost = [e.path for e in drawn if (e.label, e.instance) not in photos]
    if lost:
        listing.warnings.append(f"{len(lost)} sketches have no photo of their own: {some(lost)}")


def some(names: Sequence[str], count: int = FEW) -> str:
    """The first of `names`, and how many more there are."""
    return ", ".join(names[:count]) + (f", and {len(names) - count} more" if len(names) > count else "")
