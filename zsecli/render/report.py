"""An evaluation as text: Markdown, CSV, JSON, or tables on a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zsecli.errors import UsageError
from zsecli.evaluate.intervals import KIND, TEST, PairedTest
from zsecli.evaluate.report_model import Evaluation, ProtocolReport
from zsecli.render.markdown import escape_markdown, format_table
from zsecli.render.report_tables import describe_rankings, describe_verdicts, make_tables
from zsecli.runtime.console import escape_for_terminal, escape_json_line_breaks, escape_line_breaks
from zsecli.runtime.files import atomic_write
from zsecli.vocabulary import REPORT_FORMATS

CSV_COLUMNS = [
    "split",
    "protocol",
    "data",
    "model",
    "by",
    "shortlist",
    "ignore_same",
    "center",
    "ranking",
    "metric",
    "queries",
    "photos",
    "mean",
    "low",
    "high",
    "difference",
    "difference_low",
    "difference_high",
    "p",
    "cluster",
    "clusters",
    "interval_kind",
    "p_holm",
    "test",
    "source",
]
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")  # with which a spreadsheet computes a cell


def format_markdown(evaluation: Evaluation, per_class: bool) -> str:
    """The tables as Markdown."""
    lines = [escape_markdown(line) for line in describe_rankings(evaluation)]
    for table in make_tables(evaluation, per_class):
        lines += ["", *format_table(table)]
    return "\n".join(lines) + "\n"


def format_csv(evaluation: Evaluation) -> str:
    """Tidy CSV: a row for each ranking, protocol and metric, and for each published figure.

    Text that a spreadsheet would compute, as a data set's name `=1+1`, gets an apostrophe in front; control characters
    and line separators are escaped. low and high are empty where there is no interval.
    """
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_COLUMNS, lineterminator="\n")
    writer.writeheader()
    for row in [*_metric_rows(evaluation), *_published_rows(evaluation)]:
        writer.writerow({column: _escape_formula(value) for column, value in row.items()})
    return out.getvalue()


def _metric_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    """The means of every metric of every protocol of every ranking."""
    tests = {(c.protocol, c.metric): c.against_first for c in evaluation.comparisons}
    for number, ranking in enumerate(evaluation.reports):
        shared = {name: value for name, value in ranking.provenance.items() if name in CSV_COLUMNS}
        shared |= {"split": ranking.split, "ranking": ranking.ranking}
        for report in ranking.protocols:
            for row in _protocol_rows(report):
                against_first = tests.get((report.protocol.name, row["metric"]))
                if number and against_first:
                    row |= _test_columns(against_first[number - 1])
                yield shared | row


def _protocol_rows(report: ProtocolReport) -> Iterator[dict[str, Any]]:
    """The means of one protocol and their intervals."""
    for (name, value), interval in zip(report.mean_values().items(), report.intervals.values(), strict=True):
        low, high = interval or ("", "")
        yield {
            "protocol": report.protocol.name,
            "queries": len(report.queries),
            "photos": f"{report.photos_per_query:.1f}",
            "cluster": report.protocol.cluster,
            "clusters": len(set(report.clusters)),
            "interval_kind": KIND,
            "metric": name,
            "mean": value,
            "low": low,
            "high": high,
        }


def _test_columns(test: PairedTest) -> dict[str, Any]:
    return {
        "difference": test.difference,
        "difference_low": test.low,
        "difference_high": test.high,
        "p": test.p,
        "p_holm": test.p_holm,
        "test": TEST,
    }


def _published_rows(evaluation: Evaluation) -> Iterator[dict[str, Any]]:
    if evaluation.published is None:
        return
    queries, photos = evaluation.published.counts
    for figure in evaluation.published.figures:
        yield {
            "split": evaluation.reports[0].split,
            "protocol": "published",
            "queries": queries,
            "photos": photos,
            "model": figure.method,
            "metric": figure.name,
            "mean": figure.value,
            "source": figure.source,
        }


def _escape_formula(value: object) -> object:
    """Text as a cell that a spreadsheet does not compute; numbers as they are."""
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    text = escape_line_breaks(value)
    return f"'{text}" if value.startswith(FORMULA_STARTS) else text


def format_json(evaluation: Evaluation, with_queries: bool) -> str:
    """One JSON object: the first report, and `against`, `comparisons` and `published` where there are any.

    Args:
        with_queries: with every query's metrics, over several lines; without, it is one line.
    """
    first, *others = evaluation.reports
    document = first.to_dict(with_queries)
    if others:
        document["against"] = [other.to_dict(with_queries) for other in others]
        document["test"] = {
            "kind": TEST,
            "p_holm": "p corrected for the number of models compared with the first (Holm)",
            "seed": evaluation.seed,
        }
        document["comparisons"] = []
        for comparison in evaluation.comparisons:
            tests = [test._asdict() for test in comparison.against_first]
            document["comparisons"].append(asdict(comparison) | {"against_first": tests})
    if evaluation.published:
        document["published"] = asdict(evaluation.published)
    if evaluation.explanations:
        verdicts = describe_verdicts(evaluation.explanations)
        document["explanations"] = evaluation.explanations.to_dict() | {"verdicts": verdicts}
    text = json.dumps(document, ensure_ascii=False, indent=1 if with_queries else None)
    return escape_json_line_breaks(text) + "\n"


def json_report(evaluation: Evaluation, per_class: bool) -> str:
    """The JSON of a report file: every query is in it, and every class whatever `per_class` is."""
    return format_json(evaluation, with_queries=True)


def csv_report(evaluation: Evaluation, per_class: bool) -> str:
    """The CSV of a report file, which has no classes."""
    return format_csv(evaluation)


def print_tables(evaluation: Evaluation, per_class: bool) -> None:
    """The tables on a terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    for line in describe_rankings(evaluation):
        console.print(Text(escape_for_terminal(line)), style="dim")
    for caption, columns, rows in make_tables(evaluation, per_class):
        title = Text(escape_for_terminal(caption))
        table = RichTable(title=title, title_justify="left", title_style="bold", box=None)
        for number, column in enumerate(columns):
            table.add_column(Text(escape_for_terminal(column)), justify="right" if number else "left")
        for row in rows:
            table.add_row(*(Text(escape_for_terminal(cell)) for cell in row))
        console.print(table)


def check_report_path(output: Path) -> None:
    """UsageError where the name does not end with a known format."""
    if not output.suffix or output.suffix.removeprefix(".") not in REPORT_FORMATS:
        suffixes = ", ".join(f".{name}" for name in REPORT_FORMATS)
        raise UsageError(f"-o {output}: its name says no format", f"end it with {suffixes}")


def write_report(evaluation: Evaluation, output: Path, per_class: bool, overwrite: bool) -> None:
    """Write the evaluation in the format that the name of `output` says; in JSON with every query.

    Raises:
        UsageError: the name says no format, or the file holds something else and `overwrite` is not set.
    """
    check_report_path(output)
    format_report: Callable[[Evaluation, bool], str] = REPORT_FORMATS.load(output.suffix.removeprefix("."))
    text = format_report(evaluation, per_class)
    if output.exists():
        if output.read_bytes() == text.encode():
            return
        if not overwrite:
            raise UsageError(f"{output}: already holds something else", "pass --overwrite, or another name with -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        partial.write_bytes(text.encode())
