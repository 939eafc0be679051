"""What a stage may write over: never an input, nothing but files, and these only when it is told to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from zsecli.errors import StoreError, UsageError
from zsecli.runtime.files import check_is_file


def reject_inputs(output: Path | None, inputs: Iterable[Path]) -> None:
    """Check that `output` is none of the files `inputs`, by whatever name or link.

    Raises:
        UsageError: it is one of them, or it exists and is no file.
    """
    if output is None or not output.exists():
        return
    check_is_file(output)
    existing = output.stat()
    for path in inputs:
        with contextlib.suppress(OSError):
            if os.path.samestat(existing, path.stat()):
                raise UsageError(f"{output}: is an input of this command", "give the output another name")


def check_writable(outputs: Sequence[Path], overwrite: bool, inputs: Iterable[Path]) -> None:
    """Check that each of `outputs` is a new file, or one that may be overwritten.

    Raises:
        UsageError: one is an input, has the name of another output, or exists and `overwrite` is not set.
    """
    inputs = list(inputs)
    for number, path in enumerate(outputs):
        reject_inputs(path, inputs)
        if path in outputs[:number]:
            raise UsageError(f"{path}: would be written twice", "give different names")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already", "pass --overwrite, or another name with -o")


def pictures_of(*rankings: Path) -> list[Path]:
    """The pictures of these rankings, of those that say where their pictures are."""
    from zsecli.store.ranking import open_ranking

    pictures: list[Path] = []
    for ranking in rankings:
        with open_ranking(ranking) as opened, contextlib.suppress(StoreError):
            for side in opened.pictures():
                pictures += set(side)
    return pictures
