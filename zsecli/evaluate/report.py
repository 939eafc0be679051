"""A report as a table for people, as Markdown, or as a JSON file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from zsecli.errors import UsageError
from zsecli.evaluate.evaluate import ProtocolReport, Report
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


def show(report: Report, per_class: bool) -> None:
    """The report as tables on stdout."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    console.print(_settings(report), style="dim", markup=False)
    for caption, columns, rows in _tables(report, per_class):
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
