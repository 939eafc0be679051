"""The stage `train`: a prepared data set -> a checkpoint."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed as dist

from zsecli.console import SILENT, Progress
from zsecli.data.hashing import changed_files
from zsecli.errors import UsageError, ZseError
from zsecli.model.config import ModelConfig
from zsecli.model.embedder import resolve_device
from zsecli.model.network import ZSENetwork
from zsecli.model.spec import file_hash
from zsecli.retrieval.embed import changed
from zsecli.store.dataset import Dataset
from zsecli.store.header import run_key, versions
from zsecli.store.items import SEEN, Ints
from zsecli.train import loop, state
from zsecli.train.config import TrainConfig
from zsecli.train.data import Batch, Batches, Pictures
from zsecli.train.frozen import cached
from zsecli.train.sampler import Sampler
from zsecli.train.step import losses
from zsecli.train.validate import HeldOut, rows_of


@dataclass(frozen=True)
class Job:
    """What to train: a data set's partition, the network, the way, and the backbone's weights.

    weights: a local file; None: those that timm knows for the backbone's name, where `pretrained`.
    """

    dataset: Dataset
    partition: str
    model: ModelConfig
    config: TrainConfig
    weights: Path | None = None
    pretrained: bool = True

    @property
    def key(self) -> str:
        """Run key: everything that determines the result on one machine."""
        return run_key(
            stage="train",
            data=self.dataset.key(),
            partition=self.partition,
            model=self.model.to_json(),
            config=dataclasses.asdict(self.config),
            weights=file_hash(self.weights) if self.weights is not None else self.pretrained,
        )


@dataclass(frozen=True)
class Trained:
    """The best checkpoint, whether anything had to be done, and its validation."""

    path: Path
    fresh: bool
    validation: dict[str, float]


def run(
    job: Job,
    output: Path,
    cache: Path,
    *,
    device: str = "auto",
    workers: int = 0,
    overwrite: bool = False,
    progress: Progress = SILENT,
) -> Trained:
    """Train as `job` says into the checkpoint `output`; a run that was killed goes on, a finished one is left as it is.

    Args:
        cache: folder for what the frozen part makes of the pictures.
        overwrite: replace the checkpoint of another run.

    Raises:
        UsageError: `output` holds another run. ZseError: the data cannot be trained on, or training diverged.
    """
    files = loop.Files(output)
    there = state.where(files.state)
    ours = there is not None and there[0] == job.key
    if there is not None and ours and there[1].ended and output.is_file():
        return Trained(output, False, {})
    if not ours and (there is not None or output.is_file()) and not overwrite:
        raise UsageError(f"{output}: holds another training run", "--name keeps both, --overwrite replaces it")
    with _processes() as (rank, world):
        if job.config.batch_size % (world * job.config.accumulate):
            raise UsageError(
                f"--batch-size {job.config.batch_size} cannot be shared by {world} processes, "
                f"each in {job.config.accumulate} parts",
                "take a multiple of their product",
            )
        on = resolve_device(device)
        if on.type == "cuda" and world > 1:
            on = torch.device("cuda", int(os.environ.get("LOCAL_RANK", rank)))
        network, optimizer = loop.build(job.model, job.config, job.pretrained, job.weights, on)
        batches, held = _data(job, network, cache, on, workers, progress)
        batches.rank, batches.world = rank, world
        if rank == 0 and not ours:
            files.clear()
        found = loop.run(
            network,
            optimizer,
            batches,
            held,
            job.config,
            output,
            key=job.key,
            about=_about(job),
            workers=0 if batches.pictures.cache else workers,
            progress=progress if rank == 0 else SILENT,
        )
    return Trained(output, True, found)


def plan(job: Job, batch: int = 2) -> dict[str, Any]:
    """What a run would do and need, without doing it: counts, steps, parameters, memory in bytes."""
    rows, held = rows_of(job.dataset, job.partition)
    items = job.dataset.items.take(rows)
    Sampler(items, job.config)
    network, _ = loop.build(job.model, job.config, False, None, torch.device("cpu"))
    size = job.model.preprocess.size
    pictures = torch.zeros(batch, size, size, 3, dtype=torch.uint8)
    masks = torch.eye(batch, dtype=torch.bool)
    kept = 0

    def count(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal kept
        kept += tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        losses(network, Batch(pictures, pictures, masks, torch.ones_like(masks)), job.config)
    parameters = list(network.parameters())
    trained = sum(p.nbytes for p in parameters if p.requires_grad)
    encoded = job.config.batch_size // job.config.accumulate * (1 if job.config.hard_negatives else 2)
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
        "memory of a batch": kept // batch * encoded,
    }


def _data(
    job: Job, network: ZSENetwork, cache: Path, device: torch.device, workers: int, progress: Progress
) -> tuple[Batches, list[HeldOut]]:
    """The batches, and what is held out, on one table of the pictures that either reads."""
    dataset = job.dataset
    used, held = rows_of(dataset, job.partition)
    _check_seen(job, used, held)
    if different := changed_files(dataset.root, dataset.known()):
        raise changed(dataset.root / different[0])
    rows = np.unique(np.concatenate([used, *(x for one in held for x in (one.sketches, one.photos))]))
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
    pictures = Pictures(items, dataset.root, job.model.preprocess, path)
    sampler = Sampler(dataset.items.take(used), job.config)
    return Batches(pictures, sampler, np.searchsorted(rows, used), job.config), held


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
    seen = sorted({items.label.names[c] for c in items.label.codes[job.dataset.parts(job.partition) == SEEN] if c >= 0})
    return {
        "data": job.dataset.name,
        "source": job.dataset.key(),
        "partition": job.partition,
        "seen_classes": seen,
        "config": dataclasses.asdict(job.config),
        "versions": versions(),
        "run_key": job.key,
    }


@contextmanager
def _processes() -> Iterator[tuple[int, int]]:
    """(rank, world) under torchrun, else (0, 1)."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield 0, 1
        return
    dist.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
    try:
        yield dist.get_rank(), world
    finally:
        dist.destroy_process_group()
