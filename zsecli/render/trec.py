"""TREC run and qrels files, for other tools."""

from __future__ import annotations

import filecmp
from collections.abc import Collection, Sequence
from pathlib import Path
from urllib.parse import quote

from zsecli.errors import UsageError
from zsecli.evaluate.protocols import Protocol, iterate_query_blocks
from zsecli.runtime.files import atomic_write
from zsecli.store.ranking import open_ranking


def trec_paths(protocol: Protocol, folder: Path) -> tuple[Path, Path]:
    """The files that `write_trec` makes: `NAME.run` and `NAME.qrels`."""
    name = protocol.name.replace("/", "-")
    return folder / f"{name}.run", folder / f"{name}.qrels"


def write_trec(
    ranking: Path,
    protocol: Protocol,
    folder: Path,
    overwrite: bool,
    tag: str = "zse",
    seen_classes: Collection[str] = (),
) -> tuple[Path, Path]:
    """Write a ranking, and what is relevant in it under a protocol, to `trec_paths(protocol, folder)`.

    Run lines are `query Q0 photo rank score tag`, over the photos of the query's gallery. The score counts down to 1:
    tools that sort by it keep the order, ties included. Qrels lines are `query 0 photo 1`.

    Args:
        seen_classes: as in `zsecli.evaluate.protocols.iterate_query_blocks`.

    Raises:
        UsageError: a file holds something else, and `overwrite` is False.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = trec_paths(protocol, folder)
    with atomic_write(*paths) as partial_paths:
        _write_files(ranking, protocol, partial_paths, tag, seen_classes)
        for path, partial in zip(paths, partial_paths, strict=True):
            if path.exists() and not overwrite and not filecmp.cmp(path, partial, shallow=False):
                raise UsageError(
                    f"{path}: already holds something else", "pass --overwrite, or another folder with --trec"
                )
    return paths


def _write_files(
    ranking: Path, protocol: Protocol, paths: Sequence[Path], tag: str, seen_classes: Collection[str]
) -> None:
    run_path, qrels_path = paths
    with open_ranking(ranking) as opened, run_path.open("w") as run, qrels_path.open("w") as qrels:
        photo_names = [_quote_id(photo) for photo in opened.gallery.id]
        for block in iterate_query_blocks(opened, protocol, seen_classes):
            for i, row in enumerate(block.rows):
                query = _quote_id(opened.query.id[row])
                photos = block.listed_photos(i).tolist()
                for rank, photo in enumerate(photos, 1):
                    run.write(f"{query} Q0 {photo_names[photo]} {rank} {len(photos) + 1 - rank} {tag}\n")
                for photo in block.relevant_photos(i).tolist():
                    qrels.write(f"{query} 0 {photo_names[photo]} 1\n")


def _quote_id(identifier: str) -> str:
    """An id without blanks, as the format needs: percent-encoded."""
    return quote(identifier, safe="/:@+,=~")
