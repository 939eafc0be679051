"""The contact sheet: which queries it shows, and that its marks are the protocol's hits."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor

from helpers.commands import Zse
from zsecli.evaluate.evaluate_ranking import evaluate_ranking
from zsecli.render import contact_sheet as sheets
from zsecli.render.contact_sheet import CELL, HEAD, HIT, MISS, ROW, SheetOptions
from zsecli.render.sheet_layout import GAP, MARGIN


def marks(picture: Path, queries: int, photos: int) -> list[list[bool | None]]:
    """A row a query: whether each photo is framed as a hit, as a miss, or is not there."""
    sheet = Image.open(picture).convert("RGB")
    known = {ImageColor.getrgb(HIT): True, ImageColor.getrgb(MISS): False}

    def mark(query: int, photo: int) -> bool | None:
        left, top = MARGIN + 2 * GAP + (photo + 1) * (CELL + GAP), HEAD + query * ROW
        return known.get(sheet.getpixel((left + CELL // 2, top)))  # type: ignore[arg-type]

    return [[mark(query, photo) for photo in range(photos)] for query in range(queries)]


@pytest.mark.fast
@pytest.mark.parametrize("split", ["zs-inter", "zs-intra"])
def test_the_marks_are_the_hits(zse: Zse, ready: Path, tmp_path: Path, split: str) -> None:
    zse("evaluate", "--split", split, "--sheet", "sheet.png", "--sheet-queries", "9", "-o", "report.json").ok()
    ranking = next((ready / "rankings").glob("*.h5"))
    report = evaluate_ranking(ranking, split).protocols[0]
    shown = sheets.choose_queries(report, SheetOptions(queries=9))
    found = marks(tmp_path / "sheet.png", 9, 8)
    protocol = next(iter(json.loads((tmp_path / "report.json").read_text())["protocols"].values()))
    each = {q["query"]: q for q in protocol["per_query"]}
    for query, row in zip(shown, found, strict=True):
        assert row[0] == bool(each[query]["Acc@1"])
        assert any(row[:5]) == bool(each[query]["Acc@5"])
        assert None not in row[:5]
    assert {True, False} <= {mark for row in found for mark in row}  # else it shows nothing


def test_sheet_query_order(ready: Path) -> None:
    report = evaluate_ranking(next((ready / "rankings").glob("*.h5")), "zs-inter").protocols[0]
    value, label = (dict(zip(report.queries, v, strict=True)) for v in (report.per_query["AP (raw)"], report.classes))
    spread, worst, best = (
        sheets.choose_queries(report, SheetOptions(queries=6, order=order)) for order in sheets.ORDERS
    )
    for chosen in (spread, worst, best):
        assert len({*chosen}) == 6
        assert len({label[query] for query in chosen[:3]}) == 3  # every class has its turn first
    for kind in {*report.classes}:
        of_kind = [value[query] for query in report.queries if label[query] == kind]
        assert value[next(q for q in worst if label[q] == kind)] == min(of_kind)
        assert value[next(q for q in best if label[q] == kind)] == max(of_kind)
    assert value[worst[0]] == min(report.per_query["AP (raw)"])
    assert len(sheets.choose_queries(report, SheetOptions(queries=200))) == len(report.queries)


def test_a_picture_that_is_gone_leaves_its_cell_empty(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    for file in pictures.rglob("*.*"):
        (copy / file.relative_to(pictures)).parent.mkdir(parents=True, exist_ok=True)
        (copy / file.relative_to(pictures)).write_bytes(file.read_bytes())
    zse("prepare", "folder", "copy").ok()
    ranking = zse("match").ok()
    zse("evaluate", ranking, "--sheet", "before.png").ok()
    for file in (copy / "photo").rglob("*.*"):
        file.unlink()
    zse("evaluate", ranking, "--sheet", "after.png").ok()
    before, after = (np.asarray(Image.open(tmp_path / n).convert("RGB")) for n in ("before.png", "after.png"))
    assert before.shape == after.shape and (before != after).any()


@pytest.mark.usefixtures("ready")
def test_no_sheet_under_another_kind_of_name(zse: Zse, tmp_path: Path) -> None:
    zse("evaluate", "--sheet", "sheet.pdf").refused(2, "sheet.pdf", "--sheet sheet.png")
    (tmp_path / "mine.png").write_text("mine")
    zse("evaluate", "--sheet", "mine.png").refused(2, "mine.png", "--overwrite")
    assert (tmp_path / "mine.png").read_text() == "mine"
    zse("evaluate", "--sheet-order", "wurst").refused(2, "'wurst'", "did you mean 'worst'?")
    assert not list(tmp_path.glob("sheet*"))
