"""What one step sees: the drawn pictures as tensors, and which of their pairs match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from zsecli.arrays import Ints, Pixels
from zsecli.data.hashing import ChangedPicture, Stamp, WatchedFiles
from zsecli.data.items import MODALITIES, Items
from zsecli.errors import StoreError, ZseError
from zsecli.images.loader import ContentChanged, load_input
from zsecli.images.memory import MEMORY, MemoryBudget
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess_rules import Modality, Preprocess
from zsecli.retrieval.picture_reader import changed
from zsecli.runtime.parallel import end_with_parent
from zsecli.store.features import open_features
from zsecli.train.augment import augment, paper_of
from zsecli.train.config import TrainConfig
from zsecli.train.freehand import find_thing, put_into, roughen
from zsecli.train.outlines import GENTLE, Outlined, outlined
from zsecli.train.picture_sampler import PictureSampler
from zsecli.train.sampler import Draws, Sampler

HELD = 2 * 2**30  # bytes of prepared pictures kept for their next turn: to make one takes longer than to change it
LIST_AGAIN = "prepare the data set again (zse prepare --overwrite)"
REPLACE = "replace or remove that picture, then prepare the data set again (zse prepare --overwrite)"
OUTLINE = 2  # what is random in them is drawn apart from what is in rows 0 and 1 of a draw


@dataclass(frozen=True)
class Batch:
    """The pictures that one process encodes in one part of a step, and what is known of the pairs of all processes.

    sketch, photo: (R, S, S, 3) uint8, or (R, 1 + P, C) float16 as `zsecli.train.frozen_cache.cached` stores them.
        Row i of both is a matching pair; without hard negatives the second half of the rows are pairs that do not
        match.
    positive, counts: (W * R, W * R) bool over the rows of all W processes, see `Sampler.positives`.
    outlines: V outlines, (V, S, S, 3) uint8, their photos, the same, and the strokes' places (V, P, 2) float32, see
        `zsecli.train.outlines.Outlined`; None where there are none.
    classes: where pictures are drawn each by itself, the number of each one's class among those of training, (R,) of
        the sketches and (C,) of the photos, -1 for none; sketch and photo are no pairs then, and the first V photos are
        those of the outlines.
    """

    sketch: Tensor
    photo: Tensor
    positive: Tensor
    counts: Tensor
    outlines: tuple[Tensor, Tensor, Tensor] | None = None
    classes: tuple[Tensor, Tensor] | None = None


class Pictures:
    """The pictures `root`/id of `items`, or their cached beginnings, by row.

    Args:
        stamps: of each picture's file, when it was listed; None: a file that is held or cached is read once for it.

    Raises:
        ChangedPicture: a picture can no longer be read, or is no longer what the data set lists: whenever it is read,
            as a run may take days, or cannot be decoded. StoreError: the cache lacks one.
    """

    def __init__(
        self,
        items: Items,
        root: Path,
        preprocess: Preprocess,
        cache: Path | None = None,
        stamps: Sequence[Stamp] | None = None,
    ) -> None:
        self.items, self.root, self.preprocess, self.cache = items, root, preprocess, cache
        unknown = ((-1, 0, digest.tobytes()) for digest in items.sha256)
        self._files = WatchedFiles([root / name for name in items.id], unknown if stamps is None else stamps)
        self._held: dict[int, Pixels] = {}
        self.hold = HELD  # bytes, of this process
        self.memory = MEMORY  # that decoding waits for
        self._stack, self._features = ExitStack(), None
        if cache is not None:
            self._features = self._stack.enter_context(open_features(cache))
            for name, why in self._features.skipped:
                raise ChangedPicture(f"{root / name}: {why}", REPLACE)
            if self._features.items.id != items.id:
                raise StoreError(f"{cache}: lacks pictures of this data set", "delete it: it is made again")

    def pixels(self, row: int) -> tuple[Pixels, Modality]:
        """(S, S, 3) uint8 as the network wants it, and its role."""
        file, role = self.root / self.items.id[row], MODALITIES[self.items.modality[row]]
        if row in self._held:
            self._check(row)
            return self._held[row], role
        try:
            sha256 = self.items.sha256[row].tobytes()
            made = load_input(file, role, self.preprocess, sha256=sha256, memory=self.memory).pixels
        except ContentChanged:
            raise changed(file) from None
        except OSError as error:
            raise ChangedPicture(f"{file}: {error.strerror}", LIST_AGAIN) from error
        except PictureError as error:
            raise ChangedPicture(f"{file}: {error}", REPLACE) from error
        if (len(self._held) + 1) * made.nbytes <= self.hold:
            self._held[row] = made
        return made, role

    def _check(self, row: int) -> None:
        """ChangedPicture where the file of a picture that is held or cached is now another one."""
        if self._files.has_changed(row):
            raise changed(self.root / self.items.id[row])

    def stack(self, rows: Ints) -> Tensor:
        """The pictures `rows` (R,), unchanged: (R, S, S, 3) uint8, or their beginnings (R, 1 + P, C) float16."""
        if self._features is None:
            return torch.from_numpy(np.stack([self.pixels(int(row))[0] for row in rows]))
        unique, back = np.unique(rows, return_inverse=True)
        for row in unique.tolist():
            self._check(row)
        return torch.from_numpy(self._features.read("tokens", unique)[back])


class Batches(Dataset[Batch]):
    """Part `p` of step `s`, for process `rank` of `world`, as item s * accumulate + p.

    `at` (N,) int64 says which picture each of the sampler's N rows is; `grid` is the network's, rows and columns.
    """

    def __init__(
        self,
        pictures: Pictures,
        sampler: Sampler | PictureSampler,
        at: Ints,
        config: TrainConfig,
        grid: tuple[int, int],
    ) -> None:
        self.pictures, self.sampler, self.at, self.config, self.grid = pictures, sampler, at, config, grid
        self.rank, self.world = 0, 1

    def __getitem__(self, index: int) -> Batch:
        step, part = divmod(index, self.config.accumulate)
        draws = self.sampler.draw(step)
        if isinstance(self.sampler, PictureSampler):
            return self._drawn_alone(self.sampler, draws, step, part)
        slots = np.arange(self.config.batch_size).reshape(self.config.accumulate, self.world, -1)[part]
        rows = [self._rows(draws, at) for at in slots]
        sketches, photos = (np.concatenate([row[i] for row in rows]) for i in range(2))
        instance = np.concatenate([self._twice(draws.instance[at]) for at in slots])
        positive, counts = self.sampler.positives(sketches, photos, instance)
        own = rows[self.rank]
        sketch, photo = self._stack(step, slots[self.rank], self.at[own[0]], self.at[own[1]])
        outlines = self._outlines(step, part, draws)
        return Batch(sketch, photo, torch.from_numpy(positive), torch.from_numpy(counts), outlines)

    def _drawn_alone(self, sampler: PictureSampler, draws: Draws, step: int, part: int) -> Batch:
        """Sketches and photos that are no pairs, the first photos with their outlines."""
        shape = (self.config.accumulate, self.world, -1)
        sketch_slots = np.arange(self.config.batch_size).reshape(shape)[part]
        photo_slots = np.arange(self.config.photos).reshape(shape)[part]
        sketches, photos = draws.sketch[sketch_slots.ravel()], draws.photo[photo_slots.ravel()]
        positive, counts = sampler.positives(sketches, photos, np.zeros(len(sketches), bool))
        own_sketches, own_photos = draws.sketch[sketch_slots[self.rank]], draws.photo[photo_slots[self.rank]]
        outlined_count = self.config.outlined // (self.config.accumulate * self.world)
        made_sketches: list[Pixels] = []
        made_photos: list[Pixels] = []
        outlines: list[Outlined] = []
        for slot, row in zip(sketch_slots[self.rank], own_sketches, strict=True):
            rng = np.random.default_rng([self.config.seed, step, int(slot), 0])
            made_sketches.append(self._change(row, rng))
        for slot, row in zip(photo_slots[self.rank], own_photos, strict=True):
            rng = np.random.default_rng([self.config.seed, step, int(slot), 1])
            if len(outlines) < outlined_count:
                made = outlined(
                    self.pictures.pixels(int(self.at[row]))[0],
                    self.pictures.preprocess,
                    self.grid,
                    rng,
                    self.config.augment,
                    GENTLE,
                    self.config.freehand,
                    self._background(sampler, rng) if rng.random() < self.config.paste else None,
                )
                outlines.append(made)
                made_photos.append(made.photo)
            else:
                photo = self._scene(sampler, int(self.at[row]), rng)
                made_photos.append(augment(photo, "photo", bool(rng.random() < 0.5), rng, self.config.augment))
        stacked = None
        if outlines:
            drawn, moved, places = (torch.from_numpy(np.stack(values)) for values in zip(*outlines, strict=True))
            stacked = drawn, moved, places
        classes = torch.from_numpy(sampler.classes(own_sketches)), torch.from_numpy(sampler.classes(own_photos))
        return Batch(
            torch.from_numpy(np.stack(made_sketches)),
            torch.from_numpy(np.stack(made_photos)),
            torch.from_numpy(positive),
            torch.from_numpy(counts),
            stacked,
            classes,
        )

    def _change(self, row: int, rng: np.random.Generator) -> Pixels:
        """The sketch `row` of the sampler's, changed at random."""
        pixels, role = self.pictures.pixels(int(self.at[row]))
        changed = augment(pixels, role, bool(rng.random() < 0.5), rng, self.config.augment)
        if not self.config.freehand:
            return changed
        image = Image.fromarray(changed)
        return np.asarray(roughen(image, paper_of(image), rng, self.config.freehand))

    def _scene(self, sampler: PictureSampler, row: int, rng: np.random.Generator) -> Pixels:
        """The photo `row`, or what it shows on white in front of another photo."""
        photo = self.pictures.pixels(row)[0]
        if rng.random() < self.config.paste:
            thing = find_thing(photo)
            if thing is not None:
                return put_into(photo, thing, self._background(sampler, rng))
        return photo

    def _background(self, sampler: PictureSampler, rng: np.random.Generator) -> Pixels:
        """A photo that another may be put into."""
        return self.pictures.pixels(int(self.at[sampler.draw_background(rng)]))[0]

    def _rows(self, draws: Draws, at: Ints) -> tuple[Ints, Ints]:
        """Sketches and photos of the draws `at`."""
        if self.config.hard_negatives:
            return draws.sketch[at], draws.photo[at]
        return (
            np.concatenate([draws.sketch[at], draws.other_sketch[at]]),
            np.concatenate([draws.photo[at], draws.other_photo[at]]),
        )

    def _twice(self, values: NDArray[Any]) -> NDArray[Any]:
        """A value for every sketch of `_rows`."""
        return values if self.config.hard_negatives else np.tile(values, 2)

    def _stack(self, step: int, slots: Ints, sketches: Ints, photos: Ints) -> tuple[Tensor, Tensor]:
        if not self.config.augment:
            return self.pictures.stack(sketches), self.pictures.stack(photos)
        made: tuple[list[Any], list[Any]] = ([], [])
        for i, pair in enumerate(zip(sketches, photos, strict=True)):
            rng = np.random.default_rng([self.config.seed, step, int(slots[i % len(slots)]), i // len(slots)])
            flip = bool(rng.random() < 0.5 * self.config.augment)
            for row, into in zip(pair, made, strict=True):
                pixels, role = self.pictures.pixels(int(row))
                into.append(augment(pixels, role, flip, rng, self.config.augment))
        return torch.from_numpy(np.stack(made[0])), torch.from_numpy(np.stack(made[1]))

    def _outlines(self, step: int, part: int, draws: Draws) -> tuple[Tensor, Tensor, Tensor] | None:
        """This process's share, in this part of a step, of the outlines of the step's first photos."""
        if not self.config.outlined:
            return None
        slots = np.arange(self.config.outlined).reshape(self.config.accumulate, self.world, -1)[part, self.rank]
        made = [
            outlined(
                self.pictures.pixels(int(row))[0],
                self.pictures.preprocess,
                self.grid,
                np.random.default_rng([self.config.seed, step, int(slot), OUTLINE]),
                self.config.augment,
            )
            for slot, row in zip(slots, self.at[draws.photo[slots]], strict=True)
        ]
        sketch, photo, places = (torch.from_numpy(np.stack(values)) for values in zip(*made, strict=True))
        return sketch, photo, places


class _Answers(Dataset[Batch | ZseError]):
    """The batches, or why there is none: a worker would send an exception home with its whole traceback."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, index: int) -> Batch | ZseError:
        try:
            return self.batches[index]
        except ZseError as error:
            return error


def loader(batches: Batches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of the steps `start` to `stop`, made by `workers` processes ahead of time; 0: in this one.

    Raises:
        ZseError: a picture cannot be used, see `Pictures`.
    """
    parts = batches.config.accumulate
    if workers:
        batches.pictures.memory = MemoryBudget(shared=True)
    answers: DataLoader[Batch | ZseError] = DataLoader(
        _Answers(batches),
        batch_size=None,
        sampler=range(start * parts, stop * parts),
        num_workers=workers,
        collate_fn=None,
        worker_init_fn=end_with_parent,
    )
    # begun here, as it draws a random number: within a step it would change what the step draws
    return map(_batch, iter(answers))


def _batch(answer: Batch | ZseError) -> Batch:
    if isinstance(answer, ZseError):
        raise answer
    return answer
