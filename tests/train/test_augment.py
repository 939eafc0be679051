"""Random changes of pictures: they stay what they were, within their bounds, and a seed gives one of them."""

from __future__ import annotations

import numpy as np
import pytest

from zsecli.arrays import Pixels
from zsecli.images.preprocess_rules import Modality
from zsecli.train.augment import augment_picture

pytestmark = pytest.mark.fast

SIDE = 96
ROLES: tuple[Modality, ...] = ("sketch", "photo")


def cross(paper: int = 255, ink: int = 0, width: int = 1) -> Pixels:
    """Two lines of `width` pixels through the middle of a sheet, and a border around them."""
    picture = np.full((SIDE, SIDE, 3), paper, np.uint8)
    middle = slice(SIDE // 2, SIDE // 2 + width)
    picture[middle, 10:-10] = picture[10:-10, middle] = ink
    return picture


def changed(
    picture: Pixels, role: Modality = "sketch", seed: int = 0, flip: bool = False, strength: float = 1.0
) -> Pixels:
    return augment_picture(picture, role, flip, np.random.default_rng(seed), strength)


NOISE = np.random.default_rng(1).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)


@pytest.mark.parametrize("role", ROLES)
def test_no_strength_leaves_all_but_the_flip(role: Modality) -> None:
    np.testing.assert_array_equal(changed(NOISE, role, strength=0), NOISE)
    np.testing.assert_array_equal(changed(NOISE, role, flip=True, strength=0), NOISE[:, ::-1])


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("picture", [NOISE, cross()], ids=["colour", "grey"])
def test_a_seed_gives_one_picture(role: Modality, picture: Pixels) -> None:
    before = picture.copy()
    one, again, other = (changed(picture, role, seed) for seed in (3, 3, 4))
    assert one.shape == picture.shape and one.dtype == np.uint8
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(picture, before)


def test_left_stays_left_in_both() -> None:
    picture = cross()
    picture[20:30, 15:25] = 0
    for role in ROLES:
        lies = [255.0 - changed(picture, role, 5, flip)[..., 0] for flip in (False, True)]
        columns = [(dark * np.arange(SIDE)).sum() / dark.sum() for dark in lies]
        assert columns[0] < columns[1]


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (230, 60), (0, 255)])
def test_paper_stays_paper_and_ink_stays_grey_ink(paper: int, ink: int) -> None:
    """Also where lines of one pixel are thinned, and on black."""
    for seed in range(80):
        sheet = changed(cross(paper, ink), seed=seed).astype(int)
        assert (sheet == sheet[..., :1]).all()
        for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)):
            assert abs(sheet[corner][0] - paper) <= 1
        contrast = abs(sheet[..., 0] - paper) > 0.2 * abs(ink - paper)
        assert contrast.sum() > SIDE  # of 150 pixels of line


def test_a_corner_of_ink_is_not_the_paper() -> None:
    picture = cross()
    picture[:20, :20] = 0
    for seed in range(40):
        assert (changed(picture, seed=seed)[-1, -1] == 255).all()


@pytest.mark.parametrize(("paper", "ink"), [(255, 0), (0, 255)])
def test_strokes_get_thicker_and_thinner(paper: int, ink: int) -> None:
    picture = cross(paper, ink, width=7)
    widths = []
    for seed in range(120):
        column = np.abs(changed(picture, seed=seed)[:, SIDE // 2 + 20, 0].astype(int) - paper)
        widths.append(int((column > column.max() / 2).sum()))
    assert min(widths) == pytest.approx(4, abs=1)  # 5 * 0.85
    assert max(widths) == pytest.approx(10.5, abs=1)  # 9 * 1.15


@pytest.mark.parametrize("strength", [0.3, 1.0])
def test_a_dot_moves_no_further_than_said(strength: float) -> None:
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    picture[44:53, 20:29] = 0
    start = np.array([48.5, 24.5])
    bound = strength * (0.24 * np.linalg.norm(start - SIDE / 2) + 0.085 * SIDE)
    moved = []
    for seed in range(80):
        dark = 255.0 - changed(picture, seed=seed, strength=strength)[..., 0]
        rows, columns = np.indices(dark.shape) + 0.5
        at = np.array([(rows * dark).sum(), (columns * dark).sum()]) / dark.sum()
        moved.append(float(np.linalg.norm(at - start)))
    assert bound / 2 < max(moved) <= bound + 0.2


def test_colours_of_a_photo_change() -> None:
    picture = np.full((SIDE, SIDE, 3), (200, 120, 40), np.uint8)
    middles = [changed(picture, "photo", seed)[SIDE // 2, SIDE // 2].astype(int) for seed in range(100)]
    assert 8 <= sum(np.ptp(middle) == 0 for middle in middles) <= 35
    assert len({tuple(middle) for middle in middles}) > 80
    assert all(0.6 * 120 < middle.mean() < 1.4 * 140 for middle in middles)
