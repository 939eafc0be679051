"""Prepare a generated tree with the shape and the counts of Sketchy Extended, and print a table of
docs/performance.md.

    python benchmarks/prepare.py

160,000 files; the first run is killed half-way, the second one goes on, the third has nothing to do.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from PIL import Image

from lib.commands import ZSE, zse
from lib.tables import block, print_conditions, print_header, print_row
from zsecli.data.sources.classes import Classes
from zsecli.data.splits import PUBLISHED

PHOTOS, EXTENDED, SKETCHES = 100, 73_002, 75_480  # originals a class; extended photos and sketches in all


def shares(total: int, unseen: dict[str, int]) -> dict[str, int]:
    """How many pictures each class has, so that the unseen classes of every split sum to what is published."""
    parts = Classes("sketchy").parts
    kinds: dict[tuple[str, ...], list[str]] = {}
    for name in parts["25"]:
        kinds.setdefault(tuple(parts[split][name] for split in unseen), []).append(name)
    both = kinds.get(("unseen", "unseen"), [])
    counts = dict.fromkeys(both, total // 125)
    for split, kind in zip(unseen, (("unseen", "seen"), ("seen", "unseen")), strict=True):
        counts |= spread(unseen[split] - sum(counts[name] for name in both), kinds[kind])
    return counts | spread(total - sum(counts.values()), kinds["seen", "seen"])


def spread(total: int, names: list[str]) -> dict[str, int]:
    return {name: total // len(names) + (i < total % len(names)) for i, name in enumerate(names)}


def picture(kind: str) -> bytes:
    """A drawn 64 x 64 picture."""
    image = Image.new("RGB", (64, 64), "white")
    image.paste("black", (8, 8, 24, 56))
    data = io.BytesIO()
    image.save(data, kind)
    return data.getvalue()


def generate(root: Path) -> int:
    """Write the tree; every file differs by a number behind its end. Returns the number of files."""
    png, jpeg, count = picture("PNG"), picture("JPEG"), 0
    unseen = {split: PUBLISHED["sketchy", split] for split in ("25", "21")}
    sizes = {split: sum(v == "unseen" for v in Classes("sketchy").parts[split].values()) for split in unseen}
    sketches = shares(SKETCHES, {s: n for s, (n, _) in unseen.items()})
    extended = shares(EXTENDED, {s: n - PHOTOS * sizes[s] for s, (_, n) in unseen.items()})

    for name in Classes("sketchy").names:
        stems = [f"n{i:08}_{i}" for i in range(PHOTOS)]
        drawn = [f"{stems[i % PHOTOS]}-{i // PHOTOS + 1}.png" for i in range(sketches[name])]
        more = [f"{stem}.jpg" for stem in stems] + [f"ext_{i}.jpg" for i in range(extended[name] - PHOTOS)]
        for folder, names, data in (
            ("256x256/photo/tx_000000000000", [f"{stem}.jpg" for stem in stems], jpeg),
            ("256x256/sketch/tx_000000000000", drawn, png),
            ("EXTEND_image_sketchy", more, jpeg),
        ):
            (root / folder / name).mkdir(parents=True)
            for file in names:
                (root / folder / name / file).write_bytes(data + count.to_bytes(4))
                count += 1
    return count


def prepare(root: Path, workspace: Path, kill_after: int = 0) -> tuple[float, float]:
    """(seconds, peak MiB) of `zse prepare sketchy`; killed once that many files are in its journal."""
    start = time.perf_counter()
    command = [ZSE, "prepare", "sketchy", "--root", str(root), "--workspace", str(workspace), "-q"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    journal = workspace / "datasets" / "sketchy.h5.hashes"
    while kill_after and process.poll() is None:
        if journal.exists() and journal.read_bytes().count(b"\n") > kill_after:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.5)
    _, status, usage = os.wait4(process.pid, 0) if process.returncode is None else (0, 0, None)
    peak = usage.ru_maxrss if usage else resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    assert kill_after or status == 0
    return time.perf_counter() - start, peak / 1024


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root, workspace = Path(folder, "Sketchy"), Path(folder, "zse")
        files = generate(root)
        killed, _ = prepare(root, workspace, files // 2)
        done = (workspace / "datasets" / "sketchy.h5.hashes").read_bytes().count(b"\n")
        rest, peak = prepare(root, workspace)
        again, _ = prepare(root, workspace)
        described = json.loads(zse("inspect", str(workspace / "datasets" / "sketchy.h5"), "--json"))
    with block("prepare"):
        print_conditions(f"{files:,} files", f"peak {peak:.0f} MiB")
        print_header("`zse prepare sketchy`", "seconds")
        print_row(f"killed (SIGKILL) when {done:,} files were read", f"{killed:.0f}")
        print_row("the same command again: reads the others alone", f"{rest:.0f}")
        print_row("and again: nothing is read", f"{again:.0f}")
        print()
        for name in ("zs-inter", "zs-inter-21", "generalized"):
            print(f"- {name}: {described['splits'][name]}")


if __name__ == "__main__":
    main()
