"""The stage `evaluate`: rankings -> every metric of a split, with what is drawn and written beside it.

Metrics come from ranking stores alone. A ranking that does not exist yet is made first, by the stages before.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from zsecli.data.items import SEEN
from zsecli.data.splits import Split
from zsecli.errors import UsageError, ZseError
from zsecli.evaluate.compare import compare_rankings
from zsecli.evaluate.evaluate_ranking import evaluate_ranking
from zsecli.evaluate.published import Published, find_published
from zsecli.evaluate.report_model import Evaluation, RankingReport
from zsecli.model.spec import ModelSpec
from zsecli.render import contact_sheet, report, trec
from zsecli.stages import match
from zsecli.stages.defaults import (
    DEFAULT_WORKSPACE,
    Compute,
    ProgressBars,
    choose_model,
    no_progress,
)
from zsecli.stages.find_dataset import find_dataset
from zsecli.stages.guards import pictures_of, reject_inputs
from zsecli.store.dataset import read_dataset
from zsecli.store.ranking import open_ranking
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.evaluate.report_model import ExtraResults

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExplanationTest:
    """How to test the explanations of a ranking (`zsecli.explain.assess`)."""

    pairs: int = 100
    """Pairs to test, at most, evenly spread."""
    aligned: str | None = None
    """Family whose sketches and photos of one object are the same drawing, pixel on pixel."""
    keypoints: Path | None = None
    """CSV file of marked pairs."""
    backbone_weights: Path | None = None
    """The backbone's weights before training, for a control."""


@dataclass(frozen=True, kw_only=True)
class EvaluateRequest:
    """Which rankings to measure, and what to make of the numbers."""

    ranking: Path | None = None
    """Ranking store; None: the ranking of `data` by `model`, which is made first if need be."""
    against: Sequence[Path | ModelSpec] = ()
    """Further rankings, or models whose rankings are made, to compare with the first."""
    split: str = "zs-inter"
    train_data: str | None = None
    """`NAME` or `NAME:PARTITION`: what a model of zs-cross was trained on; None: as its checkpoint says."""
    data: str | None = None
    """A prepared data set, by its name; None: the one prepared last."""
    model: ModelSpec | None = None
    """None: the workspace's newest checkpoint, else the shipped network."""
    by: str | None = None
    """As `MatchRequest.by`, and so are the three below."""
    shortlist: int = 100
    ignore_same: str | None = None
    center: bool = False
    with_published: bool = False
    """Show what papers report on the same split."""
    per_class: bool = False
    """Report every class too."""
    explanations: ExplanationTest | None = None
    """Test the explanations of the first ranking; None: do not."""
    output: Path | None = None
    """Write the report here, in the format of its suffix (`zsecli.vocabulary.REPORT_FORMATS`)."""
    trec: Path | None = None
    """Write TREC run and qrels files of the first ranking into this folder."""
    sheet: Path | None = None
    """Draw a contact sheet of the first ranking here."""
    sheet_queries: int = 12
    sheet_order: str = "spread"
    """Which queries the sheet shows: spread over the classes, or the worst or best of each."""
    overwrite: bool = False
    """Replace `output`, `trec` and `sheet`."""
    seed: int = 0
    """Random seed of tests and intervals."""
    compute: Compute = field(default_factory=Compute)
    dry_run: bool = False
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class EvaluateResult:
    """What was measured, or after a dry run what would be done."""

    evaluation: Evaluation | None = None
    """None after a dry run."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(picture, reason) of those of the data set that have no features."""
    plan: list[str] = field(default_factory=list)
    """What a dry run found still to do."""


def run(request: EvaluateRequest, *, progress: ProgressBars = no_progress) -> EvaluateResult:
    """Measure rankings under a split, and write what is asked for beside the numbers.

    Raises:
        UsageError: options contradict each other, or an output cannot be written.
        StoreError: a ranking cannot be read. ZseError: no query has a relevant photo.
        DryRunEnded: a dry run of a data set that is not prepared.
    """
    split = _parse_split(request)
    _check_outputs(request, request.protected)
    _check_explanations(request.explanations)
    sources = _choose_sources(request)
    trained_classes = _find_trained_classes(request, split, [s for s in sources if isinstance(s, ModelSpec)])
    rankings, skipped, plan = _make_rankings(request, sources, progress)
    if request.dry_run:
        plan.append(f"to evaluate {', '.join(map(str, rankings))} under {split.name}")
        return EvaluateResult(plan=plan, skipped=skipped)
    reports = [evaluate_ranking(ranking, request.split, trained=trained_classes) for ranking in rankings]
    _check_outputs_are_no_inputs(request, rankings, reports[0])
    _check_train_data(request, reports[0])
    evaluation = Evaluation(
        reports=reports,
        published=_find_published(request, split, reports[0]),
        explanations=_test_explanations(request, rankings[0], progress),
        comparisons=compare_rankings(reports, request.seed) if len(reports) > 1 else [],
        seed=request.seed,
    )
    _write_outputs(request, evaluation)
    return EvaluateResult(evaluation=evaluation, skipped=skipped)


def classes_of_training_data(workspace: Workspace, text: str, dry_run: bool = False) -> set[str]:
    """The classes that training on a prepared data set, `NAME` or `NAME:PARTITION`, sees.

    Raises:
        ZseError: it has none. DryRunEnded: a dry run of a data set that is not prepared.
    """
    name, _, partition = text.partition(":")
    dataset = read_dataset(find_dataset(workspace, name, dry_run))
    labels = dataset.items.label
    codes = np.unique(labels.codes[dataset.parts(partition) == SEEN])
    seen = {labels.names[code] for code in codes if code >= 0}
    if not seen:
        raise ZseError(
            f"--train-data {text}: has no seen class, so nothing can have been trained on it",
            "zse prepare folder --unseen FILE, or a manifest with the column split, says what training sees",
        )
    return seen


def classes_of_checkpoints(models: Sequence[ModelSpec]) -> set[str]:
    """The classes that these models saw in training, if their checkpoints say so."""
    from zsecli.model.checkpoint import seen_classes

    seen: set[str] = set()
    for model in models:
        if model.kind == "checkpoint" and model.file is not None:
            seen.update(seen_classes(model.file))
    return seen


def _parse_split(request: EvaluateRequest) -> Split:
    """The split; UsageError where there is none of that name, or the other options do not go with it."""
    split = Split.parse(request.split)
    if split.protocol.startswith("zs-cross"):
        hint = f"zse evaluate --split {request.split} --train-data sketchy --data tuberlin"
        if request.data is None and request.ranking is None:
            raise UsageError(f"--split {request.split} needs --data, the data set to evaluate on", hint)
        if request.train_data is not None and request.data == request.train_data.partition(":")[0]:
            raise UsageError(f"--train-data {request.train_data}: is the data set to evaluate on", hint)
    elif request.train_data is not None:
        raise UsageError(
            f"--train-data has no effect with --split {request.split}", "it is for zs-cross and zs-cross-all"
        )
    return split


def _check_outputs(request: EvaluateRequest, inputs: Sequence[Path]) -> None:
    """Check the names of what is to be written, before anything is computed."""
    if request.output is not None:
        report.check_report_path(request.output)
    if request.sheet is not None:
        contact_sheet.check_sheet_path(request.sheet, request.overwrite)
    for file in (request.output, request.sheet):
        reject_inputs(file, inputs)


def _check_explanations(test: ExplanationTest | None) -> None:
    """Check the files of a test of explanations, before anything is computed."""
    if test is None:
        return
    for flag, file in (("--keypoints", test.keypoints), ("--backbone-weights", test.backbone_weights)):
        if file is not None and not file.is_file():
            raise UsageError(f"{flag} {file}: no such file", "look at its path")
    if test.keypoints is not None:
        from zsecli.explain.keypoints import read_keypoints

        read_keypoints(test.keypoints)


def _choose_sources(request: EvaluateRequest) -> list[Path | ModelSpec]:
    """The rankings to measure, and the models whose rankings are to be made, the first one first."""
    for other in request.against:
        if isinstance(other, Path):
            _check_readable(other)
    if request.ranking is not None:
        models = [other.text for other in request.against if isinstance(other, ModelSpec)]
        if models:
            raise UsageError(f"--against {models[0]}: the ranking is given, so this must be one too", "FILE.h5")
        _check_readable(request.ranking)
        return [request.ranking, *request.against]
    model = request.model or choose_model(Workspace(request.workspace), None)
    if request.explanations is not None and not model.has_relation:
        raise UsageError(f"--explanations: {model.text} has no relation network", "--model small")
    return [model, *request.against]


def _check_readable(ranking: Path) -> None:
    """Raise the error of a ranking that cannot be read, before others are made."""
    with open_ranking(ranking):
        pass


def _find_trained_classes(request: EvaluateRequest, split: Split, models: list[ModelSpec]) -> set[str] | None:
    """The classes that a model of zs-cross saw in training elsewhere; None for other splits."""
    if request.train_data is not None:
        return classes_of_training_data(Workspace(request.workspace), request.train_data, request.dry_run)
    if not split.protocol.startswith("zs-cross"):
        return None
    seen = classes_of_checkpoints(models)
    if not seen:
        hint = f"zse evaluate --split {request.split} --train-data sketchy --data tuberlin"
        raise UsageError(f"--split {request.split} needs --train-data: the model does not say what it saw", hint)
    return seen


def _make_rankings(
    request: EvaluateRequest, sources: list[Path | ModelSpec], progress: ProgressBars
) -> tuple[list[Path], list[tuple[str, str]], list[str]]:
    """The ranking of each source, made first if need be; what was skipped for them; and a dry run's plan."""
    rankings: list[Path] = []
    skipped: dict[tuple[str, str], None] = {}  # in order, each once
    plan: list[str] = []
    for source in sources:
        ranking = source
        if isinstance(source, ModelSpec):
            result = match.rank_dataset(_match_request(request, source), progress=progress)
            skipped.update(dict.fromkeys(result.skipped))
            plan += result.plan
            ranking = result.path
        assert isinstance(ranking, Path)
        if ranking in rankings:
            raise UsageError(f"--against {ranking}: this ranking is already included", "name another model or ranking")
        rankings.append(ranking)
    return rankings, list(skipped), plan


def _match_request(request: EvaluateRequest, model: ModelSpec) -> match.MatchRequest:
    return match.MatchRequest(
        data=request.data,
        split=request.split,
        model=model,
        by=request.by,
        shortlist=request.shortlist,
        ignore_same=request.ignore_same,
        center=request.center,
        compute=request.compute,
        dry_run=request.dry_run,
        workspace=request.workspace,
    )


def _check_outputs_are_no_inputs(request: EvaluateRequest, rankings: list[Path], first: RankingReport) -> None:
    """Check the outputs once more, now that it is known which rankings and pictures are read."""
    outputs = [file for file in (request.output, request.sheet) if file is not None]
    if request.trec is not None:
        for protocol_report in first.protocols:
            outputs += trec.trec_paths(protocol_report.protocol, request.trec)
    if not any(file.exists() for file in outputs):  # a big ranking names many pictures
        return
    inputs = [*rankings, *pictures_of(*rankings), *request.protected]
    for file in outputs:
        reject_inputs(file, inputs)


def _check_train_data(request: EvaluateRequest, first: RankingReport) -> None:
    if request.train_data and first.provenance["data"] == request.train_data.partition(":")[0]:
        raise UsageError(
            f"--train-data {request.train_data}: is the data set to evaluate on", "zs-cross evaluates on another one"
        )


def _find_published(request: EvaluateRequest, split: Split, first: RankingReport) -> Published | None:
    if not request.with_published:
        return None
    benchmark = first.provenance["benchmark"]
    figures = find_published(benchmark) if split.protocol == "zs-inter" and benchmark else None
    if figures is None:
        logger.warning("no published figures are known for this data set and split")
    return figures


def _test_explanations(request: EvaluateRequest, ranking: Path, progress: ProgressBars) -> ExtraResults | None:
    test = request.explanations
    if test is None:
        return None
    from zsecli.explain.assess import assess_ranking

    with progress("explanations") as bar:
        return assess_ranking(
            ranking,
            pairs=test.pairs,
            aligned=test.aligned,
            keypoints=test.keypoints,
            backbone_weights=test.backbone_weights,
            device=request.compute.device,
            seed=request.seed,
            progress=bar,
        )


def _write_outputs(request: EvaluateRequest, evaluation: Evaluation) -> None:
    first = evaluation.reports[0]
    if request.output is not None:
        report.write_report(evaluation, request.output, request.per_class, request.overwrite)
    trained = first.settings.get("seen_in_training", ())
    if request.trec is not None:
        for protocol_report in first.protocols:
            trec.write_trec(
                first.ranking, protocol_report.protocol, request.trec, request.overwrite, seen_classes=trained
            )
    if request.sheet is not None:
        options = contact_sheet.SheetOptions(
            queries=request.sheet_queries, order=cast("contact_sheet.Order", request.sheet_order)
        )
        measured = next(protocol_report for protocol_report in first.protocols if protocol_report.per_query)
        contact_sheet.write_contact_sheet(first.ranking, measured, request.sheet, options, trained)
        logger.info(f"contact sheet: {request.sheet}")
