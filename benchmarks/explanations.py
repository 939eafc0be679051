"""Test the explanations of the shipped network, draw the figures of the docs, and print the tables of
docs/explanations.md.

    python benchmarks/explanations.py MANIFEST BACKBONE_WEIGHTS WORKSPACE FIGURES

What is done already in WORKSPACE stays. The manifest has the set `emoji` with the aligned family `openmoji`; the
figures are of the demo pictures. Screenshots need Chromium and playwright, as the tests of the page do.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

from lib.commands import zse
from lib.tables import block, print_conditions, print_header, print_row

DEMO = Path(__file__).parents[1] / "fixtures" / "demo"
PAIRS = 60
GOOD = ("animal-bird/1F413__fluent-hc.png", "animal-bird/1F413__noto.webp", "animal-bird/1F427__noto.webp")
BAD = ("animal-bug/1F41D__emojione-mono.png", "animal-bug/1F41C__noto.webp", "animal-bug/1F41D__noto.webp")
SYNTHESES = (
    "animal-bird/1F413", "transport-water/26F4", "office/1F4BC", "animal-bug/1F98B", "drink/1F378", "event/1F380",
    "lock/1F511", "plant-flower/1F337",
)  # fmt: skip
WORDS = (
    "--data", "emoji", "--split", "zs-intra", "--model", "small", "--by", "cascade", "--ignore-same", "family",
    "--explanations", "--explanation-pairs", str(PAIRS), "--aligned", "openmoji",
)  # fmt: skip
Report = dict[str, Any]


def mean(value: Report | None, form: str = ".3f") -> str:
    """A mean and its interval."""
    if value is None:
        return "-"
    if value["interval"] is None:
        return f"{value['value']:{form}}"
    low, high = value["interval"]
    return f"{value['value']:{form}} ({low:{form}} to {high:{form}})"


def print_areas(report: Report) -> None:
    print_header("explanation", "deletion area", "insertion area", "matches")
    for name, row in report["areas"].items():
        print_row(name, mean(row["deletion"], "+.4f"), mean(row["insertion"], "+.4f"), f"{row['matches']:.0f}")


def print_by_move(rows: list[Report], cell: Callable[[Report], str]) -> None:
    """A row for each explanation, a column for each way in which photos were moved."""
    by_key = {(row["way"], row["move"]): row for row in rows}
    names = list(dict.fromkeys(name for name, _ in by_key))
    moves = list(dict.fromkeys(move for _, move in by_key))
    print_header("explanation", *moves)
    for name in names:
        print_row(name, *(cell(by_key[name, move]) for move in moves))


def print_pck(report: Report) -> None:
    print_by_move(report["places"], lambda row: f"{row['pck5']['value']:.3f} / {mean(row['pck10'])}")


def print_cycles(report: Report) -> None:
    print_by_move([row for row in report["places"] if row["cycle"]], lambda row: f"{row['cycle']['value']:.3f}")


def print_controls(report: Report) -> None:
    print_header("move", "best control", "PCK@10 of cosine, less the control's", "p")
    for row in report["against_controls"]:
        if row["source"] == "cosine":
            difference = row["difference"]
            print_row(row["move"], row["control"], mean(difference, "+.3f"), f"{difference['p']:.3f}")


def figures(folder: Path, workspace: str) -> None:
    """The figures and pages of a good and of a bad match, and a sheet of syntheses."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {}
    for name, (sketch, photo, other) in (("good", GOOD), ("bad", BAD)):
        base = Path(workspace) / "explanations" / name
        words = ("--contrast", str(DEMO / "photo" / other), "--check", "--model", "small", "--overwrite")
        zse("explain", str(DEMO / "sketch" / sketch), str(DEMO / "photo" / photo), *words, "-o", str(base))
        shutil.copy(base.with_suffix(".png"), folder / f"explain-{name}.png")
        pages[folder / f"page-{name}.png"] = base.with_suffix(".html")
    screenshots(pages)
    sheet, made = folder / "syntheses.png", []
    for concept in SYNTHESES:
        sketch = next((DEMO / "sketch" / concept).parent.glob(f"{Path(concept).name}__fluent-hc.png"))
        photo = next((DEMO / "photo" / concept).parent.glob(f"{Path(concept).name}__fluent-3d.webp"))
        made.append((sketch, photo))
    from zsecli.explain.load_network import load_network
    from zsecli.explain.synthesis import SynthesisOptions, synthesize
    from zsecli.model.spec import ModelSpec
    from zsecli.render.synthesis_sheet import write_synthesis_sheet

    model = load_network(ModelSpec.parse("small"), "cpu")
    write_synthesis_sheet([synthesize(model, s, [p], SynthesisOptions(blend=True)) for s, p in made], sheet)
    for file in (sheet, *pages, *(folder / f"explain-{name}.png" for name in ("good", "bad"))):
        with Image.open(file) as picture:  # a quarter of the size in the repository
            small = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        small.save(file, optimize=True)


def screenshots(pages: dict[Path, Path]) -> None:
    from playwright.sync_api import sync_playwright

    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync", "--no-first-run"]
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=flags)
        for picture, page in pages.items():
            view = browser.new_page(viewport={"width": 1280, "height": 780})
            view.goto(page.resolve().as_uri())
            view.screenshot(path=picture)
        browser.close()


def main(manifest: str, weights: str, workspace: str, folder: str) -> None:
    at = ("--workspace", workspace)
    zse("prepare", "folder", manifest, "--where", "set=emoji", "--name", "emoji", *at)
    report = json.loads(zse("evaluate", *WORDS, "--backbone-weights", weights, "--json", *at))
    figures(Path(folder), workspace)
    found = report["explanations"]
    clusters = found["clusters"]
    with block("areas"):
        print_conditions(f"{found['pairs']} pairs", f"{clusters['areas']['clusters']} classes")
        print_areas(found)
    with block("pck"):
        print_conditions(found["known"], f"{clusters['places']['clusters']} classes")
        print_pck(found)
    with block("controls"):
        print_controls(found)
    with block("cycles"):
        print_cycles(found)
    with block("verdicts"):
        for line in found["verdicts"]:
            print(f"- {line}")


if __name__ == "__main__":
    main(*sys.argv[1:])
