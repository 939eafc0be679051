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
from zsecli.data.sources.options import SourceOptions
from zsecli.data.sources.source import Benchmark
from zsecli.errors import ZseError
from zsecli.runtime.textfiles import read_lines

SHAPE = (
    "256x256/sketch/tx_000000000000/CLASS/*.png, 256x256/photo/tx_000000000000/CLASS/*.jpg, "
    "EXTEND_image_sketchy/CLASS/*.jpg"
)
EXTENDED = (
    "EXTEND_image_sketchy_ready",
    "EXTEND_image_sketchy",
    "extended_photo",
    "EXTEND_image_sketchy_ver1",
    "extended_photos",
)
# Marks of the info folder: flag -> list of names, modality of the pictures that it names.
MARKS = {
    "error": ("invalid-error.txt", "sketch"),
    "ambiguous": ("invalid-ambiguous.txt", "sketch"),
    "pose": ("invalid-pose.txt", "sketch"),
    "context": ("invalid-context.txt", "sketch"),
    "testset": ("testset.txt", "photo"),  # the authors' own
}


def read(root: Path, options: SourceOptions) -> Listing:
    """The tree below `root`; ZseError where it has another shape or lacks the variant."""
    classes = Classes("sketchy")
    root = root.resolve()
    base = _find_base(root)
    sketches = require_folder(find_subfolder([base], "sketch"), root, "a folder sketch/", SHAPE)
    photos = require_folder(find_subfolder([base], "photo"), root, "a folder photo/", SHAPE)
    listing = Listing(root=root)
    drawn = _find_variant(sketches, classes, options.variant)
    if drawn is None:
        names = sorted(path.name for path in sketches.iterdir() if path.is_dir())
        raise ZseError(f"{sketches}: has no {options.variant or 'tx_*'}", f"there: {name_few(names)}")
    taken = _find_variant(photos, classes, options.variant)
    if taken is None:
        taken = require_folder(_find_variant(photos, classes, None), root, "photo/tx_*/CLASS/", SHAPE)
        listing.warnings.append(f"the photos have no {options.variant}: {taken.name} is taken")
    listing.layout["sketches"] = drawn.relative_to(root).as_posix()
    add_classes(listing, drawn, "sketch", classes, _photo_of_sketch)
    listing.layout["photos"] = taken.relative_to(root).as_posix()
    add_classes(listing, taken, "photo", classes, str)
    if not options.originals:
        _add_extended_photos(listing, base, classes)
    _add_marks(listing, root)
    return finish_listing(listing, classes)


def _photo_of_sketch(stem: str) -> str:
    """The photo that a sketch was drawn from: what precedes the last dash."""
    return stem.rpartition("-")[0] or stem


def _find_base(root: Path) -> Path:
    """The folder that holds the folders of sketches and photos."""
    for folder in (root / "256x256", root / "rendered_256x256" / "256x256", root / "rendered_256x256"):
        if find_subfolder([folder], "photo", "sketch"):
            return folder
    for folder in list_folders_below(root, 2):  # an archive unpacks into one folder more
        if {"photo", "sketch"} <= {child.name.lower() for child in folder.iterdir()}:
            return folder
    return root


def _find_variant(folder: Path, classes: Classes, variant: str | None) -> Path | None:
    """The rendering `variant`, with `_ready` or without; else the plain one, the first, or classes directly."""
    folders = {path.name: path for path in sorted(folder.iterdir()) if path.is_dir()}
    if variant is not None:
        names = [variant.removesuffix("_ready")]
    else:
        names = ["tx_000000000000", *sorted(name for name in folders if name.startswith("tx_"))]
    for name in names:
        for spelling in (variant, f"{name}_ready", name):
            if spelling in folders:
                return folders[spelling]
    if variant is None and any(classes.class_of_folder(name) for name in folders):
        return folder
    return None


def _add_extended_photos(listing: Listing, base: Path, classes: Classes) -> None:
    """Add the extended photos; those that are an original again have its name, and the flag `repeated`."""
    root = listing.root
    folder = find_subfolder([root, base, base.parent] if base != root else [root], *EXTENDED)
    if folder is None:
        listing.layout["extended photos"] = "none"
        listing.warnings.append(f"there are no extended photos ({', '.join(EXTENDED)}); published galleries hold them")
        return
    folder = unwrap_folder(folder, classes.class_of_folder)
    originals = {(entry.label, entry.instance) for entry in listing.entries if entry.modality == "photo"}
    count_before = len(listing.entries)
    add_classes(listing, folder, "photo", classes, str)
    listing.layout["extended photos"] = folder.relative_to(root).as_posix()
    extended = listing.entries[count_before:]
    repeated = {entry.path for entry in extended if (entry.label, entry.instance) in originals}
    listing.flags["repeated"] = repeated
    if repeated:
        listing.warnings.append(
            f"{len(repeated)} extended photos are originals again; they are kept, as published galleries keep them "
            "(--drop repeated leaves them out)"
        )


def _add_marks(listing: Listing, root: Path) -> None:
    """Flag the pictures that the lists of the info folder name."""
    files: dict[str, Path] = {}
    for folder in ("info*", "*/info*", "info*/info*"):
        for file in sorted(root.glob(f"{folder}/*.txt")):
            files[file.name] = file
    if not any(name in files for name, _ in MARKS.values()):
        return
    paths_of: dict[tuple[str, str], list[str]] = {}  # (modality, stem) -> paths
    for entry in listing.entries:
        paths_of.setdefault((entry.modality, Path(entry.path).stem), []).append(entry.path)
    for flag, (name, modality) in MARKS.items():
        if name not in files:
            continue
        lines = read_lines(files[name], errors="replace")
        stems = [_read_stem(line) for line in lines if line.strip()]
        marked: set[str] = set()
        lost = []
        for stem in stems:
            paths = paths_of.get((modality, stem), [])
            marked.update(paths)
            if not paths:
                lost.append(stem)
        listing.flags[flag] = marked
        if lost:
            listing.warnings.append(f"{name} names {len(lost)} pictures that are not there: {name_few(lost)}")


def _read_stem(line: str) -> str:
    """The name of a picture, without folders and suffix, in a line of a list."""
    name = line.strip().replace("\\", "/").rpartition("/")[2]
    has_suffix = name.lower().endswith((".png", ".jpg", ".jpeg", ".svg"))
    return name.rsplit(".", 1)[0] if has_suffix else name


SOURCE = Benchmark(
    name="sketchy",
    reader=read,
    home="sketchy.eye.gatech.edu",
    shape=SHAPE,
    folder_names=("sketchy", "Sketchy", "Sketchy_Extended", "sketchy_extend"),
    options=frozenset({"lists", "variant", "originals"}),
)
