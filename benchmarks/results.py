"""Measure every baseline on the benchmark sets of a manifest with the `zse` command, and print docs/results.md.

    python benchmarks/results.py MANIFEST BACKBONE_WEIGHTS

The manifest has the sets `emoji` (class and instance level) and `stamps` (class level).
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import timm
import torch

ZSE = str(Path(sys.executable).with_name("zse"))
BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Row:
    title: str
    model: str
    options: tuple[str, ...] = ()


ROWS = (
    Row("pixels", "pixels"),
    Row("pixels, centred", "pixels", ("--center",)),
    Row("HOG", "hog"),
    Row("HOG, centred", "hog", ("--center",)),
    Row("EfficientNet-lite0, frozen", f"frozen:{BACKBONE}"),
    Row("EfficientNet-lite0, frozen, centred", f"frozen:{BACKBONE}", ("--center",)),
)
COLUMNS = (
    ("emoji", "zs-inter", "zs-inter", "emoji, same class"),
    ("emoji", "zs-intra", "zs-intra/all", "emoji, own instance, all unseen photos"),
    ("emoji", "zs-intra", "zs-intra/class", "emoji, own instance, within the class"),
    ("stamps", "zs-inter", "zs-inter", "stamps, same class"),
)
METRICS = ("mAP (raw)", "Acc@1", "Acc@5")


def zse(*words: str, workspace: Path) -> str:
    return subprocess.run(
        [ZSE, *words, "--workspace", str(workspace)], check=True, text=True, stdout=subprocess.PIPE
    ).stdout


def evaluate(row: Row, data: str, split: str, weights: str, workspace: Path) -> dict[str, dict[str, object]]:
    """The protocols of one report."""
    model = f"{row.model}={weights}" if row.model.startswith("frozen:") else row.model
    ignore = ("--ignore-same", "family") if data == "emoji" else ()
    words = (
        "evaluate",
        "--data",
        data,
        "--split",
        split,
        "--model",
        model,
        "--by",
        "ret",
        *row.options,
        *ignore,
        "--json",
    )
    return json.loads(zse(*words, workspace=workspace))["protocols"]


def cell(protocol: dict[str, object]) -> str:
    """`mAP (low to high) / Acc@1 / Acc@5`, in thousandths."""
    mean = protocol["mean"]
    assert isinstance(mean, dict)
    low, high = (f"{v:.3f}".lstrip("0") for v in mean["mAP (raw)"]["interval"])
    values = [f"{mean[name]['value']:.3f}".lstrip("0") for name in METRICS]
    return f"{values[0]} ({low} to {high}) / {values[1]} / {values[2]}"


def size(title: str, protocol: dict[str, object]) -> str:
    """How many were asked, and how many photos each looked through."""
    text = f"{title}: {protocol['queries']} queries, {protocol['photos_per_query']:.1f} photos a query"
    without = protocol["queries_without_relevant_photo"]
    return text + (f", {without} more without a relevant photo left out" if without else "")


def main(manifest: str, weights: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        workspace = Path(folder)
        for data in ("emoji", "stamps"):
            zse("prepare", "folder", manifest, "--where", f"set={data}", workspace=workspace)
        reports = {
            (row, data, split): evaluate(row, data, split, weights, workspace)
            for row in ROWS
            for data, split in dict.fromkeys((c[0], c[1]) for c in COLUMNS)
        }
    first = {title: reports[ROWS[0], data, split][name] for data, split, name, title in COLUMNS}
    sizes = "\n".join(f"- {size(title, protocol)}" for title, protocol in first.items())
    print(TEXT.format(sizes=sizes, torch=torch.__version__.split("+")[0], timm=timm.__version__))
    print(f"| | {' | '.join(c[3] for c in COLUMNS)} |")
    print(f"|---|{'---|' * len(COLUMNS)}")
    for row in ROWS:
        print(f"| {row.title} | {' | '.join(cell(reports[row, d, s][n]) for d, s, n, _ in COLUMNS)} |")


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

Unseen classes only, float32, PyTorch {torch}, timm {timm}. A cell is mAP (raw) with its 95 % bootstrap interval
over queries / Acc@1 / Acc@5. On emoji, pairs of one `family` are left out (`--ignore-same family`): a vendor's
outline and its colour version are the same drawing. The stamps gallery is small: read its numbers as such.

{sizes}

Rows:

- *pixels*: grey values of the picture at 32 x 32, mean removed. *HOG*: histograms of oriented gradients.
- *frozen*: the ImageNet-trained network's pooled map, no training on sketches. *centred*: each
  modality's mean taken away.
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
