"""Several reports side by side: is one better, on the same queries, than chance explains?"""

from __future__ import annotations

import numpy as np

from zsecli.errors import ZseError
from zsecli.evaluate.intervals import holm, paired
from zsecli.evaluate.metrics import mean_name
from zsecli.evaluate.report_model import Comparison, RankingReport


def compare(reports: list[RankingReport], seed: int = 0) -> list[Comparison]:
    """Every metric that all reports have, protocol by protocol.

    Raises:
        ZseError: two reports asked different queries, or looked through different photos.
    """
    made = []
    for parts in zip(*(report.protocols for report in reports), strict=True):
        order = [np.argsort(np.array(part.queries, object)) for part in parts]
        names = [[part.queries[i] for i in rows] for part, rows in zip(parts, order, strict=True)]
        for report, part, theirs in zip(reports, parts, names, strict=True):
            pair = f"{reports[0].ranking} and {report.ranking}"
            if theirs != names[0]:
                count = len(set(theirs) ^ set(names[0]))
                raise ZseError(
                    f"{pair}: {count} queries are in one alone", "compare rankings of the same data set and split"
                )
            if part.content_digest != parts[0].content_digest:
                sizes = f"{parts[0].photos_per_query:.1f} and {part.photos_per_query:.1f} photos a query"
                raise ZseError(
                    f"{pair}: their photos or classes differ ({sizes})",
                    "compare rankings of the same pictures and classes, with the same --ignore-same",
                )
        clusters = np.array(parts[0].clusters, object)[order[0]]
        for metric in parts[0].per_query:
            if all(metric in part.per_query for part in parts):
                values = [part.per_query[metric][rows] for part, rows in zip(parts, order, strict=True)]
                made.append(
                    Comparison(
                        protocol=parts[0].protocol.name,
                        metric=mean_name(metric),
                        queries=len(names[0]),
                        cluster=parts[0].protocol.cluster,
                        clusters=len({*clusters}),
                        means=[float(v.mean()) for v in values],
                        against_first=holm([paired(values[0], other, clusters, seed=seed) for other in values[1:]]),
                    )
                )
    return made
