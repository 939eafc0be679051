"""All that a killed run needs to go on: weights, the optimiser's moments, where it stands. One file, no pickle."""

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
from zsecli.train.step import LOSSES

SCHEMA = "training"
HINT = "delete it: the run begins again"
EARLIER = 4  # losses that a step had in earlier versions
TEACHER = "teacher."  # of names that are not saved: it is the backbone as it came
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """Where a run stands: optimiser steps done; the best validation's score, its epoch, and epochs since then.

    unlogged: the losses of each step since the last line of the log, in the order of LOSSES. Without them the first
        line of a resumed run would be the mean of fewer steps than it is in a run that was never stopped.
    """

    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    ended: bool = False
    unlogged: tuple[tuple[float, ...], ...] = field(default=(), metadata=LATER)


def save(path: Path, key: str, progress: Progress, modules: Mapping[str, nn.Module], optimizer: Optimizer) -> None:
    """Write the state beside `path`, then replace it.

    Args:
        key: of the run, which alone may go on from here. modules: the network as `model`, and what else is trained.
    """
    tensors = {
        f"{prefix}.{name}": tensor.detach().cpu()
        for prefix, module in modules.items()
        for name, tensor in _state(module).items()
    }
    for i, parameter in enumerate(_parameters(optimizer)):
        for name in _MOMENTS:
            if name in optimizer.state[parameter]:
                tensors[f"{name}.{i}"] = optimizer.state[parameter][name].detach().cpu()
    metadata = {"zse-schema": SCHEMA, "run-key": key, "progress": json.dumps(vars(progress))}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensorfile.write(path, {name: t.contiguous() for name, t in tensors.items()}, metadata)


def load(path: Path, key: str, modules: Mapping[str, nn.Module], optimizer: Optimizer) -> Progress | None:
    """Fill modules and optimiser from the state that a run with this `key` left; None where there is none.

    Raises:
        StoreError: the file is damaged, or of another network.
    """
    found = where(path)
    if found is None or found[0] != key:
        return None
    tensors = tensorfile.read(path, HINT)[1]
    what = f"{path}: does not fit its network"
    states = {}
    for prefix, module in modules.items():
        names = [name for name in tensors if name.startswith(f"{prefix}.")]
        states[prefix] = {name.removeprefix(f"{prefix}."): tensors.pop(name) for name in names}
        check_fit(states[prefix], _state(module), what, HINT)
    wanted: dict[str, Tensor] = {}
    for i, parameter in enumerate(_parameters(optimizer)):
        if any(f"{name}.{i}" in tensors for name in _MOMENTS):  # a parameter that no step moved has none
            wanted |= {f"{name}.{i}": parameter.new_empty(()) if name == "step" else parameter for name in _MOMENTS}
    check_fit(tensors, wanted, what, HINT)
    for prefix, module in modules.items():
        module.load_state_dict(states[prefix], strict=False)
    for i, parameter in enumerate(_parameters(optimizer)):
        moments = {name: tensors[f"{name}.{i}"] for name in _MOMENTS if f"{name}.{i}" in tensors}
        if moments:
            optimizer.state[parameter] = {
                name: t if name == "step" else t.to(parameter.device) for name, t in moments.items()
            }
    return found[1]


def where(path: Path) -> tuple[str, Progress] | None:
    """The run key and the progress of the state at `path`; None where there is none. StoreError where it is damaged."""
    if not path.is_file():
        return None
    metadata = tensorfile.read_metadata(path, HINT)
    with refusing(path, "not a state of training, or damaged", HINT):
        progress = from_plain(Progress, json.loads(metadata["progress"]))
        if metadata["zse-schema"] != SCHEMA or min(progress.step, progress.best_epoch, progress.stale) < 0:
            raise ValueError(f"schema {metadata['zse-schema']}, {progress}")
        if any(len(values) not in (EARLIER, len(LOSSES)) for values in progress.unlogged):
            raise ValueError(f"a step has {len(LOSSES)} losses")
        none = (0.0,) * len(LOSSES)
        progress.unlogged = tuple((*values, *none[len(values) :]) for values in progress.unlogged)
        return metadata["run-key"], progress


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor for name, tensor in module.state_dict().items() if not name.startswith(TEACHER)}


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
