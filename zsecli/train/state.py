"""All that a killed run needs to go on: weights, the optimiser's moments, where it stands. One file, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor
from torch.optim import Optimizer

from zsecli.model import tensorfile
from zsecli.model.config import LATER, from_plain
from zsecli.model.network import ZSENetwork
from zsecli.model.tensorfile import refusing
from zsecli.model.weights import check_fit
from zsecli.train.step import LOSSES

SCHEMA = "training"
HINT = "delete it: the run begins again"
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


def save(path: Path, key: str, progress: Progress, network: ZSENetwork, optimizer: Optimizer) -> None:
    """Write the state beside `path`, then replace it. key: of the run, which alone may go on from here."""
    tensors = {f"model.{name}": t.detach().cpu() for name, t in network.state_dict().items()}
    for i, parameter in enumerate(_parameters(optimizer)):
        for name in _MOMENTS:
            if name in optimizer.state[parameter]:
                tensors[f"{name}.{i}"] = optimizer.state[parameter][name].detach().cpu()
    metadata = {"zse-schema": SCHEMA, "run-key": key, "progress": json.dumps(vars(progress))}
    path.parent.mkdir(parents=True, exist_ok=True)
    tensorfile.write(path, {name: t.contiguous() for name, t in tensors.items()}, metadata)


def load(path: Path, key: str, network: ZSENetwork, optimizer: Optimizer) -> Progress | None:
    """Fill network and optimiser from the state that a run with this `key` left; None where there is none.

    Raises:
        StoreError: the file is damaged, or of another network.
    """
    found = where(path)
    if found is None or found[0] != key:
        return None
    tensors = tensorfile.read(path, HINT)[1]
    state = {name.removeprefix("model."): tensors.pop(name) for name in list(tensors) if name.startswith("model.")}
    what = f"{path}: does not fit its network"
    check_fit(state, network.state_dict(), what, HINT)
    wanted: dict[str, Tensor] = {}
    for i, parameter in enumerate(_parameters(optimizer)):
        if any(f"{name}.{i}" in tensors for name in _MOMENTS):  # a parameter that no step moved has none
            wanted |= {f"{name}.{i}": parameter.new_empty(()) if name == "step" else parameter for name in _MOMENTS}
    check_fit(tensors, wanted, what, HINT)
    network.load_state_dict(state)
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
        if any(len(values) != len(LOSSES) for values in progress.unlogged):
            raise ValueError(f"a step has {len(LOSSES)} losses")
        return metadata["run-key"], progress


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
