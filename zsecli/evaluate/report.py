"""A report as a table for people, as Markdown, or as a JSON file."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from zsecli.errors import UsageError
from zsecli.evaluate.compare import Comparison
from zsecli.evaluate.evaluate import ProtocolReport, Report
from zsecli.evaluate.published import Figure
from zsecli.files import replacing

Table = tuple[str, list[str], list[list[str]]]  # caption, columns, rows


def _tables(report: Report, per_class: bool) -> Iterator[Table]:
    for part in report.protocols:
        rows = [
            [name, f"{value:.4f}", f"{low:.4f} to {high:.4f}"]
            for (name, value), (low, high) in zip(part.means().items(), part.intervals.values(), strict=True)
        ]
        yield _caption(part), ["metric", "mean", "95 % interval"], rows
        if per_class:
            classes = part.per_class()
            names = list(part.means())
            yield (
                f"{part.protocol.name} by class",
                ["class", "queries", *names],
                [
                    [c, f"{values['queries']:.0f}", *(f"{values[n]:.4f}" for n in names)]
                    for c, values in classes.items()
                ],
            )


def _caption(part: ProtocolReport) -> str:
    text = (
        f"{part.protocol.name} ({part.protocol.title}): {len(part.queries)} queries, {part.photos:.1f} photos a query"
    )
    if part.without:
        text += f"; {part.without} queries without a relevant photo left out"
    if part.left_out:
        text += f"; the ranking is too short for {', '.join(part.left_out)}"
    return text


def _settings(report: Report) -> str:
    about = ", ".join(
        f"{k} {v}"
        for k, v in report.about.items()
        if v not in (None, False) and (k != "shortlist" or report.about.get("by") == "cascade")
    )
    return f"{about}; {report.tied} of {report.entries} compared entries tie with a neighbour"


def markdown(report: Report, per_class: bool) -> str:
    """The report as Markdown tables."""
    lines = [_settings(report)]
    for caption, columns, rows in _tables(report, per_class):
        lines += ["", caption, "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
        lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines)


def comparison_tables(titles: list[str], comparisons: list[Comparison]) -> Iterator[Table]:
    """A table a protocol: every metric of all models, and each further one against the first."""
    columns = ["metric", titles[0], *(c for title in titles[1:] for c in (title, "difference", "95 % interval", "p"))]
    for protocol in dict.fromkeys(c.protocol for c in comparisons):
        rows = []
        for c in (c for c in comparisons if c.protocol == protocol):
            row = [c.metric, f"{c.means[0]:.4f}"]
            for value, test in zip(c.means[1:], c.against_first, strict=True):
                p = "< .001" if test.p < 0.001 else f"{test.p:.3f}"
                row += [f"{value:.4f}", f"{test.difference:+.4f}", f"{test.low:+.4f} to {test.high:+.4f}", p]
            rows.append(row)
        caption = "paired bootstrap over queries against the first; p is not corrected for the number of comparisons"
        yield f"{protocol}: {caption}", columns, rows


def published_table(figures: list[Figure]) -> Table:
    """What papers report; a metric whose formula is not stated is said to be so."""
    rows = [[f.method, f.metric if f.stated else f"{f.metric} (formula not stated)", f"{f.value:.3f}"] for f in figures]
    return "published on this split", ["method", "metric", "value"], rows


def csv_text(reports: list[Report]) -> str:
    """Tidy CSV: a row for each report, protocol and metric."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ["split", "protocol", "model", "by", "center", "metric", "queries", "photos", "mean", "low", "high"]
    )
    for report in reports:
        about = [report.about.get(k) for k in ("model", "by", "center")]
        for part in report.protocols:
            size = [len(part.queries), f"{part.photos:.1f}"]
            for (name, value), interval in zip(part.means().items(), part.intervals.values(), strict=True):
                writer.writerow([report.split, part.protocol.name, *about, name, *size, value, *interval])
    return out.getvalue()


def print_tables(tables: Iterable[Table]) -> None:
    """Tables on stdout, as Markdown where it is no terminal."""
    if sys.stdout.isatty():
        _show(tables)
        return
    for caption, columns, rows in tables:
        print(f"\n{caption}\n\n| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
        for row in rows:
            print(f"| {' | '.join(row)} |")


def show(report: Report, per_class: bool) -> None:
    """The report as tables on stdout."""
    from rich.console import Console

    Console().print(_settings(report), style="dim", markup=False)
    _show(_tables(report, per_class))


def _show(tables: Iterable[Table]) -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    for caption, columns, rows in tables:
        table = RichTable(title=Text(caption), title_justify="left", title_style="bold", box=None)
        for i, column in enumerate(columns):
            table.add_column(column, justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(cell) for cell in row))
        console.print(table)


def write_json(report: Report, output: Path, overwrite: bool) -> None:
    """The whole report, every query in it."""
    data = (json.dumps(report.to_dict(queries=True), indent=1, ensure_ascii=False) + "\n").encode()
    if output.exists() and output.read_bytes() == data:
        return
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: already holds something else", "pass --overwrite, or another name with -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    with replacing(output) as (partial,):
        partial.write_bytes(data)
