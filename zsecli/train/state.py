"""All that a killed run needs to resume: weights, the optimiser's moments, its progress. One file, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from zsecli.model import tensorfile
from zsecli.model.config import LATER, from_plain
from zsecli.model.tensorfile import refusing
from zsecli.model.weights import check_fit
from zsecli.train.step import LOSS_NAMES

SCHEMA = "training"
HINT = "delete it: the run begins again"
EARLIER_LOSS_COUNT = 4  # losses that a step had in earlier versions
TEACHER = "teacher."  # prefix of weights that are not saved: they are the backbone's before training
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass(kw_only=True)
class RunProgress:
    """How far a run is."""

    step: int = 0
    """Optimiser steps done."""
    best: float | None = None
    """Score of the best validation."""
    best_epoch: int = 0
    stale: int = 0
    """Epochs since the best validation."""
    ended: bool = False
    unlogged: tuple[tuple[float, ...], ...] = field(default=(), metadata=LATER)
    """The losses of each step since the last record of the log, in the order of LOSS_NAMES. Without them the first
    record of a resumed run would be the mean of fewer steps than in a run that was never stopped."""


def save_state(
    path: Path, key: str, progress: RunProgress, modules: Mapping[str, nn.Module], optimizer: Optimizer
) -> None:
    """Write the state beside `path`, then replace it.

    Args:
        key: of the run; only a run with the same key can resume from the state.
        modules: the network as `model`, and what else is trained.
    """
    tensors: dict[str, Tensor] = {}
    for prefix, module in modules.items():
        for name, tensor in _select_saved_weights(module).items():
            tensors[f"{prefix}.{name}"] = tensor
    for number, parameter in enumerate(_list_parameters(optimizer)):
        for name in _MOMENTS:
            if name in optimizer.state[parameter]:
                tensors[f"{name}.{number}"] = optimizer.state[parameter][name]
    metadata = {"zse-schema": SCHEMA, "run-key": key, "progress": json.dumps(vars(progress))}
    path.parent.mkdir(parents=True, exist_ok=True)
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    tensorfile.write(path, on_cpu, metadata)


def load_state(path: Path, key: str, modules: Mapping[str, nn.Module], optimizer: Optimizer) -> RunProgress | None:
    """Load the state of the run with this `key` into modules and optimiser; None where there is none.

    Raises:
        StoreError: the file is damaged, or of another network.
    """
    header = read_progress(path)
    if header is None or header[0] != key:
        return None
    tensors = tensorfile.read(path, HINT)[1]
    message = f"{path}: does not fit its network"
    weights: dict[str, dict[str, Tensor]] = {}
    for prefix, module in modules.items():
        names = [name for name in tensors if name.startswith(f"{prefix}.")]
        weights[prefix] = {name.removeprefix(f"{prefix}."): tensors.pop(name) for name in names}
        check_fit(weights[prefix], _select_saved_weights(module), message, HINT)
    check_fit(tensors, _expect_moments(tensors, optimizer), message, HINT)
    for prefix, module in modules.items():
        module.load_state_dict(weights[prefix], strict=False)
    _load_moments(tensors, optimizer)
    return header[1]


def read_progress(path: Path) -> tuple[str, RunProgress] | None:
    """The run key and the progress of the state at `path`; None where there is none.

    Raises:
        StoreError: the file is damaged.
    """
    if not path.is_file():
        return None
    metadata = tensorfile.read_metadata(path, HINT)
    with refusing(path, "not a state of training, or damaged", HINT):
        progress = from_plain(RunProgress, json.loads(metadata["progress"]))
        if metadata["zse-schema"] != SCHEMA or min(progress.step, progress.best_epoch, progress.stale) < 0:
            raise ValueError(f"schema {metadata['zse-schema']}, {progress}")
        progress.unlogged = tuple(_pad_losses(losses) for losses in progress.unlogged)
        return metadata["run-key"], progress


def _pad_losses(losses: tuple[float, ...]) -> tuple[float, ...]:
    """The losses of a step, with zeros for those that earlier versions did not have."""
    if len(losses) not in (EARLIER_LOSS_COUNT, len(LOSS_NAMES)):
        raise ValueError(f"a step has {len(LOSS_NAMES)} losses")
    missing = len(LOSS_NAMES) - len(losses)
    return (*losses, *[0.0] * missing)


def _expect_moments(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> dict[str, Tensor]:
    """Tensors of the names and shapes that the moments in a state must have."""
    expected: dict[str, Tensor] = {}
    for number, parameter in enumerate(_list_parameters(optimizer)):
        names = [f"{name}.{number}" for name in _MOMENTS]
        if not any(name in tensors for name in names):  # no step has moved this parameter
            continue
        step, mean, square_mean = names
        expected[step] = parameter.new_empty(())
        expected[mean] = parameter
        expected[square_mean] = parameter
    return expected


def _load_moments(tensors: Mapping[str, Tensor], optimizer: Optimizer) -> None:
    for number, parameter in enumerate(_list_parameters(optimizer)):
        moments: dict[str, Tensor] = {}
        for name in _MOMENTS:
            tensor = tensors.get(f"{name}.{number}")
            if tensor is not None:
                moments[name] = tensor if name == "step" else tensor.to(parameter.device)
        if moments:
            optimizer.state[parameter] = moments


def _select_saved_weights(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(TEACHER)}


def _list_parameters(optimizer: Optimizer) -> list[Tensor]:
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]
