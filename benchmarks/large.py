"""Measure a [Ret] evaluation of QuickDraw's size, and print a section of docs/performance.md.

    python benchmarks/large.py [SKETCHES PHOTOS]

The features are made up: 30 classes, each with its own mean, so that the metrics are neither 0 nor 1.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from zsecli.data.items import Column, Items
from zsecli.store.features import FeatureWriter

ZSE = str(Path(sys.executable).with_name("zse"))
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


def timed(*words: object) -> tuple[float, float, str]:
    """Seconds, GiB at the peak, and the output of one zse command."""
    began = time.perf_counter()
    process = subprocess.Popen([ZSE, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    out = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"zse {' '.join(map(str, words))} failed")
    return time.perf_counter() - began, usage.ru_maxrss / (1024**2 if sys.platform != "darwin" else 1024**3), out


def main(sketches: int = SKETCHES, photos: int = PHOTOS) -> None:
    size = sketches * photos * 8
    print(f"\n## An evaluation of QuickDraw's size: {sketches:,} sketches x {photos:,} photos\n")
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < 1.1 * size:
        print(f"Not run here: its ranking takes {size / 1e9:.0f} GB of disk, and {free / 1e9:.0f} GB were free.")
        return
    with tempfile.TemporaryDirectory() as name:
        store, ranking = Path(name) / "features.h5", Path(name) / "ranking.h5"
        features(store, sketches, photos)
        match = timed("match", store, "--by", "ret", "-o", ranking)
        written = ranking.stat().st_size
        evaluate = timed("evaluate", ranking, "--json")
    score = json.loads(evaluate[2])["protocols"]["zs-inter"]["mean"]["mAP (raw)"]["value"]
    print(f"`benchmarks/large.py`; made-up [Ret] of width {WIDTH}, {CLASSES} classes, CPU, {os.cpu_count()} cores.")
    print(f"Every photo is ranked for every sketch, and every metric is exact (mAP (raw) {score:.4f}).\n")
    print("| command | seconds | peak GiB | written GB |")
    print("|---|---|---|---|")
    print(f"| `zse match --by ret` | {match[0]:.0f} | {match[1]:.2f} | {written / 1e9:.1f} |")
    print(f"| `zse evaluate` | {evaluate[0]:.0f} | {evaluate[1]:.2f} | |")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
