"""QMUL ShoeV2 and ChairV2: one class, several sketches a photo, a split by objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from zsecli.data.folder_walk import NO_PICTURE
from zsecli.data.sources.base import Entry, Listing, name_few
from zsecli.data.sources.class_folders import (
    find_subfolder,
    list_folders_below,
    list_pictures,
    require_folder,
    warn_of_lone_sketches,
)
from zsecli.data.sources.options import SourceOptions
from zsecli.data.sources.source import Benchmark
from zsecli.errors import ZseError
from zsecli.images.formats import SUFFIXES
from zsecli.runtime.textfiles import read_lines

LISTS = "photo_train.txt, photo_test.txt, sketch_train.txt, sketch_test.txt"


class Picture(NamedTuple):
    modality: str
    file: Path
    part: str | None


class PackedFolder(NamedTuple):
    """A folder that holds one modality of one part."""

    names: tuple[str, ...]  # from the root on
    modality: str
    part: str


def _train_and_test(sketches: str, photos: str) -> tuple[PackedFolder, ...]:
    return (
        PackedFolder(("train", sketches), "sketch", "seen"),
        PackedFolder(("train", photos), "photo", "seen"),
        PackedFolder(("test", sketches), "sketch", "unseen"),
        PackedFolder(("test", photos), "photo", "unseen"),
    )


# How other code arranges the pictures by parts.
PACKED = (
    (
        PackedFolder(("trainA",), "sketch", "seen"),
        PackedFolder(("trainB",), "photo", "seen"),
        PackedFolder(("testA",), "sketch", "unseen"),
        PackedFolder(("testB",), "photo", "unseen"),
    ),
    _train_and_test("sketch", "photo"),
    _train_and_test("sketch", "photos"),
    _train_and_test("sketch", "images"),
    _train_and_test("sketch", "image"),
    _train_and_test("sketches", "photo"),
    _train_and_test("sketches", "photos"),
    _train_and_test("sketches", "images"),
    _train_and_test("sketches", "image"),
)


def make_reader(name: str, label: str) -> Callable[[Path, SourceOptions], Listing]:
    """The reader of ShoeV2 or ChairV2, whose pictures all are of the class `label`."""
    shape = f"{name}_photo/*.png and {name}_sketch/*.png with {LISTS}; or trainA, trainB, testA, testB"

    def read(root: Path, options: SourceOptions) -> Listing:
        listing = Listing(root=root.resolve())
        folders = list_folders_below(listing.root)
        folders = [folder for folder in folders if not _is_of_other_set(folder, listing.root, label)]
        packed = _find_packed(folders)
        if packed is not None:
            pictures = list(_list_packed(listing, folders, packed))
        else:
            pictures = list(_list_by_files(listing, folders, name, label, shape))
        photos = {picture.file.stem for picture in pictures if picture.modality == "photo"}
        for modality, file, part in pictures:
            instance = file.stem if modality == "photo" else _photo_of_sketch(file.stem, photos)
            path = file.relative_to(listing.root).as_posix()
            listing.entries.append(Entry(path=path, modality=modality, label=label, instance=instance, part=part))
        warn_of_lone_sketches(listing)
        return listing

    return read


def _photo_of_sketch(stem: str, photos: set[str]) -> str:
    """The photo that a sketch was drawn from: what precedes the last `_`, unless the whole name is a photo's."""
    head = stem.rpartition("_")[0]
    return head if head and (head in photos or stem not in photos) else stem


def _list_png(listing: Listing, folder: Path) -> list[Path]:
    """The pictures in `folder`; the SVG files that the sketches were drawn as are none."""
    pictures = []
    for file in list_pictures(listing, folder):
        if file.suffix.lower() == ".svg":
            listing.passed.add(NO_PICTURE, file.relative_to(listing.root).as_posix())
        else:
            pictures.append(file)
    return pictures


def _is_of_other_set(folder: Path, root: Path, label: str) -> bool:
    """Whether a folder below `root` is, by its names, of the other data set: both are often kept in one place."""
    names = folder.relative_to(root).as_posix().lower()
    other = "chair" if label == "shoe" else "shoe"
    return other in names and label not in names


def _find_packed(folders: list[Path]) -> tuple[PackedFolder, ...] | None:
    """The arrangement by parts of which all folders are there; None where there is none."""
    for packed in PACKED:
        if all(_find_nested_folder(folders, folder.names) for folder in packed):
            return packed
    return None


def _find_nested_folder(parents: list[Path], names: tuple[str, ...]) -> Path | None:
    """The folder of these names, one within the other, in the first of `parents` that has it."""
    for parent in parents:
        folder: Path | None = parent
        for name in names:
            folder = find_subfolder([folder], name) if folder else None
        if folder:
            return folder
    return None


def _list_packed(listing: Listing, folders: list[Path], packed: tuple[PackedFolder, ...]) -> Iterator[Picture]:
    """The pictures of a folder for each modality of each part."""
    for names, modality, part in packed:
        folder = _find_nested_folder(folders, names)
        assert folder is not None
        listing.layout["/".join(names)] = folder.relative_to(listing.root).as_posix()
        for file in _list_png(listing, folder):
            yield Picture(modality, file, part)


def _list_by_files(listing: Listing, folders: list[Path], name: str, label: str, shape: str) -> Iterator[Picture]:
    """The pictures of two folders, and four lists that say which of them are for training."""
    root = listing.root
    for modality in ("photo", "sketch"):
        folder = find_subfolder(folders, f"{name}_{modality}_png", f"{name}_{modality}", modality)
        folder = require_folder(folder, root, f"a folder {name}_{modality}/", shape)
        listing.layout[f"{modality} folder"] = folder.relative_to(root).as_posix()
        files = _list_png(listing, folder)
        if not files:
            raise ZseError(f"{folder}: holds no picture", "SVG drawings must be rendered as PNG first")
        part_of = _read_parts(listing, label, modality, {file.stem for file in files}, shape)
        unlisted = [file.name for file in files if file.stem not in part_of]
        if unlisted:
            listing.warnings.append(
                f"{len(unlisted)} {modality} files are in no list, so in no split: {name_few(unlisted)}"
            )
        for file in files:
            yield Picture(modality, file, part_of.get(file.stem))


def _read_parts(listing: Listing, label: str, modality: str, stems: set[str], shape: str) -> dict[str, str]:
    """Stem -> part of one modality; the lists may be anywhere below the root.

    Args:
        stems: of the files that are there.
    """
    root = listing.root
    part_of: dict[str, str] = {}
    for part, use in (("seen", "train"), ("unseen", "test")):
        lists = sorted(root.rglob(f"{modality}_{use}.txt"))
        lists = [file for file in lists if not _is_of_other_set(file.parent, root, label)]
        if not lists:
            raise ZseError(f"{root}: needs {modality}_{use}.txt, which says what is for {use}", f"expected: {shape}")
        file = lists[0]
        for number, line in enumerate(read_lines(file, errors="replace"), 1):
            stem = _read_stem(line)
            if not stem:
                continue
            if part_of.setdefault(stem, part) != part:
                raise ZseError(
                    f"{file}, line {number}: {stem} is in {modality}_train.txt already", "mend one of the lists"
                )
            if stem not in stems:
                listing.skipped.append((line.strip(), f"{file.name}, line {number}: no such file"))
    return part_of


def _read_stem(line: str) -> str:
    """The name that a line means: lists call the sketches by the SVG files that the PNG files were made from."""
    path = Path(line.strip().replace("\\", "/"))
    return path.stem if path.suffix.lower() in (*SUFFIXES, ".svg") else path.name


read_shoe = make_reader("ShoeV2", "shoe")
read_chair = make_reader("ChairV2", "chair")


def _benchmark(name: str, folder: str, reader: Callable[..., Listing]) -> Benchmark:
    return Benchmark(
        name=name,
        reader=reader,
        home="the SketchX group of QMUL (sketchx.eecs.qmul.ac.uk)",
        shape=f"{folder}_photo/, {folder}_sketch/, photo_train.txt ... sketch_test.txt; "
        "or trainA, trainB, testA, testB",
        folder_names=(name, folder, f"QMUL/{folder}"),
    )


SHOE, CHAIR = _benchmark("shoe", "ShoeV2", read_shoe), _benchmark("chair", "ChairV2", read_chair)
