"""What a run of `prepare` has read so far, beside its target, so that a killed run reads no file twice."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import TracebackType
from typing import Self

from zsecli.data.hashing import Known
from zsecli.errors import ZseError
from zsecli.runtime.files import is_foreign, refuse_links, side_paths

SCHEMA, VERSION = "zse-hashes", 1  # the first line begins with them: a file without is not zse's, and stays


class Journal:
    """A text file with a JSON line a picture, behind a first line with schema and root; removed with a finished store.

    Attributes:
        known: what an earlier run below the same root read. It is trusted where size and time agree, as a store is.
    """

    def __init__(self, target: Path, root: Path) -> None:
        self.path = target.with_name(target.name + ".hashes")
        self.known: Known = {}
        self._head = json.dumps({SCHEMA: VERSION, "root": str(root)})
        self._count = 0

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path = next(name for name in side_paths(self.path) if not is_foreign(name, _is_journal))
        self._file = open(self.path, "a+", encoding="utf-8", errors="replace", opener=refuse_links)
        self._file.seek(0)
        lines = self._file.read().split("\n")
        if lines[0] == self._head:
            self._read_lines(lines[1:])
        if self.known:
            self._file.write("\n")  # ends a line that was cut
        else:
            self._file.truncate(0)
            self._file.write(self._head + "\n")
            self._file.flush()
        return self

    def _read_lines(self, lines: list[str]) -> None:
        for line in lines:
            with contextlib.suppress(ValueError, TypeError):  # the last line of a killed run may be cut
                name, size, mtime, digest, blank = json.loads(line)
                self.known[name] = size, mtime, bytes.fromhex(digest), blank

    def add(self, states: Known) -> None:
        """Note files that were read."""
        self._count += len(states)
        for name, (size, mtime, digest, blank) in states.items():
            self._file.write(json.dumps([name, size, mtime, digest.hex(), blank]) + "\n")
        self._file.flush()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._file.close()
        is_refused = kind is not None and issubclass(kind, ZseError)
        is_empty = not self._count and not self.known
        if kind is None or is_refused or is_empty:
            self.path.unlink(missing_ok=True)


def _is_journal(head: bytes) -> bool:
    return head.startswith(b'{"' + SCHEMA.encode() + b'"')
