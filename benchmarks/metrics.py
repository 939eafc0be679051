"""Measure ranking and the metrics against plain programs, and print a table of docs/performance.md.

python benchmarks/metrics.py
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from lib.tables import block, print_conditions, print_header, print_row
from lib.timing import spread
from zsecli.data.items import PHOTO, SKETCH, UNSEEN, Column, Items
from zsecli.evaluate.measure import measure_queries
from zsecli.evaluate.protocols import INTER_METRICS, SPLITS
from zsecli.retrieval.order import order_by_score
from zsecli.store.ranking import RankingWriter, open_ranking

QUERIES, PHOTOS, CLASSES = 2000, 17101, 25  # photos and classes of Sketchy's usual unseen part
PLAIN, ROUNDS, BLOCK = 50, 5, 64


def at_every_rank(ranking: Sequence[int], labels: Sequence[int], label: int) -> list[float]:
    """The INTER_METRICS of one query from the precision at every rank, as code for VOC's metric has it."""
    hits, relevance, precisions = 0, [], []
    for rank, photo in enumerate(ranking, 1):
        relevant = labels[photo] == label
        if relevant:
            hits += 1
        relevance.append(relevant)
        precisions.append(hits / rank)

    def summed(k: int) -> float:
        return sum(p for p, relevant in zip(precisions[:k], relevance, strict=False) if relevant)

    def interpolated(k: int) -> float:
        best = total = 0.0
        for i in reversed(range(k)):
            best = max(best, precisions[i])
            if relevance[i]:
                total += best
        return total

    return metrics(hits, summed, interpolated, lambda k: sum(1 for relevant in relevance[:k] if relevant), len(ranking))


def at_the_relevant(ranking: Sequence[int], labels: Sequence[int], label: int) -> list[float]:
    """The same from the precision at the relevant photos alone."""
    ranks, precisions = [], []
    for rank, photo in enumerate(ranking, 1):
        if labels[photo] == label:
            ranks.append(rank)
            precisions.append((len(precisions) + 1) / rank)

    def hits(k: int) -> int:
        return sum(1 for rank in ranks if rank <= k)

    def interpolated(k: int) -> float:
        best = total = 0.0
        for precision in reversed(precisions[: hits(k)]):
            best = max(best, precision)
            total += best
        return total

    return metrics(len(ranks), lambda k: sum(precisions[: hits(k)]), interpolated, hits, len(ranking))


def metrics(
    relevant: int,
    summed: Callable[[int], float],
    interpolated: Callable[[int], float],
    hits: Callable[[int], int],
    depth: int,
) -> list[float]:
    """INTER_METRICS from R, and sums of precisions and numbers of hits within the first k."""
    first, n_hits = summed(200), hits(200)
    return [
        summed(depth) / relevant,
        interpolated(depth) / relevant,
        first / min(200, relevant),
        interpolated(200) / min(200, relevant),
        first / max(1, n_hits),
        first / relevant,
        hits(100) / 100,
        hits(min(100, relevant)) / min(100, relevant),
        n_hits / 200,
        hits(min(200, relevant)) / min(200, relevant),
        float(hits(1) > 0),
        float(hits(5) > 0),
    ]


def items(kind: int, codes: np.ndarray) -> Items:
    count = len(codes)
    return Items(
        id=[str(i) for i in range(count)],
        modality=np.full(count, kind, np.uint8),
        part=np.full(count, UNSEEN, np.int8),
        sha256=np.zeros((count, 32), np.uint8),
        label=Column(codes, [f"class {c}" for c in range(CLASSES)]),
    )


def main() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(CLASSES, size=QUERIES, dtype=np.int32)
    labels = np.sort(rng.integers(CLASSES, size=PHOTOS, dtype=np.int32))  # a class's folder after the other
    scores = rng.standard_normal((QUERIES, PHOTOS), np.float32)
    scores += label[:, None] == labels
    indices = np.empty(scores.shape, np.int32)
    slices = [slice(start, start + BLOCK) for start in range(0, QUERIES, BLOCK)]
    milliseconds: dict[str, list[float]] = defaultdict(list)
    protocol = SPLITS["zs-inter"][0]

    def timed(name: str, queries: int, work: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = work()
        milliseconds[name].append((time.perf_counter() - began) / queries * 1000)
        return result

    def rank() -> None:
        for rows in slices:
            indices[rows] = order_by_score(scores[rows])

    def loop(name: str, program: Callable[..., list[float]], ranked: Any, labels: Any, label: Any) -> list[list[float]]:
        return timed(name, PLAIN, lambda: [program(ranked[q], labels, label[q]) for q in range(PLAIN)])

    rank()
    with tempfile.TemporaryDirectory() as folder:
        sides = items(SKETCH, label), items(PHOTO, labels)
        with RankingWriter(Path(folder) / "ranking.h5", "", {}, *sides, depth=PHOTOS) as writer:
            for rows in slices:
                writer.write(rows.start, indices[rows], np.take_along_axis(scores[rows], indices[rows], 1))
            path = writer.finish()
        with open_ranking(path) as store:
            memory = replace(store, indices=indices)
            for _ in range(ROUNDS):
                ranked = timed("argsort", PLAIN, lambda: np.argsort(-scores[:PLAIN], axis=1, kind="stable"))
                timed("order", QUERIES, rank)
                plain_values = loop("every", at_every_rank, ranked, labels, label)
                measured = timed("ours", QUERIES, lambda: measure_queries(memory, protocol))
                plain_values += loop("relevant", at_the_relevant, ranked, labels, label)
                plain_values += loop("lists", at_the_relevant, ranked.tolist(), labels.tolist(), label.tolist())
                timed("store", QUERIES, lambda: measure_queries(store, protocol))
    result = np.array([measured.values[name][:PLAIN] for name in INTER_METRICS]).T
    with block("metrics"):
        print_conditions(f"{QUERIES} queries, {PHOTOS} photos of {CLASSES} classes", f"{ROUNDS} rounds")
        print_header("a query", "plain, ms", "zse, ms", "times as fast")
        for text, slow, fast in ROWS:
            ratios = [a / b for a, b in zip(milliseconds[slow], milliseconds[fast], strict=True)]
            print_row(
                text, f"{median(milliseconds[slow]):.2f}", f"{median(milliseconds[fast]):.3f}", spread(ratios, ".0f")
            )
        difference = np.abs(np.tile(result, (3, 1)) - plain_values).max()
        print(f"\nLargest difference in any metric of a query: {difference:.0e}.")


ROWS = (
    ("ranking: a stable argsort of each row", "argsort", "order"),
    ("metrics: precision at every rank, as code for VOC's metric has it", "every", "ours"),
    ("metrics: precision at the relevant photos alone", "relevant", "ours"),
    ("metrics: the same, ranking and classes as lists, not arrays", "lists", "ours"),
    ("metrics: precision at every rank, against ours from a file", "every", "store"),
)
if __name__ == "__main__":
    main()
