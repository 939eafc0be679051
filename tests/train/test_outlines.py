"""A photo and its own outline: the places that training is told, the loss on them, and where strokes are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers.demo import DEMO
from helpers.tiny import SELECTING, TINY, build
from zsecli.explain.pair import load_image
from zsecli.images.geometry import Frame, move_points, similarity_matrix, warp_image
from zsecli.images.outline import draw_outline
from zsecli.images.preprocess import frame_input
from zsecli.images.preprocess_rules import Preprocess
from zsecli.images.strokes import find_stroke_patches
from zsecli.model.config import ModelConfig
from zsecli.train.batches import Batch
from zsecli.train.config import TrainConfig
from zsecli.train.losses import correspondence_loss
from zsecli.train.outlines import make_outline_pair
from zsecli.train.step import compute_losses, spread_points

CROP = Preprocess(size=224, sketch="crop")
GRID = (14, 14)


def photo() -> np.ndarray:
    """A red square with a blue corner on a grey ground, off the middle."""
    image = Image.new("RGB", (224, 224), "#cccccc")
    ImageDraw.Draw(image).rectangle((60, 40, 150, 130), "#cc0000")
    ImageDraw.Draw(image).rectangle((60, 40, 90, 70), "#0000cc")
    return np.asarray(image)


def test_an_outline_is_black_where_colours_meet() -> None:
    lines = np.asarray(draw_outline(photo()))
    assert lines[40, 100] < 50 and lines[130, 100] < 50 and lines[70, 75] < 50
    assert lines[100, 100] == lines[55, 75] == lines[10, 10] == 255
    blank = np.full((32, 32, 3), 90, np.uint8)
    assert (np.asarray(draw_outline(blank)) == 255).all()


@pytest.mark.parametrize("seed", range(6))
def test_places_are_where_the_strokes_went(seed: int) -> None:
    """The colours around a stroke's place in the moved photo are those around the stroke in the photo."""
    rng = np.random.default_rng(seed)
    sketch, moved, places = make_outline_pair(photo(), CROP, GRID, rng, 0.0)
    assert sketch.shape == moved.shape == (224, 224, 3) and places.shape == (196, 2) and places.dtype == np.float32
    asked = np.isfinite(places).all(1)
    assert np.array_equal(asked & ~find_stroke_patches(sketch, GRID), np.zeros(196, bool))
    _, frame = frame_input(draw_outline(photo()), "sketch", CROP)
    columns, rows = np.meshgrid(np.arange(14), np.arange(14))
    middles = frame.to_picture((np.stack([columns, rows], 2).reshape(-1, 2) + 0.5) * 16)
    wrong = compared = 0
    for place in np.flatnonzero(asked):
        x, y = (places[place] * 16).astype(int)
        u, v = middles[place].astype(int)
        if not (8 <= x < 216 and 8 <= y < 216 and 8 <= u < 216 and 8 <= v < 216):
            continue
        there = np.unique(moved[y - 5 : y + 6, x - 5 : x + 6].reshape(-1, 3) // 128, axis=0)
        here = np.unique(photo()[v - 5 : v + 6, u - 5 : u + 6].reshape(-1, 3) // 128, axis=0)
        compared += 1
        wrong += {*map(tuple, here)}.isdisjoint(map(tuple, there))
    assert compared > 5 and wrong == 0
    again = make_outline_pair(photo(), CROP, GRID, np.random.default_rng(seed), 0.0)
    assert np.array_equal(again.photo, moved) and np.array_equal(again.places, places, equal_nan=True)


def test_moves_of_outlines_are_as_wide_as_documented() -> None:
    """Mirrored in half of the draws; scales, turns and shifts within their limits, measured on three points."""
    corners = np.array([[100.0, 100], [110, 100], [100, 110]])
    mirrored, scales = 0, []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        calls: list[np.ndarray] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zsecli.train.outlines.warp_image", lambda i, m, f, calls=calls: (calls.append(m), i)[1])
            make_outline_pair(photo()[:32, :32], Preprocess(size=32), (2, 2), rng, 0.0)
        a, b, c = move_points(calls[0], corners)
        mirrored += np.linalg.det(calls[0][:, :2]) < 0
        scales.append(np.linalg.norm(b - a) / 10)
        assert np.linalg.norm(c - a) == pytest.approx(np.linalg.norm(b - a))
        assert (abs(move_points(calls[0], np.array([[16.0, 16]])) - 16) <= 0.15 * 32 + 1e-9).all()
    assert 70 < mirrored < 130
    assert 0.6 <= min(scales) < 0.65 and 1.35 < max(scales) <= 1.4


def test_the_loss_by_hand() -> None:
    similarity_ = torch.tensor([[[0.5, -0.5], [0.2, 0.9]], [[0.0, 0.0], [0.1, 0.3]]])
    target = torch.tensor([[[0.75, 0.25], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]])
    share = [math.exp(v / 0.1) for v in (0.5, -0.5, 0.2, 0.9)]
    first = -(0.75 * math.log(share[0] / (share[0] + share[1])) + 0.25 * math.log(share[1] / (share[0] + share[1])))
    second = -math.log(share[3] / (share[2] + share[3]))
    assert float(correspondence_loss(similarity_, target, 0.1)) == pytest.approx((first + second) / 2 / 2, rel=1e-5)
    assert float(correspondence_loss(similarity_[1:], target[1:], 0.1)) == 0


def test_targets_lie_around_their_place() -> None:
    """They add up to 1, fall with the distance, and there are none for a place that is not known."""
    found = spread_points(torch.tensor([[[1.5, 0.5], [2.0, 1.0], [math.nan, math.nan]]]), (2, 3))[0]
    torch.testing.assert_close(found.sum(1), torch.tensor([1.0, 1.0, 0.0]))
    assert found[0].argmax() == 1 and found[0, 1] / found[0, 0] == pytest.approx(math.exp(2), rel=1e-4)
    assert found[1, 1] == found[1, 2] == found[1, 4] == found[1, 5] > found[1, 0]


@pytest.mark.parametrize("settings", [TINY, SELECTING], ids=["all tokens", "selection"])
def test_a_step_learns_from_outlines(settings: ModelConfig) -> None:
    """The loss is finite, has gradients in the backbone, and falls when it alone is followed."""
    torch.manual_seed(0)
    network = build(settings)
    files = sorted((DEMO / "photo/drink").glob("*__fluent-3d.webp"))[:4]
    pictures = [np.asarray(load_image(f).convert("RGB").resize((64, 64))) for f in files]
    grid = network.backbone.grid
    pairs = []
    for seed, picture in enumerate(pictures):
        pairs.append(make_outline_pair(picture, settings.preprocess, grid, np.random.default_rng(seed), 1.0))
    parts = tuple(torch.from_numpy(np.stack(values)) for values in zip(*pairs, strict=True))
    config = TrainConfig(ret_loss="contrastive", ret_weight=0, match_weight=0, outlines=4)
    same = torch.eye(4, dtype=torch.bool)
    batch = Batch(
        sketch=parts[0],
        photo=parts[1],
        positive=same,
        eligible=torch.ones_like(same),
        outlines=parts,
    )  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    values = []
    for _ in range(8):
        found = compute_losses(network, batch, config)
        optimizer.zero_grad()
        found.total.backward()
        optimizer.step()
        values.append(float(found.outline.detach()))
        assert float(found.total.detach()) == pytest.approx(values[-1])
    assert all(map(math.isfinite, values)) and values[-1] < 0.8 * values[0]


def test_strokes_of_dark_and_of_light_drawings() -> None:
    """Black on white and white on black have strokes at the same places; paper alone has them everywhere."""
    image = Image.new("L", (64, 64), 255)
    ImageDraw.Draw(image).line((4, 4, 28, 4), 0, 2)
    dark = np.asarray(image.convert("RGB"))
    found = find_stroke_patches(dark, (4, 4))
    assert np.flatnonzero(found).tolist() == [0, 1]
    assert np.array_equal(find_stroke_patches(255 - dark, (4, 4)), found)
    pale = (200 + dark // 8).astype(np.uint8)
    assert np.array_equal(find_stroke_patches(pale, (4, 4)), found)
    assert find_stroke_patches(np.full((64, 64, 3), 250, np.uint8), (4, 4)).all()
    assert find_stroke_patches(dark, (5, 7)).sum() > 0


def test_frames_and_moves() -> None:
    points = np.array([[0.0, 0], [10, 20], [7, 3]])
    frame = Frame(-3, 4, 2, 0.5)
    np.testing.assert_allclose(frame.to_input(frame.to_picture(points)), points)
    quarter = similarity_matrix((40, 40), 90)
    np.testing.assert_allclose(move_points(quarter, np.array([[40.0, 20]])), [[20, 40]], atol=1e-9)  # right goes down
    np.testing.assert_allclose(move_points(similarity_matrix((40, 20), mirror=True), np.array([[3.0, 5]])), [[37, 5]])
    image = Image.new("L", (40, 40), 0)
    image.paste(255, (30, 18, 34, 22))
    turned = np.asarray(warp_image(image, quarter, (0,)))
    assert turned[32, 20] == 255 and turned[20, 32] == 0


@pytest.mark.parametrize("rule", ["resize", "crop", "released"])
def test_a_frame_is_where_the_input_lies(rule: str) -> None:
    """A dot of the picture is found in the input where its frame says."""
    image = Image.new("RGB", (310, 170), "white")
    ImageDraw.Draw(image).line((60, 40, 250, 120), "black", 4)
    ImageDraw.Draw(image).ellipse((206, 54, 226, 74), "black")
    pixels, frame = frame_input(image, "sketch", Preprocess(size=224, sketch=rule))  # type: ignore[arg-type]
    x, y = frame.to_input(np.array([[216.0, 64]]))[0]
    assert (pixels[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3] < 60).all()
    assert (pixels[int(y) - 18 : int(y) - 14, int(x) + 14 : int(x) + 18] > 200).all()
