"""CSV manifests: a row a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from zsecli.data.items import MODALITIES, PARTS
from zsecli.data.names import find_spelling_on_disk, tidy_name
from zsecli.data.sources.base import Entry, name_few
from zsecli.errors import UsageError, ZseError, did_you_mean
from zsecli.runtime.textfiles import read_text

COLUMNS = ("path", "modality", "class", "instance", "family", "split")  # the first three it must have

Row = dict[str, str]


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
        rows = _read_rows(manifest, where, columns)
    except OSError as error:
        raise ZseError(f"{manifest}: {error.strerror}", "give a CSV file that can be read") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise ZseError(f"{manifest}: not a CSV file in UTF-8: {error}", "save it as CSV UTF-8") from error
    if not rows:
        hint = "it is empty"
        if where:
            conditions = " ".join(f"{column}={value}" for column, value in where.items())
            hint = f"--where {conditions} leaves out all"
        raise ZseError(f"{manifest}: no row is left", hint)
    return _make_entries(manifest, rows)


def _read_rows(manifest: Path, where: Mapping[str, str], columns: Mapping[str, str]) -> list[tuple[int, Row]]:
    """(line, row) of the rows that are kept, with the names of `COLUMNS`."""
    table = io.StringIO(read_text(manifest), newline="")
    first_line = table.readline()
    table.seek(0)
    # spreadsheets write semicolons or tabs where the comma is the sign of decimals
    delimiter = next((sign for sign in ",;\t" if sign in first_line), ",")
    reader = csv.DictReader(table, delimiter=delimiter)
    reader.fieldnames = names = [name.strip() for name in reader.fieldnames or []]
    _check_columns(manifest, names, where, columns)
    rows = []
    for row in reader:
        if None in row or None in row.values():  # what csv makes of a row that is longer or shorter
            raise ZseError(
                f"{manifest}, line {reader.line_num}: has {'more' if None in row else 'fewer'} cells than the "
                f"{len(names)} columns",
                "quote a value with a comma, and keep the commas of empty cells",
            )
        if all(tidy_name(row[column]) == tidy_name(value) for column, value in where.items()):
            renamed = {name: row[column] for name, column in columns.items()}
            rows.append((reader.line_num, row | renamed))
    return rows


def _check_columns(manifest: Path, names: Sequence[str], where: Mapping[str, str], columns: Mapping[str, str]) -> None:
    """ZseError where a column that is read is missing or there twice."""
    read = [columns.get(column, column) for column in COLUMNS]
    for name in (*read[:3], *columns.values(), *where):
        if name not in names:
            raise ZseError(
                f"{manifest}: has no column {name!r}{did_you_mean(name, names)}", f"its columns: {name_few(names)}"
            )
    for name in (*read, *where):
        if names.count(name) > 1:
            raise ZseError(f"{manifest}: has two columns {name!r}", "rename or delete one of them")


def _make_entries(manifest: Path, rows: list[tuple[int, Row]]) -> list[Entry]:
    entries = []
    line_of: dict[str, int] = {}  # path -> line
    for line, row in rows:
        entry = _make_entry(manifest, f"{manifest}, line {line}", row)
        if entry.path in line_of:
            raise ZseError(
                f"{manifest}, line {line}: {entry.path} stands in line {line_of[entry.path]} already",
                "every picture has one line",
            )
        line_of[entry.path] = line
        entries.append(entry)
    return entries


def _make_entry(manifest: Path, source: str, row: Row) -> Entry:
    """The entry of a row; `source` names the row in messages."""
    if any("\0" in value for value in row.values()):
        raise ZseError(f"{source}: holds a zero byte", "save it as CSV UTF-8")
    modality = tidy_name(row["modality"]).lower()
    if modality not in MODALITIES:
        raise ZseError(f"{source}: modality {row['modality']!r}", "it is sketch or photo")
    part: str | None = "unseen"
    if "split" in row:
        part = tidy_name(row["split"] or "").lower() or None
        if part not in (None, *PARTS):
            raise ZseError(f"{source}: split {part!r}", "it is seen, unseen or empty")
    path = PurePosixPath(row["path"])
    if not row["path"] or path.is_absolute() or ".." in path.parts:
        raise ZseError(
            f"{source}: invalid path {row['path']!r}", "paths are relative to the manifest's folder and stay below it"
        )
    return Entry(
        path=find_spelling_on_disk(manifest.parent, path.as_posix()),  # ./a.png is a.png
        modality=modality,
        label=row["class"],
        instance=row.get("instance") or None,
        family=row.get("family") or None,
        part=part,
    )
