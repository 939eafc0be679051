"""The pictures of a table, one by one, as a model wants them."""

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

LATE = "while the run went on"  # ends the reason of a file that could be listed, but then not be used


class Input(NamedTuple):
    """A picture as the model wants it, uint8 (S, S, 3), and what was done to it for that."""

    pixels: Pixels
    changes: tuple[Change, ...]


class Reader:
    """Picture `row` as the model wants it; or the reason why it cannot be used.

    The list of a data set is a promise: its blank sketches are pictures as others are, as `prepare` kept them, and a
    file that went or changed is an error. Pictures that were given one by one, which have no class, are skipped there.

    An error is returned, not raised: a worker process would send it home with its whole traceback.

    Args:
        part: the pictures are some of more; a file that went is an error then too, or the parts would not fit.
        memory: what decoding waits for; one that is shared where worker processes read.
    """

    def __init__(
        self, items: Items, root: Path, preprocess: Preprocess, part: bool = False, memory: MemoryBudget = MEMORY
    ) -> None:
        self.items, self.root, self.preprocess, self.memory = items, root, preprocess, memory
        self._single = not items.label.names
        self._lenient = self._single and not part

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Input | str | ZseError:
        file, role = self.root / self.items.id[row], MODALITIES[self.items.modality[row]]
        try:
            loaded = load_input(
                file,
                role,
                self.preprocess,
                sha256=self.items.sha256[row].tobytes(),
                reject_blank=self._single and role == "sketch",
                memory=self.memory,
            )
        except OSError as error:
            why = error.strerror or str(error)
            if self._lenient:
                return f"{why}, {LATE}"
            gone = ChangedPicture(f"{file}: {why}", "it was there when the list was made: make the list again")
            return self._unlike(gone)
        except ContentChanged:
            return f"changed {LATE}" if self._lenient else self._unlike(changed(file))
        except PictureError as error:
            return str(error)
        return Input(loaded.pixels, loaded.changes)

    def _unlike(self, error: ChangedPicture) -> ChangedPicture:
        """The error of a picture that is not what was listed; of single ones this run made the list itself."""
        if self._single:
            return ChangedPicture(error.message, "it was there when the run began: run every shard again")
        return error


def changed(file: Path) -> ChangedPicture:
    """The error of a picture that is no longer what was listed."""
    return ChangedPicture(f"{file}: changed since the list was made", "make the list again (zse prepare --overwrite)")
