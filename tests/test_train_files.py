"""Beside the weights: random changes of pictures, the log, its figure."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from zsecli.data.pictures import Pixels
from zsecli.data.preprocess import Role
from zsecli.train.augment import SCALE, SHIFT, TURN, augment
from zsecli.train.curve import curve
from zsecli.train.log import Log

SIDE = 96


def line_drawing() -> Pixels:
    """A white sheet with a cross of lines one pixel wide, and a dot left of its centre."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    picture[SIDE // 2, 10:-10] = picture[10:-10, SIDE // 2] = 0
    picture[44:53, 20:29] = 0
    return picture


def changed(picture: Pixels, role: Role = "sketch", flip: bool = False, seed: int = 0, strength: float = 1.0) -> Pixels:
    return augment(picture, role, flip, np.random.default_rng(seed), strength)


@pytest.mark.parametrize("role", ["sketch", "photo"])
def test_no_strength_changes_nothing(role: Role) -> None:
    picture = line_drawing()
    assert np.array_equal(changed(picture, role, strength=0.0), picture)
    assert np.array_equal(changed(picture, role, flip=True, strength=0.0), picture[:, ::-1])


@pytest.mark.parametrize("role", ["sketch", "photo"])
def test_a_seed_gives_one_picture(role: Role) -> None:
    picture = line_drawing()
    one, again, other = (changed(picture, role, seed=seed) for seed in (3, 3, 4))
    assert (one.shape, one.dtype) == (picture.shape, np.uint8)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_paper_stays_paper_and_ink_stays_grey() -> None:
    for seed in range(40):
        sheet = changed(line_drawing(), seed=seed)
        assert all((sheet[corner] > 250).all() for corner in ((0, 0), (0, -1), (-1, 0), (-1, -1)))
        assert (sheet.max(2) - sheet.min(2)).max() == 0
        assert (sheet < 215).any(2).sum() > 80  # the lines are still there


def test_parts_stay_where_they_can_be_found() -> None:
    """A dot moves no further than turn, scale and shift together allow."""
    picture = np.full((SIDE, SIDE, 3), 255, np.uint8)
    picture[44:53, 20:29] = 0
    start = np.array([48.5, 24.5])
    arm = np.linalg.norm(start - SIDE / 2)
    furthest = arm * (2 * np.sin(np.radians(TURN) / 2) + SCALE) + SHIFT * SIDE * 2**0.5 + 1
    moved = []
    for seed in range(60):
        dark = 255.0 - changed(picture, seed=seed)[:, :, 0]
        rows, columns = np.indices(dark.shape) + 0.5
        at = np.array([(rows * dark).sum(), (columns * dark).sum()]) / dark.sum()
        moved.append(float(np.linalg.norm(at - start)))
    assert max(moved) <= furthest
    assert max(moved) > 4


def test_colours_of_a_photo_change() -> None:
    picture = np.zeros((SIDE, SIDE, 3), np.uint8)
    picture[:] = (200, 120, 40)
    middles = [changed(picture, "photo", seed=seed)[SIDE // 2, SIDE // 2].astype(int) for seed in range(60)]
    grey = sum(np.ptp(m) == 0 for m in middles)
    assert 3 <= grey <= 25
    assert len({tuple(m) for m in middles}) > 50
    assert all(abs(int(m.mean()) - 120) < 60 for m in middles)


def test_a_log_goes_on_where_it_was_stopped(tmp_path: Path) -> None:
    log = Log(tmp_path / "run")
    log.truncate(0)
    for step in (10, 20, 30):
        log.append({"kind": "train", "step": step, "loss": 1 / step})
    with log.path.open("a") as file:
        file.write('{"kind": "train", "st')  # killed in the midst of a line
    assert [r["step"] for r in log.records()] == [10, 20, 30]
    log.truncate(20)
    log.append({"kind": "validation", "step": 20, "score": 0.5})
    assert [json.loads(line)["step"] for line in log.path.read_text().splitlines()] == [10, 20, 20]


def points(figure: Path) -> list[list[tuple[float, float]]]:
    lines = re.findall(r'<polyline points="([^"]*)"', figure.read_text())
    return [[(float(x), float(y)) for x, y in (p.split(",") for p in line.split())] for line in lines]


def test_the_figure_shows_every_line(tmp_path: Path) -> None:
    records = [
        {"kind": "train", "step": step, "loss": 4 - step / 500, "ret": 3.0, "match": 1.0 if step % 20 else float("nan")}
        for step in range(10, 1001, 10)
    ]
    records += [
        {"kind": "validation", "step": step, "epoch": step // 100, "a <b>": step / 1000, "score": 1 - step / 1000}
        for step in range(100, 1001, 100)
    ]
    curve(records, tmp_path / "c.svg", "emoji & stamps")
    text = (tmp_path / "c.svg").read_text()
    ElementTree.fromstring(text)
    assert all(word in text for word in ("emoji &amp; stamps", "a &lt;b&gt; 1.000 best", "score 0.900 best", "[Ret]"))
    loss, _, match, rising, falling = points(tmp_path / "c.svg")
    assert [len(line) for line in (loss, match, rising)] == [100, 50, 10]
    for line, down in ((loss, True), (rising, False), (falling, True)):
        assert line == sorted(line)
        heights = [y for _, y in line]
        assert heights == sorted(heights, reverse=not down)  # y grows downwards


@pytest.mark.parametrize("count", [0, 1, 50_000])
def test_the_figure_of_any_run(tmp_path: Path, count: int) -> None:
    curve(
        [{"kind": "train", "step": i, "loss": 1.0, "ret": 0.0, "match": 0.5} for i in range(count)], tmp_path / "c.svg"
    )
    ElementTree.parse(tmp_path / "c.svg")
    assert (tmp_path / "c.svg").stat().st_size < 100_000
