"""Folders of classes, as every benchmark has them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from zsecli.data.folder_walk import PassedOver, find_pictures_in
from zsecli.data.names import join_spellings
from zsecli.data.sources.base import FEW, Entry, Listing, name_few
from zsecli.data.sources.classes import Classes
from zsecli.errors import ZseError, did_you_mean

Instance = Callable[[str], str | None]


def find_subfolder(parents: Iterable[Path], *names: str) -> Path | None:
    """The first folder of one of `names`, whatever its capitals, in one of `parents`."""
    for parent in parents:
        there = {p.name.lower(): p for p in sorted(parent.iterdir()) if p.is_dir()} if parent.is_dir() else {}
        for name in names:
            if name.lower() in there:
                return there[name.lower()]
    return None


def list_folders_below(root: Path, depth: int = 1) -> list[Path]:
    """`root` and the folders down to so many levels below it, the upper ones first: archives unpack into one more."""
    found, level = [root], [root]
    for _ in range(depth):
        level = [child for folder in level if folder.is_dir() for child in sorted(folder.iterdir()) if child.is_dir()]
        level = [child for child in level if not child.name.startswith((".", "__"))]
        found += level
    return found


def unwrap_folder(folder: Path, is_class: Callable[[str], object]) -> Path:
    """`folder`, or the only folder in it, down to the one that holds classes: `png/png/CLASS` after unpacking."""
    while True:
        inside = [child for child in sorted(folder.iterdir()) if child.is_dir()]
        inside = [child for child in inside if not child.name.startswith((".", "__"))]
        if len(inside) != 1 or is_class(inside[0].name) or not any(c.is_dir() for c in inside[0].iterdir()):
            return folder
        folder = inside[0]


def require_folder(found: Path | None, root: Path, looked_for: str, shape: str) -> Path:
    """`found`, or a ZseError that says what was looked for."""
    if found is None:
        here = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise ZseError(f"{root}: needs {looked_for} (found: {here or 'nothing'})", f"expected: {shape}")
    return found


def add_classes(listing: Listing, folder: Path, modality: str, classes: Classes, instance: Instance) -> None:
    """Add the pictures of `folder`/CLASS/ to a listing; `instance` takes a file's name without its suffix.

    `folder` lies below the listing's root by its name, whatever it links to.
    """
    split = next(iter(classes.parts))
    # from the root down, so that names are relative to it whatever is a link
    depth = len(folder.relative_to(listing.root).parts)
    for file in list_pictures(listing, folder):
        below = file.relative_to(listing.root)
        path, parts = below.as_posix(), below.parts[depth:]
        if len(parts) == 1:
            listing.skipped.append((path, f"does not lie in {folder.name}/CLASS/"))
            continue
        name = classes.class_of_folder(parts[0])
        part = classes.parts[split][name] if name else None
        listing.entries.append(Entry(path, modality, name or parts[0], instance(file.stem), part=part))


def list_pictures(listing: Listing, folder: Path, apart: Collection[Path] = ()) -> list[Path]:
    """The pictures below `folder`; the listing notes what is passed over, or cannot be read.

    Args:
        apart: folders that are passed over, as zse wrote what they hold.
    """
    passed = PassedOver()
    pictures = find_pictures_in(folder, passed, apart)
    for reason, paths in passed.paths.items():
        for path in paths:
            listing.passed.add(reason, Path(path).relative_to(listing.root).as_posix())
    listing.skipped += [(Path(path).relative_to(listing.root).as_posix(), why) for path, why in passed.skipped]
    return pictures


def finish_listing(listing: Listing, classes: Classes) -> Listing:
    """Say what a complete tree has and this one lacks, and give the listing the benchmark's splits."""
    listing.entries, warnings = join_spellings(listing.entries)
    listing.warnings += warnings
    unknown = Counter(e.label for e in listing.entries if e.label not in classes.parts[next(iter(classes.parts))])
    for name, count in sorted(unknown.items())[:FEW]:
        listing.warnings.append(
            f"{name!r} is no class of this data set{did_you_mean(name, classes.names)}; "
            f"its {count} pictures are kept, but in no split"
        )
    if more := sorted(unknown)[FEW:]:
        listing.warnings.append(
            f"{len(more)} more folders are no classes of this data set: {name_few(more)}; "
            f"their {sum(unknown[name] for name in more)} pictures are kept, but in no split"
        )
    for modality, plural in (("sketch", "sketches"), ("photo", "photos")):
        there = {e.label for e in listing.entries if e.modality == modality}
        if missing := [name for name in classes.names if name not in there]:
            listing.warnings.append(f"{len(missing)} classes have no {plural}: {name_few(missing)}")
    warn_of_lone_sketches(listing)
    listing.partition, *others = classes.parts
    listing.partitions = {name: classes.parts[name] for name in others}
    return listing


def warn_of_lone_sketches(listing: Listing) -> None:
    """Warn of sketches whose own photo is not there."""
    photos = {(e.label, e.instance) for e in listing.entries if e.modality == "photo"}
    drawn = (e for e in listing.entries if e.modality == "sketch" and e.instance)
    lost = [e.path for e in drawn if (e.label, e.instance) not in photos]
    if lost:
        listing.warnings.append(f"{len(lost)} sketches have no photo of their own: {name_few(lost)}")
