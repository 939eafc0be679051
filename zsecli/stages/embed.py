"""The stage `embed`: pictures -> a feature store."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zsecli.data.dataset import Dataset
from zsecli.data.folder_walk import workspace_folders
from zsecli.data.hashing import find_changed_files
from zsecli.data.items import PARTS, PHOTO, Items
from zsecli.data.picture_list import PictureSearch, find_pictures, make_items
from zsecli.data.splits import Split, select_pictures
from zsecli.errors import UsageError, ZseError
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.extract import ExtractResult, extract_features, features_key
from zsecli.retrieval.picture_reader import changed
from zsecli.stages.defaults import (
    DEFAULT_WORKSPACE,
    Compute,
    ProgressBars,
    choose_model,
    explain_changed_pictures,
    no_progress,
)
from zsecli.stages.find_dataset import find_dataset
from zsecli.stages.guards import reject_inputs
from zsecli.store.dataset import read_dataset
from zsecli.store.hdf5 import is_up_to_date
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EmbedRequest:
    """Which pictures to embed, with which model. Pictures, a dataset store, or a data set by name."""

    pictures: Sequence[Path] | None = None
    """Pictures, and folders that are searched for pictures; None: a data set."""
    listed: Sequence[Path] = ()
    """Those of `pictures` that a list names, of which files of the operating system are passed over."""
    dataset: Path | None = None
    """A dataset store."""
    data: str | None = None
    """A prepared data set, by its name; None: the one prepared last."""
    part: str = "unseen"
    """Which part of the data set: unseen, seen, photos, or all."""
    split: str | None = None
    """Embed what this split needs, rather than a part."""
    modality: str = "auto"
    """What `pictures` are: sketch, photo, or auto to look at each."""
    model: ModelSpec | None = None
    """None: the workspace's newest checkpoint, else the shipped network."""
    compute: Compute = field(default_factory=Compute)
    output: Path | None = None
    """The feature store; None: in the workspace."""
    overwrite: bool = False
    """Replace other features in `output`."""
    dry_run: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """The feature store, or after a dry run what would be done."""

    path: Path
    fresh: bool = False
    """Whether anything had to be computed."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(picture, reason) of those that have no features."""
    passed_over: dict[str, int] = field(default_factory=dict)
    """Reason -> number of files and folders that were not taken for pictures."""
    plan: list[str] = field(default_factory=list)
    """What a dry run found still to do."""


def run(request: EmbedRequest, *, progress: ProgressBars = no_progress) -> EmbedResult:
    """Embed pictures; nothing is computed where the output holds just these features.

    Raises:
        ZseError: no picture can be used. StoreError: the model or the dataset store cannot be used.
        DryRunEnded: a dry run of a data set that is not prepared.
    """
    workspace = Workspace(request.workspace)
    reject_inputs(request.output, request.protected)  # pictures and dataset stores are of another kind
    embedding = Embedding(
        workspace=workspace,
        model=request.model or choose_model(workspace, None),
        compute=request.compute,
        output=request.output,
        overwrite=request.overwrite,
        dry_run=request.dry_run,
        progress=progress,
    )
    if request.pictures is not None:
        found = find_pictures(request.pictures, request.listed, workspace_folders(workspace.root))
        return embed_pictures(embedding, found, request.modality)
    store = request.dataset or find_dataset(workspace, request.data, request.dry_run)
    if request.split is not None:
        return embed_dataset(embedding, store, Split.parse(request.split))
    return embed_dataset(embedding, store, request.part)


@dataclass(frozen=True, kw_only=True)
class Embedding:
    """How to embed, whatever the pictures are."""

    workspace: Workspace
    model: ModelSpec
    compute: Compute = field(default_factory=Compute)
    output: Path | None = None
    """None: in the workspace, where the name tells contents apart."""
    overwrite: bool = False
    dry_run: bool = False
    may_compute: bool = True
    """Whether features that are missing may be made."""
    progress: ProgressBars = no_progress


def embed_pictures(embedding: Embedding, pictures: PictureSearch, modality: str) -> EmbedResult:
    """Embed pictures that are given one by one."""
    spec, compute = embedding.model, embedding.compute
    with embedding.progress("reading") as bar:
        items, unreadable = make_items(pictures, modality, bar)
    pictures.passed.report()
    key = features_key(items, spec, compute.precision_for(spec))
    default = embedding.workspace.features(f"pictures-{key[:12]}", compute.tag_for(spec), "all")
    if modality == "auto":
        sketches, photos = np.bincount(items.modality, minlength=2)
        logger.info(f"sketches: {sketches}, photos: {photos}, by their looks (--modality says otherwise)")
    result = _embed_items(embedding, items, Path(), default, {"source": "pictures"})
    return dataclasses.replace(result, skipped=unreadable + result.skipped, passed_over=pictures.passed.counts)


def embed_dataset(embedding: Embedding, store: Path, part: str | Split) -> EmbedResult:
    """Embed a prepared data set: its unseen part, its seen part, its photos, all of it, or what a split needs."""
    dataset = read_dataset(store)
    assert dataset.header is not None
    partition, selection = "", str(part)
    if isinstance(part, Split):
        split = part.shorten(dataset.partition)
        items, partition, selection, part = (
            select_pictures(dataset, split),
            split.partition,
            split.selection,
            split.pictures,
        )
    else:
        items = _select_part(dataset, part)
    origin = {
        "data": dataset.name,
        "source": dataset.header.run_key,
        "benchmark": f"{dataset.benchmark}-{partition or dataset.partition}" if dataset.benchmark else "",
        "partition": partition,
        "selection": selection,
        "dataset": str(store.resolve()),
    }
    if not len(items):
        raise ZseError(f"{store}: has no {part} pictures", "--part all takes every picture")
    logger.info(f"{dataset.name}: {len(items)} of {len(dataset.items)} pictures ({part})")
    default = embedding.workspace.features(dataset.name, embedding.compute.tag_for(embedding.model), part)
    with explain_changed_pictures(dataset):
        if different := find_changed_files(dataset.root, dataset.stamps(items.id)):
            raise changed(dataset.root / different[0])
        return _embed_items(embedding, items, dataset.root, default, origin)


def embed_photos(embedding: Embedding, name: str, items: Items, root: Path) -> EmbedResult:
    """Embed photos `root`/id that are no prepared data set, under `name` in the workspace."""
    default = embedding.workspace.features(name, embedding.compute.tag_for(embedding.model), "photos")
    return _embed_items(embedding, items, root, default, {"data": name})


def _select_part(dataset: Dataset, part: str) -> Items:
    items = dataset.items
    if part == "all":
        return items
    if part == "photos":
        return items.take(np.flatnonzero(items.modality == PHOTO))
    return items.take(np.flatnonzero(items.part == PARTS.index(part)))


def _embed_items(embedding: Embedding, items: Items, root: Path, default: Path, origin: dict[str, str]) -> EmbedResult:
    """Embed the pictures `root`/id into the output that was asked for, or the store `default` of the workspace."""
    spec, compute = embedding.model, embedding.compute
    target = embedding.output or default
    precision = compute.precision_for(spec)
    if embedding.dry_run:
        is_done = is_up_to_date(target, "features", features_key(items, spec, precision))
        state = "up to date" if is_done else "to embed"
        plan = f"{state}: {len(items)} pictures below {root.resolve()} with {spec.text}, into {target}"
        return EmbedResult(path=target, plan=[plan])
    if not embedding.may_compute and not is_up_to_date(target, "features", features_key(items, spec, precision)):
        raise UsageError(
            "--shard of a ranking needs the features of all pictures", "zse embed makes them, by --shard too"
        )
    with embedding.progress("embedding") as bar:
        result: ExtractResult = extract_features(
            items,
            root,
            spec,
            target,
            origin=origin,
            device=compute.device,
            batch_size=compute.batch_size,
            workers=compute.workers,
            precision=precision,
            overwrite=embedding.overwrite or embedding.output is None,
            shard=compute.shard,
            progress=bar,
        )
    if not result.fresh:
        logger.info(f"up to date: {result.path}")
    return EmbedResult(path=result.path, fresh=result.fresh, skipped=result.skipped)
