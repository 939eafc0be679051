"""Measure every baseline on the benchmark sets of a manifest with the `zse` command, and print docs/results.md.

    python benchmarks/results.py MANIFEST BACKBONE_WEIGHTS

The manifest has the sets `emoji` (class and instance level) and `stamps` (class level), and a column `concept` that
says with a noun what each picture of either shows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

ZSE = str(Path(sys.executable).with_name("zse"))
BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Row:
    title: str
    model: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One protocol of one split of a data set."""

    title: str
    data: str
    split: str
    protocol: str


ROWS = (
    Row("pixels", "pixels"),
    Row("pixels, centred", "pixels", ("--center",)),
    Row("HOG", "hog"),
    Row("HOG, centred", "hog", ("--center",)),
    Row("EfficientNet-lite0, frozen", f"frozen:{BACKBONE}"),
    Row("EfficientNet-lite0, frozen, centred", f"frozen:{BACKBONE}", ("--center",)),
)
TABLES = {
    "Unseen classes": (
        Column("emoji, same class", "emoji", "zs-inter", "zs-inter"),
        Column("emoji, own instance, all unseen photos", "emoji", "zs-intra", "zs-intra/all"),
        Column("emoji, own instance, within the class", "emoji", "zs-intra", "zs-intra/class"),
        Column("stamps, same class", "stamps", "zs-inter", "zs-inter"),
        Column("stamps, same class, seen photos in the gallery too", "stamps", "generalized", "generalized"),
    ),
    "Another data set: trained on emoji, asked for stamps": (
        Column("unseen nouns (`zs-cross`)", "stamps", "zs-cross", "zs-cross"),
        Column("every noun (`zs-cross-all`)", "stamps", "zs-cross-all", "zs-cross-all"),
        Column(
            "every noun but those seen as emoji (`zs-cross-all/novel`)", "stamps", "zs-cross-all", "zs-cross-all/novel"
        ),
    ),
}
METRICS = ("mAP (raw)", "Acc@1", "Acc@5")
Report = dict[str, Any]  # what `zse evaluate --json` prints


def zse(*words: str, workspace: Path) -> str:
    return subprocess.run(
        [ZSE, *words, "--workspace", str(workspace)], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def evaluate(row: Row, data: str, split: str, weights: str, workspace: Path) -> Report:
    model = f"{row.model}={weights}" if row.model.startswith("frozen:") else row.model
    words = ["evaluate", "--data", data, "--split", split, "--model", model, "--by", "ret", *row.options, "--json"]
    words += ["--ignore-same", "family"] if data == "emoji" else []
    words += ["--train-data", "emoji-nouns"] if split.startswith("zs-cross") else []
    return dict(json.loads(zse(*words, workspace=workspace)))


def cell(protocol: Report) -> str:
    """`mAP (low to high) / Acc@1 / Acc@5`, in thousandths."""
    mean = protocol["mean"]
    low, high = (f"{v:.3f}".lstrip("0") for v in mean["mAP (raw)"]["interval"])
    values = [f"{mean[name]['value']:.3f}".lstrip("0") for name in METRICS]
    return f"{values[0]} ({low} to {high}) / {values[1]} / {values[2]}"


def size(title: str, protocol: Report) -> str:
    """How many were asked, and how many photos each looked through."""
    text = f"{title}: {protocol['queries']} queries, {protocol['photos_per_query']:.1f} photos a query"
    without = protocol["queries_without_relevant_photo"]
    return text + (f", {without} more without a relevant photo left out" if without else "")


def main(manifest: str, weights: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        for data in ("emoji", "stamps"):
            zse("prepare", "folder", manifest, "--where", f"set={data}", workspace=workspace)
        nouns = ("--where", "set=emoji", "--column", "class=concept", "--name", "emoji-nouns")
        zse("prepare", "folder", manifest, *nouns, workspace=workspace)
        reports = {
            (row, data, split): evaluate(row, data, split, weights, workspace)
            for row in ROWS
            for data, split in dict.fromkeys((c.data, c.split) for columns in TABLES.values() for c in columns)
        }
    print(TEXT.format(torch=torch.__version__.split("+")[0], timm=timm.__version__))
    for title, columns in TABLES.items():
        parts = [[reports[row, c.data, c.split]["protocols"][c.protocol] for c in columns] for row in ROWS]
        print(f"\n## {title}\n")
        for c, part in zip(columns, parts[0], strict=True):
            print(f"- {size(c.title, part)}")
        if columns[0].split == "zs-cross":
            known = reports[ROWS[0], "stamps", "zs-cross-all"]["seen_in_training"]
            assert not reports[ROWS[0], "stamps", "zs-cross"]["seen_in_training"]  # as CROSS says
            print(CROSS.format(count=len(known), some=", ".join(sorted(known)[:5])))
        print(f"\n| | {' | '.join(c.title for c in columns)} |")
        print(f"|---|{'---|' * len(columns)}")
        for row, cells in zip(ROWS, parts, strict=True):
            print(f"| {row.title} | {' | '.join(map(cell, cells))} |")


TEXT = """# Results

Made by `make results`, which runs `benchmarks/results.py` on a manifest of pictures. Nothing here is typed by hand.
The commands behind a column:

```
zse prepare folder MANIFEST --where set=emoji
zse embed --model frozen:tf_efficientnet_lite0=WEIGHTS
zse match --model frozen:tf_efficientnet_lite0=WEIGHTS --by ret --center --ignore-same family
zse evaluate --model frozen:tf_efficientnet_lite0=WEIGHTS --by ret --center --ignore-same family --split zs-intra
```

(the last alone does the two before it where they are still to do).

Float32, PyTorch {torch}, timm {timm}. A cell is mAP (raw) with its 95 % bootstrap interval over queries / Acc@1 /
Acc@5. On emoji, pairs of one `family` are left out (`--ignore-same family`): a vendor's outline and its colour
version are the same drawing. The stamps gallery is small: read its numbers as such.

Rows:

- *pixels*: grey values of the picture at 32 x 32, mean removed. *HOG*: histograms of oriented gradients.
- *frozen*: the ImageNet-trained network's pooled map, no training on sketches. *centred*: each
  modality's mean taken away."""

CROSS = """
Nothing in this table is trained: it is what a model trained on emoji must beat. The commands:

```
zse prepare folder MANIFEST --where set=emoji --column class=concept --name emoji-nouns
zse prepare folder MANIFEST --where set=stamps
zse evaluate --data stamps --split zs-cross-all --train-data emoji-nouns --model ... --by ret --center
```

The emoji's classes are groups (`animal-mammal`), so the nouns that training sees are taken from the column
`concept`: {count} of the stamps' classes ({some}, ...) are among them and are
left out of the last column. No *unseen* noun of the stamps is one of them, so that `zs-cross` and `zs-cross/novel` are
the same here."""

if __name__ == "__main__":
    main(*sys.argv[1:])
