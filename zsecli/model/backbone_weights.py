"""Loading a file of weights, in timm's names, into a timm model."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from zsecli.model.tensorfile import refusing
from zsecli.model.weights import HINT_NAMES, check_fit, read_state, strip_prefix

BATCH_COUNTER = "num_batches_tracked"  # ending of the names of batch norms' counters


def fill_backbone(model: nn.Module, name: str, path: Path, options: Mapping[str, Any]) -> None:
    """Load the weights file `path` into the timm model `name`, every parameter of it.

    The file may hold more than the model uses of its architecture (a classifier, layers behind a trunk), and may lack
    the counters of batch norms.

    Args:
        options: that timm.create_model made the model with.

    Raises:
        StoreError: naming the keys that are missing, of another shape, or of no layer of `name`.
    """
    with torch.device("meta"):
        size = {"img_size": options["img_size"]} if "img_size" in options else {}
        full_model = timm.create_model(name, **size)
    full_state = dict(full_model.state_dict())

    def load_with_timm(state: dict[str, Tensor]) -> nn.Module:
        overlay = {"state_dict": state, "custom_load": False}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)

    error_text = f"not weights of {name}"
    file_names = {key: key for key in model.state_dict()}  # name in the model -> name in the file
    if options.get("features_only"):
        with refusing(path, error_text, HINT_NAMES), torch.random.fork_rng(devices=[]):
            file_names = find_full_names(model, full_state, load_with_timm)
    model_state = {file_names[key]: value for key, value in model.state_dict().items() if key in file_names}
    state = strip_prefix(read_state(path), model_state.keys() | full_state.keys())
    state = {file_names.get(key, key): value for key, value in state.items()}  # a trunk's own names are accepted too
    convert = getattr(sys.modules[type(full_model).__module__], "checkpoint_filter_fn", None)
    if convert and not _has_shapes(state, model_state):
        with refusing(path, error_text, HINT_NAMES):
            state = convert(dict(state), full_model)  # timm's conversion of older names and other picture sizes
    wanted = {key: value for key, value in model_state.items() if key in state or not key.endswith(BATCH_COUNTER)}
    check_fit(state, wanted, f"{path}: {error_text}", HINT_NAMES, surplus=full_state)
    loaded = {key: state[file_name] for key, file_name in file_names.items() if file_name in wanted}
    model.load_state_dict(loaded, strict=False)  # check_fit allows nothing but a batch norm's counter to be missing


def _has_shapes(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> bool:
    """Whether `state` has all tensors of `wanted`, in their shapes."""
    return all(key in state and state[key].shape == value.shape for key, value in wanted.items())


def find_full_names(
    trunk: nn.Module, full_state: dict[str, Tensor], load_with_timm: Callable[[dict[str, Tensor]], nn.Module]
) -> dict[str, str]:
    """Name of each tensor of `trunk` -> its name in timm's full model, which weights files use.

    timm flattens, cuts and prefixes the names of a model that returns maps, by rules of its own. To find them, timm
    loads a state in which every tensor is filled with its own number, and the numbers are read from the trunk.

    A tensor of which timm loads only a part (the weights of removed layers) is left out: no map needs it.

    Args:
        full_state: state of the full model, of which only shapes and dtypes are used.
        load_with_timm: makes the trunk with a state loaded by timm.
    """
    trunk_state = trunk.state_dict()
    if _has_shapes(full_state, trunk_state):
        return {name: name for name in trunk_state}
    full_names = list(full_state)
    numbered = {}
    for number, full_name in enumerate(full_names):
        tensor = full_state[full_name]
        numbered[full_name] = torch.full(tensor.shape, number, dtype=tensor.dtype)
    names = {}
    for name, tensor in load_with_timm(numbered).state_dict().items():
        number = int(tensor.flatten()[0])
        if not 0 <= number < len(full_names) or not bool((tensor == number).all()):
            raise ValueError(f"no tensor of the whole model is {name}")
        full_name = full_names[number]
        if full_state[full_name].shape == tensor.shape:
            names[name] = full_name
    return names
