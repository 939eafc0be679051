"""The pairs of pictures that `explain` and `synthesize` work on: given as files, or as a query of a ranking."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsecli.errors import UsageError, did_you_mean
from zsecli.explain.load_network import network_of_ranking
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.ranked_pictures import check_named, check_ranked
from zsecli.stages.defaults import choose_model
from zsecli.store.ranking import open_ranking
from zsecli.workspace import Workspace


@dataclass(frozen=True, kw_only=True)
class RankedPhoto:
    """A photo to explain, and the place at which it is ranked (or given)."""

    rank: int
    photo: Path


@dataclass(frozen=True, kw_only=True)
class QueryPhotos:
    """A sketch, and the photos that it is paired with."""

    sketch: Path
    photos: list[RankedPhoto]


def select_pairs(
    sketch: Path | None, photos: Sequence[Path], ranking: Path | None, query: str | None, ranks: str
) -> QueryPhotos:
    """The pictures that are given as files, or those of a query of a ranking.

    Raises:
        UsageError: neither is given whole, both are, or a file is missing.
    """
    if ranking is not None:
        if sketch is not None:
            raise UsageError(f"{sketch}: --ranking names the pictures", "leave out the pictures, or --ranking")
        if query is None:
            raise UsageError("--ranking needs --query, the sketch", "--query sketch/cat/1.png")
        return read_ranked_pictures(ranking, query, ranks)
    if sketch is None or not photos:
        raise UsageError(
            "a sketch and a photo are needed", "zse explain sketch.png photo.jpg, or --ranking and --query"
        )
    for picture in (sketch, *photos):
        check_is_picture_file(picture)
    ranked = [RankedPhoto(rank=rank, photo=photo) for rank, photo in enumerate(photos, 1)]
    return QueryPhotos(sketch=sketch, photos=ranked)


def read_ranked_pictures(ranking: Path, query: str, ranks: str) -> QueryPhotos:
    """The sketch of a ranking called `query`, and its photos at `ranks`: 3, 1,4 or 1..5.

    Raises:
        UsageError: there is no such query, or no such rank. StoreError: the ranking does not say where its pictures
            are. ChangedPicture: one of them is no longer what was ranked.
    """
    with open_ranking(ranking) as opened:
        sketches, photos = opened.pictures()
        row = _find_query(opened.query.id, query)
        order = opened.indices[row]
        ranked = []
        for rank in _parse_ranks(ranks):
            if not 1 <= rank <= len(order) or order[rank - 1] < 0:
                last = int((order >= 0).sum())
                raise UsageError(f"--rank {rank}: the ranking keeps {last} photos for this sketch", f"1..{last}")
            ranked.append(RankedPhoto(rank=rank, photo=photos[order[rank - 1]]))
        check_ranked(opened, np.array([row]), order[[photo.rank - 1 for photo in ranked]])
        return QueryPhotos(sketch=sketches[row], photos=ranked)


def choose_network(workspace: Workspace, model: ModelSpec | None, ranking: Path | None) -> ModelSpec:
    """The network to explain with: `model`, else the one that made the ranking, else the workspace's."""
    if model is not None:
        return model
    if ranking is None:
        return choose_model(workspace, None)
    with open_ranking(ranking) as opened:
        return network_of_ranking(opened)


def check_is_picture_file(picture: Path) -> None:
    """UsageError where `picture` is no file."""
    if picture.is_file():
        return
    problem = "no such picture"
    if picture.is_dir():
        problem = "is a folder"
    elif picture.exists():
        problem = "is a pipe or a device"
    raise UsageError(f"{picture}: {problem}", "give the path of one picture")


def check_unchanged(ranking: Path, photo: Path) -> None:
    """Check that a photo given beside a ranking, if it is one of its own, is still what was ranked."""
    with open_ranking(ranking) as opened:
        check_named(opened, [photo])


def _find_query(ids: Sequence[str], query: str) -> int:
    """The row of the sketch whose id is `query` or ends with it; UsageError unless it is one."""
    rows = [row for row, name in enumerate(ids) if name == query or name.endswith("/" + query)]
    if len(rows) == 1:
        return rows[0]
    problem = f"names {len(rows)} sketches of it" if rows else "is no sketch of it"
    raise UsageError(f"--query {query}: {problem}{did_you_mean(query, ids)}", f"for example {ids[0]}")


def _parse_ranks(text: str) -> Iterator[int]:
    for item in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", item.strip())
        if match is None:
            raise UsageError(f"--rank {text[:40]}: expected 3, or 1,4, or 1..5", "ranks count from 1, the best")
        first, last = int(match[1]), int(match[2] or match[1])
        if last < first:
            raise UsageError(f"--rank {text}: ends before it begins", f"{last}..{first}")
        yield from range(first, last + 1)
