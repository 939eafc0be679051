"""Measure what the checksums of stores cost, and print a section of docs/performance.md.

python benchmarks/checksums.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
from timing import in_turn, machine, spread

from zsecli.data.sources.demo import demo_folder
from zsecli.store import rows, seal
from zsecli.store.features import FeatureWriter, open_features
from zsecli.store.items import PHOTO, Items

PHOTOS, TOKENS, WIDTH = 2000, 197, 256  # of the shipped network, a tenth of Sketchy's gallery
MANY = 100_000
ROUNDS, BATCH = 5, 32


def write(path: Path, count: int, tokens: int) -> None:
    """A store of `count` photos with made-up features, as `zse embed` writes it."""
    path.unlink(missing_ok=True)
    rng = np.random.default_rng(0)
    ret = rng.standard_normal((BATCH, WIDTH)).astype(np.float32)
    some = rng.standard_normal((BATCH, tokens, WIDTH)).astype(np.float16) if tokens else None
    items = Items(
        [f"photo/{i}" for i in range(count)],
        np.full(count, PHOTO, np.uint8),
        np.ones(count, np.int8),
        rng.integers(256, size=(count, 32), dtype=np.uint8),
    )
    provenance = {"model": "made up", "preprocess": {}, "weights": ""}
    with FeatureWriter(path, f"{count}", provenance, items, WIDTH, tokens, None) as store:
        for start in range(0, count, BATCH):
            ids = items.id[start : start + BATCH]
            store.write(list(ids), [""] * len(ids), ret[: len(ids)], None if some is None else some[: len(ids)])
        store.finish()


def read(path: Path) -> None:
    seal._holds.cache_clear()  # else a file that has not changed is not checked again by the same process
    with open_features(path) as features:
        for start in range(0, PHOTOS, BATCH):
            features.read("tokens", slice(start, start + BATCH))


def look(path: Path) -> None:
    seal._holds.cache_clear()
    with open_features(path):
        pass


def without(work: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same work where nothing is added up, nor compared."""

    def unchecked(path: Path) -> None:
        with (
            patch.object(rows, "_sums", lambda values: np.zeros(len(values), np.uint32)),
            patch.object(seal, "_checksum", lambda *_: 0),
            patch.object(seal, "holds", lambda _: True),
            patch.object(rows.Rows, "read", _read),
        ):
            work(path)

    return unchecked


def _read(self: rows.Rows, wanted: slice, out: np.ndarray) -> None:
    self.data.read_direct(out, wanted)


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        tokens, many, other = (Path(name) / f"{name_}.h5" for name_ in ("tokens", "many", "other"))
        write(tokens, PHOTOS, TOKENS)
        write(many, MANY, 0)
        works: dict[str, tuple[Callable[[Path], None], Path]] = {
            f"write {PHOTOS:,} photos": (lambda path: write(path, PHOTOS, TOKENS), other),
            f"read their tokens, {tokens.stat().st_size / 1e6:.0f} MB": (read, tokens),
            f"open a store of {MANY:,} photos": (look, many),
        }
        print(TEXT.format(machine=machine(), rounds=ROUNDS))
        cost = 0.0
        for title, (work, path) in works.items():
            took = in_turn(
                {"with": lambda w=work, p=path: w(p), "without": lambda w=work, p=path: without(w)(p)}, ROUNDS
            )
            ms = {way: [1000 * s for s in seconds] for way, seconds in took.items()}
            more = [a - b for a, b in zip(ms["with"], ms["without"], strict=True)]
            cost = cost or sorted(more)[len(more) // 2] / PHOTOS
            cells = spread(ms["with"], ".0f"), spread(ms["without"], ".0f"), spread(more, "+.0f")
            print(f"| {title} | {' | '.join(cells)} |")
        photos = sorted(map(str, (demo_folder() / "photo").rglob("*.*")))[:100]
        words = [sys.executable, "-m", "zsecli", "embed", *photos, "--model", "small", "--modality", "photo"]
        began = time.perf_counter()
        subprocess.run([*words, "-o", Path(name) / "real.h5"], check=True, stdout=subprocess.DEVNULL, env=os.environ)
        each = 1000 * (time.perf_counter() - began) / len(photos)
    print(f"\n`zse embed --model small` takes {each:.0f} ms for each of {len(photos)} photos, its start included;")
    print(f"their checksums are {cost:.2f} ms of that, {100 * cost / each:.2f} %.")


TEXT = """
## What checksums cost

`benchmarks/checksums.py`: the tokens of the shipped network, {machine}; the system holds the files in memory.
{rounds} rounds in turn, median with lowest and highest. Without: nothing is added up or compared.

| work | with, ms | without, ms | more, ms |
|---|---|---|---|"""

if __name__ == "__main__":
    main()
