"""Content hashes of pictures, read once: a file of the same size and time is not read again."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from zsecli.console import SILENT, Progress
from zsecli.store.items import Ints

Known = dict[str, tuple[int, int, bytes]]  # id: size, mtime, sha256


@dataclass
class Hashed:
    """sha256 (N, 32) uint8, size and mtime (N,) int64 of the readable ones of the paths, and why the others are not."""

    sha256: NDArray[np.uint8]
    size: Ints
    mtime: Ints
    good: Ints
    bad: list[tuple[str, str]]


def hash_files(root: Path, ids: Sequence[str], known: Known, progress: Progress = SILENT) -> Hashed:
    """Hash `root`/id for every id, in parallel, trusting `known` where size and time agree.

    A file that is missing, empty or without the beginning of a picture is listed in `bad`.
    """

    def one(name: str) -> tuple[int, int, bytes] | str:
        file = root / name
        try:
            stat = file.stat()
            size, mtime, digest = known.get(name, (-1, -1, b""))
            if (size, mtime) != (stat.st_size, stat.st_mtime_ns):
                data = file.read_bytes()
                Image.open(io.BytesIO(data)).close()
                digest = hashlib.sha256(data).digest()
            return stat.st_size, stat.st_mtime_ns, digest
        except FileNotFoundError:
            return "no such file"
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            return (
                "empty"
                if file.is_file() and not file.stat().st_size
                else "not a picture"
                if "cannot identify" in str(error)
                else str(error)
            )

    progress.start(len(ids))
    rows, good, bad = [], [], []
    with ThreadPoolExecutor() as pool:
        for i, result in enumerate(pool.map(one, ids, chunksize=64)):
            progress(1)
            if isinstance(result, str):
                bad.append((ids[i], result))
            else:
                good.append(i)
                rows.append(result)
    sizes, times = ([r[i] for r in rows] for i in (0, 1))
    digests = np.frombuffer(b"".join(r[2] for r in rows), np.uint8).reshape(-1, 32)
    return Hashed(digests, np.array(sizes, np.int64), np.array(times, np.int64), np.array(good, np.int64), bad)
