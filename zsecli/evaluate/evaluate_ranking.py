"""A ranking store -> the report of every protocol of a split. No model and no picture is read."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.data.items import SEEN
from zsecli.data.splits import Split
from zsecli.data.synonyms import shared
from zsecli.errors import UsageError, ZseError
from zsecli.evaluate.intervals import KIND
from zsecli.evaluate.measure import count_ties, measure_protocol
from zsecli.evaluate.protocols import SPLITS, members
from zsecli.evaluate.report_model import ProtocolReport, RankingReport
from zsecli.store.ranking import Ranking, open_ranking

ABOUT = ("model", "by", "shortlist", "ignore_same", "center", "precision", "ann", "recall")  # of a ranking's provenance


def evaluate_ranking(ranking: Path, split: str, *, trained: Collection[str] | None = None) -> RankingReport:
    """Evaluate a finished ranking under a split.

    Args:
        trained: names of the classes that the model saw in another data set; `zs-cross` reports without them too.

    Raises:
        UsageError: unknown split, or a ranking made for another one. ZseError: no report of the split has a query
            with a relevant photo, or the ranking is too short for every metric of one.
    """
    asked, notes = Split.parse(split), []
    with open_ranking(ranking) as opened:
        origins = opened.header.provenance.get("origins", [{}, {}])
        _check(opened, asked, origins)
        labels = opened.query.label, opened.gallery.label
        classes = {label.names[c] for label in labels for c in np.unique(label.codes) if c >= 0}
        known = shared(trained, sorted(classes)) if trained is not None else {}
        reports = []
        for protocol in SPLITS[asked.family]:
            if protocol.novel and trained is None:
                continue
            if protocol.novel and not any(side.any() for side in members(opened, protocol, known)):
                notes.append(f"{protocol.name}: every class was seen in training")
                continue
            reports.append(measure_protocol(opened, protocol, known))
        notes += _note_unanswered(ranking, reports)
        ties, entries = count_ties(opened)
        about = {k: opened.header.provenance.get(k) for k in ABOUT}
        if about["recall"] is not None:
            notes.append(f"the shortlist is approximate: it holds {about['recall']:.1%} of the exact one")
        same = {k: v for k, v in origins[0].items() if origins[1].get(k) == v}
        about = {"data": same.get("data"), "benchmark": same.get("benchmark")} | about
    settings: dict[str, Any] = {"interval": "95 %", "interval_kind": KIND}
    if trained is not None:
        settings["seen_in_training"] = known
    return RankingReport(
        split=asked.name,
        ranking=ranking,
        provenance=about,
        protocols=reports,
        tied_entries=ties,
        entries=entries,
        settings=settings,
        notes=notes,
    )


def _note_unanswered(ranking: Path, reports: list[ProtocolReport]) -> list[str]:
    """A note for each report without a query, which does not cost the others of its split; ZseError if none has one."""
    if not any(report.queries for report in reports):
        raise ZseError(
            f"{ranking}: no query has a relevant photo under {' and '.join(one.protocol.name for one in reports)}",
            "look at its classes and instances with zse inspect; pictures seen in training do not count",
        )
    return [
        f"{report.protocol.name}: no query has a relevant photo, so nothing is measured"
        for report in reports
        if not report.queries
    ]


def _check(ranking: Ranking, split: Split, origins: list[dict[str, str]]) -> None:
    """UsageError where the ranking was made from other pictures than the split asks for."""
    needs = Split("zs-inter", split.partition) if split.selection == "generalized" else split  # of the sketches
    for origin, wanted, plural in zip(origins, (needs, split), ("sketches", "photos"), strict=True):
        if not wanted.answered_by(origin):
            kind = f"{origin.get('selection', 'given')} ones"
            kind += f" of {origin['partition']}" if origin.get("partition") else ""
            raise UsageError(
                f"{ranking.path}: its {plural} are the {kind}, not those of {split.name}",
                f"zse match --split {split.name}",
            )
    if split.family == "generalized" and not (ranking.gallery.part == SEEN).any():
        raise UsageError(
            f"{ranking.path}: its gallery has no photo of a seen class", f"zse match --split {split.name} has them"
        )
