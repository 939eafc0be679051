"""Who is asked, what is looked through, and what counts as found: the protocols of the field."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from zsecli.errors import ZseError
from zsecli.store.items import NEITHER, UNSEEN, Ints
from zsecli.store.ranking import Ranking

AT_A_TIME = 2**22  # entries of a ranking in memory

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


@dataclass(frozen=True)
class Asked:
    """One query under a protocol.

    row: of the query. order: (K,) gallery rows of the photos that count, best first. relevant: (R,)
    gallery rows that are right. n_gallery: photos that count.
    """

    row: int
    order: Ints
    relevant: Ints
    n_gallery: int

    @property
    def ranks(self) -> Ints:
        """(H,) 1-based, ascending ranks of the relevant photos."""
        return np.flatnonzero(np.isin(self.order, self.relevant)) + 1


def ask(ranking: Ranking, protocol: Protocol, trained: Collection[str] = ()) -> Iterator[Asked]:
    """What a protocol sees in a ranking, query by query, read in blocks.

    Pictures seen in training are neither asked nor looked through, unless the protocol takes all.

    Args:
        trained: classes of the ranking that a model trained elsewhere has seen; a `novel` protocol leaves them out.

    Raises:
        ZseError: the pictures have no classes or instances, so nothing is relevant.
    """
    query, gallery = ranking.query, ranking.gallery
    relevant = _codes(ranking, protocol.relevant)
    if not all((getattr(items, protocol.relevant).codes >= 0).any() for items in (query, gallery)):
        column, hint = "class", "evaluate a data set made by zse prepare"
        if protocol.relevant == "instance":
            column, hint = (
                "instance",
                "no sketch is known to show one photo's object: --split zs-inter asks for classes",
            )
        raise ZseError(f"{ranking.path}: its pictures have no {column}, so nothing tells a hit from a miss", hint)
    within = _codes(ranking, protocol.within) if protocol.within else None
    ignored = _codes(ranking, ranking.ignore_same) if ranking.ignore_same else None
    asks, takes = members(ranking, protocol, trained)
    asked = np.flatnonzero(asks)
    step = max(1, AT_A_TIME // max(1, ranking.depth))
    for block in (slice(s, s + step) for s in range(0, len(query), step)):
        indices = None
        for row in asked[(asked >= block.start) & (asked < block.stop)]:
            if indices is None:
                indices = ranking.indices[block]
            counts = takes.copy()
            for codes, keep_equal in ((within, True), (ignored, False)):
                if codes is not None:
                    equal = (codes[1] == codes[0][row]) & (codes[0][row] >= 0)
                    counts &= equal if keep_equal else ~equal
            right = counts & (relevant[1] == relevant[0][row]) & (relevant[0][row] >= 0)
            order = indices[row - block.start]
            order = order[order >= 0]
            yield Asked(int(row), order[counts[order]], np.flatnonzero(right), int(counts.sum()))


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


def _codes(ranking: Ranking, column: str) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Codes (Q,) and (G,) of a column under the gallery's names; -1 for a query's name that the gallery lacks."""
    ours, theirs = getattr(ranking.query, column), getattr(ranking.gallery, column)
    return ours.under(theirs.names), theirs.codes
