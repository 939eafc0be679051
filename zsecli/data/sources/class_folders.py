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

InstanceOf = Callable[[str], str | None]  # name of a file without its suffix -> instance


def find_subfolder(parents: Iterable[Path], *names: str) -> Path | None:
    """The first folder of one of `names`, whatever its capitals, in one of `parents`."""
    for parent in parents:
        if not parent.is_dir():
            continue
        folders = {path.name.lower(): path for path in sorted(parent.iterdir()) if path.is_dir()}
        for name in names:
            if name.lower() in folders:
                return folders[name.lower()]
    return None


def list_folders_below(root: Path, depth: int = 1) -> list[Path]:
    """`root` and the folders down to so many levels below it, the upper ones first: archives unpack into one more."""
    folders = level = [root]
    for _ in range(depth):
        level_below = []
        for folder in level:
            if folder.is_dir():
                level_below += _list_visible_folders(folder)
        folders = folders + level_below
        level = level_below
    return folders


def _list_visible_folders(folder: Path) -> list[Path]:
    folders = [child for child in sorted(folder.iterdir()) if child.is_dir()]
    return [child for child in folders if not child.name.startswith((".", "__"))]


def unwrap_folder(folder: Path, is_class: Callable[[str], object]) -> Path:
    """`folder`, or the only folder in it, down to the one that holds classes: `png/png/CLASS` after unpacking."""
    while True:
        inside = _list_visible_folders(folder)
        if len(inside) != 1 or is_class(inside[0].name):
            return folder
        if not any(child.is_dir() for child in inside[0].iterdir()):
            return folder
        folder = inside[0]


def require_folder(folder: Path | None, root: Path, wanted: str, shape: str) -> Path:
    """`folder`, or a ZseError that says what was looked for below `root`."""
    if folder is None:
        raise ZseError(f"{root}: needs {wanted} (found: {describe_content(root)})", f"expected: {shape}")
    return folder


def describe_content(root: Path) -> str:
    """The first names in a folder, for a message."""
    if not root.is_dir():
        return "no such folder"
    return ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"


def add_classes(listing: Listing, folder: Path, modality: str, classes: Classes, instance_of: InstanceOf) -> None:
    """Add the pictures of `folder`/CLASS/ to a listing.

    Args:
        folder: below the listing's root by its name, whatever it links to.
    """
    depth = len(folder.relative_to(listing.root).parts)
    for file in list_pictures(listing, folder):
        below = file.relative_to(listing.root)  # from the root down, so that names are relative to it despite links
        path, parts = below.as_posix(), below.parts[depth:]
        if len(parts) == 1:
            listing.skipped.append((path, f"does not lie in {folder.name}/CLASS/"))
            continue
        label = classes.class_of_folder(parts[0])
        listing.entries.append(
            Entry(
                path=path,
                modality=modality,
                label=label or parts[0],
                instance=instance_of(file.stem),
                part=classes.main_parts[label] if label else None,
            )
        )


def list_pictures(listing: Listing, folder: Path, excluded: Collection[Path] = ()) -> list[Path]:
    """The pictures below `folder`; the listing notes what is passed over, or cannot be read.

    Args:
        excluded: folders that are passed over, as zse wrote what they hold.
    """
    passed = PassedOver()
    pictures = find_pictures_in(folder, passed, excluded)
    for reason, paths in passed.paths.items():
        for path in paths:
            listing.passed.add(reason, Path(path).relative_to(listing.root).as_posix())
    for path, reason in passed.skipped:
        listing.skipped.append((Path(path).relative_to(listing.root).as_posix(), reason))
    return pictures


def finish_listing(listing: Listing, classes: Classes) -> Listing:
    """Warn of what a complete tree has and this one lacks, and give the listing the benchmark's splits."""
    listing.entries, warnings = join_spellings(listing.entries)
    listing.warnings += warnings
    listing.warnings += _warn_of_unknown_classes(listing, classes)
    for modality, plural in (("sketch", "sketches"), ("photo", "photos")):
        present = {entry.label for entry in listing.entries if entry.modality == modality}
        missing = [name for name in classes.names if name not in present]
        if missing:
            listing.warnings.append(f"{len(missing)} classes have no {plural}: {name_few(missing)}")
    warn_of_lone_sketches(listing)
    listing.partition, *others = classes.parts
    listing.partitions = {name: classes.parts[name] for name in others}
    return listing


def _warn_of_unknown_classes(listing: Listing, classes: Classes) -> list[str]:
    """Warnings of folders that are no classes of the benchmark."""
    counts = Counter(entry.label for entry in listing.entries if entry.label not in classes.main_parts)
    warnings = []
    for name, count in sorted(counts.items())[:FEW]:
        warnings.append(
            f"{name!r} is no class of this data set{did_you_mean(name, classes.names)}; "
            f"its {count} pictures are kept, but in no split"
        )
    more = sorted(counts)[FEW:]
    if more:
        warnings.append(
            f"{len(more)} more folders are no classes of this data set: {name_few(more)}; "
            f"their {sum(counts[name] for name in more)} pictures are kept, but in no split"
        )
    return warnings


def warn_of_lone_sketches(listing: Listing) -> None:
    """Warn of sketches whose own photo is not there."""
    photos = {(entry.label, entry.instance) for entry in listing.entries if entry.modality == "photo"}
    lone = []
    for entry in listing.entries:
        if entry.modality == "sketch" and entry.instance and (entry.label, entry.instance) not in photos:
            lone.append(entry.path)
    if lone:
        listing.warnings.append(f"{len(lone)} sketches have no photo of their own: {name_few(lone)}")
