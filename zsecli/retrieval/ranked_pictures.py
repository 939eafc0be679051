"""The pictures of a ranking, as long as they are those that were ranked: their content decides, not their names."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from zsecli.arrays import Ints
from zsecli.data.hashing import ChangedPicture, hash_file
from zsecli.store.ranking import Ranking
from zsecli.store.remake_commands import NEW_FOLDER, remake_ranking


def check_ranked(ranking: Ranking, queries: Ints, photos: Ints) -> None:
    """Check that the sketches `queries` (Q,) and the photos `photos` (P,), rows of the ranking, are what was ranked.

    Raises:
        ChangedPicture: one is gone, or has another content. StoreError: the ranking does not say where they lie.
    """
    files = ranking.pictures()
    for side, items, rows in zip(files, (ranking.query, ranking.gallery), (queries, photos), strict=True):
        for row in dict.fromkeys(np.asarray(rows).tolist()):
            check_picture(ranking, side[row], items.sha256[row].tobytes())


def check_named(ranking: Ranking, files: Iterable[Path]) -> None:
    """Check those of the files that are pictures of the ranking, however they are named; others may be anything.

    Raises:
        ChangedPicture: one has another content than was ranked. StoreError: the ranking does not say where they lie.
    """
    given = [*files]
    wanted = {name for file in given for name in (os.path.abspath(file), os.path.realpath(file))}
    if not wanted:
        return
    for side, items in zip(ranking.pictures(), (ranking.query, ranking.gallery), strict=True):
        folders = {folder: os.path.realpath(folder) for folder in {file.parent for file in side}}
        for row, file in enumerate(side):
            if {str(file), os.path.join(folders[file.parent], file.name)} & wanted:
                check_picture(ranking, file, items.sha256[row].tobytes())


def check_picture(ranking: Ranking, file: Path, sha256: bytes) -> None:
    """ChangedPicture unless `file` has the content, by its SHA-256, with which it was ranked."""
    try:
        why = "changed since it was ranked" if hash_file(file) != sha256 else ""
    except OSError as error:
        why = f"{error.strerror}, though it was ranked"
    if why:
        commands = remake_ranking(ranking)
        if NEW_FOLDER in commands:
            commands += f", with the folder that the pictures are in now for {NEW_FOLDER}"
        raise ChangedPicture(f"{file}: {why} in {ranking.path}", commands)
