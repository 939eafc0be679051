"""The tables of an evaluation, before any format: captions, columns and cells as text."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zsecli.evaluate.intervals import FEWEST, KIND, TEST, Interval
from zsecli.evaluate.published import Published
from zsecli.evaluate.report_model import (
    Comparison,
    Evaluation,
    ExtraResults,
    ProtocolReport,
    RankingReport,
    Table,
    Verdict,
)

PLURALS = {"class": "classes", "object": "objects"}


def describe_rankings(evaluation: Evaluation) -> list[str]:
    """Lines of text: how each ranking was made, its ties and its notes, and the verdicts on explanations."""
    lines = []
    for report in evaluation.reports:
        ties = f"{report.tied_entries} of {report.entries} compared entries tie with a neighbour"
        lines.append(f"{_describe_provenance(report)}; {ties}")
        lines += report.notes
    if evaluation.explanations:
        lines += [f"explanations by {line}" for line in describe_verdicts(evaluation.explanations)]
    return lines


def describe_verdicts(results: ExtraResults) -> list[str]:
    """A line of text for each source: what it is better than, and what it is not better than."""
    verdicts = list(results.verdicts())
    lines = []
    for source in results.sources:
        better = [_describe_control(v) for v in verdicts if v.subject == source and v.is_better]
        not_better = [_describe_control(v) for v in verdicts if v.subject == source and not v.is_better]
        line = f"{source}: better than {', '.join(better) or 'nothing'}"
        if not_better:
            line += f"; NOT better than {', '.join(not_better)}"
        lines.append(line)
    return lines


def _describe_control(verdict: Verdict) -> str:
    return f"{verdict.control} {verdict.measured}"


def _describe_provenance(report: RankingReport) -> str:
    """`data demo, model small, by ret`, say, without what goes without saying."""
    words = []
    for name, value in report.provenance.items():
        if value in (None, False, "", "fp32"):
            continue
        if name == "shortlist" and report.provenance.get("by") != "cascade":
            continue
        words.append(f"{name} {value}")
    return ", ".join(words)


def make_tables(evaluation: Evaluation, per_class: bool) -> Iterator[Table]:
    """A table a protocol, one of its classes if `per_class`, the published figures, and those of explanations."""
    titles = evaluation.ranking_titles()
    protocols = evaluation.reports[0].protocols
    for number in range(len(protocols)):
        reports = [report.protocols[number] for report in evaluation.reports]
        if not all(report.per_query for report in reports):  # a note says why
            continue
        if len(reports) == 1:
            yield _make_metric_table(reports[0])
        else:
            yield _make_comparison_table(reports, titles, evaluation.comparisons)
        if per_class:
            yield _make_class_table(reports, titles)
    if evaluation.published:
        yield _make_published_table(evaluation.published, protocols[0])
    if evaluation.explanations:
        yield from evaluation.explanations.tables()


def _make_metric_table(report: ProtocolReport) -> Table:
    """Every metric of one ranking, with its interval."""
    rows = []
    for (name, value), interval in zip(report.mean_values().items(), report.intervals.values(), strict=True):
        rows.append([name, f"{value:.4f}", _format_interval(interval, ".4f")])
    caption = f"{_describe_protocol([report])}; {_describe_intervals(report)}"
    return caption, ["metric", "mean", "95 % interval"], rows


def _make_comparison_table(reports: list[ProtocolReport], titles: list[str], comparisons: list[Comparison]) -> Table:
    """Each further ranking beside the first; p is corrected (Holm) where there are several."""
    has_several = len(titles) > 2
    columns = ["metric", titles[0]]
    for title in titles[1:]:
        columns += [title, "difference", "95 % interval", "p"]
        if has_several:
            columns.append("p (Holm)")
    rows = []
    for comparison in comparisons:
        if comparison.protocol != reports[0].protocol.name:
            continue
        row = [comparison.metric, f"{comparison.means[0]:.4f}"]
        for mean, test in zip(comparison.means[1:], comparison.against_first, strict=True):
            interval = None
            if test.low is not None and test.high is not None:
                interval = Interval(test.low, test.high)
            row += [f"{mean:.4f}", f"{test.difference:+.4f}", _format_interval(interval, "+.4f"), _format_p(test.p)]
            if has_several:
                row.append(_format_p(test.p_holm))
        rows.append(row)
    caption = (
        f"{_describe_protocol(reports)}; differences from the first: {_describe_intervals(reports[0])}; p by {TEST}"
    )
    return caption, columns, rows


def _make_class_table(reports: list[ProtocolReport], titles: list[str]) -> Table:
    """Every metric of one ranking by class; of several the first metric that all have."""
    class_means = [report.class_means() for report in reports]
    metrics = list(reports[0].mean_values())
    caption, columns = f"{reports[0].protocol.name} by class", metrics
    if len(reports) > 1:
        shared = [name for name in metrics if all(name in report.mean_values() for report in reports)]
        metrics = shared[:1]
        caption, columns = f"{caption}: {metrics[0]}", titles
    rows = []
    for name, first_means in class_means[0].items():
        row = [name, f"{first_means['queries']:.0f}"]
        for metric in metrics:
            row += [f"{means[name][metric]:.4f}" for means in class_means]
        rows.append(row)
    return caption, ["class", "queries", *columns], rows


def _make_published_table(published: Published, report: ProtocolReport) -> Table:
    """Published figures beside the same metric here; a paper's word that names no formula has no equal."""
    means = report.mean_values()
    rows = []
    for figure in published.figures:
        own_value = f"{means[figure.metric]:.3f}" if figure.metric in means else ""
        rows.append([figure.method, figure.name, f"{figure.value:.3f}", own_value, figure.source])
    sketches, photos = published.counts
    caption = f"published on {published.name}: {sketches} queries, {photos} photos"
    n_queries = len(report.queries) + report.queries_without_relevant
    if (n_queries, report.photos_per_query) != published.counts:
        caption += f"; NOT those of this evaluation, {n_queries} and {report.photos_per_query:.1f}"
    return caption, ["method", "metric", "published", "here", "source"], rows


def _describe_protocol(reports: list[ProtocolReport]) -> str:
    """The protocol of the reports, its size, and what is left out."""
    first = reports[0]
    text = f"{first.protocol.name} ({first.protocol.title}): {len(first.queries)} queries, "
    text += f"{first.photos_per_query:.1f} photos a query"
    if first.queries_without_relevant:
        text += f"; {first.queries_without_relevant} queries without a relevant photo left out"
    omitted: dict[str, Any] = {}  # a set that keeps its order
    for report in reports:
        omitted |= dict.fromkeys(report.omitted_metrics)
    if omitted:
        article = "the" if len(reports) == 1 else "a"
        text += f"; {article} ranking is too short for {', '.join(omitted)}"
    if first.all_photos_relevant:
        text += "; every photo is relevant, so any ranking is perfect"
    return text


def _describe_intervals(report: ProtocolReport) -> str:
    """How the intervals were computed, and over what."""
    n_clusters = len(set(report.clusters))
    groups = f"one {report.protocol.cluster}"
    if n_clusters > 1:
        groups = f"{n_clusters} {PLURALS[report.protocol.cluster]}"
    if n_clusters < FEWEST:
        return f"no interval, as {groups} alone does not show how much they differ"
    return f"95 % intervals over {groups}: {KIND}"


def _format_interval(interval: Interval | None, number_format: str) -> str:
    if interval is None:
        return "none"
    return f"{interval.low:{number_format}} to {interval.high:{number_format}}"


def _format_p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"
