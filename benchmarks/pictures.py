"""Measure the shipped network on the demo's sketches made worse, and print the table of docs/pictures.md.

    python benchmarks/pictures.py

Each case is ranked twice: with the sketches as they are, and as `zsecli.images.normalize_sketch` makes them.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lib.tables import block, print_conditions, print_header, print_row
from zsecli.data.hashing import hash_files
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.data.sources import folder
from zsecli.data.sources.demo import demo_folder
from zsecli.evaluate.evaluate_ranking import evaluate_ranking
from zsecli.images import loader
from zsecli.images.decode import decode
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.extract import extract_features
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rank import rank_features
from zsecli.stages.prepare_listing import prepare_listing

Floats = NDArray[np.float64]  # (H, W), 0 black, 1 white
SPLITS = (("zs-inter", "AP (raw)"), ("zs-intra", "Acc@1"))
DOWN, ACROSS = np.mgrid[0:256, 0:256] / 255


def sheet(drawing: Floats) -> Floats:
    """A drawing in the middle of a larger sheet, grey on light grey as a camera sees it."""
    middle = Image.fromarray(np.uint8(255 * drawing)).resize((128, 128), Image.Resampling.LANCZOS)
    return 0.2 + 0.7 * np.pad(np.asarray(middle) / 255, 64, constant_values=1)


def noise(level: float) -> Floats:
    """A camera's noise, the same in every picture; `level` in grey levels."""
    return np.random.default_rng(0).normal(0, level / 255, DOWN.shape)


LAMP = 1 - 0.6 * ACROSS
HAND = 1 - 0.5 * np.exp(-((ACROSS - 0.9) ** 2 + (DOWN - 0.9) ** 2) / 0.05)
TABLE = (abs(ACROSS - 0.5) > 0.45) | (abs(DOWN - 0.5) > 0.45)
CASES: dict[str, Callable[[Floats], Floats]] = {
    "as drawn": lambda d: d,
    "white on black": lambda d: 1 - d,
    "pale pencil, 230 on 255": lambda d: 1 - (1 - d) * 25 / 255,
    "paler, 240 on 255": lambda d: 1 - (1 - d) * 15 / 255,
    "grey paper, 38 on 160": lambda d: (38 + 122 * d) / 255,
    "noise of 10 grey levels": lambda d: 0.1 + 0.85 * d + noise(10),
    "vignette, corners at half the light": lambda d: (0.1 + 0.85 * d) * (1 - (ACROSS - 0.5) ** 2 - (DOWN - 0.5) ** 2),
    "small on a sheet": sheet,
    "the same, light from one side": lambda d: sheet(d) * LAMP,
    "the same, a shadow at the border": lambda d: sheet(d) * np.where(ACROSS < 0.06, 0.45, 1),
    "the same, a hand's shadow": lambda d: sheet(d) * HAND,
    "pencil, light from one side, noise": lambda d: (0.6 + 0.4 * sheet(d)) * LAMP + noise(5),
    "chalk on a board, light from one side, noise": lambda d: 0.1 + 0.15 * LAMP + (0.9 - sheet(d)) * LAMP + noise(5),
    "on a dark table": lambda d: np.where(TABLE, 0.25, sheet(d)),
}


def main() -> None:
    """Measure every case."""
    spec, manifest = ModelSpec.parse("small"), demo_folder() / "manifest.csv"
    with block("sketches"), tempfile.TemporaryDirectory() as folder_name:
        home = Path(folder_name)
        items = prepare_listing(folder.read(manifest), home / "demo.h5", "demo").dataset.items
        photos, sketches = (items.take(np.flatnonzero(items.modality == one)) for one in (PHOTO, SKETCH))
        extract_features(photos, manifest.parent, spec, home / "photos.h5")
        print_conditions()
        own = "own picture first of its class"
        print_header("sketches", "mAP, untouched", f"{own}, untouched", "mAP", own)
        for name, change in CASES.items():
            degraded = _changed(sketches, manifest.parent, home / "changed", change)
            with mock.patch.object(loader, "normalize_picture", lambda image, *_: (image, ())):
                before = _measured(degraded, home, spec)
            after = _measured(degraded, home, spec)
            print_row(name, *(f"{100 * value:.1f}" for value in (*before, *after)))


def _changed(items: Items, root: Path, into: Path, change: Callable[[Floats], Floats]) -> Items:
    """The sketches, changed and written below another folder."""
    for name in items.id:
        drawing = np.asarray(decode((root / name).read_bytes()).convert("L")) / 255
        (into / name).parent.mkdir(parents=True, exist_ok=True)
        folder_name = Image.fromarray(np.uint8(np.rint(255 * np.clip(change(drawing), 0, 1))))
        folder_name.save(into / name, "PNG")
    return dataclasses.replace(items, sha256=hash_files(into, items.id, {}).sha256)


def _measured(sketches: Items, home: Path, spec: ModelSpec) -> list[float]:
    """The first metric of each split, by [Ret]."""
    for name in ("sketches.h5", "ranking.h5"):
        (home / name).unlink(missing_ok=True)
    extract_features(sketches, home / "changed", spec, home / "sketches.h5")
    options = MatchOptions(by="ret", ignore_same="family")
    rank_features(home / "sketches.h5", home / "photos.h5", home / "ranking.h5", options, model=spec)
    reports = [evaluate_ranking(home / "ranking.h5", split).protocols[0] for split, _ in SPLITS]
    return [float(report.per_query[metric].mean()) for report, (_, metric) in zip(reports, SPLITS, strict=True)]


if __name__ == "__main__":
    main()
