"""Reading the tensors of a file without executing a pickle, and comparing them with what a model needs."""

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

FLOATS = (torch.float32, torch.float16, torch.bfloat16)  # dtypes that a parameter may be stored in
HINT_NAMES = "give weights in timm's names"
HINT_TENSORS = (
    "zse runs no code from a file; where it was made, torch.save(model.state_dict(), FILE) keeps the weights alone"
)
# keys under which training scripts put a state dict
WRAPPERS = (
    *("model", "state_dict", "model_state_dict", "model_state", "net", "network", "state_dict_ema", "model_ema"),
    *("ema", "ema_state_dict", "teacher", "student", "backbone", "encoder", "params", "weights", "module"),
)
MAX_WRAPPERS = 8  # around each other
# prefixes that wrappers add to the names of tensors
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.", "backbone.", "encoder.", "encoder_q.", "student.")


def read_pickle(path: Path) -> Any:
    """The plain data and tensors that torch.save wrote to `path`, without what else scripts keep there.

    Raises:
        StoreError: it is damaged, or holds what zsecli.model.inert_pickle does not know.
    """
    with refusing(path, "not a file of torch.save, or damaged", HINT_TENSORS):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as file:
                unpacked = sum(record.file_size for record in file.infolist())
            if unpacked > path.stat().st_size:  # torch.save compresses nothing: it would fill the memory
                raise StoreError(f"{path}: holds {unpacked} bytes in a file of {path.stat().st_size}", HINT_TENSORS)
        try:
            with (
                warnings.catch_warnings(action="ignore"),
                torch.serialization.safe_globals(stand_ins()),
                path.open("rb") as opened,  # of a path torch would read the suffix
            ):
                return torch.load(opened, map_location="cpu", weights_only=True)
        except Exception as error:
            refusal = _explain_refusal(path, str(error))
            if refusal is None:
                raise
            raise refusal from error


def _explain_refusal(path: Path, text: str) -> StoreError | None:
    """The error to raise where PyTorch's unpickler refused a file with `text`; None for any other failure."""
    name = re.search(r"GLOBAL ([\w.]+)", text)
    if name or "unrecognized function" in text:
        content = name[1] if name else "a call of something unknown"
        return StoreError(f"{path}: holds {content}, not tensors alone", HINT_TENSORS)
    if "Unsupported operand" in text:
        message = f"{path}: was pickled in another way than torch.save does by itself"
        return StoreError(message, f"load it where it was made and save it again; {HINT_TENSORS}")
    return None


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
    """The state dict in the output of `read_pickle`, itself or inside the dicts that training scripts wrap around it.

    Raises:
        StoreError: there is none.
    """
    for _ in range(MAX_WRAPPERS):  # a pickle can hold a dict that holds itself
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
    """`state` without the prefixes that wrappers (for several GPUs, torch.compile, Lightning) add to its names.

    Args:
        wanted: names of which the state must have some; prefixes are removed until it does.
    """
    stripped = dict(state)
    while stripped and not any(name in wanted for name in stripped):
        prefix = next((p for p in PREFIXES if any(name.startswith(p) for name in stripped)), None)
        if prefix is None:
            return dict(state)
        prefixed = {name: tensor for name, tensor in stripped.items() if name.startswith(prefix)}
        stripped = {name.removeprefix(prefix): tensor for name, tensor in prefixed.items()}
    return stripped


def list_keys(missing: set[str], extra: set[str]) -> str:
    """`missing a, b and 3 more; too many c`."""
    listed = []
    if missing:
        listed.append(f"missing {_shorten(sorted(missing))}")
    if extra:
        listed.append(f"too many {_shorten(sorted(extra))}")
    return "; ".join(listed)


def _shorten(keys: list[str]) -> str:
    """The first three keys, and the number of the others."""
    text = ", ".join(keys[:3])
    return f"{text} and {len(keys) - 3} more" if len(keys) > 3 else text


def check_fit(
    state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], what: str, hint: str, surplus: Collection[str] = ()
) -> None:
    """Check that `state` holds just the tensors `wanted`, in their shapes and kinds of dtype, and finite.

    Args:
        what: the beginning of the error's message.
        hint: the error's hint.
        surplus: names that `state` may hold in addition.

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
        accepted = FLOATS if wanted[name].is_floating_point() else (wanted[name].dtype,)
        if state[name].dtype not in accepted:
            expected = " or ".join(map(str, accepted))
            dtypes = f"{state[name].dtype}, not {expected}".replace("torch.", "")
            raise StoreError(f"{what}: {name} is of {dtypes}", hint)
        if state[name].is_floating_point() and not torch.isfinite(state[name]).all():
            raise StoreError(
                f"{what}: {name} holds values that are not finite", "the training run that wrote it diverged"
            )
