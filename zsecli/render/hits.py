"""The best photos of a ranking, for people and for pipes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from zsecli.runtime.console import escape_for_stdout, escape_for_terminal, escape_json_line_breaks, escape_line_breaks
from zsecli.store.ranking import Ranking, open_ranking

QUERIES_SHOWN = 10


class Hit(NamedTuple):
    query: str
    rank: int
    score: float
    photo: str
    right: bool | None  # None: one of the two has no class


def hits(ranking: Ranking, top: int, queries: int | None = None) -> Iterator[Hit]:
    """The `top` photos of every query (of the first `queries`), best first."""
    ours, theirs = ranking.query.label.codes_in(ranking.gallery.label.names), ranking.gallery.label.codes
    for row, query in enumerate(ranking.query.id[:queries]):
        known = ranking.query.label.codes[row] >= 0
        for rank, (photo, score) in enumerate(
            zip(ranking.indices[row][:top], ranking.scores[row][:top], strict=True), 1
        ):
            if photo >= 0:
                right = bool(ours[row] == theirs[photo]) if known and theirs[photo] >= 0 else None
                yield Hit(query, rank, float(score), ranking.gallery.id[photo], right)


def print_hits(path: Path, top: int, form: str) -> None:
    """Hits on stdout: `tsv` query, rank, score, photo; `json` an object a line."""
    with open_ranking(path) as ranking:
        for hit in hits(ranking, top):
            if form == "json":
                found = {"query": hit.query, "rank": hit.rank, "score": hit.score, "photo": hit.photo}
                print(escape_for_stdout(escape_json_line_breaks(json.dumps(found, ensure_ascii=False))))
            else:
                print(_cell(hit.query), hit.rank, f"{hit.score:.6f}", _cell(hit.photo), sep="\t")


def _cell(text: str) -> str:
    """A name as one TSV cell: backslashes are doubled, then what would end a cell or a line is escaped."""
    return escape_for_stdout(escape_line_breaks(text.replace("\\", "\\\\")))


def show_hits(path: Path, top: int) -> None:
    """A table of the first queries' hits on stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with open_ranking(path) as ranking:
        more = len(ranking.query) - QUERIES_SHOWN
        table = Table(caption=f"and {more} more queries" if more > 0 else None, box=None)
        for name in ("query", "rank", "score", "photo", "same class"):
            table.add_column(name, justify="right" if name in ("rank", "score") else "left", overflow="fold")
        for hit in hits(ranking, top, QUERIES_SHOWN):
            right = {None: "", True: "yes", False: "no"}[hit.right]
            table.add_row(
                Text(escape_for_terminal(hit.query) if hit.rank == 1 else ""),
                str(hit.rank),
                f"{hit.score:.4f}",
                Text(escape_for_terminal(hit.photo)),
                right,
            )
    Console(stderr=True).print(table)
