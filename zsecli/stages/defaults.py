"""The stages strung together: each finds its input in the workspace, or has it made first."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import numpy as np
import typer

from zsecli.data.dataset import Dataset
from zsecli.data.folder_walk import workspace_folders
from zsecli.data.hashing import ChangedPicture, find_changed_files
from zsecli.data.items import PARTS, PHOTO, SEEN, Items
from zsecli.data.picture_list import PictureSearch, make_items
from zsecli.data.sources import folder
from zsecli.data.sources import split_files as lists
from zsecli.data.sources.base import BenchmarkOptions
from zsecli.data.sources.demo import demo_folder
from zsecli.data.sources.registry import SOURCES, find_root
from zsecli.data.splits import Split, select_pictures
from zsecli.errors import UsageError, ZseError
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec
from zsecli.retrieval import extract, rank
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.picture_reader import changed
from zsecli.runtime import console
from zsecli.runtime.distributed import get_launch
from zsecli.runtime.shards import WHOLE, Shard
from zsecli.stages import prepare as prepare_stage
from zsecli.store.dataset import read_dataset
from zsecli.store.features import open_features
from zsecli.store.hdf5 import is_up_to_date
from zsecli.store.remake_commands import NEW_FOLDER, remake_dataset
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Compute:
    """How work is done; none of it changes what a stage means.

    batch_size: None as suits the device. shard: this process's share. embeds: whether features
    that are missing may be made.
    """

    device: str = "auto"
    batch_size: int | None = None
    workers: int = 0
    precision: str = "fp32"
    shard: Shard = WHOLE
    dry_run: bool = False
    embeds: bool = True

    def of(self, spec: ModelSpec) -> Precision:
        """The precision of a model: a baseline that is no network has but one."""
        return cast(Precision, self.precision) if spec.is_network else "fp32"

    def tag(self, spec: ModelSpec) -> str:
        """What the name of a model's features says of how they were made."""
        return "-".join([spec.tag()] + [self.precision] * (self.of(spec) != "fp32"))


@dataclass(frozen=True)
class SourceOptions:
    """What `prepare` is told: the source and its folder or manifest, and how to read it."""

    source: str
    place: Path
    lists: Path | None = None
    drop: tuple[str, ...] = ()
    variant: str | None = None
    originals: bool = False
    rule: str = "auto"
    where: dict[str, str] = field(default_factory=dict)
    columns: dict[str, str] = field(default_factory=dict)
    unseen: list[str] | None = None


def prepare(
    how: SourceOptions, name: str, target: Path, overwrite: bool, workspace: Path, anew: bool = False
) -> prepare_stage.Prepared:
    """The dataset store of a source; warnings say what a reader of its numbers must know.

    Args:
        workspace: its root: what zse wrote there is no picture of the source.
        anew: read every picture, also those whose size and time are as they were.
    """
    benchmark = how.source if how.source in SOURCES else ""
    if benchmark:
        listing = SOURCES[benchmark].read(how.place, BenchmarkOptions(how.variant, not how.originals))
        if how.lists is not None:
            listing = lists.apply_lists(listing, how.lists)
    else:
        listing = folder.read(
            how.place,
            rule=how.rule,
            where=how.where,
            columns=how.columns,
            unseen=how.unseen,
            excluded=workspace_folders(workspace),
        )
    for warning in listing.warnings:
        logger.warning(warning)
    settings = {
        "source": str(how.place.resolve()),
        "lists": str(how.lists.resolve()) if how.lists else None,
        "variant": how.variant,
        "originals": how.originals,
        "instance_rule": how.rule,
        "where": how.where,
        "columns": how.columns,
        "unseen": how.unseen,
    }
    with console.show_progress("reading") as progress:
        prepared = prepare_stage.prepare_listing(
            listing,
            target,
            name,
            benchmark=benchmark,
            drop=how.drop,
            settings=settings,
            overwrite=overwrite,
            anew=anew,
            progress=progress,
        )
    listing.passed.report()
    return prepared


@contextlib.contextmanager
def listed_pictures(dataset: Dataset) -> Iterator[None]:
    """A picture of `dataset` that is gone or changed is an error with the command that lists the pictures anew."""
    try:
        yield
    except ChangedPicture as error:
        command = remake_dataset(dataset)
        if Path(dataset.root).is_dir():
            raise ChangedPicture(error.message, f"{error.hint.partition(' (')[0]}: {command}") from error
        raise ChangedPicture(
            f"{dataset.root}: is gone, the folder of the pictures of {dataset.name!r}",
            f"{command} says where they are now, with that folder for {NEW_FOLDER}",
        ) from error


def model_of(workspace: Workspace, text: str | None) -> ModelSpec:
    """The model that was asked for, else the workspace's newest trained checkpoint, else the shipped one."""
    if text is not None:
        return ModelSpec.parse(text)
    newest = workspace.newest_checkpoint()
    logger.info(f"model: {newest or 'small, the shipped one'}")
    return ModelSpec.parse("small" if newest is None else str(newest))


def dataset_of(workspace: Workspace, name: str | None, dry_run: bool = False) -> Path:
    """The dataset store called `name`, prepared first where it is a benchmark that lies in its usual place.

    Raises:
        typer.Exit: a dry run, which cannot know more before that is prepared.
    """
    if name in (*SOURCES, "demo") and not workspace.dataset(name).is_file():
        place = find_root(name, None) if name in SOURCES else demo_folder() / "manifest.csv"
        if get_launch().world > 1:  # all of its processes would
            raise ZseError(f"{name} is not prepared", f"zse prepare {name}, and then this again")
        if dry_run:
            console.print_plan(f"to prepare {name} from {place}; the rest depends on what it holds")
            raise typer.Exit
        logger.info(f"preparing {name}")
        return prepare(SourceOptions(name, place), name, workspace.dataset(name), True, workspace.root).path
    return workspace.find_dataset(name)


def trained_classes(workspace: Workspace, text: str, dry_run: bool = False) -> set[str]:
    """The classes that training on a prepared data set, `NAME` or `NAME:PARTITION`, sees.

    Raises:
        ZseError: it has none.
    """
    name, _, partition = text.partition(":")
    dataset = read_dataset(dataset_of(workspace, name, dry_run))
    labels = dataset.items.label
    seen = {labels.names[c] for c in np.unique(labels.codes[dataset.parts(partition) == SEEN]) if c >= 0}
    if not seen:
        raise ZseError(
            f"--train-data {text}: has no seen class, so nothing can have been trained on it",
            "zse prepare folder --unseen FILE, or a manifest with the column split, says what training sees",
        )
    return seen


def seen_by(models: list[ModelSpec]) -> set[str]:
    """The classes that the training of these models saw, as far as their checkpoints say so."""
    from zsecli.model.checkpoint import seen_classes

    files = [m.file for m in models if m.kind == "checkpoint" and m.file is not None]
    return {name for file in files for name in seen_classes(file)}


def embed_pictures(
    workspace: Workspace,
    pictures: PictureSearch,
    spec: ModelSpec,
    modality: str,
    compute: Compute,
    output: Path | None,
    overwrite: bool,
) -> extract.ExtractResult:
    """Features of pictures given one by one."""
    with console.show_progress("reading") as progress:
        items, bad = make_items(pictures, modality, progress)
    pictures.passed.report()
    target = output or workspace.features(
        f"pictures-{extract.features_key(items, spec, compute.of(spec))[:12]}", compute.tag(spec), "all"
    )
    if modality == "auto":
        kinds = np.bincount(items.modality, minlength=2)
        logger.info(f"sketches: {kinds[0]}, photos: {kinds[1]}, by their looks (--modality says otherwise)")
    result = _embed(items, Path(), spec, target, compute, overwrite or output is None, {"source": "pictures"})
    return extract.ExtractResult(result.path, result.fresh, bad + result.skipped, pictures.passed.counts)


def embed_dataset(
    workspace: Workspace,
    store: Path,
    spec: ModelSpec,
    part: str | Split,
    compute: Compute,
    output: Path | None = None,
    overwrite: bool = True,
) -> extract.ExtractResult:
    """Features of a prepared data set's unseen part, seen part, photos, all of it, or what a split needs."""
    dataset = read_dataset(store)
    assert dataset.header is not None
    items, partition, selection = dataset.items, "", part
    if isinstance(part, Split):
        split = part.shorten(dataset.partition)
        items, partition, selection, part = (
            select_pictures(dataset, split),
            split.partition,
            split.selection,
            split.pictures,
        )
    elif part == "photos":
        items = items.take(np.flatnonzero(items.modality == PHOTO))
    elif part != "all":
        items = items.take(np.flatnonzero(items.part == PARTS.index(part)))
    origin = {
        "data": dataset.name,
        "source": dataset.header.run_key,
        "benchmark": f"{dataset.benchmark}-{partition or dataset.partition}" if dataset.benchmark else "",
        "partition": partition,
        "selection": str(selection),
        "dataset": str(store.resolve()),
    }
    if not len(items):
        raise ZseError(f"{store}: has no {part} pictures", "--part all takes every picture")
    logger.info(f"{dataset.name}: {len(items)} of {len(dataset.items)} pictures ({part})")
    target = output or workspace.features(dataset.name, compute.tag(spec), part)
    with listed_pictures(dataset):
        if different := find_changed_files(dataset.root, dataset.stamps(items.id)):
            raise changed(dataset.root / different[0])
        return _embed(items, dataset.root, spec, target, compute, overwrite or output is None, origin)


def embed_items(
    workspace: Workspace, name: str, items: Items, root: Path, spec: ModelSpec, compute: Compute
) -> extract.ExtractResult:
    """Features of photos `root`/id that are no prepared data set, under `name` in the workspace."""
    target = workspace.features(name, compute.tag(spec), "photos")
    return _embed(items, root, spec, target, compute, True, {"data": name})


def _embed(
    items: Items,
    root: Path,
    spec: ModelSpec,
    target: Path,
    compute: Compute,
    overwrite: bool,
    origin: dict[str, str],
) -> extract.ExtractResult:
    if compute.dry_run:
        key = extract.features_key(items, spec, compute.of(spec))
        state = "up to date" if is_up_to_date(target, "features", key) else "to embed"
        console.print_plan(f"{state}: {len(items)} pictures below {root.resolve()} with {spec.text}, into {target}")
        return extract.ExtractResult(target, False, [])
    if not compute.embeds and not is_up_to_date(
        target, "features", extract.features_key(items, spec, compute.of(spec))
    ):
        raise UsageError(
            "--shard of a ranking needs the features of all pictures", "zse embed makes them, by --shard too"
        )
    with console.show_progress("embedding") as progress:
        result = extract.extract_features(
            items,
            root,
            spec,
            target,
            origin=origin,
            device=compute.device,
            batch_size=compute.batch_size,
            workers=compute.workers,
            precision=compute.of(spec),
            overwrite=overwrite,
            shard=compute.shard,
            progress=progress,
        )
    if not result.fresh:
        logger.info(f"up to date: {result.path}")
    return result


def can_relate(features: Path) -> bool:
    """Whether a feature store has what a relation network scores."""
    with open_features(features) as opened:
        return opened.has_tokens and bool(opened.header.provenance.get("relation"))


def match_options(
    by: str | None,
    relation: bool,
    shortlist: int,
    ignore_same: str | None,
    center: bool,
    depth: int,
    precision: str,
    ann: bool,
) -> MatchOptions:
    """The options of `match`; unless asked, a cascade where there is a relation network, else [Ret] alone."""
    return MatchOptions(
        by=by or ("cascade" if relation else "ret"),
        shortlist=shortlist,
        ignore_same=ignore_same,
        center=center,
        depth=depth,
        precision=cast(Precision, precision),
        ann=ann,
    )


def match_stores(
    workspace: Workspace,
    sketches: Path,
    photos: Path,
    options: MatchOptions,
    compute: Compute,
    spec: ModelSpec | None = None,
    output: Path | None = None,
    overwrite: bool = True,
) -> rank.RankResult:
    """The ranking of two feature stores."""
    target = output or workspace.ranking(sketches, photos, options.tag)
    if compute.dry_run:
        done = sketches.is_file() and photos.is_file() and rank.is_ranked(sketches, photos, target, options)
        console.print_plan(
            f"{'up to date' if done else 'to rank'}: {photos} for {sketches} by {options.by}, into {target}"
        )
        return rank.RankResult(target, False)
    with console.show_progress("pairs") as progress:
        result = rank.rank_features(
            sketches,
            photos,
            target,
            options,
            model=spec,
            device=compute.device,
            overwrite=overwrite or output is None,
            shard=compute.shard,
            progress=progress,
        )
    if not result.fresh:
        logger.info(f"up to date: {result.path}")
    return result


def rank_dataset(
    workspace: Workspace,
    data: str | None,
    spec: ModelSpec,
    options: MatchOptions,
    compute: Compute,
    output: Path | None = None,
    overwrite: bool = True,
    split: str = "zs-inter",
) -> tuple[rank.RankResult, list[tuple[str, str]]]:
    """The ranking that a split of a prepared data set needs, embedding its pictures first where that is still to do."""
    if options.ranker.uses_relation and not spec.has_relation:
        raise rank.no_relation_network(spec.text)
    shared = compute.shard.count > 1 and not compute.shard.together
    alone = replace(compute, shard=WHOLE, embeds=False) if shared else compute  # a ranking needs all features
    features = embed_dataset(workspace, dataset_of(workspace, data, compute.dry_run), spec, Split.parse(split), alone)
    ranking = match_stores(workspace, features.path, features.path, options, compute, spec, output, overwrite)
    return ranking, features.skipped
