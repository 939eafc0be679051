"""Measure the shipped network and every baseline on the benchmark sets of a manifest, and print docs/results.md.

    python benchmarks/results.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

What is done already in WORKSPACE stays.

The manifest has the sets `emoji` (class and instance level) and `stamps` (class level), and a column `concept` that
says with a noun what each picture of either shows.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch

ZSE = str(Path(sys.executable).with_name("zse"))
BACKBONE = "tf_efficientnet_lite0"


@dataclass(frozen=True)
class Row:
    """A model and how it ranks. skip: data sets and splits that would take an hour each."""

    title: str
    model: str
    options: tuple[str, ...] = ("--by", "ret")
    skip: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """One protocol of one split of a data set."""

    title: str
    data: str
    split: str
    protocol: str


CENTRED = ("--by", "ret", "--center")
BASELINES = (
    Row("pixels", "pixels"),
    Row("pixels, centred", "pixels", CENTRED),
    Row("HOG", "hog"),
    Row("HOG, centred", "hog", CENTRED),
    Row("EfficientNet-lite0, frozen", f"frozen:{BACKBONE}"),
    Row("EfficientNet-lite0, frozen, centred", f"frozen:{BACKBONE}", CENTRED),
)
SHIPPED = (
    Row("shipped network, by Ret", "small"),
    Row("shipped network, by RN", "small", ("--by", "rn"), ("emoji", "generalized")),
    Row("shipped network, by cascade (100)", "small", ("--by", "cascade")),
    Row("shipped network, by cascade (200)", "small", ("--by", "cascade", "--shortlist", "200"), ("stamps",)),
)
EMOJI = "emoji-only"
CROSSING = (
    Row("trained on emoji alone, by Ret", EMOJI),
    Row("trained on emoji alone, by cascade (100)", EMOJI, ("--by", "cascade"), ("zs-cross-all",)),
)
UNSEEN = (
    Column("emoji, same class", "emoji", "zs-inter", "zs-inter"),
    Column("emoji, own instance, all unseen photos", "emoji", "zs-intra", "zs-intra/all"),
    Column("emoji, own instance, within the class", "emoji", "zs-intra", "zs-intra/class"),
    Column("stamps, same class", "stamps", "zs-inter", "zs-inter"),
    Column("stamps, same class, seen photos in the gallery too", "stamps", "generalized", "generalized"),
)
CROSS = (
    Column("unseen nouns (`zs-cross`)", "stamps", "zs-cross", "zs-cross"),
    Column("every noun (`zs-cross-all`)", "stamps", "zs-cross-all", "zs-cross-all"),
    Column("every noun but those seen as emoji (`zs-cross-all/novel`)", "stamps", "zs-cross-all", "zs-cross-all/novel"),
)
SHORT = (
    "--preset small --ignore-same family --instance-share 0 --epochs 1 --epoch-draws 1920 --batch-size 32 --warmup 10"
)
PLURAL = {"class": "classes", "object": "objects"}
LEVEL = 0.05
METRICS = ("mAP (raw)", "Acc@1", "Acc@5")
Report = dict[str, Any]  # what `zse evaluate --json` prints
Test = dict[str, Any]  # one of its `against_first`


def zse(*words: str, workspace: str) -> str:
    return subprocess.run([ZSE, *words, "--workspace", workspace], check=True, text=True, stdout=subprocess.PIPE).stdout


def evaluate(row: Row, data: str, split: str, weights: str, workspace: str) -> Report:
    model = f"{row.model}={weights}" if row.model.startswith("frozen:") else row.model
    model = f"{workspace}/models/{EMOJI}.safetensors" if row.model == EMOJI else model
    words = ["evaluate", "--data", data, "--split", split, "--model", model, *row.options, "--json"]
    words += ["--ignore-same", "family"] if data == "emoji" else []
    words += ["--train-data", "emoji-nouns"] if split.startswith("zs-cross") else []
    return dict(json.loads(zse(*words, workspace=workspace)))


def cell(protocol: Report) -> str:
    """`mAP (low to high) / Acc@1 / Acc@5`, in thousandths."""
    mean = protocol["mean"]
    low, high = (f"{v:.3f}".lstrip("0") for v in mean["mAP (raw)"]["interval"])  # each has several clusters
    values = [f"{mean[name]['value']:.3f}".lstrip("0") for name in METRICS]
    return f"{values[0]} ({low} to {high}) / {values[1]} / {values[2]}"


def size(title: str, protocol: Report) -> str:
    """How many were asked, and how many photos each looked through."""
    text = f"{title}: {protocol['queries']} queries, {protocol['photos_per_query']:.1f} photos a query"
    text += f", intervals over {protocol['clusters']} {PLURAL[protocol['cluster']]}"
    without = protocol["queries_without_relevant_photo"]
    return text + (f", {without} more without a relevant photo left out" if without else "")


def difference(column: Column, first: Report, others: list[Report], workspace: str) -> list[Test]:
    """The test of each other's mAP less that of `first`, as `zse evaluate` has it."""
    words = ["evaluate", first["ranking"], "--split", column.split, "--json"]
    words += [word for other in others for word in ("--against", other["ranking"])]
    found = json.loads(zse(*words, workspace=workspace))["comparisons"]
    test = next(c for c in found if c["protocol"] == column.protocol and c["metric"] == "mAP (raw)")
    return list(test["against_first"])


def difference_cell(test: Test) -> str:
    """`difference (low to high), p` of the first model less the other."""
    p = "p < .001" if test["p_holm"] < 0.001 else "p " + f"{test['p_holm']:.3f}".lstrip("0")
    return f"{-test['difference']:+.3f} ({-test['high']:+.3f} to {-test['low']:+.3f}), {p}"


def conclusion(title: str, others: tuple[Row, ...], found: dict[str, list[Test]]) -> str:
    """What the tests say of a model in each column, in words."""
    against = "each baseline" if len(others) > 1 else others[0].title
    lines = []
    for column, tests in found.items():
        above = [test["difference"] < 0 and test["p_holm"] < LEVEL for test in tests]
        below = [other.title for other, yes in zip(others, above, strict=True) if not yes]
        lines.append(f"{column}: {'yes' if not below else 'not shown for ' + ', '.join(below)}")
    return f"- {title} above {against}? {'; '.join(lines)}."


def table(rows: tuple[Row, ...], columns: tuple[Column, ...], reports: dict[tuple[Row, str, str], Report]) -> None:
    for c in columns:
        print(f"- {size(c.title, reports[rows[0], c.data, c.split]['protocols'][c.protocol])}")
    print(f"\n| | {' | '.join(c.title for c in columns)} |\n|---|{'---|' * len(columns)}")
    for row in rows:
        found = [reports.get((row, c.data, c.split)) for c in columns]
        cells = [cell(f["protocols"][c.protocol]) if f else "-" for f, c in zip(found, columns, strict=True)]
        print(f"| {row.title} | {' | '.join(cells)} |")


def main(manifest: str, weights: str, workspace: str) -> None:
    for data in ("emoji", "stamps"):
        zse("prepare", "folder", manifest, "--where", f"set={data}", "--name", data, workspace=workspace)
    nouns = ("--where", "set=emoji", "--column", "class=concept", "--name", "emoji-nouns")
    zse("prepare", "folder", manifest, *nouns, workspace=workspace)
    words = ("train", "emoji-nouns", "--name", EMOJI, "--backbone-weights", weights, *SHORT.split())
    zse(*words, workspace=workspace)
    reports = {
        (row, data, split): evaluate(row, data, split, weights, workspace)
        for rows, columns in ((BASELINES + SHIPPED, UNSEEN), (BASELINES + CROSSING, CROSS))
        for row in rows
        for data, split in dict.fromkeys((c.data, c.split) for c in columns)
        if not {data, split} & {*row.skip}
    }
    print(TEXT.format(torch=torch.__version__.split("+")[0], timm=timm.__version__))
    print("\n## Unseen classes\n")
    table(BASELINES + SHIPPED, UNSEEN, reports)
    print(PAIRED)
    print(f"| | {' | '.join(c.title for c in UNSEEN[:4])} |\n|---|{'---|' * 4}")
    conclusions = []
    for ours, others in (
        (SHIPPED[2], BASELINES),
        (SHIPPED[0], BASELINES),
        (SHIPPED[1], SHIPPED[:1]),
        (SHIPPED[2], SHIPPED[:1]),
        (SHIPPED[3], SHIPPED[:1]),
    ):
        found = {
            c.title: difference(
                c, reports[ours, c.data, c.split], [reports[o, c.data, c.split] for o in others], workspace
            )
            for c in UNSEEN[:4]
            if c.data not in ours.skip
        }
        for i, other in enumerate(others):
            cells = [difference_cell(found[c.title][i]) if c.title in found else "-" for c in UNSEEN[:4]]
            print(f"| {ours.title}, less {other.title} | {' | '.join(cells)} |")
        conclusions.append(conclusion(ours.title, others, found))
    print(f"\nWhat follows (p < {LEVEL}, corrected):\n")
    print("\n".join(conclusions))
    known = reports[BASELINES[0], "stamps", "zs-cross-all"]["seen_in_training"]
    assert not reports[BASELINES[0], "stamps", "zs-cross"]["seen_in_training"]  # as the text says
    print(CROSS_TEXT.format(count=len(known), some=", ".join(sorted(known)[:5]), options=SHORT))
    table(BASELINES + CROSSING, CROSS, reports)


TEXT = """# Results

Made by `make results`, which runs `benchmarks/results.py` on a manifest of pictures. Nothing here is typed by hand.
The commands behind a column:

```
zse prepare folder MANIFEST --where set=emoji
zse evaluate --model small --by cascade --ignore-same family --split zs-intra
zse evaluate --model frozen:tf_efficientnet_lite0=WEIGHTS --by ret --center --ignore-same family --split zs-intra
```

Float32, PyTorch {torch}, timm {timm}. A cell is mAP (raw) with its 95 % interval / Acc@1 / Acc@5.
Intervals take classes, or objects where the own instance is asked, for what was drawn at random
([metrics.md](metrics.md)). On emoji, pairs of one `family` are left out (`--ignore-same family`): a vendor's outline
and its colour version are the same drawing. The stamps gallery is small: read its numbers as such.

Rows:

- *pixels*: grey values of the picture at 32 x 32, mean removed. *HOG*: histograms of oriented gradients.
- *frozen*: the ImageNet-trained network's pooled map, no training on sketches. *centred*: each
  modality's mean taken away.
- *shipped network*: `small`, trained on the seen part of both sets ([model card](model-card.md)); *Ret*: cosine of the
  retrieval tokens, *RN*: relation score of every pair, *cascade*: the 100 or 200 best by Ret, re-ranked by RN. A cell
  with - was not measured: all pairs of emoji alone are 887,000."""

PAIRED = """
Differences in mAP (raw) on the same queries, with their 95 % interval and p of a sign-flip test, both by the same
classes or objects; p is corrected for the number of models that a model is compared with (Holm)
(`zse evaluate RANKING.h5 --against OTHER.h5`):
"""

CROSS_TEXT = """
## Another data set: trained on emoji, asked for stamps

The shipped network saw stamps in training, so it has no place here. The last rows are the same network, trained
on emoji alone for 60 steps of 32 draws. The commands:

```
zse prepare folder MANIFEST --where set=emoji --column class=concept --name emoji-nouns
zse prepare folder MANIFEST --where set=stamps
zse train emoji-nouns {options}
zse evaluate --data stamps --split zs-cross-all --train-data emoji-nouns --model ... --by ret --center
```

The emoji's classes are groups (`animal-mammal`), so the nouns that training sees are taken from the column
`concept`: {count} of the stamps' classes ({some}, ...) are among them and are
left out of the last column. No *unseen* noun of the stamps is one of them, so that `zs-cross` and `zs-cross/novel` are
the same here.
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
