"""Every metric by counting."""

from collections.abc import Callable


def hits(rel: list[bool], k: int) -> int:
    return sum(1 for r in rel[:k] if r)


def summed_precision(rel: list[bool], k: int) -> float:
    return sum(hits(rel, i) / i for i in range(1, min(k, len(rel)) + 1) if rel[i - 1])


def summed_voc(rel: list[bool], k: int) -> float:
    end = min(k, len(rel)) + 1
    return sum(max(hits(rel, j) / j for j in range(i, end)) for i in range(1, end) if rel[i - 1])


ORACLE: dict[str, Callable[[list[bool], int], float]] = {
    "AP (raw)": lambda rel, k: summed_precision(rel, len(rel)) / sum(rel),
    "AP (voc)": lambda rel, k: summed_voc(rel, len(rel)) / sum(rel),
    "AP@{} (voc, strict)": lambda rel, k: summed_voc(rel, k) / min(k, sum(rel)),
    "AP@{} (strict)": lambda rel, k: summed_precision(rel, k) / min(k, sum(rel)),
    "AP@{} (lenient)": lambda rel, k: summed_precision(rel, k) / hits(rel, k) if hits(rel, k) else 0.0,
    "AP@{} (trec)": lambda rel, k: summed_precision(rel, k) / sum(rel),
    "P@{}": lambda rel, k: hits(rel, k) / k,
    "P@{} (capped)": lambda rel, k: hits(rel, min(k, sum(rel))) / min(k, sum(rel)),
    "Acc@{}": lambda rel, k: 1.0 if True in rel[:k] else 0.0,
    "reciprocal rank": lambda rel, k: 1 / (rel.index(True) + 1),
}
