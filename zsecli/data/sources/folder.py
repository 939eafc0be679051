"""Data sets of one's own: a tree `sketch/CLASS/*`, `photo/CLASS/*`, or a CSV manifest."""

from __future__ import annotations

import csv
import io
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from zsecli.data.folder_walk import HIDDEN, OUTSIDE
from zsecli.data.items import MODALITIES, PARTS
from zsecli.data.names import (
    find_classes,
    find_spelling_on_disk,
    join_classes,
    join_instances,
    join_spellings,
    tidy_name,
    warn_of_lone_classes,
)
from zsecli.data.sources.base import Entry, Listing, name_few
from zsecli.data.sources.class_folders import find_subfolder, list_pictures
from zsecli.errors import UsageError, ZseError, did_you_mean
from zsecli.runtime.textfiles import read_text

INSTANCE_RULES = ("auto", "underscores", "dash", "stem", "none")


COLUMNS = ("path", "modality", "class", "instance", "family", "split")  # of a manifest; the first three it must have


def read(
    source: Path,
    *,
    rule: str = "auto",
    where: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    unseen: Iterable[str] | None = None,
    apart: Collection[Path] = (),
) -> Listing:
    """What the tree or the CSV manifest `source` lists; see `read_tree` and `read_manifest`."""
    check_rule(rule)
    if source.is_file():
        listing = Listing(source.parent.resolve(), read_manifest(source, where or {}, columns or {}), named=True)
        listing.entries, listing.warnings = join_spellings(listing.entries)
    else:
        listing = read_tree(source.resolve(), rule, unseen, apart)
    listing.warnings += warn_of_lone_classes(listing.entries)
    return listing


def read_tree(root: Path, rule: str, unseen: Iterable[str] | None = None, apart: Collection[Path] = ()) -> Listing:
    """What a tree lists; pictures elsewhere below sketch/ and photo/ are skipped, with the reason.

    Args:
        rule: how a name says its instance, see `instance_of`.
        unseen: classes that training must not see; None: all of them.
        apart: folders that are passed over, as zse wrote what they hold.

    Raises:
        ZseError: the tree has another shape, or `unseen` names a class it does not have.
    """
    folders = {m: root / m if (root / m).is_dir() else find_subfolder([root], m) for m in MODALITIES}
    if not all(folders.values()):
        here = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise ZseError(
            f"{root}: needs the folders sketch/CLASS/ and photo/CLASS/ (found: {here or 'nothing'})",
            "pictures without classes need no preparing: zse embed FOLDER",
        )
    listing = Listing(root, [])
    for modality, folder in folders.items():
        assert folder is not None
        for file in list_pictures(listing, folder, apart):
            path, parts = file.relative_to(root).as_posix(), file.relative_to(folder).parts
            if len(parts) == 2:
                listing.entries.append(Entry(path, modality, parts[0], None))
            else:
                listing.skipped.append((path, "does not lie in sketch/CLASS/ or photo/CLASS/"))
    for child in sorted(root.iterdir()):
        if child not in folders.values():
            listing.passed.add(HIDDEN if child.name.startswith(".") else OUTSIDE, child.name)
    listing.entries, listing.warnings = join_classes(listing.entries)
    listing.warnings += _name_instances(listing, rule)
    listing.entries, warnings = join_instances(listing.entries)
    listing.warnings += warnings
    if unseen is not None:
        held_out = find_classes(unseen, (entry.label for entry in listing.entries), root)
        listing.entries = [
            replace(entry, part="unseen" if entry.label in held_out else "seen") for entry in listing.entries
        ]
    return listing


def _name_instances(listing: Listing, rule: str) -> list[str]:
    """Give each entry its instance by the name of its file; returns warnings of names that can be read in two ways."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in listing.entries:
        stems[entry.modality, entry.label].append(_stem(entry))
    photo_stems = {label: set(names) for (modality, label), names in stems.items() if modality == "photo"}
    whole = rule == "auto" and _pair_by_whole_names(stems)
    photos: dict[str, set[str | None]] = {
        label: {instance_of(stem, rule, None, whole=whole) for stem in names} for label, names in photo_stems.items()
    }
    for number, entry in enumerate(listing.entries):
        known = photos.get(entry.label, set()) if entry.modality == "sketch" else None
        listing.entries[number] = replace(entry, instance=instance_of(_stem(entry), rule, known, whole=whole))
    if whole:
        return [
            "sketches and photos have equal names, so an object is called by the whole name, not by what precedes `__` "
            "(--instance-rule underscores takes that)"
        ]
    if rule == "auto" and (several := [label for label, names in photo_stems.items() if len(names) > 1]):
        marked = all("__" in stem for label in several for stem in photo_stems[label])
        if marked and all(len(photos[label]) == 1 for label in several):
            return [
                f"what precedes `__` is the same in all photos of {name_few(several)}, so each such class has one "
                "object (--instance-rule stem takes the whole names)"
            ]
    return []


def _stem(entry: Entry) -> str:
    return tidy_name(PurePosixPath(entry.path).stem)


def _pair_by_whole_names(stems: Mapping[tuple[str, str], list[str]]) -> bool:
    """Whether most of the sketches with `__` in their names are called as a photo of their class, or so and a number.

    Args:
        stems: (modality, class) -> names of its files, without suffix.
    """
    marked = paired = 0
    for (modality, label), names in stems.items():
        photos = set(stems.get(("photo", label), ()))
        for name in names if modality == "sketch" else ():
            marked += "__" in name
            paired += "__" in name and _whole_name(name, photos) is not None
    return 2 * paired > marked


def _whole_name(stem: str, photos: Collection[str | None]) -> str | None:
    """The photo whose whole name, with `__` in it, a sketch has, perhaps with `-N` or `__...` behind it."""
    dash, _, number = stem.rpartition("-")
    names = (stem, dash if number.isdecimal() else "", stem.rpartition("__")[0])
    return next((name for name in names if "__" in name and name in photos), None)


def instance_of(stem: str, rule: str, photos: set[str | None] | None, *, whole: bool = False) -> str | None:
    """The instance that a file's name (without suffix) stands for.

    `underscores`: what precedes `__`. `dash`: what precedes the last `-`. `stem`: the whole name.
    `none`: nothing. `auto`: what precedes `__` where there is one; else a photo's whole name, and for
    a sketch (`photos`: the instances of its class's photos) that name too, unless it is no photo's and
    what precedes the last `-` is one, or what follows it is a number. Anything else is a regular
    expression whose first group is the instance.

    Args:
        photos: of a sketch, the instances of its class's photos; None for a photo.
        whole: `auto` takes whole names with `__` too, as sketches and photos have equal ones.
    """
    head, _, tail = stem.rpartition("-")
    if rule == "none":
        return None
    if rule == "stem":
        return stem
    if rule == "underscores" or (rule == "auto" and "__" in stem and not whole):
        return stem.split("__")[0]
    if rule == "dash":
        return head or stem
    if rule == "auto":
        if whole and photos and (found := _whole_name(stem, photos)):
            return found
        cut = photos is not None and stem not in photos and (head in photos or tail.isdecimal())
        return head if head and cut else stem
    match = re.search(rule, stem)
    return match[1] if match else None


def check_rule(rule: str) -> str:
    """`rule` if it is a known name or a regular expression with a group; UsageError otherwise."""
    if rule in INSTANCE_RULES:
        return rule
    try:
        if re.compile(rule).groups:
            return rule
    except re.error as error:
        raise UsageError(
            f"instance rule {rule!r}: {error}", f"rules: {', '.join(INSTANCE_RULES)}, or a regular expression"
        ) from error
    raise UsageError(
        f"instance rule {rule!r} is unknown",
        f"rules: {', '.join(INSTANCE_RULES)}, or a regular expression with a (group)"
        f"{did_you_mean(rule, INSTANCE_RULES)}",
    )


def read_manifest(manifest: Path, where: Mapping[str, str], columns: Mapping[str, str]) -> list[Entry]:
    """Entries of a CSV file with the columns path, modality, class and perhaps instance, family and split.

    Args:
        where: keep the rows whose column has this value.
        columns: one of `COLUMNS` -> the column that holds it in this file, where that is another.

    Raises:
        UsageError: `columns` names none of `COLUMNS`.
        ZseError: a column is missing or there twice, a row has more or fewer cells, a value is none of those allowed, a
            path occurs twice, or nothing is left.
    """
    for name in columns:
        if name not in COLUMNS:
            raise UsageError(
                f"--column {name}={columns[name]}: a manifest says no {name!r}{did_you_mean(name, COLUMNS)}",
                f"one of {', '.join(COLUMNS)}",
            )
    try:
        table = io.StringIO(read_text(manifest), newline="")
        first = table.readline()
        table.seek(0)
        # spreadsheets write semicolons or tabs where the comma is the sign of decimals
        delimiter = next((sign for sign in ",;\t" if sign in first), ",")
        reader = csv.DictReader(table, delimiter=delimiter)
        reader.fieldnames = there = [name.strip() for name in reader.fieldnames or []]
        for name in (*(columns.get(c, c) for c in COLUMNS[:3]), *columns.values(), *where):
            if name not in there:
                raise ZseError(
                    f"{manifest}: has no column {name!r}{did_you_mean(name, there)}", f"its columns: {name_few(there)}"
                )
        for name in (*(columns.get(c, c) for c in COLUMNS), *where):
            if there.count(name) > 1:
                raise ZseError(f"{manifest}: has two columns {name!r}", "rename or delete one of them")
        rows = []
        for row in reader:
            if None in row or None in row.values():  # what csv makes of a row that is longer or shorter
                raise ZseError(
                    f"{manifest}, line {reader.line_num}: has {'more' if None in row else 'fewer'} cells than the "
                    f"{len(there)} columns",
                    "quote a value with a comma, and keep the commas of empty cells",
                )
            if all(tidy_name(row[c]) == tidy_name(v) for c, v in where.items()):
                rows.append((reader.line_num, row | {name: row[column] for name, column in columns.items()}))
    except OSError as error:
        raise ZseError(f"{manifest}: {error.strerror}", "give a CSV file that can be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ZseError(f"{manifest}: not a CSV file in UTF-8: {error}", "save it as CSV UTF-8") from error
    if not rows:
        raise ZseError(
            f"{manifest}: no row is left",
            f"--where {' '.join(f'{c}={v}' for c, v in where.items())} leaves out all" if where else "it is empty",
        )
    return _entries(manifest, rows)


def _entries(manifest: Path, rows: list[tuple[int, dict[str, str]]]) -> list[Entry]:
    entries, lines = [], dict[str, int]()
    for line, row in rows:
        path, part = row["path"], tidy_name(row.get("split") or "").lower() or None
        modality = tidy_name(row["modality"]).lower()
        at = f"{manifest}, line {line}"
        if any("\0" in value for value in row.values()):
            raise ZseError(f"{at}: holds a zero byte", "save it as CSV UTF-8")
        if modality not in MODALITIES:
            raise ZseError(f"{at}: modality {row['modality']!r}", "it is sketch or photo")
        if "split" in row and part not in (None, *PARTS):
            raise ZseError(f"{at}: split {part!r}", "it is seen, unseen or empty")
        if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ZseError(f"{at}: path {path!r}", "paths are relative to the manifest's folder and stay below it")
        path = find_spelling_on_disk(manifest.parent, PurePosixPath(path).as_posix())  # ./a.png is a.png
        if path in lines:
            raise ZseError(f"{at}: {path} stands in line {lines[path]} already", "every picture has one line")
        lines[path] = line
        entries.append(
            Entry(
                path,
                modality,
                row["class"],
                row.get("instance") or None,
                row.get("family") or None,
                part if "split" in row else "unseen",
            )
        )
    return entries
