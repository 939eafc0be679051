"""A contact sheet of a ranking: queries with their first photos, hits and misses marked. It measures nothing.

Blue frames with a tick are hits, orange ones with a cross misses: distinct for colour-blind readers, and in grey.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Collection
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from zsecli.arrays import Ints
from zsecli.data.items import Items
from zsecli.errors import UsageError
from zsecli.evaluate.protocols import iterate_query_blocks
from zsecli.evaluate.report_model import ProtocolReport
from zsecli.images.loader import ContentChanged, load_picture
from zsecli.images.picture_errors import PictureError
from zsecli.render.fonts import draw_text
from zsecli.render.palette import BLUE, FAINT, INK, ORANGE, WHITE, Colour
from zsecli.render.sheet_layout import GAP, LINE, MARGIN, TEXT_SIZE, TITLE_SIZE, draw_caption
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import png_text
from zsecli.store.ranking import Ranking, open_ranking
from zsecli.store.remake_commands import remake_ranking

logger = logging.getLogger(__name__)

Order = Literal["spread", "worst", "best"]
ORDERS: tuple[Order, ...] = get_args(Order)
ORDER_TEXT: dict[Order, str] = {
    "spread": "spread over the classes",
    "worst": "the worst of each class",
    "best": "the best of each class",
}
HIT, MISS = BLUE, ORANGE
CELL = 112  # side of a picture's square, in pixels
FRAME = 4  # width of the frame of a hit or a miss
MARK = 16  # side of a tick or a cross
ROW = CELL + 2 * LINE + GAP
HEAD = MARGIN + 2 * LINE + GAP  # height of title and legend
METRIC = "AP (raw)"  # every protocol has it


@dataclass(frozen=True, kw_only=True)
class SheetOptions:
    """Which queries a sheet shows, and how many photos of each."""

    queries: int = 12
    photos: int = 8
    order: Order = "spread"
    """`spread` over the classes, or the queries with the `worst` or `best` AP, one of each class in turn."""


@dataclass(frozen=True, kw_only=True)
class QueryRow:
    """A query on a sheet."""

    row: int
    """Its row among the queries of the ranking."""
    photos: Ints
    """Gallery rows of its first photos, best first."""
    relevant: Ints
    """Gallery rows of all photos that are relevant to it."""
    quality: float
    """Its metric."""


def check_sheet_path(path: Path, overwrite: bool) -> None:
    """UsageError where the sheet cannot be written under this name, or a file has it."""
    if path.suffix.lower() != ".png":
        raise UsageError(
            f"--sheet {path}: a sheet is a PNG picture", f"--sheet {path.parent / (path.stem or 'sheet')}.png"
        )
    if path.exists() and not overwrite:
        raise UsageError(f"--sheet {path}: already exists", "pass --overwrite, or another name")


def write_contact_sheet(
    ranking: Path, report: ProtocolReport, output: Path, options: SheetOptions, seen_classes: Collection[str] = ()
) -> None:
    """Draw the contact sheet of `report`, made from `ranking`, into the picture `output`.

    Args:
        seen_classes: as in `zsecli.evaluate.protocols.iterate_query_blocks`.

    Raises:
        StoreError: the ranking does not say where its pictures are. A picture that is gone, or is no longer what was
            ranked, leaves its cell empty; the number of changed ones is logged.
    """
    with open_ranking(ranking) as opened:
        rows = _read_query_rows(opened, report, options, seen_classes)
        sheet = _Sheet(opened, report, options, len(rows))
        for position, row in enumerate(rows):
            sheet.draw_row(position, row)
        sheet.warn_of_changed_pictures()
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        sheet.image.save(partial, "PNG", pnginfo=png_text())


def choose_queries(report: ProtocolReport, options: SheetOptions) -> list[str]:
    """The queries to show, one of each class in turn, classes by their names."""
    quality = report.per_query[_sheet_metric(report)]
    order = np.arange(len(quality))
    if options.order == "worst":
        order = np.argsort(quality, kind="stable")
    elif options.order == "best":
        order = np.argsort(-quality, kind="stable")
    by_class: dict[str, list[int]] = defaultdict(list)
    for row in order.tolist():
        by_class[report.classes[row]].append(row)
    if options.order == "spread":
        # the middle of each class first, which neither name nor score chose
        by_class = {name: _from_the_middle(rows) for name, rows in sorted(by_class.items())}
    in_turn: list[int] = []
    for one_of_each_class in zip_longest(*by_class.values()):
        in_turn += [row for row in one_of_each_class if row is not None]
    return [report.queries[row] for row in in_turn[: options.queries]]


def _from_the_middle(rows: list[int]) -> list[int]:
    middle = len(rows) // 2
    return rows[middle:] + rows[:middle]


def _sheet_metric(report: ProtocolReport) -> str:
    """The metric that tells a good query from a bad one; a truncated ranking may lack the usual one."""
    return METRIC if METRIC in report.per_query else next(iter(report.per_query))


def _read_query_rows(
    ranking: Ranking, report: ProtocolReport, options: SheetOptions, seen_classes: Collection[str]
) -> list[QueryRow]:
    """The chosen queries in their order on the sheet."""
    chosen = choose_queries(report, options)
    quality = dict(zip(report.queries, report.per_query[_sheet_metric(report)], strict=True))
    rows: dict[str, QueryRow] = {}
    for block in iterate_query_blocks(ranking, report.protocol, seen_classes):
        for i, row in enumerate(block.rows):
            name = ranking.query.id[row]
            if name in chosen:
                rows[name] = QueryRow(
                    row=row,
                    photos=block.listed_photos(i)[: options.photos],
                    relevant=block.relevant_photos(i),
                    quality=float(quality[name]),
                )
    return [rows[name] for name in chosen]


class _Sheet:
    """The picture of a sheet while it is drawn."""

    def __init__(self, ranking: Ranking, report: ProtocolReport, options: SheetOptions, n_rows: int) -> None:
        self.ranking = ranking
        self.metric = _sheet_metric(report)
        self.target = ranking.query.column(report.protocol.relevant)
        """The column that makes a photo relevant."""
        self.sketch_files, self.photo_files = ranking.pictures()
        self.changed: set[Path] = set()
        """Files that are no longer what was ranked."""
        width = 2 * MARGIN + (options.photos + 1) * (CELL + GAP) + GAP
        self.image = Image.new("RGB", (width, HEAD + ROW * n_rows + MARGIN), WHITE)
        self._pen = ImageDraw.Draw(self.image)
        title = f"{report.protocol.title}: sketches and their first {options.photos} photos"
        draw_text(self._pen, MARGIN, MARGIN, title, INK, TITLE_SIZE, max_width=width - 2 * MARGIN, anchor="la")
        provenance = ranking.header.provenance
        model = Path(str(provenance.get("model", ""))).name
        summary = f"ranked by {provenance.get('by')} of {model}; "
        summary += f"{n_rows} of {len(report.queries)} queries, {ORDER_TEXT[options.order]}"
        self._draw_legend(summary, width - MARGIN)

    def draw_row(self, position: int, query: QueryRow) -> None:
        """One query and its photos in the row `position` of the sheet."""
        top = HEAD + position * ROW
        self._draw_cell(self.sketch_files[query.row], self.ranking.query, query.row, MARGIN, top, None)
        draw_caption(self._pen, MARGIN, top + CELL, self.target.names[self.target.codes[query.row]], CELL, INK)
        draw_caption(self._pen, MARGIN, top + CELL + LINE, f"{self.metric} {query.quality:.2f}", CELL, INK)
        for rank, photo in enumerate(query.photos.tolist()):
            left = MARGIN + 2 * GAP + (rank + 1) * (CELL + GAP)
            is_hit = bool(np.isin(photo, query.relevant))
            self._draw_cell(self.photo_files[photo], self.ranking.gallery, photo, left, top, is_hit)
            draw_caption(self._pen, left, top + CELL, _class_name(self.ranking.gallery, photo), CELL, FAINT)

    def warn_of_changed_pictures(self) -> None:
        """Log that pictures are missing from the sheet because they changed, if any."""
        if not self.changed:
            return
        message = f"{min(self.changed)}: changed since it was ranked, and is not shown"
        if len(self.changed) > 1:
            message = (
                f"{len(self.changed)} pictures, {min(self.changed)} among them, changed since they were ranked, "
                "and are not shown"
            )
        logger.warning(f"{message}; before another sheet: {remake_ranking(self.ranking)}")

    def _draw_legend(self, summary: str, right: int) -> None:
        """What the marks mean, and a summary behind it, which ends at the pixel `right`."""
        x, y = MARGIN, MARGIN + LINE + 6
        for is_hit, word in ((True, "hit"), (False, "miss")):
            self._draw_mark(x, y, is_hit)
            draw_text(self._pen, x + 20, y, word, INK, TEXT_SIZE, anchor="la")
            x += 62
        draw_text(self._pen, x + 10, y, summary, FAINT, TEXT_SIZE, max_width=right - x - 10, anchor="la")

    def _draw_cell(self, file: Path, items: Items, row: int, left: int, top: int, is_hit: bool | None) -> None:
        """One picture, row `row` of `items`, in its square, framed and marked as a hit or a miss; None: a query."""
        self._pen.rectangle(
            (left, top, left + CELL - 1, top + CELL - 1), WHITE, _frame_colour(is_hit), 1 if is_hit is None else FRAME
        )
        side = CELL - 2 * FRAME - 2
        try:
            picture = load_picture(file, sha256=items.sha256[row].tobytes()).convert("RGB")
            padded = ImageOps.pad(picture, (side, side), color=WHITE)
            self.image.paste(padded, (left + FRAME + 1, top + FRAME + 1))
        except ContentChanged:
            self.changed.add(file)
            self._draw_placeholder("changed", left, top)
        except (OSError, PictureError):
            self._draw_placeholder("not found", left, top)
        if is_hit is not None:
            self._draw_mark(left, top, is_hit)

    def _draw_placeholder(self, text: str, left: int, top: int) -> None:
        """Why a cell is empty."""
        draw_text(self._pen, left + 8, top + CELL // 2 - 8, text, FAINT, TEXT_SIZE, anchor="la")

    def _draw_mark(self, left: int, top: int, is_hit: bool) -> None:
        """A tick or a cross on a coloured square."""
        self._pen.rectangle((left, top, left + MARK - 1, top + MARK - 1), _frame_colour(is_hit))
        if is_hit:
            tick = [(left + 3, top + 8), (left + 6, top + 11), (left + 12, top + 4)]
            self._pen.line(tick, WHITE, 2, joint="curve")
        else:
            self._pen.line([(left + 4, top + 4), (left + 11, top + 11)], WHITE, 2)
            self._pen.line([(left + 4, top + 11), (left + 11, top + 4)], WHITE, 2)


def _frame_colour(is_hit: bool | None) -> Colour:
    if is_hit is None:
        return FAINT
    return HIT if is_hit else MISS


def _class_name(items: Items, row: int) -> str:
    """The class of a picture; "" where it has none."""
    code = items.label.codes[row]
    return items.label.names[code] if code >= 0 else ""
