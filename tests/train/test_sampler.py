"""What training draws: how often, of what, and which pairs of a batch it takes for known."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from zsecli.data.items import PHOTO, SEEN, SKETCH, Column, Items
from zsecli.errors import ZseError
from zsecli.train.config import TrainConfig
from zsecli.train.sampler import Draws, PairSampler

pytestmark = pytest.mark.fast

STEPS, BATCH = 100, 40

Row = tuple[str, str | None, str | None, str | None]  # s or p, class, instance, family


def table(rows: list[Row]) -> Items:
    return Items(
        id=[str(i) for i in range(len(rows))],
        modality=np.array([SKETCH if r[0] == "s" else PHOTO for r in rows], np.uint8),
        part=np.full(len(rows), SEEN, np.int8),
        sha256=np.zeros((len(rows), 32), np.uint8),
        label=Column.from_values([r[1] for r in rows]),
        instance=Column.from_values([r[2] for r in rows]),
        family=Column.from_values([r[3] for r in rows]),
    )


def world() -> Items:
    """Four classes of 2, 3, 4 and 5 objects, each of two sketches and two photos in families that cross.

    Beside them: a class of one object with one sketch, pictures without an object, two classes of one modality alone,
    pictures without a class. Rows are in no order.
    """
    rows: list[Row] = [
        (m, c, f"{c}/{o}", f"{c}-{(k + (m == 'p') * (o % 2)) % 3}")
        for c, objects in (("a", 2), ("b", 3), ("c", 4), ("d", 5))
        for o in range(objects)
        for m in "sp"
        for k in range(2)
    ]
    rows += [("s", "e", "e/0", None), ("p", "e", "e/0", None), ("p", "e", "e/0", "e-0")]
    rows += [("s", "a", None, None), ("p", "a", None, "a-0"), ("p", "b", None, None)]
    rows += [("s", "sketches", "sketches/0", None), ("p", "photos", "photos/0", None)]
    rows += [("s", None, None, None), ("s", None, "loose", None)]
    rows += [("p", None, "loose", None), ("p", None, "loose too", None)]
    return table([rows[i] for i in np.random.default_rng(0).permutation(len(rows))])


def drawn(items: Items, **options: Any) -> Draws:
    """All draws of many steps as one."""
    sampler = PairSampler(items, TrainConfig(batch_size=BATCH, **options))
    steps = [sampler.draw(step) for step in range(STEPS)]
    names = ("sketch", "photo", "other_sketch", "other_photo", "instance")
    return Draws(**{name: np.concatenate([getattr(step, name) for step in steps]) for name in names})


def even(values: Any, among: int) -> None:
    """Each of `among` values is about as frequent as the others: within five standard deviations."""
    counts = Counter(values.tolist())
    assert len(counts) == among
    mean = len(values) / among
    assert all(abs(count - mean) < 5 * mean**0.5 for count in counts.values()), counts


def agree(codes: Any, one: Any, other: Any) -> Any:
    return (codes[one] == codes[other]) & (codes[one] >= 0)


def check(items: Items, draws: Draws, ignored: str | None = None) -> None:
    """What holds of every draw."""
    for rows, modality in ((draws.sketch, SKETCH), (draws.photo, PHOTO)):
        assert (items.modality[rows] == modality).all()
    assert (items.modality[draws.other_sketch] == SKETCH).all()
    assert (items.modality[draws.other_photo] == PHOTO).all()
    label, instance, level = items.label.codes, items.instance.codes, draws.instance
    assert agree(label, draws.sketch, draws.photo).all()
    assert agree(label, draws.sketch, draws.other_sketch).all()
    assert (agree(label, draws.sketch, draws.other_photo) == level).all()
    assert (label[draws.other_photo] >= 0).all()
    assert agree(instance, draws.sketch, draws.photo)[level].all()
    assert agree(instance, draws.sketch, draws.other_sketch)[level].all()
    assert not agree(instance, draws.sketch, draws.other_photo).any()
    assert (instance[draws.other_photo] >= 0)[level].all()
    if ignored:
        column = getattr(items, ignored).codes
        assert not agree(column, draws.sketch, draws.photo).any()
        assert not agree(column, draws.other_sketch, draws.other_photo).any()


@pytest.mark.parametrize("ignored", [None, "family"])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_every_draw_is_what_it_says(share: float, ignored: str | None) -> None:
    items = world()
    draws = drawn(items, instance_share=share, ignore_same=ignored)
    check(items, draws, ignored)
    spread = (share * (1 - share) / len(draws.instance)) ** 0.5
    assert abs(draws.instance.mean() - share) <= 4 * spread
    families = agree(items.family.codes, draws.sketch, draws.photo)
    assert families.any() == (ignored is None)  # without the option they do agree at times
    for rows in (draws.sketch, draws.photo, draws.other_sketch, draws.other_photo):
        assert rows.dtype == np.int64
        assert len(np.unique(rows)) > 10


def test_classes_are_uniform() -> None:
    items = world()
    draws = drawn(items)
    even(items.label.codes[draws.sketch], 5)  # a to e, small or large
    for name in ("sketch", "photo", "other_sketch", "other_photo"):
        rows = getattr(draws, name)
        chosen = items.label.codes[rows] == items.label.names.index("d")
        even(rows[chosen], 10)
    # another class: any that has a photo, uniformly for each class of the sketch
    of_a = items.label.codes[draws.sketch] == items.label.names.index("a")
    even(items.label.codes[draws.other_photo[of_a]], 5)  # b to e, and the one without a sketch


def test_classes_as_often_as_they_have_sketches() -> None:
    items = world()
    draws = drawn(items, class_draws="sketches")
    check(items, draws)
    fitting = (items.modality == SKETCH) & np.isin(items.label.codes, [items.label.names.index(c) for c in "abcde"])
    even(draws.sketch, fitting.sum())  # every sketch alike, so a class by how many it has
    of_objects = drawn(items, class_draws="sketches", instance_share=1.0)
    even(items.instance.codes[of_objects.sketch], 2 + 3 + 4 + 5)  # draws of objects stay as they are


def test_instances_are_uniform() -> None:
    items = world()
    draws = drawn(items, instance_share=1.0)
    even(items.instance.codes[draws.sketch], 2 + 3 + 4 + 5)  # not that of e, which is alone in its class
    chosen = items.instance.codes[draws.sketch] == items.instance.names.index("d/0")
    even(items.instance.codes[draws.other_photo[chosen]], 4)


def test_two_different_sketches_where_there_are_two() -> None:
    items = world()
    draws = drawn(items, instance_share=0.5)
    alone = items.label.codes[draws.sketch] == items.label.names.index("e")
    assert alone.any() and not alone.all()
    assert ((draws.sketch == draws.other_sketch) == alone).all()


def test_sketches_without_a_photo_are_not_drawn() -> None:
    """Where all photos of its class are of its own family, a sketch is no first one; elsewhere it is."""
    items = table(
        [
            ("s", "a", "a/0", "x"), ("s", "a", "a/0", "y"), ("p", "a", "a/0", "x"), ("p", "a", "a/1", "x"),
            ("s", "b", "b/0", "z"), ("s", "b", "b/0", "x"), ("p", "b", "b/0", "y"), ("p", "b", "b/1", "z"),
            ("p", "b", "b/2", "y"), ("s", "c", None, "x"), ("p", "c", None, "x"), ("p", "b", "b/3", "x"),
            ("p", "b", "b/3", "y"),
        ]
    )  # fmt: skip
    draws = drawn(items, ignore_same="family")
    check(items, draws, "family")
    assert set(draws.sketch.tolist()) == {1, 4, 5}
    # sketch 5 is no second one: all photos of other classes are of its family
    assert set(draws.other_sketch.tolist()) == {0, 4}
    assert set(draws.other_sketch[draws.sketch == 4].tolist()) == {4}
    # to the other sketch of family x, only b and the photos there are left
    assert set(draws.other_photo[draws.other_sketch == 0].tolist()) == {6, 7, 8, 12}
    draws = drawn(items, ignore_same="family", instance_share=1.0)
    check(items, draws, "family")
    assert set(draws.sketch.tolist()) == {1, 4, 5}
    # b/1 is of family z alone, b/3 of x and y
    assert set(draws.other_photo[draws.other_sketch == 4].tolist()) == {8, 11, 12}
    assert set(draws.other_photo[draws.other_sketch == 5].tolist()) == {7, 8, 12}
    assert set(draws.other_sketch[draws.sketch == 1].tolist()) == {1}


def test_every_allowed_photo_is_as_likely() -> None:
    """Also beside a family that takes up most of the class, wherever its name sorts."""
    rows: list[Row] = [("s", "a", None, f) for f in "kmz"] + [("p", "a", None, f) for f in "kllmmmmmmm"]
    items = table([*rows, ("p", "a", None, None), ("s", "b", None, None), ("p", "b", None, None)])
    draws = drawn(items, ignore_same="family")
    for sketch, count in ((0, 10), (1, 4), (2, 11)):
        even(draws.photo[draws.sketch == sketch], count)


def test_the_same_step_draws_the_same() -> None:
    items = world()
    options: dict[str, Any] = {"batch_size": BATCH, "instance_share": 0.5}

    def rows(seed: int, step: int) -> list[list[int]]:
        sampler = PairSampler(items, TrainConfig(seed=seed, **options))
        return [x.tolist() for x in vars(sampler.draw(step)).values()]

    sampler = PairSampler(items, TrainConfig(seed=3, **options))
    for step in (9, 4, 4):  # in any order, after any others
        assert [x.tolist() for x in vars(sampler.draw(step)).values()] == rows(3, step)
    assert rows(3, 4) != rows(3, 5)
    assert rows(3, 4) != rows(4, 4)


CLASSES: list[Row] = [(m, c, None, "x") for c in "ab" for m in "sp"]
OBJECTS: list[Row] = [("s", "a", "1", "x"), ("p", "a", "1", "y"), ("p", "a", "2", "y")]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "at least two classes with a sketch and a photo$"),
        (CLASSES[:3], {}, "two classes"),
        ([*CLASSES[:2], CLASSES[3]], {}, "two classes"),
        ([*CLASSES[:2], ("s", None, None, None), ("p", None, None, None)], {}, "two classes"),
        (CLASSES, {"ignore_same": "family"}, "two classes with a sketch and a photo that differ in family"),
        (CLASSES, {"ignore_same": "label"}, "that differ in label"),
        # both have a pair, and no sketch a photo of the other that differs
        (
            [("s", "a", None, "x"), ("p", "a", None, "y"), ("s", "b", None, "y"), ("p", "b", None, "x")],
            {"ignore_same": "family"},
            "two classes",
        ),
        (CLASSES, {"instance_share": 0.1}, "no instance has a sketch and a photo, and a photo of another"),
        (OBJECTS, {"instance_share": 0.5}, "two classes"),
        (OBJECTS[:2], {"instance_share": 1.0}, "no instance has"),
        ([*OBJECTS[:2], ("p", "b", "2", "y")], {"instance_share": 1.0}, "no instance has"),
        ([*OBJECTS[:2], ("p", "a", None, "y")], {"instance_share": 1.0}, "no instance has"),
        ([*OBJECTS[:2], ("p", "a", "2", "x")], {"instance_share": 1.0, "ignore_same": "family"}, "differ in family"),
    ],
)
def test_nothing_to_draw(rows: list[Row], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ZseError, match=message) as error:
        PairSampler(table(rows), TrainConfig(**options))
    assert error.value.hint


def test_instances_alone_need_one_class() -> None:
    items = table(OBJECTS)
    draws = drawn(items, instance_share=1.0, ignore_same="family")
    assert {tuple(row) for row in zip(*(x.tolist() for x in vars(draws).values()), strict=True)} == {(0, 1, 0, 2, True)}


def marks(lines: str) -> Any:
    return np.array([[c == "x" for c in line] for line in lines.split()])


PAIRS = table(
    [
        ("s", "a", "1", "f"), ("s", "a", "2", None), ("s", "b", "3", "g"), ("s", "a", None, None),
        ("p", "a", "1", "g"), ("p", "a", "2", "f"), ("p", "a", None, None), ("p", "b", "3", "h"), ("p", "b", None, "f"),
    ]
)  # fmt: skip
SKETCHES, PHOTOS = np.arange(4), np.arange(4, 9)


@pytest.mark.parametrize(
    ("ignored", "instance", "positive", "counts"),
    [
        (None, "----", "xxx-- xxx-- ---xx xxx--", "xxxxx xxxxx xxxxx xxxxx"),
        # the photo without an object (third, last) may be the sketch's own, in its class
        (None, "xxx-", "x---- -x--- ---x- xxx--", "xx-xx xx-xx xxxx- xxxxx"),
        (None, "-x--", "xxx-- -x--- ---xx xxx--", "xxxxx xx-xx xxxxx xxxxx"),
        ("family", "----", "x-x-- xxx-- ---xx xxx--", "x-xx- xxxxx -xxxx xxxxx"),
        ("family", "xxx-", "x---- -x--- ---x- xxx--", "x--x- xx-xx -xxx- xxxxx"),
    ],
)
def test_positive_and_eligible_pairs_of_a_batch(ignored: str | None, instance: str, positive: str, counts: str) -> None:
    sampler = PairSampler(PAIRS, TrainConfig(ignore_same=ignored))
    found = sampler.label_pairs(SKETCHES, PHOTOS, marks(instance)[0])
    for ours, expected in zip(found, (positive, counts), strict=True):
        assert ours.dtype == bool
        np.testing.assert_array_equal(ours, marks(expected))


@pytest.mark.parametrize("ignored", [None, "family"])
def test_drawn_pairs_are_known_pairs(ignored: str | None) -> None:
    """The matching pairs of a draw are positives, the others count and are none."""
    items = world()
    sampler = PairSampler(items, TrainConfig(batch_size=BATCH, instance_share=0.5, ignore_same=ignored))
    for step in range(20):
        draws = sampler.draw(step)
        for sketch, photo, match in ((draws.sketch, draws.photo, True), (draws.other_sketch, draws.other_photo, False)):
            positive, counts = sampler.label_pairs(sketch, photo, draws.instance)
            assert (positive.diagonal() == match).all()
            assert counts.diagonal().all()
            assert (counts | ~positive).all()


def test_a_batch_may_have_other_shapes() -> None:
    sampler = PairSampler(PAIRS, TrainConfig())
    positive, counts = sampler.label_pairs(np.array([1, 1]), np.array([4, 8, 5]), np.array([True, False]))
    np.testing.assert_array_equal(positive, marks("--x x-x"))
    np.testing.assert_array_equal(counts, marks("xxx xxx"))
