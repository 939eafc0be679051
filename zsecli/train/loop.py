"""The stage `train`: a prepared data set -> a checkpoint, chosen on what is held out of the seen part."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import distributed as dist
from torch import nn
from torch.optim import AdamW

from zsecli.errors import UsageError
from zsecli.model import checkpoint
from zsecli.model.config import ModelConfig
from zsecli.model.network import ZSENetwork
from zsecli.model.trunk_embed import TrunkEmbed
from zsecli.model.weights import check_fit
from zsecli.render.training_curve import draw_curve
from zsecli.runtime.console import SILENT
from zsecli.runtime.console import Progress as Bar
from zsecli.runtime.files import is_foreign
from zsecli.runtime.marks import is_own_file
from zsecli.train import state
from zsecli.train.batches import Batches, loader
from zsecli.train.config import TrainConfig
from zsecli.train.frozen_cache import frozen_parts
from zsecli.train.heads import Heads
from zsecli.train.log import Log
from zsecli.train.prototype_step import prototype_losses
from zsecli.train.running_mean import RunningMean
from zsecli.train.step import LOSSES, autocast, losses
from zsecli.train.validate import HeldOut, diverged, validate

logger = logging.getLogger(__name__)

LOG_EVERY = 10  # steps
SAVE_EVERY = 600  # seconds between two states within an epoch
DIVERGED = 10  # times the loss of the beginning
PROTOTYPES = 6  # times the learning rate of the heads: each prototype is drawn in few steps
SCALARS = 100  # times the same: single numbers that begin at 10 move too little otherwise


@dataclass(frozen=True)
class Trainee:
    """A network and what trains it.

    heads: of a training with prototypes. average: of one that keeps the running mean of its weights.
    """

    network: ZSENetwork
    optimizer: AdamW
    heads: Heads | None = None
    average: RunningMean | None = None

    @property
    def kept(self) -> ZSENetwork:
        """The network that is validated, and written."""
        return self.network if self.average is None else self.average.network

    def modules(self) -> dict[str, nn.Module]:
        """What a state has to hold, by name."""
        modules: dict[str, nn.Module] = {"model": self.network}
        if self.heads is not None:
            modules["heads"] = self.heads
        if self.average is not None:
            modules["average"] = self.average
        return modules


@dataclass(frozen=True)
class Files:
    """What a run writes: the best checkpoint, and a folder beside it."""

    best: Path

    @property
    def folder(self) -> Path:
        return self.best.with_suffix(".run")

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def last(self) -> Path:
        return self.folder / "last.safetensors"

    @property
    def curve(self) -> Path:
        return self.folder / "curve.svg"

    @property
    def beside(self) -> list[Path]:
        """What it writes into the folder."""
        return [self.state, self.last, self.curve, self.folder / "log.jsonl"]

    def clear(self) -> None:
        """Remove what another run left in the folder."""
        for file in self.beside:
            file.unlink(missing_ok=True)

    def check(self) -> None:
        """UsageError where a file in the folder has the name of one that the run writes, and zse did not make it."""
        marks = {self.curve: _is_curve, self.folder / "log.jsonl": _is_log}
        for file in self.beside:
            if is_foreign(file, marks.get(file, is_own_file), in_place=False):
                raise UsageError(f"{file}: zse did not make it, and does not replace it", "give another --name or -o")


def _is_curve(head: bytes) -> bool:
    return is_own_file(head) or b'<clipPath id="panel">' in head  # those of earlier versions have no mark


def _is_log(head: bytes) -> bool:
    try:
        record = json.loads(head.partition(b"\n")[0])
    except ValueError:
        return False
    return isinstance(record, dict) and {"kind", "step"} <= record.keys()


def build(
    model: ModelConfig,
    config: TrainConfig,
    pretrained: bool,
    weights: Path | None,
    device: torch.device,
    begin: Path | None = None,
    classes: Sequence[str] = (),
) -> Trainee:
    """A new network, its frozen part frozen, and its optimiser; the same for the same seed.

    Args:
        classes: the names of those that are seen, for prototypes of them.
        begin: a checkpoint whose backbone it begins with, instead of one that knows photos alone.

    Raises:
        UsageError: there are not so many blocks to freeze, or a block that selects tokens is frozen or absent.
    """
    torch.manual_seed(config.seed)
    network = ZSENetwork(model, pretrained and begin is None, weights)
    if begin is not None:
        other, _ = checkpoint.load(begin)
        what = f"--backbone-from {begin}: has another backbone"
        own = network.backbone.state_dict()
        check_fit(other.backbone.state_dict(), own, what, "the same --preset, --backbone and --tokenizer as there")
        network.backbone.load_state_dict(other.backbone.state_dict())
    network = network.to(device)
    depth, frozen = len(network.backbone.vit.blocks), config.freeze_blocks or 0
    if frozen > depth:
        raise UsageError(f"--freeze-blocks {frozen}: the network has {depth} blocks", f"0 to {depth}")
    wrong = [block for block in model.selection.blocks if not frozen < block <= depth]
    if config.keep_rate < 1 and config.selection_after >= config.epochs:
        raise UsageError(
            f"--keep-rate {config.keep_rate}: all {config.epochs} epochs are without selection",
            f"--selection-after {config.epochs - 1}, or more epochs",
        )
    if config.keep_rate < 1:
        network.backbone.check_selection()
    if config.keep_rate < 1 and wrong:
        why = "is frozen" if wrong[0] <= frozen else f"is not there, of {depth}"
        raise UsageError(
            f"--keep-rate {config.keep_rate}: block {wrong[0]}, which selects tokens, {why}", "--keep-rate 1"
        )
    if config.freeze_blocks is not None and not config.augment and network.backbone.retrieval_head is not None:
        raise UsageError(
            f"--freeze-blocks {config.freeze_blocks}: what a head needs is not kept in the cache of a frozen part",
            "--augment above 0, which computes pictures anew",
        )
    if config.freeze_blocks is not None:
        for part in frozen_parts(network, config.freeze_blocks):
            part.requires_grad_(False)
    embed = network.backbone.vit.patch_embed
    if config.candidates and config.ret_loss == "triplet":
        raise UsageError("--candidates are no triplets", "--ret-loss contrastive, or --candidates 0")
    if config.freeze_stride:
        if not isinstance(embed, TrunkEmbed):
            raise UsageError(f"--freeze-stride {config.freeze_stride}: the backbone has no trunk", "--freeze-blocks N")
        for parameter in embed.parameters_of_map(config.freeze_stride):
            parameter.requires_grad_(False)
    heads = None
    if config.ret_loss == "prototypes":
        heads = Heads(network, classes).to(device)
        if not config.distill_weight:
            del heads.teacher
        network.backbone.classifier.requires_grad_(False)  # the space in which the untouched backbone teaches
    optimizer = AdamW(_groups(network, heads, config), weight_decay=config.weight_decay)
    average = RunningMean(network, config.average) if config.average else None
    return Trainee(network, optimizer, heads, average)


def _groups(network: ZSENetwork, heads: Heads | None, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimiser's groups of parameters, each with its learning rate."""
    embed = network.backbone.vit.patch_embed
    begun = embed.trunk if isinstance(embed, TrunkEmbed) else network.backbone.vit
    known = {id(parameter) for parameter in begun.parameters()}
    matches = network.relation.matches
    scalars = {id(parameter) for parameter in matches.scalars()} if matches is not None else set()
    groups: dict[float, list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            rate = config.lr if id(parameter) in known else config.head_lr
            if id(parameter) in scalars:
                rate = SCALARS * config.head_lr
            groups.setdefault(rate, []).append(parameter)
    if heads is not None:
        groups.setdefault(PROTOTYPES * config.head_lr, []).append(heads.prototypes)
    return [{"params": parameters, "lr": rate, "peak": rate} for rate, parameters in groups.items()]


def factor(step: int, config: TrainConfig) -> float:
    """What the learning rates are multiplied with at a step, counted from 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * share))


def run(
    trainee: Trainee,
    batches: Batches,
    held: list[HeldOut],
    config: TrainConfig,
    best: Path,
    *,
    key: str,
    about: dict[str, Any],
    workers: int = 0,
    progress: Bar = SILENT,
) -> dict[str, float]:
    """Train the network, from where a run with the same key was stopped; returns the best validation.

    `best` holds the best checkpoint so far, and the folder of that name with the suffix `.run` the last one, the
    state, the log and its curve.

    Args:
        held: what validation asks; where it is empty, the last network is the best.
        key: of everything that determines the result.
        about: what the checkpoint says of its training.

    Raises:
        ZseError: the loss is not finite, or grows without end; the last checkpoints stay.
    """
    files, log = Files(best), Log(Files(best).folder)
    done = state.load(files.state, key, trainee.modules(), trainee.optimizer) or state.Progress()
    if _main():
        log.truncate(done.step)
        if done.step:
            logger.info(f"goes on after step {done.step} of {config.steps}")
    progress.start(config.steps)
    progress(done.step)
    first = next((float(r["loss"]) for r in log.records() if r["kind"] == "train"), math.inf)
    parts = iter(loader(batches, done.step, config.steps, workers))
    saved = timer_start = time.perf_counter()
    timed_steps = 0
    while not done.ended:
        done.unlogged = (*done.unlogged, _step(trainee, parts, done.step, config))
        done.step += 1
        timed_steps += 1
        progress(1)
        if done.step % LOG_EVERY == 0:
            if _main():
                speed = timed_steps * _pictures_per_step(config) / (time.perf_counter() - timer_start)
                loss = _write(log, done, trainee.optimizer, config, speed)
                first = loss if math.isinf(first) else first
                if loss > DIVERGED * first:
                    raise diverged(done.step, f"the loss is {loss:.3g}, and was {first:.3g}")
            done.unlogged = ()
            timer_start, timed_steps = time.perf_counter(), 0
        if done.step % config.epoch_steps == 0:
            _epoch(trainee.kept, batches, held, config, done, files, log, about)
            state_due = True
            timer_start, timed_steps = time.perf_counter(), 0
        else:  # a record of the log is not cut in two
            state_due = done.step % LOG_EVERY == 0 and time.perf_counter() - saved > SAVE_EVERY
        if state_due and _main():
            state.save(files.state, key, done, trainee.modules(), trainee.optimizer)
            saved = time.perf_counter()
    found = [r for r in log.records() if r["kind"] == "validation"]
    best_of = next((r for r in found if r.get("epoch") == done.best_epoch), {})  # a log can be lost
    return {k: v for k, v in best_of.items() if isinstance(v, float)}


def _step(trainee: Trainee, parts: Any, step: int, config: TrainConfig) -> tuple[float, ...]:
    """One optimiser step; returns the losses, in the order of LOSSES."""
    network, optimizer, heads = trainee.network, trainee.optimizer, trainee.heads
    device = next(network.parameters()).device
    _train_mode(network, step // config.epoch_steps, config)
    torch.manual_seed(config.seed + (step << 16) + (dist.get_rank() if dist.is_initialized() else 0))
    optimizer.zero_grad(set_to_none=True)
    sums = torch.zeros(len(LOSSES))
    for _ in range(config.accumulate):
        batch = next(parts)
        with autocast(device, config):
            found = losses(network, batch, config) if heads is None else prototype_losses(network, heads, batch, config)
        (found.total / config.accumulate).backward()
        sums += found.values() / config.accumulate
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    if dist.is_initialized():
        _average([p.grad for p in parameters if p.grad is not None], sums)
    norm = nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    if not torch.isfinite(sums).all() or not torch.isfinite(norm):
        said = ", ".join(f"{name} {value:.3g}" for name, value in zip(LOSSES, sums, strict=True))
        raise diverged(step + 1, f"{said}, gradient {norm:.3g}")
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor(step, config)
    optimizer.step()
    if trainee.average is not None:
        trainee.average.update(network, step + 1)
    return tuple(sums.tolist())


def _train_mode(network: ZSENetwork, epoch: int, config: TrainConfig) -> None:
    """Dropout on; batch norms as pretrained, so that a picture's tokens do not depend on the batch."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    rate = config.keep_rate if epoch >= config.selection_after else 1.0
    if network.backbone.selection.rate != rate:
        select(network, rate)


def select(network: ZSENetwork, rate: float) -> None:
    """Let the network keep this share of tokens at each selection, and say so in its configuration."""
    selection = dataclasses.replace(network.config.selection, rate=rate)
    network.config = dataclasses.replace(network.config, selection=selection)
    network.backbone.selection = selection


def _average(gradients: list[torch.Tensor], sums: torch.Tensor) -> None:
    """The mean over all processes, in place."""
    flat = torch.cat([g.flatten() for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    for gradient, mean in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))
    on = sums.to(flat.device)
    dist.all_reduce(on)
    sums.copy_(on.cpu() / dist.get_world_size())


def _pictures_per_step(config: TrainConfig) -> int:
    """Pictures that the network encodes in one optimiser step."""
    if config.draws == "pictures":
        return config.batch_size + config.photos + config.outlined
    return config.batch_size * (2 if config.hard_negatives else 4) + 2 * config.outlined


def _write(log: Log, done: state.Progress, optimizer: AdamW, config: TrainConfig, speed: float) -> float:
    """Log the mean losses of the steps since the last line; returns the mean of the weighted sum.

    Args:
        speed: pictures a second.
    """
    means = {name: sum(v) / len(v) for name, v in zip(LOSSES, zip(*done.unlogged, strict=True), strict=True)}
    weights = {"outline": config.outlines, "distill": config.distill_weight, "own": config.own_weight}
    for name, weight in weights.items():
        if not weight:
            del means[name]
    lr = optimizer.param_groups[-1]["lr"]
    log.append({"kind": "train", "step": done.step, **means, "lr": lr, "pictures_per_second": speed})
    return means["loss"]


def _epoch(
    network: ZSENetwork,
    batches: Batches,
    held: list[HeldOut],
    config: TrainConfig,
    done: state.Progress,
    files: Files,
    log: Log,
    about: dict[str, Any],
) -> None:
    """Validate, keep the network where it is the best so far, and decide whether to go on."""
    epoch = done.step // config.epoch_steps
    if _main():
        found = validate(network, held, batches.pictures, config)
        if not all(torch.isfinite(p).all() for p in network.parameters()):
            raise diverged(done.step, "a weight is no number")
        if config.keep_rate < 1 and epoch == config.selection_after + 1:
            done.best, done.stale = None, 0  # what was best without selection is another network
        score = found.get("score", float(epoch))
        log.append({"kind": "validation", "step": done.step, "epoch": epoch, **found})
        logger.info(f"epoch {epoch} of {config.epochs}: " + ", ".join(f"{k} {v:.4f}" for k, v in found.items()))
        done.stale += 1
        about = {**about, "epoch": epoch, "step": done.step, "validation": found}
        if done.best is None or score > done.best:
            done.best, done.best_epoch, done.stale = score, epoch, 0
            checkpoint.save(network, files.best, about)
        checkpoint.save(network, files.last, about)
        draw_curve(log.records(), files.curve, files.best.stem)
        done.ended = done.step >= config.steps or bool(config.patience and done.stale >= config.patience)
    if dist.is_initialized():
        told = [done.ended]
        dist.broadcast_object_list(told)
        done.ended = told[0]


def _main() -> bool:
    """Whether this is the process that writes."""
    return not dist.is_initialized() or dist.get_rank() == 0
