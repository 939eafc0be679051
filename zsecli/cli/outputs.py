"""What a command may write over: never an input, nothing but files, and these only when it is told to."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from zsecli.errors import StoreError, UsageError
from zsecli.runtime.files import check_is_file

INPUTS = (  # parameters whose texts are files to read
    *("path", "root", "lists", "unseen", "config", "inputs", "sketch", "sketches", "photo", "photos", "contrast"),
    *("ranking", "model", "against", "keypoints", "backbone_weights", "backbone_from"),
)


def apart(context: typer.Context, output: Path | None, inputs: Iterable[Path] = ()) -> None:
    """UsageError where the output is no file, or is an input: one of `inputs`, or a file that a parameter names."""
    if output is None or not output.exists():
        return
    check_is_file(output)
    there = output.stat()
    for path in (*_named(context), *inputs):
        with contextlib.suppress(OSError):
            if os.path.samestat(there, path.stat()):  # by whatever name, or link
                raise UsageError(f"{output}: is an input of this command", "give the output another name")


def free(context: typer.Context, outputs: list[Path], overwrite: bool, inputs: Iterable[Path]) -> None:
    """UsageError where an output has the name of an input, of another output, or of a file that is there."""
    for number, path in enumerate(outputs):
        apart(context, path, inputs)
        if path in outputs[:number]:
            raise UsageError(f"{path}: would be written twice", "give different names")
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: is there already", "pass --overwrite, or another name with -o")


def pictures_of(*rankings: Path) -> list[Path]:
    """The pictures of these rankings, as far as they say where theirs lie."""
    from zsecli.store.ranking import open_ranking

    found = list[Path]()
    for ranking in rankings:
        with open_ranking(ranking) as opened, contextlib.suppress(StoreError):
            found += {picture for some in opened.pictures() for picture in some}
    return found


def _named(context: typer.Context) -> Iterator[Path]:
    for name in INPUTS:
        given = context.params.get(name) or ()
        for one in given if isinstance(given, (list, tuple)) else (given,):
            text = os.fspath(one)
            yield Path(text.partition("=")[2] if text.startswith("frozen:") else text)
