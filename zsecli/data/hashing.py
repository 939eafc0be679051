"""Content hashes of pictures, read once: a file of the same size and time is not read again."""

from __future__ import annotations

import hashlib
import io
import os
import warnings
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import numpy as np
from numpy.typing import NDArray

from zsecli.console import SILENT, Progress
from zsecli.data.pictures import PictureError, blank, damaged, opened
from zsecli.data.walk import OWN
from zsecli.marks import is_own_picture
from zsecli.store.items import Ints

Read = tuple[int, int, bytes, bool]  # size, mtime, sha256, blank
Known = dict[str, Read]
SMALL = 2**24  # bytes that are read at once; of a larger file the beginning first, as it may be no picture
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
                data.seek(0)
                image = opened(data)
                if decode:
                    image.draft(None, (64, 64))  # a JPEG at an eighth: read to its end, but quicker
                    image.load()
                empty = decode and blank(image)
                data.seek(0)
                return stat.st_size, stat.st_mtime_ns, hashlib.sha256(data.read()).digest(), empty
        except PictureError as error:
            return str(error)
        except FileNotFoundError:
            return "no such file"
        except UnicodeEncodeError:
            return "its name is not UTF-8"
        except Exception as error:
            return getattr(error, "strerror", None) or str(damaged(error))

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


def changed_files(root: Path, known: Known) -> list[str]:
    """The known files that are there with another content; only those of another size or time are read."""
    changed = []
    for name, (size, mtime, digest, _) in known.items():
        try:
            stat = os.stat(root / name)
            same = (stat.st_size, stat.st_mtime_ns) == (size, mtime)
            if not same and hashlib.sha256((root / name).read_bytes()).digest() != digest:
                changed.append(name)
        except OSError:
            continue
    return changed
