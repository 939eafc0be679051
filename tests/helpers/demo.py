"""The shipped demo pictures, and parts of them."""

from __future__ import annotations

import csv
import itertools
import shutil
from collections.abc import Container
from pathlib import Path

DEMO = Path(__file__).resolve().parents[2] / "fixtures" / "demo"
CLASSES, INSTANCES = ("animal-bird", "drink", "lock"), 2


def some_pictures(root: Path) -> Path:
    """A tree of a few demo pictures at `root`: 18 sketches and 24 photos of 6 objects in 3 classes."""
    for name in CLASSES:
        photos = sorted((DEMO / "photo" / name).iterdir())
        wanted = sorted({file.name.split("__")[0] for file in photos})[:INSTANCES]
        for modality in ("photo", "sketch"):
            (root / modality / name).mkdir(parents=True)
            for file in (DEMO / modality / name).iterdir():
                if file.name.split("__")[0] in wanted:
                    shutil.copy(file, root / modality / name)
    return root


def part_of_demo(folder: Path, objects: int, unseen: Container[str] | None = None) -> Path:
    """A manifest in `folder` of so many objects of each class of the demo, all of which are unseen if none is named."""
    with (DEMO / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    every = sorted({(row["class"], row["instance"]) for row in rows})
    few = {one for _, some in itertools.groupby(every, lambda one: one[0]) for one in itertools.islice(some, objects)}
    for modality in ("sketch", "photo"):
        (folder / modality).symlink_to(DEMO / modality)
    with (folder / "manifest.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        for row in rows:
            row["split"] = "unseen" if unseen is None or row["class"] in unseen else "seen"
            if (row["class"], row["instance"]) in few:
                writer.writerow(row)
    return folder / "manifest.csv"
