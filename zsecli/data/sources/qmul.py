"""QMUL ShoeV2 and ChairV2: one class, several sketches a photo, a split by objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from zsecli.data.folder_walk import NO_PICTURE
from zsecli.data.sources.base import Entry, Listing, name_few
from zsecli.data.sources.class_folders import (
    find_subfolder,
    list_folders_below,
    list_pictures,
    require_folder,
    warn_of_lone_sketches,
)
from zsecli.data.sources.options import Options
from zsecli.errors import ZseError
from zsecli.images.decode import SUFFIXES
from zsecli.runtime.textfiles import read_lines


def reader(name: str, label: str) -> Callable[..., Listing]:
    """The reader of ShoeV2 or ChairV2, whose pictures all are of the class `label`."""
    lists = "photo_train.txt, photo_test.txt, sketch_train.txt, sketch_test.txt"
    shape = f"{name}_photo/*.png and {name}_sketch/*.png with {lists}; or trainA, trainB, testA, testB"

    def read(root: Path, options: Options) -> Listing:
        listing = Listing(root.resolve(), [])
        places = [place for place in list_folders_below(listing.root) if not _of_another(place, listing.root, label)]
        if packed := next((p for p in _PACKED if all(_packed_folder(places, names) for names, _, _ in p)), None):
            found = list(_repacked(listing, places, packed))
        else:
            found = list(_listed(listing, places, name, label, shape))
        photos = {file.stem for modality, file, _ in found if modality == "photo"}
        for modality, file, part in found:
            instance = file.stem if modality == "photo" else _drawn(file.stem, photos)
            path = file.relative_to(listing.root).as_posix()
            listing.entries.append(Entry(path, modality, label, instance, part=part))
        warn_of_lone_sketches(listing)
        return listing

    return read


Found = tuple[str, Path, str | None]  # modality, file, part


def _drawn(stem: str, photos: set[str]) -> str:
    head = stem.rpartition("_")[0]
    return head if head and (head in photos or stem not in photos) else stem


def _pictures(listing: Listing, folder: Path) -> list[Path]:
    """The pictures in `folder`; the SVG files that the sketches were drawn as are none."""
    found = list_pictures(listing, folder)
    for file in found:
        if file.suffix.lower() == ".svg":
            listing.passed.add(NO_PICTURE, file.relative_to(listing.root).as_posix())
    return [file for file in found if file.suffix.lower() != ".svg"]


Packed = tuple[tuple[str, ...], str, str]  # names of a folder from the root on, modality, part
_PHOTOS, _SKETCHES = ("photo", "photos", "images", "image"), ("sketch", "sketches")
_PACKED: tuple[tuple[Packed, ...], ...] = (  # the ways in which other code lays the pictures out by parts
    (
        (("trainA",), "sketch", "seen"),
        (("trainB",), "photo", "seen"),
        (("testA",), "sketch", "unseen"),
        (("testB",), "photo", "unseen"),
    ),
    *(
        (
            (("train", sketches), "sketch", "seen"),
            (("train", photos), "photo", "seen"),
            (("test", sketches), "sketch", "unseen"),
            (("test", photos), "photo", "unseen"),
        )
        for sketches in _SKETCHES
        for photos in _PHOTOS
    ),
)


def _of_another(folder: Path, root: Path, label: str) -> bool:
    """Whether a folder below `root` is, by its names, of the other data set: both are often kept in one place."""
    names = folder.relative_to(root).as_posix().lower()
    return any(other in names for other in {"shoe", "chair"} - {label}) and label not in names


def _packed_folder(places: list[Path], names: tuple[str, ...]) -> Path | None:
    """The folder of these names, one within the other, in the first of `places` that has it."""
    for place in places:
        found: Path | None = place
        for name in names:
            found = find_subfolder([found], name) if found else None
        if found:
            return found
    return None


def _repacked(listing: Listing, places: list[Path], packed: tuple[Packed, ...]) -> Iterator[Found]:
    """A folder for each modality of each part: trainA and testA hold the sketches, trainB and testB the photos."""
    for names, modality, part in packed:
        folder = _packed_folder(places, names)
        assert folder is not None
        listing.layout["/".join(names)] = folder.relative_to(listing.root).as_posix()
        yield from ((modality, file, part) for file in _pictures(listing, folder))


def _listed(listing: Listing, places: list[Path], name: str, label: str, shape: str) -> Iterator[Found]:
    """Two folders of pictures, and four lists that say which of them train."""
    root = listing.root
    for modality in ("photo", "sketch"):
        names = (f"{name}_{modality}_png", f"{name}_{modality}", modality)
        folder = require_folder(find_subfolder(places, *names), root, f"a folder {name}_{modality}/", shape)
        listing.layout[f"{modality} folder"] = folder.relative_to(root).as_posix()
        files = list(_pictures(listing, folder))
        if not files:
            raise ZseError(f"{folder}: holds no picture", "SVG drawings must be rendered as PNG first")
        parts = _parts(listing, label, modality, {file.stem for file in files}, shape)
        if unlisted := [file.name for file in files if file.stem not in parts]:
            listing.warnings.append(
                f"{len(unlisted)} {modality} files are in no list, so in no split: {name_few(unlisted)}"
            )
        yield from ((modality, file, parts.get(file.stem)) for file in files)


def _parts(listing: Listing, label: str, modality: str, there: set[str], shape: str) -> dict[str, str]:
    """Stem -> part of one modality; the lists may lie anywhere below the root."""
    parts, root = dict[str, str](), listing.root
    for part, end in (("seen", "train"), ("unseen", "test")):
        found = sorted(root.rglob(f"{modality}_{end}.txt"))
        at = next((file for file in found if not _of_another(file.parent, root, label)), None)
        if at is None:
            raise ZseError(f"{root}: needs {modality}_{end}.txt, which says what is for {end}", f"expected: {shape}")
        for number, line in enumerate(read_lines(at, errors="replace"), 1):
            stem = _stem(line)
            if stem and parts.setdefault(stem, part) != part:
                raise ZseError(
                    f"{at}, line {number}: {stem} is in {modality}_train.txt already", "mend one of the lists"
                )
            if stem and stem not in there:
                listing.skipped.append((line.strip(), f"{at.name}, line {number}: no such file"))
    return parts


def _stem(line: str) -> str:
    """The name that a line means: lists call the sketches by the SVG files that the PNG files were made from."""
    path = Path(line.strip().replace("\\", "/"))
    return path.stem if path.suffix.lower() in (*SUFFIXES, ".svg") else path.name


shoe, chair = reader("ShoeV2", "shoe"), reader("ChairV2", "chair")
