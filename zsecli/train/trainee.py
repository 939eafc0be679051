"""The network to train: how it is built, what of it is frozen, and its optimiser."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import AdamW

from zsecli.errors import UsageError
from zsecli.model import checkpoint
from zsecli.model.config import ModelConfig
from zsecli.model.network import ZSENetwork
from zsecli.model.trunk_embed import TrunkEmbed
from zsecli.model.weights import check_fit
from zsecli.train.config import TrainConfig
from zsecli.train.frozen_cache import frozen_parts
from zsecli.train.heads import Heads
from zsecli.train.running_mean import RunningMean

PROTOTYPE_RATE = 6  # times the learning rate of the heads: each prototype is drawn in few steps
SCALAR_RATE = 100  # times the same: single numbers that begin at 10 move too little otherwise


@dataclass(frozen=True, kw_only=True)
class Trainee:
    """A network and what trains it."""

    network: ZSENetwork
    optimizer: AdamW
    heads: Heads | None = None
    """Prototypes and teacher, where training has prototypes."""
    average: RunningMean | None = None
    """The running mean of the weights, where `TrainConfig.average` asks for it."""

    @property
    def output_network(self) -> ZSENetwork:
        """The network that is validated and written."""
        return self.network if self.average is None else self.average.network

    def state_modules(self) -> dict[str, nn.Module]:
        """The modules whose weights a state holds, by name."""
        modules: dict[str, nn.Module] = {"model": self.network}
        if self.heads is not None:
            modules["heads"] = self.heads
        if self.average is not None:
            modules["average"] = self.average
        return modules


def build_trainee(
    model: ModelConfig,
    config: TrainConfig,
    device: torch.device,
    *,
    pretrained: bool = False,
    weights: Path | None = None,
    backbone_from: Path | None = None,
    classes: Sequence[str] = (),
) -> Trainee:
    """A new network, partly frozen as `config` says, and its optimiser; the same for the same seed.

    Args:
        pretrained: fetch the weights that timm knows for the backbone, where neither of the next two is given.
        weights: a file with the backbone's weights.
        backbone_from: a checkpoint whose backbone the network begins with.
        classes: names of the seen classes, for their prototypes.

    Raises:
        UsageError: options contradict each other or do not fit the network.
    """
    torch.manual_seed(config.seed)
    network = ZSENetwork(model, pretrained and backbone_from is None, weights)
    if backbone_from is not None:
        _copy_backbone(backbone_from, network)
    network = network.to(device)
    _check_options(network, config)
    _freeze(network, config)
    heads = None
    if config.ret_loss == "prototypes":
        heads = Heads(network, classes).to(device)
        if not config.distill_weight:
            del heads.teacher
        network.backbone.classifier.requires_grad_(False)  # the space in which the untouched backbone teaches
    optimizer = AdamW(_group_parameters(network, heads, config), weight_decay=config.weight_decay)
    average = RunningMean(network, config.average) if config.average else None
    return Trainee(network=network, optimizer=optimizer, heads=heads, average=average)


def set_keep_rate(network: ZSENetwork, rate: float) -> None:
    """Let the network keep this share of tokens at each selection, in its configuration too."""
    selection = dataclasses.replace(network.config.selection, rate=rate)
    network.config = dataclasses.replace(network.config, selection=selection)
    network.backbone.selection = selection


def _copy_backbone(path: Path, network: ZSENetwork) -> None:
    """Load the backbone of the checkpoint `path` into the network."""
    source, _ = checkpoint.load(path)
    weights = source.backbone.state_dict()
    message = f"--backbone-from {path}: has another backbone"
    hint = "the same --preset, --backbone and --tokenizer as there"
    check_fit(weights, network.backbone.state_dict(), message, hint)
    network.backbone.load_state_dict(weights)


def _check_options(network: ZSENetwork, config: TrainConfig) -> None:
    depth = len(network.backbone.vit.blocks)
    frozen = config.freeze_blocks or 0
    if frozen > depth:
        raise UsageError(f"--freeze-blocks {frozen}: the network has {depth} blocks", f"0 to {depth}")
    if config.keep_rate < 1:
        _check_selection(network, config, depth, frozen)
    if config.freeze_blocks is not None and not config.augment and network.backbone.retrieval_head is not None:
        raise UsageError(
            f"--freeze-blocks {config.freeze_blocks}: what a head needs is not kept in the cache of a frozen part",
            "--augment above 0, which computes pictures anew",
        )
    if config.candidates and config.ret_loss == "triplet":
        raise UsageError("--candidates are no triplets", "--ret-loss contrastive, or --candidates 0")


def _check_selection(network: ZSENetwork, config: TrainConfig, depth: int, frozen: int) -> None:
    """Check that some epochs select tokens, and that each block that does exists and is trained."""
    if config.selection_after >= config.epochs:
        raise UsageError(
            f"--keep-rate {config.keep_rate}: all {config.epochs} epochs are without selection",
            f"--selection-after {config.epochs - 1}, or more epochs",
        )
    network.backbone.check_selection()
    for block in network.config.selection.blocks:
        if frozen < block <= depth:
            continue
        reason = "is frozen" if block <= frozen else f"is not there, of {depth}"
        raise UsageError(
            f"--keep-rate {config.keep_rate}: block {block}, which selects tokens, {reason}", "--keep-rate 1"
        )


def _freeze(network: ZSENetwork, config: TrainConfig) -> None:
    if config.freeze_blocks is not None:
        for part in frozen_parts(network, config.freeze_blocks):
            part.requires_grad_(False)
    if config.freeze_stride:
        embed = network.backbone.vit.patch_embed
        if not isinstance(embed, TrunkEmbed):
            raise UsageError(f"--freeze-stride {config.freeze_stride}: the backbone has no trunk", "--freeze-blocks N")
        for parameter in embed.parameters_of_map(config.freeze_stride):
            parameter.requires_grad_(False)


def _group_parameters(network: ZSENetwork, heads: Heads | None, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimiser's groups of parameters, each with its learning rate."""
    embed = network.backbone.vit.patch_embed
    pretrained = embed.trunk if isinstance(embed, TrunkEmbed) else network.backbone.vit
    pretrained_ids = {id(parameter) for parameter in pretrained.parameters()}
    matches = network.relation.matches
    scalar_ids = {id(parameter) for parameter in matches.scalars()} if matches is not None else set()
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        rate = config.lr if id(parameter) in pretrained_ids else config.head_lr
        if id(parameter) in scalar_ids:
            rate = SCALAR_RATE * config.head_lr
        groups.setdefault(rate, []).append(parameter)
    if heads is not None:
        groups.setdefault(PROTOTYPE_RATE * config.head_lr, []).append(heads.prototypes)
    return [{"params": parameters, "lr": rate, "peak": rate} for rate, parameters in groups.items()]
