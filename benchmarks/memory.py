"""Measure what `zse embed` and `zse match --by ret` take at their peak, and print a table of
docs/performance.md.

    python benchmarks/memory.py [PICTURES]

Each figure is the peak resident set of the whole command, from the operating system's own account of
the finished process, on PICTURES pictures (default 200) and on ten times as many.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import numpy as np
from PIL import Image

from lib.commands import measure_zse
from lib.tables import block, print_conditions, print_header, print_row
from zsecli.data.items import Items
from zsecli.store.features import FeatureWriter

WIDTH, GALLERY, LARGE = 768, 2000, 10_000


def peak(*words: str) -> float:
    """MiB at the peak of one zse command."""
    return measure_zse(*words).peak


def pictures(folder: Path, count: int) -> Path:
    """`count` small pictures, all different."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for i in range(count):
        Image.fromarray(rng.integers(256, size=(64, 64, 3), dtype=np.uint8)).save(folder / f"{i}.png")
    return folder


def features(path: Path, kind: int, count: int) -> Path:
    """A feature store of `count` random [Ret]."""
    rng = np.random.default_rng(kind)
    ids = [f"{kind}/{i}" for i in range(count)]
    items = Items(
        id=ids,
        modality=np.full(count, kind, np.uint8),
        part=np.ones(count, np.int8),
        sha256=np.zeros((count, 32), np.uint8),
    )
    with FeatureWriter(
        path, f"{kind} {count}", {"model": "random", "preprocess": {}, "weights": ""}, items, WIDTH, 0, None
    ) as store:
        for start in range(0, count, 500):
            batch = ids[start : start + 500]
            store.write(batch, [""] * len(batch), rng.standard_normal((len(batch), WIDTH)).astype(np.float32))
        return store.finish()


def main(count: int = 200) -> None:
    with block("memory"), tempfile.TemporaryDirectory() as name:
        print_conditions(f"h5py {version('h5py')}")
        print_header("command", "pictures, photos or queries", "peak MiB", "at ten times as many", "growth")
        root = Path(name)
        folders = [pictures(root / str(n), n) for n in (count, 10 * count)]
        models = {"pixels": "pixels", "small.safetensors": str(network(root / "small.safetensors"))}
        for title, model in models.items():
            options = ("--model", model, "--modality", "photo", "--overwrite", "-o")
            sizes = [peak("embed", str(f), *options, str(root / f"features{f.name}.h5")) for f in folders]
            row(f"zse embed --model {title}", count, sizes)
        sketches = str(root / "sketches.h5")
        peak("embed", str(folders[0]), "--model", model, "--modality", "sketch", "-o", sketches)
        options = ("--by", "cascade", "--shortlist", "5", "--overwrite", "-o", str(root / "ranking.h5"))
        sizes = [peak("match", sketches, str(root / f"features{f.name}.h5"), *options) for f in folders]
        row(f"zse match --by cascade, {count} sketches", count, sizes)
        photos = features(root / "photos.h5", 1, GALLERY)
        stores = [features(root / f"sketches{n}.h5", 0, n) for n in (count, 10 * count)]
        options = (str(photos), "--by", "ret", "--overwrite", "-o", str(root / "ranking.h5"))
        row(f"zse match --by ret, {GALLERY} photos", count, [peak("match", str(s), *options) for s in stores])
        twenty_sketches = str(features(root / "few.h5", 0, 20))
        options = ("--by", "ret", "--depth", "100", "--overwrite", "-o", str(root / "ranking.h5"))
        galleries = [features(root / f"photos{n}.h5", 1, n) for n in (LARGE, 10 * LARGE)]
        row(
            "zse match --by ret --depth 100, 20 sketches",
            LARGE,
            [peak("match", twenty_sketches, str(g), *options) for g in galleries],
        )


def network(path: Path) -> Path:
    """A checkpoint nobody trained: memory does not care.

    Made by a process of its own: what this one holds would count as its children's peak.
    """
    code = (
        "import sys, pathlib; from zsecli.model import checkpoint, config, network;"
        "checkpoint.save(network.ZSENetwork(config.get_preset('small')), pathlib.Path(sys.argv[1]))"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)
    return path


def row(name: str, count: int, sizes: list[float]) -> None:
    print_row(f"`{name}`", count, f"{sizes[0]:.0f}", f"{sizes[1]:.0f}", f"{sizes[1] - sizes[0]:+.0f} MiB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
