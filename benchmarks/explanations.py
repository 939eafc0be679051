"""Test the explanations of the shipped network, draw the figures of the docs, and print docs/explanations.md.

    python benchmarks/explanations.py MANIFEST BACKBONE_WEIGHTS WORKSPACE FIGURES

What is done already in WORKSPACE stays. The manifest has the set `emoji` with the aligned family `openmoji`; the
figures are of the demo pictures. Screenshots need Chromium and playwright, as the tests of the page do.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from PIL import Image

ZSE = str(Path(sys.executable).with_name("zse"))
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
Found = dict[str, Any]


def zse(*words: str) -> str:
    return subprocess.run([ZSE, *words], check=True, text=True, stdout=subprocess.PIPE).stdout.strip()


def mean(value: Found | None, form: str = ".3f") -> str:
    """A mean and its interval."""
    if value is None:
        return "-"
    if value["interval"] is None:
        return f"{value['value']:{form}}"
    low, high = value["interval"]
    return f"{value['value']:{form}} ({low:{form}} to {high:{form}})"


def table(columns: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---"] * len(columns), *rows])


def areas(found: Found) -> str:
    rows = [
        [way, mean(one["deletion"], "+.4f"), mean(one["insertion"], "+.4f"), f"{one['matches']:.0f}"]
        for way, one in found["areas"].items()
    ]
    return table(["explanation", "deletion area", "insertion area", "matches"], rows)


def pck(found: Found) -> str:
    values = {(one["way"], one["move"]): one for one in found["places"]}
    moves, ways = (list(dict.fromkeys(key[i] for key in values)) for i in (1, 0))
    rows = [
        [way, *(f"{values[way, m]['pck5']['value']:.3f} / {mean(values[way, m]['pck10'])}" for m in moves)]
        for way in ways
    ]
    return table(["way", *moves], rows)


def cycles(found: Found) -> str:
    values = {(one["way"], one["move"]): one["cycle"] for one in found["places"] if one["cycle"]}
    moves = list(dict.fromkeys(move for _, move in values))
    rows = [
        [way, *(f"{values[way, m]['value']:.3f}" for m in moves)] for way in dict.fromkeys(way for way, _ in values)
    ]
    return table(["way", *moves], rows)


def against(found: Found) -> str:
    rows = [
        [one["move"], one["control"], mean(one["difference"], "+.3f"), f"{one['difference']['p']:.3f}"]
        for one in found["against_controls"]
        if one["source"] == "cosine"
    ]
    return table(["move", "best control", "PCK@10 of cosine, less the control's", "p"], rows)


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
    from zsecli.render.synthesis_sheet import contact_sheet

    model = load_network(ModelSpec.parse("small"), "cpu")
    contact_sheet([synthesize(model, s, [p], SynthesisOptions(blend=True)) for s, p in made], sheet)
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
    found = report["explanations"]
    figures(Path(folder), workspace)
    print(
        TEXT.format(
            command="zse evaluate " + " ".join(WORDS) + " --backbone-weights WEIGHTS",
            torch=torch.__version__.split("+")[0],
            pairs=found["pairs"],
            known=found["known"],
            area_clusters=found["clusters"]["areas"]["clusters"],
            place_clusters=found["clusters"]["places"]["clusters"],
            areas=areas(found),
            pck=pck(found),
            cycles=cycles(found),
            against=against(found),
            verdicts="\n".join(f"- {line}" for line in found["verdicts"]),
        ),
        end="",
    )


TEXT = (Path(__file__).parent / "explanations.md").read_text("utf-8")

if __name__ == "__main__":
    main(*sys.argv[1:])
