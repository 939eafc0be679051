"""The benchmarks of the field by name: the reader of each, where it is had from and where it usually lies."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zsecli.data.sources import qmul, sketchy, tuberlin_quickdraw
from zsecli.data.sources.base import Listing
from zsecli.data.sources.options import Options
from zsecli.errors import ZseError


@dataclass(frozen=True)
class Source:
    """A benchmark: its reader, where it is had from, its shape on disk, and its usual names below ./datasets."""

    read: Callable[[Path, Options], Listing]
    home: str
    shape: str
    names: tuple[str, ...]


QMUL_HOME = "the SketchX group of QMUL (sketchx.eecs.qmul.ac.uk)"
QMUL_SHAPE = "{0}_photo/, {0}_sketch/, photo_train.txt ... sketch_test.txt; or trainA, trainB, testA, testB"
SOURCES = {
    "sketchy": Source(
        sketchy.read,
        "sketchy.eye.gatech.edu",
        sketchy.SHAPE,
        ("sketchy", "Sketchy", "Sketchy_Extended", "sketchy_extend"),
    ),
    "tuberlin": Source(
        tuberlin_quickdraw.tuberlin,
        "cybertron.cg.tu-berlin.de/eitz/projects/classifysketch",
        tuberlin_quickdraw.TUBERLIN_SHAPE,
        ("tuberlin", "TUBerlin", "TU-Berlin", "tu_berlin"),
    ),
    "quickdraw": Source(
        tuberlin_quickdraw.quickdraw,
        "github.com/sounakdey/doodle2search",
        tuberlin_quickdraw.QUICKDRAW_SHAPE,
        ("quickdraw", "QuickDraw", "Quickdraw", "QuickDraw-Extended"),
    ),
    "shoe": Source(qmul.shoe, QMUL_HOME, QMUL_SHAPE.format("ShoeV2"), ("shoe", "ShoeV2", "QMUL/ShoeV2")),
    "chair": Source(qmul.chair, QMUL_HOME, QMUL_SHAPE.format("ChairV2"), ("chair", "ChairV2", "QMUL/ChairV2")),
}


def find_root(name: str, root: Path | None = None) -> Path:
    """Where a benchmark lies: `root`, or the first of its usual places; ZseError where it is in none."""
    source = SOURCES[name]
    if root is not None:
        if root.is_dir():
            return root
        raise ZseError(
            f"{root}: is no folder, {name} is not there",
            f"get it from {source.home}; expected below it: {source.shape}",
        )
    places = [Path("datasets") / folder for folder in source.names]
    for place in places:
        if place.is_dir():
            return place
    raise ZseError(
        f"{name}: not found (looked for {', '.join(f'./{p.as_posix()}' for p in places)})",
        f"get it from {source.home} and pass --root FOLDER; expected below it: {source.shape}",
    )
