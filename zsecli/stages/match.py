"""The stage `match`: two feature stores, or a data set's one -> a ranking store."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from zsecli.data.splits import Split
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.compatible_stores import no_relation_network
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rank import is_ranked, rank_features
from zsecli.runtime.shards import WHOLE
from zsecli.stages.defaults import (
    DEFAULT_WORKSPACE,
    Compute,
    ProgressBars,
    choose_model,
    no_progress,
)
from zsecli.stages.embed import Embedding, embed_dataset
from zsecli.stages.find_dataset import find_dataset
from zsecli.stages.guards import reject_inputs
from zsecli.store.features import open_features
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class MatchRequest:
    """Which photos to rank for which sketches. Without `sketches` it is what a split of a data set needs."""

    sketches: Path | None = None
    """Feature store with the sketches."""
    photos: Path | None = None
    """Feature store with the photos; None: the same as `sketches`."""
    data: str | None = None
    """A prepared data set, by its name; None: the one prepared last."""
    split: str = "zs-inter"
    model: ModelSpec | None = None
    """The network; None: the one that made the stores, or the default one for a data set."""
    by: str | None = None
    """Scoring rule (`zsecli.vocabulary.SCORING_RULES`); None: a cascade if the model has a relation network."""
    shortlist: int = 100
    """Photos per query that a cascade re-ranks."""
    ignore_same: str | None = None
    """Column in which a pair must differ to be ranked."""
    center: bool = False
    """Subtract each modality's mean [Ret] first."""
    depth: int = 0
    """Photos to keep per query; 0: all."""
    ann: bool = False
    """Find the shortlist approximately, and keep no other photo."""
    compute: Compute = field(default_factory=Compute)
    output: Path | None = None
    """The ranking store; None: in the workspace."""
    overwrite: bool = False
    """Replace another ranking in `output`."""
    dry_run: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class MatchResult:
    """The ranking store, or after a dry run what would be done."""

    path: Path
    fresh: bool = False
    """Whether anything had to be computed."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(picture, reason) of those of the data set that have no features."""
    plan: list[str] = field(default_factory=list)
    """What a dry run found still to do."""


def run(request: MatchRequest, *, progress: ProgressBars = no_progress) -> MatchResult:
    """Rank photos for sketches; nothing is computed where the output holds just that ranking.

    Raises:
        StoreError: the stores were made by different models, or without what the scoring rule needs.
        DryRunEnded: a dry run of a data set that is not prepared.
    """
    reject_inputs(request.output, request.protected)  # feature stores are of another kind, which is never replaced
    if request.sketches is None:
        return rank_dataset(request, progress=progress)
    return rank_stores(request, request.sketches, request.photos or request.sketches, progress=progress)


def default_rule(has_relation: bool) -> str:
    """The scoring rule to use where none is asked for."""
    return "cascade" if has_relation else "ret"


def has_relation_features(store: Path) -> bool:
    """Whether a feature store has the tokens of a model with a relation network."""
    with open_features(store) as features:
        return features.has_tokens and bool(features.header.provenance.get("relation"))


def rank_stores(
    request: MatchRequest, sketches: Path, photos: Path, *, progress: ProgressBars = no_progress
) -> MatchResult:
    """Rank the photos of one feature store for the sketches of another, or of the same one."""
    options = match_options(request, request.by or default_rule(has_relation_features(sketches)))
    target = request.output or Workspace(request.workspace).ranking(sketches, photos, options.tag)
    if request.dry_run:
        is_done = sketches.is_file() and photos.is_file() and is_ranked(sketches, photos, target, options)
        state = "up to date" if is_done else "to rank"
        plan = f"{state}: {photos} for {sketches} by {options.by}, into {target}"
        return MatchResult(path=target, plan=[plan])
    with progress("pairs") as bar:
        result = rank_features(
            sketches,
            photos,
            target,
            options,
            model=request.model,
            device=request.compute.device,
            overwrite=request.overwrite or request.output is None,
            shard=request.compute.shard,
            progress=bar,
        )
    if not result.fresh:
        logger.info(f"up to date: {result.path}")
    return MatchResult(path=result.path, fresh=result.fresh)


def rank_dataset(request: MatchRequest, *, progress: ProgressBars = no_progress) -> MatchResult:
    """Make the ranking that a split of a prepared data set needs; its pictures are embedded first if need be."""
    workspace = Workspace(request.workspace)
    model = request.model or choose_model(workspace, None)
    by = request.by or default_rule(model.has_relation)
    options = match_options(request, by)  # checked before anything is embedded
    if options.ranker.uses_relation and not model.has_relation:
        raise no_relation_network(model.text)
    compute = request.compute
    is_separate_shard = compute.shard.count > 1 and not compute.shard.together
    if is_separate_shard:  # a ranking needs all features
        compute = dataclasses.replace(compute, shard=WHOLE)
    embedding = Embedding(
        workspace=workspace,
        model=model,
        compute=compute,
        overwrite=True,
        dry_run=request.dry_run,
        may_compute=not is_separate_shard,
        progress=progress,
    )
    store = find_dataset(workspace, request.data, request.dry_run)
    features = embed_dataset(embedding, store, Split.parse(request.split))
    request = dataclasses.replace(request, model=model, by=by)
    ranking = rank_stores(request, features.path, features.path, progress=progress)
    return dataclasses.replace(ranking, skipped=features.skipped, plan=features.plan + ranking.plan)


def match_options(request: MatchRequest, by: str) -> MatchOptions:
    """The options of the ranking itself; UsageError where they contradict each other."""
    return MatchOptions(
        by=by,
        shortlist=request.shortlist,
        ignore_same=request.ignore_same,
        center=request.center,
        depth=request.depth,
        precision=cast(Precision, request.compute.precision),
        ann=request.ann,
    )
