"""Measure what the checksums of stores cost, and print a table of docs/performance.md.

python benchmarks/checksums.py
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from unittest.mock import patch

import numpy as np

from lib.commands import measure_zse
from lib.tables import block, print_conditions, print_header, print_row
from lib.timing import in_turn, spread
from zsecli.data.items import PHOTO, Items
from zsecli.data.sources.demo import demo_folder
from zsecli.store import rows, seal
from zsecli.store.features import FeatureWriter, open_features

PHOTOS, TOKENS, WIDTH = 2000, 197, 256  # of the shipped network, a tenth of Sketchy's gallery
MANY = 100_000
ROUNDS, BATCH = 5, 32


def write(path: Path, count: int, tokens: int) -> None:
    """A store of `count` photos with made-up features, as `zse embed` writes it."""
    path.unlink(missing_ok=True)
    rng = np.random.default_rng(0)
    ret = rng.standard_normal((BATCH, WIDTH)).astype(np.float32)
    batch = rng.standard_normal((BATCH, tokens, WIDTH)).astype(np.float16) if tokens else None
    items = Items(
        id=[f"photo/{i}" for i in range(count)],
        modality=np.full(count, PHOTO, np.uint8),
        part=np.ones(count, np.int8),
        sha256=rng.integers(256, size=(count, 32), dtype=np.uint8),
    )
    provenance = {"model": "made up", "preprocess": {}, "weights": ""}
    with FeatureWriter(path, f"{count}", provenance, items, WIDTH, tokens, None) as store:
        for start in range(0, count, BATCH):
            ids = items.id[start : start + BATCH]
            store.write(list(ids), [""] * len(ids), ret[: len(ids)], None if batch is None else batch[: len(ids)])
        store.finish()


def read(path: Path) -> None:
    seal._is_sealed.cache_clear()  # else a file that has not changed is not checked again by the same process
    with open_features(path) as features:
        for start in range(0, PHOTOS, BATCH):
            features.read("tokens", slice(start, start + BATCH))


def look(path: Path) -> None:
    seal._is_sealed.cache_clear()
    with open_features(path):
        pass


def without(work: Callable[[Path], None]) -> Callable[[Path], None]:
    """The same work where nothing is added up, nor compared."""

    def unchecked(path: Path) -> None:
        with (
            patch.object(rows, "_sum_rows", lambda values: np.zeros(len(values), np.uint32)),
            patch.object(seal, "_sum_ranges", lambda *_: 0),
            patch.object(seal, "is_sealed", lambda _: True),
            patch.object(rows.Rows, "read", _read),
        ):
            work(path)

    return unchecked


def _read(self: rows.Rows, wanted: slice, out: np.ndarray) -> None:
    self.data.read_direct(out, wanted)


def main() -> None:
    with block("checksums"), tempfile.TemporaryDirectory() as folder:
        tokens, many, other = (Path(folder) / f"{name}.h5" for name in ("tokens", "many", "other"))
        write(tokens, PHOTOS, TOKENS)
        write(many, MANY, 0)
        works: dict[str, tuple[Callable[[Path], None], Path]] = {
            f"write {PHOTOS:,} photos": (lambda path: write(path, PHOTOS, TOKENS), other),
            f"read their tokens, {tokens.stat().st_size / 1e6:.0f} MB": (read, tokens),
            f"open a store of {MANY:,} photos": (look, many),
        }
        print_conditions(f"{ROUNDS} rounds")
        print_header("work", "with, ms", "without, ms", "more, ms")
        cost_of_one = 0.0  # milliseconds of a photo that is written
        for title, (work, path) in works.items():
            pair = {"with": partial(work, path), "without": partial(without(work), path)}
            ms = {name: [1000 * s for s in seconds] for name, seconds in in_turn(pair, ROUNDS).items()}
            more = [a - b for a, b in zip(ms["with"], ms["without"], strict=True)]
            cost_of_one = cost_of_one or median(more) / PHOTOS
            print_row(title, spread(ms["with"], ".0f"), spread(ms["without"], ".0f"), spread(more, "+.0f"))
        photos = sorted(map(str, (demo_folder() / "photo").rglob("*.*")))[:100]
        output = Path(folder) / "real.h5"
        embedded = measure_zse("embed", *photos, "--model", "small", "--modality", "photo", "-o", output)
        each = 1000 * embedded.seconds / len(photos)
    print()
    print_header("a photo embedded by `zse embed --model small`", "ms")
    print_row(f"all of it, of {len(photos)} photos, the start included", f"{each:.0f}")
    print_row("its checksums", f"{cost_of_one:.2f} ({100 * cost_of_one / each:.2f} %)")


if __name__ == "__main__":
    main()
