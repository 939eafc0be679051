"""Train the shipped network from the pictures of a manifest, and write its weights in float16 into the package.

    python scripts/train_shipped.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

A run that was stopped goes on. The commands:

    zse prepare folder MANIFEST --name pictures
    zse train pictures --preset small --backbone-weights BACKBONE_WEIGHTS --ignore-same family --name shipped \
        --workers 1
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from zsecli.model import checkpoint
from zsecli.model.spec import SHIPPED

ZSE = str(Path(sys.executable).with_name("zse"))


def main(manifest: str, weights: str, workspace: str) -> None:
    at = ("--workspace", workspace)
    train = ("train", "pictures", "--preset", "small", "--backbone-weights", weights, "--ignore-same", "family")
    subprocess.run([ZSE, "prepare", "folder", manifest, "--name", "pictures", *at], check=True)
    subprocess.run([ZSE, *train, "--name", "shipped", "--workers", "1", *at], check=True)
    trained = Path(workspace) / "models" / "shipped.safetensors"
    network, _ = checkpoint.load(trained)
    SHIPPED.parent.mkdir(exist_ok=True)
    checkpoint.save(network, SHIPPED, checkpoint.read_training(trained), torch.float16)
    print(f"{SHIPPED}: {SHIPPED.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
