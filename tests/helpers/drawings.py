"""Drawings by hand, as paths of a mouse; and a look at what `zse draw` finds for them.

    cd tests; python -m helpers.drawings PHOTOS [PICTURES]

draws each of them through the page of `zse draw PHOTOS` in a headless Chromium, and prints what is found first. With
PICTURES, a folder, the page is pictured there after each drawing.
"""

from __future__ import annotations

import argparse
import itertools
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Point = tuple[float, float]  # in 0 to 1 each, from the paper's upper left corner
Stroke = list[Point]

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]


def line(*corners: Point) -> Stroke:
    """A hand that goes straight from corner to corner."""
    return [
        (x + (u - x) * i / 6, y + (v - y) * i / 6) for (x, y), (u, v) in itertools.pairwise(corners) for i in range(7)
    ]


def arc(x: float, y: float, width: float, height: float | None = None, start: float = 0, end: float = 360) -> Stroke:
    """A part of an ellipse around (x, y), its half axes, and the angles in degrees, clockwise from the right."""
    angles = [math.radians(start + (end - start) * i / 24) for i in range(25)]
    return [(x + width * math.cos(a), y + (width if height is None else height) * math.sin(a)) for a in angles]


def curve(*through: Point) -> Stroke:
    """A smooth line through points (Catmull-Rom)."""
    ends = [through[0], *through, through[-1]]

    def points() -> Iterator[Point]:
        for a, b, c, d in zip(ends, ends[1:], ends[2:], ends[3:], strict=False):
            for t in (i / 6 for i in range(7)):
                x, y = (
                    b[k]
                    + 0.5 * t * (c[k] - a[k])
                    + t * t * (a[k] - 2.5 * b[k] + 2 * c[k] - 0.5 * d[k])
                    + 0.5 * t**3 * (3 * b[k] - a[k] - 3 * c[k] + d[k])
                    for k in (0, 1)
                )
                yield x, y

    return list(points())


def mirrored(stroke: Stroke) -> Stroke:
    """The same on the other side of an upright middle."""
    return [(1 - x, y) for x, y in stroke]


COCKTAIL = [
    line((0.15, 0.12), (0.85, 0.12), (0.5, 0.5), (0.15, 0.12)),
    line((0.5, 0.5), (0.5, 0.85)),
    line((0.3, 0.87), (0.7, 0.87)),
    line((0.45, 0.3), (0.75, 0.05)),
]

_EAR = line((0.34, 0.23), (0.33, 0.08), (0.45, 0.17))
_WHISKERS = [line((0.4, 0.39), (0.22, 0.36)), line((0.4, 0.41), (0.22, 0.43))]
_BLADE = [line((0.36, 0.06), (0.6, 0.67)), line((0.36, 0.06), (0.47, 0.52))]
_UPPER_WING = line((0.42, 0.43), (0.6, 0.12), (0.68, 0.12), (0.58, 0.43))
_UPPER_TAIL = line((0.8, 0.45), (0.88, 0.32), (0.93, 0.32), (0.88, 0.47))
_UPPER_SIDE = curve((0.08, 0.5), (0.2, 0.43), (0.6, 0.43), (0.88, 0.47))

DRAWINGS: dict[str, list[Stroke]] = {
    "cat": [
        arc(0.5, 0.33, 0.2, 0.17),
        _EAR,
        mirrored(_EAR),
        arc(0.43, 0.31, 0.02),
        arc(0.57, 0.31, 0.02),
        line((0.48, 0.38), (0.52, 0.38), (0.5, 0.41), (0.48, 0.38)),
        *_WHISKERS,
        *map(mirrored, _WHISKERS),
        curve((0.38, 0.47), (0.3, 0.65), (0.3, 0.85), (0.4, 0.92), (0.6, 0.92), (0.7, 0.85), (0.7, 0.65), (0.62, 0.47)),
        line((0.45, 0.7), (0.45, 0.9)),
        line((0.55, 0.7), (0.55, 0.9)),
        curve((0.69, 0.85), (0.82, 0.85), (0.86, 0.72), (0.8, 0.6)),
    ],
    "chair": [
        line((0.28, 0.08), (0.7, 0.08), (0.7, 0.5), (0.28, 0.5), (0.28, 0.08)),
        line((0.28, 0.22), (0.7, 0.22)),
        line((0.28, 0.36), (0.7, 0.36)),
        line((0.28, 0.5), (0.2, 0.62), (0.8, 0.62), (0.7, 0.5)),
        line((0.22, 0.62), (0.22, 0.94)),
        line((0.78, 0.62), (0.78, 0.94)),
        line((0.32, 0.62), (0.32, 0.82)),
        line((0.68, 0.62), (0.68, 0.82)),
    ],
    "cup": [
        arc(0.42, 0.25, 0.26, 0.07),
        curve(
            (0.16, 0.25), (0.17, 0.55), (0.22, 0.8), (0.3, 0.87), (0.54, 0.87), (0.62, 0.8), (0.67, 0.55), (0.68, 0.25)
        ),
        curve((0.67, 0.35), (0.8, 0.32), (0.88, 0.45), (0.82, 0.6), (0.65, 0.66)),
    ],
    "tree": [
        curve((0.42, 0.92), (0.45, 0.75), (0.44, 0.58)),
        curve((0.58, 0.92), (0.55, 0.75), (0.56, 0.58)),
        curve(
            *((0.44, 0.6), (0.28, 0.62), (0.16, 0.5), (0.2, 0.34), (0.32, 0.26), (0.4, 0.12)),
            *((0.58, 0.1), (0.7, 0.22), (0.82, 0.32), (0.84, 0.5), (0.72, 0.62), (0.56, 0.6)),
        ),
        line((0.5, 0.62), (0.5, 0.45)),
        line((0.5, 0.54), (0.6, 0.42)),
        line((0.3, 0.92), (0.7, 0.92)),
    ],
    "house": [
        line((0.2, 0.45), (0.2, 0.9), (0.8, 0.9), (0.8, 0.45)),
        line((0.12, 0.48), (0.5, 0.12), (0.88, 0.48), (0.12, 0.48)),
        line((0.43, 0.9), (0.43, 0.65), (0.57, 0.65), (0.57, 0.9)),
        line((0.25, 0.56), (0.37, 0.56), (0.37, 0.69), (0.25, 0.69), (0.25, 0.56)),
        line((0.63, 0.56), (0.75, 0.56), (0.75, 0.69), (0.63, 0.69), (0.63, 0.56)),
        line((0.68, 0.28), (0.68, 0.14), (0.76, 0.14), (0.76, 0.36)),
    ],
    "umbrella": [
        arc(0.5, 0.48, 0.4, 0.38, 180, 360),
        *(arc(x, 0.48, 0.1, 0.06, 180, 360) for x in (0.2, 0.4, 0.6, 0.8)),
        curve((0.5, 0.1), (0.36, 0.26), (0.3, 0.46)),
        curve((0.5, 0.1), (0.64, 0.26), (0.7, 0.46)),
        line((0.5, 0.05), (0.5, 0.82)),
        arc(0.43, 0.82, 0.07, 0.08, 0, 180),
    ],
    "scissors": [
        *_BLADE,
        *map(mirrored, _BLADE),
        arc(0.36, 0.79, 0.11, 0.13),
        arc(0.64, 0.79, 0.11, 0.13),
    ],
    "fish": [
        curve((0.12, 0.5), (0.25, 0.33), (0.45, 0.28), (0.62, 0.36), (0.74, 0.5)),
        curve((0.12, 0.5), (0.25, 0.67), (0.45, 0.72), (0.62, 0.64), (0.74, 0.5)),
        line((0.74, 0.5), (0.92, 0.32), (0.88, 0.5), (0.92, 0.68), (0.74, 0.5)),
        arc(0.26, 0.46, 0.025),
        curve((0.36, 0.38), (0.41, 0.5), (0.36, 0.62)),
        curve((0.42, 0.28), (0.52, 0.16), (0.62, 0.35)),
        line((0.12, 0.5), (0.19, 0.53)),
    ],
    "bicycle": [
        arc(0.24, 0.66, 0.18),
        arc(0.76, 0.66, 0.18),
        line((0.24, 0.66), (0.38, 0.38), (0.66, 0.38), (0.48, 0.66), (0.24, 0.66)),
        line((0.48, 0.66), (0.36, 0.33)),
        line((0.29, 0.32), (0.43, 0.32)),
        line((0.76, 0.66), (0.64, 0.28)),
        curve((0.64, 0.28), (0.72, 0.25), (0.76, 0.3)),
        arc(0.48, 0.66, 0.04),
    ],
    "apple": [
        curve(
            *((0.5, 0.3), (0.38, 0.22), (0.22, 0.28), (0.15, 0.48), (0.22, 0.72), (0.36, 0.9), (0.5, 0.86)),
            *((0.64, 0.9), (0.78, 0.72), (0.85, 0.48), (0.78, 0.28), (0.62, 0.22), (0.5, 0.3)),
        ),
        curve((0.5, 0.3), (0.5, 0.2), (0.55, 0.1)),
        curve((0.53, 0.18), (0.62, 0.08), (0.74, 0.1), (0.66, 0.2), (0.53, 0.18)),
    ],
    "guitar": [
        curve(
            *((0.5, 0.48), (0.4, 0.48), (0.33, 0.55), (0.38, 0.65), (0.28, 0.76), (0.34, 0.9), (0.5, 0.95)),
            *((0.66, 0.9), (0.72, 0.76), (0.62, 0.65), (0.67, 0.55), (0.6, 0.48), (0.5, 0.48)),
        ),
        arc(0.5, 0.68, 0.06),
        line((0.42, 0.84), (0.58, 0.84)),
        line((0.46, 0.48), (0.46, 0.16), (0.43, 0.05), (0.57, 0.05), (0.54, 0.16), (0.54, 0.48)),
        line((0.5, 0.16), (0.5, 0.62)),
    ],
    "airplane": [
        _UPPER_SIDE,
        [(x, 1 - y) for x, y in _UPPER_SIDE],
        line((0.88, 0.47), (0.88, 0.53)),
        _UPPER_WING,
        [(x, 1 - y) for x, y in _UPPER_WING],
        _UPPER_TAIL,
        [(x, 1 - y) for x, y in _UPPER_TAIL],
    ],
}


def draw(page: Any, strokes: list[Stroke]) -> None:
    """Draw on the paper of an open page, with the mouse."""
    box = page.locator("#paper").bounding_box()

    def on_screen(point: Point) -> Point:
        return box["x"] + point[0] * box["width"], box["y"] + point[1] * box["height"]

    for stroke in strokes:
        page.mouse.move(*on_screen(stroke[0]))
        page.mouse.down()
        for point in stroke[1:]:
            page.mouse.move(*on_screen(point))
        page.mouse.up()


def open_page(browser: Any, address: str, **settings: Any) -> Any:
    """A page of `zse draw`, ready to draw in."""
    page = browser.new_page(**{"viewport": {"width": 1280, "height": 860}, **settings})
    page.goto(address)
    page.wait_for_selector("body[data-ready]")
    return page


def wait_until(page: Any, script: str, seconds: float = 20) -> None:
    """Until an expression is true on a page. (The page's policy refuses what Playwright's own way of waiting does.)"""
    end = time.monotonic() + seconds
    while not page.evaluate(script):
        assert time.monotonic() < end, script
        page.wait_for_timeout(20)


def wait_for_hits(page: Any) -> None:
    """Until the hits of what is drawn are there, re-ranked."""
    wait_until(page, "document.getElementById('about').textContent.includes('part by part')")


def look(photos: str, pictures: Path | None) -> None:
    """Draw everything, and print what is found."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "zsecli", "draw", photos, "--no-browser", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with sync_playwright() as running:
            browser = running.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for name, strokes in DRAWINGS.items():
                page = open_page(browser, address)
                draw(page, strokes)
                wait_for_hits(page)
                page.locator("#paper").blur()
                page.wait_for_timeout(700)  # for pictures to arrive
                hits = page.locator(".hit").all()[:8]
                found = [
                    f"{str(hit.get_attribute('title')).splitlines()[0]} {hit.locator('.share').text_content()}"
                    for hit in hits
                ]
                print(f"{name}: {', '.join(found)}{'; nothing like it' * page.locator('#nothing').is_visible()}")
                if pictures is not None:
                    pictures.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=pictures / f"{name}.png")
                page.close()
            browser.close()
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What zse draw finds for drawings by hand.")
    parser.add_argument("photos", help="a folder of photos, or a feature store")
    parser.add_argument("pictures", nargs="?", type=Path, help="a folder for pictures of the page")
    options = parser.parse_args()
    look(options.photos, options.pictures)
