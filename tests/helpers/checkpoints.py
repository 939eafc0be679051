"""Checkpoints that are changed, or made to do harm."""

from __future__ import annotations

import zipfile
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from helpers.tiny import SELECTING
from zsecli.model.spec import SHIPPED


def rewrite(saved: Path, path: Path, **changes: object) -> Path:
    """A copy of the checkpoint with some tensors (None: removed) or metadata exchanged."""
    state = load_file(saved)
    metadata = {
        "zse-schema": "checkpoint",
        "zse-schema-version": str(changes.pop("version", "1.0")),
        "config": str(changes.pop("config", SELECTING.to_json())),
    }
    for name, value in changes.items():
        state.pop(name, None)
        if isinstance(value, torch.Tensor):
            state[name] = value
    save_file(state, path, metadata)
    return path


def save_shipped_trunk(path: Path) -> Path:
    """The convolutional trunk of the shipped network alone, in timm's names, in place of ImageNet weights."""
    prefix = "backbone.vit.patch_embed.trunk."
    trunk = {}
    for name, tensor in load_file(SHIPPED).items():
        if name.startswith(prefix):
            trunk[name.removeprefix(prefix)] = tensor
    save_file(trunk, path)
    return path


class Evil:
    """Unpickling this would write a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.mark,)


def rename(path: Path, core: str) -> None:
    """Write numpy's module in a file of torch.save as numpy 1 (`numpy.core`) or 2 (`numpy._core`) call it."""
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in records.items():
            for other in (b"numpy.core", b"numpy._core"):
                data = (
                    data.replace(b"c" + other + b".", b"c" + core.encode() + b".")
                    if name.endswith("data.pkl")
                    else data
                )
            archive.writestr(name, data)
