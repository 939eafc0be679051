"""Reference numbers of the authors' network, and the weights and pictures they belong to (see fixtures/golden)."""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FOLDER = Path(__file__).resolve().parents[2] / "fixtures" / "golden"
GOLDEN = Path(os.environ.get("ZSE_GOLDEN", FOLDER / "official_golden.npz"))
CLASS_LISTS = FOLDER / "classes"


def load_golden() -> Any:
    """The arrays by name; see fixtures/golden/README.md."""
    return np.load(GOLDEN, allow_pickle=False)


def make_parameter(key: str, shape: tuple[int, ...], seed: int) -> NDArray[np.float32]:
    """The value of parameter `key` of the authors' state dict."""
    z = _random_state(key, seed).standard_normal(shape).astype(np.float32)
    if "norm" in key:  # scales near 1, shifts near 0
        is_scale = key.endswith(("weight", ".a"))
        return (1 + 0.1 * z if is_scale else 0.1 * z).astype(np.float32)
    if key.endswith("bias"):
        return (0.05 * z).astype(np.float32)
    if key.endswith(("pos_embedding", "cls")):
        return (0.3 * z).astype(np.float32)
    fan_in = int(np.prod(shape[1:]))
    gain = 3.0 if key.startswith("rn.") else 1.0  # spreads the relation scores
    return (gain * z / np.sqrt(fan_in)).astype(np.float32)


def make_images(kind: str, count: int, seed: int) -> NDArray[np.float32]:
    """Inputs in [-1, 1], (count, 3, 224, 224): smooth blobs for "photo", thin circles on white for "sketch"."""
    random = _random_state(f"images/{kind}", seed)
    y, x = np.mgrid[0:224, 0:224] / 223.0
    images = np.ones((count, 3, 224, 224), np.float32)
    for image in images:
        if kind == "photo":
            for channel in range(3):
                waves = np.zeros((224, 224))
                for _ in range(6):
                    fx, fy, phase = random.uniform(0.5, 6), random.uniform(0.5, 6), random.uniform(0, 6.28)
                    waves += np.sin(6.28 * (fx * x + fy * y) + phase)
                image[channel] = np.tanh(waves / 2)
        else:
            for _ in range(5):
                cx, cy, radius = random.uniform(0.2, 0.8), random.uniform(0.2, 0.8), random.uniform(0.05, 0.35)
                image[:, np.abs(np.hypot(x - cx, y - cy) - radius) < 0.008] = -1
    return images


def _random_state(name: str, seed: int) -> np.random.RandomState:
    """NumPy's legacy generator: its stream is frozen."""
    return np.random.RandomState((zlib.crc32(name.encode()) + seed) % 2**32)
