"""Tensors from a file, and nothing else from it: a pickle is never executed."""

from __future__ import annotations

import pickle
import re
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from zsecli.errors import StoreError
from zsecli.model.released import list_keys

WRAPPERS = ("model", "state_dict", "state_dict_ema")  # under which training scripts put a state dict


def read_pickle(path: Path) -> Any:
    """What torch.save wrote to `path`, if that is plain data and tensors; StoreError otherwise."""
    try:
        with warnings.catch_warnings(action="ignore"):
            return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        found = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"holds {found[1]}, not tensors alone" if found else "not a file of torch.save, or damaged"
        raise StoreError(f"{path}: {what}", "zse runs no code from a file: it reads tensors or nothing") from error


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a backbone in a safetensors file, or in one of torch.save."""
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise StoreError(f"{path}: not a safetensors file: {error}", "give weights in timm's names") from error
    state = read_pickle(path)
    for name in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise StoreError(f"{path}: holds no state dict", "give weights in timm's names")
    return state


def fill_backbone(model: nn.Module, name: str, path: Path) -> None:
    """Load the weights file `path` into the timm model `name`, every parameter of it.

    The file may hold more than the model uses of its kind (a classifier, layers behind a trunk), and
    may lack the counters of batch norms.

    Raises:
        StoreError: naming the keys that are missing, of another shape, or of no layer of `name`.
    """
    state: Mapping[str, Tensor] = read_state(path)
    if convert := getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None):
        state = convert(dict(state), model)  # timm's own, for older names and other picture sizes
    wanted = model.state_dict()
    with torch.device("meta"):
        whole = timm.create_model(name).state_dict().keys()
    missing = {key for key in wanted.keys() - state.keys() if not key.endswith("num_batches_tracked")}
    extra = state.keys() - wanted.keys() - whole
    if missing or extra:
        raise StoreError(f"{path}: not weights of {name}: {list_keys(missing, extra)}", "give weights in timm's names")
    for key in wanted.keys() & state.keys():
        if state[key].shape != wanted[key].shape:
            shapes = f"{tuple(state[key].shape)}, the model's is {tuple(wanted[key].shape)}"
            raise StoreError(f"{path}: not weights of {name}: {key} has shape {shapes}", "give weights in timm's names")
    model.load_state_dict({key: state[key] for key in wanted.keys() & state.keys()}, strict=False)
