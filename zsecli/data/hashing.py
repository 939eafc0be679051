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
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.folder_walk import OWN
from zsecli.errors import ZseError
from zsecli.images.decode import Opened, PictureError, describe_damage, is_blank, read_opened
from zsecli.images.loader import SMALL, reserve_memory
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.marks import is_own_picture

Read = tuple[int, int, bytes, bool]  # size, mtime, sha256, blank
Known = dict[str, Read]
Stamp = tuple[int, int, bytes]  # size, mtime, sha256
MARKED = 4096  # bytes at the beginning of a picture that hold the mark of zse, if it has one
CHUNK = 32  # files a thread takes at once: handing them over one by one costs more than a small picture


@dataclass
class Hashed:
    """sha256 (N, 32) uint8, size and mtime (N,) int64, blank (N,) bool of the readable ones; why others are not.

    blank: of one colour; False where nobody looked.
    """

    sha256: NDArray[np.uint8]
    size: Ints
    mtime: Ints
    blank: NDArray[np.bool_]
    good: Ints
    bad: list[tuple[str, str]]


def hash_files(
    root: Path,
    ids: Sequence[str],
    known: Known,
    progress: Progress = SILENT,
    *,
    decode: bool = False,
    done: Callable[[Known], None] = lambda reads: None,
    named: Collection[str] = (),
) -> Hashed:
    """Hash `root`/id for every id, in parallel, trusting `known` where size and time agree.

    A file that is missing, empty or without the beginning of a picture is listed in `bad`; a pipe is not waited for.

    Args:
        decode: read every picture to its end, so that damaged and blank ones are found.
        done: told of the files that were read, some at once.
        named: what is taken even if zse made it, as somebody named it; of the rest that is `bad`, with the reason OWN.
    """

    def one(name: str) -> Read | str:
        file = root / name
        try:
            name.encode()
            stat = file.stat()
            if not S_ISREG(stat.st_mode):
                return "a folder, not a picture" if S_ISDIR(stat.st_mode) else "a pipe, socket or device, not a file"
            read = known.get(name)
            if read is not None and read[:2] == (stat.st_size, stat.st_mtime_ns):
                return read
            with file.open("rb") as whole:
                data = io.BytesIO(whole.read()) if stat.st_size <= SMALL else whole
                if name not in named and is_own_picture(data.read(MARKED)):
                    return OWN
                empty = read_opened(data, look_through if decode else lambda picture: False)
                data.seek(0)
                return stat.st_size, stat.st_mtime_ns, hashlib.file_digest(data, "sha256").digest(), empty
        except PictureError as error:
            return str(error)
        except FileNotFoundError:
            return "no such file"
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        except Exception as error:
            return getattr(error, "strerror", None) or str(describe_damage(error))

    def look_through(picture: Opened) -> bool:
        """Read a picture to its end: whether it is blank."""
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

    progress.start(len(ids))
    chunks = [ids[i : i + CHUNK] for i in range(0, len(ids), CHUNK)]
    found: dict[str, Read | str] = {}
    with warnings.catch_warnings(), ThreadPoolExecutor() as pool:  # once for all threads, which share the filters
        warnings.simplefilter("ignore")
        for some in pool.map(lambda names: {name: one(name) for name in names}, chunks):
            done({k: v for k, v in some.items() if not isinstance(v, str) and v is not known.get(k)})
            progress(len(some))
            found |= some
    bad = [(name, why) for name, why in found.items() if isinstance(why, str)]
    good = [i for i, name in enumerate(ids) if not isinstance(found[name], str)]
    rows = [read for name in ids if not isinstance(read := found[name], str)]
    sizes, times = ([r[i] for r in rows] for i in (0, 1))
    digests = np.frombuffer(b"".join(r[2] for r in rows), np.uint8).reshape(-1, 32)
    whole = {"size": np.array(sizes, np.int64), "mtime": np.array(times, np.int64), "good": np.array(good, np.int64)}
    return Hashed(sha256=digests, blank=np.array([r[3] for r in rows], bool), bad=bad, **whole)


class ChangedPicture(ZseError):
    """A picture is gone, or has another content than the list, or the ranking, that names it."""


class WatchedFiles:
    """N files whose content is known, and whether they still have it, whenever that is asked.

    A file is read again only where its size or time is another. One that is gone has not changed: what was made of it
    stays right.

    Args:
        stamps: of each file, what it was.
    """

    def __init__(self, files: Sequence[Path], stamps: Iterable[Stamp]) -> None:
        self._files, self._stamps = files, [*stamps]

    def changed(self, row: int) -> bool:
        """Whether the file has another content; one that has but another time is read for that time once."""
        file, (size, mtime, digest) = self._files[row], self._stamps[row]
        try:
            stat = os.stat(file)
            if (stat.st_size, stat.st_mtime_ns) == (size, mtime):
                return False
            if hash_file(file) != digest:
                return True
        except OSError:
            return False
        self._stamps[row] = stat.st_size, stat.st_mtime_ns, digest
        return False


def find_changed_files(root: Path, listed: Mapping[str, Stamp]) -> list[str]:
    """The listed files that are there with another content; only those of another size or time are read."""
    files = WatchedFiles([root / name for name in listed], listed.values())
    return [name for row, name in enumerate(listed) if files.changed(row)]


def hash_file(file: Path) -> bytes:
    """SHA-256 of a file's content, 32 bytes. OSError where it cannot be read; a pipe is not waited for."""
    if not S_ISREG(os.stat(file).st_mode):
        raise OSError(errno.EINVAL, "not a file")
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()
