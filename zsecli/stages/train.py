"""The stage `train`: a prepared data set -> a checkpoint."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsecli.errors import UsageError
from zsecli.model import config as model_config
from zsecli.model.config import ModelConfig
from zsecli.render.training_curve import draw_curve
from zsecli.stages.defaults import DEFAULT_WORKSPACE, ProgressBars, explain_changed_pictures, no_progress
from zsecli.stages.find_dataset import find_dataset
from zsecli.stages.guards import reject_inputs
from zsecli.store.dataset import read_dataset
from zsecli.train import config as train_config
from zsecli.train.job import TrainingJob, train_network
from zsecli.train.plan import plan_training
from zsecli.train.run_files import RunFiles
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train, and on which data set."""

    dataset: str | None = None
    """A prepared data set, by its name; None: the one prepared last."""
    partition: str = ""
    """Train on the seen classes of this split of the data set; "": of its own."""
    preset: str = "paper"
    """Network and training defaults: paper, released or small."""
    changes: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `zsecli.train.config.TrainConfig` that replace those of the preset."""
    backbone: str | None = None
    """Another timm backbone."""
    backbone_weights: Path | None = None
    """Its weights in timm's names; None: timm fetches them."""
    backbone_from: Path | None = None
    """A checkpoint whose backbone the network begins with."""
    scratch: bool = False
    """Begin with random weights in the backbone too."""
    swap: str | None = None
    """What cross-attention takes from the other picture: q or k; None: as the preset says."""
    tokenizer: str | None = None
    """Where the learnable tokens join: off, sketch or both; None: as the preset says."""
    name: str | None = None
    """Name of the checkpoint in the workspace; None: DATASET-PRESET."""
    output: Path | None = None
    """The checkpoint; None: in the workspace."""
    overwrite: bool = False
    """Replace the checkpoint of another run."""
    device: str = "auto"
    workers: int = 0
    """Processes that decode pictures; 0: threads do."""
    dry_run: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class TrainedCheckpoint:
    """The checkpoint, or after a dry run what would be done."""

    path: Path
    dataset: str
    """Name of the data set."""
    fresh: bool = False
    """Whether anything had to be trained."""
    validation: dict[str, float] = field(default_factory=dict)
    """Metric -> value of the best network."""
    plan: dict[str, Any] = field(default_factory=dict)
    """What a dry run found: numbers of pictures, steps and parameters, and memory in bytes."""


def run(request: TrainRequest, *, progress: ProgressBars = no_progress) -> TrainedCheckpoint:
    """Train a network; a run that was stopped continues, and one that has ended is left as it is.

    Raises:
        UsageError: options contradict each other, or the checkpoint is of another run.
        ZseError: the data cannot be trained on, or training diverged.
        DryRunEnded: a dry run of a data set that is not prepared.
    """
    config = dataclasses.replace(train_config.preset(request.preset), **request.changes)
    network = configure_network(request)
    _check_backbone(request)
    workspace = Workspace(request.workspace)
    dataset = read_dataset(find_dataset(workspace, request.dataset, request.dry_run))
    job = TrainingJob(
        dataset=dataset,
        partition=request.partition,
        model=network,
        config=config,
        weights=request.backbone_weights,
        pretrained=not request.scratch,
        backbone_from=request.backbone_from,
    )
    default_name = "-".join(filter(None, (dataset.name, request.partition, request.preset)))
    target = request.output or workspace.checkpoint(request.name or default_name)
    if target.suffix != ".safetensors":
        raise UsageError(f"-o {target}: a checkpoint ends with .safetensors", f"-o {target}.safetensors")
    for file in (target, *RunFiles(target).in_folder):
        reject_inputs(file, request.protected)
    if request.dry_run:
        plan = plan_training(job) | {"checkpoint": str(target)}
        return TrainedCheckpoint(path=target, dataset=dataset.name, plan=plan)
    with explain_changed_pictures(dataset), progress("training") as bar:
        result = train_network(
            job,
            target,
            workspace.root / "cache",
            device=request.device,
            workers=request.workers,
            overwrite=request.overwrite,
            draw_curve=draw_curve,
            progress=bar,
        )
    if not result.fresh:
        logger.info(f"up to date: {target}")
    return TrainedCheckpoint(path=result.path, dataset=dataset.name, fresh=result.fresh, validation=result.validation)


def configure_network(request: TrainRequest) -> ModelConfig:
    """The network of the preset, with what the request changes."""
    network = model_config.get_preset(request.preset)
    if request.backbone is not None:
        network = _replace_backbone(network, request.backbone)
    if request.swap is not None:
        attention: Any = dataclasses.replace(network.cross_attention, swap=request.swap)  # type: ignore[arg-type]
        network = dataclasses.replace(network, cross_attention=attention)
    if request.tokenizer is not None:
        tokenizer: Any = dataclasses.replace(network.tokenizer, on=request.tokenizer)  # type: ignore[arg-type]
        network = dataclasses.replace(network, tokenizer=tokenizer)
    return network


def _replace_backbone(network: ModelConfig, name: str) -> ModelConfig:
    """The network with another timm backbone, and that backbone's mean and deviation of pixels."""
    other = model_config.get_preset(name)
    if other.backbone.kind == "hybrid":
        raise UsageError(f"--backbone {name}: is a preset, and no timm backbone", f"--preset {name}")
    network = dataclasses.replace(network, backbone=dataclasses.replace(network.backbone, name=other.backbone.name))
    if network.backbone.kind != "vit":
        return network
    preprocess = dataclasses.replace(network.preprocess, mean=other.preprocess.mean, std=other.preprocess.std)
    return dataclasses.replace(network, preprocess=preprocess)


def _check_backbone(request: TrainRequest) -> None:
    """Check that one option at most says how the backbone begins, and that its file exists."""
    weights, checkpoint = request.backbone_weights, request.backbone_from
    if request.scratch and weights:
        raise UsageError("--scratch and --backbone-weights both say how the backbone begins", "leave out one")
    if checkpoint and (request.scratch or weights):
        other = "--scratch" if request.scratch else "--backbone-weights"
        raise UsageError(f"--backbone-from and {other} both say how the backbone begins", "leave out one")
    if checkpoint and not checkpoint.is_file():
        raise UsageError(f"--backbone-from {checkpoint}: no such checkpoint", "a file that zse train wrote")
    if weights and not weights.is_file():
        raise UsageError(f"--backbone-weights {weights}: no such file", "a file of weights in timm's names")
