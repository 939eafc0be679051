"""Protocols: which sketches are queries, which photos form the gallery, and which of them are relevant."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache, reduce
from typing import Literal

import numpy as np

from zsecli.arrays import Ints, Ints64, Mask
from zsecli.data.items import NEITHER, UNSEEN, Items
from zsecli.errors import ZseError
from zsecli.store.ranking import Ranking
from zsecli.vocabulary import METRICS

Members = Literal["unseen", "all"]

ENTRIES_AT_ONCE = 2**19  # entries of a ranking in memory: more are no faster
MAX_RUNS = 4  # runs of rows that are compared as fast as they are looked up
CACHED_SETS = 256  # sets of photos in memory

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


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One question asked of a ranking."""

    name: str
    title: str
    relevant: Literal["label", "instance"]
    """The column in which a relevant photo agrees with the query."""
    within: Literal["label"] | None = None
    """The column in which every photo of a query's gallery agrees with the query; None takes all photos."""
    metrics: tuple[str, ...]
    queries: Members = "unseen"
    """Whether sketches of unseen classes are queries, or all."""
    gallery: Members = "unseen"
    """Whether photos of unseen classes form the gallery, or all."""
    novel: bool = False
    """Leave out the classes that the model saw in another data set."""

    @property
    def reported_metrics(self) -> tuple[str, ...]:
        """The names of its metrics, and of those that extensions register for its kind of report."""
        names = list(self.metrics)
        for entry in METRICS.entries():
            names += entry.reported_by_class if self.cluster == "class" else entry.reported_by_object
        return tuple(dict.fromkeys(names))

    @property
    def cluster(self) -> Literal["class", "object"]:
        """The unit of sampling for intervals and tests: queries that share it are not independent."""
        return "class" if self.relevant == "label" else "object"


SPLITS: dict[str, tuple[Protocol, ...]] = {
    "zs-inter": (
        Protocol(
            name="zs-inter",
            title="same class, all unseen photos",
            relevant="label",
            metrics=INTER_METRICS,
        ),
    ),
    "zs-intra": (
        Protocol(
            name="zs-intra/class",
            title="own photo, within the class",
            relevant="instance",
            within="label",
            metrics=INTRA_METRICS,
        ),
        Protocol(
            name="zs-intra/all",
            title="own photo, all unseen photos",
            relevant="instance",
            metrics=INTRA_METRICS,
        ),
    ),
    "generalized": (
        Protocol(
            name="generalized",
            title="same class, photos of unseen and seen classes",
            relevant="label",
            metrics=INTER_METRICS,
            gallery="all",
        ),
    ),
    "zs-cross": (
        Protocol(
            name="zs-cross",
            title="same class, all unseen photos",
            relevant="label",
            metrics=INTER_METRICS,
        ),
        Protocol(
            name="zs-cross/novel",
            title="without the classes seen in training",
            relevant="label",
            metrics=INTER_METRICS,
            novel=True,
        ),
    ),
    "zs-cross-all": (
        Protocol(
            name="zs-cross-all",
            title="same class, every photo",
            relevant="label",
            metrics=INTER_METRICS,
            queries="all",
            gallery="all",
        ),
        Protocol(
            name="zs-cross-all/novel",
            title="without the classes seen in training",
            relevant="label",
            metrics=INTER_METRICS,
            queries="all",
            gallery="all",
            novel=True,
        ),
    ),
}


class PhotoSet:
    """A subset of the G photos of a gallery."""

    def __init__(self, is_member: Mask) -> None:
        self.mask = np.append(is_member, False)
        """(G + 1,) whether each photo is a member; the last entry, which index -1 reads, is False."""
        edges = np.flatnonzero(np.diff(self.mask, prepend=False)).tolist()
        self.runs = list(zip(edges[::2], edges[1::2], strict=True))
        """First row, and row behind the last, of each run of members."""
        self.count = sum(stop - first for first, stop in self.runs)
        self.is_whole_gallery = self.count == len(is_member)


@dataclass(frozen=True, kw_only=True)
class QueryBlock:
    """B queries under a protocol."""

    rows: list[int]
    """(B,) rows of the queries."""
    listed: Ints
    """(B, K) gallery rows, best first, as the ranking lists them; -1: no photo."""
    galleries: list[PhotoSet]
    """The gallery of each query."""
    relevant: list[PhotoSet]
    """The relevant photos in that gallery."""

    def listed_photos(self, query: int) -> Ints:
        """(C,) gallery rows of the listed photos in the gallery of one of the B queries, best first."""
        listed = self.listed[query]
        return listed[self.galleries[query].mask[listed]]

    def relevant_photos(self, query: int) -> Ints:
        """(R,) gallery rows of the photos that are relevant to one of the B queries."""
        return np.flatnonzero(self.relevant[query].mask)

    def relevant_ranks(self) -> tuple[list[Ints], list[int]]:
        """For each query the ranks (H,) of its relevant photos, and the number C of photos that are ranked.

        Ranks count from 1, are ascending, and run over the C listed photos of the query's gallery.
        """
        is_relevant = _is_member(self.relevant, self.listed)
        n_queries, depth = self.listed.shape
        lists_whole_gallery = all(gallery.is_whole_gallery for gallery in self.galleries)
        has_gaps = (self.listed[:, -1:] < 0).any()  # a -1 is behind all photos
        if lists_whole_gallery and not has_gaps:
            positions = _nonzero_positions(is_relevant)
            ends = np.searchsorted(positions, np.arange(n_queries + 1) * depth).tolist()
            ranks = [positions[ends[i] : ends[i + 1]] - (i * depth - 1) for i in range(n_queries)]
            return ranks, [depth] * n_queries
        in_gallery = _is_member(self.galleries, self.listed)
        ranks, n_listed = [], []
        for relevant_row, gallery_row in zip(is_relevant, in_gallery, strict=True):
            relevance = relevant_row[gallery_row]
            ranks.append(np.flatnonzero(relevance) + 1)
            n_listed.append(len(relevance))
        return ranks, n_listed


def _is_member(sets: list[PhotoSet], listed: Ints) -> Mask:
    """(B, K) whether each of `listed` (B, K), gallery rows or -1, is in the set (B,) of its row."""
    most_runs = max(1, *(len(photos.runs) for photos in sets))
    if most_runs > MAX_RUNS:
        return np.stack([photos.mask.take(row) for photos, row in zip(sets, listed, strict=True)])
    # where a data set lists the photos of a class together, comparing rows is faster than looking them up
    padded = [photos.runs + [(0, 0)] * (most_runs - len(photos.runs)) for photos in sets]
    bounds = np.array(padded, listed.dtype).reshape(len(sets), most_runs, 2, 1).transpose(1, 2, 0, 3)
    return reduce(np.logical_or, ((listed >= first) & (listed < stop) for first, stop in bounds))


def _nonzero_positions(values: Mask) -> Ints64:
    """`np.flatnonzero` of few among many in half its time, as no branch depends on where they are."""
    packed = np.packbits(values)
    nonzero_bytes = np.flatnonzero(packed != 0)
    bits = np.flatnonzero(np.unpackbits(packed.take(nonzero_bytes)).view(np.bool_))
    return nonzero_bytes.take(bits >> 3) * 8 + (bits & 7)


def iterate_query_blocks(
    ranking: Ranking, protocol: Protocol, seen_classes: Collection[str] = ()
) -> Iterator[QueryBlock]:
    """The queries of a protocol with their galleries, read in blocks from a ranking.

    Pictures seen in training are neither queries nor in a gallery, unless the protocol takes all.

    Args:
        seen_classes: classes of the ranking that a model trained elsewhere has seen; a `novel` protocol leaves them
            out.

    Raises:
        ZseError: the pictures have no classes or instances, so nothing is relevant.
    """
    _check_labels(ranking, protocol)
    is_query, in_gallery = select_pictures(ranking, protocol, seen_classes)
    within_query, within_photo = _column_codes(ranking, protocol.within)
    ignored_query, ignored_photo = _column_codes(ranking, ranking.ignore_same)
    target_query, target_photo = _column_codes(ranking, protocol.relevant)

    @lru_cache(CACHED_SETS)
    def gallery_of(within: int, ignored: int) -> PhotoSet:
        photos = in_gallery & ~_has_code(ignored_photo, ignored)
        if protocol.within is not None:
            photos &= _has_code(within_photo, within)
        return PhotoSet(photos)

    @lru_cache(CACHED_SETS)
    def relevant_of(within: int, ignored: int, target: int) -> PhotoSet:
        return PhotoSet(gallery_of(within, ignored).mask[:-1] & _has_code(target_photo, target))

    # by the gallery's size, so that a truncated ranking is read in the same blocks as a complete one
    queries_per_block = max(1, ENTRIES_AT_ONCE // max(1, len(ranking.gallery)))
    for start in range(0, len(ranking.query), queries_per_block):
        block = slice(start, start + queries_per_block)
        selected = np.flatnonzero(is_query[block])
        if not len(selected):
            continue
        listed = ranking.indices[block]
        if len(selected) < len(listed):
            listed = listed[selected]
        rows = start + selected
        within = within_query[rows].tolist()
        ignored = ignored_query[rows].tolist()
        targets = target_query[rows].tolist()
        yield QueryBlock(
            rows=rows.tolist(),
            listed=listed,
            galleries=[gallery_of(*codes) for codes in zip(within, ignored, strict=True)],
            relevant=[relevant_of(*codes) for codes in zip(within, ignored, targets, strict=True)],
        )


def _check_labels(ranking: Ranking, protocol: Protocol) -> None:
    """ZseError where the sketches or the photos lack the column that makes a photo relevant."""
    for items in (ranking.query, ranking.gallery):
        if (items.column(protocol.relevant).codes >= 0).any():
            continue
        missing, hint = "class", "evaluate a data set made by zse prepare"
        if protocol.relevant == "instance":
            missing = "instance"
            hint = "no sketch is known to show one photo's object: --split zs-inter asks for classes"
        raise ZseError(f"{ranking.path}: its pictures have no {missing}, so nothing tells a hit from a miss", hint)


def _has_code(codes: Ints, code: int) -> Mask:
    """Where photos have a query's code; -1 matches no photo."""
    return (codes == code) & (code >= 0)


def select_pictures(ranking: Ranking, protocol: Protocol, seen_classes: Collection[str] = ()) -> tuple[Mask, Mask]:
    """(Q,) and (G,): whether each sketch is a query, and whether each photo is in a gallery.

    Where no picture is marked as seen or unseen, nothing was seen in training, and all take part.

    Args:
        seen_classes: as in `iterate_query_blocks`.
    """
    is_split = any((items.part != NEITHER).any() for items in (ranking.query, ranking.gallery))
    is_query = _select_side(ranking.query, protocol.queries if is_split else "all")
    in_gallery = _select_side(ranking.gallery, protocol.gallery if is_split else "all")
    if protocol.novel:
        is_query &= ~_has_class_in(ranking.query, seen_classes)
        in_gallery &= ~_has_class_in(ranking.gallery, seen_classes)
    return is_query, in_gallery


def _select_side(items: Items, members: Members) -> Mask:
    if members == "unseen":
        return items.part == UNSEEN
    return np.ones(len(items), bool)


def _has_class_in(items: Items, names: Collection[str]) -> Mask:
    """(N,) whether the class of each picture is one of `names`."""
    is_named = [name in names for name in items.label.names]
    return np.array([*is_named, False])[items.label.codes]


def _column_codes(ranking: Ranking, column: str | None) -> tuple[Ints, Ints]:
    """Codes (Q,) and (G,) of a column in the names of the gallery; -1 for a query's name that the gallery lacks.

    No column: -1 throughout.
    """
    if column is None:
        return np.full(len(ranking.query), -1), np.full(len(ranking.gallery), -1)
    gallery = ranking.gallery.column(column)
    return ranking.query.column(column).codes_in(gallery.names), gallery.codes
