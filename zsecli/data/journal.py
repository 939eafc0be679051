"""What a run of `prepare` has read so far, beside its target, so that a killed run reads no file twice."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from zsecli.data.hashing import Known, Read
from zsecli.errors import ZseError

FLUSH_EVERY = 256  # files


class Journal:
    """A text file with a JSON line a picture, behind a first line with the root; gone once the store is there.

    Attributes:
        known: what an earlier run below the same root read. It is trusted where size and time agree, as a store is.
    """

    def __init__(self, target: Path, root: Path) -> None:
        self.path = target.with_name(target.name + ".hashes")
        self.known: Known = {}
        self._root, self._lock, self._count = str(root), threading.Lock(), 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            lines = self.path.read_text("utf-8", errors="replace").split("\n")
            if lines[0] == json.dumps(self._root):
                for line in lines[1:]:
                    with contextlib.suppress(ValueError, TypeError):  # the last line of a killed run may be cut
                        name, size, mtime, digest, blank = json.loads(line)
                        self.known[name] = size, mtime, bytes.fromhex(digest), blank
        self._file = self.path.open("w" if not self.known else "a", encoding="utf-8")
        if self.known:
            self._file.write("\n")  # ends a line that was cut
        else:
            self._file.write(json.dumps(self._root) + "\n")
        return self

    def add(self, name: str, read: Read) -> None:
        """Note a file that was read; may be called from any thread."""
        size, mtime, digest, blank = read
        with self._lock:
            self._file.write(json.dumps([name, size, mtime, digest.hex(), blank]) + "\n")
            self._count += 1
            if self._count % FLUSH_EVERY == 0:
                self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        refused = kind is not None and issubclass(kind, ZseError)
        if kind is None or refused or not (self._count or self.known):
            self.path.unlink(missing_ok=True)
