"""Keypoints that people marked in a photo and in a sketch of it: the CSV of PSC6K (Lu et al. 2023)."""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

import numpy as np

from zsecli.data.geometry import Points
from zsecli.errors import ZseError

COLUMNS = ("photo", "sketch", "XA", "YA", "XB", "YB")


class Marked(NamedTuple):
    """A pair of files, and points (N, 2) each, in pixels, that mark the same N parts."""

    photo: Path
    sketch: Path
    on_photo: Points
    on_sketch: Points


def read(file: Path, root: Path | None = None) -> list[Marked]:
    """The pairs of a CSV with the columns photo, sketch, XA, YA (on the photo), XB, YB (on the sketch).

    Columns are separated by `,` or `;`. A cell holds one number or several, separated by the other of the two or by
    blanks; rows of the same pair belong together.

    Args:
        root: folder that the names are relative to; None: the CSV's.

    Raises:
        ZseError: a column is missing, a cell holds no numbers, or a pair's points are not as many in all four.
    """
    try:
        lines = file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ZseError(f"{file}: is no text", "a CSV with the columns " + ", ".join(COLUMNS)) from error
    separator = ";" if lines and re.search(r"photo\s*;|;\s*photo", lines[0]) else ","
    rows = csv.DictReader(lines, delimiter=separator, skipinitialspace=True)
    if missing := [name for name in COLUMNS if name not in (rows.fieldnames or ())]:
        raise ZseError(f"{file}: has no column {missing[0]}", "its columns must be " + ", ".join(COLUMNS))
    points: dict[tuple[str, str], list[tuple[Points, Points]]] = defaultdict(list)
    for number, row in enumerate(rows, 2):
        try:
            values = [[float(v) for v in re.split(r"[;,\s]+", (row[name] or "").strip())] for name in COLUMNS[2:]]
            a, b = np.array(values[:2]).T, np.array(values[2:]).T
            if len(a) != len(b) or not np.isfinite(values).all():
                raise ValueError
        except ValueError:
            raise ZseError(f"{file}: line {number}: XA, YA, XB and YB are not as many numbers", "mend it") from None
        points[row["photo"], row["sketch"]].append((a, b))
    base = root or file.parent
    return [
        Marked(base / photo, base / sketch, *(np.concatenate(part) for part in zip(*found, strict=True)))
        for (photo, sketch), found in points.items()
    ]
