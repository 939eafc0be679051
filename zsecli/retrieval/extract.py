"""Features of pictures, written to a feature store in batches that a later run can continue."""

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
from numpy.typing import NDArray

from zsecli.arrays import Ints, Pixels
from zsecli.data.embedded import Embedded
from zsecli.data.items import MODALITIES, PHOTO, SKETCH, Items
from zsecli.errors import ZseError
from zsecli.images.memory import MEMORY, MemoryBudget
from zsecli.images.normalize_sketch import Change, describe_changes
from zsecli.images.preprocess_rules import REVISION, Modality
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec, is_there
from zsecli.retrieval.picture_reader import LATE, Reader
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


ON_CPU, ON_GPU = 4, 128  # pictures at once: a core's cache is soon full, a GPU with few has little to do
COMMIT = 64  # pictures, at least, that are written together


@dataclass(frozen=True)
class ExtractResult:
    """Where the features are, whether they had to be computed, and (picture, reason) of those that have none.

    passed_over: reason -> number of files and folders that were not taken for pictures.
    """

    path: Path
    fresh: bool
    skipped: list[tuple[str, str]]
    passed_over: dict[str, int] = field(default_factory=dict)


def features_key(items: Items, spec: ModelSpec, precision: Precision = "fp32") -> str:
    """Run key of the features of these pictures by this model.

    What a library decides counts too: timm a frozen backbone's layers, preprocessing and unnamed weights.
    """
    library = EMBEDDERS[spec.kind].library
    return run_key(
        stage="features",
        kind=spec.kind,
        name=spec.title if spec.is_named else "",
        weights=spec.weights_hash(),
        pictures=REVISION,
        library=f"{library} {version(library)}" if library else "",
        **({} if precision == "fp32" else {"precision": precision}),
        **items.content(),
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

    Nothing is computed where `output` holds just that already; a run that was killed goes on. Of sketches that were
    inverted or evened out (`zsecli.images.normalize_sketch`) the number is told. What is skipped: see
    `zsecli.retrieval.picture_reader`.

    Args:
        origin: what the pictures came from, for the provenance (the data set's name and run key, say).
        batch_size: pictures at once in a thread; None: as suits the device.
        workers: processes that decode; 0: threads do.
        precision: to compute in.
        overwrite: replace another content of `output`.
        shard: the share to embed; the last one to be done puts the shards together in `output`.
        progress: told the number of pictures, and of those just done.

    Raises:
        ZseError: a picture of a data set changed since its hash was taken, or no picture at all can be used.
    """
    key = features_key(items, spec, precision)
    header = read_current_header(output, "features", key)
    if header is not None:
        remove_shards(shard, output, "features", key)
        if shard.is_main:
            _keep_places(output, header.provenance, items, root, spec, (origin or {}).get("dataset"))
        return ExtractResult(output, False, read_skipped(output))
    check_target(output, "features", overwrite)
    from zsecli.model.embedders.base import resolve_device  # here: an up-to-date run needs no torch
    from zsecli.model.load import load

    on_cpu = resolve_device(device).type == "cpu" or not spec.is_network
    # a shard is whole batches, on a GPU too where there are many: nothing but the inputs may say where it ends
    step = ON_GPU if len(items) >= 8 * ON_GPU * shard.count else ON_CPU
    rows = shard.rows(len(items), step)
    path, own = shard.path(output), shard.key(key)
    due = rows.start < rows.stop and not is_up_to_date(path, "features", own)
    if due:
        model = load(spec, device, precision)
        if unused := model.about.get("unused"):
            logger.info(
                f"{spec.file}: {len(unused)} parameters in the file are never used by the network ({unused[0]}, ...)"
            )
        provenance = {
            "argv": sys.argv[1:],
            "versions": installed_versions(),
            **(origin or {}),
            "folder": str(Path.cwd()),
            "root": str(root.resolve()),
            "model": spec.text,
            "weights": spec.weights_hash(),
            "relation": spec.has_relation,
            "preprocess": vars(model.preprocess),
            "precision": precision,
            **model.about,
        }
        logger.info(f"embedding {rows.stop - rows.start} pictures with {spec.text}")
        some = items if shard.count == 1 else items.take(np.arange(rows.start, rows.stop))
        size = batch_size or (ON_CPU if on_cpu else ON_GPU)
        write_features(some, root, model, path, own, provenance, progress, size, workers, shard.count > 1)
    whole = merge_shards(
        shard, output, "features", key, len(items), step, lambda one: writer_for_merge(one, output, key, items)
    )
    path = output if whole else path
    return ExtractResult(path, due or (whole and shard.count > 1), read_skipped(path) if path.is_file() else [])


def _keep_places(
    store: Path, provenance: dict[str, Any], items: Items, root: Path, spec: ModelSpec, dataset: str | None
) -> None:
    """Let a finished store say where its pictures, their data set and its model are now: they may have moved."""
    now = {}
    if provenance.get("root") != str(root.resolve()) and not all(Path(name).is_absolute() for name in items.id):
        now = {"root": str(root.resolve())} | ({"dataset": dataset} if dataset else {})
    if spec.text != provenance.get("model") and not is_there(provenance.get("model")):
        now["model"] = spec.text
    if now:
        update_provenance(store, "features", **now)
        logger.info(f"{store}: {', '.join(f'its {name} is now {place}' for name, place in now.items())}")


def write_features(
    items: Items,
    root: Path,
    model: Embedder,
    output: Path,
    key: str,
    provenance: dict[str, Any],
    progress: Progress,
    size: int,
    workers: int,
    part: bool = False,
) -> None:
    """Write the features of a model that is there already, or the rest of them, under the run key `key`.

    Raises:
        ZseError: no picture at all can be used, and they are not `part` of more.
    """
    memory = MemoryBudget(shared=True) if workers else MEMORY
    reader, changes = Reader(items, root, model.preprocess, part, memory), Counter[Change]()
    with FeatureWriter(
        output, key, provenance, items, model.width, model.tokens, model.kept, model.token_width
    ) as store:
        progress.start(len(items))
        progress(store.rows)
        ids, reasons, found = list[str](), list[str](), list[Embedded]()
        for rows, some, counts, features in _embedded(reader, model, size, workers, store):
            ids += items.id[rows]
            reasons += some
            found.append(features)
            changes += counts
            progress(len(some))
            if len(ids) >= COMMIT or rows.stop == len(items):
                store.write(ids, reasons, **vars(Embedded.concatenate(found)))
                ids, reasons, found = [], [], []
        why = store.file["skipped"].asstr()[:]
        if late := [name for name, one in zip(items.id, why, strict=True) if one.endswith(LATE)]:
            # the next run, which may find them, begins anew
            store.file.attrs["run-key"] = run_key(of=key, without=late)
        store.finish(is_shard=part)
    if changes:
        logger.log(NOTICE, describe_changes(changes))


def _embedded(
    reader: Reader, model: Embedder, size: int, workers: int, store: FeatureWriter
) -> Iterator[tuple[slice, list[str], Counter[Change], Embedded]]:
    """Of what `store` lacks, `size` pictures at once: their rows, why some are not used, what was done to how many of
    the others, and the features of these."""
    from zsecli.runtime.parallel import count_cores, map_in_order, use_threads

    def read(batch: tuple[slice, list[Any] | None]) -> tuple[slice, list[Any]]:
        rows, pictures = batch
        return rows, [reader[row] for row in range(rows.start, rows.stop)] if pictures is None else pictures

    def embed(batch: tuple[slice, list[Any] | None]) -> tuple[slice, list[str], Counter[Change], Embedded]:
        rows, pictures = read(batch)
        for picture in pictures:
            if isinstance(picture, ZseError):
                raise picture
        good = np.array([i for i, picture in enumerate(pictures) if not isinstance(picture, str)], np.int64)
        reasons = [picture if isinstance(picture, str) else "" for picture in pictures]
        inputs = [pictures[i] for i in good]
        features = _by_role(model, [one.pixels for one in inputs], reader.items.modality[rows][good])
        return rows, reasons, Counter(change for one in inputs for change in one.changes), features

    batches = _batches(reader, size, workers, store)
    with use_threads(model.device) as count:
        # on a CPU the threads that compute also decode; for a GPU the cores have nothing else to do
        ready = batches if model.device.type == "cpu" or workers else map_in_order(read, batches, count_cores())
        yield from map_in_order(embed, ready, count)


def _by_role(model: Embedder, pictures: list[Pixels], modality: Ints) -> Embedded:
    """Features of G pictures that may hold both modalities, in their order."""
    parts = [np.flatnonzero(modality == code) for code in (SKETCH, PHOTO)]
    none = Embedded(
        np.empty((0, model.width), np.float32),
        np.empty((0, model.tokens, model.token_width), np.float32) if model.tokens else None,
        None if model.kept is None else np.empty((0, model.kept), np.int64),
    )
    found = [
        _embed(model, np.stack([pictures[row] for row in rows]), MODALITIES[code])
        for code, rows in enumerate(parts)
        if len(rows)
    ]
    return Embedded.concatenate([none, *found]).take(np.argsort(np.concatenate(parts)))


def _embed(model: Embedder, pictures: NDArray[np.uint8], role: Modality) -> Embedded:
    """Features of pictures (B, S, S, 3) of one role, of fewer at once where the GPU's memory does not hold them all."""
    import torch

    try:
        return model.embed(pictures, role)
    except torch.OutOfMemoryError as error:
        if len(pictures) == 1:
            raise ZseError(f"{model.device}: its memory does not hold one picture", "--device cpu") from error
    half = len(pictures) // 2
    return Embedded.concatenate([_embed(model, pictures[:half], role), _embed(model, pictures[half:], role)])


def _batches(reader: Reader, size: int, workers: int, store: FeatureWriter) -> Iterator[tuple[slice, list[Any] | None]]:
    """The rows that `store` lacks, `size` at once, with their pictures where `workers` processes decode these."""
    start = store.rows
    # the same are computed together whether or not an earlier run stopped among them, as rounding depends on it
    edges = [start, *range((start // size + 1) * size, len(reader), size), len(reader)]
    slices = [slice(*edge) for edge in pairwise(edges) if edge[0] < edge[1]]
    if not workers:
        yield from ((rows, None) for rows in slices)
        return
    from torch.multiprocessing import get_start_method
    from torch.utils.data import DataLoader

    rows = [range(rows.start, rows.stop) for rows in slices]
    # a forked worker inherits the store's file, whose lock would live on in it if this process is killed
    opened = store.file.id.get_vfd_handle() if get_start_method() == "fork" else None
    loader: DataLoader[Any] = DataLoader(
        reader,  # type: ignore[arg-type]
        batch_sampler=rows,  # type: ignore[arg-type]
        num_workers=workers,
        collate_fn=list,
        worker_init_fn=partial(_begin, opened),
    )
    with block_interrupts():  # a terminal's Ctrl-C reaches the workers too, which this process alone ends
        batches = iter(loader)
    yield from zip(slices, batches, strict=True)


def _begin(opened: int | None, worker: int) -> None:
    if opened is not None:
        os.close(opened)
    end_with_parent(worker)
