"""Measure a [Ret] evaluation of QuickDraw's size, and print a table of docs/performance.md.

    python benchmarks/large.py [SKETCHES PHOTOS]

The features are made up: 30 classes, each with its own mean, so that the metrics are neither 0 nor 1.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from lib.commands import measure_zse
from lib.tables import block, print_conditions, print_header, print_row
from zsecli.data.items import Column, Items
from zsecli.store.features import FeatureWriter

SKETCHES, PHOTOS, CLASSES, WIDTH = 92_291, 54_151, 30, 256


def features(path: Path, sketches: int, photos: int) -> None:
    rng = np.random.default_rng(0)
    means = rng.standard_normal((CLASSES, WIDTH)).astype(np.float32) * 0.35
    count = sketches + photos
    classes = rng.integers(CLASSES, size=count, dtype=np.int32)
    classes[sketches:].sort()  # photos lie class by class, as in a prepared data set
    items = Items(
        id=[f"sketch/{i}" for i in range(sketches)] + [f"photo/{i}" for i in range(photos)],
        modality=np.repeat(np.array([0, 1], np.uint8), (sketches, photos)),
        part=np.ones(count, np.int8),
        sha256=rng.integers(256, size=(count, 32), dtype=np.uint8),
        label=Column(classes, [f"class {i:02}" for i in range(CLASSES)]),
    )
    provenance = {"model": "made up", "preprocess": {}, "weights": ""}
    with FeatureWriter(path, f"{sketches} x {photos}", provenance, items, WIDTH, 0, None) as store:
        for start in range(0, count, 4096):
            rows = slice(start, min(start + 4096, count))
            ret = means[classes[rows]] + rng.standard_normal((rows.stop - start, WIDTH)).astype(np.float32)
            store.write(items.id[rows], [""] * len(ret), ret)
        store.finish()


def main(sketches: int = SKETCHES, photos: int = PHOTOS) -> None:
    size = sketches * photos * 8
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.1 * size:
        with block("large"):
            print(f"Not run here: its ranking takes {size / 1e9:.0f} GB of disk, and {free / 1e9:.0f} GB were free.")
        return
    with tempfile.TemporaryDirectory() as name:
        store, ranking = Path(name) / "features.h5", Path(name) / "ranking.h5"
        features(store, sketches, photos)
        match = measure_zse("match", store, "--by", "ret", "-o", ranking)
        written = ranking.stat().st_size
        evaluate = measure_zse("evaluate", ranking, "--json")
    score = json.loads(evaluate.output)["protocols"]["zs-inter"]["mean"]["mAP (raw)"]["value"]
    with block("large"):
        size = f"{sketches:,} sketches x {photos:,} photos of {CLASSES} classes"
        print_conditions(size, f"[Ret] of width {WIDTH}", f"mAP (raw) {score:.4f}")
        print_header("command", "seconds", "peak GiB", "written GB")
        print_row("`zse match --by ret`", f"{match.seconds:.0f}", f"{match.peak / 1024:.2f}", f"{written / 1e9:.1f}")
        print_row("`zse evaluate`", f"{evaluate.seconds:.0f}", f"{evaluate.peak / 1024:.2f}", "")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
