"""The figure of a run: losses and validation against the step, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from zsecli.files import replacing

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
)  # Okabe and Ito: safe for colour-blind eyes
WIDTH, PANEL, LEFT, RIGHT, TOP, GAP = 960, 260, 70, 310, 40, 60
POINTS = 1000  # of a line, at most
Line = tuple[str, list[tuple[float, float]]]  # name, (step, value)


def curve(records: Sequence[dict[str, Any]], path: Path, title: str = "") -> None:
    """Draw the records of a run's log into the SVG file `path`: training losses above, validation below."""
    train = [r for r in records if r["kind"] == "train"]
    checks = [r for r in records if r["kind"] == "validation"]
    losses = [
        (name, _smooth(_line(train, key))) for name, key in (("loss", "loss"), ("[Ret]", "ret"), ("match", "match"))
    ]
    names = dict.fromkeys(k for r in checks for k, v in r.items() if isinstance(v, float))
    metrics = [(name, _line(checks, name)) for name in names]
    last = max((float(r["step"]) for r in records), default=0.0) or 1.0
    height = TOP + 2 * PANEL + GAP + 50
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        f'<text x="{LEFT}" y="22" font-size="15" font-weight="bold">{escape(title)}</text>',
        *_panel("loss", losses, TOP, last, dots=False),
        *_panel("validation", metrics, TOP + PANEL + GAP, last, dots=True),
        f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{height - 12}" text-anchor="middle">step</text>',
        "</svg>",
    ]
    with replacing(path) as (partial,):
        partial.write_text("\n".join(parts) + "\n", "utf-8")


def _line(records: list[dict[str, Any]], key: str) -> list[tuple[float, float]]:
    found = [(float(r["step"]), float(r[key])) for r in records if key in r and math.isfinite(r[key])]
    return found[:: max(1, len(found) // POINTS)]


def _smooth(line: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Each value averaged with those before it, the nearer the more: single steps are noise."""
    made: list[tuple[float, float]] = []
    mean = weight = 0.0
    for step, value in line:
        mean, weight = 0.8 * mean + value, 0.8 * weight + 1
        made.append((step, mean / weight))
    return made


def _panel(label: str, lines: list[Line], top: float, last: float, dots: bool) -> list[str]:
    values = [v for _, line in lines for _, v in line]
    if not values:
        return [f'<text x="{LEFT}" y="{top + 20}" fill="#555">no {label} yet</text>']
    ticks = _ticks(0.0, max(values))
    span, right = ticks[-1] or 1.0, WIDTH - RIGHT

    def at(step: float, value: float) -> tuple[float, float]:
        return LEFT + (right - LEFT) * step / last, top + PANEL * (1 - value / span)

    parts = [f'<text transform="translate(16 {top + PANEL / 2}) rotate(-90)" text-anchor="middle">{label}</text>']
    for tick in ticks:
        y = at(0, tick)[1]
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{tick:g}</text>')
    for tick in _ticks(0.0, last):
        if tick <= last:
            x = at(tick, 0)[0]
            parts.append(f'<text x="{x:.1f}" y="{top + PANEL + 18}" text-anchor="middle">{tick:g}</text>')
    for i, (name, line) in enumerate(lines):
        colour, points = COLOURS[i % len(COLOURS)], [at(*point) for point in line]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}" stroke-width="2"/>')
        best = max(line, key=lambda p: p[1], default=None)
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{5 if point == best else 2.5}" fill="{colour}"/>'
            for point, (x, y) in zip(line, points, strict=True)
            if dots
        ]
        y = top + 14 + 20 * i
        value = "" if not line else f" {best[1]:.3f} best" if dots and best else f" {line[-1][1]:.3f} last"
        parts.append(f'<rect x="{right + 14}" y="{y - 9}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{right + 34}" y="{y - 3}">{escape(name)}{value}</text>')
    return parts


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers that cover the range."""
    step = 10 ** math.floor(math.log10(max(high - low, 1e-9)))
    step = next(s for s in (step / 5, step / 2, step, step * 2) if (high - low) / s <= 6)
    return [low + i * step for i in range(math.ceil((high - low) / step) + 1)]
