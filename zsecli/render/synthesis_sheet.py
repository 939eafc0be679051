"""A synthesis as files: the picture, a map of where its patches come from, its numbers; and a sheet of several."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from zsecli.arrays import Bytes, Mask
from zsecli.explain.synthesis import Synthesis
from zsecli.render.fonts import draw_text
from zsecli.render.palette import FAINT, INK, WHITE, grid_colours
from zsecli.render.sheet_layout import GAP, LINE, MARGIN, TEXT_SIZE, TITLE_SIZE, draw_caption
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import png_text

SCHEMA, VERSION = "zse-synthesis", "1.0"
PANEL = 336  # side of a picture on a map, in pixels
CELL = 168  # side of a picture on a sheet
PANELS_PER_ROW = 5
OPACITY = 0.65  # of the colours
DARK = 330  # sum of red, green and blue below which a number on a colour is white


def synthesis_paths(output: Path) -> list[Path]:
    """The files that `write_synthesis` makes: NAME.png, NAME.map.png and NAME.json."""
    return [output, output.with_suffix(".map.png"), output.with_suffix(".json")]


def write_synthesis(result: Synthesis, output: Path, model: dict[str, str]) -> list[Path]:
    """Write the picture, its map and its numbers, all or none; returns `synthesis_paths(output)`.

    Args:
        output: NAME.png; existing files are replaced.
        model: name and hash of the weights.
    """
    paths = synthesis_paths(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(*paths) as (picture, source_map, numbers):
        result.picture.save(picture, "PNG", pnginfo=png_text())
        draw_source_map(result).save(source_map, "PNG", pnginfo=png_text())
        numbers.write_text(json.dumps(describe_synthesis(result, model)) + "\n", "utf-8")
    return paths


def describe_synthesis(result: Synthesis, model: dict[str, str]) -> dict[str, Any]:
    """Everything but the pixels, as plain data."""
    sources: list[Any] = []
    scores: list[float | None] = []
    for is_taken, source, score in zip(result.taken, result.sources.tolist(), result.scores.tolist(), strict=True):
        sources.append(source if is_taken else None)
        scores.append(round(score, 4) if is_taken else None)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "model": model,
        "options": asdict(result.options),
        "sketch": result.sketch.as_posix(),
        "photos": [photo.as_posix() for photo in result.photos],
        "grid": list(result.grid),
        "sources": sources,
        "scores": scores,
        "coverage": round(result.coverage, 4),
        "distinct": result.distinct,
        "mean_score": round(result.mean_score, 4) if result.taken.any() else None,
    }


def draw_source_map(result: Synthesis) -> Image.Image:
    """The photos, coloured by place, and the sketch with each patch in the colour of its source."""
    has_several = len(result.photos) > 1
    panels = [(_draw_sketch_map(result, PANEL), "sketch: where each patch comes from")]
    for number, photo in enumerate(result.photos):
        title = f"photo {number + 1}: {photo.name}" if has_several else f"photo: {photo.name}"
        panels.append((_draw_photo_map(result, number, PANEL), title))
    n_columns = min(PANELS_PER_ROW, len(panels))
    n_rows = -(-len(panels) // PANELS_PER_ROW)
    column_width, row_height = PANEL + GAP, PANEL + LINE + GAP
    width = 2 * MARGIN + n_columns * column_width - GAP
    picture = Image.new("RGB", (width, 2 * MARGIN + n_rows * row_height + LINE), WHITE)
    pen = ImageDraw.Draw(picture)
    for number, (panel, title) in enumerate(panels):
        row, column = divmod(number, PANELS_PER_ROW)
        left, top = MARGIN + column * column_width, MARGIN + row * row_height
        picture.paste(panel, (left, top))
        draw_caption(pen, left, top + PANEL, title, PANEL, INK)
    text = "A patch has the colour of its place in the photo"
    if has_several:
        text += ", whose number it bears"
    text += "." if result.taken.all() else ", and none where paper was left."
    draw_text(pen, MARGIN, MARGIN + n_rows * row_height, text, FAINT, TEXT_SIZE, anchor="la")
    return picture


@dataclass(frozen=True, kw_only=True)
class SheetCell:
    """A picture on a sheet, with two lines of text below."""

    column: int
    picture: Image.Image
    title: str
    subtitle: str = ""


def write_synthesis_sheet(results: Sequence[Synthesis], output: Path) -> None:
    """One PNG with a row for each synthesis: sketch, photos, the picture, and the map of where it comes from."""
    max_photos = max((len(result.photos) for result in results), default=0)
    head = MARGIN + 2 * LINE + GAP
    column_width, row_height = CELL + GAP, CELL + 2 * LINE + GAP
    # the photos come twice: as they are, and coloured for the map
    width = 2 * MARGIN + (3 + 2 * max_photos) * column_width + GAP
    sheet = Image.new("RGB", (width, head + row_height * len(results) + MARGIN), WHITE)
    pen = ImageDraw.Draw(sheet)
    draw_text(pen, MARGIN, MARGIN, "Sketches with the content of photos", INK, TITLE_SIZE, anchor="la")
    text = "a coloured patch comes from where the photo has that colour"
    draw_text(pen, MARGIN, MARGIN + LINE + 6, text, FAINT, TEXT_SIZE, anchor="la")
    for row, result in enumerate(results):
        top = head + row * row_height
        for cell in _sheet_row(result, max_photos):
            left = MARGIN + cell.column * column_width
            if cell.column > max_photos:
                left += GAP
            pen.rectangle((left - 1, top - 1, left + CELL, top + CELL), None, FAINT)
            sheet.paste(cell.picture.resize((CELL, CELL), Image.Resampling.LANCZOS), (left, top))
            draw_caption(pen, left, top + CELL, cell.title, CELL, INK)
            draw_caption(pen, left, top + CELL + LINE, cell.subtitle, CELL, FAINT)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        sheet.save(partial, "PNG", pnginfo=png_text())


def _sheet_row(result: Synthesis, max_photos: int) -> Iterator[SheetCell]:
    """The cells of one synthesis, on a sheet with room for `max_photos` photos."""
    sketch = result.sketch
    yield SheetCell(column=0, picture=result.sketch_view, title=sketch.parent.name, subtitle=sketch.stem)
    for number, (photo, view) in enumerate(zip(result.photos, result.photo_views, strict=True)):
        yield SheetCell(column=1 + number, picture=view, title=photo.parent.name, subtitle=photo.stem)
    coverage = f"{result.coverage:.0%} covered"
    if result.distinct:
        coverage += f", cosine {result.mean_score:.2f}"
    patches = f"{result.distinct} different patches"
    yield SheetCell(column=1 + max_photos, picture=result.picture, title=coverage, subtitle=patches)
    yield SheetCell(column=2 + max_photos, picture=_draw_sketch_map(result, CELL), title="where from")
    for number in range(len(result.photos)):
        title = f"in photo {number + 1}" if len(result.photos) > 1 else "in the photo"
        yield SheetCell(column=3 + max_photos + number, picture=_draw_photo_map(result, number, CELL), title=title)


def _draw_sketch_map(result: Synthesis, side: int) -> Image.Image:
    """The sketch, each patch in the colour of its source, with the photo's number where there are several."""
    source_colours = grid_colours(result.grid)[result.sources[:, 1]]
    picture = _colour_patches(result.sketch_view, source_colours, result.taken, result.grid, side)
    if len(result.photos) > 1:
        _draw_photo_numbers(picture, result, source_colours)
    return picture


def _draw_photo_numbers(picture: Image.Image, result: Synthesis, source_colours: Bytes) -> None:
    """The number of its photo on each patch of the sketch's map."""
    side = picture.width
    rows, columns = result.grid
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(max(8, side // 32))
    for patch in np.flatnonzero(result.taken).tolist():
        row, column = divmod(patch, columns)
        centre = (column + 0.5) * side / columns, (row + 0.5) * side / rows
        is_dark = int(source_colours[patch].astype(int).sum()) < DARK
        number = str(result.sources[patch, 0] + 1)
        pen.text(centre, number, WHITE if is_dark else INK, font, anchor="mm")


def _draw_photo_map(result: Synthesis, photo: int, side: int) -> Image.Image:
    """A photo under the colours of its places."""
    all_patches = np.ones(result.grid[0] * result.grid[1], bool)
    return _colour_patches(result.photo_views[photo], grid_colours(result.grid), all_patches, result.grid, side)


def _colour_patches(
    picture: Image.Image, patch_colours: Bytes, is_coloured: Mask, grid: tuple[int, int], side: int
) -> Image.Image:
    """The picture as a grey square with the patches `is_coloured` (P,) under their colours (P, 3)."""
    # grey, or a yellow photo would be as yellow as the right of the grid
    square = picture.resize((side, side), Image.Resampling.LANCZOS).convert("L").convert("RGB")
    layer = Image.fromarray(patch_colours.reshape(*grid, 3)).resize(square.size, Image.Resampling.NEAREST)
    opacity = (is_coloured * round(OPACITY * 255)).astype(np.uint8).reshape(grid)
    mask = Image.fromarray(opacity).resize(square.size, Image.Resampling.NEAREST)
    return Image.composite(layer, square, mask)
