"""Train the shipped network `freehand` from the pictures of a manifest, and write its weights in float16.

    python scripts/train_freehand.py MANIFEST BACKBONE_WEIGHTS WORKSPACE

The manifest has a column `free`; only rows with `yes` are used, and of these the seen part. A run that was stopped goes
on. First the trunk is trained (STAGES[0]), then, on the trunk as it is, the relation network (STAGES[1]): what local
matches teach a trunk costs classes.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

from zsecli.model import checkpoint
from zsecli.model.spec import FREEHAND

ZSE = str(Path(sys.executable).with_name("zse"))
SCENES = ("caltech101", "clothing-small", "grocerystore", "azure-customvision")
THINGS = ("tuxpaint", "gcompris")  # many of them on white, to be pasted into other photos


def weigh_families(scenes: int, things: int) -> tuple[str, ...]:
    """Options that draw photographs more often than emoji, of which there are more."""
    weights = dict.fromkeys(SCENES, scenes) | dict.fromkeys(THINGS, things)
    return tuple(word for name, weight in weights.items() for word in ("--family-weight", f"{name}={weight}"))


STAGES = (
    ("--epochs", "3", "--epoch-draws", "4800", *weigh_families(scenes=4, things=4)),
    (
        *weigh_families(scenes=4, things=8),
        *("--epochs", "1", "--epoch-draws", "2400", "--freeze-stride", "32", "--freeze-blocks", "1", "--lr", "0"),
        *("--head-lr", "1e-4", "--warmup", "5", "--ret-weight", "0", "--name-weight", "0", "--distill-weight", "0"),
        *("--own-weight", "0", "--paste", "0.7"),
    ),
)


def train(name: str, weights: Path, options: tuple[str, ...], workspace: Path) -> Path:
    words = ("train", "free", "--preset", "freehand", "--backbone-weights", str(weights), "--name", name)
    subprocess.run([ZSE, *words, *options, "--workspace", str(workspace)], check=True)
    return workspace / "models" / f"{name}.safetensors"


def main(manifest: str, weights: str, workspace: str) -> None:
    folder = Path(workspace)
    words = ("prepare", "folder", manifest, "--where", "free=yes", "--name", "free", "--workspace", workspace)
    subprocess.run([ZSE, *words], check=True)
    first = train("freehand-trunk", Path(weights), STAGES[0], folder)
    network, _ = checkpoint.load(first)
    trunk = first.with_name("freehand-trunk-only.safetensors")
    save_file({name: t.contiguous() for name, t in network.backbone.vit.patch_embed.trunk.state_dict().items()}, trunk)
    second = train("freehand", trunk, STAGES[1], folder)
    network, _ = checkpoint.load(second)
    FREEHAND.parent.mkdir(exist_ok=True)
    checkpoint.save(network, FREEHAND, checkpoint.read_training(second), torch.float16)
    print(f"{FREEHAND}: {FREEHAND.stat().st_size / 2**20:.1f} MiB")


if __name__ == "__main__":
    main(*sys.argv[1:])
