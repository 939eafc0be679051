"""QMUL ShoeV2 and ChairV2: one class, several sketches a photo, a split by objects."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from zsecli.data.pictures import SUFFIXES
from zsecli.data.source import Entry, Listing
from zsecli.data.sources.options import Options
from zsecli.data.sources.tree import alone, needed, some, subfolder
from zsecli.errors import ZseError


def reader(name: str, label: str) -> Callable[..., Listing]:
    """The reader of ShoeV2 or ChairV2, whose pictures all are of the class `label`."""
    lists = "photo_train.txt, photo_test.txt, sketch_train.txt, sketch_test.txt"
    shape = f"{name}_photo/*.png and {name}_sketch/*.png with {lists}; or trainA, trainB, testA, testB"

    def read(root: Path, options: Options) -> Listing:
        listing = Listing(root.resolve(), [])
        if subfolder([root], "trainA"):
            found = list(_repacked(listing, root, shape))
        else:
            found = list(_listed(listing, root, name, shape))
        photos = {file.stem for modality, file, _ in found if modality == "photo"}
        for modality, file, part in found:
            instance = file.stem if modality == "photo" else _drawn(file.stem, photos)
            path = file.relative_to(listing.root).as_posix()
            listing.entries.append(Entry(path, modality, label, instance, part=part))
        alone(listing)
        return listing

    return read


Found = tuple[str, Path, str | None]  # modality, file, part


def _drawn(stem: str, photos: set[str]) -> str:
    head = stem.rpartition("_")[0]
    return head if head and (head in photos or stem not in photos) else stem


def _pictures(listing: Listing, folder: Path) -> Iterator[Path]:
    for file in sorted((listing.root / folder.name).iterdir()):
        if not file.name.startswith(".") and not file.is_dir():
            if file.suffix.lower() in SUFFIXES:
                yield file
            else:
                listing.others.append(file.relative_to(listing.root).as_posix())


def _repacked(listing: Listing, root: Path, shape: str) -> Iterator[Found]:
    """trainA and testA hold the sketches, trainB and testB the photos."""
    for name, modality, part in (
        ("trainA", "sketch", "seen"),
        ("trainB", "photo", "seen"),
        ("testA", "sketch", "unseen"),
        ("testB", "photo", "unseen"),
    ):
        folder = needed(subfolder([root], name), root, f"a folder {name}/", shape)
        listing.layout[name] = folder.name
        yield from ((modality, file, part) for file in _pictures(listing, folder))


def _listed(listing: Listing, root: Path, name: str, shape: str) -> Iterator[Found]:
    """Two folders of pictures, and four lists that say which of them train."""
    for modality in ("photo", "sketch"):
        names = (f"{name}_{modality}_png", f"{name}_{modality}", modality)
        folder = needed(subfolder([root], *names), root, f"a folder {name}_{modality}/", shape)
        listing.layout[f"{modality} folder"] = folder.name
        files = list(_pictures(listing, folder))
        if not files:
            raise ZseError(f"{folder}: holds no picture", "SVG drawings must be rendered as PNG first")
        parts = _parts(listing, root, modality, {file.stem for file in files}, shape)
        if unlisted := [file.name for file in files if file.stem not in parts]:
            listing.warnings.append(
                f"{len(unlisted)} {modality} files are in no list, so in no split: {some(unlisted)}"
            )
        yield from ((modality, file, parts.get(file.stem)) for file in files)


def _parts(listing: Listing, root: Path, modality: str, there: set[str], shape: str) -> dict[str, str]:
    """Stem -> part of one modality; the lists may lie anywhere below the root."""
    parts: dict[str, str] = {}
    for part, end in (("seen", "train"), ("unseen", "test")):
        at = next(iter(sorted(root.rglob(f"{modality}_{end}.txt"))), None)
        if at is None:
            raise ZseError(f"{root}: needs {modality}_{end}.txt, which says what is for {end}", f"expected: {shape}")
        for number, line in enumerate(at.read_text("utf-8-sig", errors="replace").splitlines(), 1):
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
