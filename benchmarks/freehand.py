"""Measure networks and baselines on free-hand drawings and photographs, a part of the Sketchy database, and print the
blocks `freehand` and `freehand-differences` of docs/results.md.

    python benchmarks/freehand.py SKETCHY BACKBONE_WEIGHTS WORKSPACE [BEFORE.safetensors]

SKETCHY is a folder as `zse prepare sketchy --root` reads it. BEFORE is an earlier network, for comparison. What is done
already in WORKSPACE stays.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

from lib.commands import zse
from lib.tables import block, print_conditions, print_header, print_row

BACKBONE = "tf_efficientnet_lite2"
INVALID = ("error", "ambiguous", "pose", "context")  # flags of sketches by those who made the data set


@dataclass(frozen=True)
class Row:
    title: str
    model: str
    options: tuple[str, ...]


@dataclass(frozen=True)
class Column:
    title: str
    data: str
    split: str
    protocol: str


COLUMNS = (
    Column("same class", "sketchy-valid", "zs-inter", "zs-inter"),
    Column("same class, invalid sketches too", "sketchy", "zs-inter", "zs-inter"),
    Column("same class, the split with 21 classes", "sketchy-valid", "zs-inter-21", "zs-inter-21"),
    Column("own photo, within the class", "sketchy-valid", "zs-intra", "zs-intra/class"),
    Column("own photo, among all", "sketchy-valid", "zs-intra", "zs-intra/all"),
)
RET, CENTRED, CASCADE = ("--by", "ret"), ("--by", "ret", "--center"), ("--by", "cascade")


def evaluate(row: Row, column: Column, workspace: str) -> dict[str, object]:
    words = ["evaluate", "--data", column.data, "--split", column.split, "--model", row.model, *row.options, "--json"]
    return dict(json.loads(zse(*words, workspace=workspace)))


def main(sketchy: str, weights: str, workspace: str, before: str = "") -> None:
    zse("prepare", "sketchy", "--root", sketchy, "--name", "sketchy", workspace=workspace)
    without = [word for kind in INVALID for word in ("--drop", kind)]
    zse("prepare", "sketchy", "--root", sketchy, "--name", "sketchy-valid", *without, workspace=workspace)
    rows = [
        Row("HOG, centred", "hog", CENTRED),
        Row("EfficientNet-lite2, frozen, centred", f"frozen:{BACKBONE}={weights}", CENTRED),
    ]
    if before:
        rows += [Row("network before, by Ret", before, RET), Row("network before, by cascade (100)", before, CASCADE)]
    rows += [Row("shipped network, by Ret", "small", RET), Row("shipped network, by cascade (100)", "small", CASCADE)]
    reports = {(row, column): evaluate(row, column, workspace) for row in rows for column in COLUMNS}
    with block("freehand"):
        print_conditions()
        for column in COLUMNS:
            protocol = reports[rows[0], column]["protocols"][column.protocol]  # type: ignore[index]
            print(f"- {column.title}: {protocol['queries']} queries, {protocol['photos_per_query']:.1f} photos a query")
        print()
        print_header("", *(column.title for column in COLUMNS))
        for row in rows:
            cells = []
            for column in COLUMNS:
                mean = reports[row, column]["protocols"][column.protocol]["mean"]  # type: ignore[index]
                low, high = (f"{value:.3f}".lstrip("0") for value in mean["mAP (raw)"]["interval"])
                values = [f"{mean[name]['value']:.3f}".lstrip("0") for name in ("mAP (raw)", "Acc@1")]
                cells.append(f"{values[0]} ({low} to {high}) / {values[1]}")
            print_row(row.title, *cells)
    with block("freehand-differences"):
        best = rows[-1]
        print_header(f"{best.title}, less", *(column.title for column in COLUMNS))
        for other in rows[:-1]:
            cells = []
            for column in COLUMNS:
                words = ["evaluate", str(reports[best, column]["ranking"]), "--split", column.split, "--json"]
                words += ["--against", str(reports[other, column]["ranking"])]
                found = json.loads(zse(*words, workspace=workspace))["comparisons"]
                test = next(c for c in found if c["protocol"] == column.protocol and c["metric"] == "mAP (raw)")
                (difference,) = test["against_first"]
                p = difference["p_holm"]
                shown = "p < .001" if p < 0.001 else f"p {p:.3f}".replace("0.", ".")
                cells.append(f"{-difference['difference']:+.3f}, {shown}")
            print_row(other.title, *cells)


if __name__ == "__main__":
    main(*sys.argv[1:])
