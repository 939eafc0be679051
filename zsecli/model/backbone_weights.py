"""A timm model filled from a file of weights in timm's names."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from zsecli.model.tensorfile import refusing
from zsecli.model.trunk import find_whole_names
from zsecli.model.weights import NAMES, check_fit, read_state, strip_prefix


def fill_backbone(model: nn.Module, name: str, path: Path, options: Mapping[str, Any]) -> None:
    """Load the weights file `path`, in timm's names, into the timm model `name`, every parameter of it.

    The file may hold more than the model uses of its kind (a classifier, layers behind a trunk), and
    may lack the counters of batch norms.

    Args:
        options: that timm.create_model made the model with.

    Raises:
        StoreError: naming the keys that are missing, of another shape, or of no layer of `name`.
    """
    with torch.device("meta"):
        whole = timm.create_model(name, **{key: value for key, value in options.items() if key in ("img_size",)})
    known = dict(whole.state_dict())

    def load_with_timm(state: dict[str, Tensor]) -> nn.Module:
        overlay = {"state_dict": state, "custom_load": False}
        return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **options)

    what = f"{path}: not weights of {name}"
    names = {key: key for key in model.state_dict()}
    if options.get("features_only"):
        with refusing(path, f"not weights of {name}", NAMES), torch.random.fork_rng(devices=[]):
            names = find_whole_names(model, known, load_with_timm)
    own = {names[key]: value for key, value in model.state_dict().items() if key in names}
    state = strip_prefix(read_state(path), own.keys() | known.keys())
    state = {names.get(key, key): value for key, value in state.items()}  # a trunk's own names do as well
    convert = getattr(sys.modules[type(whole).__module__], "checkpoint_filter_fn", None)
    as_it_is = all(key in state and state[key].shape == value.shape for key, value in own.items())
    if convert and not as_it_is:
        with refusing(path, f"not weights of {name}", NAMES):
            state = convert(dict(state), whole)  # timm's own, for older names and other picture sizes
    counters = "num_batches_tracked"
    wanted = {key: value for key, value in own.items() if key in state or not key.endswith(counters)}
    check_fit(state, wanted, what, NAMES, surplus=known)
    loaded = {key: state[theirs] for key, theirs in names.items() if theirs in wanted}
    model.load_state_dict(loaded, strict=False)  # all but those counters
