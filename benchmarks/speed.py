"""Measure how fast the shipped network embeds pictures and scores pairs, and print a section of docs/performance.md.

python benchmarks/speed.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch

from zsecli.data.prepare import demo_root
from zsecli.model.embedder import NetworkEmbedder
from zsecli.model.load import load
from zsecli.model.spec import ModelSpec

ZSE = str(Path(sys.executable).with_name("zse"))
BATCH, ROUNDS = 32, 5


def rate(work: Callable[[], object]) -> str:
    """`median (lowest to highest)` of BATCH things a second."""
    work()  # the first run chooses kernels
    found = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work()
        found.append(BATCH / (time.perf_counter() - began))
    return f"{median(found):.0f} ({min(found):.0f} to {max(found):.0f})"


def command(folder: Path) -> str:
    """Pictures a second of `zse embed` on the demo's photos, start and decoding included."""
    photos = demo_root() / "photo"
    count = sum(file.is_file() for file in photos.rglob("*"))
    words = ["embed", str(photos), "--model", "small", "--modality", "photo", "-o", str(folder / "photos.h5")]
    began = time.perf_counter()
    subprocess.run([ZSE, *words], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    return f"{count / seconds:.0f} ({count} pictures in {seconds:.1f} s)"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = command(Path(folder))
    model = load(ModelSpec.parse("small"), "auto")
    assert isinstance(model, NetworkEmbedder)
    size = model.preprocess.size
    pictures = np.random.default_rng(0).integers(256, size=(BATCH, size, size, 3), dtype=np.uint8)
    network, places = model.network, torch.arange(model.network.backbone.places, device=model.device)
    with torch.inference_mode():
        tokens = torch.from_numpy(model.embed(pictures, "photo").tokens).to(model.device)
        index = places.expand(BATCH, -1)
        sketches, photos = (network.prepare(tokens, index, role) for role in ("sketch", "photo"))  # type: ignore[arg-type]
        pairs = rate(lambda: network.score_prepared(sketches, photos).relation.cpu())
    device = torch.cuda.get_device_name() if model.device.type == "cuda" else f"CPU, {os.cpu_count()} cores"
    print(TEXT.format(device=device, batch=BATCH, rounds=ROUNDS))
    print(f"| `zse embed fixtures/demo/photo --model small`, the whole command: pictures | {whole} |")
    print(f"| the network alone: pictures | {rate(lambda: model.embed(pictures, 'photo'))} |")
    print(f"| relation scores of prepared pictures: pairs | {pairs} |")


TEXT = """
## Speed of the shipped network

`benchmarks/speed.py`; float32, {device}, batches of {batch}, median of {rounds} rounds (lowest to highest).

| | a second |
|---|---|"""

if __name__ == "__main__":
    main()
