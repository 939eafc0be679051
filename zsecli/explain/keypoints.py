"""Keypoints that people marked in a photo and in a sketch of it: the CSV of PSC6K (Lu et al. 2023)."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zsecli.errors import ZseError
from zsecli.images.geometry import Points
from zsecli.runtime.textfiles import read_lines

COLUMNS = ("photo", "sketch", "XA", "YA", "XB", "YB")


class KeypointPair(NamedTuple):
    """A photo and a sketch, and points (N, 2) each, in pixels, that mark the same N parts."""

    photo: Path
    sketch: Path
    on_photo: Points
    on_sketch: Points


def read_keypoints(file: Path) -> list[KeypointPair]:
    """The pairs of a CSV with the columns photo, sketch, XA, YA (on the photo), XB, YB (on the sketch).

    Columns are separated by `,` or `;`. A cell holds one number or several, separated by the other of the two or by
    blanks; rows of the same pair belong together. Names are relative to the CSV's folder.

    Raises:
        ZseError: a column or a picture is missing, a cell holds no numbers, or the four do not hold equally many.
    """
    try:
        lines = read_lines(file)
    except UnicodeDecodeError as error:
        raise ZseError(f"{file}: is no text", "a CSV with the columns " + ", ".join(COLUMNS)) from error
    column_separator = ","
    number_separator = r"\s+|\s*;\s*"
    if lines and re.search(r"photo\s*;|;\s*photo", lines[0]):
        column_separator = ";"
        number_separator = r"\s+|\s*,\s*"
    reader = csv.DictReader(lines, delimiter=column_separator, skipinitialspace=True)
    _check_columns(reader, file)
    points: dict[tuple[str, str], list[tuple[Points, Points]]] = defaultdict(list)
    for number, row in enumerate(_read_rows(reader, file), 2):
        try:
            marked = _parse_points(row, number_separator)
        except ValueError:
            problem = "needs two names, and as many numbers with a decimal point in each of XA, YA, XB and YB"
            raise ZseError(f"{file}: line {number}: {problem}", "mend that line") from None
        points[row["photo"], row["sketch"]].append(marked)
    if not points:
        raise ZseError(f"{file}: marks no pair", "a line for each pair, below the names of the columns")
    pairs = []
    for (photo, sketch), marks in points.items():
        on_photo = np.concatenate([photo_points for photo_points, _ in marks])
        on_sketch = np.concatenate([sketch_points for _, sketch_points in marks])
        pair = KeypointPair(
            photo=file.parent / photo,
            sketch=file.parent / sketch,
            on_photo=on_photo,
            on_sketch=on_sketch,
        )
        pairs.append(pair)
    _check_pictures(pairs, file)
    return pairs


def _check_columns(reader: csv.DictReader[str], file: Path) -> None:
    for name in COLUMNS:
        if name not in (reader.fieldnames or ()):
            raise ZseError(f"{file}: has no column {name}", "its columns must be " + ", ".join(COLUMNS))


def _read_rows(reader: csv.DictReader[str], file: Path) -> Iterator[dict[str, str]]:
    try:
        yield from reader
    except csv.Error as error:
        raise ZseError(f"{file}: {error}", "a CSV, its columns separated by , or ;") from error


def _parse_points(row: dict[str, str], number_separator: str) -> tuple[Points, Points]:
    """The points of a row on the photo and on the sketch, (N, 2) each; ValueError where it does not hold such."""
    if not all(row[name] for name in COLUMNS):
        raise ValueError
    numbers = []
    for name in COLUMNS[2:]:
        cell = row[name].strip()
        numbers.append([float(number) for number in re.split(number_separator, cell)])
    on_photo = np.array(numbers[:2]).T
    on_sketch = np.array(numbers[2:]).T
    if len(on_photo) != len(on_sketch) or not np.isfinite(numbers).all():
        raise ValueError
    return on_photo, on_sketch


def _check_pictures(pairs: list[KeypointPair], file: Path) -> None:
    for pair in pairs:
        for picture in (pair.photo, pair.sketch):
            if not picture.is_file():
                raise ZseError(f"{file}: names {picture}, which is not there", "names are relative to the CSV's folder")
