"""Train the network of the preset `small` briefly, each time with one thing changed, and print the table of
docs/ablations.md.

    python benchmarks/ablations.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

Trained on the seen pictures of the manifest, measured on the unseen ones. What is done already in WORKSPACE stays.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

from lib.commands import zse
from lib.tables import block, print_conditions, print_header, print_row
from zsecli.model.checkpoint import read_training

STEPS, BATCH = 20, 32
SHORT = (
    "--preset small --ignore-same family --freeze-blocks 0 --epochs 1 --warmup 10 "
    f"--batch-size {BATCH} --epoch-draws {STEPS * BATCH}"
)


@dataclass(frozen=True)
class Row:
    title: str
    name: str
    options: str = ""
    seeds: tuple[int, ...] = (1,)


ROWS = (
    Row("as it is", "base", seeds=(1, 2)),
    Row("no relation loss", "no-relation", "--match-weight 0"),
    Row("no outlines", "no-outlines", "--outlines 0"),
    Row("draws of classes alone", "classes", "--instance-share 0"),
    Row("trunk trained above stride 8", "trunk", "--freeze-stride 8"),
    Row("K swapped instead of Q", "swap-k", "--swap k"),
    Row("learnable tokenizer for sketches", "tokenizer", "--tokenizer sketch"),
    Row("token selection, 70 % kept after block 1", "selection", "--keep-rate 0.7 --selection-after 0"),
)
COLUMNS = (
    ("emoji, same class, Ret", "demo", "zs-inter", "zs-inter", "ret"),
    ("cascade", "demo", "zs-inter", "zs-inter", "cascade"),
    ("emoji, own instance, Ret", "demo", "zs-intra", "zs-intra/all", "ret"),
    ("cascade", "demo", "zs-intra", "zs-intra/all", "cascade"),
    ("stamps, same class, Ret", "stamps", "zs-inter", "zs-inter", "ret"),
    ("cascade", "stamps", "zs-inter", "zs-inter", "cascade"),
)


def train(row: Row, seed: int, weights: str, workspace: str) -> Path:
    """Train it unless that is done already; returns the checkpoint."""
    options = SHORT.split()
    if "--freeze-stride" in row.options:
        position = options.index("--freeze-blocks")
        del options[position : position + 2]
    name = f"{row.name}-{seed}"
    words = ["train", "pictures", "--backbone-weights", weights, "--seed", str(seed), "--name", name]
    zse(*words, *options, *row.options.split(), workspace=workspace)
    return Path(workspace) / "models" / f"{name}.safetensors"


def measure(model: Path, workspace: str) -> list[float]:
    """mAP in every column."""
    means = []
    for _, data, split, protocol, by in COLUMNS:
        words = ["evaluate", "--data", data, "--split", split, "--model", str(model), "--by", by, "--json"]
        if by == "cascade":
            words += ["--shortlist", "20"]
        if data == "demo":
            words += ["--ignore-same", "family"]
        report = json.loads(zse(*words, workspace=workspace))
        means.append(report["protocols"][protocol]["mean"]["mAP (raw)"]["value"])
    return means


def main(manifest: str, weights: str, workspace: str) -> None:
    zse("prepare", "demo", workspace=workspace)
    for name, where in (("pictures", ()), ("stamps", ("--where", "set=stamps"))):
        zse("prepare", "folder", manifest, "--name", name, *where, workspace=workspace)
    with block("ablations"):
        print_conditions(f"{STEPS} steps of {BATCH} draws", f"`zse train pictures {SHORT}`")
        print_header("", *(title for title, *_ in COLUMNS))
        for row in ROWS:
            print_row(describe(row), *measure_row(row, weights, workspace))


def describe(row: Row) -> str:
    return f"{row.title} (`{row.options}`)" if row.options else row.title


def measure_row(row: Row, weights: str, workspace: str) -> list[str]:
    """A cell for each column: the mAP of every seed."""
    of_seeds = []
    for seed in row.seeds:
        model = train(row, seed, weights, workspace)
        assert read_training(model)["step"] == STEPS
        of_seeds.append(measure(model, workspace))
    return [" / ".join(f"{value:.3f}".lstrip("0") for value in column) for column in zip(*of_seeds, strict=True)]


if __name__ == "__main__":
    main(*sys.argv[1:])
