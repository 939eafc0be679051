"""Measure the shipped network and every baseline on the benchmark sets of a manifest, and print the tables of
docs/results.md.

    python benchmarks/results.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

What is done already in WORKSPACE stays.

The manifest has the sets `emoji` (class and instance level) and `stamps` (class level), and a column `concept` that
says with a noun what each picture of either shows.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Any

import timm

from lib.commands import zse
from lib.tables import block, print_conditions, print_header, print_row

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
COMPARED = UNSEEN[:4]
METRICS = ("mAP (raw)", "Acc@1", "Acc@5")
Report = dict[str, Any]  # what `zse evaluate --json` prints
Test = dict[str, Any]  # one of its `against_first`
Reports = dict[tuple[Row, str, str], Report]  # by model, data set and split


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


def describe_size(title: str, protocol: Report) -> str:
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


def is_above(test: Test) -> bool:
    """Whether the first model is shown to be better than the other."""
    return bool(test["difference"] < 0 and test["p_holm"] < LEVEL)


def print_sizes(row: Row, columns: tuple[Column, ...], reports: Reports) -> None:
    for column in columns:
        print(f"- {describe_size(column.title, reports[row, column.data, column.split]['protocols'][column.protocol])}")


def print_means(rows: tuple[Row, ...], columns: tuple[Column, ...], reports: Reports) -> None:
    print_header("", *(column.title for column in columns))
    for row in rows:
        cells = []
        for column in columns:
            report = reports.get((row, column.data, column.split))
            cells.append(cell(report["protocols"][column.protocol]) if report else "-")
        print_row(row.title, *cells)


def compare(row: Row, others: tuple[Row, ...], reports: Reports, workspace: str) -> dict[str, list[Test]]:
    """By the title of each column in which `row` was measured: its tests against the others."""
    tests = {}
    for column in COMPARED:
        if column.data in row.skip:
            continue
        against = [reports[other, column.data, column.split] for other in others]
        tests[column.title] = difference(column, reports[row, column.data, column.split], against, workspace)
    return tests


def print_differences(comparisons: list[tuple[Row, tuple[Row, ...], dict[str, list[Test]]]]) -> None:
    titles = [column.title for column in COMPARED]
    print_header("", *titles)
    for row, others, tests in comparisons:
        for number, other in enumerate(others):
            cells = [difference_cell(tests[title][number]) if title in tests else "-" for title in titles]
            print_row(f"{row.title}, less {other.title}", *cells)


def print_verdicts(comparisons: list[tuple[Row, tuple[Row, ...], dict[str, list[Test]]]]) -> None:
    """Whether a model is above all that it is compared with, or which of them it is not shown to be above."""
    titles = [column.title for column in COMPARED]
    print_header("", "above", *titles)
    for row, others, tests in comparisons:
        cells = []
        for title in titles:
            if title not in tests:
                cells.append("-")
                continue
            pairs = zip(others, tests[title], strict=True)
            not_below = [other.title for other, test in pairs if not is_above(test)]
            cells.append(f"not shown for {', '.join(not_below)}" if not_below else "yes")
        print_row(row.title, "each baseline" if len(others) > 1 else others[0].title, *cells)


def measure_all(weights: str, workspace: str) -> Reports:
    reports: Reports = {}
    for rows, columns in ((BASELINES + SHIPPED, UNSEEN), (BASELINES + CROSSING, CROSS)):
        for row in rows:
            for column in columns:
                key = row, column.data, column.split
                if key not in reports and not {column.data, column.split} & set(row.skip):
                    reports[key] = evaluate(row, column.data, column.split, weights, workspace)
    return reports


def main(manifest: str, weights: str, workspace: str) -> None:
    for data in ("emoji", "stamps"):
        zse("prepare", "folder", manifest, "--where", f"set={data}", "--name", data, workspace=workspace)
    nouns = ("--where", "set=emoji", "--column", "class=concept", "--name", "emoji-nouns")
    zse("prepare", "folder", manifest, *nouns, workspace=workspace)
    words = ("train", "emoji-nouns", "--name", EMOJI, "--backbone-weights", weights, *SHORT.split())
    zse(*words, workspace=workspace)
    reports = measure_all(weights, workspace)
    with block("unseen"):
        print_conditions(f"timm {timm.__version__}")
        print_sizes(BASELINES[0], UNSEEN, reports)
        print()
        print_means(BASELINES + SHIPPED, UNSEEN, reports)
    pairs = (
        (SHIPPED[2], BASELINES),
        (SHIPPED[0], BASELINES),
        (SHIPPED[1], SHIPPED[:1]),
        (SHIPPED[2], SHIPPED[:1]),
        (SHIPPED[3], SHIPPED[:1]),
    )
    comparisons = [(row, others, compare(row, others, reports, workspace)) for row, others in pairs]
    with block("differences"):
        print_differences(comparisons)
    with block("verdicts"):
        print_verdicts(comparisons)
    with block("cross"):
        print_conditions(f"`zse train emoji-nouns {SHORT}`")
        print_sizes(BASELINES[0], CROSS, reports)
        print()
        print_means(BASELINES + CROSSING, CROSS, reports)
        print()
        print_header("split", "classes seen as emoji", "the first of them")
        for split in ("zs-cross", "zs-cross-all"):
            seen = sorted(reports[BASELINES[0], "stamps", split]["seen_in_training"])
            print_row(f"`{split}`", len(seen), ", ".join(seen[:5]))


if __name__ == "__main__":
    main(*sys.argv[1:])
