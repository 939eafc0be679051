"""Data sets of one's own: a tree `sketch/CLASS/*`, `photo/CLASS/*`, or a CSV manifest."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from zsecli.data.pictures import SUFFIXES, by_name
from zsecli.data.source import Entry, Listing
from zsecli.data.sources.tree import some
from zsecli.errors import UsageError, ZseError, nearest
from zsecli.store.items import MODALITIES, PARTS

INSTANCE_RULES = ("auto", "underscores", "dash", "stem", "none")


COLUMNS = ("path", "modality", "class", "instance", "family", "split")  # of a manifest; the first three it must have


def read(
    source: Path,
    *,
    rule: str = "auto",
    where: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    unseen: Iterable[str] | None = None,
) -> Listing:
    """What the tree or the CSV manifest `source` lists; see `read_tree` and `read_manifest`."""
    check_rule(rule)
    if source.is_file():
        return Listing(source.parent.resolve(), read_manifest(source, where or {}, columns or {}))
    entries, others, strays = read_tree(source.resolve(), rule, unseen)
    skipped = [(path, "does not lie in sketch/CLASS/ or photo/CLASS/") for path in strays]
    return Listing(source.resolve(), entries, others=others, skipped=skipped)


def read_tree(root: Path, rule: str, unseen: Iterable[str] | None = None) -> tuple[list[Entry], list[str], list[str]]:
    """Entries of a tree, the files among them that are no pictures by their names, and the pictures elsewhere in it.

    What begins with a dot is left alone.

    Args:
        rule: how a name says its instance, see `instance_of`.
        unseen: classes that training must not see; None: all of them.

    Raises:
        ZseError: the tree has another shape, or `unseen` names a class it does not have.
    """
    folders = {m: root / m for m in MODALITIES}
    if not all(f.is_dir() for f in folders.values()):
        here = ", ".join(sorted(p.name for p in root.iterdir())[:8]) if root.is_dir() else "no such folder"
        raise ZseError(
            f"{root}: needs the folders sketch/CLASS/ and photo/CLASS/ (found: {here or 'nothing'})",
            "pictures without classes need no preparing: zse embed FOLDER",
        )
    files: dict[str, list[Path]] = {m: [] for m in MODALITIES}
    strays = []
    for modality, folder in folders.items():
        for file in sorted({*folder.glob("*/*"), *folder.rglob("*")}):  # rglob follows no link to a folder, glob does
            parts = file.relative_to(folder).parts
            if file.is_dir() or any(part.startswith(".") for part in parts):
                continue
            if len(parts) == 2:
                files[modality].append(file)
            elif file.suffix.lower() in SUFFIXES:
                strays.append(file.relative_to(root).as_posix())
    classes = {f.parent.name for found in files.values() for f in found}
    for name in unseen or ():
        if name not in classes:
            raise ZseError(
                f"{root}: has no class {name!r}{nearest(name, classes)}",
                "the list of unseen classes has one folder name a line",
            )
    pictures = by_name([*files["sketch"], *files["photo"]])
    photos: dict[str, set[str | None]] = {name: set() for name in classes}
    for file in files["photo"]:
        if file in pictures:
            photos[file.parent.name].add(instance_of(file.stem, rule, None))
    entries, others = [], []
    for kind, found in files.items():
        for file in found:
            path, label = file.relative_to(root).as_posix(), file.parent.name
            if file not in pictures:
                others.append(path)
                continue
            instance = instance_of(file.stem, rule, photos[label] if kind == "sketch" else None)
            part = "unseen" if unseen is None or label in unseen else "seen"
            entries.append(Entry(path, kind, label, instance, part=part))
    return entries, others, strays


def instance_of(stem: str, rule: str, photos: set[str | None] | None) -> str | None:
    """The instance that a file's name (without suffix) stands for.

    `underscores`: what precedes `__`. `dash`: what precedes the last `-`. `stem`: the whole name.
    `none`: nothing. `auto`: what precedes `__` where there is one; else a photo's whole name, and for
    a sketch (`photos`: the instances of its class's photos) that name too, unless it is no photo's and
    what precedes the last `-` is one, or what follows it is a number. Anything else is a regular
    expression whose first group is the instance.
    """
    head, _, tail = stem.rpartition("-")
    if rule == "none":
        return None
    if rule == "stem":
        return stem
    if rule == "underscores" or (rule == "auto" and "__" in stem):
        return stem.split("__")[0]
    if rule == "dash":
        return head or stem
    if rule == "auto":
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
        f"rules: {', '.join(INSTANCE_RULES)}, or a regular expression with a (group){nearest(rule, INSTANCE_RULES)}",
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
                f"--column {name}={columns[name]}: a manifest says no {name!r}{nearest(name, COLUMNS)}",
                f"one of {', '.join(COLUMNS)}",
            )
    try:
        with manifest.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            there = reader.fieldnames or []
            for name in (*(columns.get(c, c) for c in COLUMNS[:3]), *columns.values(), *where):
                if name not in there:
                    raise ZseError(
                        f"{manifest}: has no column {name!r}{nearest(name, there)}", f"its columns: {some(there)}"
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
                if all(row[c] == v for c, v in where.items()):
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
        path, part = row["path"], row.get("split") or None
        at = f"{manifest}, line {line}"
        if any("\0" in value for value in row.values()):
            raise ZseError(f"{at}: holds a zero byte", "save it as CSV UTF-8")
        if row["modality"] not in MODALITIES:
            raise ZseError(f"{at}: modality {row['modality']!r}", "it is sketch or photo")
        if "split" in row and part not in (None, *PARTS):
            raise ZseError(f"{at}: split {part!r}", "it is seen, unseen or empty")
        if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise ZseError(f"{at}: path {path!r}", "paths are relative to the manifest's folder and stay below it")
        path = PurePosixPath(path).as_posix()  # ./a.png is a.png
        if path in lines:
            raise ZseError(f"{at}: {path} stands in line {lines[path]} already", "every picture has one line")
        lines[path] = line
        entries.append(
            Entry(
                path,
                row["modality"],
                row["class"],
                row.get("instance") or None,
                row.get("family") or None,
                part if "split" in row else "unseen",
            )
        )
    return entries
