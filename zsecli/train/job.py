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
from zsecli.model.timm_models import require_pretrained_weights
from zsecli.retrieval.picture_reader import changed
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.distributed import get_launch, process_group
from zsecli.runtime.files import exclusive_lock
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.train import loop, state
from zsecli.train.batches import HELD, Batch, Batches, Pictures
from zsecli.train.config import TrainConfig
from zsecli.train.frozen_cache import cached
from zsecli.train.picture_sampler import PictureSampler
from zsecli.train.prototype_step import prototype_losses
from zsecli.train.sampler import Sampler
from zsecli.train.step import autocast, losses
from zsecli.train.validate import HeldOut, rows_of


@dataclass(frozen=True)
class Job:
    """What to train: a data set's partition, the network, the way, and the backbone's weights.

    weights: a local file; None: those that timm knows for the backbone's name, where `pretrained`.
    begin: a checkpoint whose backbone the network begins with instead.
    """

    dataset: Dataset
    partition: str
    model: ModelConfig
    config: TrainConfig
    weights: Path | None = None
    pretrained: bool = True
    begin: Path | None = None

    @property
    def key(self) -> str:
        """Run key: everything that determines the result on one machine."""
        return run_key(
            stage="train",
            data=self.dataset.key(),
            partition=self.partition,
            model=self.model.to_json(),
            config=to_plain(self.config),
            weights=hash_file(self.weights) if self.weights is not None else self.pretrained,
            begin=hash_file(self.begin) if self.begin is not None else None,
        )


@dataclass(frozen=True)
class TrainResult:
    """The best checkpoint, whether anything had to be done, and its validation."""

    path: Path
    fresh: bool
    validation: dict[str, float]


def train_network(
    job: Job,
    output: Path,
    cache: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> TrainResult:
    """Train as `job` says into the checkpoint `output`; a run that was killed goes on, a finished one is left as it is.

    Args:
        cache: folder for what the frozen part makes of the pictures.
        overwrite: replace the checkpoint of another run.

    Raises:
        UsageError: `output` holds another run. ZseError: the data cannot be trained on, or training diverged.
        ChangedPicture: a picture that is trained on, or that a validation shows, is no longer what was listed.
    """
    files = loop.Files(output)
    files.check()
    _check_pictures(job)
    there = state.where(files.state)
    if there is not None and there[0] == job.key and there[1].ended and output.is_file():
        return TrainResult(output, False, {})
    with exclusive_lock(output) if get_launch().rank == 0 else nullcontext():
        return _train(job, output, cache, device, workers, overwrite, progress)


def _train(
    job: Job, output: Path, cache: Path, device: str, workers: int, overwrite: bool, progress: Progress
) -> TrainResult:
    files = loop.Files(output)
    there = state.where(files.state)
    ours = there is not None and there[0] == job.key
    if there is not None and ours and there[1].best_epoch and not output.is_file():
        there, ours = None, False  # its best network is lost: it begins again
    begun = there is None and output.is_file() and read_training(output).get("run_key") == job.key  # killed early
    if not ours and not begun and (there is not None or output.is_file()) and not overwrite:
        raise UsageError(f"{output}: holds another training run", "--name keeps both, --overwrite replaces it")
    on = resolve_device(device)
    compute_in_full_float32()
    with _processes(on) as (on, rank, world):
        _check_parts(job.config, world)
        trainee = loop.build(job.model, job.config, job.pretrained, job.weights, on, job.begin, _classes(job))
        network = trainee.network
        batches, held = _data(job, network, cache, on, workers, progress)
        batches.pictures.hold //= max(1, workers) * world
        batches.rank, batches.world = rank, world
        if rank == 0 and not ours:
            files.clear()
        found = loop.run(
            trainee,
            batches,
            held,
            job.config,
            output,
            key=job.key,
            about=_about(job),
            workers=0 if batches.pictures.cache else workers,
            progress=progress if rank == 0 else SILENT,
        )
    return TrainResult(output, True, found)


def plan_training(job: Job, batch: int = 2) -> dict[str, Any]:
    """What a run would do and need, without doing it: counts, steps, parameters, memory in bytes."""
    _check_parts(job.config, 1)
    rows, held = rows_of(job.dataset, job.partition)
    _check_seen(job, rows, held)
    items = job.dataset.items.take(rows)
    _sampler(items, job.config)
    trainee = loop.build(job.model, job.config, False, job.weights, torch.device("cpu"), job.begin, _classes(job))
    network = trainee.network
    if job.pretrained and job.weights is None and job.begin is None:
        require_pretrained_weights(job.model.backbone.name)
    size, config = job.model.preprocess.size, job.config
    parameters = list(network.parameters())
    memory, outlined = (_memory(trainee, config, batch, with_outlines) for with_outlines in (False, True))
    trained = sum(p.nbytes for p in parameters if p.requires_grad)
    held_rows = sum(len(x) for one in held for x in (one.sketches, one.photos))
    encoded = config.batch_size // config.accumulate * (1 if config.hard_negatives else 2)
    if config.draws == "pictures":
        encoded = (config.batch_size + config.photos) // (2 * config.accumulate)  # pairs
    outlines = (outlined - memory) // batch * (config.outlined // config.accumulate)
    return {
        "sketches": int((items.modality == 0).sum()),
        "photos": int((items.modality == 1).sum()),
        "classes": len({*items.label.codes.tolist()} - {-1}),
        "held out": {one.name: [len(one.sketches), len(one.photos)] for one in held},
        "epochs": job.config.epochs,
        "steps": job.config.steps,
        "parameters": sum(p.numel() for p in parameters),
        "trained parameters": sum(p.numel() for p in parameters if p.requires_grad),
        "memory of weights and optimiser": sum(p.nbytes for p in parameters) + 3 * trained,
        "memory of a batch": memory // batch * encoded + outlines,
        "memory of pictures": min(HELD, (len(rows) + held_rows) * size * size * 3),
    }


def _memory(trainee: loop.Trainee, config: TrainConfig, batch: int, outlines: bool) -> int:
    """Bytes that are kept for the backward pass of so many pairs, and of as many outlines where those are asked."""
    network = trainee.network
    size, places = network.config.preprocess.size, network.backbone.n_patches
    pictures, masks = torch.zeros(batch, size, size, 3, dtype=torch.uint8), torch.eye(batch, dtype=torch.bool)
    asked = (pictures, pictures, torch.ones(batch, places, 2)) if outlines and config.outlined else None
    known = {p.untyped_storage().data_ptr() for p in network.parameters()}
    kept: dict[int, torch.UntypedStorage] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()  # several views of it take its memory once
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage
        return tensor

    with (
        autocast(torch.device("cpu"), config),
        torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor),
    ):
        made = Batch(pictures, pictures, masks, torch.ones_like(masks), asked)
        if trainee.heads is None:
            losses(network, made, config)
        else:
            first = torch.zeros(batch, dtype=torch.int64)
            prototype_losses(network, trainee.heads, dataclasses.replace(made, classes=(first, first)), config)
    return sum(storage.nbytes() for storage in kept.values())


def _check_parts(config: TrainConfig, world: int) -> None:
    if config.batch_size % (world * config.accumulate):
        raise UsageError(
            f"--batch-size {config.batch_size} cannot be shared by {world} processes, "
            f"each in {config.accumulate} parts",
            "take a multiple of their product",
        )
    if config.draws == "pictures" and config.photos % (world * config.accumulate):
        raise UsageError(
            f"--photos {config.photos} cannot be shared by {world} processes, each in {config.accumulate} parts",
            "take a multiple of their product",
        )
    if config.outlined % (world * config.accumulate):
        raise UsageError(
            f"--outlines {config.outlines} cannot be shared by {world} processes, each in {config.accumulate} parts",
            "take a multiple of their product",
        )


def _data(
    job: Job, network: ZSENetwork, cache: Path, device: torch.device, workers: int, progress: Progress
) -> tuple[Batches, list[HeldOut]]:
    """The batches, and what is held out, on one table of the pictures that either reads."""
    dataset = job.dataset
    used, held = rows_of(dataset, job.partition)
    _check_seen(job, used, held)
    rows = _all_rows(used, held)
    items = dataset.items.take(rows)
    held = [
        dataclasses.replace(one, sketches=np.searchsorted(rows, one.sketches), photos=np.searchsorted(rows, one.photos))
        for one in held
    ]
    path = None
    blocks = job.config.freeze_blocks
    if blocks is not None and not job.config.augment and network.backbone.tokenizer is None:
        if not dist.is_initialized() or dist.get_rank() == 0:
            path = cached(network, blocks, items, dataset.root, cache, device, workers, progress)
        if dist.is_initialized():
            told = [path]
            dist.broadcast_object_list(told)
            path = told[0]
    stamps = [*dataset.stamps(items.id).values()]
    pictures = Pictures(items, dataset.root, job.model.preprocess, path, stamps)
    sampler = _sampler(dataset.items.take(used), job.config)
    return Batches(pictures, sampler, np.searchsorted(rows, used), job.config, network.backbone.grid), held


def _sampler(items: Items, config: TrainConfig) -> Sampler | PictureSampler:
    return PictureSampler(items, config) if config.draws == "pictures" else Sampler(items, config)


def _classes(job: Job) -> list[str]:
    """The names of the classes, in the order of their codes, where training has prototypes of them."""
    return list(job.dataset.items.label.names) if job.config.ret_loss == "prototypes" else []


def _all_rows(used: Ints, held: list[HeldOut]) -> Ints:
    """The rows of all pictures that are read, ascending."""
    return np.unique(np.concatenate([used, *(rows for one in held for rows in (one.sketches, one.photos))]))


def _check_pictures(job: Job) -> None:
    """Check those pictures that training reads, the unseen ones never: they are not even looked at."""
    dataset = job.dataset
    ids = [dataset.items.id[row] for row in _all_rows(*rows_of(dataset, job.partition))]
    if different := find_changed_files(dataset.root, dataset.stamps(ids)):
        raise changed(dataset.root / different[0])


def _check_seen(job: Job, used: Ints, held: list[HeldOut]) -> None:
    """No picture outside the seen part is read, whatever the store says."""
    part = job.dataset.parts(job.partition)
    for rows in (used, *(rows for one in held for rows in (one.sketches, one.photos))):
        assert (part[rows] == SEEN).all()
    if not len(used):
        raise ZseError(
            f"{job.dataset.name}: has no seen pictures to train on",
            "zse prepare folder --unseen FILE, or a manifest with the column split, says what training sees",
        )


def _about(job: Job) -> dict[str, Any]:
    items = job.dataset.items
    seen = {items.label.names[c] for c in items.label.codes[job.dataset.parts(job.partition) == SEEN] if c >= 0}
    before = read_training(job.begin) if job.begin is not None else {}
    return {
        "data": job.dataset.name,
        "source": job.dataset.key(),
        "partition": job.partition,
        "seen_classes": sorted(seen.union(seen_classes(job.begin) if job.begin is not None else ())),
        "config": dataclasses.asdict(job.config),
        **({"backbone_from": before} if before else {}),
        "versions": installed_versions(),
        "run_key": job.key,
    }


@contextmanager
def _processes(device: torch.device) -> Iterator[tuple[torch.device, int, int]]:
    """(device, rank, world) under torchrun, each process with a GPU of its own; else (device, 0, 1)."""
    job = get_launch()
    if job.world == 1:
        yield device, 0, 1
        return
    if device.type == "cuda":
        device = torch.device("cuda", job.local_rank % max(1, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    with process_group("nccl" if device.type == "cuda" else "gloo"):
        yield device, job.rank, job.world
