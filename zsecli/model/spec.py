"""What `--model` may say, told apart without loading anything heavy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from zsecli.errors import StoreError, UsageError

SHIPPED = Path(__file__).parents[1] / "weights" / "small.safetensors"  # see docs/model-card.md
HELP = (
    "small (the shipped network), a checkpoint (.safetensors, or the authors' .pth), frozen:NAME[=WEIGHTS] for a timm "
    "backbone, pixels, or hog"
)


@lru_cache
def _hash(file: Path, _size: int, _mtime: int) -> str:
    """A run asks several times; a file of hundreds of megabytes is read once."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def file_hash(file: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text."""
    stat = file.stat()
    return _hash(file, stat.st_size, stat.st_mtime_ns)


@dataclass(frozen=True)
class ModelSpec:
    """A model by name: `kind`, the backbone's `name` for a frozen one, and the `file` of its weights."""

    kind: Literal["checkpoint", "frozen", "pixels", "hog"]
    name: str
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Raises UsageError where `text` is none of the forms in HELP, StoreError where its file is missing."""
        if text in ("pixels", "hog"):
            return cls(text, text)  # type: ignore[arg-type]
        if text.startswith("frozen:"):
            name, _, file = text.removeprefix("frozen:").partition("=")
            if not name:
                raise UsageError(
                    "frozen: needs the name of a timm backbone", "for example frozen:tf_efficientnet_lite0"
                )
            spec = cls("frozen", name, Path(file) if file else None)
        elif text == "small":
            spec = cls("checkpoint", text, SHIPPED)
        else:
            spec = cls("checkpoint", Path(text).stem, Path(text))
        if spec.file is not None and not spec.file.is_file():
            raise StoreError(f"{spec.file}: no such weights", f"--model takes {HELP}")
        return spec

    @property
    def text(self) -> str:
        """The form that `parse` reads, with an absolute path."""
        if self.file == SHIPPED:
            return self.name
        file = "" if self.file is None else str(self.file.resolve())
        if self.kind == "frozen":
            return f"frozen:{self.name}" + (f"={file}" if file else "")
        return file or self.kind

    @property
    def is_network(self) -> bool:
        """Whether there is something to compute on a GPU."""
        return self.kind not in ("pixels", "hog")

    @property
    def has_relation(self) -> bool:
        """Whether the model can relate tokens; the baselines have [Ret] alone."""
        return self.kind == "checkpoint"

    def weights_hash(self) -> str:
        """SHA-256 of the weights file; of nothing where the weights are the backbone's own or there are none."""
        return "" if self.file is None else file_hash(self.file)

    def tag(self) -> str:
        """A short name for files made with this model; other weights get another one."""
        digest = self.weights_hash()[:8]
        return "-".join(filter(None, (self.kind if self.kind == "frozen" else "", self.name, digest)))
