"""The files that a training run writes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from zsecli.errors import UsageError
from zsecli.runtime.files import is_foreign
from zsecli.runtime.marks import is_own_file


@dataclass(frozen=True)
class RunFiles:
    """The best checkpoint, and a folder beside it with everything else."""

    best: Path

    @property
    def folder(self) -> Path:
        return self.best.with_suffix(".run")

    @property
    def state(self) -> Path:
        return self.folder / "state.safetensors"

    @property
    def last(self) -> Path:
        """The checkpoint of the last epoch."""
        return self.folder / "last.safetensors"

    @property
    def curve(self) -> Path:
        return self.folder / "curve.svg"

    @property
    def log(self) -> Path:
        return self.folder / "log.jsonl"

    @property
    def in_folder(self) -> list[Path]:
        """All files in the folder."""
        return [self.state, self.last, self.curve, self.log]

    def remove_old_files(self) -> None:
        """Remove what another run left in the folder."""
        for file in self.in_folder:
            file.unlink(missing_ok=True)

    def check_replaceable(self) -> None:
        """Check that no file in the folder would be replaced that zse did not make.

        Raises:
            UsageError: one would be.
        """
        marks = {self.curve: _is_curve, self.log: _is_log}
        for file in self.in_folder:
            if is_foreign(file, marks.get(file, is_own_file), in_place=False):
                raise UsageError(f"{file}: zse did not make it, and does not replace it", "give another --name or -o")


def _is_curve(head: bytes) -> bool:
    return is_own_file(head) or b'<clipPath id="panel">' in head  # curves of earlier versions have no mark


def _is_log(head: bytes) -> bool:
    first_line = head.partition(b"\n")[0]
    try:
        record = json.loads(first_line)
    except ValueError:
        return False
    return isinstance(record, dict) and {"kind", "step"} <= record.keys()
