"""Sketchy: photos with several sketches each, and the extended photos that have none."""

from __future__ import annotations

from pathlib import Path

from zsecli.data.sources.base import Listing, name_few
from zsecli.data.sources.class_folders import (
    add_classes,
    find_subfolder,
    finish_listing,
    list_folders_below,
    require_folder,
    unwrap_folder,
)
from zsecli.data.sources.classes import Classes
from zsecli.data.sources.options import Options
from zsecli.errors import ZseError
from zsecli.runtime.textfiles import read_lines

SHAPE = (
    "256x256/sketch/tx_000000000000/CLASS/*.png, 256x256/photo/tx_000000000000/CLASS/*.jpg, "
    "EXTEND_image_sketchy/CLASS/*.jpg"
)
EXTENDED = (
    *("EXTEND_image_sketchy_ready", "EXTEND_image_sketchy", "extended_photo"),
    *("EXTEND_image_sketchy_ver1", "extended_photos"),
)
INVALID = ("error", "ambiguous", "pose", "context")


def read(root: Path, options: Options) -> Listing:
    """The tree below `root`; ZseError where it has another shape or lacks the variant."""
    classes, root = Classes("sketchy"), root.resolve()
    base = _base(root)
    sketches, photos = (
        require_folder(find_subfolder([base], name), root, f"a folder {name}/", SHAPE) for name in ("sketch", "photo")
    )
    listing = Listing(root, [])
    drawn = _variant(sketches, classes, options.variant)
    if drawn is None:
        there = sorted(p.name for p in sketches.iterdir() if p.is_dir())
        raise ZseError(f"{sketches}: has no {options.variant or 'tx_*'}", f"there: {name_few(there)}")
    taken = _variant(photos, classes, options.variant)
    if taken is None:
        taken = require_folder(_variant(photos, classes, None), root, "photo/tx_*/CLASS/", SHAPE)
        listing.warnings.append(f"the photos have no {options.variant}: {taken.name} is taken")
    places = [root, base, base.parent] if base != root else [root]
    extended = find_subfolder(places, *EXTENDED) if options.extended else None
    for plural, folder, instance in (("sketches", drawn, _drawn), ("photos", taken, str)):
        listing.layout[plural] = folder.relative_to(root).as_posix()
        add_classes(listing, folder, "sketch" if instance is _drawn else "photo", classes, instance)
    if extended is not None:
        extended = unwrap_folder(extended, classes.class_of_folder)
        _extend(listing, extended, classes)
    elif options.extended:
        listing.layout["extended photos"] = "none"
        listing.warnings.append(f"there are no extended photos ({', '.join(EXTENDED)}); published galleries hold them")
    _info(listing, root)
    return finish_listing(listing, classes)


def _drawn(stem: str) -> str:
    """The photo that a sketch was drawn from: what precedes the last dash."""
    return stem.rpartition("-")[0] or stem


def _base(root: Path) -> Path:
    for folder in (root / "256x256", root / "rendered_256x256" / "256x256", root / "rendered_256x256"):
        if find_subfolder([folder], "photo", "sketch"):
            return folder
    # an archive unpacks into one folder more
    return next((f for f in list_folders_below(root, 2) if {"photo", "sketch"} <= _names_in(f)), root)


def _names_in(folder: Path) -> set[str]:
    return {child.name.lower() for child in folder.iterdir()}


def _variant(folder: Path, classes: Classes, wanted: str | None) -> Path | None:
    """The rendering `wanted`, with `_ready` or without; else the plain one, the first, or classes directly."""
    there = {p.name: p for p in sorted(folder.iterdir()) if p.is_dir()}
    plain = ("tx_000000000000", *sorted(n for n in there if n.startswith("tx_")))
    for name in (wanted.removesuffix("_ready"),) if wanted else plain:
        for spelt in (wanted, f"{name}_ready", name):
            if spelt in there:
                return there[spelt]
    return folder if wanted is None and any(classes.class_of_folder(name) for name in there) else None


def _extend(listing: Listing, folder: Path, classes: Classes) -> None:
    """Add the extended photos; those that are an original again bear its name, and the flag `repeated`."""
    originals = {(e.label, e.instance) for e in listing.entries if e.modality == "photo"}
    start = len(listing.entries)
    add_classes(listing, folder, "photo", classes, str)
    listing.layout["extended photos"] = folder.relative_to(listing.root).as_posix()
    again = {e.path for e in listing.entries[start:] if (e.label, e.instance) in originals}
    listing.flags["repeated"] = again
    if again:
        listing.warnings.append(
            f"{len(again)} extended photos are originals again; they are kept, as published galleries keep them "
            "(--drop repeated leaves them out)"
        )


def _info(listing: Listing, root: Path) -> None:
    """The marks of the info folder: sketches called invalid, photos of the authors' own test set."""
    files = {f.name: f for depth in ("info*", "*/info*", "info*/info*") for f in sorted(root.glob(f"{depth}/*.txt"))}
    named = [(kind, f"invalid-{kind}.txt", "sketch") for kind in INVALID] + [("testset", "testset.txt", "photo")]
    if not any(name in files for _, name, _ in named):
        return
    stems: dict[tuple[str, str], list[str]] = {}
    for entry in listing.entries:
        stems.setdefault((entry.modality, Path(entry.path).stem), []).append(entry.path)
    for flag, name, modality in named:
        if name not in files:
            continue
        lines = read_lines(files[name], errors="replace")
        marked = [_stem(line) for line in lines if line.strip()]
        listing.flags[flag] = {path for stem in marked for path in stems.get((modality, stem), ())}
        if lost := [stem for stem in marked if (modality, stem) not in stems]:
            listing.warnings.append(f"{name} names {len(lost)} pictures that are not there: {name_few(lost)}")


def _stem(line: str) -> str:
    name = line.strip().replace("\\", "/").rpartition("/")[2]
    return name.rsplit(".", 1)[0] if name.lower().endswith((".png", ".jpg", ".jpeg", ".svg")) else name
