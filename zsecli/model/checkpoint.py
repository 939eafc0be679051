"""Checkpoints: one safetensors file with the model's configuration in its metadata. Nothing is unpickled."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from zsecli import __version__
from zsecli.errors import StoreError
from zsecli.model.config import ModelConfig, from_json, preset
from zsecli.model.network import ZSENetwork
from zsecli.model.released import UNUSED, list_keys, translate
from zsecli.model.weights import read_pickle

SCHEMA = "checkpoint"
VERSION = "1.0"


def save(network: ZSENetwork, path: Path) -> Path:
    """Write `network` beside `path`, then replace it; returns `path`."""
    metadata = {
        "zse-schema": SCHEMA,
        "zse-schema-version": VERSION,
        "created-by": f"zse {__version__}",
        "config": network.config.to_json(),
    }
    partial = path.with_name(path.name + ".partial")
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, partial, metadata)
    os.replace(partial, path)
    return path


def load(path: Path) -> tuple[ZSENetwork, list[str]]:
    """The network of a checkpoint, in evaluation mode, and the names of parameters it holds but never uses.

    `*.pth` and `*.pt` are read as the authors' published checkpoints (a dict with `model`), with
    `weights_only=True`; everything else must be a safetensors file written by `save`.

    Raises:
        StoreError: the file is missing, no checkpoint, of a newer version, or its keys, shapes or
            values are wrong; the keys are named.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such checkpoint", "give a .safetensors file written by zse, or the authors' .pth")
    if path.suffix in (".pth", ".pt"):
        return _fill(preset("released"), translate(_published(path), path), path), sorted(UNUSED)
    config = read_config(path)
    with safe_open(path, "pt") as file:
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return _fill(config, state, path), []


def read_config(path: Path) -> ModelConfig:
    """The configuration of a safetensors checkpoint, without its tensors."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise StoreError(
            f"{path}: not a safetensors file: {error}", "give a checkpoint written by zse, or the authors' .pth"
        ) from error
    if metadata.get("zse-schema") != SCHEMA:
        raise StoreError(
            f"{path}: a safetensors file, but no zse checkpoint",
            "a backbone's weights go into --model frozen:NAME=FILE",
        )
    version = metadata.get("zse-schema-version", "")
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise StoreError(f"{path}: checkpoint version {version}, this zse reads {VERSION}", "install a newer zse")
    return from_json(metadata.get("config", ""), str(path))


def _published(path: Path) -> dict[str, torch.Tensor]:
    loaded = read_pickle(path)
    state = loaded.get("model") if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(t, torch.Tensor) for t in state.values()):
        raise StoreError(
            f"{path}: no dict of tensors under `model`",
            "the authors' checkpoints have it; other files are not understood",
        )
    return state


def _fill(config: ModelConfig, state: dict[str, torch.Tensor], path: Path) -> ZSENetwork:
    """A network of `config` holding `state`, whose keys, shapes and values must be right."""
    with torch.device("meta"):
        network = ZSENetwork(config)
    wanted = network.state_dict()
    missing, extra = wanted.keys() - state.keys(), state.keys() - wanted.keys()
    if missing or extra:
        raise StoreError(
            f"{path}: does not fit its network ({config.preset}): {list_keys(missing, extra)}",
            "the file is damaged or not zse's",
        )
    for name, tensor in state.items():
        if tensor.shape != wanted[name].shape:
            raise StoreError(
                f"{path}: {name} has shape {tuple(tensor.shape)}, the network's is {tuple(wanted[name].shape)}"
            )
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise StoreError(
                f"{path}: {name} holds values that are not finite", "the training run that wrote it diverged"
            )
    network.load_state_dict({n: t.to(wanted[n].dtype) for n, t in state.items()}, assign=True)
    return network.eval()
