"""Feature extraction: pictures -> a feature store, in batches that a later run can continue."""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsecli.arrays import Ints, Pixels
from zsecli.data.embedded import Embedded
from zsecli.data.items import MODALITIES, PHOTO, SKETCH, Items
from zsecli.errors import ZseError
from zsecli.images.memory import MEMORY, MemoryBudget
from zsecli.images.normalize_sketch import Change, describe_changes
from zsecli.images.preprocess_rules import REVISION, Modality
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec, is_available
from zsecli.retrieval.picture_reader import LATE, Input, PictureReader
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.runtime.log_levels import NOTICE
from zsecli.runtime.parallel import block_interrupts, end_with_parent
from zsecli.runtime.shards import WHOLE, Shard
from zsecli.store.features import FeatureWriter, read_skipped, writer_for_merge
from zsecli.store.hdf5 import is_up_to_date, read_current_header
from zsecli.store.shards import merge_shards, remove_shards
from zsecli.store.writer import check_target, update_provenance
from zsecli.vocabulary import EMBEDDERS

if TYPE_CHECKING:
    from zsecli.model.embedders.base import Embedder

logger = logging.getLogger(__name__)

CPU_BATCH, GPU_BATCH = 4, 128  # pictures: a core's cache is soon full, a small batch leaves a GPU idle
COMMIT = 64  # pictures, at least, that are written together


@dataclass(frozen=True, kw_only=True)
class ExtractResult:
    """A feature store, or a shard of one."""

    path: Path
    fresh: bool
    """Whether features had to be computed."""
    skipped: list[tuple[str, str]]
    """Pictures without features, with the reasons."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Reason -> number of files and folders that were not taken for pictures."""


def features_key(items: Items, spec: ModelSpec, precision: Precision = "fp32") -> str:
    """Run key of the features of these pictures by this model.

    It includes the version of a library that defines the features: timm decides on a frozen backbone's layers,
    preprocessing and unnamed weights.
    """
    library = EMBEDDERS[spec.kind].library
    values = items.content()
    if precision != "fp32":
        values["precision"] = precision
    return run_key(
        stage="features",
        kind=spec.kind,
        name=spec.title if spec.is_named else "",
        weights=spec.weights_hash(),
        pictures=REVISION,
        library=f"{library} {version(library)}" if library else "",
        **values,
    )


def extract_features(
    items: Items,
    root: Path,
    spec: ModelSpec,
    output: Path,
    *,
    origin: Mapping[str, str] | None = None,
    device: str = "auto",
    batch_size: int | None = None,
    workers: int = 0,
    precision: Precision = "fp32",
    overwrite: bool = True,
    shard: Shard = WHOLE,
    progress: Progress = SILENT,
) -> ExtractResult:
    """Embed the N pictures `root`/id of `items` with the model `spec` into the feature store `output`.

    Nothing is computed where `output` already holds these features; a killed run is resumed. Sketches that were
    inverted or evened out (`zsecli.images.normalize_sketch`) are counted in the log. What is skipped: see
    `zsecli.retrieval.picture_reader`.

    Args:
        origin: where the pictures come from, for the provenance (the data set's name and run key, say).
        batch_size: pictures per batch and thread; None: as suits the device.
        workers: processes that decode; 0: threads decode.
        precision: of the computation.
        overwrite: replace other content of `output`.
        shard: the share to embed; the last shard to finish merges them into `output`.
        progress: receives the number of pictures, and of those just done.

    Raises:
        ZseError: a picture of a data set changed since its hash was taken, or no picture at all can be used.
    """
    key = features_key(items, spec, precision)
    header = read_current_header(output, "features", key)
    if header is not None:
        remove_shards(shard, output, "features", key)
        if shard.is_main:
            _update_locations(output, header.provenance, items, root, spec, (origin or {}).get("dataset"))
        return ExtractResult(path=output, fresh=False, skipped=read_skipped(output))
    check_target(output, "features", overwrite)
    # whole batches a shard, on a GPU too where there are many: only the inputs may decide where it ends
    step = GPU_BATCH if len(items) >= 8 * GPU_BATCH * shard.count else CPU_BATCH
    rows = shard.rows(len(items), step)
    path, shard_key = shard.path(output), shard.key(key)
    is_due = rows.start < rows.stop and not is_up_to_date(path, "features", shard_key)
    if is_due:
        from zsecli.model.embedders.base import resolve_device  # here: an up-to-date run needs no torch
        from zsecli.model.load import load

        is_on_cpu = resolve_device(device).type == "cpu" or not spec.is_network
        model = load(spec, device, precision)
        if unused := model.about.get("unused"):
            logger.info(
                f"{spec.file}: {len(unused)} parameters in the file are never used by the network ({unused[0]}, ...)"
            )
        logger.info(f"embedding {rows.stop - rows.start} pictures with {spec.text}")
        write_features(
            items if shard.count == 1 else items.take(np.arange(rows.start, rows.stop)),
            root,
            model,
            path,
            key=shard_key,
            provenance=_describe_features(root, spec, model, precision, origin or {}),
            progress=progress,
            batch_size=batch_size or (CPU_BATCH if is_on_cpu else GPU_BATCH),
            workers=workers,
            is_shard=shard.count > 1,
        )
    is_merged = merge_shards(
        shard, output, "features", key, len(items), step, lambda part: writer_for_merge(part, output, key, items)
    )
    if is_merged:
        path = output
    return ExtractResult(
        path=path,
        fresh=is_due or (is_merged and shard.count > 1),
        skipped=read_skipped(path) if path.is_file() else [],
    )


def _describe_features(
    root: Path, spec: ModelSpec, model: Embedder, precision: Precision, origin: Mapping[str, str]
) -> dict[str, Any]:
    """The provenance of a feature store."""
    return {
        "argv": sys.argv[1:],
        "versions": installed_versions(),
        **origin,
        "folder": str(Path.cwd()),
        "root": str(root.resolve()),
        "model": spec.text,
        "weights": spec.weights_hash(),
        "relation": spec.has_relation,
        "preprocess": vars(model.preprocess),
        "precision": precision,
        **model.about,
    }


def _update_locations(
    store: Path, recorded: dict[str, Any], items: Items, root: Path, spec: ModelSpec, dataset: str | None
) -> None:
    """Record in a finished store where its pictures, their data set and its model are now: they may have moved.

    Args:
        recorded: the provenance of the store.
    """
    changes: dict[str, str] = {}
    has_relative_paths = not all(Path(name).is_absolute() for name in items.id)
    if has_relative_paths and recorded.get("root") != str(root.resolve()):
        changes["root"] = str(root.resolve())
        if dataset:
            changes["dataset"] = dataset
    if spec.text != recorded.get("model") and not is_available(recorded.get("model")):
        changes["model"] = spec.text
    if changes:
        update_provenance(store, "features", **changes)
        logger.info(f"{store}: {', '.join(f'its {name} is now {value}' for name, value in changes.items())}")


def write_features(
    items: Items,
    root: Path,
    model: Embedder,
    output: Path,
    *,
    key: str,
    provenance: dict[str, Any],
    progress: Progress,
    batch_size: int,
    workers: int,
    is_shard: bool = False,
) -> None:
    """Write the features of a loaded model, or the rest of them, under the run key `key`.

    Raises:
        ZseError: no picture at all can be used, and they are not a shard of more.
    """
    memory = MemoryBudget(shared=True) if workers else MEMORY
    reader = PictureReader(items, root, model.preprocess, is_shard, memory)
    changes = Counter[Change]()
    with FeatureWriter(
        output, key, provenance, items, model.width, model.tokens, model.n_kept, model.token_width
    ) as store:
        progress.start(len(items))
        progress(store.rows)
        pending: list[_Batch] = []
        for batch in _embed_batches(reader, model, batch_size, workers, store):
            pending.append(batch)
            changes += batch.changes
            progress(len(batch.reasons))
            if sum(len(one.reasons) for one in pending) >= COMMIT or batch.rows.stop == len(items):
                _commit_batches(store, items, pending)
                pending = []
        if late := _skipped_late(store, items):
            # the next run, which may find them, starts from scratch
            store.file.attrs["run-key"] = run_key(of=key, without=late)
        store.finish(is_shard=is_shard)
    if changes:
        logger.log(NOTICE, describe_changes(changes))


@dataclass(frozen=True, kw_only=True)
class _Batch:
    """Features of the pictures `rows`."""

    rows: slice
    reasons: list[str]
    """Why each picture is skipped; "" for those that have features."""
    changes: Counter[Change]
    """How many sketches were cleaned up, and how."""
    features: Embedded
    """Of the pictures that are not skipped."""


def _commit_batches(store: FeatureWriter, items: Items, batches: list[_Batch]) -> None:
    ids, reasons = [], []
    for batch in batches:
        ids += items.id[batch.rows]
        reasons += batch.reasons
    store.write(ids, reasons, **vars(Embedded.concatenate([batch.features for batch in batches])))


def _skipped_late(store: FeatureWriter, items: Items) -> list[str]:
    """Pictures that went or changed while the run went on."""
    reasons = store.file["skipped"].asstr()[:]
    return [name for name, reason in zip(items.id, reasons, strict=True) if reason.endswith(LATE)]


Pictures = list[Input | str | ZseError]
"""What a `PictureReader` returns for the rows of a batch."""


def _embed_batches(
    reader: PictureReader, model: Embedder, batch_size: int, workers: int, store: FeatureWriter
) -> Iterator[_Batch]:
    """Features of the pictures that `store` lacks."""
    from zsecli.runtime.parallel import count_cores, map_in_order, use_threads

    def read(batch: tuple[slice, Pictures | None]) -> tuple[slice, Pictures]:
        rows, pictures = batch
        if pictures is None:
            pictures = [reader[row] for row in range(rows.start, rows.stop)]
        return rows, pictures

    def embed(batch: tuple[slice, Pictures | None]) -> _Batch:
        rows, pictures = read(batch)
        return _embed_batch(model, rows, pictures, reader.items.modality[rows])

    batches = _iterate_batches(reader, batch_size, workers, store)
    with use_threads(model.device) as n_threads:
        if model.device.type == "cpu" or workers:  # on a CPU the threads that compute also decode
            yield from map_in_order(embed, batches, n_threads)
        else:  # the cores have nothing else to do
            yield from map_in_order(embed, map_in_order(read, batches, count_cores()), n_threads)


def _embed_batch(model: Embedder, rows: slice, pictures: Pictures, modality: Ints) -> _Batch:
    """Features of one batch; ZseError where a picture must not be skipped."""
    inputs: list[Input] = []
    positions: list[int] = []
    reasons: list[str] = []
    changes = Counter[Change]()
    for position, picture in enumerate(pictures):
        if isinstance(picture, ZseError):
            raise picture
        if isinstance(picture, str):
            reasons.append(picture)
            continue
        reasons.append("")
        inputs.append(picture)
        positions.append(position)
        changes.update(picture.changes)
    features = _embed_by_modality(model, [one.pixels for one in inputs], modality[np.array(positions, np.int64)])
    return _Batch(rows=rows, reasons=reasons, changes=changes, features=features)


def _embed_by_modality(model: Embedder, pictures: list[Pixels], modality: Ints) -> Embedded:
    """Features of G pictures that may hold both modalities, in their order."""
    no_features = Embedded(
        np.empty((0, model.width), np.float32),
        np.empty((0, model.tokens, model.token_width), np.float32) if model.tokens else None,
        None if model.n_kept is None else np.empty((0, model.n_kept), np.int64),
    )
    features = [no_features]
    order = []
    for code in (SKETCH, PHOTO):
        rows = np.flatnonzero(modality == code)
        order.append(rows)
        if len(rows):
            batch = np.stack([pictures[row] for row in rows])
            features.append(_embed_within_memory(model, batch, MODALITIES[code]))
    return Embedded.concatenate(features).take(np.argsort(np.concatenate(order)))


def _embed_within_memory(model: Embedder, pictures: Pixels, modality: Modality) -> Embedded:
    """Features of pictures (B, S, S, 3) of one modality, in halves where the GPU's memory does not hold them all."""
    import torch

    try:
        return model.embed(pictures, modality)
    except torch.OutOfMemoryError as error:
        if len(pictures) == 1:
            raise ZseError(f"{model.device}: its memory does not hold one picture", "--device cpu") from error
    half = len(pictures) // 2
    first = _embed_within_memory(model, pictures[:half], modality)
    second = _embed_within_memory(model, pictures[half:], modality)
    return Embedded.concatenate([first, second])


def _iterate_batches(
    reader: PictureReader, batch_size: int, workers: int, store: FeatureWriter
) -> Iterator[tuple[slice, Pictures | None]]:
    """The rows that `store` lacks in batches, with their pictures where `workers` processes decode these."""
    start = store.rows
    # the same batches whether or not an earlier run stopped within one, as rounding depends on them
    edges = [start, *range((start // batch_size + 1) * batch_size, len(reader), batch_size), len(reader)]
    batches = [slice(first, stop) for first, stop in pairwise(edges) if first < stop]
    if not workers:
        for rows in batches:
            yield rows, None
        return
    from torch.multiprocessing import get_start_method
    from torch.utils.data import DataLoader

    # a forked worker inherits the store's file, whose lock would live on in it if this process is killed
    store_descriptor = store.file.id.get_vfd_handle() if get_start_method() == "fork" else None
    rows_of_batches = [list(range(rows.start, rows.stop)) for rows in batches]
    loader: DataLoader[Any] = DataLoader(
        reader,  # type: ignore[arg-type]
        batch_sampler=rows_of_batches,
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=partial(_start_worker, store_descriptor),
    )
    with block_interrupts():  # a terminal's Ctrl-C reaches the workers too, which only this process may end
        loaded = iter(loader)
    yield from zip(batches, loaded, strict=True)


def _start_worker(store_descriptor: int | None, worker: int) -> None:
    if store_descriptor is not None:
        os.close(store_descriptor)
    end_with_parent(worker)
