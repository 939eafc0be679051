"""One training run: from a prepared data set to a checkpoint, with several processes under torchrun."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist

from zsecli.arrays import Ints
from zsecli.data.dataset import Dataset
from zsecli.data.hashing import find_changed_files
from zsecli.data.items import SEEN, Items
from zsecli.errors import UsageError, ZseError
from zsecli.model.checkpoint import read_training, seen_classes
from zsecli.model.config import ModelConfig, to_plain
from zsecli.model.embedders.base import compute_in_full_float32, resolve_device
from zsecli.model.network import ZSENetwork
from zsecli.model.spec import hash_file
from zsecli.retrieval.picture_reader import changed
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.distributed import get_launch, process_group
from zsecli.runtime.files import exclusive_lock
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.train.batches import Batches, TrainingPictures
from zsecli.train.config import TrainConfig
from zsecli.train.frozen_cache import cache_frozen_part
from zsecli.train.loop import DrawCurve, TrainingRun, is_main_process, run_training
from zsecli.train.picture_sampler import PictureSampler
from zsecli.train.run_files import RunFiles
from zsecli.train.sampler import PairSampler
from zsecli.train.state import RunProgress, read_progress
from zsecli.train.trainee import Trainee, build_trainee
from zsecli.train.validate import HeldOutSet, select_rows


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What to train, and on which data set."""

    dataset: Dataset
    partition: str = ""
    """Train on the seen classes of this split of the data set; "": of its own."""
    model: ModelConfig
    config: TrainConfig
    weights: Path | None = None
    """The backbone's weights; None: those that timm has for its name, where `pretrained`."""
    pretrained: bool = True
    backbone_from: Path | None = None
    """A checkpoint whose backbone the network begins with instead."""

    def find_key(self) -> str:
        """Run key: everything that determines the result on one machine."""
        return run_key(
            stage="train",
            data=self.dataset.key(),
            partition=self.partition,
            model=self.model.to_json(),
            config=to_plain(self.config),
            weights=hash_file(self.weights) if self.weights is not None else self.pretrained,
            begin=hash_file(self.backbone_from) if self.backbone_from is not None else None,
        )


@dataclass(frozen=True, kw_only=True)
class TrainResult:
    """The best checkpoint."""

    path: Path
    fresh: bool
    """Whether anything had to be trained."""
    validation: dict[str, float]
    """Metric -> value of the best network."""


@dataclass(frozen=True, kw_only=True)
class _RunOptions:
    """How a job is run; nothing of it changes the result."""

    cache: Path
    device: str
    workers: int
    overwrite: bool
    draw_curve: DrawCurve | None
    progress: Progress


@dataclass(frozen=True, kw_only=True)
class _OldRun:
    """What is in the place of a checkpoint before a run."""

    progress: RunProgress | None = None
    """How far this job came; None: it has no state."""
    is_other: bool = False
    """Whether a state or a checkpoint of another run would be replaced."""


def train_network(
    job: TrainingJob,
    output: Path,
    cache: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    overwrite: bool = False,
    draw_curve: DrawCurve | None = None,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train into the checkpoint `output`; a run that was killed resumes, a finished one is left as it is.

    Args:
        cache: folder for the outputs of the frozen part.
        overwrite: replace the checkpoint of another run.
        draw_curve: draws the log after each epoch; None: nothing is drawn.

    Raises:
        UsageError: `output` holds another run.
        ZseError: the data cannot be trained on, or training diverged.
        ChangedPicture: a picture of training or validation is no longer what was listed.
    """
    files = RunFiles(output)
    files.check_replaceable()
    _check_unchanged(job)
    header = read_progress(files.state)
    if header is not None and header[0] == job.find_key() and header[1].ended and output.is_file():
        return TrainResult(path=output, fresh=False, validation={})
    options = _RunOptions(
        cache=cache, device=device, workers=workers, overwrite=overwrite, draw_curve=draw_curve, progress=progress
    )
    with exclusive_lock(output) if get_launch().rank == 0 else nullcontext():
        validation = _run_job(job, files, options)
    return TrainResult(path=output, fresh=True, validation=validation)


def build_job_trainee(job: TrainingJob, device: torch.device, *, fetch_weights: bool) -> Trainee:
    """The network of the job, and what trains it; with random weights where timm would have to fetch them."""
    classes = job.dataset.items.label.names if job.config.ret_loss == "prototypes" else []
    return build_trainee(
        job.model,
        job.config,
        device,
        pretrained=job.pretrained and fetch_weights,
        weights=job.weights,
        backbone_from=job.backbone_from,
        classes=classes,
    )


def make_sampler(items: Items, config: TrainConfig) -> PairSampler | PictureSampler:
    """The sampler that `config.draws` names, of the items to train on."""
    return PictureSampler(items, config) if config.draws == "pictures" else PairSampler(items, config)


def check_chunks(config: TrainConfig, world: int) -> None:
    """Check that processes and chunks can share the pictures of a step equally.

    Raises:
        UsageError: they cannot.
    """
    shared = {"--batch-size": (config.batch_size, config.batch_size)}
    if config.draws == "pictures":
        shared["--photos"] = (config.photos, config.photos)
    shared["--outlines"] = (config.outlines, config.outline_count)
    for option, (value, count) in shared.items():
        if count % (world * config.accumulate):
            raise UsageError(
                f"{option} {value} cannot be shared by {world} processes, each in {config.accumulate} parts",
                "take a multiple of their product",
            )


def check_seen_only(job: TrainingJob, rows: Ints, held_out: list[HeldOutSet]) -> None:
    """Check that all pictures to read are of seen classes, whatever the store says, and that there are some.

    Raises:
        ZseError: there is nothing to train on.
    """
    is_seen = job.dataset.parts(job.partition) == SEEN
    assert is_seen[_join_rows(rows, held_out)].all()
    if not len(rows):
        raise ZseError(
            f"{job.dataset.name}: has no seen pictures to train on",
            "zse prepare folder --unseen FILE, or a manifest with the column split, says what training sees",
        )


def _run_job(job: TrainingJob, files: RunFiles, options: _RunOptions) -> dict[str, float]:
    """Train, or resume training; returns the best validation."""
    old = _inspect_old_run(job, files)
    if old.is_other and not options.overwrite:
        raise UsageError(f"{files.best}: holds another training run", "--name keeps both, --overwrite replaces it")
    device = resolve_device(options.device)
    compute_in_full_float32()
    with _join_processes(device) as (device, rank, world):
        check_chunks(job.config, world)
        trainee = build_job_trainee(job, device, fetch_weights=True)
        batches, held_out = _make_batches(job, trainee.network, device, options)
        batches.pictures.cache_bytes //= max(1, options.workers) * world
        batches.rank = rank
        batches.world = world
        if rank == 0 and old.progress is None:
            files.remove_old_files()
        run = TrainingRun(
            trainee=trainee,
            batches=batches,
            held_out=held_out,
            config=job.config,
            files=files,
            key=job.find_key(),
            about=_describe_training(job),
            draw_curve=options.draw_curve,
        )
        return run_training(
            run,
            workers=0 if batches.pictures.cache else options.workers,
            progress_bar=options.progress if rank == 0 else SILENT,
        )


def _inspect_old_run(job: TrainingJob, files: RunFiles) -> _OldRun:
    key = job.find_key()
    has_checkpoint = files.best.is_file()
    header = read_progress(files.state)
    if header is None:
        was_killed_early = has_checkpoint and read_training(files.best).get("run_key") == key
        return _OldRun(is_other=has_checkpoint and not was_killed_early)
    old_key, progress = header
    if old_key != key:
        return _OldRun(is_other=True)
    if progress.best_epoch and not has_checkpoint:  # its best network is lost: it begins again
        return _OldRun()
    return _OldRun(progress=progress)


def _make_batches(
    job: TrainingJob, network: ZSENetwork, device: torch.device, options: _RunOptions
) -> tuple[Batches, list[HeldOutSet]]:
    """The batches, and what is held out, as rows of one table of all pictures that are read."""
    dataset, config = job.dataset, job.config
    train_rows, held_out = select_rows(dataset, job.partition)
    check_seen_only(job, train_rows, held_out)
    all_rows = np.unique(_join_rows(train_rows, held_out))
    items = dataset.items.take(all_rows)
    cache = _fill_cache(job, network, items, device, options)
    stamps = [*dataset.stamps(items.id).values()]
    pictures = TrainingPictures(items, dataset.root, job.model.preprocess, cache, stamps)
    sampler = make_sampler(dataset.items.take(train_rows), config)
    batches = Batches(pictures, sampler, np.searchsorted(all_rows, train_rows), config, network.backbone.grid)
    renumbered = []
    for held in held_out:
        sketches = np.searchsorted(all_rows, held.sketches)
        photos = np.searchsorted(all_rows, held.photos)
        renumbered.append(dataclasses.replace(held, sketches=sketches, photos=photos))
    return batches, renumbered


def _fill_cache(
    job: TrainingJob, network: ZSENetwork, items: Items, device: torch.device, options: _RunOptions
) -> Path | None:
    """The cache of the frozen part, for all processes; None where its outputs are not the same in every step."""
    blocks = job.config.freeze_blocks
    if blocks is None or job.config.augment or network.backbone.tokenizer is not None:
        return None
    path = None
    if is_main_process():
        path = cache_frozen_part(
            network,
            blocks,
            items,
            job.dataset.root,
            options.cache,
            device,
            workers=options.workers,
            progress=options.progress,
        )
    if dist.is_initialized():
        paths = [path]
        dist.broadcast_object_list(paths)
        path = paths[0]
    return path


def _join_rows(rows: Ints, held_out: list[HeldOutSet]) -> Ints:
    """The rows of all pictures that are read, some of them twice."""
    return np.concatenate([rows, *(held.rows for held in held_out)])


def _check_unchanged(job: TrainingJob) -> None:
    """Check that the files to read are those that were listed; unseen pictures are not even looked at."""
    dataset = job.dataset
    rows, held_out = select_rows(dataset, job.partition)
    ids = [dataset.items.id[row] for row in np.unique(_join_rows(rows, held_out))]
    changed_files = find_changed_files(dataset.root, dataset.stamps(ids))
    if changed_files:
        raise changed(dataset.root / changed_files[0])


def _describe_training(job: TrainingJob) -> dict[str, Any]:
    """What the checkpoint records about its training."""
    items = job.dataset.items
    is_seen = job.dataset.parts(job.partition) == SEEN
    seen = {items.label.names[code] for code in items.label.codes[is_seen] if code >= 0}
    about: dict[str, Any] = {
        "data": job.dataset.name,
        "source": job.dataset.key(),
        "partition": job.partition,
        "seen_classes": sorted(seen),
        "config": dataclasses.asdict(job.config),
    }
    if job.backbone_from is not None:
        about["seen_classes"] = sorted(seen.union(seen_classes(job.backbone_from)))
        before = read_training(job.backbone_from)
        if before:
            about["backbone_from"] = before
    return about | {"versions": installed_versions(), "run_key": job.find_key()}


@contextmanager
def _join_processes(device: torch.device) -> Iterator[tuple[torch.device, int, int]]:
    """(device, rank, world) under torchrun, each process with a GPU of its own; else (device, 0, 1)."""
    launch = get_launch()
    if launch.world == 1:
        yield device, 0, 1
        return
    if device.type == "cuda":
        device = torch.device("cuda", launch.local_rank % max(1, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    with process_group("nccl" if device.type == "cuda" else "gloo"):
        yield device, launch.rank, launch.world
