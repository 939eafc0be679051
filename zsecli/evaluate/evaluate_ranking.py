"""A ranking store -> the report of every protocol of a split. No model and no picture is read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.data.items import SEEN
from zsecli.data.splits import Split
from zsecli.data.synonyms import find_shared_classes
from zsecli.errors import UsageError, ZseError
from zsecli.evaluate.intervals import KIND
from zsecli.evaluate.measure import count_ties, measure_protocol
from zsecli.evaluate.protocols import SPLITS, select_pictures
from zsecli.evaluate.report_model import ProtocolReport, RankingReport
from zsecli.store.ranking import Ranking, open_ranking

# what a report repeats of a ranking's provenance
REPORTED_PROVENANCE = ("model", "by", "shortlist", "ignore_same", "center", "precision", "ann", "recall")


def evaluate_ranking(ranking: Path, split: str, *, trained: Collection[str] | None = None) -> RankingReport:
    """Evaluate a finished ranking under a split.

    Args:
        trained: names of the classes that the model saw in another data set; `zs-cross` reports without them too.

    Raises:
        UsageError: unknown split, or a ranking made for another one. ZseError: no protocol of the split has a query
            with a relevant photo, or the ranking is too short for every metric of one.
    """
    parsed_split = Split.parse(split)
    with open_ranking(ranking) as opened:
        origins = opened.header.provenance.get("origins", [{}, {}])
        _check_split(opened, parsed_split, origins)
        seen_classes = {} if trained is None else find_shared_classes(trained, _class_names(opened))
        notes = []
        reports = []
        for protocol in SPLITS[parsed_split.protocol]:
            if protocol.novel:
                if trained is None:
                    continue
                is_query, in_gallery = select_pictures(opened, protocol, seen_classes)
                if not is_query.any() and not in_gallery.any():
                    notes.append(f"{protocol.name}: every class was seen in training")
                    continue
            reports.append(measure_protocol(opened, protocol, seen_classes))
        notes += _note_unanswered(ranking, reports)
        tied_entries, entries = count_ties(opened)
        provenance = _report_provenance(opened, origins)
    if provenance["recall"] is not None:
        notes.append(f"the shortlist is approximate: it holds {provenance['recall']:.1%} of the exact one")
    settings: dict[str, Any] = {"interval": "95 %", "interval_kind": KIND}
    if trained is not None:
        settings["seen_in_training"] = seen_classes
    return RankingReport(
        split=parsed_split.name,
        ranking=ranking,
        provenance=provenance,
        protocols=reports,
        tied_entries=tied_entries,
        entries=entries,
        settings=settings,
        notes=notes,
    )


def _class_names(ranking: Ranking) -> list[str]:
    """Names of the classes that have a picture, sorted."""
    names = set()
    for label in (ranking.query.label, ranking.gallery.label):
        names |= {label.names[code] for code in np.unique(label.codes) if code >= 0}
    return sorted(names)


def _report_provenance(ranking: Ranking, origins: list[dict[str, str]]) -> dict[str, Any]:
    """The data set, the model and the options of a ranking; None for what it does not say."""
    sketch_origin, photo_origin = origins
    provenance: dict[str, Any] = {}
    for name in ("data", "benchmark"):
        is_shared = sketch_origin.get(name) == photo_origin.get(name)
        provenance[name] = sketch_origin.get(name) if is_shared else None
    for name in REPORTED_PROVENANCE:
        provenance[name] = ranking.header.provenance.get(name)
    return provenance


def _note_unanswered(ranking: Path, reports: list[ProtocolReport]) -> list[str]:
    """A note for each protocol without a query, if another one has some; else ZseError."""
    if not any(report.queries for report in reports):
        names = " and ".join(report.protocol.name for report in reports)
        raise ZseError(
            f"{ranking}: no query has a relevant photo under {names}",
            "look at its classes and instances with zse inspect; pictures seen in training do not count",
        )
    notes = []
    for report in reports:
        if not report.queries:
            notes.append(f"{report.protocol.name}: no query has a relevant photo, so nothing is measured")
    return notes


def _check_split(ranking: Ranking, split: Split, origins: list[dict[str, str]]) -> None:
    """UsageError where the ranking was made from other pictures than the split needs."""
    # generalized adds seen photos to the gallery; its sketches are those of zs-inter
    sketch_split = Split("zs-inter", split.partition) if split.selection == "generalized" else split
    sketch_origin, photo_origin = origins
    for origin, wanted, plural in ((sketch_origin, sketch_split, "sketches"), (photo_origin, split, "photos")):
        if wanted.answered_by(origin):
            continue
        selection = f"{origin.get('selection', 'given')} ones"
        if origin.get("partition"):
            selection += f" of {origin['partition']}"
        raise UsageError(
            f"{ranking.path}: its {plural} are the {selection}, not those of {split.name}",
            f"zse match --split {split.name}",
        )
    if split.protocol == "generalized" and not (ranking.gallery.part == SEEN).any():
        raise UsageError(
            f"{ranking.path}: its gallery has no photo of a seen class", f"zse match --split {split.name} has them"
        )
