"""All that a killed run needs to go on: weights, the optimiser's moments, where it stands. One file, no pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.optim import Optimizer

from zsecli.errors import StoreError
from zsecli.files import replacing
from zsecli.model.network import ZSENetwork
from zsecli.model.weights import check_fit, write_tensors

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")


@dataclass
class Progress:
    """Where a run stands: optimiser steps done; the best validation's score, its epoch, and epochs since then."""

    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    stale: int = 0
    ended: bool = False


def save(path: Path, key: str, progress: Progress, network: ZSENetwork, optimizer: Optimizer) -> None:
    """Write the state beside `path`, then replace it. key: of the run, which alone may go on from here."""
    tensors = {f"model.{name}": t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    for i, parameter in enumerate(_parameters(optimizer)):
        for name in _MOMENTS:
            if name in optimizer.state[parameter]:
                tensors[f"{name}.{i}"] = optimizer.state[parameter][name].detach().cpu().contiguous()
    metadata = {"zse-schema": "training", "run-key": key, "progress": json.dumps(vars(progress))}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as (partial,):
        write_tensors(tensors, partial, metadata)


def load(path: Path, key: str, network: ZSENetwork, optimizer: Optimizer) -> Progress | None:
    """Fill network and optimiser from the state that a run with this `key` left; None where there is none.

    Raises:
        StoreError: the file is damaged, or of another network.
    """
    if not path.is_file():
        return None
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("run-key") != key:
                return None
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        progress = Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: not a state of training, or damaged: {error}", "delete it: the run begins again"
        ) from error
    state = {name.removeprefix("model."): t for name, t in tensors.items() if name.startswith("model.")}
    check_fit(state, network.state_dict(), f"{path}: does not fit its network", "delete it: the run begins again")
    network.load_state_dict(state)
    for i, parameter in enumerate(_parameters(optimizer)):
        moments = {name: tensors[f"{name}.{i}"] for name in _MOMENTS if f"{name}.{i}" in tensors}
        if moments:
            optimizer.state[parameter] = {
                name: t if name == "step" else t.to(parameter.device) for name, t in moments.items()
            }
    return progress


def where(path: Path) -> tuple[str, Progress] | None:
    """The run key and the progress of the state at `path`; None where there is none that can be read."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
        return metadata["run-key"], Progress(**json.loads(metadata["progress"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError):
        return None


def _parameters(optimizer: Optimizer) -> list[Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]
