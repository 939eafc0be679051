"""Measure whole commands on small inputs, as they are typed, and print a table of docs/performance.md.

python benchmarks/start.py
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

from cascade import PHOTOS, gallery
from lib.tables import block, print_conditions, print_header, print_row
from lib.timing import in_turn, spread
from zsecli.data.sources.demo import demo_folder

ROUNDS = 3


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def run(*words: str) -> None:
            subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)

        def zse(*words: str) -> None:
            run("-m", "zsecli", *words)

        sketch = str(next((demo_folder() / "sketch").rglob("*.png")))
        photo = str(next((demo_folder() / "photo").rglob("*.*")))
        zse("embed", str(demo_folder()), "--model", "small", "-o", "demo.h5")
        gallery(folder / "demo.h5", folder)
        zse("embed", sketch, "--modality", "sketch", "--model", "small", "-o", "sketch.h5")
        zse("prepare", "demo")
        zse("match", "--model", "small", "-o", "demo-ranking.h5")
        commands = {
            "`python -c 'import torch'`, to compare": ("-c", "import torch"),
            "`zse --help`": ("-m", "zsecli", "--help"),
            "`zse inspect`, a store of 10,000 photos": ("-m", "zsecli", "inspect", "1.h5"),
            "`zse prepare demo` again": ("-m", "zsecli", "prepare", "demo"),
            "`zse embed`, one sketch": ("-m", "zsecli", *f"embed {sketch} --model small -o x.h5 --overwrite".split()),
            "`zse embed`, up to date": ("-m", "zsecli", *f"embed {sketch} --model small -o sketch.h5".split()),
            f"`zse match --by cascade`, one sketch, {PHOTOS:,} photos": (
                "-m",
                "zsecli",
                *["match", "sketch.h5", "1.h5", "--by", "cascade", "-o", "y.h5"],
            ),
            f"`zse match --by ret`, one sketch, {PHOTOS:,} photos": (
                "-m",
                "zsecli",
                *["match", "sketch.h5", "1.h5", "--by", "ret", "-o", "z.h5"],
            ),
            "`zse evaluate`, the demo's ranking": ("-m", "zsecli", "evaluate", "demo-ranking.h5"),
            "`zse explain`, one pair": (
                "-m",
                "zsecli",
                *f"explain {sketch} {photo} --model small -o e.html --overwrite".split(),
            ),
            "`zse synthesize`, one pair": (
                "-m",
                "zsecli",
                *f"synthesize {sketch} {photo} --model small -o s.png --overwrite".split(),
            ),
        }

        def afresh(words: tuple[str, ...]) -> None:
            for output in ("x.h5", "y.h5", "z.h5"):
                (folder / output).unlink(missing_ok=True)
            run(*words)

        seconds = in_turn({title: partial(afresh, words) for title, words in commands.items()}, ROUNDS)
    torch = next(iter(seconds.values()))
    with block("start"):
        print_conditions(f"median of {ROUNDS} rounds (lowest to highest)")
        print_header("command", "seconds", "beyond importing torch")
        for title, values in seconds.items():
            beyond = [a - b for a, b in zip(values, torch, strict=True)]
            print_row(title, spread(values, ".2f"), spread(beyond, "+.2f"))


if __name__ == "__main__":
    main()
