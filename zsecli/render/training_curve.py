"""The figure of a training run: losses and validation metrics against the step, as SVG."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsecli.render.fonts import shorten_to_width
from zsecli.render.palette import FAINT, GRID, INK, SERIES, WHITE, Colour
from zsecli.render.svg import SvgDocument
from zsecli.runtime.files import atomic_write

LOSSES = {"loss": "total, weighted", "ret": "[Ret]", "match": "match", "outline": "outline"}
LEFT, TOP = 76, 96  # of the upper panel
PLOT_WIDTH, PANEL_HEIGHT, PANEL_GAP = 620, 250, 86
LEGEND_WIDTH, LEGEND_ENTRY = 180, 40
MAX_POINTS = 1000  # of a line, about

Record = Mapping[str, Any]
"""A record of a `Log`."""
Point = tuple[float, float]
"""Step and value."""


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A curve and its entry in the legend."""

    name: str
    colour: Colour
    points: list[Point]
    """A value that is not finite leaves a gap."""
    smooth: list[Point] = field(default_factory=list)
    """The same, smoothed; empty where the points are drawn as they are."""
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class _Panel:
    """A plot with its legend."""

    heading: str
    unit: str
    lines: list[_Line]
    top: float
    height: float
    last_step: float
    best_step: float | None = None
    clips_outliers: bool = False
    """Whether single extreme values may leave the plot, so that they do not flatten the rest."""


def draw_curve(records: Sequence[Record], path: Path, title: str = "") -> None:
    """Draw the records of a `Log` into the SVG file `path`: training losses above, validation metrics below.

    A metric is every number of a validation record but its step and epoch; the record with the highest `score` is
    marked. `title` is by default the name of the folder of `path`, without `.run`.
    """
    train = [record for record in records if record["kind"] == "train"]
    validation = [record for record in records if record["kind"] == "validation"]
    best = _best_record(validation)
    losses = []
    for number, key in enumerate(LOSSES):
        line = _loss_line(train, key, SERIES[number])
        if line.points:
            losses.append(line)
    metrics = []
    for number, name in enumerate(_metric_names(validation)):
        colour = INK if name == "score" else SERIES[number % len(SERIES)]
        metrics.append(_metric_line(validation, name, colour, best))
    last_step = max((float(record["step"]) for record in records), default=0.0) or 1.0
    longest_name = max((len(line.name) for line in [*losses, *metrics]), default=0)
    width = LEFT + PLOT_WIDTH + 60 + max(LEGEND_WIDTH, 8 * longest_name)
    lower_top = TOP + PANEL_HEIGHT + PANEL_GAP
    lower_height = max(PANEL_HEIGHT, LEGEND_ENTRY * len(metrics))
    document = SvgDocument(width, lower_top + lower_height + 60)
    document.define_clip("panel", LEFT, TOP, PLOT_WIDTH + 4, PANEL_HEIGHT + 4)
    name = title or path.absolute().parent.name.removesuffix(".run")
    document.add_text(LEFT, 26, shorten_to_width(name, 18, 0.8 * (width - LEFT)), INK, size=18, bold=True)
    document.add_text(LEFT, 48, _summarize(train, validation), FAINT)
    loss_panel = _Panel(
        heading="Training loss",
        unit="loss",
        lines=losses,
        top=TOP,
        height=PANEL_HEIGHT,
        last_step=last_step,
        clips_outliers=True,
    )
    metric_panel = _Panel(
        heading="Validation" + _describe_best(best),
        unit="metric",
        lines=metrics,
        top=lower_top,
        height=lower_height,
        last_step=last_step,
        best_step=None if best is None else float(best["step"]),
    )
    for panel in (loss_panel, metric_panel):
        _draw_panel(document, panel)
    with atomic_write(path) as (partial,):
        partial.write_text(document.to_text(), "utf-8")


def _best_record(validation: Sequence[Record]) -> Record | None:
    """The record with the highest finite score."""
    scored = [record for record in validation if math.isfinite(record.get("score", math.nan))]
    return max(scored, key=lambda record: record["score"], default=None)


def _describe_best(best: Record | None) -> str:
    if best is None:
        return ""
    return f": best at epoch {best['epoch']} (step {best['step']:,}), score {best['score']:.4f}"


def _metric_names(validation: Sequence[Record]) -> list[str]:
    """Names of the numbers of all records in the order of their first appearance, the score last."""
    names: dict[str, None] = {}  # a set that keeps its order
    for record in validation:
        for name, value in record.items():
            if not isinstance(value, str) and name not in ("step", "epoch"):
                names[name] = None
    return sorted(names, key=lambda name: name == "score")


def _summarize(train: Sequence[Record], validation: Sequence[Record]) -> str:
    """Steps, epochs and speed of a run."""
    steps = max((record["step"] for record in [*train, *validation]), default=0)
    parts = [f"{steps:,} steps"]
    parts.append(f"{validation[-1]['epoch']} validated epochs" if validation else "no validation yet")
    speeds = sorted(record["pictures_per_second"] for record in train if "pictures_per_second" in record)
    if speeds:
        parts.append(f"{speeds[len(speeds) // 2]:,.0f} pictures a second")
    return ", ".join(parts)


def _loss_line(records: Sequence[Record], key: str, colour: Colour) -> _Line:
    points = _read_points(records, key)
    smooth = _smooth(points)
    finite = [value for _, value in smooth if math.isfinite(value)]
    note = f"{finite[-1]:.4g} at the end" if finite else ""
    return _Line(name=LOSSES[key], colour=colour, points=_thin(points), smooth=_thin(smooth), note=note)


def _metric_line(records: Sequence[Record], name: str, colour: Colour, best: Record | None) -> _Line:
    points = _read_points(records, name)
    notes = []
    if best is not None and name in best:
        notes.append(f"{best[name]:.4f} at the best")
    if points:
        notes.append(f"{points[-1][1]:.4f} last")
    shown_name = "score (selects)" if name == "score" else name
    return _Line(name=shown_name, colour=colour, points=_thin(points), note=", ".join(notes))


def _read_points(records: Sequence[Record], key: str) -> list[Point]:
    return [(float(record["step"]), float(record[key])) for record in records if key in record]


def _smooth(points: Sequence[Point]) -> list[Point]:
    """Each value averaged with its neighbours on both sides, the nearer the more: single steps are noise."""
    before = _decaying_sums(points)
    after = _decaying_sums(points[::-1])[::-1]
    smooth = []
    for (step, value), (sum_before, weight_before), (sum_after, weight_after) in zip(
        points, before, after, strict=True
    ):
        # both sums hold the value itself
        smooth.append((step, (sum_before + sum_after - value) / (weight_before + weight_after - 1)))
    return smooth


def _decaying_sums(points: Sequence[Point]) -> list[tuple[float, float]]:
    """The weighted sum of each value and those before it, and the sum of the weights; NaN and 1 if not finite."""
    decay = 1 - 1 / max(2.0, min(50.0, len(points) / 20))
    sums = []
    total = weight = 0.0
    for _, value in points:
        total *= decay
        weight *= decay
        if math.isfinite(value):
            total += value
            weight += 1
            sums.append((total, weight))
        else:
            sums.append((math.nan, 1.0))
    return sums


def _thin(points: Sequence[Point]) -> list[Point]:
    """About MAX_POINTS of the points, with the last one and all gaps."""
    stride = max(1, len(points) // MAX_POINTS)
    thinned = []
    for number, point in enumerate(points):
        if number % stride == 0 or number == len(points) - 1 or not math.isfinite(point[1]):
            thinned.append(point)
    return thinned


def _draw_panel(document: SvgDocument, panel: _Panel) -> None:
    document.add_text(LEFT, panel.top - 12, panel.heading, INK, size=14, bold=True)
    values = []
    for line in panel.lines:
        values += [value for _, value in [*line.points, *line.smooth] if math.isfinite(value)]
    if not values:
        document.add_text(LEFT, panel.top + 20, "nothing yet", FAINT)
        return
    values.sort()
    highest = values[-1]
    if panel.clips_outliers:
        highest = values[min(len(values) - 1, int(0.995 * len(values)))]
    ticks = _round_ticks(min(0.0, values[0]), highest)
    low, high = ticks[0], ticks[-1]

    def to_page(step: float, value: float) -> Point:
        x = LEFT + PLOT_WIDTH * step / panel.last_step
        y = panel.top + panel.height * (high - value) / (high - low)
        return x, y

    _draw_axes(document, panel, ticks, to_page)
    if panel.best_step is not None:
        x, _ = to_page(panel.best_step, 0)
        document.add_line(x, panel.top, x, panel.top + panel.height, INK, dashes="4 4")
    for number, line in enumerate(panel.lines):
        _draw_line(document, line, panel.best_step, to_page)
        x, y = LEFT + PLOT_WIDTH + 24, panel.top + 10 + LEGEND_ENTRY * number
        document.add_line(x, y, x + 18, y, line.colour, 3)
        document.add_text(x + 26, y + 4.5, line.name, INK)
        document.add_text(x + 26, y + 20, line.note, FAINT, size=11.5)


def _draw_axes(
    document: SvgDocument, panel: _Panel, value_ticks: list[float], to_page: Callable[[float, float], Point]
) -> None:
    """Grid lines, axes, and the numbers along them."""
    bottom, right = panel.top + panel.height, LEFT + PLOT_WIDTH
    for tick in value_ticks:
        _, y = to_page(0, tick)
        document.add_line(LEFT, y, right, y, GRID)
        document.add_text(LEFT - 8, y + 4.5, f"{tick:g}", INK, anchor="end")
    for tick in _round_ticks(0.0, panel.last_step):
        if tick > panel.last_step:
            break
        x, _ = to_page(tick, 0)
        label = f"{tick:,.0f}" if tick.is_integer() else f"{tick:g}"
        document.add_line(x, bottom, x, bottom + 5, INK)
        document.add_text(x, bottom + 20, label, INK, anchor="middle")
    document.add_line(LEFT, panel.top, LEFT, bottom, INK)
    document.add_line(LEFT, bottom, right, bottom, INK)
    document.add_text(LEFT + PLOT_WIDTH / 2, bottom + 42, "step", INK, anchor="middle")
    middle = panel.top + panel.height / 2
    document.add_text(20, middle, panel.unit, INK, anchor="middle", rotation=-90)


def _draw_line(
    document: SvgDocument, line: _Line, best_step: float | None, to_page: Callable[[float, float], Point]
) -> None:
    """The smoothed line over the pale original; a line of few points with a dot at each."""
    if line.smooth:
        with document.clip_to("panel"):
            for run in _finite_runs(line.points):
                document.add_polyline([to_page(*point) for point in run], line.colour, 1, opacity=0.3)
            for run in _finite_runs(line.smooth):
                document.add_polyline([to_page(*point) for point in run], line.colour, 2.5)
        return
    for run in _finite_runs(line.points):
        document.add_polyline([to_page(*point) for point in run], line.colour, 2)
    for step, value in line.points:
        if not math.isfinite(value):
            continue
        x, y = to_page(step, value)
        if step == best_step:
            document.add_circle(x, y, 5.5, line.colour, WHITE, 1.5)
        else:
            document.add_circle(x, y, 2.5, line.colour, line.colour, 0)


def _finite_runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points in runs without a gap."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _round_ticks(low: float, high: float) -> list[float]:
    """Round numbers, about five to eleven, that cover the range."""
    span = (high - low) or abs(high) or 1.0
    unit = 10.0 ** math.floor(math.log10(span))
    step = next(factor * unit for factor in (0.2, 0.5, 1, 2) if span <= 6 * factor * unit)
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [number * step for number in range(first, max(last, first + 1) + 1)]
