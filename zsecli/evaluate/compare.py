"""Comparison of rankings: is one better, on the same queries, than chance explains?"""

from __future__ import annotations

import numpy as np

from zsecli.arrays import Ints
from zsecli.errors import ZseError
from zsecli.evaluate.intervals import correct_by_holm, paired_test
from zsecli.evaluate.metrics import mean_name
from zsecli.evaluate.report_model import Comparison, ProtocolReport, RankingReport


def compare_rankings(reports: list[RankingReport], seed: int = 0) -> list[Comparison]:
    """Compare every further report with the first, in every metric that all of them have.

    Args:
        seed: of the permutation tests.

    Raises:
        ZseError: two reports have different queries, or different photos in their galleries.
    """
    comparisons = []
    for protocol_reports in zip(*(report.protocols for report in reports), strict=True):
        orders = [_sorted_rows(report) for report in protocol_reports]
        _check_same_question(reports, protocol_reports, orders)
        comparisons += _compare_metrics(protocol_reports, orders, seed)
    return comparisons


def _sorted_rows(report: ProtocolReport) -> Ints:
    """(Q',) rows of the queries in the order of their ids, which two rankings may list differently."""
    return np.argsort(np.array(report.queries, object))


def _check_same_question(
    rankings: list[RankingReport], reports: tuple[ProtocolReport, ...], orders: list[Ints]
) -> None:
    """ZseError unless all reports of a protocol have the queries and the galleries of the first."""
    first = reports[0]
    first_ids = [first.queries[row] for row in orders[0]]
    for ranking, report, order in zip(rankings, reports, orders, strict=True):
        pair = f"{rankings[0].ranking} and {ranking.ranking}"
        ids = [report.queries[row] for row in order]
        if ids != first_ids:
            n_unshared = len(set(ids) ^ set(first_ids))
            raise ZseError(
                f"{pair}: {n_unshared} queries are in only one of them",
                "compare rankings of the same data set and split",
            )
        if report.content_digest != first.content_digest:
            sizes = f"{first.photos_per_query:.1f} and {report.photos_per_query:.1f} photos a query"
            raise ZseError(
                f"{pair}: their photos or classes differ ({sizes})",
                "compare rankings of the same pictures and classes, with the same --ignore-same",
            )


def _compare_metrics(reports: tuple[ProtocolReport, ...], orders: list[Ints], seed: int) -> list[Comparison]:
    """One comparison a metric that all reports of a protocol have."""
    first = reports[0]
    clusters = np.array(first.clusters, object)[orders[0]]
    comparisons = []
    for metric in first.per_query:
        if not all(metric in report.per_query for report in reports):
            continue
        values = [report.per_query[metric][order] for report, order in zip(reports, orders, strict=True)]
        tests = [paired_test(values[0], other, clusters, seed=seed) for other in values[1:]]
        comparisons.append(
            Comparison(
                protocol=first.protocol.name,
                metric=mean_name(metric),
                queries=len(first.queries),
                cluster=first.protocol.cluster,
                clusters=len(set(clusters)),
                means=[float(value.mean()) for value in values],
                against_first=correct_by_holm(tests),
            )
        )
    return comparisons
