"""Ranking: two feature stores -> a ranking store."""

from __future__ import annotations

import contextlib
import logging
import shutil
import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.data.items import PHOTO, SKETCH
from zsecli.data.provenance import ORIGIN, Header
from zsecli.errors import ZseError
from zsecli.model.spec import ModelSpec, is_available
from zsecli.retrieval.compatible_stores import (
    check_stores,
    load_scorer,
    picture_folders,
    select_modality,
    warn_of_other_modality,
)
from zsecli.retrieval.match_options import MatchOptions, queries_per_block
from zsecli.retrieval.rankers.base import PairScorer
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.files import partial_path
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.runtime.log_levels import NOTICE
from zsecli.runtime.parallel import count_cores, map_in_order
from zsecli.runtime.shards import WHOLE, Shard
from zsecli.store.features import Features, open_features
from zsecli.store.hdf5 import is_up_to_date, open_store, read_current_header, read_header
from zsecli.store.ranking import RankingWriter
from zsecli.store.shards import merge_shards, remove_shards
from zsecli.store.writer import check_target, update_provenance

logger = logging.getLogger(__name__)

MAX_THREADS = 8  # that rank by [Ret]: each holds a block
ENTRY_BYTES = 8  # of a ranking: an index and a score


@dataclass(frozen=True)
class RankResult:
    """A ranking, or a shard of one."""

    path: Path
    fresh: bool
    """Whether it had to be computed."""


def rank_features(
    sketches: Path,
    photos: Path,
    output: Path,
    options: MatchOptions,
    *,
    model: ModelSpec | None = None,
    device: str = "auto",
    overwrite: bool = True,
    shard: Shard = WHOLE,
    progress: Progress = SILENT,
) -> RankResult:
    """Rank the photos of the feature store `photos` for each sketch of the feature store `sketches`.

    The two may be one file. Nothing is computed where `output` already holds this ranking.

    Args:
        model: the network, for relation scores; None: the one that the stores name.
        shard: the share of the sketches to rank for; the last shard to finish merges them into `output`.
        progress: receives the number of pairs, and of those just ranked.

    Raises:
        StoreError: the stores were made by different models, or without what `options.by` needs.
    """
    with contextlib.ExitStack() as stores:
        sketch_store = stores.enter_context(open_features(sketches))
        photo_store = sketch_store if photos == sketches else stores.enter_context(open_features(photos))
        queries = select_modality(sketch_store, SKETCH, "sketch")
        gallery = select_modality(photo_store, PHOTO, "photo")
        check_stores(queries, gallery, options, model)
        if sketches != photos:
            warn_of_other_modality(sketch_store, queries, "sketches")
            warn_of_other_modality(photo_store, gallery, "photos")
        key = ranking_key(queries.header, gallery.header, options)
        header = read_current_header(output, "ranking", key)
        if header is not None:
            remove_shards(shard, output, "ranking", key)
            if shard.is_main:
                _update_locations(output, header.provenance, queries.header, gallery.header)
            return RankResult(output, fresh=False)
        check_target(output, "ranking", overwrite)
        job = _RankingJob(sketches=sketches, photos=photos, queries=queries, gallery=gallery, options=options)
        return _rank_shard(job, output, key, model, device, shard, progress)


@dataclass(frozen=True, kw_only=True)
class _RankingJob:
    """What is ranked, and what the store records of it."""

    sketches: Path
    photos: Path
    queries: Features
    gallery: Features
    options: MatchOptions

    @property
    def depth(self) -> int:
        """Photos that are kept per query."""
        available = len(self.gallery.items)
        if self.options.ann:
            available = min(self.options.shortlist, available)
        return min(self.options.depth or available, available)

    def provenance(self) -> dict[str, Any]:
        query_header, photo_header = self.queries.header, self.gallery.header
        return {
            "argv": sys.argv[1:],
            "versions": installed_versions(),
            "sketches": str(self.sketches),
            "photos": str(self.photos),
            "model": photo_header.provenance.get("model"),
            "weights": photo_header.provenance.get("weights"),
            "origins": [_read_origin(self.queries), _read_origin(self.gallery)],
            "folder": str(Path.cwd()),
            **picture_folders(query_header, photo_header),
            "inputs": [query_header.run_key, photo_header.run_key],
            **self.options.to_dict(),
        }

    def open_writer(self, path: Path, key: str, rows: slice, provenance: dict[str, Any]) -> RankingWriter:
        """The writer of the ranking for the sketches `rows`."""
        items = self.queries.items
        if rows != slice(0, len(items)):
            items = items.take(np.r_[rows])
        return RankingWriter(path, key, provenance, items, self.gallery.items, self.depth)


def _rank_shard(
    job: _RankingJob,
    output: Path,
    key: str,
    model: ModelSpec | None,
    device: str,
    shard: Shard,
    progress: Progress,
) -> RankResult:
    """Rank for a share of the sketches, or all of them, and merge the shards if this one finishes last."""
    n_queries, n_photos = len(job.queries.items), len(job.gallery.items)
    step = queries_per_block(job.options, n_photos, _prepared_bytes(job.gallery))
    rows = shard.rows(n_queries, step)
    path, shard_key = shard.path(output), shard.key(key)
    is_due = rows.start < rows.stop and not is_up_to_date(path, "ranking", shard_key)
    if is_due:
        n_written = rows.stop - rows.start
        if shard.count > 1:
            n_written += n_queries  # once more when the shards are merged
        _check_disk_space(path, n_written * job.depth * ENTRY_BYTES)
        scorer = None
        if job.options.ranker.uses_relation:
            scorer = load_scorer(job.queries, job.gallery, model, device, job.options.precision)
        logger.info(f"ranking {n_photos} photos for {rows.stop - rows.start} sketches by {job.options.by}")
        _write_ranking(job, scorer, rows, step, path, shard_key, progress)

    def open_merged(shard_path: Path) -> RankingWriter:
        with open_store(shard_path, "ranking") as file:
            provenance = read_header(file, shard_path).provenance
        return job.open_writer(output, key, slice(0, n_queries), provenance)

    is_merged = merge_shards(shard, output, "ranking", key, n_queries, step, open_merged)
    return RankResult(output if is_merged else path, fresh=is_due or (is_merged and shard.count > 1))


def _write_ranking(
    job: _RankingJob,
    scorer: PairScorer | None,
    rows: slice,
    step: int,
    path: Path,
    key: str,
    progress: Progress,
) -> None:
    """Write the ranking for the sketches `rows`, or the rest of it, `step` sketches at a time."""
    n_photos = len(job.gallery.items)
    ranker = job.options.ranker(job.queries, job.gallery, job.options, scorer)
    progress.start((rows.stop - rows.start) * n_photos)
    with job.open_writer(path, key, rows, job.provenance() | ranker.provenance) as store:
        progress(store.rows * n_photos)
        starts = range(rows.start + store.rows, rows.stop, step)
        blocks = [slice(start, min(start + step, rows.stop)) for start in starts]
        rank_block = partial(ranker.rank, advance=progress)
        n_threads = min(MAX_THREADS, count_cores())
        ranked = map_in_order(rank_block, blocks, n_threads) if ranker.is_thread_safe else map(rank_block, blocks)
        for block, (photos, scores) in zip(blocks, ranked, strict=True):
            store.write(block.start - rows.start, photos[:, : job.depth], scores[:, : job.depth])
        store.finish()
    for message in ranker.notes():
        logger.log(NOTICE, message)


def ranking_key(sketches: Header, photos: Header, options: MatchOptions) -> str:
    """Run key of a ranking."""
    return run_key(stage="ranking", sketches=sketches.run_key, photos=photos.run_key, **options.key_values())


def is_ranked(sketches: Path, photos: Path, output: Path, options: MatchOptions) -> bool:
    """Whether `output` already holds the ranking of these two stores."""
    with open_features(sketches) as queries, open_features(photos) as gallery:
        return is_up_to_date(output, "ranking", ranking_key(queries.header, gallery.header, options))


def _update_locations(ranking: Path, recorded: dict[str, Any], sketches: Header, photos: Header) -> None:
    """Record in a finished ranking where its pictures and its model are now: they may have moved since.

    Args:
        recorded: the provenance of the ranking.
    """
    current: dict[str, Any] = picture_folders(sketches, photos)
    has_moved = any(current["roots"]) and recorded.get("roots") != current["roots"]
    model = photos.provenance.get("model")
    is_model_gone = (
        model != recorded.get("model") and recorded.get("weights") and not is_available(recorded.get("model"))
    )
    if is_model_gone:
        current["model"] = model
    elif not has_moved:
        return
    update_provenance(ranking, "ranking", **current)
    folders = ", ".join(dict.fromkeys(current["roots"]))
    logger.info(f"{ranking}: its pictures are below {folders}, its model is {model}")


def _check_disk_space(path: Path, size: int) -> None:
    """ZseError where the disk has no room for a ranking of `size` bytes, less what a partial file already holds."""
    partial_file = partial_path(path)
    if partial_file.exists():
        size -= partial_file.stat().st_size
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ZseError(
            f"{path}: the ranking takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            "give another place with -o or --workspace, or keep fewer photos of a query with --depth",
        )


def _prepared_bytes(gallery: Features) -> int:
    """Size of a picture prepared for the relation network: tokens, q, k and v in float32."""
    if not gallery.has_tokens:
        return 0
    return int(4 * 4 * np.prod(gallery.file["tokens"].shape[1:]))


def _read_origin(features: Features) -> dict[str, str]:
    """The data set and split of a store, as far as it records them."""
    recorded = features.header.provenance
    return {name: recorded[name] for name in ORIGIN if name in recorded}
