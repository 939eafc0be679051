"""Two feature stores -> a ranking store."""

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
from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec, is_there
from zsecli.retrieval.match_options import MatchOptions, queries_per_block
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.files import partial_path
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.runtime.log_levels import NOTICE
from zsecli.runtime.parallel import count_cores, map_in_order
from zsecli.runtime.shards import WHOLE, Shard
from zsecli.store.features import Features, open_features
from zsecli.store.hdf5 import is_up_to_date, open_store, read_current_header, read_header
from zsecli.store.ranking import RankingWriter
from zsecli.store.remake_commands import remake_features
from zsecli.store.shards import merge_shards, remove_shards
from zsecli.store.writer import check_target, update_provenance

logger = logging.getLogger(__name__)

THREADS = 8  # that rank by [Ret], at most: each holds a block
CENTRE_FROM = 10  # a mean over fewer pictures says more about them than about their modality


@dataclass(frozen=True)
class RankResult:
    path: Path
    fresh: bool


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

    The two may be one file. Nothing is computed where `output` holds just that already.

    Args:
        model: the network, for relation scores; None: where the stores say it lies.
        shard: the share of the sketches to rank for; the last one to be done puts the shards together in `output`.
        progress: told the number of pairs, and of those just ranked.

    Raises:
        StoreError: the stores were made by different models, or without what `options.by` needs.
    """
    with contextlib.ExitStack() as stores:
        all_sketches = stores.enter_context(open_features(sketches))
        all_photos = all_sketches if photos == sketches else stores.enter_context(open_features(photos))
        queries, gallery = _of(all_sketches, SKETCH, "sketch"), _of(all_photos, PHOTO, "photo")
        _check(queries, gallery, options, model)
        if sketches != photos:
            _warn_of_others(all_sketches, queries, "sketches")
            _warn_of_others(all_photos, gallery, "photos")
        key = ranking_key(queries.header, gallery.header, options)
        header = read_current_header(output, "ranking", key)
        if header is not None:
            remove_shards(shard, output, "ranking", key)
            if shard.is_main:
                _keep_roots(output, header.provenance, queries.header, gallery.header)
            return RankResult(output, False)
        check_target(output, "ranking", overwrite)
        job = _Job(sketches, photos, queries, gallery, options)
        step = queries_per_block(options, len(gallery.items), _prepared_bytes(gallery))
        count = len(queries.items)
        rows, path, own = shard.rows(count, step), shard.path(output), shard.key(key)
        due = rows.start < rows.stop and not is_up_to_date(path, "ranking", own)
        if due:
            joined = count if shard.count > 1 else 0  # written once more, when the shards are put together
            _check_room(path, (rows.stop - rows.start + joined) * job.depth * 8)
            scorer = None
            if options.ranker.uses_relation:
                scorer = _scorer(queries, gallery, model, device, options.precision)
            logger.info(f"ranking {len(gallery.items)} photos for {rows.stop - rows.start} sketches by {options.by}")
            _rank(job, scorer, rows, step, path, own, progress)

        def begin(one: Path) -> RankingWriter:
            with open_store(one, "ranking") as like:
                return job.writer(output, key, slice(0, count), read_header(like, one).provenance)

        whole = merge_shards(shard, output, "ranking", key, count, step, begin)
    return RankResult(output if whole else path, due or (whole and shard.count > 1))


@dataclass(frozen=True)
class _Job:
    """What is ranked, and what is said of it in the store."""

    sketches: Path
    photos: Path
    queries: Features
    gallery: Features
    options: MatchOptions

    @property
    def depth(self) -> int:
        """Photos kept of a query."""
        most = min(self.options.shortlist if self.options.ann else len(self.gallery.items), len(self.gallery.items))
        return min(self.options.depth or most, most)

    @property
    def provenance(self) -> dict[str, Any]:
        ours, theirs = self.queries.header, self.gallery.header
        return {
            "argv": sys.argv[1:],
            "versions": installed_versions(),
            "sketches": str(self.sketches),
            "photos": str(self.photos),
            "model": theirs.provenance.get("model"),
            "weights": theirs.provenance.get("weights"),
            "origins": [_origin(self.queries), _origin(self.gallery)],
            "folder": str(Path.cwd()),
            **_places(ours, theirs),
            "inputs": [ours.run_key, theirs.run_key],
            **self.options.to_dict(),
        }

    def writer(self, path: Path, key: str, rows: slice, provenance: dict[str, Any]) -> RankingWriter:
        """Of the ranking for the sketches `rows`."""
        items = self.queries.items
        some = items if rows == slice(0, len(items)) else items.take(np.r_[rows])
        return RankingWriter(path, key, provenance, some, self.gallery.items, self.depth)


def _rank(job: _Job, scorer: Any, rows: slice, step: int, path: Path, key: str, progress: Progress) -> None:
    """Write the ranking for the sketches `rows`, `step` of them together, or the rest of it."""
    options, photos = job.options, len(job.gallery.items)
    ranker = options.ranker(job.queries, job.gallery, options, scorer)
    progress.start((rows.stop - rows.start) * photos)
    with job.writer(path, key, rows, job.provenance | ranker.provenance) as store:
        progress(store.rows * photos)
        starts = range(rows.start + store.rows, rows.stop, step)
        blocks = [slice(start, min(start + step, rows.stop)) for start in starts]
        rank = partial(ranker.rank, advance=progress)
        ranked = map_in_order(rank, blocks, min(THREADS, count_cores())) if ranker.is_thread_safe else map(rank, blocks)
        for block, (indices, scores) in zip(blocks, ranked, strict=True):
            store.write(block.start - rows.start, indices[:, : job.depth], scores[:, : job.depth])
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


def _places(*stores: Header) -> dict[str, list[str]]:
    """The folders of the sketches and of the photos, and the data sets that list them, as the feature stores say."""
    said = [store.provenance for store in stores]
    return {"roots": [one.get("root", "") for one in said], "datasets": [one.get("dataset", "") for one in said]}


def _keep_roots(ranking: Path, provenance: dict[str, Any], *stores: Header) -> None:
    """Let a finished ranking say where its pictures and its model are now: they may have moved since."""
    now: dict[str, Any] = _places(*stores)
    moved = any(now["roots"]) and provenance.get("roots") != now["roots"]
    model = stores[-1].provenance.get("model")
    if model != provenance.get("model") and provenance.get("weights") and not is_there(provenance.get("model")):
        now["model"] = model
    elif not moved:
        return
    update_provenance(ranking, "ranking", **now)
    logger.info(f"{ranking}: its pictures are below {', '.join(dict.fromkeys(now['roots']))}, its model is {model}")


def _check_room(path: Path, size: int) -> None:
    """ZseError where the disk has no room for a ranking of so many bytes, less what is there of it."""
    partial, folder = partial_path(path), next(p for p in path.absolute().parents if p.is_dir())
    size -= partial.stat().st_size if partial.exists() else 0
    free = shutil.disk_usage(folder).free
    if size > free:
        raise ZseError(
            f"{path}: the ranking takes {size / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free",
            "give another place with -o or --workspace, or keep fewer photos of a query with --depth",
        )


def _prepared_bytes(gallery: Features) -> int:
    """Of a picture prepared for the relation network, in float32."""
    return int(4 * 4 * np.prod(gallery.file["tokens"].shape[1:])) if gallery.has_tokens else 0


def _of(features: Features, modality: int, name: str) -> Features:
    chosen = features.take(features.items.modality == modality)
    if not len(chosen.items):
        raise StoreError(f"{features.path}: holds no {name}", f"zse embed --modality {name} says what the pictures are")
    return chosen


def _origin(features: Features) -> dict[str, str]:
    """What the store says of where its pictures come from, as far as it does."""
    return {name: features.header.provenance[name] for name in ORIGIN if name in features.header.provenance}


def no_relation_network(model: str) -> StoreError:
    return StoreError(f"{model} has no relation network", "rank with --by ret")


def _warn_of_others(features: Features, chosen: Features, name: str) -> None:
    """Single pictures of the other modality in a store that was given for one: perhaps they were mistaken for it."""
    others = len(features.items) - len(chosen.items)
    if others and features.header.provenance.get("source") == "pictures":
        logger.warning(
            f"{features.path}: {others} of its {len(features.items)} pictures are no {name} and take no part"
        )


def _check(queries: Features, gallery: Features, options: MatchOptions, model: ModelSpec | None) -> None:
    ours, theirs = queries.header.provenance, gallery.header.provenance
    same = (
        all(ours.get(k) == theirs.get(k) for k in ("weights", "preprocess"))
        and queries.width == gallery.width
        and queries.token_width == gallery.token_width
    )
    if not same or (not ours.get("weights") and ours.get("model") != theirs.get("model")):
        what = f"{queries.path} and {gallery.path} were made by different models"
        if ours.get("model") == theirs.get("model"):
            hint = remake_features(queries.path, gallery.path)
            raise StoreError(f"{what}: {ours.get('model')} changed in between", hint)
        raise StoreError(what, f"embed both with the same --model (now {ours.get('model')} and {theirs.get('model')})")
    if model is not None and (model.weights_hash() or model.text) != (theirs.get("weights") or theirs.get("model")):
        raise StoreError(
            f"{model.text}: is not the model that made {gallery.path}",
            "leave --model out: the stores name theirs; or embed again with this one",
        )
    if options.ranker.uses_relation and not (queries.has_tokens and gallery.has_tokens and ours.get("relation")):
        raise no_relation_network(str(ours.get("model")))
    if options.center and min(len(queries.items), len(gallery.items)) < CENTRE_FROM:
        raise UsageError(
            f"--center needs the means of at least {CENTRE_FROM} sketches and {CENTRE_FROM} photos",
            "leave it out for a single picture",
        )


def _scorer(queries: Features, gallery: Features, model: ModelSpec | None, device: str, precision: Precision) -> Any:
    """The relation network that made the features."""
    from zsecli.model.checkpoint import load_scoring
    from zsecli.model.embedders.base import compute_in_full_float32, dtype_of, resolve_device
    from zsecli.retrieval.relation_scores import RelationScorer

    made_by = gallery.header.provenance
    spec = model or ModelSpec.recorded(made_by.get("model"), gallery.path)
    if not spec.has_relation:  # whatever the store says
        raise no_relation_network(spec.text)
    if spec.weights_hash() != made_by.get("weights"):
        hint = remake_features(queries.path, gallery.path)
        raise StoreError(f"{spec.text}: is no longer the model that made {gallery.path}", hint)
    on = resolve_device(device)
    compute_in_full_float32()
    assert spec.file is not None
    network = load_scoring(spec.file).to(on)
    network.lower(dtype_of(precision, on))
    return RelationScorer(network, on, queries, gallery)
