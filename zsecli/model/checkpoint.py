"""Checkpoints: a safetensors file each, with the network's configuration in the metadata. No pickle is executed."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from zsecli import __version__
from zsecli.errors import StoreError
from zsecli.model import tensorfile
from zsecli.model.config import ModelConfig, from_json, get_preset
from zsecli.model.file_format import read_format
from zsecli.model.released import NAMES, UNUSED, translate
from zsecli.model.scoring import Scoring
from zsecli.model.tensorfile import CHECKSUM, refusing
from zsecli.model.weights import check_fit, find_state, read_pickle, strip_prefix

if TYPE_CHECKING:
    from zsecli.model.network import ZSENetwork

SCHEMA = "checkpoint"
VERSION = "1.2"
HINT = "give a checkpoint written by zse, or the authors' .pth"
Network = TypeVar("Network", bound=Scoring)


def save(
    network: ZSENetwork, path: Path, training: Mapping[str, Any] | None = None, dtype: torch.dtype = torch.float32
) -> Path:
    """Write `network` beside `path`, then replace it; returns `path`.

    Args:
        training: what to record about the training run, as plain data.
        dtype: of the floating-point tensors in the file; `load` makes them float32.
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
    tensorfile.write(path, state, metadata)
    return path


def load(path: Path) -> tuple[ZSENetwork, list[str]]:
    """The network of a checkpoint, in evaluation mode, and the names of parameters it holds but never uses.

    The content decides, not the name: what torch.save wrote is read, with `weights_only=True`, as a checkpoint of
    the authors' script; a safetensors file is one that `save` wrote, or holds the tensors of such a checkpoint.

    Raises:
        StoreError: the file is missing, no checkpoint, of a newer version, or its keys, shapes or
            values are wrong; the keys are named.
    """
    if not path.is_file():
        raise StoreError(f"{path}: no such checkpoint", "give a .safetensors file written by zse, or the authors' .pth")
    published = _read_published(path)
    if published is not None:
        return _build_network(get_preset("released"), translate(published, path), path), sorted(UNUSED)
    return _build_network(*_read_own(path), path), []


def load_scoring(path: Path) -> Scoring:
    """The part of a checkpoint's network that scores pairs, in evaluation mode; errors as of `load`."""
    published = _read_published(path)
    if published is not None:
        return _build_network(get_preset("released"), translate(published, path), path)
    config, state = _read_own(path)
    try:
        query = state.get("cross_attention.sketch.query.weight")
        patch_projection = state.get("backbone.vit.patch_embed.proj.weight")
        is_hybrid = config.backbone.kind == "hybrid"
        stride = 16 if is_hybrid or patch_projection is None else patch_projection.shape[-1]
        side = config.backbone.image_size // stride
        width = 1 if query is None else len(query)
        with torch.device("meta"):
            network = Scoring(config, width, (side, side))
        scoring_state = {name: tensor for name, tensor in state.items() if not name.startswith("backbone.")}
        return _fill(network, scoring_state, path)
    except Exception:  # damaged, or a grid that only the backbone itself knows: loading the whole network tells which
        return _build_network(config, state, path)


def verify(path: Path) -> str:
    """Load a whole checkpoint and describe how its content was verified; StoreError where it is damaged."""
    count = len(load(path)[0].state_dict())
    if read_format(path) == "safetensors":
        if CHECKSUM in tensorfile.read_metadata(path, HINT):
            return f"{count} tensors and the metadata are those that were written (SHA-256)"
    elif zipfile.is_zipfile(path):
        with refusing(path, "damaged", HINT), zipfile.ZipFile(path) as file:
            if bad := file.testzip():
                raise StoreError(f"{path}: damaged: {bad} is not what was written", HINT)
        return f"{count} tensors are those that were written (CRC-32)"
    return f"{count} tensors are all there, and finite; the file has no checksum, so a changed value cannot be found"


def read_config(path: Path) -> ModelConfig:
    """The configuration of a safetensors checkpoint, without its tensors."""
    metadata = tensorfile.read_metadata(path, HINT)
    if metadata.get("zse-schema") != SCHEMA:
        raise StoreError(
            f"{path}: a safetensors file, but no zse checkpoint",
            "a backbone's weights go into --model frozen:NAME=FILE",
        )
    version = metadata.get("zse-schema-version", "")
    if version.split(".")[0] != VERSION.split(".")[0]:
        raise StoreError(f"{path}: checkpoint version {version}, this zse reads {VERSION}", "install a newer zse")
    if version not in ("1.0", "1.1") and CHECKSUM not in metadata:
        raise StoreError(f"{path}: damaged: its checksum is gone", "copy it again from where it came")
    return from_json(metadata.get("config", ""), str(path))


def read_training(path: Path) -> dict[str, Any]:
    """What a safetensors checkpoint records about the training run that made it; empty where it records nothing."""
    try:
        training = json.loads(tensorfile.read_metadata(path, HINT).get("training", "{}"))
    except (StoreError, ValueError, RecursionError):
        return {}
    return training if isinstance(training, dict) else {}


def seen_classes(path: Path) -> list[str]:
    """The classes that a checkpoint was trained on, as far as it records them."""
    classes = read_training(path).get("seen_classes", [])
    if not (isinstance(classes, list) and all(isinstance(name, str) for name in classes)):
        raise StoreError(f"{path}: its list of seen classes is none of names", HINT)
    return classes


def _read_own(path: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """The configuration, which is checked before the tensors are read, and the tensors."""
    return read_config(path), tensorfile.read(path, HINT)[1]


def _read_published(path: Path) -> dict[str, torch.Tensor] | None:
    """The tensors of a checkpoint of the authors' script; None where `path` is a safetensors file of another kind."""
    if read_format(path) == "torch":
        state = find_state(read_pickle(path), path, "the authors' checkpoints have it under `model`")
        return strip_prefix(state, NAMES)
    if tensorfile.SCHEMA in tensorfile.read_metadata(path, HINT):
        return None
    state = strip_prefix(tensorfile.read(path, HINT)[1], NAMES)
    return state if state.keys() & NAMES.keys() else None


def _build_network(config: ModelConfig, state: dict[str, torch.Tensor], path: Path) -> ZSENetwork:
    from zsecli.model.network import ZSENetwork  # here: timm, which it needs, takes seconds to import

    hint = "the file is damaged, or not zse's, or needs a newer timm"
    with refusing(path, "no network can be made as its configuration says", hint), torch.device("meta"):
        network = ZSENetwork(config)
    network = _fill(network, state, path)
    if any(buffer.is_meta for buffer in network.buffers()):  # what some backbones compute as they are made
        with torch.random.fork_rng(devices=[]):
            made = ZSENetwork(config)
        made.load_state_dict(network.state_dict(), assign=True)
        return made.eval()
    return network


def _fill(network: Network, state: dict[str, torch.Tensor], path: Path) -> Network:
    """Load `state`, whose keys, shapes and values are checked, into a network on the meta device."""
    wanted = network.state_dict()
    what = f"{path}: does not fit its network ({network.config.preset})"
    check_fit(state, wanted, what, "the file is damaged or not zse's")
    typed = {name: tensor.to(wanted[name].dtype) for name, tensor in state.items()}
    network.load_state_dict(typed, assign=True)
    return network.eval()
