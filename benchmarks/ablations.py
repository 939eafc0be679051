"""Train the network of the preset `small` briefly, each time with one thing changed, and print docs/ablations.md.

    python benchmarks/ablations.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

Trained on the seen pictures of the manifest, measured on the unseen ones. What is done already in WORKSPACE stays.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from zsecli.model.checkpoint import read_training

ZSE = str(Path(sys.executable).with_name("zse"))
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


def zse(*words: str, workspace: str) -> str:
    return subprocess.run([ZSE, *words, "--workspace", workspace], check=True, text=True, stdout=subprocess.PIPE).stdout


def train(row: Row, seed: int, weights: str, workspace: str) -> tuple[Path, float]:
    """The checkpoint, and the seconds that training took (0 where it was there already)."""
    options = SHORT.split()
    if "--freeze-stride" in row.options:
        options = [o for i, o in enumerate(options) if "--freeze-blocks" not in options[max(0, i - 1) : i + 1]]
    name, began = f"{row.name}-{seed}", time.perf_counter()
    words = ["train", "pictures", "--backbone-weights", weights, "--seed", str(seed), "--name", name]
    zse(*words, *options, *row.options.split(), workspace=workspace)
    return Path(workspace) / "models" / f"{name}.safetensors", time.perf_counter() - began


def measure(model: Path, workspace: str) -> list[float]:
    """mAP in every column."""
    found = []
    for _, data, split, protocol, by in COLUMNS:
        words = ["evaluate", "--data", data, "--split", split, "--model", str(model), "--by", by, "--json"]
        words += ["--shortlist", "20"] if by == "cascade" else []
        words += ["--ignore-same", "family"] if data == "demo" else []
        report = json.loads(zse(*words, workspace=workspace))
        found.append(report["protocols"][protocol]["mean"]["mAP (raw)"]["value"])
    return found


def main(manifest: str, weights: str, workspace: str) -> None:
    zse("prepare", "demo", workspace=workspace)
    for name, where in (("pictures", ()), ("stamps", ("--where", "set=stamps"))):
        zse("prepare", "folder", manifest, "--name", name, *where, workspace=workspace)
    print(
        TEXT.format(
            steps=STEPS,
            batch=BATCH,
            options=SHORT,
            torch=torch.__version__.split("+")[0],
            titles=" | ".join(c[0] for c in COLUMNS),
        )
    )
    for row in ROWS:
        values = []
        for seed in row.seeds:
            model, _ = train(row, seed, weights, workspace)
            assert read_training(model)["step"] == STEPS
            values.append(measure(model, workspace))
        columns = [[v[i] for v in values] for i in range(len(COLUMNS))]
        cells = [" / ".join(f"{v:.3f}".lstrip("0") for v in column) for column in columns]
        options = f" (`{row.options}`)" if row.options else ""
        print(f"| {row.title}{options} | {' | '.join(cells)} |", flush=True)
    print(READING, end="")


TEXT = """# Ablations

Made by `make ablations`, which runs `benchmarks/ablations.py`. {steps} steps of {batch} draws each, a small part
of what the shipped network had, with the trunk frozen unless the row says otherwise:

```
zse train pictures {options}
```

Cells are mAP (raw) on unseen pictures: the emoji of `zse prepare demo`, pairs of one `family` left out, and the stamps;
own instance: among all photos; cascade: of 20 photos. Two values are two seeds, whose difference says how much a single
one may be off. PyTorch {torch}, CPU.

| | {titles} |
|---|---|---|---|---|---|---|"""

READING = """
How to read it, two seeds being up to .02 apart:

- **Helps most:** training the trunk above stride 8. The shipped network does.
- **Helps:** draws of objects beside draws of classes, for own instance and for the class alike; ranking by the
  relation network behind [Ret] (cascade), in every row.
- **Helps a little:** the relation loss and the outlines, for own instance by cascade; the outlines' gain is in places
  ([explanations.md](explanations.md)).
- **No difference here:** K swapped instead of Q: cross-attention begins quiet, and 20 steps move it little.
- **Does not help:** the learnable tokenizer (stamps lose); dropping 30 % of the tokens gains nothing that could be told
  from the seeds.
"""

if __name__ == "__main__":
    main(*sys.argv[1:])
