"""Where targets run: a folder with a few tiny pictures, prepared and ranked; and what counts as an answer."""

from __future__ import annotations

import atexit
import itertools
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TypeVar

from PIL import Image

from helpers.commands import Done, call
from zsecli.cli.failures import in_words
from zsecli.errors import DONE, FAILED, INTERRUPTED, SKIPPED, UNUSABLE, USAGE

CODES = {DONE, FAILED, USAGE, UNUSABLE, SKIPPED, INTERRUPTED}
PICTURES = ("cat/a", "cat/b", "dog/c", "dog/d")
LONGEST = 20_000  # characters of an error: what it cites of an input is no longer than that, and said a few times

_numbers = itertools.count()
Found = TypeVar("Found")


@cache
def tree() -> Path:
    """A folder with the pictures `tree/sketch/CLASS/*.png` and `tree/photo/CLASS/*.jpg`.

    A process has its own; it goes when the process ends.
    """
    made = Path(tempfile.mkdtemp(prefix="zse-fuzz-"))
    atexit.register(shutil.rmtree, made)
    for number, name in enumerate(PICTURES):
        for modality, suffix in (("sketch", ".png"), ("photo", ".jpg")):
            file = (made / "tree" / modality / name).with_suffix(suffix)
            file.parent.mkdir(parents=True, exist_ok=True)
            picture = Image.new("RGB", (8, 8), "white" if suffix == ".png" else (40 * number, 90, 20))
            picture.putpixel((number, 2), (0, 0, 0))
            picture.save(file)
    return made


@cache
def scratch() -> Path:
    """The same folder, with the workspace `zse` that is made of the pictures."""
    for words in (("prepare", "folder", "tree"), ("match",)):
        done = call(tree(), *words)
        assert done.code == 0, done.err  # where atheris says what it does
    return tree()


def new(suffix: str, data: bytes | None = None) -> Path:
    """A name in the scratch folder that no input had before: what zse keeps of a file by its name and time is its own.

    The caller removes it.
    """
    path = tree() / f"input-{next(_numbers)}{suffix}"
    if data is not None:
        path.write_bytes(data)
    return path


def answer(function: Callable[..., Found], *values: object) -> Found | None:
    """What a function returns; None where it refuses `values` as a user should see it. Anything else is raised."""
    try:
        return function(*values)
    except MemoryError:
        raise
    except Exception as error:
        said = in_words(error)
        if "this is a fault of zse" in said.hint:
            raise
        _check(said.message, said.hint)
        return None


def run(*words: object, stdin: bytes = b"", folder: Path | None = None) -> Done:
    """`zse WORDS` in the scratch folder, or in another; AssertionError unless it ends with an answer or two lines."""
    done = call(folder or scratch(), *words, stdin=stdin)
    assert done.code in CODES, done.err
    assert "this is a fault of zse" not in done.err, done.err
    if done.code in (FAILED, USAGE, UNUSABLE):
        lines = done.err.split("\n")
        assert [line.partition(": ")[0] for line in lines[-3:]] == ["error", "hint", ""], done.err
        _check(*(line.partition(": ")[2] for line in lines[-3:-1]))
    return done


def _check(message: str, hint: str) -> None:
    assert message and hint, (message, hint)
    assert len(message) + len(hint) < LONGEST, (message[:200], hint[:200])
