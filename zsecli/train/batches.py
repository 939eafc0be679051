"""What a step sees: the drawn pictures as tensors, and which of their pairs match."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
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
from zsecli.train.augment import augment_picture, find_paper_colour
from zsecli.train.config import TrainConfig
from zsecli.train.freehand import find_object, paste_object, roughen_sketch
from zsecli.train.outlines import GENTLE_TURN, OutlinePair, make_outline_pair
from zsecli.train.picture_sampler import PictureSampler
from zsecli.train.sampler import Draws, Mask, PairSampler

CACHE_BYTES = 2 * 2**30  # of prepared pictures: to prepare one takes longer than to augment it
LIST_AGAIN = "prepare the data set again (zse prepare --overwrite)"
REPLACE = "replace or remove that picture, then prepare the data set again (zse prepare --overwrite)"
OUTLINE_STREAM = 2  # of random numbers, beside 0 and 1 for the two rows of a draw


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The pictures that one process encodes in one chunk of a step, and labels for the pairs of all processes."""

    sketch: Tensor
    """(R, S, S, 3) uint8, or (R, 1 + P, C) float16 from the cache of the frozen part."""
    photo: Tensor
    """As `sketch`. Row i of both is a matching pair; without hard negatives, the second half does not match."""
    positive: Tensor
    """(W * R, W * R) bool over the rows of all W processes: pairs that match, see `PairSampler.label_pairs`."""
    eligible: Tensor
    """The same shape: pairs that are not ignored."""
    outlines: tuple[Tensor, Tensor, Tensor] | None = None
    """V outlines, (V, S, S, 3) uint8, their photos, the same, and places (V, P, 2) float32, see `OutlinePair`."""
    classes: tuple[Tensor, Tensor] | None = None
    """Where pictures are drawn each by itself: the classes (R,) of sketches and (C,) of photos, -1 for none. Sketch and
    photo are no pairs then, and the first V photos are those of the outlines."""


class TrainingPictures:
    """The pictures `root`/id of `items`, or their outputs of the frozen part from a cache, by row.

    Args:
        stamps: of each picture's file, from when it was listed; None: read a file again before its first reuse.

    Raises:
        ChangedPicture: a picture can no longer be read or decoded, or differs from what the data set lists. Each read
            checks this, as a run may take days.
        StoreError: the cache lacks a picture.
    """

    def __init__(
        self,
        items: Items,
        root: Path,
        preprocess: Preprocess,
        cache: Path | None = None,
        stamps: Sequence[Stamp] | None = None,
    ) -> None:
        self.items = items
        self.root = root
        self.preprocess = preprocess
        self.cache = cache
        if stamps is None:
            stamps = [(-1, 0, digest.tobytes()) for digest in items.sha256]
        self._files = WatchedFiles([root / name for name in items.id], stamps)
        self._prepared: dict[int, Pixels] = {}
        self.cache_bytes = CACHE_BYTES  # of this process
        self.memory = MEMORY  # budget that decoding waits for
        self._stack = ExitStack()
        self._features = None
        if cache is not None:
            self._features = self._stack.enter_context(open_features(cache))
            for name, reason in self._features.skipped:
                raise ChangedPicture(f"{root / name}: {reason}", REPLACE)
            if self._features.items.id != items.id:
                raise StoreError(f"{cache}: lacks pictures of this data set", "delete it: it is made again")

    def load_pixels(self, row: int) -> tuple[Pixels, Modality]:
        """(S, S, 3) uint8 as the network wants it, and its modality."""
        file = self.root / self.items.id[row]
        modality = MODALITIES[self.items.modality[row]]
        if row in self._prepared:
            self._check_unchanged(row)
            return self._prepared[row], modality
        try:
            sha256 = self.items.sha256[row].tobytes()
            pixels = load_input(file, modality, self.preprocess, sha256=sha256, memory=self.memory).pixels
        except ContentChanged:
            raise changed(file) from None
        except OSError as error:
            raise ChangedPicture(f"{file}: {error.strerror}", LIST_AGAIN) from error
        except PictureError as error:
            raise ChangedPicture(f"{file}: {error}", REPLACE) from error
        if (len(self._prepared) + 1) * pixels.nbytes <= self.cache_bytes:
            self._prepared[row] = pixels
        return pixels, modality

    def stack_pictures(self, rows: Ints) -> Tensor:
        """The pictures `rows` (R,): (R, S, S, 3) uint8, or outputs of the frozen part (R, 1 + P, C) float16."""
        if self._features is None:
            return _stack_arrays([self.load_pixels(int(row))[0] for row in rows])
        unique, inverse = np.unique(rows, return_inverse=True)
        for row in unique.tolist():
            self._check_unchanged(row)
        return torch.from_numpy(self._features.read("tokens", unique)[inverse])

    def _check_unchanged(self, row: int) -> None:
        """Check that the file of a cached picture is still the one that was read.

        Raises:
            ChangedPicture: it is another one.
        """
        if self._files.has_changed(row):
            raise changed(self.root / self.items.id[row])


class Batches(Dataset[Batch]):
    """Chunk `c` of step `s` as item s * accumulate + c, for process `rank` of `world`."""

    def __init__(
        self,
        pictures: TrainingPictures,
        sampler: PairSampler | PictureSampler,
        picture_rows: Ints,
        config: TrainConfig,
        grid: tuple[int, int],
    ) -> None:
        """`picture_rows` (N,) int64 is the picture of each row of the sampler; `grid` is the network's."""
        self.pictures = pictures
        self.sampler = sampler
        self.picture_rows = picture_rows
        self.config = config
        self.grid = grid
        self.rank = 0
        self.world = 1

    def __getitem__(self, index: int) -> Batch:
        step, chunk = divmod(index, self.config.accumulate)
        draws = self.sampler.draw(step)
        if isinstance(self.sampler, PictureSampler):
            return self._make_picture_batch(self.sampler, draws, step, chunk)
        return self._make_pair_batch(self.sampler, draws, step, chunk)

    def _make_pair_batch(self, sampler: PairSampler, draws: Draws, step: int, chunk: int) -> Batch:
        """Matching pairs, and without hard negatives as many that do not match."""
        slots = self._split_slots(self.config.batch_size)[chunk]
        sketches: list[Ints] = []
        photos: list[Ints] = []
        instances: list[Mask] = []
        for process_slots in slots:
            process_sketches, process_photos = self._select_pairs(draws, process_slots)
            sketches.append(process_sketches)
            photos.append(process_photos)
            instances.append(self._select_levels(draws, process_slots))
        positive, eligible = sampler.label_pairs(
            np.concatenate(sketches), np.concatenate(photos), np.concatenate(instances)
        )
        sketch, photo = self._load_pairs(
            step, slots[self.rank], self.picture_rows[sketches[self.rank]], self.picture_rows[photos[self.rank]]
        )
        return Batch(
            sketch=sketch,
            photo=photo,
            positive=torch.from_numpy(positive),
            eligible=torch.from_numpy(eligible),
            outlines=_stack_outlines(self._make_outlines(draws, step, chunk)),
        )

    def _make_picture_batch(self, sampler: PictureSampler, draws: Draws, step: int, chunk: int) -> Batch:
        """Sketches and photos that are no pairs, the first photos with their outlines."""
        sketch_slots = self._split_slots(self.config.batch_size)[chunk]
        photo_slots = self._split_slots(self.config.photos)[chunk]
        sketch_rows = draws.sketch[sketch_slots.ravel()]
        positive, eligible = sampler.label_pairs(
            sketch_rows, draws.photo[photo_slots.ravel()], np.zeros(len(sketch_rows), bool)
        )
        own_sketches = draws.sketch[sketch_slots[self.rank]]
        own_photos = draws.photo[photo_slots[self.rank]]
        outline_count = self.config.outline_count // (self.config.accumulate * self.world)
        sketches: list[Pixels] = []
        for slot, row in zip(sketch_slots[self.rank], own_sketches, strict=True):
            sketches.append(self._augment_sketch(row, self._make_rng(step, slot, 0)))
        photos: list[Pixels] = []
        outlines: list[OutlinePair] = []
        for slot, row in zip(photo_slots[self.rank], own_photos, strict=True):
            rng = self._make_rng(step, slot, 1)
            if len(outlines) < outline_count:
                pair = self._make_pasted_outline(sampler, row, rng)
                outlines.append(pair)
                photos.append(pair.photo)
            else:
                photo = self._paste_into_scene(sampler, row, rng)
                photos.append(augment_picture(photo, "photo", bool(rng.random() < 0.5), rng, self.config.augment))
        return Batch(
            sketch=_stack_arrays(sketches),
            photo=_stack_arrays(photos),
            positive=torch.from_numpy(positive),
            eligible=torch.from_numpy(eligible),
            outlines=_stack_outlines(outlines),
            classes=(
                torch.from_numpy(sampler.class_codes(own_sketches)),
                torch.from_numpy(sampler.class_codes(own_photos)),
            ),
        )

    def _split_slots(self, count: int) -> Ints:
        """The numbers 0 to count - 1 of a step's draws, (chunks, processes, draws of each)."""
        return np.arange(count).reshape(self.config.accumulate, self.world, -1)

    def _make_rng(self, step: int, slot: int, stream: int) -> np.random.Generator:
        """The random numbers that change a picture, the same however the step is split among processes."""
        return np.random.default_rng([self.config.seed, step, int(slot), stream])

    def _load_photo(self, row: int) -> Pixels:
        """The photo `row` of the sampler's."""
        return self.pictures.load_pixels(int(self.picture_rows[row]))[0]

    def _augment_sketch(self, row: int, rng: np.random.Generator) -> Pixels:
        """The sketch `row` of the sampler's, augmented and roughened."""
        pixels, modality = self.pictures.load_pixels(int(self.picture_rows[row]))
        augmented = augment_picture(pixels, modality, bool(rng.random() < 0.5), rng, self.config.augment)
        if not self.config.freehand:
            return augmented
        image = Image.fromarray(augmented)
        return np.asarray(roughen_sketch(image, find_paper_colour(image), rng, self.config.freehand))

    def _make_pasted_outline(self, sampler: PictureSampler, row: int, rng: np.random.Generator) -> OutlinePair:
        """The photo `row` of the sampler's and its outline, sometimes with its object pasted into another photo."""
        photo = self._load_photo(row)
        background = None
        if rng.random() < self.config.paste:
            background = self._load_photo(sampler.draw_background(rng))
        return make_outline_pair(
            photo,
            self.pictures.preprocess,
            self.grid,
            rng,
            self.config.augment,
            max_turn=GENTLE_TURN,
            freehand=self.config.freehand,
            background=background,
        )

    def _paste_into_scene(self, sampler: PictureSampler, row: int, rng: np.random.Generator) -> Pixels:
        """The photo `row` of the sampler's, or its object on white pasted into another photo."""
        photo = self._load_photo(row)
        if rng.random() < self.config.paste:
            mask = find_object(photo)
            if mask is not None:
                return paste_object(photo, mask, self._load_photo(sampler.draw_background(rng)))
        return photo

    def _select_pairs(self, draws: Draws, slots: Ints) -> tuple[Ints, Ints]:
        """Sketches and photos of the draws `slots`."""
        if self.config.hard_negatives:
            return draws.sketch[slots], draws.photo[slots]
        sketches = np.concatenate([draws.sketch[slots], draws.other_sketch[slots]])
        photos = np.concatenate([draws.photo[slots], draws.other_photo[slots]])
        return sketches, photos

    def _select_levels(self, draws: Draws, slots: Ints) -> Mask:
        """Whether each sketch of `_select_pairs` was drawn by instance."""
        by_instance = draws.instance[slots]
        return by_instance if self.config.hard_negatives else np.tile(by_instance, 2)

    def _load_pairs(self, step: int, slots: Ints, sketch_rows: Ints, photo_rows: Ints) -> tuple[Tensor, Tensor]:
        """Sketches and photos, augmented; a pair is mirrored together."""
        if not self.config.augment:
            return self.pictures.stack_pictures(sketch_rows), self.pictures.stack_pictures(photo_rows)
        sketches: list[Pixels] = []
        photos: list[Pixels] = []
        for number, (sketch_row, photo_row) in enumerate(zip(sketch_rows, photo_rows, strict=True)):
            is_other, draw = divmod(number, len(slots))
            rng = self._make_rng(step, slots[draw], is_other)
            flip = bool(rng.random() < 0.5 * self.config.augment)
            sketches.append(self._augment_row(sketch_row, flip, rng))
            photos.append(self._augment_row(photo_row, flip, rng))
        return _stack_arrays(sketches), _stack_arrays(photos)

    def _augment_row(self, row: int, flip: bool, rng: np.random.Generator) -> Pixels:
        pixels, modality = self.pictures.load_pixels(int(row))
        return augment_picture(pixels, modality, flip, rng, self.config.augment)

    def _make_outlines(self, draws: Draws, step: int, chunk: int) -> list[OutlinePair]:
        """This process's share, in this chunk, of the outlines of the step's first photos."""
        if not self.config.outline_count:
            return []
        pairs = []
        for slot in self._split_slots(self.config.outline_count)[chunk, self.rank]:
            pair = make_outline_pair(
                self._load_photo(draws.photo[slot]),
                self.pictures.preprocess,
                self.grid,
                self._make_rng(step, slot, OUTLINE_STREAM),
                self.config.augment,
            )
            pairs.append(pair)
        return pairs


def _stack_arrays(arrays: Sequence[Pixels]) -> Tensor:
    return torch.from_numpy(np.stack(arrays))


def _stack_outlines(pairs: Sequence[OutlinePair]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Outlines, photos and places of V pairs; None where there are none."""
    if not pairs:
        return None
    places = torch.from_numpy(np.stack([pair.places for pair in pairs]))
    return _stack_arrays([pair.sketch for pair in pairs]), _stack_arrays([pair.photo for pair in pairs]), places


class _BatchesOrErrors(Dataset[Batch | ZseError]):
    """The batches, or why there is none: a worker would send an exception home with its whole traceback."""

    def __init__(self, batches: Batches) -> None:
        self.batches = batches

    def __getitem__(self, index: int) -> Batch | ZseError:
        try:
            return self.batches[index]
        except ZseError as error:
            return error


def iterate_batches(batches: Batches, start: int, stop: int, workers: int) -> Iterator[Batch]:
    """The batches of the steps `start` to `stop`, made by `workers` processes ahead of time; 0: in this one.

    Raises:
        ZseError: a picture cannot be used, see `TrainingPictures`.
    """
    chunks = batches.config.accumulate
    if workers:
        batches.pictures.memory = MemoryBudget(shared=True)
    loader: DataLoader[Batch | ZseError] = DataLoader(
        _BatchesOrErrors(batches),
        batch_size=None,
        sampler=range(start * chunks, stop * chunks),
        num_workers=workers,
        collate_fn=None,
        worker_init_fn=end_with_parent,
    )
    # begun here, as it draws a random number: within a step it would change what the step draws
    return map(_raise_error, iter(loader))


def _raise_error(batch: Batch | ZseError) -> Batch:
    if isinstance(batch, ZseError):
        raise batch
    return batch
