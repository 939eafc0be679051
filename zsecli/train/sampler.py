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


@dataclass(frozen=True, kw_only=True)
class Draws:
    """B draws, as rows of the items (B,) int64: (sketch, photo) match, (other_sketch, other_photo) do not."""

    sketch: Ints
    photo: Ints
    other_sketch: Ints
    other_photo: Ints
    instance: Mask
    """(B,) bool. Where False, both sketches and `photo` are of one class and `other_photo` is of another. Where True,
    they are of one instance, and `other_photo` is of another instance of its class."""


class PairSampler:
    """Draws from the pictures of both modalities that training may use; the same for the same seed and step.

    Classes are drawn as `config.class_draws` says, instances uniformly (over all classes), then pictures within them.
    The two sketches are different ones where there are two. Where `config.ignore_same` names a column, neither pair
    agrees in it.

    Raises:
        ZseError: nothing can be drawn at a level that `config.instance_share` needs.
    """

    def __init__(self, items: Items, config: TrainConfig) -> None:
        self._config = config
        self._label = items.label.codes
        self._instance = items.instance.codes
        self._ignored = ignored_codes(items, config)
        self._levels: dict[bool, _Level] = {}
        if config.instance_share < 1:
            self._levels[False] = self._make_class_level(items)
        if config.instance_share > 0:
            self._levels[True] = self._make_instance_level(items)

    def draw(self, step: int) -> Draws:
        """The `config.batch_size` draws of a step, counted from 0."""
        rng = np.random.default_rng([self._config.seed, step])
        is_instance = rng.random(self._config.batch_size) < self._config.instance_share
        rows = np.empty((4, len(is_instance)), np.int64)
        for is_instance_level, level in self._levels.items():
            slots = is_instance == is_instance_level
            rows[:, slots] = level.draw(rng, int(slots.sum()))
        sketch, photo, other_sketch, other_photo = rows
        return Draws(
            sketch=sketch, photo=photo, other_sketch=other_sketch, other_photo=other_photo, instance=is_instance
        )

    def label_pairs(self, sketch_rows: Ints, photo_rows: Ints, instance: Mask) -> tuple[Mask, Mask]:
        """Which of all pairs of a batch match, and which are eligible in a contrastive loss.

        The level is the sketch's. For a sketch drawn by class, every photo of the class is a positive, and all are
        eligible. For a sketch drawn by instance, the photos of this instance are the positives and all others are
        negatives, except photos of its class without an instance, which are not eligible: they may show it. Pairs that
        agree in `config.ignore_same` are neither positive nor eligible; no drawn matching pair is among them.

        A pair means the same in both directions, so a photo (a column) sees sketches of both levels: as positives the
        sketches of its class that were drawn by class, and of those drawn by instance only the ones of its own.
        Sketches of its class that were drawn by another instance are its negatives, whichever level the photo was drawn
        for; to a photo without an instance they are not eligible. A photo that matches no sketch of the batch, say a
        drawn `other_photo`, is a negative of rows alone.

        Args:
            sketch_rows, photo_rows: (B,) and (C,) rows of the items, as drawn.
            instance: (B,) bool, whether each sketch was drawn by instance.

        Returns:
            positive, eligible: (B, C) bool; every positive is eligible.
        """
        same_class = agree_in(self._label, sketch_rows, photo_rows)
        same_instance = agree_in(self._instance, sketch_rows, photo_rows)
        is_ignored = agree_in(self._ignored, sketch_rows, photo_rows)
        by_instance = instance[:, None]
        may_match = by_instance & same_class & (self._instance[photo_rows] < 0)
        positive = np.where(by_instance, same_instance, same_class) & ~is_ignored
        return positive, ~(may_match | is_ignored)

    def _make_class_level(self, items: Items) -> _Level:
        level = _Level(items, group=self._label, parent=np.zeros(len(items), int), mark=self._ignored)
        if len(level.groups) < 2:
            raise ZseError(
                f"training needs at least two classes with a sketch and a photo{self._describe_ignored()}",
                "a data set with more classes in its seen part, or only draws of instances (instance_share 1)",
            )
        if self._config.class_draws == "sketches":
            level.draw_by_sketches()
        return level

    def _make_instance_level(self, items: Items) -> _Level:
        with_class = np.where(self._label >= 0, self._instance, -1)
        level = _Level(items, group=with_class, parent=self._label, mark=self._ignored)
        if not len(level.groups):
            raise ZseError(
                f"no instance has a sketch and a photo{self._describe_ignored()}, "
                "and a photo of another instance in its class",
                "only draws of classes (instance_share 0), or a data set that names its instances",
            )
        return level

    def _describe_ignored(self) -> str:
        column = self._config.ignore_same
        return f" that differ in {column}" if column else ""


def ignored_codes(items: Items, config: TrainConfig) -> Ints:
    """(N,) codes of the column in which a sketch and its photo must differ; -1, where there is none, always does."""
    if not config.ignore_same:
        return np.full(len(items), -1)
    codes: Ints = getattr(items, config.ignore_same).codes
    return codes


def agree_in(codes: Ints, sketch_rows: Ints, photo_rows: Ints) -> Mask:
    """(B, C) bool, whether two pictures have the same value in a column; without a value they agree with none."""
    sketch_codes = codes[sketch_rows][:, None]
    agree: Mask = (sketch_codes == codes[photo_rows]) & (sketch_codes >= 0)
    return agree


class _Level:
    """Draws at one level: of groups (classes, instances), whose negatives are other groups with the same parent.

    All arguments are (N,) codes by picture, -1 for none: its group, the parent of that, and the mark in which a pair
    must not agree. `groups` are those that can be drawn.
    """

    def __init__(self, items: Items, *, group: Ints, parent: Ints, mark: Ints) -> None:
        self._parent = parent
        self._mark = mark
        sketches = np.flatnonzero((group >= 0) & (items.modality == SKETCH))
        photos = np.flatnonzero((group >= 0) & (items.modality == PHOTO))
        self._photos = _Pool(photos, group[photos], mark[photos])
        self._groups = _pool_groups(photos, group, parent, mark)
        has_positive = self._photos.count(group[sketches], mark[sketches]) > 0
        has_negative = self._groups.count(parent[sketches], mark[sketches], group[sketches]) > 0
        others = sketches[has_negative]
        firsts = sketches[has_positive & np.isin(group[sketches], group[others])]
        self._firsts = _Pool(firsts, group[firsts], np.full(len(firsts), -1))
        self._others = _Pool(others, group[others], np.full(len(others), -1))
        self._group_of_firsts = group[firsts]
        self.groups = np.unique(self._group_of_firsts)
        self._drawn_groups = self.groups

    def draw_by_sketches(self) -> None:
        """Draw a group in proportion to its sketches, no longer all alike."""
        self._drawn_groups = self._group_of_firsts

    def draw(self, rng: np.random.Generator, count: int) -> tuple[Ints, Ints, Ints, Ints]:
        """(count,) rows each: sketch, photo, other_sketch, other_photo."""
        none = np.full(count, -1)
        group = rng.choice(self._drawn_groups, count)
        sketch = self._firsts.draw(rng, group, none, none)
        photo = self._photos.draw(rng, group, self._mark[sketch], none)
        is_only_sketch = self._others.count(group, none, sketch) == 0
        other_sketch = self._others.draw(rng, group, none, np.where(is_only_sketch, -1, sketch))
        other_mark = self._mark[other_sketch]
        other_group = self._groups.draw(rng, self._parent[other_sketch], other_mark, group)
        other_photo = self._photos.draw(rng, other_group, other_mark, none)
        return sketch, photo, other_sketch, other_photo


def _pool_groups(photos: Ints, group: Ints, parent: Ints, mark: Ints) -> _Pool:
    """The groups with photos, by parent; one whose photos all have one mark has nothing for a sketch of that mark."""
    photos = photos[np.lexsort((mark[photos], group[photos]))]
    groups, first, count = np.unique(group[photos], return_index=True, return_counts=True)
    lowest = mark[photos[first]]
    highest = mark[photos[first + count - 1]]
    return _Pool(groups, parent[photos[first]], np.where(lowest == highest, lowest, -1))


@dataclass(frozen=True, kw_only=True)
class _Remaining:
    """What is left to draw from in each of B groups, as positions (B,) among the sorted values of a pool."""

    start: Ints
    """Where the group starts."""
    mark_start: Ints
    """Where the values of the excluded mark start."""
    mark_stop: Ints
    excluded: Ints
    """The excluded value; -1: none."""
    count: Ints
    """How many values are left."""


class _Pool:
    """Values, each once, in groups, each with a mark (-1: none).

    Its methods take arrays (B,): groups to draw from, the mark whose values are excluded, and one further value that is
    excluded (-1: none). They find the values by bisection, not by looking through a group.
    """

    def __init__(self, values: Ints, group: Ints, mark: Ints) -> None:
        order = np.lexsort((mark, group))
        self._values = values[order]
        self._keys = _sort_key(group, mark)[order]
        self._position = np.full(values.max(initial=-1) + 2, -1)  # the last entry, which -1 finds, stays -1
        self._position[self._values] = np.arange(len(values))

    def count(self, group: Ints, mark: Ints, excluded: Ints | None = None) -> Ints:
        """How many values are left to draw from."""
        if excluded is None:
            excluded = np.full(len(group), -1)
        return self._find_remaining(group, mark, excluded).count

    def draw(self, rng: np.random.Generator, group: Ints, mark: Ints, excluded: Ints) -> Ints:
        """Draw one of the values that are left, uniformly; there must be one."""
        left = self._find_remaining(group, mark, excluded)
        position = left.start + rng.integers(0, left.count)
        # step over the two exclusions from left to right
        is_before_mark = (left.excluded >= 0) & (left.excluded < left.mark_start)
        position += is_before_mark & (position >= left.excluded)
        position += (left.mark_stop - left.mark_start) * (position >= left.mark_start)
        is_behind_mark = left.excluded >= left.mark_stop
        position += is_behind_mark & (position >= left.excluded)
        return self._values[position]

    def _find_remaining(self, group: Ints, mark: Ints, excluded: Ints) -> _Remaining:
        start = np.searchsorted(self._keys, _sort_key(group, -1))
        stop = np.searchsorted(self._keys, _sort_key(group + 1, -1))
        mark_start = np.searchsorted(self._keys, _sort_key(group, mark))
        behind_mark = np.searchsorted(self._keys, _sort_key(group, mark), "right")
        mark_stop: Ints = np.where(mark >= 0, behind_mark, mark_start)
        position = self._position[np.minimum(excluded, len(self._position) - 1)]
        is_outside_mark = (position >= 0) & ((position < mark_start) | (position >= mark_stop))
        count = stop - start - (mark_stop - mark_start) - is_outside_mark
        return _Remaining(start=start, mark_start=mark_start, mark_stop=mark_stop, excluded=position, count=count)


def _sort_key(group: Ints, mark: Ints | int) -> Ints:
    """One whole number that sorts by group, then by mark."""
    return (group.astype(np.int64) << 32) + mark + 1
