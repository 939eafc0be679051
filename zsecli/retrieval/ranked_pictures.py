"""Checks that the pictures of a ranking are still those that were ranked: by content, not by name."""

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
        ChangedPicture: one is gone, or has other content. StoreError: the ranking does not say where they are.
    """
    sketch_files, photo_files = ranking.pictures()
    sides = ((sketch_files, ranking.query, queries), (photo_files, ranking.gallery, photos))
    for files, items, rows in sides:
        for row in dict.fromkeys(np.asarray(rows).tolist()):  # each once, in this order
            check_picture(ranking, files[row], items.sha256[row].tobytes())


def check_named(ranking: Ranking, files: Iterable[Path]) -> None:
    """Check those of the files that are pictures of the ranking, under whatever name; ignore the others.

    Raises:
        ChangedPicture: one has other content than was ranked. StoreError: the ranking does not say where they are.
    """
    wanted = set()
    for file in files:
        wanted |= {os.path.abspath(file), os.path.realpath(file)}
    if not wanted:
        return
    for ranked_files, items in zip(ranking.pictures(), (ranking.query, ranking.gallery), strict=True):
        real_folders = {folder: os.path.realpath(folder) for folder in {file.parent for file in ranked_files}}
        for row, file in enumerate(ranked_files):
            names = {str(file), os.path.join(real_folders[file.parent], file.name)}
            if names & wanted:
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
