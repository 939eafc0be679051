"""Sketches and photos drawn each by itself, as a function of the seed and the step: for losses that need no pairs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.errors import ZseError
from zsecli.train.config import TrainConfig
from zsecli.train.sampler import Draws, Mask

CLASS_SHARE = 0.5  # of the photos that are of classes among the sketches, where those have photos


class PictureSampler:
    """Draws `config.batch_size` sketches and `config.photos` photos; the same for the same seed and step.

    Sketches, and photos, are drawn as often as `config.family_weights` says of their families, whatever they show. A
    photo that is drawn for the class of a sketch is drawn so within the class.

    Raises:
        ZseError: there is no sketch with a class, or no photo.
    """

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self._config, self._label = config, items.label.codes
        self._family = items.family.codes
        self._ignored = getattr(items, config.ignore_same).codes if config.ignore_same else np.full(len(items), -1)
        weights = dict(config.family_weights)
        by_family = np.array([weights.get(name, 1.0) for name in items.family.names] + [1.0])
        every = by_family[self._family]  # -1, for no family, is the last
        self._sketches = np.flatnonzero((items.modality == SKETCH) & (self._label >= 0) & (every > 0))
        self._photos = np.flatnonzero((items.modality == PHOTO) & (every > 0))
        for rows, name in ((self._sketches, "sketches of a class"), (self._photos, "photos")):
            if not len(rows):
                raise ZseError(f"training finds no {name} to draw", "a data set with both, and families of weight > 0")
        self._sketch_chance = every[self._sketches] / every[self._sketches].sum()
        self._photo_chance = every[self._photos] / every[self._photos].sum()
        of_class: dict[int, list[int]] = {}
        for place, row in enumerate(self._photos):
            of_class.setdefault(int(self._label[row]), []).append(place)
        self._of_class = {label: np.array(places) for label, places in of_class.items() if label >= 0}

    def draw(self, step: int) -> Draws:
        """The draws of a step, counted from 0; `sketch` and `photo` are no pairs, and there are no others."""
        rng = np.random.default_rng([self._config.seed, step])
        sketches = self._sketches[rng.choice(len(self._sketches), self._config.batch_size, p=self._sketch_chance)]
        photos = self._photos[rng.choice(len(self._photos), self._config.photos, p=self._photo_chance)]
        known = [row for row in sketches if int(self._label[row]) in self._of_class]
        for slot, row in enumerate(known[: int(CLASS_SHARE * len(photos))]):
            places = self._of_class[int(self._label[row])]
            chance = self._photo_chance[places]
            photos[slot] = self._photos[places[rng.choice(len(places), p=chance / chance.sum())]]
        photos = rng.permutation(photos)
        none = np.empty(0, np.int64)
        return Draws(sketches, photos, none, none, np.zeros(len(sketches), bool))

    def positives(self, sketch_rows: Ints, photo_rows: Ints, instance: Mask) -> tuple[Mask, Mask]:
        """Which pairs (B, C) are of one class, and which count, see `zsecli.train.sampler.Sampler.positives`."""
        pair = np.ix_(sketch_rows, photo_rows)
        same_class, ignored = (
            (codes[pair[0]] == codes[pair[1]]) & (codes[pair[0]] >= 0) for codes in (self._label, self._ignored)
        )
        return same_class & ~ignored, ~ignored

    def draw_background(self, rng: np.random.Generator) -> int:
        """The row of a photo that another may be put into."""
        return int(self._photos[rng.choice(len(self._photos), p=self._photo_chance)])

    def classes(self, rows: Ints) -> NDArray[np.int64]:
        """(B,) codes of the classes of pictures; -1 for none."""
        return self._label[rows].astype(np.int64)
