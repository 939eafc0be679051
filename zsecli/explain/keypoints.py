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


class Marked(NamedTuple):
    """A pair of files, and points (N, 2) each, in pixels, that mark the same N parts."""

    photo: Path
    sketch: Path
    on_photo: Points
    on_sketch: Points


def read(file: Path) -> list[Marked]:
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
    separator = ";" if lines and re.search(r"photo\s*;|;\s*photo", lines[0]) else ","
    rows = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise ZseError(f"{file}: has no column {missing[0]}", "its columns must be " + ", ".join(COLUMNS))
    points: dict[tuple[str, str], list[tuple[Points, Points]]] = defaultdict(list)
    within = r"\s+|\s*,\s*" if separator == ";" else r"\s+|\s*;\s*"
    for number, row in enumerate(_rows(rows, file), 2):
        try:
            if not all(row[name] for name in COLUMNS):
                raise ValueError
            values = [[float(v) for v in re.split(within, row[name].strip())] for name in COLUMNS[2:]]
            a, b = np.array(values[:2]).T, np.array(values[2:]).T
            if len(a) != len(b) or not np.isfinite(values).all():
                raise ValueError
        except ValueError:
            what = "needs two names, and as many numbers with a decimal point in each of XA, YA, XB and YB"
            raise ZseError(f"{file}: line {number}: {what}", "mend that line") from None
        points[row["photo"], row["sketch"]].append((a, b))
    if not points:
        raise ZseError(f"{file}: marks no pair", "a line for each pair, below the names of the columns")
    marked = [
        Marked(file.parent / photo, file.parent / sketch, *(np.concatenate(part) for part in zip(*found, strict=True)))
        for (photo, sketch), found in points.items()
    ]
    for gone in (picture for one in marked for picture in (one.photo, one.sketch) if not picture.is_file()):
        raise ZseError(f"{file}: names {gone}, which is not there", "names are relative to the CSV's folder")
    return marked


def _rows(rows: csv.DictReader[str], file: Path) -> Iterator[dict[str, str]]:
    try:
        yield from rows
    except csv.Error as error:
        raise ZseError(f"{file}: {error}", "a CSV, its columns separated by , or ;") from error
