"""The training loop: optimiser steps, the log, validation after each epoch, and the state to resume from."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from zsecli.model import checkpoint
from zsecli.model.network import ZSENetwork
from zsecli.runtime.console import SILENT, Progress
from zsecli.train import state
from zsecli.train.batches import Batch, Batches, iterate_batches
from zsecli.train.config import TrainConfig
from zsecli.train.log import Log, Record
from zsecli.train.prototype_step import compute_prototype_losses
from zsecli.train.run_files import RunFiles
from zsecli.train.step import LOSS_NAMES, autocast_forward, compute_losses
from zsecli.train.trainee import Trainee, set_keep_rate
from zsecli.train.validate import HeldOutSet, divergence_error, validate_network

logger = logging.getLogger(__name__)

LOG_EVERY = 10  # steps
SAVE_EVERY = 600  # seconds between two states within an epoch
DIVERGENCE_FACTOR = 10  # a run has diverged at this many times its first loss

DrawCurve = Callable[[Sequence[Record], Path, str], None]
"""Draws the records of a log into an SVG file, with a title."""


@dataclass(frozen=True, kw_only=True)
class TrainingRun:
    """Everything that a training run needs."""

    trainee: Trainee
    batches: Batches
    held_out: list[HeldOutSet]
    """What validation ranks; where it is empty, the last network is the best."""
    config: TrainConfig
    files: RunFiles
    key: str
    """Hash of everything that determines the result; only a state with the same key is resumed."""
    about: dict[str, Any]
    """What the checkpoint records about its training."""
    draw_curve: DrawCurve | None = None
    """None: no curve is drawn."""

    @property
    def log(self) -> Log:
        return Log(self.files.folder)

    def load_progress(self) -> state.RunProgress:
        """Load the state that this run left when it was stopped, if there is one."""
        trainee = self.trainee
        progress = state.load_state(self.files.state, self.key, trainee.state_modules(), trainee.optimizer)
        return progress or state.RunProgress()

    def save_progress(self, progress: state.RunProgress) -> None:
        trainee = self.trainee
        state.save_state(self.files.state, self.key, progress, trainee.state_modules(), trainee.optimizer)


class SpeedMeter:
    """Measures the pictures per second of training steps, without validation and the writing of files."""

    def __init__(self, pictures_per_step: int) -> None:
        self._pictures_per_step = pictures_per_step
        self.restart()

    def restart(self) -> None:
        self._start = time.perf_counter()
        self._steps = 0

    def count_step(self) -> None:
        self._steps += 1

    def pictures_per_second(self) -> float:
        """Speed since the last restart."""
        return self._steps * self._pictures_per_step / (time.perf_counter() - self._start)


def run_training(run: TrainingRun, *, workers: int = 0, progress_bar: Progress = SILENT) -> dict[str, float]:
    """Train the network, resuming where a run with the same key was stopped; returns the best validation.

    Raises:
        ZseError: the loss is not finite, or grows without end; the last checkpoints stay.
    """
    config = run.config
    progress = run.load_progress()
    if is_main_process():
        run.log.truncate(progress.step)
        if progress.step:
            logger.info(f"goes on after step {progress.step} of {config.steps}")
    progress_bar.start(config.steps)
    progress_bar(progress.step)
    first_loss = _read_first_loss(run.log)
    batches = iterate_batches(run.batches, progress.step, config.steps, workers)
    speed = SpeedMeter(_count_pictures_per_step(config))
    last_save = time.perf_counter()
    while not progress.ended:
        losses = take_step(run.trainee, batches, progress.step, config)
        progress.unlogged = (*progress.unlogged, losses)
        progress.step += 1
        speed.count_step()
        progress_bar(1)
        is_log_step = progress.step % LOG_EVERY == 0
        if is_log_step:
            if is_main_process():
                loss = _log_losses(run, progress, speed.pictures_per_second())
                if math.isinf(first_loss):
                    first_loss = loss
                if loss > DIVERGENCE_FACTOR * first_loss:
                    raise divergence_error(progress.step, f"the loss is {loss:.3g}, and was {first_loss:.3g}")
            progress.unlogged = ()
            speed.restart()
        if progress.step % config.epoch_steps == 0:
            _finish_epoch(run, progress)
            state_is_due = True
            speed.restart()
        else:  # a record of the log is not cut in two
            state_is_due = is_log_step and time.perf_counter() - last_save > SAVE_EVERY
        if state_is_due and is_main_process():
            run.save_progress(progress)
            last_save = time.perf_counter()
    return _read_validation(run.log, progress.best_epoch)


def take_step(trainee: Trainee, batches: Iterator[Batch], step: int, config: TrainConfig) -> tuple[float, ...]:
    """Take one optimiser step; returns the losses, in the order of LOSS_NAMES."""
    network, optimizer = trainee.network, trainee.optimizer
    _set_train_mode(network, step // config.epoch_steps, config)
    rank = dist.get_rank() if dist.is_initialized() else 0
    torch.manual_seed(config.seed + (step << 16) + rank)
    optimizer.zero_grad(set_to_none=True)
    losses = _accumulate_gradients(trainee, batches, config)
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    if dist.is_initialized():
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        _average_over_processes(gradients, losses)
    norm = nn.utils.clip_grad_norm_(parameters, config.clip or math.inf)
    if not torch.isfinite(losses).all() or not torch.isfinite(norm):
        values = ", ".join(f"{name} {value:.3g}" for name, value in zip(LOSS_NAMES, losses, strict=True))
        raise divergence_error(step + 1, f"{values}, gradient {norm:.3g}")
    factor = learning_rate_factor(step, config)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * factor
    optimizer.step()
    if trainee.average is not None:
        trainee.average.update_mean(network, step + 1)
    return tuple(losses.tolist())


def learning_rate_factor(step: int, config: TrainConfig) -> float:
    """The factor of all learning rates at a step, counted from 0."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    if config.schedule == "constant":
        return 1.0
    share = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + math.cos(math.pi * share))


def is_main_process() -> bool:
    """Whether this is the process that validates and writes files."""
    return not dist.is_initialized() or dist.get_rank() == 0


def _accumulate_gradients(trainee: Trainee, batches: Iterator[Batch], config: TrainConfig) -> Tensor:
    """Add up the gradients of the chunks of a step; returns the mean losses (L,)."""
    network, heads = trainee.network, trainee.heads
    device = next(network.parameters()).device
    means = torch.zeros(len(LOSS_NAMES))
    for _ in range(config.accumulate):
        batch = next(batches)
        with autocast_forward(device, config):
            if heads is None:
                losses = compute_losses(network, batch, config)
            else:
                losses = compute_prototype_losses(network, heads, batch, config)
        (losses.total / config.accumulate).backward()
        means += losses.to_vector() / config.accumulate
    return means


def _set_train_mode(network: ZSENetwork, epoch: int, config: TrainConfig) -> None:
    """Dropout on; batch norms as pretrained, so that a picture's tokens do not depend on the batch."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    rate = config.keep_rate if epoch >= config.selection_after else 1.0
    if network.backbone.selection.rate != rate:
        set_keep_rate(network, rate)


def _average_over_processes(gradients: list[Tensor], losses: Tensor) -> None:
    """Replace gradients and losses by their means over all processes, in place."""
    world = dist.get_world_size()
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= world
    sizes = [gradient.numel() for gradient in gradients]
    for gradient, mean in zip(gradients, flat.split(sizes), strict=True):
        gradient.copy_(mean.view_as(gradient))
    loss_sums = losses.to(flat.device)
    dist.all_reduce(loss_sums)
    losses.copy_(loss_sums.cpu() / world)


def _count_pictures_per_step(config: TrainConfig) -> int:
    """Pictures that the network encodes in one optimiser step."""
    if config.draws == "pictures":
        return config.batch_size + config.photos + config.outline_count
    pictures_per_draw = 2 if config.hard_negatives else 4
    return config.batch_size * pictures_per_draw + 2 * config.outline_count


def _log_losses(run: TrainingRun, progress: state.RunProgress, speed: float) -> float:
    """Log the mean losses of the steps since the last record; returns the mean of the weighted sum.

    Args:
        speed: pictures per second.
    """
    means = {}
    for name, values in zip(LOSS_NAMES, zip(*progress.unlogged, strict=True), strict=True):
        means[name] = sum(values) / len(values)
    weights = {"outline": run.config.outlines, "distill": run.config.distill_weight, "own": run.config.own_weight}
    for name, weight in weights.items():
        if not weight:
            del means[name]
    lr = run.trainee.optimizer.param_groups[-1]["lr"]
    run.log.append({"kind": "train", "step": progress.step, **means, "lr": lr, "pictures_per_second": speed})
    return means["loss"]


def _finish_epoch(run: TrainingRun, progress: state.RunProgress) -> None:
    """Validate and write the checkpoints, then decide whether the run has ended, for all processes."""
    if is_main_process():
        _validate_epoch(run, progress)
        out_of_patience = bool(run.config.patience) and progress.stale >= run.config.patience
        progress.ended = progress.step >= run.config.steps or out_of_patience
    if dist.is_initialized():
        ended = [progress.ended]
        dist.broadcast_object_list(ended)
        progress.ended = ended[0]


def _validate_epoch(run: TrainingRun, progress: state.RunProgress) -> None:
    """Validate the network, log the metrics, and write it as the last checkpoint and, if it is, as the best."""
    config, files = run.config, run.files
    network = run.trainee.output_network
    epoch = progress.step // config.epoch_steps
    metrics = validate_network(network, run.held_out, run.batches.pictures, config)
    if not all(torch.isfinite(parameter).all() for parameter in network.parameters()):
        raise divergence_error(progress.step, "a weight is no number")
    if config.keep_rate < 1 and epoch == config.selection_after + 1:
        # the best network without token selection is another kind of network
        progress.best = None
        progress.stale = 0
    score = metrics.get("score", float(epoch))
    run.log.append({"kind": "validation", "step": progress.step, "epoch": epoch, **metrics})
    logger.info(f"epoch {epoch} of {config.epochs}: {_format_metrics(metrics)}")
    about = {**run.about, "epoch": epoch, "step": progress.step, "validation": metrics}
    progress.stale += 1
    if progress.best is None or score > progress.best:
        progress.best = score
        progress.best_epoch = epoch
        progress.stale = 0
        checkpoint.save(network, files.best, about)
    checkpoint.save(network, files.last, about)
    if run.draw_curve is not None:
        run.draw_curve(run.log.read_records(), files.curve, files.best.stem)


def _format_metrics(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())


def _read_first_loss(log: Log) -> float:
    """The first loss in the log; infinity where it has none yet."""
    for record in log.read_records():
        if record["kind"] == "train":
            return float(record["loss"])
    return math.inf


def _read_validation(log: Log, epoch: int) -> dict[str, float]:
    """The metrics of an epoch; empty where the log was lost."""
    for record in log.read_records():
        if record["kind"] == "validation" and record.get("epoch") == epoch:
            return {name: value for name, value in record.items() if isinstance(value, float)}
    return {}
