"""The figure of an explanation: matches drawn between the pictures, what [Ret] looks at, what the score is made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from zsecli.arrays import Floats
from zsecli.explain.correspondences import Match, Source, best, contribution, scores
from zsecli.explain.faithfulness import Faithfulness
from zsecli.explain.pair import Pair, Side
from zsecli.render.canvas import Canvas, tint
from zsecli.render.fonts import width_of
from zsecli.runtime.marks import png_text
from zsecli.vocabulary import EXPLANATION_SOURCES

INK, FAINT, BLUE, ORANGE = "#1a1a1a", "#666666", "#0072b2", "#d55e00"
# Okabe and Ito's colours, greys and darker shades, one a head
HEADS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#444444", "#999999", "#003f63", "#7a3600",
    "#00523b", "#7b2d5b",
)  # fmt: skip
RAMP = ("#440154", "#3b528b", "#21918c", "#5ec962")  # viridis: from the surest match to the least sure one
LINES, APART = 12, 1.5  # matches drawn, and patches between two of them
EDGE, WIDE, LARGE, SMALL, GAP = 32, 1104, 420, 245, 20  # units
Place = tuple[float, float, float]  # left, top, and units to a pixel of the picture


def write(
    pair: Pair, source: Source, svg: Path, png: Path, contrast: Pair | None = None, tested: Faithfulness | None = None
) -> None:
    """Draw the figure as SVG and as PNG.

    Args:
        contrast: the same sketch with another photo, for a last row that says why this one.
        tested: the curves of this source's matches, for a panel.
    """
    canvas = draw(pair, source, contrast, tested)
    svg.write_text(canvas.svg(), "utf-8")
    canvas.png().save(png, "PNG", pnginfo=png_text())


def draw(pair: Pair, source: Source, contrast: Pair | None = None, tested: Faithfulness | None = None) -> Canvas:
    """The figure."""
    rows = 2 if contrast is None else 3
    canvas = Canvas(WIDE, 108 + LARGE + rows * (SMALL + 62) + 20)
    shares = contribution(pair)
    _head(canvas, pair, float(shares.sum()))
    _matches(canvas, pair, source)
    top = 108 + LARGE + 40
    _looks(canvas, pair, top)
    _parts(canvas, pair, shares, top + SMALL + 62)
    if tested is not None:
        _curves(canvas, tested, EDGE + 3 * (SMALL + GAP), top + SMALL + 62)
    if contrast is not None:
        _contrast(canvas, pair, contrast, shares, top + 2 * (SMALL + 62))
    return canvas


def spread(matches: Sequence[Match], grid: tuple[int, int], most: int = LINES) -> list[Match]:
    """The best matches that keep some distance from each other in the sketch: a bundle of lines says one thing."""
    chosen: list[Match] = []
    for match in matches:
        here = np.array(divmod(match.sketch, grid[1]))
        if all(np.linalg.norm(here - divmod(other.sketch, grid[1])) > APART for other in chosen):
            chosen.append(match)
        if len(chosen) == most:
            break
    return chosen


def _head(canvas: Canvas, pair: Pair, local: float) -> None:
    half = (WIDE - 2 * EDGE - GAP) / 2
    first = min(half, width_of(pair.sketch.name, 20))
    canvas.text(EDGE, 40, pair.sketch.name, INK, 20, bold=True, most=half)
    canvas.text(EDGE + first + GAP / 2, 40, f"and {pair.photo.name}", INK, 20, bold=True, most=half)
    text = f"relation score {pair.relation:.2f} of 1; cosine of [Ret] {pair.cosine:.2f}; "
    text += f"local matches add {local:+.2f} to the logit of {float(pair.score.logit):+.2f}"
    canvas.text(EDGE, 64, text, FAINT, 14)


def _matches(canvas: Canvas, pair: Pair, source: Source) -> None:
    """Both pictures, and numbered lines between the patches of the surest matches."""
    every = best(scores(pair, source), pair.sketch.asked, pair.photo.asked)
    shown = spread(every, pair.sketch.grid)
    description = EXPLANATION_SOURCES[source].description
    text = f"Best matches by {source}: {description}; {len(shown)} of {len(every)}, 1 is the surest"
    if not pair.sketch.strokes.all():
        text += "; blank patches of the sketch are left out"
    canvas.text(EDGE, 96, text, INK, 14, bold=True)
    left = _picture(canvas, pair.sketch.image, EDGE, 108, LARGE)
    right = _picture(canvas, pair.photo.image, WIDE - EDGE - LARGE, 108, LARGE)
    ends = [(_middle(pair.sketch, m.sketch, left), _middle(pair.photo, m.photo, right)) for m in shown]
    for rank in reversed(range(len(shown))):  # the surest lies on top
        colour = RAMP[rank * len(RAMP) // max(1, len(shown))]
        (x, y), (u, v) = ends[rank]
        _outline(canvas, pair.sketch, shown[rank].sketch, left, colour)
        _outline(canvas, pair.photo, shown[rank].photo, right, colour)
        canvas.line(x, y, u, v, "#ffffff", 4)
        canvas.line(x, y, u, v, colour, 1.8)
    for rank in reversed(range(len(shown))):
        colour = RAMP[rank * len(RAMP) // max(1, len(shown))]
        for x, y in ends[rank]:
            canvas.dot(x, y, 9, colour, "#ffffff")
            canvas.text(x, y + 4, str(rank + 1), "#ffffff", 11, "middle", bold=True)


def _looks(canvas: Canvas, pair: Pair, top: float) -> None:
    """[Ret]'s attention: the head that looks hardest at each patch, and the mean."""
    for column, (side, heads) in enumerate((s, h) for s in (pair.sketch, pair.photo) for h in (True, False)):
        x = EDGE + column * (SMALL + GAP)
        looks = side.attention / side.attention.max(1, keepdims=True).clip(1e-12)
        picture = _shrunk(side.image)
        if heads:
            strongest = looks.argmax(0)
            for head in range(len(looks)):
                values = np.where((strongest == head) & (looks[head] > 0.4), looks[head], 0)
                picture = tint(picture, _painted(side, values, 0.75), HEADS[head % len(HEADS)])
        else:
            mean = side.attention.mean(0)
            low = float(np.median(mean))
            picture = tint(picture, _painted(side, (mean - low) / max(float(mean.max()) - low, 1e-12), 0.85), BLUE)
        picture = _crossed(side, picture)
        said = "one colour a head" if heads else "mean above the median"
        canvas.text(x, top, f"[Ret] in the {side.role}, {said}", INK, 12.5, bold=True)
        _picture(canvas, picture, x, top + 10, SMALL)
    if not (pair.sketch.kept.all() and pair.photo.kept.all()):
        canvas.text(EDGE, top + SMALL + 26, "crossed out: dropped by token selection", FAINT, 12)


def _parts(canvas: Canvas, pair: Pair, shares: Floats, top: float) -> None:
    """What each patch adds to the score, and the kernel."""
    for column, (side, values) in enumerate(((pair.sketch, shares.sum(1)), (pair.photo, shares.sum(0)))):
        x, most = EDGE + column * (SMALL + GAP), _most(values)
        canvas.text(x, top, f"what the {side.role} adds to the score", INK, 12.5, bold=True)
        _picture(canvas, _signed(side, values, most), x, top + 10, SMALL)
        canvas.text(x, top + SMALL + 26, f"blue: for a match; orange: against it; to ±{most:.2g}", FAINT, 12)
    x = EDGE + 2 * (SMALL + GAP)
    canvas.text(x, top, "kernel: sketch cells down, photo cells across", INK, 12.5, bold=True)
    if pair.network.config.relation.layout == "memory":
        canvas.text(x, top + 40, "this network's cells are no places", FAINT, 12.5)
        return
    kernel = pair.score.kernel[0].float().cpu().numpy()
    canvas.image(_map(kernel), x, top + 10, SMALL, SMALL)
    text = f"cosine from {kernel.min():.2f} (white) to {kernel.max():.2f} (dark)"
    canvas.text(x, top + SMALL + 26, text, FAINT, 12)


def _contrast(canvas: Canvas, pair: Pair, other: Pair, shares: Floats, top: float) -> None:
    """Which patches of the sketch speak for this photo, and which for the other one."""
    difference = shares.sum(1) - contribution(other).sum(1)
    canvas.text(EDGE, top, f"Why this one rather than {other.photo.name}", INK, 12.5, bold=True, most=SMALL)
    most = _most(shares.sum(1))  # on the scale of what the patches add, a small difference looks small
    _picture(canvas, _signed(pair.sketch, difference, most), EDGE, top + 10, SMALL)
    canvas.text(EDGE, top + SMALL + 26, f"blue: for the first; orange: for the other; to ±{most:.2g}", FAINT, 12)
    for column, one in enumerate((pair, other), 1):
        x = EDGE + column * (SMALL + GAP)
        text = f"relation {one.relation:.2f}, [Ret] {one.cosine:.2f}, local {float(contribution(one).sum()):+.2f}"
        canvas.text(x, top, text, BLUE if one is pair else ORANGE, 12.5, bold=True)
        _picture(canvas, one.photo.image, x, top + 10, SMALL)


def _curves(canvas: Canvas, tested: Faithfulness, x: float, top: float) -> None:
    """The relation score while matches are taken away and while they come back, beside the mean of random orders."""
    canvas.text(x, top, "score without matches (dots: random order)", INK, 12.5, bold=True)
    left, high, low = x + 30, top + 20, top + SMALL
    width, height = SMALL - 34, low - high
    chance = [tested.random_deletion.mean(0), tested.random_insertion.mean(0)]
    every = np.concatenate([tested.deletion, tested.insertion, *chance])
    least, most = float(every.min()), float(every.max())
    scale = height / max(most - least, 1e-6)
    for share in (0.0, 0.5, 1.0):
        y = low - share * height
        canvas.line(left, y, left + width, y, "#e0e0e0")
        canvas.text(left - 5, y + 4, f"{least + share * (most - least):.2f}", FAINT, 11, "end")
    lines = [(tested.deletion, BLUE), (tested.insertion, ORANGE), (chance[0], BLUE), (chance[1], ORANGE)]
    for number, (values, colour) in enumerate(lines):
        points = [
            (left + width * i / (len(values) - 1), low - scale * (float(v) - least)) for i, v in enumerate(values)
        ]
        for (a, b), (c, d) in pairwise(points):
            if number < 2:
                canvas.line(a, b, c, d, colour, 2.2)
            else:  # the random orders, dotted
                canvas.line((a + c) / 2 - 2, (b + d) / 2, (a + c) / 2 + 2, (b + d) / 2, colour, 1.5)
    areas = tested.areas()
    canvas.text(x, top + SMALL + 18, f"blue: taken away, best first; area {areas.deletion:+.4f}", BLUE, 12)
    canvas.text(x, top + SMALL + 33, f"orange: put back, best first; area {areas.insertion:+.4f}", ORANGE, 12)


def _picture(canvas: Canvas, image: Image.Image, x: float, y: float, side: float) -> Place:
    """A picture in the middle of a square, framed; returns where it lies."""
    scale = side / max(image.size)
    width, height = image.width * scale, image.height * scale
    left, top = x + (side - width) / 2, y + (side - height) / 2
    canvas.image(_shrunk(image), left, top, width, height)
    canvas.box(left, top, width, height, stroke="#bbbbbb")
    return left, top, scale


def _middle(side: Side, place: int, at: Place) -> tuple[float, float]:
    left, top, right, bottom = side.box(place)
    return at[0] + at[2] * (left + right) / 2, at[1] + at[2] * (top + bottom) / 2


def _outline(canvas: Canvas, side: Side, place: int, at: Place, colour: str) -> None:
    left, top, right, bottom = side.box(place)
    x, y, scale = at
    canvas.box(x + scale * left, y + scale * top, scale * (right - left), scale * (bottom - top), None, colour, 2)


def _shrunk(image: Image.Image, least: int = 490, most: int = 900) -> Image.Image:
    """Small enough to travel in a figure, and large enough to paint patches on."""
    scale = min(max(1.0, least / max(image.size)), most / max(image.size))
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.copy() if size == image.size else image.resize(size, Image.Resampling.LANCZOS)


def _painted(side: Side, values: Floats, most: float) -> NDArray[np.uint8]:
    """Floats (P,) in 0 to 1 on the patches of the shrunk picture, (H, W) uint8; 1 is `most` of 255."""
    image = _shrunk(side.image)
    scale = np.tile(np.divide(image.size, side.image.size), 2)
    painted = Image.new("L", image.size)
    draw = ImageDraw.Draw(painted)
    for place, value in enumerate(values):
        left, top, right, bottom = scale * side.box(place)
        if right - left >= 1 and bottom - top >= 1:
            draw.rectangle((left, top, right - 1, bottom - 1), round(255 * most * float(np.clip(value, 0, 1))))
    return np.asarray(painted)


def _most(values: Floats) -> float:
    """A scale on which a few extreme patches do not make the others pale."""
    return max(float(np.quantile(abs(values), 0.98)), 1e-12)


def _signed(side: Side, values: Floats, most: float) -> Image.Image:
    """The picture with positive values (P,) in blue and negative ones in orange, `most` and beyond opaque."""
    values = values / most
    picture = tint(_shrunk(side.image), _painted(side, values, 0.8), BLUE)
    return _crossed(side, tint(picture, _painted(side, -values, 0.8), ORANGE))


def _crossed(side: Side, picture: Image.Image) -> Image.Image:
    """With a cross on each patch that selection dropped."""
    scale, draw = np.tile(np.divide(picture.size, side.image.size), 2), ImageDraw.Draw(picture)
    for place in np.flatnonzero(~side.kept):
        left, top, right, bottom = scale * side.box(int(place))
        draw.line((left, top, right, bottom), FAINT)
        draw.line((left, bottom, right, top), FAINT)
    return picture


def _map(values: Floats) -> Image.Image:
    """A matrix as a picture, the largest value darkest."""
    low, high = float(values.min()), float(values.max())
    share = np.rint(255 * (values - low) / max(high - low, 1e-12)).astype(np.uint8)
    image = tint(Image.new("RGB", share.shape[::-1], "#ffffff"), share, "#08306b")
    return image.resize((image.width * 10, image.height * 10), Image.Resampling.NEAREST)
