"""Sketches and photos drawn each by itself, as a function of the seed and the step: for losses that need no pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.errors import ZseError
from zsecli.train.config import TrainConfig
from zsecli.train.sampler import Draws, Mask, agree_in, ignored_codes

CLASS_SHARE = 0.5  # of the photos that are of classes among the sketches, where those have photos


class PictureSampler:
    """Draws `config.batch_size` sketches and `config.photos` photos; the same for the same seed and step.

    `config.family_weights` says how often pictures of each family are drawn, whatever they show. A photo that is drawn
    for the class of a sketch is drawn in that way within the class.

    Raises:
        ZseError: there is no sketch with a class, or no photo.
    """

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self._config = config
        self._label = items.label.codes
        self._ignored = ignored_codes(items, config)
        weights = _family_weights(items, config)
        has_class = self._label >= 0
        is_drawn = weights > 0
        self._sketches = np.flatnonzero((items.modality == SKETCH) & has_class & is_drawn)
        self._photos = np.flatnonzero((items.modality == PHOTO) & is_drawn)
        for rows, name in ((self._sketches, "sketches of a class"), (self._photos, "photos")):
            if not len(rows):
                raise ZseError(f"training finds no {name} to draw", "a data set with both, and families of weight > 0")
        sketch_weights = weights[self._sketches]
        photo_weights = weights[self._photos]
        self._sketch_chance = sketch_weights / sketch_weights.sum()
        self._photo_chance = photo_weights / photo_weights.sum()
        self._photos_of_class = self._group_photos()

    def draw(self, step: int) -> Draws:
        """The draws of a step, counted from 0; `sketch` and `photo` are no pairs, and the other two are empty."""
        rng = np.random.default_rng([self._config.seed, step])
        sketch_positions = rng.choice(len(self._sketches), self._config.batch_size, p=self._sketch_chance)
        sketches = self._sketches[sketch_positions]
        photo_positions = rng.choice(len(self._photos), self._config.photos, p=self._photo_chance)
        photos = self._photos[photo_positions]
        labels = [label for label in self._label[sketches].tolist() if label in self._photos_of_class]
        class_photos = int(CLASS_SHARE * len(photos))
        for slot, label in enumerate(labels[:class_photos]):
            photos[slot] = self._draw_photo_of_class(rng, label)
        photos = rng.permutation(photos)
        none = np.empty(0, np.int64)
        by_class = np.zeros(len(sketches), bool)
        return Draws(sketch=sketches, photo=photos, other_sketch=none, other_photo=none, instance=by_class)

    def label_pairs(self, sketch_rows: Ints, photo_rows: Ints, instance: Mask) -> tuple[Mask, Mask]:
        """Which pairs (B, C) are of one class, and which are eligible; see `PairSampler.label_pairs`."""
        same_class = agree_in(self._label, sketch_rows, photo_rows)
        is_ignored = agree_in(self._ignored, sketch_rows, photo_rows)
        return same_class & ~is_ignored, ~is_ignored

    def draw_background(self, rng: np.random.Generator) -> int:
        """Draw the row of a photo into which an object is pasted."""
        position = rng.choice(len(self._photos), p=self._photo_chance)
        return int(self._photos[position])

    def class_codes(self, rows: Ints) -> NDArray[np.int64]:
        """(B,) codes of the classes of pictures; -1 for none."""
        return self._label[rows].astype(np.int64)

    def _draw_photo_of_class(self, rng: np.random.Generator, label: int) -> int:
        positions = self._photos_of_class[label]
        chance = self._photo_chance[positions]
        position = positions[rng.choice(len(positions), p=chance / chance.sum())]
        return int(self._photos[position])

    def _group_photos(self) -> dict[int, Ints]:
        """Class -> positions of its photos in `self._photos`."""
        positions: dict[int, list[int]] = {}
        for position, row in enumerate(self._photos):
            label = int(self._label[row])
            if label >= 0:
                positions.setdefault(label, []).append(position)
        return {label: np.array(of_class) for label, of_class in positions.items()}


def _family_weights(items: Items, config: TrainConfig) -> NDArray[np.float64]:
    """(N,) weight of each picture by its family; 1 for families without a weight, and for pictures without a family."""
    weights = dict(config.family_weights)
    by_family = [weights.get(name, 1.0) for name in items.family.names]
    no_family = 1.0  # code -1, the last entry
    return np.array([*by_family, no_family])[items.family.codes]
