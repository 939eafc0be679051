"""The benchmarks of the field by name: the reader of each, where to get it and where it usually is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zsecli.data.sources import qmul, sketchy, tuberlin_quickdraw
from zsecli.data.sources.base import BenchmarkOptions, Listing
from zsecli.errors import ZseError


@dataclass(frozen=True, kw_only=True)
class Source:
    """A benchmark."""

    read: Callable[[Path, BenchmarkOptions], Listing]
    home: str  # where to get it
    shape: str  # on disk
    names: tuple[str, ...]  # usual names of its folder below ./datasets


QMUL_HOME = "the SketchX group of QMUL (sketchx.eecs.qmul.ac.uk)"
QMUL_SHAPE = "{0}_photo/, {0}_sketch/, photo_train.txt ... sketch_test.txt; or trainA, trainB, testA, testB"
SOURCES = {
    "sketchy": Source(
        read=sketchy.read,
        home="sketchy.eye.gatech.edu",
        shape=sketchy.SHAPE,
        names=("sketchy", "Sketchy", "Sketchy_Extended", "sketchy_extend"),
    ),
    "tuberlin": Source(
        read=tuberlin_quickdraw.read_tuberlin,
        home="cybertron.cg.tu-berlin.de/eitz/projects/classifysketch",
        shape=tuberlin_quickdraw.TUBERLIN_SHAPE,
        names=("tuberlin", "TUBerlin", "TU-Berlin", "tu_berlin"),
    ),
    "quickdraw": Source(
        read=tuberlin_quickdraw.read_quickdraw,
        home="github.com/sounakdey/doodle2search",
        shape=tuberlin_quickdraw.QUICKDRAW_SHAPE,
        names=("quickdraw", "QuickDraw", "Quickdraw", "QuickDraw-Extended"),
    ),
    "shoe": Source(
        read=qmul.read_shoe,
        home=QMUL_HOME,
        shape=QMUL_SHAPE.format("ShoeV2"),
        names=("shoe", "ShoeV2", "QMUL/ShoeV2"),
    ),
    "chair": Source(
        read=qmul.read_chair,
        home=QMUL_HOME,
        shape=QMUL_SHAPE.format("ChairV2"),
        names=("chair", "ChairV2", "QMUL/ChairV2"),
    ),
}


def find_root(name: str, root: Path | None = None) -> Path:
    """The folder of a benchmark: `root`, or the first of its usual folders that exists.

    Raises:
        ZseError: there is none.
    """
    source = SOURCES[name]
    if root is not None:
        if root.is_dir():
            return root
        raise ZseError(
            f"{root}: is no folder, {name} is not there",
            f"get it from {source.home}; expected below it: {source.shape}",
        )
    folders = [Path("datasets") / folder for folder in source.names]
    for folder in folders:
        if folder.is_dir():
            return folder
    raise ZseError(
        f"{name}: not found (looked for {', '.join(f'./{folder.as_posix()}' for folder in folders)})",
        f"get it from {source.home} and pass --root FOLDER; expected below it: {source.shape}",
    )
