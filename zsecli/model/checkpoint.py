"""Checkpoints: one safetensors file with the model's configuration in its metadata. Nothing is unpickled."""

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
    published = _published(path)
    if published is not None:
        return _whole(get_preset("released"), translate(published, path), path), sorted(UNUSED)
    return _whole(*_read(path), path), []


def load_scoring(path: Path) -> Scoring:
    """The part of a checkpoint's network that scores pairs, in evaluation mode; errors as of `load`."""
    published = _published(path)
    if published is not None:
        return _whole(get_preset("released"), translate(published, path), path)
    config, state = _read(path)
    try:
        query, patch = (
            state.get(name) for name in ("cross_attention.sketch.query.weight", "backbone.vit.patch_embed.proj.weight")
        )
        stride = 16 if config.backbone.kind == "hybrid" or patch is None else patch.shape[-1]
        side, width = config.backbone.image_size // stride, 1 if query is None else len(query)
        with torch.device("meta"):
            network = Scoring(config, width, (side, side))
        return _fill(network, {name: t for name, t in state.items() if not name.startswith("backbone.")}, path)
    except Exception:  # damaged, or a grid that only the backbone itself knows: the whole network tells them apart
        return _whole(config, state, path)


def verify(path: Path) -> str:
    """Load a checkpoint whole, and say what of it was compared with what; StoreError where it is damaged."""
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
    """What a safetensors checkpoint says of the run that made it; empty where it says nothing."""
    try:
        found = json.loads(tensorfile.read_metadata(path, HINT).get("training", "{}"))
    except (StoreError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def seen_classes(path: Path) -> list[str]:
    """The classes that the training of a checkpoint saw, as far as it says so."""
    found = read_training(path).get("seen_classes", [])
    if not (isinstance(found, list) and all(isinstance(name, str) for name in found)):
        raise StoreError(f"{path}: its list of seen classes is none of names", HINT)
    return found


def _read(path: Path) -> tuple[ModelConfig, dict[str, torch.Tensor]]:
    """The configuration, which is read and checked first, and the tensors."""
    return read_config(path), tensorfile.read(path, HINT)[1]


def _published(path: Path) -> dict[str, torch.Tensor] | None:
    """The tensors of a checkpoint of the authors' script; None where `path` is a safetensors file of another kind."""
    if read_format(path) == "torch":
        state = find_state(read_pickle(path), path, "the authors' checkpoints have it under `model`")
        return strip_prefix(state, NAMES)
    if tensorfile.SCHEMA in tensorfile.read_metadata(path, HINT):
        return None
    state = strip_prefix(tensorfile.read(path, HINT)[1], NAMES)
    return state if state.keys() & NAMES.keys() else None


def _whole(config: ModelConfig, state: dict[str, torch.Tensor], path: Path) -> ZSENetwork:
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
    """The network, made on no device, with `state`, whose keys, shapes and values must be right."""
    wanted = network.state_dict()
    what = f"{path}: does not fit its network ({network.config.preset})"
    check_fit(state, wanted, what, "the file is damaged or not zse's")
    network.load_state_dict({n: t.to(wanted[n].dtype) for n, t in state.items()}, assign=True)
    return network.eval()
