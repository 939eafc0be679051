"""The figure of a run: losses and validation against the step, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from zsecli.render.fonts import shortened
from zsecli.runtime.files import atomic_write
from zsecli.runtime.marks import COMMENT

# Okabe and Ito: safe for colour-blind eyes; their yellow is too pale on white
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
LOSSES = {"loss": "total, weighted", "ret": "[Ret]", "match": "match", "outline": "outline"}
LEFT, PLOT, TOP, PANEL, GAP, ENTRY = 76, 620, 96, 250, 86, 40  # pixels
POINTS = 1000  # of a line, about
Point = tuple[float, float]  # step, value


@dataclass(frozen=True)
class _Line:
    name: str
    colour: str
    points: list[Point]  # a value that is not finite leaves a gap
    smooth: list[Point] = field(default_factory=list)
    note: str = ""


def curve(records: Sequence[Mapping[str, Any]], path: Path, title: str = "") -> None:
    """Draw the records of a `Log` into the SVG file `path`: training losses above, validation metrics below.

    A metric is every number of a validation record but its step and epoch; the record with the highest `score` is
    marked. `title` is by default the name of the folder that holds `path`, without `.run`.
    """
    train = [r for r in records if r["kind"] == "train"]
    checks = [r for r in records if r["kind"] == "validation"]
    scored = [r for r in checks if math.isfinite(r.get("score", math.nan))]
    best = max(scored, key=lambda r: r["score"], default=None)
    found = dict.fromkeys(k for r in checks for k, v in r.items() if not isinstance(v, str))
    names = sorted((n for n in found if n not in ("step", "epoch")), key=lambda n: n == "score")
    losses = [_loss(train, key, COLOURS[i]) for i, key in enumerate(LOSSES)]
    losses = [line for line in losses if line.points]
    metrics = [_metric(checks, name, i, best) for i, name in enumerate(names)]
    end = max((float(r["step"]) for r in records), default=0.0) or 1.0
    chosen = (
        "" if best is None else f": best at epoch {best['epoch']} (step {best['step']:,}), score {best['score']:.4f}"
    )
    width = LEFT + PLOT + 60 + max(180, *(8 * len(line.name) for line in [*losses, *metrics]), 0)
    name = title or path.absolute().parent.name.removesuffix(".run")
    low = TOP + PANEL + GAP
    high = max(PANEL, ENTRY * len(metrics))
    height = low + high + 60
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="Arial, Helvetica, DejaVu Sans, sans-serif" font-size="13" fill="#222">',
        COMMENT,
        f'<clipPath id="panel"><rect x="{LEFT}" y="{TOP}" width="{PLOT + 4}" height="{PANEL + 4}"/></clipPath>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        _text(LEFT, 26, shortened(name, 18, 0.8 * (width - LEFT)), 'font-size="18" font-weight="bold"'),
        _text(LEFT, 48, _summary(train, checks), 'fill="#555"'),
        *_panel("Training loss", "loss", losses, TOP, PANEL, end, None),
        *_panel("Validation" + chosen, "metric", metrics, low, high, end, best),
        "</svg>",
    ]
    with atomic_write(path) as (partial,):
        partial.write_text("\n".join(parts) + "\n", "utf-8")


def _summary(train: Sequence[Mapping[str, Any]], checks: Sequence[Mapping[str, Any]]) -> str:
    steps = max((r["step"] for r in [*train, *checks]), default=0)
    said = [f"{steps:,} steps", f"{checks[-1]['epoch']} validated epochs" if checks else "no validation yet"]
    speed = sorted(r["pictures_per_second"] for r in train if "pictures_per_second" in r)
    return ", ".join(said + [f"{speed[len(speed) // 2]:,.0f} pictures a second" for _ in speed[:1]])


def _loss(records: Sequence[Mapping[str, Any]], key: str, colour: str) -> _Line:
    points = _points(records, key)
    smooth = _smooth(points)
    last = next((f"{v:.4g} at the end" for _, v in reversed(smooth) if math.isfinite(v)), "")
    return _Line(LOSSES[key], colour, _thin(points), _thin(smooth), last)


def _metric(records: Sequence[Mapping[str, Any]], name: str, at: int, best: Mapping[str, Any] | None) -> _Line:
    points = _points(records, name)
    colour = "#222222" if name == "score" else COLOURS[at % len(COLOURS)]
    said = [f"{best[name]:.4f} at the best"] if best is not None and name in best else []
    last = [f"{points[-1][1]:.4f} last"] if points else []
    return _Line(name if name != "score" else "score (selects)", colour, _thin(points), note=", ".join(said + last))


def _points(records: Sequence[Mapping[str, Any]], key: str) -> list[Point]:
    return [(float(r["step"]), float(r[key])) for r in records if key in r]


def _smooth(points: Sequence[Point]) -> list[Point]:
    """Each value averaged with its neighbours on both sides, the nearer the more: single steps are noise."""
    both = zip(points, _behind(points), _behind(points[::-1])[::-1], strict=True)
    return [(step, (one + other - value) / (n + m - 1)) for (step, value), (one, n), (other, m) in both]


def _behind(points: Sequence[Point]) -> list[tuple[float, float]]:
    """The weighted sum of each value and those before it, and the sum of the weights."""
    keep = 1 - 1 / max(2.0, min(50.0, len(points) / 20))
    made, total, weight = [], 0.0, 0.0
    for _, value in points:
        known = math.isfinite(value)
        total, weight = keep * total + (value if known else 0.0), keep * weight + known
        made.append((total, weight) if known else (math.nan, 1.0))
    return made


def _thin(points: Sequence[Point]) -> list[Point]:
    stride = max(1, len(points) // POINTS)
    return [p for i, p in enumerate(points) if i % stride == 0 or i == len(points) - 1 or not math.isfinite(p[1])]


def _panel(
    heading: str, unit: str, lines: Sequence[_Line], top: int, height: int, end: float, best: Mapping[str, Any] | None
) -> list[str]:
    parts = [_text(LEFT, top - 12, heading, 'font-size="14" font-weight="bold"')]
    finite = sorted(v for line in lines for _, v in [*line.points, *line.smooth] if math.isfinite(v))
    if not finite:
        return [*parts, _text(LEFT, top + 20, "nothing yet", 'fill="#555"')]
    # one wild step must not flatten the rest
    top_value = finite[min(len(finite) - 1, int(0.995 * len(finite)))] if unit == "loss" else finite[-1]
    ticks = _ticks(min(0.0, finite[0]), top_value)
    low, high = ticks[0], ticks[-1]

    def at(step: float, value: float) -> Point:
        return LEFT + PLOT * step / end, top + height * (high - value) / (high - low)

    for tick in ticks:
        y = at(0, tick)[1]
        parts.append(f'<line x1="{LEFT}" x2="{LEFT + PLOT}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e2e2e2"/>')
        parts.append(_text(LEFT - 8, y + 4.5, f"{tick:g}", 'text-anchor="end"'))
    bottom = top + height
    for tick in (t for t in _ticks(0.0, end) if t <= end):
        x = at(tick, 0)[0]
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}" stroke="#222"/>')
        parts.append(
            _text(x, bottom + 20, f"{tick:,.0f}" if tick.is_integer() else f"{tick:g}", 'text-anchor="middle"')
        )
    parts.append(f'<path d="M{LEFT} {top}V{bottom}H{LEFT + PLOT}" fill="none" stroke="#222"/>')
    parts.append(_text(LEFT + PLOT / 2, bottom + 42, "step", 'text-anchor="middle"'))
    turned = f'text-anchor="middle" transform="rotate(-90 20 {top + height / 2})"'
    parts.append(_text(20, top + height / 2, unit, turned))
    if best is not None:
        x = at(best["step"], 0)[0]
        parts.append(f'<path d="M{x:.1f} {top}V{bottom}" stroke="#222" stroke-dasharray="4 4"/>')
    for i, line in enumerate(lines):
        if line.smooth:
            parts.append('<g clip-path="url(#panel)">')
            parts += _strokes(line.points, at, line.colour, 'stroke-width="1" stroke-opacity="0.3"')
            parts += _strokes(line.smooth, at, line.colour, 'stroke-width="2.5"')
            parts.append("</g>")
        else:
            parts += _strokes(line.points, at, line.colour, 'stroke-width="2"')
            parts += [
                _dot(*at(*p), line.colour, best is not None and p[0] == best["step"])
                for p in line.points
                if math.isfinite(p[1])
            ]
        x, y = LEFT + PLOT + 24, top + 10 + ENTRY * i
        parts.append(f'<path d="M{x} {y}h18" stroke="{line.colour}" stroke-width="3"/>')
        parts += [_text(x + 26, y + 4.5, line.name), _text(x + 26, y + 20, line.note, 'font-size="11.5" fill="#555"')]
    return parts


def _strokes(points: Sequence[Point], at: Callable[[float, float], Point], colour: str, style: str) -> list[str]:
    """A polyline for each run of finite values; the round cap shows a lone one."""
    runs: list[list[str]] = [[]]
    for step, value in points:
        if math.isfinite(value):
            runs[-1].append("{:.2f},{:.2f}".format(*at(step, value)))
        elif runs[-1]:
            runs.append([])
    style = f'fill="none" stroke="{colour}" stroke-linejoin="round" stroke-linecap="round" {style}'
    return [f'<polyline points="{" ".join(run if run[1:] else run * 2)}" {style}/>' for run in runs if run]


def _dot(x: float, y: float, colour: str, best: bool) -> str:
    size = 'r="5.5" stroke="white" stroke-width="1.5"' if best else 'r="2.5"'
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" fill="{colour}" {size}/>'


def _text(x: float, y: float, text: str, style: str = "") -> str:
    shown = "".join(c if c.isprintable() else "?" for c in text)  # a file's name may hold what XML may not
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(shown)}</text>'


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers, five to eleven or so, that cover the range."""
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(f * unit for f in (0.2, 0.5, 1, 2) if span <= 6 * f * unit)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [i * step for i in range(first, max(last, first + 1) + 1)]
