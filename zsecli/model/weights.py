"""Tensors from a file, and nothing else from it: a pickle is never executed."""

from __future__ import annotations

import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from zsecli.errors import StoreError
from zsecli.model import tensorfile
from zsecli.model.file_format import read_format
from zsecli.model.inert_pickle import stand_ins
from zsecli.model.tensorfile import refusing

FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # that a parameter may be stored in
HINT_NAMES = "give weights in timm's names"
ALONE = "zse runs no code from a file; where it was made, torch.save(model.state_dict(), FILE) keeps the weights alone"
# under which training scripts put a state dict, and the beginnings that wrappers add to its names
WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "state_dict_ema", "model_ema"),
    *("ema", "ema_state_dict", "teacher", "student", "backbone", "encoder", "params", "weights", "module"),
)
DEEPEST = 8  # wrappers around each other
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "encoder_q.", "student.")


def read_pickle(path: Path) -> Any:
    """What torch.save wrote to `path`: plain data and tensors; what else scripts keep there is passed over.

    Raises:
        StoreError: it is damaged, or holds what zsecli.model.inert_pickle does not know.
    """
    with refusing(path, "not a file of torch.save, or damaged", ALONE):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                inside = sum(record.file_size for record in file.infolist())
            if inside > path.stat().st_size:  # torch.save compresses nothing: it would fill the memory
                raise StoreError(f"{path}: holds {inside} bytes in a file of {path.stat().st_size}", ALONE)
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                torch.serialization.safe_globals(stand_ins()),
                path.open("rb") as opened,  # of a path torch would read the suffix
            ):
                return torch.load(opened, map_location="cpu", weights_only=True)
        except Exception as error:
            found = re.search(r"GLOBAL ([\w.]+)", str(error))
            if found or "unrecognized function" in str(error):
                what = found[1] if found else "a call of something unknown"
                raise StoreError(f"{path}: holds {what}, not tensors alone", ALONE) from error
            if "Unsupported operand" in str(error):
                what = f"{path}: was pickled in another way than torch.save does by itself"
                raise StoreError(what, f"load it where it was made and save it again; {ALONE}") from error
            raise


def is_state(value: Any) -> TypeGuard[dict[str, Tensor]]:
    """Whether `value` is a dict of tensors by name: dense ones, whose every value is there."""
    return isinstance(value, dict) and all(
        isinstance(name, str)
        and isinstance(tensor, Tensor)
        and (tensor.layout, tensor.device.type) == (torch.strided, "cpu")
        and tensor.nbytes <= tensor.untyped_storage().nbytes()  # one value can pose as a tensor of any size
        for name, tensor in dict.items(value)  # a pickle can give a dict another `items`
    )


def find_state(value: Any, path: Path, hint: str) -> dict[str, Tensor]:
    """The state dict in what `read_pickle` returned, as it is or in what training scripts wrap around it.

    Raises:
        StoreError: there is none.
    """
    for _ in range(DEEPEST):  # a pickle can hold a dict that holds itself
        if not isinstance(value, dict) or is_state(value):
            break
        inner = [dict.get(value, name) for name in WRAPPERS]
        value = next((candidate for candidate in inner if isinstance(candidate, dict)), None)
    if not is_state(value):
        raise StoreError(f"{path}: holds no dict of tensors by their names", hint)
    return {name: tensor.detach() for name, tensor in dict.items(value)}


def read_state(path: Path) -> dict[str, Tensor]:
    """The state dict of a backbone in a safetensors file, or in one of torch.save."""
    if read_format(path) == "safetensors":
        return tensorfile.read(path, HINT_NAMES)[1]
    return find_state(read_pickle(path), path, HINT_NAMES)


def strip_prefix(state: Mapping[str, Tensor], wanted: Collection[str]) -> dict[str, Tensor]:
    """`state` without what a wrapper (of several GPUs, of torch.compile, of Lightning) put before its names.

    Args:
        wanted: names of which the state has some, once the prefix is gone; until then it is another prefix' turn.
    """
    stripped = dict(state)
    while stripped and not any(name in wanted for name in stripped):
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in stripped)), None)
        if prefix is None:
            return dict(state)
        stripped = {name.removeprefix(prefix): t for name, t in stripped.items() if name.startswith(prefix)}
    return stripped


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
