"""What a training run would do and need, without doing it."""

from __future__ import annotations

from typing import Any

import torch

from zsecli.data.items import PHOTO, SKETCH
from zsecli.model.timm_models import require_pretrained_weights
from zsecli.train.batches import CACHE_BYTES, Batch
from zsecli.train.config import TrainConfig
from zsecli.train.job import TrainingJob, build_job_trainee, check_chunks, check_seen_only, make_sampler
from zsecli.train.prototype_step import compute_prototype_losses
from zsecli.train.step import autocast_forward, compute_losses
from zsecli.train.trainee import Trainee
from zsecli.train.validate import select_rows


def plan_training(job: TrainingJob, pair_count: int = 2) -> dict[str, Any]:
    """Numbers of pictures, steps and parameters, and memory in bytes, measured with `pair_count` pairs.

    Raises:
        UsageError, ZseError: as `zsecli.train.job.train_network`.
    """
    config = job.config
    check_chunks(config, 1)
    rows, held_out = select_rows(job.dataset, job.partition)
    check_seen_only(job, rows, held_out)
    items = job.dataset.items.take(rows)
    make_sampler(items, config)  # checks that there is something to draw
    trainee = build_job_trainee(job, torch.device("cpu"), fetch_weights=False)
    if job.pretrained and job.weights is None and job.backbone_from is None:
        require_pretrained_weights(job.model.backbone.name)
    parameters = list(trainee.network.parameters())
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    trained_bytes = sum(parameter.nbytes for parameter in trained)
    picture_count = len(rows) + sum(len(held.rows) for held in held_out)
    picture_bytes = job.model.preprocess.size**2 * 3
    return {
        "sketches": int((items.modality == SKETCH).sum()),
        "photos": int((items.modality == PHOTO).sum()),
        "classes": len({*items.label.codes.tolist()} - {-1}),
        "held out": {held.name: [len(held.sketches), len(held.photos)] for held in held_out},
        "epochs": config.epochs,
        "steps": config.steps,
        "parameters": sum(parameter.numel() for parameter in parameters),
        "trained parameters": sum(parameter.numel() for parameter in trained),
        "memory of weights and optimiser": sum(parameter.nbytes for parameter in parameters) + 3 * trained_bytes,
        "memory of a batch": _estimate_batch_memory(trainee, config, pair_count),
        "memory of pictures": min(CACHE_BYTES, picture_count * picture_bytes),
    }


def _estimate_batch_memory(trainee: Trainee, config: TrainConfig, pair_count: int) -> int:
    """Bytes that the forward pass of a chunk keeps for the backward pass."""
    pair_memory = _measure_memory(trainee, config, pair_count, with_outlines=False)
    outlined_memory = _measure_memory(trainee, config, pair_count, with_outlines=True)
    if config.draws == "pictures":
        pairs = (config.batch_size + config.photos) // (2 * config.accumulate)
    else:
        pairs_per_draw = 1 if config.hard_negatives else 2
        pairs = config.batch_size // config.accumulate * pairs_per_draw
    outlines = config.outline_count // config.accumulate
    return pair_memory // pair_count * pairs + (outlined_memory - pair_memory) // pair_count * outlines


def _measure_memory(trainee: Trainee, config: TrainConfig, pair_count: int, *, with_outlines: bool) -> int:
    """Bytes that the forward pass of pairs, and of as many outlines, keeps for the backward pass."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in trainee.network.parameters()}
    storages: dict[int, torch.UntypedStorage] = {}

    def record_storage(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()  # several views of it take its memory once
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage
        return tensor

    batch = _make_blank_batch(trainee, pair_count, with_outlines and bool(config.outline_count))
    with (
        autocast_forward(torch.device("cpu"), config),
        torch.autograd.graph.saved_tensors_hooks(record_storage, lambda tensor: tensor),
    ):
        if trainee.heads is None:
            compute_losses(trainee.network, batch, config)
        else:
            compute_prototype_losses(trainee.network, trainee.heads, batch, config)
    return sum(storage.nbytes() for storage in storages.values())


def _make_blank_batch(trainee: Trainee, pair_count: int, with_outlines: bool) -> Batch:
    network = trainee.network
    size = network.config.preprocess.size
    pictures = torch.zeros(pair_count, size, size, 3, dtype=torch.uint8)
    positive = torch.eye(pair_count, dtype=torch.bool)
    outlines = None
    if with_outlines:
        outlines = pictures, pictures, torch.ones(pair_count, network.backbone.n_patches, 2)
    classes = None
    if trainee.heads is not None:
        first_class = torch.zeros(pair_count, dtype=torch.int64)
        classes = first_class, first_class
    return Batch(
        sketch=pictures,
        photo=pictures,
        positive=positive,
        eligible=torch.ones_like(positive),
        outlines=outlines,
        classes=classes,
    )
