"""A synthesis as files: the picture, a map of where its patches come from, its numbers; and a sheet of several."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from zsecli.arrays import Pixels
from zsecli.explain.synthesis import Synthesis
from zsecli.render.contact_sheet import FAINT, GAP, INK, LINE, PAGE, PAPER, SMALL, TITLE
from zsecli.render.fonts import draw_text
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import png_text

SCHEMA, VERSION = "zse-synthesis", "1.0"
PANEL, CELL = 336, 168  # side of a picture in pixels, on a map and on a sheet
ACROSS = 5  # pictures in a row of a map
OPACITY = 0.65  # of the colours


def outputs(output: Path) -> list[Path]:
    """The files that `write` makes beside NAME.png: itself, NAME.map.png and NAME.json."""
    return [output, output.with_suffix(".map.png"), output.with_suffix(".json")]


def write(result: Synthesis, output: Path, model: dict[str, str]) -> list[Path]:
    """The picture, its map and its numbers, all or none; returns `outputs(output)`.

    Args:
        output: NAME.png; files that are there are replaced.
        model: name and hash of the weights.
    """
    paths = outputs(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(*paths) as (picture, sources, numbers):
        result.picture.save(picture, "PNG", pnginfo=png_text())
        source_map(result).save(sources, "PNG", pnginfo=png_text())
        numbers.write_text(json.dumps(describe(result, model)) + "\n", "utf-8")
    return paths


def describe(result: Synthesis, model: dict[str, str]) -> dict[str, Any]:
    """All but the pixels, as plain data."""
    taken = result.taken.tolist()
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": model,
        "options": asdict(result.options),
        "sketch": result.sketch.as_posix(),
        "photos": [photo.as_posix() for photo in result.photos],
        "grid": list(result.grid),
        "sources": [source if there else None for source, there in zip(result.sources.tolist(), taken, strict=True)],
        "scores": [round(s, 4) if there else None for s, there in zip(result.scores.tolist(), taken, strict=True)],
        "coverage": round(result.coverage, 4),
        "distinct": result.distinct,
        "mean_score": round(result.mean_score, 4) if any(taken) else None,
    }


def source_map(result: Synthesis) -> Image.Image:
    """The photos, coloured by place, and the sketch, each patch in the colour of the place that it comes from."""
    several = len(result.photos) > 1
    panels = [(_sketch_map(result, PANEL), "sketch: where each patch comes from")]
    for i in range(len(result.photos)):
        name = f"photo {i + 1}: {result.photos[i].name}" if several else f"photo: {result.photos[i].name}"
        panels.append((_photo_map(result, i, PANEL), name))
    columns, rows = min(ACROSS, len(panels)), -(-len(panels) // ACROSS)
    step, foot = PANEL + GAP, PANEL + LINE + GAP
    picture = Image.new("RGB", (2 * PAGE + columns * step - GAP, 2 * PAGE + rows * foot + LINE), PAPER)
    draw = ImageDraw.Draw(picture)
    for i, (panel, name) in enumerate(panels):
        left, top = PAGE + i % ACROSS * step, PAGE + i // ACROSS * foot
        picture.paste(panel, (left, top))
        _text(draw, left, top + PANEL, name, PANEL, INK)
    text = "A patch has the colour of its place in the photo" + (", whose number it bears" if several else "")
    text += ", and none where paper was left." if not result.taken.all() else "."
    draw_text(draw, PAGE, PAGE + rows * foot, text, FAINT, SMALL, anchor="la")
    return picture


def contact_sheet(results: Sequence[Synthesis], output: Path) -> None:
    """One PNG with a row for each synthesis: sketch, photos, the picture, and the map of where it comes from."""
    most = max((len(result.photos) for result in results), default=0)
    head, foot, step = PAGE + 2 * LINE + GAP, CELL + 2 * LINE + GAP, CELL + GAP
    # the photos come twice: as they are, and coloured for the map
    sheet = Image.new("RGB", (2 * PAGE + (3 + 2 * most) * step + GAP, head + foot * len(results) + PAGE), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw_text(draw, PAGE, PAGE, "Sketches with the content of photos", INK, TITLE, anchor="la")
    about = "a coloured patch comes from where the photo has that colour"
    draw_text(draw, PAGE, PAGE + LINE + 6, about, FAINT, SMALL, anchor="la")
    for row, result in enumerate(results):
        top = head + row * foot
        cosine = f", cosine {result.mean_score:.2f}" if result.distinct else ""
        numbers = f"{result.coverage:.0%} covered" + cosine, f"{result.distinct} different patches"
        names = [(photo.parent.name, photo.stem) for photo in result.photos]
        cells = [(0, result.sketch_view, (result.sketch.parent.name, result.sketch.stem))]
        cells += [(1 + i, picture, names[i]) for i, picture in enumerate(result.photo_views)]
        cells += [(1 + most, result.picture, numbers)]
        cells += [(2 + most, _sketch_map(result, CELL), ("where from", ""))]
        for i in range(len(names)):
            cells.append(
                (
                    3 + most + i,
                    _photo_map(result, i, CELL),
                    (f"in photo {i + 1}" if len(names) > 1 else "in the photo", ""),
                )
            )
        for column, picture, lines in cells:
            left = PAGE + column * step + (GAP if column > most else 0)
            draw.rectangle((left - 1, top - 1, left + CELL, top + CELL), None, FAINT)
            sheet.paste(picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (left, top))
            for line, (text, colour) in enumerate(zip(lines, (INK, FAINT), strict=True)):
                _text(draw, left, top + CELL + line * LINE, text, CELL, colour)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        sheet.save(partial, "PNG", pnginfo=png_text())


def colours(grid: tuple[int, int]) -> Pixels:
    """A colour for each place of a grid (P, 3): hue runs from left to right, and it darkens from top to bottom.

    From blue over red to yellow: what red-green-blind readers see of that, more blue or more yellow, also runs one way.
    """
    y, x = (axis.ravel() for axis in np.meshgrid(*(np.linspace(0, 1, count) for count in grid), indexing="ij"))
    return _from_oklch(0.88 - 0.48 * y, np.full_like(x, 0.13), np.radians(260 + 190 * x))


def _from_oklch(lightness: NDArray[np.float64], chroma: NDArray[np.float64], hue: NDArray[np.float64]) -> Pixels:
    """Lightness and chroma in [0, 1] and hue in radians (N,) -> sRGB (N, 3), by Ottosson's OKLab (2020)."""
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)])
    cones = np.array([[1, 0.3963, 0.2158], [1, -0.1056, -0.0639], [1, -0.0895, -1.2915]]) @ lab
    mix = np.array([[4.0767, -3.3077, 0.2310], [-1.2684, 2.6098, -0.3413], [-0.0042, -0.7034, 1.7076]])
    linear = np.clip((mix @ cones**3).T, 0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)


def _sketch_map(result: Synthesis, side: int) -> Image.Image:
    """The sketch, each patch in the colour of its source, with the photo's number where there are several."""
    taken = result.taken
    found = colours(result.grid)[result.sources[:, 1]]
    picture = _coloured(result.sketch_view, found, taken, result.grid, side)
    if len(result.photos) > 1:
        draw, font = ImageDraw.Draw(picture), ImageFont.load_default(max(8, side // 32))
        for place in np.flatnonzero(taken).tolist():
            row, column = divmod(place, result.grid[1])
            middle = (column + 0.5) * side / result.grid[1], (row + 0.5) * side / result.grid[0]
            dark = int(found[place].astype(int).sum()) < 330
            draw.text(middle, str(result.sources[place, 0] + 1), PAPER if dark else INK, font, anchor="mm")
    return picture


def _photo_map(result: Synthesis, photo: int, side: int) -> Image.Image:
    """A photo under the colours of its places."""
    every = np.ones(result.grid[0] * result.grid[1], bool)
    return _coloured(result.photo_views[photo], colours(result.grid), every, result.grid, side)


def _coloured(
    picture: Image.Image, found: Pixels, there: NDArray[np.bool_], grid: tuple[int, int], side: int
) -> Image.Image:
    """The picture as a grey square with the places `there` under their colours (P, 3)."""
    # grey, else a yellow photo is as yellow as the right of the grid
    under = picture.resize((side, side), Image.Resampling.LANCZOS).convert("L").convert("RGB")
    over = Image.fromarray(found.reshape(*grid, 3)).resize(under.size, Image.Resampling.NEAREST)
    mask = Image.fromarray((there * round(OPACITY * 255)).astype(np.uint8).reshape(grid))
    return Image.composite(over, under, mask.resize(under.size, Image.Resampling.NEAREST))


def _text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str, width: int, colour: str) -> None:
    """One line, cut with an ellipsis where it is too wide."""
    draw_text(draw, left, top + 1, text, colour, SMALL, most=width, anchor="la")
