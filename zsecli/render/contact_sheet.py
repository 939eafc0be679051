"""A contact sheet of a ranking: queries with their first photos, hits and misses marked. It measures nothing.

Blue frames with a tick are hits, orange ones with a cross misses: told apart by colour-blind readers, and in grey.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from zsecli.arrays import Ints
from zsecli.data.items import Items
from zsecli.errors import UsageError
from zsecli.evaluate.protocols import iterate_query_blocks
from zsecli.evaluate.report_model import ProtocolReport
from zsecli.images.loader import ContentChanged, load_picture
from zsecli.images.picture_errors import PictureError
from zsecli.render.fonts import draw_text
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import png_text
from zsecli.store.ranking import Ranking, open_ranking
from zsecli.store.remake_commands import remake_ranking

logger = logging.getLogger(__name__)

Order = Literal["spread", "worst", "best"]
ORDERS: tuple[Order, ...] = get_args(Order)
HIT, MISS, INK, FAINT, PAPER = "#0072b2", "#d55e00", "#1a1a1a", "#767676", "#ffffff"
CELL, GAP, FRAME, LINE, PAGE = 112, 10, 4, 16, 24  # pixels
TITLE, SMALL = 16, 12  # of text
ROW, HEAD = CELL + 2 * LINE + GAP, PAGE + 2 * LINE + GAP
METRIC = "AP (raw)"  # which every protocol has


class Shown(NamedTuple):
    """A query's row; its first photos that count, and all that are right, as gallery rows."""

    row: int
    order: Ints
    relevant: Ints


@dataclass(frozen=True)
class SheetOptions:
    """How many queries and photos, and which queries: `spread` over the classes, those with the `worst` or `best` AP.

    Of one class `worst` and `best` take one query, until every class has had its turn.
    """

    queries: int = 12
    photos: int = 8
    order: Order = "spread"


def check_output(path: Path, overwrite: bool) -> None:
    """UsageError where the sheet cannot be written under this name, or a file has it."""
    if path.suffix.lower() != ".png":
        raise UsageError(
            f"--sheet {path}: a sheet is a PNG picture", f"--sheet {path.parent / (path.stem or 'sheet')}.png"
        )
    if path.exists() and not overwrite:
        raise UsageError(f"--sheet {path}: is there already", "pass --overwrite, or another name")


def write(
    ranking: Path, report: ProtocolReport, output: Path, options: SheetOptions, trained: Collection[str] = ()
) -> None:
    """Draw the contact sheet of `report`, made from `ranking`, into the picture `output`.

    Args:
        trained: as in `zsecli.evaluate.protocols.iterate_query_blocks`.

    Raises:
        StoreError: the ranking does not say where its pictures lie. A picture that is gone, or is no longer what was
            ranked, leaves its cell empty; how many these are is said.
    """
    quality = dict(zip(report.queries, report.per_query[_metric(report)], strict=True))
    with open_ranking(ranking) as opened:
        wanted, names = choose(report, options), opened.query.id
        asked = {
            names[row]: Shown(row, block.listed_photos(i)[: options.photos], block.relevant_photos(i))
            for block in iterate_query_blocks(opened, report.protocol, trained)
            for i, row in enumerate(block.rows)
            if names[row] in wanted
        }
        sheet = _draw(opened, report, [asked[q] for q in wanted], [float(quality[q]) for q in wanted], options)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        sheet.save(partial, "PNG", pnginfo=png_text())


def choose(report: ProtocolReport, options: SheetOptions) -> list[str]:
    """The queries to show: a class's turn comes again when every class had one, classes by their names."""
    values: NDArray[np.float64] = report.per_query[_metric(report)]
    order = np.arange(len(values))
    if options.order != "spread":
        order = np.argsort(values if options.order == "worst" else -values, kind="stable")
    turns: dict[str, list[int]] = defaultdict(list)
    for row in order:
        turns[report.classes[row]].append(int(row))
    if options.order == "spread":  # the middle of each class first, which no name and no score chose
        turns = {name: rows[len(rows) // 2 :] + rows[: len(rows) // 2] for name, rows in sorted(turns.items())}
    rounds = [row for turn in zip_longest(*turns.values()) for row in turn if row is not None]
    return [report.queries[row] for row in rounds[: options.queries]]


def _draw(
    ranking: Ranking, report: ProtocolReport, chosen: list[Shown], values: list[float], options: SheetOptions
) -> Image.Image:
    sketches, photos = ranking.pictures()
    column = ranking.query.label if report.protocol.relevant == "label" else ranking.query.instance
    width = 2 * PAGE + (options.photos + 1) * (CELL + GAP) + GAP
    sheet = Image.new("RGB", (width, HEAD + ROW * len(chosen) + PAGE), PAPER)
    draw = ImageDraw.Draw(sheet)
    title = f"{report.protocol.title}: sketches and their first {options.photos} photos"
    draw_text(draw, PAGE, PAGE, title, INK, TITLE, most=width - 2 * PAGE, anchor="la")
    which = {"spread": "spread over the classes", "worst": "the worst of each class", "best": "the best of each class"}
    about = ranking.header.provenance
    text = f"ranked by {about.get('by')} of {Path(str(about.get('model', ''))).name}; "
    text += f"{len(chosen)} of {len(report.queries)} queries, {which[options.order]}"
    _legend(draw, text, width - PAGE)
    changed: set[Path] = set()
    for i, (one, value) in enumerate(zip(chosen, values, strict=True)):
        top = HEAD + i * ROW
        if not _cell(sheet, sketches[one.row], ranking.query, one.row, PAGE, top, None):
            changed.add(sketches[one.row])
        _text(draw, PAGE, top + CELL, column.names[column.codes[one.row]], INK)
        _text(draw, PAGE, top + CELL + LINE, f"{_metric(report)} {value:.2f}", INK)
        for rank, photo in enumerate(one.order):
            left = PAGE + 2 * GAP + (rank + 1) * (CELL + GAP)
            right = bool(np.isin(photo, one.relevant))
            if not _cell(sheet, photos[photo], ranking.gallery, int(photo), left, top, right):
                changed.add(photos[photo])
            _text(draw, left, top + CELL, _class(ranking.gallery, int(photo)), FAINT)
    if changed:
        what = f"{min(changed)}: changed since it was ranked, and is not shown"
        if len(changed) > 1:
            what = (
                f"{len(changed)} pictures, {min(changed)} among them, changed since they were ranked, and are not shown"
            )
        logger.warning(f"{what}; before another sheet: {remake_ranking(ranking)}")
    return sheet


def _metric(report: ProtocolReport) -> str:
    """What tells a good query from a bad one; a ranking that was cut short may lack the usual one."""
    return METRIC if METRIC in report.per_query else next(iter(report.per_query))


def _legend(draw: ImageDraw.ImageDraw, text: str, end: int) -> None:
    """What the marks mean, and `text` behind it, which stops at the pixel `end`."""
    x, y = PAGE, PAGE + LINE + 6
    for colour, mark, word in ((HIT, True, "hit"), (MISS, False, "miss")):
        _mark(draw, x, y, colour, mark)
        draw_text(draw, x + 20, y, word, INK, SMALL, anchor="la")
        x += 62
    draw_text(draw, x + 10, y, text, FAINT, SMALL, most=end - x - 10, anchor="la")


def _cell(sheet: Image.Image, file: Path, items: Items, row: int, left: int, top: int, right: bool | None) -> bool:
    """One picture in its square, row `row` of `items`; `right` frames and marks it, None is a query.

    Returns:
        False where the file is no longer the picture that was ranked, and is not shown.
    """
    draw = ImageDraw.Draw(sheet)
    colour = FAINT if right is None else HIT if right else MISS
    frame = 1 if right is None else FRAME
    draw.rectangle((left, top, left + CELL - 1, top + CELL - 1), PAPER, colour, frame)
    side = CELL - 2 * FRAME - 2
    said, changed = "", False
    try:
        picture = load_picture(file, sha256=items.sha256[row].tobytes()).convert("RGB")
        sheet.paste(ImageOps.pad(picture, (side, side), color=PAPER), (left + FRAME + 1, top + FRAME + 1))
    except ContentChanged:
        said, changed = "changed", True
    except (OSError, PictureError):
        said = "not found"
    if said:
        draw_text(draw, left + 8, top + CELL // 2 - 8, said, FAINT, SMALL, anchor="la")
    if right is not None:
        _mark(draw, left, top, colour, right)
    return not changed


def _mark(draw: ImageDraw.ImageDraw, left: int, top: int, colour: str, right: bool) -> None:
    """A tick or a cross on a square of 16 pixels."""
    draw.rectangle((left, top, left + 15, top + 15), colour)
    if right:
        draw.line([(left + 3, top + 8), (left + 6, top + 11), (left + 12, top + 4)], PAPER, 2, joint="curve")
    else:
        draw.line([(left + 4, top + 4), (left + 11, top + 11)], PAPER, 2)
        draw.line([(left + 4, top + 11), (left + 11, top + 4)], PAPER, 2)


def _class(items: Items, row: int) -> str:
    code = items.label.codes[row]
    return items.label.names[code] if code >= 0 else ""


def _text(draw: ImageDraw.ImageDraw, left: int, top: int, text: str, colour: str) -> None:
    """One line, cut with an ellipsis where it is wider than a cell."""
    draw_text(draw, left, top + 1, text, colour, SMALL, most=CELL, anchor="la")
