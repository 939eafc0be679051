"""Content hashes of pictures, read once: a file of the same size and time is not read again."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np

from zsecli.arrays import Bytes, Ints, Mask
from zsecli.data.dataset import FileState, PictureState
from zsecli.data.folder_walk import OWN
from zsecli.errors import ZseError
from zsecli.images.decode import Opened, is_blank, read_opened
from zsecli.images.loader import SMALL, reserve_memory
from zsecli.images.picture_errors import PictureError, describe_damage
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.marks import is_own_picture

Known = dict[str, PictureState]  # by id
Stamp = FileState
MARKED = 4096  # bytes at the beginning of a picture that hold the mark of zse, if it has one
CHUNK = 32  # files a thread takes at once: handing them over one by one costs more than a small picture


@dataclass(kw_only=True)
class Hashed:
    """The files that could be read, N of them, and why others could not."""

    sha256: Bytes  # (N, 32)
    size: Ints  # (N,) int64, bytes
    mtime: Ints  # (N,) int64, nanoseconds
    blank: Mask  # (N,) of one colour; False where nobody looked
    good: Ints  # (N,) int64, their positions among the files that were to be read
    bad: list[tuple[str, str]]  # (id, reason)

    @classmethod
    def from_results(cls, results: Sequence[tuple[str, PictureState | str]]) -> Hashed:
        """From the state, or the reason why it could not be read, of each file."""
        good = [row for row, (_, result) in enumerate(results) if not isinstance(result, str)]
        bad = {name: result for name, result in results if isinstance(result, str)}
        states = [result for _, result in results if not isinstance(result, str)]
        return cls(
            sha256=np.frombuffer(b"".join(digest for _, _, digest, _ in states), np.uint8).reshape(-1, 32),
            size=np.array([size for size, _, _, _ in states], np.int64),
            mtime=np.array([mtime for _, mtime, _, _ in states], np.int64),
            blank=np.array([blank for _, _, _, blank in states], bool),
            good=np.array(good, np.int64),
            bad=list(bad.items()),
        )


def hash_files(
    root: Path,
    ids: Sequence[str],
    known: Known,
    progress: Progress = SILENT,
    *,
    decode: bool = False,
    on_read: Callable[[Known], None] = lambda states: None,
    named: Collection[str] = (),
) -> Hashed:
    """Hash `root`/id for every id, in parallel, trusting `known` where size and time agree.

    A file that is missing, empty or without the beginning of a picture is listed in `bad`; opening a pipe would block.

    Args:
        decode: read every picture to its end, so that damaged and blank ones are found.
        on_read: called with the files that were read, several at once.
        named: files that the user named, which are taken even if zse made them; others that it made are `bad`, with
            the reason OWN.
    """

    def hash_chunk(names: Sequence[str]) -> dict[str, PictureState | str]:
        return {name: hash_picture(root / name, name, known.get(name), decode, name in named) for name in names}

    progress.start(len(ids))
    chunks = [ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK)]
    results: dict[str, PictureState | str] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # once for all threads, which share the filters
        warnings.simplefilter("ignore")
        for chunk in pool.map(hash_chunk, chunks):
            new_states: Known = {}
            for name, result in chunk.items():
                results[name] = result
                if not isinstance(result, str) and result is not known.get(name):
                    new_states[name] = result
            on_read(new_states)
            progress(len(chunk))
    return Hashed.from_results([(name, results[name]) for name in ids])


def hash_picture(file: Path, name: str, known: PictureState | None, decode: bool, is_named: bool) -> PictureState | str:
    """The state of a picture, or the reason why it cannot be used; see `hash_files`.

    Args:
        known: its state when it was last read.
        is_named: it is taken even if zse made it.
    """
    try:
        name.encode()
        stat = file.stat()
        if S_ISDIR(stat.st_mode):
            return "a folder, not a picture"
        if not S_ISREG(stat.st_mode):
            return "a pipe, socket or device, not a file"
        if known is not None and known[:2] == (stat.st_size, stat.st_mtime_ns):
            return known
        with file.open("rb") as opened:
            data = io.BytesIO(opened.read()) if stat.st_size <= SMALL else opened
            if not is_named and is_own_picture(data.read(MARKED)):
                return OWN
            blank = read_opened(data, _decode_and_look if decode else _skip_decoding)
            data.seek(0)
            digest = hashlib.file_digest(data, "sha256").digest()
            return stat.st_size, stat.st_mtime_ns, digest, blank
    except PictureError as error:
        return str(error)
    except FileNotFoundError:
        return "no such file"
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    except Exception as error:
        return getattr(error, "strerror", None) or str(describe_damage(error))


def _skip_decoding(picture: Opened) -> bool:
    """Nobody looks whether the picture is blank."""
    return False


def _decode_and_look(picture: Opened) -> bool:
    """Read a picture to its end; whether it is blank."""
    full_size = picture.image.size
    picture.image.draft(None, (64, 64))  # a JPEG at an eighth, which is quicker
    with reserve_memory(picture, full_size):
        try:
            picture.image.load()
        except MemoryError:
            raise
        except Exception as error:
            raise describe_damage(error) from None
        return is_blank(picture.image)


class ChangedPicture(ZseError):
    """A picture is gone, or has another content than the list, or the ranking, that names it."""


class WatchedFiles:
    """N files whose content is known, and whether they still have it.

    A file is read again only where its size or time is another. One that is gone has not changed: what was made of it
    stays right.
    """

    def __init__(self, files: Sequence[Path], states: Iterable[FileState]) -> None:
        """`states`: of each file, as it was."""
        self._files = files
        self._states = [*states]

    def has_changed(self, row: int) -> bool:
        """Whether a file has another content; one that has only another time is read once for that time."""
        file = self._files[row]
        size, mtime, digest = self._states[row]
        try:
            stat = os.stat(file)
            if (stat.st_size, stat.st_mtime_ns) == (size, mtime):
                return False
            if hash_file(file) != digest:
                return True
        except OSError:
            return False
        self._states[row] = stat.st_size, stat.st_mtime_ns, digest
        return False


def find_changed_files(root: Path, listed: Mapping[str, FileState]) -> list[str]:
    """The listed files that exist with another content; only those of another size or time are read."""
    files = WatchedFiles([root / name for name in listed], listed.values())
    return [name for row, name in enumerate(listed) if files.has_changed(row)]


def hash_file(file: Path) -> bytes:
    """SHA-256 of a file's content, 32 bytes.

    Raises:
        OSError: it cannot be read, or is no file: opening a pipe would block.
    """
    if not S_ISREG(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, "not a file")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
