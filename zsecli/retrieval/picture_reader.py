"""Reads the pictures of a table, one by one, as inputs of a model."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from zsecli.arrays import Pixels
from zsecli.data.hashing import ChangedPicture
from zsecli.data.items import MODALITIES, Items
from zsecli.errors import ZseError
from zsecli.images.loader import ContentChanged, load_input
from zsecli.images.memory import MEMORY, MemoryBudget
from zsecli.images.normalize_sketch import Change
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess_rules import Preprocess

LATE = "while the run went on"  # ends the reason of a file that was listed, but could then not be used


class Input(NamedTuple):
    """The input of a model."""

    pixels: Pixels
    """(S, S, 3) uint8."""
    changes: tuple[Change, ...]
    """How a sketch was cleaned up."""


class PictureReader:
    """Picture `row` as the input of a model; or the reason why it is skipped.

    Pictures of a data set are never skipped silently: blank sketches are kept, as `prepare` kept them, and a file that
    went or changed is an error. Pictures that were given one by one, which have no class, are skipped in these cases.

    An error is returned, not raised: a worker process would send it home with its whole traceback.

    Args:
        is_shard: the pictures are a shard of more; a file that went is then an error too, or the shards would not fit.
        memory: budget that decoding waits for; a shared one where worker processes read.
    """

    def __init__(
        self, items: Items, root: Path, preprocess: Preprocess, is_shard: bool = False, memory: MemoryBudget = MEMORY
    ) -> None:
        self.items = items
        self.root = root
        self.preprocess = preprocess
        self.memory = memory
        self._are_single = not items.label.names
        self._may_skip = self._are_single and not is_shard

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Input | str | ZseError:
        file = self.root / self.items.id[row]
        modality = MODALITIES[self.items.modality[row]]
        try:
            loaded = load_input(
                file,
                modality,
                self.preprocess,
                sha256=self.items.sha256[row].tobytes(),
                reject_blank=self._are_single and modality == "sketch",
                memory=self.memory,
            )
        except OSError as error:
            reason = error.strerror or str(error)
            if self._may_skip:
                return f"{reason}, {LATE}"
            gone = ChangedPicture(f"{file}: {reason}", "it was there when the list was made: make the list again")
            return self._adapt_hint(gone)
        except ContentChanged:
            return f"changed {LATE}" if self._may_skip else self._adapt_hint(changed(file))
        except PictureError as error:
            return str(error)
        return Input(loaded.pixels, loaded.changes)

    def _adapt_hint(self, error: ChangedPicture) -> ChangedPicture:
        """The error of a picture that is not what was listed; single pictures were listed by this very run."""
        if self._are_single:
            return ChangedPicture(error.message, "it was there when the run began: run every shard again")
        return error


def changed(file: Path) -> ChangedPicture:
    """The error of a picture that is no longer what was listed."""
    return ChangedPicture(f"{file}: changed since the list was made", "make the list again (zse prepare --overwrite)")
