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
    """A photo in the ranking of a query."""

    query: str
    rank: int
    score: float
    photo: str
    is_same_class: bool | None
    """None where the query or the photo has no class."""


def iterate_hits(ranking: Ranking, top: int, max_queries: int | None = None) -> Iterator[Hit]:
    """The `top` photos of every query (of the first `max_queries`), best first."""
    query_codes = ranking.query.label.codes_in(ranking.gallery.label.names)
    photo_codes = ranking.gallery.label.codes
    for row, query in enumerate(ranking.query.id[:max_queries]):
        has_class = ranking.query.label.codes[row] >= 0
        photos, scores = ranking.indices[row][:top], ranking.scores[row][:top]
        for rank, (photo, score) in enumerate(zip(photos, scores, strict=True), 1):
            if photo < 0:
                continue
            is_same_class = None
            if has_class and photo_codes[photo] >= 0:
                is_same_class = bool(query_codes[row] == photo_codes[photo])
            yield Hit(query, rank, float(score), ranking.gallery.id[photo], is_same_class)


def print_hits(path: Path, top: int, text_format: str) -> None:
    """Hits on stdout: `tsv` query, rank, score, photo; `json` an object a line."""
    with open_ranking(path) as ranking:
        for hit in iterate_hits(ranking, top):
            if text_format == "json":
                record = {"query": hit.query, "rank": hit.rank, "score": hit.score, "photo": hit.photo}
                print(escape_for_stdout(escape_json_line_breaks(json.dumps(record, ensure_ascii=False))))
            else:
                print(_format_cell(hit.query), hit.rank, f"{hit.score:.6f}", _format_cell(hit.photo), sep="\t")


def _format_cell(text: str) -> str:
    """A name as one TSV cell: backslashes are doubled, then what would end a cell or a line is escaped."""
    return escape_for_stdout(escape_line_breaks(text.replace("\\", "\\\\")))


def show_hits(path: Path, top: int) -> None:
    """A table of the first queries' hits on stderr."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    with open_ranking(path) as ranking:
        n_hidden = len(ranking.query) - QUERIES_SHOWN
        table = Table(caption=f"and {n_hidden} more queries" if n_hidden > 0 else None, box=None)
        for name in ("query", "rank", "score", "photo", "same class"):
            table.add_column(name, justify="right" if name in ("rank", "score") else "left", overflow="fold")
        for hit in iterate_hits(ranking, top, QUERIES_SHOWN):
            same_class = {None: "", True: "yes", False: "no"}[hit.is_same_class]
            table.add_row(
                Text(escape_for_terminal(hit.query) if hit.rank == 1 else ""),
                str(hit.rank),
                f"{hit.score:.4f}",
                Text(escape_for_terminal(hit.photo)),
                same_class,
            )
    Console(stderr=True).print(table)
