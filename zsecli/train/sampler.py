"""Which sketches and photos a step of training sees, as a function of the seed and the step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from zsecli.arrays import Ints
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.errors import ZseError
from zsecli.train.config import TrainConfig

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Draws:
    """B draws, as rows of the items (B,) int64: (sketch, photo) match, (other_sketch, other_photo) do not.

    instance: (B,) bool. Where False, both sketches and `photo` are of one class and `other_photo` is of another. Where
        True, they are of one instance, and `other_photo` is of another instance of its class.
    """

    sketch: Ints
    photo: Ints
    other_sketch: Ints
    other_photo: Ints
    instance: Mask


class Sampler:
    """Draws from the pictures of both modalities that training may use; the same for the same seed and step.

    Classes are drawn as `config.class_draws` says, instances uniformly (over all classes), then pictures within them.
    The two sketches are different ones where there are two. Where `config.ignore_same` names a column, neither pair
    agrees in it.

    Raises:
        ZseError: nothing can be drawn at a level that `config.instance_share` asks for.
    """

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self._config, self._label, self._instance = config, items.label.codes, items.instance.codes
        nothing = np.full(len(items), -1)
        self._ignored = getattr(items, config.ignore_same).codes if config.ignore_same else nothing
        said = f" that differ in {config.ignore_same}" if config.ignore_same else ""
        self._levels: dict[bool, _Level] = {}
        if config.instance_share < 1:
            classes = _Level(items, self._label, np.zeros(len(items), int), self._ignored)
            if len(classes.fitting) < 2:
                raise ZseError(
                    f"training needs at least two classes with a sketch and a photo{said}",
                    "a data set with more classes in its seen part, or only draws of instances (instance_share 1)",
                )
            if config.class_draws == "sketches":
                classes.by_sketches()
            self._levels[False] = classes
        if config.instance_share > 0:
            known = np.where(self._label >= 0, self._instance, -1)
            instances = _Level(items, known, self._label, self._ignored)
            if not len(instances.fitting):
                raise ZseError(
                    f"no instance has a sketch and a photo{said}, and a photo of another instance in its class",
                    "only draws of classes (instance_share 0), or a data set that names its instances",
                )
            self._levels[True] = instances

    def draw(self, step: int) -> Draws:
        """The `config.batch_size` draws of a step, counted from 0."""
        rng = np.random.default_rng([self._config.seed, step])
        instance = rng.random(self._config.batch_size) < self._config.instance_share
        rows = np.empty((4, len(instance)), np.int64)
        for level, source in self._levels.items():
            at = instance == level
            rows[:, at] = source.draw(rng, int(at.sum()))
        sketch, photo, other_sketch, other_photo = rows
        return Draws(sketch, photo, other_sketch, other_photo, instance)

    def positives(self, sketch_rows: Ints, photo_rows: Ints, instance: Mask) -> tuple[Mask, Mask]:
        """What is known of all pairs of a batch: which match, and which count in a contrastive loss.

        The level is the sketch's. To one drawn for its class, every photo of the class is a positive, and all count.
        To one drawn for its instance, the photos of this instance are the positives and all others are negatives, but
        for photos of its class without an instance, which do not count: they may show it. Pairs that agree in
        `config.ignore_same` are neither positive nor count; no drawn matching pair is among them.

        A pair means the same in both directions, so a photo (a column) sees sketches of both levels: as positives the
        sketches of its class that ask for the class, and of those that ask for an instance only the ones of its own.
        Sketches of its class that ask for another instance are its negatives, whichever level the photo was drawn for;
        to a photo without an instance they do not count. A photo that matches no sketch of the batch, say a drawn
        `other_photo`, is a negative of rows alone.

        Args:
            sketch_rows, photo_rows: (B,) and (C,) rows of the items, as drawn.
            instance: (B,) bool, the level at which each sketch was drawn.

        Returns:
            positive, counts: (B, C) bool; every positive counts.
        """
        pair = np.ix_(sketch_rows, photo_rows)
        of_class, of_instance, ignored = (_agree(c, *pair) for c in (self._label, self._instance, self._ignored))
        asked = instance[:, None]
        unknown = asked & of_class & (self._instance[photo_rows] < 0)
        return np.where(asked, of_instance, of_class) & ~ignored, ~(unknown | ignored)


class _Level:
    """Draws at one level: of groups (classes, instances), whose negatives are other groups with the same parent.

    All arguments are (N,) codes by picture, -1 for none: its group, the parent of that, and the mark in which a pair
    must not agree. `fitting` are the groups that can be drawn.
    """

    def __init__(self, items: Items, group: Ints, parent: Ints, mark: Ints) -> None:
        self._parent, self._mark = parent, mark
        sketches, photos = (np.flatnonzero((group >= 0) & (items.modality == m)) for m in (SKETCH, PHOTO))
        self._photos = _Pool(photos, group[photos], mark[photos])
        photos = photos[np.lexsort((mark[photos], group[photos]))]
        groups, first, count = np.unique(group[photos], return_index=True, return_counts=True)
        low, high = mark[photos[first]], mark[photos[first + count - 1]]
        # a group whose photos all have one mark offers nothing to a sketch of that mark
        self._groups = _Pool(groups, parent[photos[first]], np.where(low == high, low, -1))
        positive = self._photos.count(group[sketches], mark[sketches]) > 0
        negative = self._groups.count(parent[sketches], mark[sketches], group[sketches]) > 0
        others = sketches[negative]
        firsts = sketches[positive & np.isin(group[sketches], group[others])]
        self._firsts, self._others = (_Pool(s, group[s], np.full(len(s), -1)) for s in (firsts, others))
        self.fitting = self._drawn = np.unique(group[firsts])
        self._of_firsts = group[firsts]

    def by_sketches(self) -> None:
        """Draw a group as often as it has sketches, no longer all alike."""
        self._drawn = self._of_firsts

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints, Ints, Ints]:
        """(count,) rows each: sketch, photo, other_sketch, other_photo."""
        group, none = rng.choice(self._drawn, count), np.full(count, -1)
        sketch = self._firsts.draw(rng, group, none, none)
        photo = self._photos.draw(rng, group, self._mark[sketch], none)
        alone = self._others.count(group, none, sketch) == 0
        other = self._others.draw(rng, group, none, np.where(alone, -1, sketch))
        wrong = self._groups.draw(rng, self._parent[other], self._mark[other], group)
        return sketch, photo, other, self._photos.draw(rng, wrong, self._mark[other], none)


class _Pool:
    """Values, each once, in groups, each with a mark (-1: none).

    A question, of arrays (B,), is for the values of a group without those of a mark and without one of its values
    (-1: with all). Answers are found by bisection, not by looking through a group.
    """

    def __init__(self, values: Ints, group: Ints, mark: Ints) -> None:
        order = np.lexsort((mark, group))
        self._values, self._keys = values[order], _key(group, mark)[order]
        self._place = np.full(values.max(initial=-1) + 2, -1)  # the last entry, which -1 finds, is no place
        self._place[self._values] = np.arange(len(values))

    def count(self, group: Ints, mark: Ints, but: Ints | None = None) -> Ints:
        """How many values are left to draw from."""
        return self._left(group, mark, np.full(len(group), -1) if but is None else but)[-1]

    def draw(self, rng: np.random.Generator, group: Ints, mark: Ints, but: Ints) -> Ints:
        """One of the values that are left, uniformly; there must be one."""
        start, low, high, place, count = self._left(group, mark, but)
        at = start + rng.integers(0, count)
        # the two exceptions are stepped over from left to right
        at += (place >= 0) & (place < low) & (at >= place)
        at += (high - low) * (at >= low)
        at += (place >= high) & (at >= place)
        return self._values[at]

    def _left(self, group: Ints, mark: Ints, but: Ints) -> tuple[Ints, Ints, Ints, Ints, Ints]:
        """In each group: start, start and end of the mark, the place of `but` (-1: none), how many are left."""
        start = np.searchsorted(self._keys, _key(group, -1))
        stop = np.searchsorted(self._keys, _key(group + 1, -1))
        low = np.searchsorted(self._keys, _key(group, mark))
        high: Ints = np.where(mark >= 0, np.searchsorted(self._keys, _key(group, mark), "right"), low)
        place = self._place[np.minimum(but, len(self._place) - 1)]
        outside = (place >= 0) & ((place < low) | (place >= high))
        return start, low, high, place, stop - start - (high - low) - outside


def _key(group: Ints, mark: Ints | int) -> Ints:
    """One whole number that sorts by group, then by mark."""
    return (group.astype(np.int64) << 32) + mark + 1


def _agree(codes: Ints, sketches: Ints, photos: Ints) -> Mask:
    """Whether two pictures have the same value in a column; without a value they agree with none."""
    return (codes[sketches] == codes[photos]) & (codes[sketches] >= 0)
