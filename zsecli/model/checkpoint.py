"""Checkpoints: one safetensors file with the model's configuration in its metadata. Nothing is unpickled."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open

from zsecli import __version__
from zsecli.errors import StoreError
from zsecli.files import replacing
from zsecli.model.config import ModelConfig, from_json, preset
from zsecli.model.released import UNUSED, translate
from zsecli.model.scoring import Scoring
from zsecli.model.weights import check_fit, is_state, read_pickle, read_state, write_tensors

if TYPE_CHECKING:
    from zsecli.model.network import ZSENetwork

SCHEMA = "checkpoint"
VERSION = "1.1"
Network = TypeVar("Network", bound=Scoring)


def save(
    network: ZSENetwork, path: Path, training: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """Write `network` beside `path`, then replace it; returns `path`.

    Args:
        training: what is to be known of the run that made it, as plain data.
        dtype: of the tensors in the file; the network that `load` makes of them is float32.
    """
    metadata = {
        "zse-schema": SCHEMA,
        "zse-schema-version": VERSION,
        "created-by": f"zse {__version__}",
        "config": network.config.to_json(),
        "training": json.dumps(dict(training or {})),
    }
    state = {
        name: tensor.detach().to("cpu", dtype if tensor.is_floating_point() else tensor.dtype).contiguous()
        for name, tensor in network.state_dict().items()
    }
    with replacing(path) as (partial,):
        write_tensors(state, partial, metadata)
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
        return _whole(preset("released"), translate(_published(path), path), path), sorted(UNUSED)
    return _whole(read_config(path), read_state(path), path), []


def load_scoring(path: Path) -> Scoring:
    """The part of a checkpoint's network that scores pairs, in evaluation mode; errors as of `load`."""
    if path.suffix in (".pth", ".pt"):
        return load(path)[0]
    config, state = read_config(path), read_state(path)
    query, patch = (
        state.get(name) for name in ("cross_attention.sketch.query.weight", "backbone.vit.patch_embed.proj.weight")
    )
    stride = 16 if config.backbone.kind == "hybrid" or patch is None else patch.shape[-1]
    side, width = config.backbone.image_size // stride, 1 if query is None else len(query)
    with torch.device("meta"):
        network = Scoring(config, width, (side, side))
    try:
        return _fill(network, {name: t for name, t in state.items() if not name.startswith("backbone.")}, path)
    except StoreError:  # damaged, or a grid that only the backbone itself knows
        return load(path)[0]


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


def read_training(path: Path) -> dict[str, Any]:
    """What a safetensors checkpoint says of the run that made it; empty where it says nothing."""
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {}).get("training", "{}"))
    except (SafetensorError, OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _published(path: Path) -> dict[str, torch.Tensor]:
    loaded = read_pickle(path)
    state = loaded.get("model") if isinstance(loaded, dict) else None
    if not is_state(state):
        raise StoreError(
            f"{path}: no dict of tensors under `model`",
            "the authors' checkpoints have it; other files are not understood",
        )
    return state


def _whole(config: ModelConfig, state: dict[str, torch.Tensor], path: Path) -> ZSENetwork:
    from zsecli.model.network import ZSENetwork  # here: timm, which it needs, takes seconds to import

    with torch.device("meta"):
        network = ZSENetwork(config)
    return _fill(network, state, path)


def _fill(network: Network, state: dict[str, torch.Tensor], path: Path) -> Network:
    """The network, made on no device, with `state`, whose keys, shapes and values must be right."""
    wanted = network.state_dict()
    what = f"{path}: does not fit its network ({network.config.preset})"
    check_fit(state, wanted, what, "the file is damaged or not zse's")
    network.load_state_dict({n: t.to(wanted[n].dtype) for n, t in state.items()}, assign=True)
    return network.eval()
