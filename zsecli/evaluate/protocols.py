"""Who is asked, what is looked through, and what counts as found: the protocols of the field."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import NEITHER, UNSEEN
from zsecli.errors import ZseError
from zsecli.store.ranking import Ranking

AT_A_TIME = 2**19  # entries of a ranking in memory: more are no faster
FEW = 4  # runs of rows that are compared as fast as they are looked up
KEPT = 256  # sets of photos in memory

INTER_METRICS = (
    "AP (raw)",
    "AP (voc)",
    "AP@200 (strict)",
    "AP@200 (voc, strict)",
    "AP@200 (lenient)",
    "AP@200 (trec)",
    "P@100",
    "P@100 (capped)",
    "P@200",
    "P@200 (capped)",
    "Acc@1",
    "Acc@5",
)
INTRA_METRICS = ("Acc@1", "Acc@5", "Acc@10", "reciprocal rank", "AP (raw)")


@dataclass(frozen=True)
class Protocol:
    """One question asked of a ranking.

    relevant: the column in which a photo must agree with the query. within: the column that the
    gallery of a query is restricted to, or None for every photo. queries, gallery: whether those of unseen
    classes are taken, or all. novel: whether the classes that the model saw in another data set are left out.
    """

    name: str
    title: str
    relevant: Literal["label", "instance"]
    within: Literal["label"] | None
    metrics: tuple[str, ...]
    queries: Literal["unseen", "all"] = "unseen"
    gallery: Literal["unseen", "all"] = "unseen"
    novel: bool = False

    @property
    def cluster(self) -> Literal["class", "object"]:
        """What was drawn at random where the protocol's result stands for others: queries that share it go together."""
        return "class" if self.relevant == "label" else "object"


SPLITS: dict[str, tuple[Protocol, ...]] = {
    "zs-inter": (Protocol("zs-inter", "same class, all unseen photos", "label", None, INTER_METRICS),),
    "zs-intra": (
        Protocol("zs-intra/class", "own photo, within the class", "instance", "label", INTRA_METRICS),
        Protocol("zs-intra/all", "own photo, all unseen photos", "instance", None, INTRA_METRICS),
    ),
    "generalized": (
        Protocol(
            "generalized", "same class, photos of unseen and seen classes", "label", None, INTER_METRICS, gallery="all"
        ),
    ),
    "zs-cross": (
        Protocol("zs-cross", "same class, all unseen photos", "label", None, INTER_METRICS),
        Protocol("zs-cross/novel", "without the classes seen in training", "label", None, INTER_METRICS, novel=True),
    ),
    "zs-cross-all": (
        Protocol("zs-cross-all", "same class, every photo", "label", None, INTER_METRICS, "all", "all"),
        Protocol(
            "zs-cross-all/novel",
            "without the classes seen in training",
            "label",
            None,
            INTER_METRICS,
            "all",
            "all",
            True,
        ),
    ),
}


class Photos:
    """Some photos of a gallery of G.

    mask: (G + 1,) bool; its end, where a -1 leads, is False. runs: first row, and row behind the last, of each run.
    count: how many they are. whole: whether they are all.
    """

    def __init__(self, chosen: NDArray[np.bool_]) -> None:
        self.mask = np.append(chosen, False)
        edges = np.flatnonzero(np.diff(self.mask, prepend=False)).tolist()
        self.runs = list(zip(edges[::2], edges[1::2], strict=True))
        self.count = sum(stop - first for first, stop in self.runs)
        self.whole = self.count == len(chosen)


@dataclass(frozen=True)
class Asked:
    """B queries under a protocol.

    rows: (B,) of the queries. listed: (B, K) gallery rows, best first, as the ranking has them; -1: no photo.
    counts: the photos that count for each query. right: those of them that are relevant.
    """

    rows: list[int]
    listed: Ints
    counts: list[Photos]
    right: list[Photos]

    def order(self, query: int) -> Ints:
        """(C,) gallery rows of the listed photos that count for one of the B queries, best first."""
        listed = self.listed[query]
        return listed[self.counts[query].mask[listed]]

    def relevant(self, query: int) -> Ints:
        """(R,) gallery rows that are right for one of the B queries."""
        return np.flatnonzero(self.right[query].mask)

    def ranks(self) -> tuple[list[Ints], list[int]]:
        """For each query (H,) 1-based, ascending ranks of the right photos among the C listed that count; and C."""
        right, (count, depth) = _among(self.right, self.listed), self.listed.shape
        if not all(some.whole for some in self.counts) or (self.listed[:, -1:] < 0).any():  # a -1 is behind all others
            counted = _among(self.counts, self.listed)
            kept = [hits[some] for hits, some in zip(right, counted, strict=True)]
            return [np.flatnonzero(hits) + 1 for hits in kept], [len(hits) for hits in kept]
        at = _true(right)
        ends = np.searchsorted(at, np.arange(count + 1) * depth).tolist()
        return [at[ends[i] : ends[i + 1]] - (i * depth - 1) for i in range(count)], [depth] * count


def _among(photos: list[Photos], listed: Ints) -> NDArray[np.bool_]:
    """(B, K) whether each of `listed` (B, K), gallery rows or -1, is one of the photos (B,) of its row."""
    most = max(1, *(len(some.runs) for some in photos))
    if most > FEW:
        return np.stack([some.mask.take(row) for some, row in zip(photos, listed, strict=True)])
    # where a data set lists the photos of a class together, to compare rows is faster than to look them up
    runs = np.array([some.runs + [(0, 0)] * (most - len(some.runs)) for some in photos], listed.dtype)
    bounds = runs.reshape(len(photos), most, 2, 1).transpose(1, 2, 0, 3)
    return reduce(np.logical_or, ((listed >= first) & (listed < stop) for first, stop in bounds))


def _true(values: NDArray[np.bool_]) -> NDArray[np.int64]:
    """`np.flatnonzero` of few among many in half its time, as no branch depends on where they are."""
    packed = np.packbits(values)
    some = np.flatnonzero(packed != 0)
    at = np.flatnonzero(np.unpackbits(packed.take(some)).view(np.bool_))
    return some.take(at >> 3) * 8 + (at & 7)


def ask(ranking: Ranking, protocol: Protocol, trained: Collection[str] = ()) -> Iterator[Asked]:
    """What a protocol sees in a ranking, read in blocks of queries.

    Pictures seen in training are neither asked nor looked through, unless the protocol takes all.

    Args:
        trained: classes of the ranking that a model trained elsewhere has seen; a `novel` protocol leaves them out.

    Raises:
        ZseError: the pictures have no classes or instances, so nothing is relevant.
    """
    query, gallery = ranking.query, ranking.gallery
    if not all((getattr(items, protocol.relevant).codes >= 0).any() for items in (query, gallery)):
        column, hint = "class", "evaluate a data set made by zse prepare"
        if protocol.relevant == "instance":
            column, hint = (
                "instance",
                "no sketch is known to show one photo's object: --split zs-inter asks for classes",
            )
        raise ZseError(f"{ranking.path}: its pictures have no {column}, so nothing tells a hit from a miss", hint)
    asks, takes = members(ranking, protocol, trained)
    within, ignored, relevant = (
        _codes(ranking, column) for column in (protocol.within, ranking.ignore_same, protocol.relevant)
    )

    @lru_cache(KEPT)
    def counting(group: int, other: int) -> Photos:
        in_group = _equal(within[1], group) | (protocol.within is None)
        return Photos(takes & in_group & ~_equal(ignored[1], other))

    @lru_cache(KEPT)
    def right(group: int, other: int, code: int) -> Photos:
        return Photos(counting(group, other).mask[:-1] & _equal(relevant[1], code))

    of_query = np.stack([within[0], ignored[0], relevant[0]], axis=1)
    step = max(1, AT_A_TIME // max(1, len(gallery)))  # of the gallery: a cut ranking is read in the same blocks
    for start in range(0, len(query), step):
        at = np.flatnonzero(asks[start : start + step])
        if len(at):
            listed, codes = ranking.indices[start : start + step], of_query[start + at].tolist()
            yield Asked(
                (start + at).tolist(),
                listed if len(at) == len(listed) else listed[at],
                [counting(group, other) for group, other, _ in codes],
                [right(*three) for three in codes],
            )


def _equal(codes: Ints, code: int) -> NDArray[np.bool_]:
    """Where the codes of photos are a query's, -1 being nobody's."""
    return (codes == code) & (code >= 0)


def members(
    ranking: Ranking, protocol: Protocol, trained: Collection[str] = ()
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(Q,) and (G,): whether a sketch is asked, and whether a photo is looked through.

    Where no picture at all is in a part, nothing was seen in training, and all take part.
    """
    sides = (ranking.query, protocol.queries), (ranking.gallery, protocol.gallery)
    parted = any((items.part != NEITHER).any() for items, _ in sides)
    asks, takes = (
        items.part == UNSEEN if which == "unseen" and parted else np.ones(len(items), bool) for items, which in sides
    )
    if protocol.novel:
        for (items, _), mask in zip(sides, (asks, takes), strict=True):
            known = np.array([name in trained for name in items.label.names] + [False])
            mask &= ~known[items.label.codes]
    return asks, takes


def _codes(ranking: Ranking, column: str | None) -> tuple[Ints, Ints]:
    """Codes (Q,) and (G,) of a column under the gallery's names; -1 for a query's name that the gallery lacks.

    No column: -1 throughout.
    """
    if column is None:
        return np.full(len(ranking.query), -1), np.full(len(ranking.gallery), -1)
    ours, theirs = getattr(ranking.query, column), getattr(ranking.gallery, column)
    return ours.codes_in(theirs.names), theirs.codes
