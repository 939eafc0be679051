"""Tensors from a file, and nothing else from it: a pickle is never executed."""

from __future__ import annotations

import re
import sys
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor, nn

from zsecli.errors import StoreError
from zsecli.model import tensorfile
from zsecli.model.tensorfile import refusing

FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # that a parameter may be stored in
NAMES = "give weights in timm's names"
WRAPPERS = ("model", "state_dict", "state_dict_ema")  # under which training scripts put a state dict


def read_pickle(path: Path) -> Any:
    """What torch.save wrote to `path`, if that is plain data and tensors; StoreError otherwise."""
    hint = "zse runs no code from a file: it reads tensors or nothing"
    with refusing(path, "not a file of torch.save, or damaged", hint):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                inside = sum(record.file_size for record in file.infolist())
            if inside > path.stat().st_size:  # torch.save compresses nothing: it would fill the memory
                raise StoreError(f"{path}: holds {inside} bytes in a file of {path.stat().st_size}", hint)
        try:
            with warnings.catch_warnings(action="ignore"):
                return torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if found := re.search(r"GLOBAL ([\w.]+)", str(error)):
                raise StoreError(f"{path}: holds {found[1]}, not tensors alone", hint) from error
            raise


def is_state(value: Any) -> TypeGuard[dict[str, Tensor]]:
    """Whether `value` is a dict of tensors by name: dense ones, whose every value is there."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and (tensor.layout, tensor.device.type) == (torch.strided, "cpu")
        and tensor.nbytes <= tensor.untyped_storage().nbytes()  # one value can pose as a tensor of any size
        for name, tensor in value.items()
    )


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a backbone in a safetensors file, or in one of torch.save."""
    if path.suffix == ".safetensors":
        return tensorfile.read(path, NAMES)[1]
    state = read_pickle(path)
    for name in WRAPPERS:
        if isinstance(state, dict) and isinstance(state.get(name), dict):
            state = state[name]
    if not is_state(state):
        raise StoreError(f"{path}: holds no state dict", NAMES)
    return state


def list_keys(missing: set[str], extra: set[str]) -> str:
    """`missing a, b and 3 more; too many c`."""
    parts = []
    for word, keys in (("missing", sorted(missing)), ("too many", sorted(extra))):
        if keys:
            more = f" and {len(keys) - 3} more" if len(keys) > 3 else ""
            parts.append(f"{word} {', '.join(keys[:3])}{more}")
    return "; ".join(parts)


def check_fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, hint: str, surplus: Collection[str] = ()
) -> None:
    """Check that `state` holds just the tensors `wanted`, of floats or what else they are, and finite ones.

    Args:
        what, hint: the error's beginning and its remedy. surplus: names that may be there for nothing.

    Raises:
        StoreError: naming the keys that are missing, too many, of another shape or type, or not finite.
    """
    missing = wanted.keys() - state.keys()
    extra = state.keys() - wanted.keys() - set(surplus)
    if missing or extra:
        raise StoreError(f"{what}: {list_keys(missing, extra)}", hint)
    for name in wanted.keys() & state.keys():
        if state[name].shape != wanted[name].shape:
            shapes = f"{tuple(state[name].shape)}, the model's is {tuple(wanted[name].shape)}"
            raise StoreError(f"{what}: {name} has shape {shapes}", hint)
        kinds = FLOATS if wanted[name].is_floating_point() else (wanted[name].dtype,)
        if state[name].dtype not in kinds:
            types = f"{state[name].dtype}, not {' or '.join(map(str, kinds))}".replace("torch.", "")
            raise StoreError(f"{what}: {name} is of {types}", hint)
        if state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            raise StoreError(
                f"{what}: {name} holds values that are not finite", "the training run that wrote it diverged"
            )


def fill_backbone(model: nn.Module, name: str, path: Path) -> None:
    """Load the weights file `path` into the timm model `name`, every parameter of it.

    The file may hold more than the model uses of its kind (a classifier, layers behind a trunk), and
    may lack the counters of batch norms.

    Raises:
        StoreError: naming the keys that are missing, of another shape, or of no layer of `name`.
    """
    import timm

    state: Mapping[str, Tensor] = read_state(path)
    if convert := getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None):
        with refusing(path, f"not weights of {name}", NAMES):
            state = convert(dict(state), model)  # timm's own, for older names and other picture sizes
    counters = "num_batches_tracked"
    wanted = {key: value for key, value in model.state_dict().items() if key in state or not key.endswith(counters)}
    with torch.device("meta"):
        whole = timm.create_model(name).state_dict().keys()
    check_fit(state, wanted, f"{path}: not weights of {name}", NAMES, surplus=whole)
    model.load_state_dict({key: state[key] for key in wanted}, strict=False)  # all but those counters
