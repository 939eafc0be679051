"""The figure of an explanation: matches drawn between the pictures, what [Ret] attends to, what the score is made of.

All lengths are units of a `Canvas`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from zsecli.arrays import Floats
from zsecli.explain.correspondences import Match, find_pair_matches, offered_sources, score_contribution, score_patches
from zsecli.explain.faithfulness import Faithfulness
from zsecli.explain.pair import Pair, Side
from zsecli.explain.shared_classes import describe_shared_classes, find_shared_classes
from zsecli.render.canvas import Canvas
from zsecli.render.fonts import text_width
from zsecli.render.palette import BLUE, BORDER, FAINT, GRID, INK, ORANGE, RANKS, WHITE, Colour
from zsecli.render.patch_overlay import (
    colour_limit,
    draw_matrix,
    draw_mean_attention,
    draw_signed_values,
    draw_strongest_heads,
    resize_for_figure,
)
from zsecli.runtime.marks import png_text
from zsecli.vocabulary import EXPLANATION_SOURCES

MAX_LINES = 12  # matches drawn
MIN_DISTANCE = 1.5  # patches between two drawn matches
MARGIN, WIDTH, GAP = 32, 1104, 20
LARGE, SMALL = 420, 245  # sides of the pictures
PAIR_TOP = 108  # of the two large pictures
PANEL_ROW = SMALL + 62  # height of a row of small pictures with their text
HEADING = 12.5  # size of text


@dataclass(frozen=True)
class Placement:
    """Where a picture lies on the canvas."""

    left: float
    top: float
    scale: float
    """Units to a pixel of the picture."""

    def box(self, side: Side, patch: int) -> tuple[float, float, float, float]:
        """Left, top, width and height of a patch."""
        left, top, right, bottom = side.patch_box(patch)
        x, y = self.left + self.scale * left, self.top + self.scale * top
        return x, y, self.scale * (right - left), self.scale * (bottom - top)

    def centre(self, side: Side, patch: int) -> tuple[float, float]:
        left, top, right, bottom = side.patch_box(patch)
        return self.left + self.scale * (left + right) / 2, self.top + self.scale * (top + bottom) / 2


def write_figure(
    pair: Pair, source: str, svg: Path, png: Path, contrast: Pair | None = None, tested: Faithfulness | None = None
) -> None:
    """Draw the figure as SVG and as PNG.

    Args:
        contrast: the same sketch with another photo, for a last row that compares the two.
        tested: the curves of this source's matches, for a panel.
    """
    canvas = draw_figure(pair, source, contrast, tested)
    svg.write_text(canvas.to_svg(), "utf-8")
    canvas.to_png().save(png, "PNG", pnginfo=png_text())


def draw_figure(pair: Pair, source: str, contrast: Pair | None = None, tested: Faithfulness | None = None) -> Canvas:
    """The figure; arguments as in `write_figure`."""
    # where cross-attention explains nothing, what [Ret] looks at in the blocks does not either
    shows_attention = "attention" in offered_sources(pair.network)
    n_rows = 1 + int(shows_attention) + int(contrast is not None)
    canvas = Canvas(WIDTH, PAIR_TOP + LARGE + n_rows * PANEL_ROW + 20)
    contributions = score_contribution(pair)
    _draw_title(canvas, pair, float(contributions.sum()))
    _draw_matches(canvas, pair, source)
    top = PAIR_TOP + LARGE + 40
    if shows_attention:
        _draw_attention_row(canvas, pair, top)
        top += PANEL_ROW
    _draw_contribution_row(canvas, pair, contributions, top)
    if tested is not None:
        _draw_curves(canvas, tested, _column_left(3), top)
    if contrast is not None:
        _draw_contrast_row(canvas, pair, contrast, contributions, top + PANEL_ROW)
    return canvas


def select_spread_matches(matches: Sequence[Match], grid: tuple[int, int], max_matches: int = MAX_LINES) -> list[Match]:
    """The best matches that keep some distance from each other in the sketch: a bundle of lines says one thing."""
    selected: list[Match] = []
    for match in matches:
        cell = np.array(divmod(match.sketch, grid[1]))
        distances = [np.linalg.norm(cell - divmod(other.sketch, grid[1])) for other in selected]
        if all(distance > MIN_DISTANCE for distance in distances):
            selected.append(match)
        if len(selected) == max_matches:
            break
    return selected


def _column_left(column: int) -> float:
    """Left border of a small picture."""
    return MARGIN + column * (SMALL + GAP)


def _draw_heading(canvas: Canvas, x: float, y: float, text: str, colour: Colour = INK) -> None:
    canvas.text(x, y, text, colour, HEADING, bold=True)


def _draw_title(canvas: Canvas, pair: Pair, local: float) -> None:
    """The names of the pictures, and the scores; `local` is what local matches add to the logit."""
    half = (WIDTH - 2 * MARGIN - GAP) / 2
    first_width = min(half, text_width(pair.sketch.name, 20))
    canvas.text(MARGIN, 40, pair.sketch.name, INK, 20, bold=True, max_width=half)
    second = MARGIN + first_width + 6
    canvas.text(second, 40, f"and {pair.photo.name}", INK, 20, bold=True, max_width=half)
    text = f"relation score {pair.relation:.2f} of 1; cosine of [Ret] {pair.cosine:.2f}; "
    text += f"local matches add {local:+.2f} to the logit of {float(pair.score.logit):+.2f}"
    if shared := describe_shared_classes(find_shared_classes(pair)):
        text += f"; {shared[0].lower()}{shared[1:]}"
    canvas.text(MARGIN, 64, text, FAINT, 14, max_width=WIDTH - 2 * MARGIN)


def _draw_matches(canvas: Canvas, pair: Pair, source: str) -> None:
    """Both pictures, and numbered lines between the patches of the surest matches."""
    matches = find_pair_matches(pair, score_patches(pair, source))
    shown = select_spread_matches(matches, pair.sketch.grid)
    description = EXPLANATION_SOURCES[source].description
    text = f"Best matches by {source}: {description}; {len(shown)} of {len(matches)}, 1 is the surest"
    if not pair.sketch.strokes.all():
        text += "; blank patches of the sketch are left out"
    canvas.text(MARGIN, 96, text, INK, 14, bold=True)
    sketch = _draw_picture(canvas, pair.sketch.image, MARGIN, PAIR_TOP, LARGE)
    photo = _draw_picture(canvas, pair.photo.image, WIDTH - MARGIN - LARGE, PAIR_TOP, LARGE)
    colours = [RANKS[rank * len(RANKS) // max(1, len(shown))] for rank in range(len(shown))]
    ends = [(sketch.centre(pair.sketch, m.sketch), photo.centre(pair.photo, m.photo)) for m in shown]
    for rank in reversed(range(len(shown))):  # the surest on top
        canvas.box(*sketch.box(pair.sketch, shown[rank].sketch), stroke=colours[rank], stroke_width=2)
        canvas.box(*photo.box(pair.photo, shown[rank].photo), stroke=colours[rank], stroke_width=2)
        start, end = ends[rank]
        canvas.line(*start, *end, WHITE, 4)
        canvas.line(*start, *end, colours[rank], 1.8)
    for rank in reversed(range(len(shown))):
        for x, y in ends[rank]:
            canvas.dot(x, y, 9, colours[rank], WHITE)
            canvas.text(x, y + 4, str(rank + 1), WHITE, 11, anchor="middle", bold=True)


def _draw_attention_row(canvas: Canvas, pair: Pair, top: float) -> None:
    """[Ret]'s attention in both pictures: the head that attends most to each patch, and the mean."""
    for index, side in enumerate((pair.sketch, pair.photo)):
        heads, mean = _column_left(2 * index), _column_left(2 * index + 1)
        _draw_heading(canvas, heads, top, f"[Ret] in the {side.modality}, one colour a head")
        _draw_picture(canvas, draw_strongest_heads(side), heads, top + 10, SMALL)
        _draw_heading(canvas, mean, top, f"[Ret] in the {side.modality}, mean above the median")
        _draw_picture(canvas, draw_mean_attention(side), mean, top + 10, SMALL)
    if not (pair.sketch.kept.all() and pair.photo.kept.all()):
        canvas.text(MARGIN, top + SMALL + 26, "crossed out: dropped by token selection", FAINT, 12)


def _draw_contribution_row(canvas: Canvas, pair: Pair, contributions: Floats, top: float) -> None:
    """What each patch adds to the score, by contributions (P, C), and the kernel."""
    sides = ((pair.sketch, contributions.sum(1)), (pair.photo, contributions.sum(0)))
    for column, (side, values) in enumerate(sides):
        x = _column_left(column)
        limit = colour_limit(values)
        _draw_heading(canvas, x, top, f"what the {side.modality} adds to the score")
        _draw_picture(canvas, draw_signed_values(side, values, limit), x, top + 10, SMALL)
        canvas.text(x, top + SMALL + 26, f"blue: for a match; orange: against it; to ±{limit:.2g}", FAINT, 12)
    x = _column_left(2)
    _draw_heading(canvas, x, top, "kernel: sketch cells down, photo cells across")
    if pair.network.config.relation.layout == "memory":
        canvas.text(x, top + 40, "this network's cells are no places", FAINT, HEADING)
        return
    kernel = pair.score.kernel[0].float().cpu().numpy()
    canvas.image(draw_matrix(kernel), x, top + 10, SMALL, SMALL)
    text = f"cosine from {kernel.min():.2f} (white) to {kernel.max():.2f} (dark)"
    canvas.text(x, top + SMALL + 26, text, FAINT, 12)


def _draw_contrast_row(canvas: Canvas, pair: Pair, other: Pair, contributions: Floats, top: float) -> None:
    """Which patches of the sketch favour this photo, and which the other one."""
    difference = contributions.sum(1) - score_contribution(other).sum(1)
    limit = colour_limit(
        contributions.sum(1)
    )  # on the scale of what the patches add, so a small difference looks small
    title = f"Why this one rather than {other.photo.name}"
    canvas.text(MARGIN, top, title, INK, HEADING, bold=True, max_width=SMALL)
    _draw_picture(canvas, draw_signed_values(pair.sketch, difference, limit), MARGIN, top + 10, SMALL)
    text = f"blue: for the first; orange: for the other; to ±{limit:.2g}"
    canvas.text(MARGIN, top + SMALL + 26, text, FAINT, 12)
    for column, (shown, colour) in enumerate(((pair, BLUE), (other, ORANGE)), 1):
        x = _column_left(column)
        local = float(score_contribution(shown).sum())
        text = f"relation {shown.relation:.2f}, [Ret] {shown.cosine:.2f}, local {local:+.2f}"
        _draw_heading(canvas, x, top, text, colour)
        _draw_picture(canvas, shown.photo.image, x, top + 10, SMALL)


def _draw_curves(canvas: Canvas, tested: Faithfulness, x: float, top: float) -> None:
    """The relation score while matches are removed and while they come back, beside the mean of random orders."""
    _draw_heading(canvas, x, top, "score without matches (dots: random order)")
    left, upper, lower = x + 30, top + 20, top + SMALL
    width, height = SMALL - 34, lower - upper
    random_deletion = tested.random_deletion.mean(0)
    random_insertion = tested.random_insertion.mean(0)
    values = np.concatenate([tested.deletion, tested.insertion, random_deletion, random_insertion])
    least, greatest = float(values.min()), float(values.max())
    scale = height / max(greatest - least, 1e-6)
    for share in (0.0, 0.5, 1.0):
        y = lower - share * height
        canvas.line(left, y, left + width, y, GRID)
        label = f"{least + share * (greatest - least):.2f}"
        canvas.text(left - 5, y + 4, label, FAINT, 11, anchor="end")

    def points(curve: Floats) -> list[tuple[float, float]]:
        last = len(curve) - 1
        return [(left + width * i / last, lower - scale * (float(v) - least)) for i, v in enumerate(curve)]

    for curve, colour in ((tested.deletion, BLUE), (tested.insertion, ORANGE)):
        for start, end in pairwise(points(curve)):
            canvas.line(*start, *end, colour, 2.2)
    for curve, colour in ((random_deletion, BLUE), (random_insertion, ORANGE)):  # dotted
        for (x1, y1), (x2, y2) in pairwise(points(curve)):
            middle_x, middle_y = (x1 + x2) / 2, (y1 + y2) / 2
            canvas.line(middle_x - 2, middle_y, middle_x + 2, middle_y, colour, 1.5)
    areas = tested.mean_areas()
    text = f"blue: taken away, best first; area {areas.deletion:+.4f}"
    canvas.text(x, top + SMALL + 18, text, BLUE, 12)
    text = f"orange: put back, best first; area {areas.insertion:+.4f}"
    canvas.text(x, top + SMALL + 33, text, ORANGE, 12)


def _draw_picture(canvas: Canvas, image: Image.Image, x: float, y: float, side: float) -> Placement:
    """A picture in the middle of a square, framed; returns where it lies."""
    scale = side / max(image.size)
    width, height = image.width * scale, image.height * scale
    left, top = x + (side - width) / 2, y + (side - height) / 2
    canvas.image(resize_for_figure(image), left, top, width, height)
    canvas.box(left, top, width, height, stroke=BORDER)
    return Placement(left, top, scale)
