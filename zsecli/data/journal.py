"""What a run of `prepare` has read so far, beside its target, so that a killed run reads no file twice."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Self

from zsecli.data.hashing import Known
from zsecli.errors import ZseError
from zsecli.files import no_link


class Journal:
    """A text file with a JSON line a picture, behind a first line with the root; gone once the store is there.

    Attributes:
        known: what an earlier run below the same root read. It is trusted where size and time agree, as a store is.
    """

    def __init__(self, target: Path, root: Path) -> None:
        self.path = target.with_name(target.name + ".hashes")
        self.known: Known = {}
        self._root, self._count = str(root), 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(OSError):
            lines = self.path.read_text("utf-8", errors="replace").split("\n")
            if lines[0] == json.dumps(self._root):
                for line in lines[1:]:
                    with contextlib.suppress(ValueError, TypeError):  # the last line of a killed run may be cut
                        name, size, mtime, digest, blank = json.loads(line)
                        self.known[name] = size, mtime, bytes.fromhex(digest), blank
        self._file = open(self.path, "w" if not self.known else "a", encoding="utf-8", opener=no_link)
        if self.known:
            self._file.write("\n")  # ends a line that was cut
        else:
            self._file.write(json.dumps(self._root) + "\n")
        return self

    def add(self, reads: Known) -> None:
        """Note files that were read."""
        self._count += len(reads)
        for name, (size, mtime, digest, blank) in reads.items():
            self._file.write(json.dumps([name, size, mtime, digest.hex(), blank]) + "\n")
        self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        refused = kind is not None and issubclass(kind, ZseError)
        if kind is None or refused or not (self._count or self.known):
            self.path.unlink(missing_ok=True)
