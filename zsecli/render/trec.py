"""TREC run and qrels files, for other tools."""

from __future__ import annotations

import filecmp
from collections.abc import Collection
from pathlib import Path
from urllib.parse import quote

from zsecli.errors import UsageError
from zsecli.evaluate.protocols import Protocol, iterate_query_blocks
from zsecli.runtime.files import atomic_write
from zsecli.store.ranking import open_ranking


def _name(identifier: str) -> str:
    """An id without blanks, as the format needs: percent-encoded."""
    return quote(identifier, safe="/:@+,=~")


def outputs(protocol: Protocol, folder: Path) -> tuple[Path, Path]:
    """The files that `write` makes: `NAME.run` and `NAME.qrels`."""
    name = protocol.name.replace("/", "-")
    return folder / f"{name}.run", folder / f"{name}.qrels"


def write(
    ranking: Path, protocol: Protocol, folder: Path, overwrite: bool, tag: str = "zse", trained: Collection[str] = ()
) -> tuple[Path, Path]:
    """A ranking and what is relevant in it under a protocol, in `outputs(protocol, folder)`.

    Run lines are `query Q0 photo rank score tag`, over the photos that count. The score counts down to
    1: tools that sort by it keep the order, ties included. Qrels lines are `query 0 photo 1`.

    Raises:
        UsageError: a file holds something else, and `overwrite` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = outputs(protocol, folder)
    with atomic_write(*paths) as partial:
        with open_ranking(ranking) as opened, partial[0].open("w") as run, partial[1].open("w") as qrels:
            photos = [_name(p) for p in opened.gallery.id]
            for asked in iterate_query_blocks(opened, protocol, trained):
                for i, row in enumerate(asked.rows):
                    query, order = _name(opened.query.id[row]), asked.listed_photos(i).tolist()
                    run.writelines(
                        f"{query} Q0 {photos[photo]} {rank} {len(order) + 1 - rank} {tag}\n"
                        for rank, photo in enumerate(order, 1)
                    )
                    qrels.writelines(f"{query} 0 {photos[photo]} 1\n" for photo in asked.relevant_photos(i))
        for path, new in zip(paths, partial, strict=True):
            if path.exists() and not overwrite and not filecmp.cmp(path, new, shallow=False):
                raise UsageError(
                    f"{path}: already holds something else", "pass --overwrite, or another folder with --trec"
                )
    return paths
