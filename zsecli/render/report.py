"""What an evaluation found, as tables for people, as Markdown, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from zsecli.errors import UsageError
from zsecli.evaluate.intervals import FEWEST, KIND, TEST, Interval
from zsecli.evaluate.published import Published
from zsecli.evaluate.report_model import Comparison, Evaluation, ProtocolReport, Table
from zsecli.runtime.console import escape_for_terminal, escape_json_line_breaks, escape_line_breaks
from zsecli.runtime.files import atomic_write
from zsecli.vocabulary import REPORT_FORMATS

# addresses, domains, :emoji:, @people and #numbers, which are links without a sign of Markdown
_BY_ITSELF = re.compile(
    r"www\.|[a-z][a-z0-9+.-]*://|(mailto|xmpp):|[^\s.]\.[^\W\d_]{2,}|\w@\w[\w-]*\.\w"
    r"|:[\w+-]+:|(?<!\w)[@#]\w",
    re.IGNORECASE,
)
# signs of Markdown; an underscore within a word is none
_SIGNS = re.compile(r"[\\|`\[*$~]|<(?=[a-zA-Z/!?])|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])")


def settings(evaluation: Evaluation) -> list[str]:
    """A line for each report: how the ranking was made, and how much of it is undecided."""
    lines = []
    for report in evaluation.reports:
        about = ", ".join(
            f"{k} {v}"
            for k, v in report.provenance.items()
            if v not in (None, False, "", "fp32") and (k != "shortlist" or report.provenance.get("by") == "cascade")
        )
        lines.append(f"{about}; {report.tied_entries} of {report.entries} compared entries tie with a neighbour")
        lines += report.notes
    if evaluation.explanations:
        lines += [f"explanations by {line}" for line in evaluation.explanations.verdicts()]
    return lines


def tables(evaluation: Evaluation, per_class: bool) -> Iterator[Table]:
    """A table a protocol, its classes where asked for, and the published figures."""
    first, titles = evaluation.reports[0], evaluation.ranking_titles()
    for number, part in enumerate(first.protocols):
        parts = [report.protocols[number] for report in evaluation.reports]
        if not all(each.per_query for each in parts):  # a note says why
            continue
        if len(titles) == 1:
            rows = [
                [name, f"{value:.4f}", _bounds(interval, ".4f")]
                for (name, value), interval in zip(part.mean_values().items(), part.intervals.values(), strict=True)
            ]
            yield f"{_caption(parts)}; {_intervals_of(part)}", ["metric", "mean", "95 % interval"], rows
        else:
            yield _compared(parts, titles, evaluation.comparisons)
        if per_class:
            yield _by_class(parts, titles)
    if evaluation.published:
        yield _published(evaluation.published, first.protocols[0])
    if evaluation.explanations:
        yield from evaluation.explanations.tables()


def _caption(parts: list[ProtocolReport]) -> str:
    part = parts[0]
    text = f"{part.protocol.name} ({part.protocol.title}): {len(part.queries)} queries, "
    text += f"{part.photos_per_query:.1f} photos a query"
    if part.queries_without_relevant:
        text += f"; {part.queries_without_relevant} queries without a relevant photo left out"
    if short := list(dict.fromkeys(name for each in parts for name in each.omitted_metrics)):
        text += f"; {'the' if len(parts) == 1 else 'a'} ranking is too short for {', '.join(short)}"
    if part.all_photos_relevant:
        text += "; every photo is relevant, so any ranking is perfect"
    return text


def _groups(part: ProtocolReport) -> str:
    """`26 classes`, say: what intervals and tests took for drawn at random."""
    count = len({*part.clusters})
    plural = {"class": "classes", "object": "objects"}[part.protocol.cluster]
    return f"{count} {plural}" if count > 1 else f"one {part.protocol.cluster}"


def _intervals_of(part: ProtocolReport) -> str:
    """What the intervals are."""
    if len({*part.clusters}) < FEWEST:
        return f"no interval, as {_groups(part)} alone does not show how much they differ"
    return f"95 % intervals over {_groups(part)}: {KIND}"


def _bounds(interval: Interval | None, form: str) -> str:
    return f"{interval.low:{form}} to {interval.high:{form}}" if interval else "none"


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else f"{value:.3f}"


def _compared(parts: list[ProtocolReport], titles: list[str], comparisons: list[Comparison]) -> Table:
    """Each further model beside the first; p is corrected (Holm) where there are several."""
    several = len(titles) > 2
    columns = ["metric", titles[0]]
    for title in titles[1:]:
        columns += [title, "difference", "95 % interval", *(["p", "p (Holm)"] if several else ["p"])]
    rows = []
    for c in (c for c in comparisons if c.protocol == parts[0].protocol.name):
        row = [c.metric, f"{c.means[0]:.4f}"]
        for value, test in zip(c.means[1:], c.against_first, strict=True):
            interval = Interval(test.low, test.high) if test.low is not None and test.high is not None else None
            row += [f"{value:.4f}", f"{test.difference:+.4f}", _bounds(interval, "+.4f"), _p(test.p)]
            if several:
                row.append(_p(test.p_holm))
        rows.append(row)
    text = f"{_caption(parts)}; differences from the first: {_intervals_of(parts[0])}; p by {TEST}"
    return text, columns, rows


def _by_class(parts: list[ProtocolReport], titles: list[str]) -> Table:
    """Every metric of one model; of several the first metric that all have."""
    classes = [part.class_means() for part in parts]
    names = list(parts[0].mean_values())
    if len(parts) > 1:
        names = [name for name in names if all(name in part.mean_values() for part in parts)][:1]
    rows = [
        [c, f"{own['queries']:.0f}", *(f"{each[c][name]:.4f}" for name in names for each in classes)]
        for c, own in classes[0].items()
    ]
    caption, columns = f"{parts[0].protocol.name} by class", names
    if len(parts) > 1:
        caption, columns = f"{caption}: {names[0]}", titles
    return caption, ["class", "queries", *columns], rows


def _published(published: Published, part: ProtocolReport) -> Table:
    """Beside each figure the same metric here; a paper's word that names no formula has no equal."""
    means = part.mean_values()
    rows = [
        [
            f.method,
            f.name,
            f"{f.value:.3f}",
            f"{means[f.metric]:.3f}" if f.metric in means else "",
            f.source,
        ]
        for f in published.figures
    ]
    sketches, photos = published.counts
    text = f"published on {published.name}: {sketches} queries, {photos} photos"
    if (len(part.queries) + part.queries_without_relevant, part.photos_per_query) != published.counts:
        text += f"; NOT those of this evaluation, {len(part.queries)} and {part.photos_per_query:.1f}"
    return text, ["method", "metric", "published", "here", "source"], rows


def markdown(evaluation: Evaluation, per_class: bool) -> str:
    """The tables as Markdown."""
    lines = [_plain_markdown(line) for line in settings(evaluation)]
    for caption, columns, rows in tables(evaluation, per_class):
        lines += ["", _plain_markdown(caption), "", _row(columns), f"|{'---|' * len(columns)}", *map(_row, rows)]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(_plain_markdown(cell, in_table=True) for cell in cells) + " |"


def _plain_markdown(text: str, in_table: bool = False) -> str:
    r"""Text that Markdown shows as it is: a class's name makes no link, no element of HTML, no cell, no emphasis.

    What some programs make a link (or a picture, or a person) of without any sign of Markdown stands as code.

    >>> _plain_markdown("www.example.org, *a* and a_b")
    '`www.example.org,` \\*a\\* and a_b'
    """
    words = re.split(r"(\s+)", escape_for_terminal(text))
    return "".join(_code(word, in_table) if _BY_ITSELF.search(word) else _SIGNS.sub(r"\\\g<0>", word) for word in words)


def _code(word: str, in_table: bool) -> str:
    """Code that shows `word`: between more backticks than it has in a row. A table splits cells before it sees code."""
    ticks = "`" * (1 + max((len(run) for run in re.findall("`+", word)), default=0))
    padding = " " if word.startswith("`") or word.endswith("`") else ""
    word = word.replace("|", "\\|") if in_table else word
    return f"{ticks}{padding}{word}{padding}{ticks}"


def csv_text(evaluation: Evaluation) -> str:
    """Tidy CSV: a row for each report, protocol and metric, and for each published figure.

    Text that a spreadsheet would compute, as a data set's name `=1+1`, gets an apostrophe in front; control characters
    and line separators are escaped. low and high are empty where there is no interval.
    """
    columns = "split protocol data model by shortlist ignore_same center ranking metric queries photos mean low high "
    columns += "difference difference_low difference_high p cluster clusters interval_kind p_holm test source"
    out = io.StringIO()
    writer = csv.DictWriter(out, columns.split(), lineterminator="\n")
    writer.writeheader()
    tests = {(c.protocol, c.metric): c.against_first for c in evaluation.comparisons}
    for number, report in enumerate(evaluation.reports):
        about = {k: v for k, v in report.provenance.items() if k in columns.split()}
        about |= {"split": report.split, "ranking": report.ranking}
        for part in report.protocols:
            about |= {
                "protocol": part.protocol.name,
                "queries": len(part.queries),
                "photos": f"{part.photos_per_query:.1f}",
            }
            about |= {"cluster": part.protocol.cluster, "clusters": len({*part.clusters}), "interval_kind": KIND}
            for (name, value), interval in zip(part.mean_values().items(), part.intervals.values(), strict=True):
                low, high = interval or ("", "")
                row = about | {"metric": name, "mean": value, "low": low, "high": high}
                if number and (test := tests.get((part.protocol.name, name))):
                    difference, below, above, p, p_holm = test[number - 1]
                    row |= {"difference": difference, "difference_low": below, "difference_high": above, "p": p}
                    row |= {"p_holm": p_holm, "test": TEST}
                writer.writerow({k: _no_formula(v) for k, v in row.items()})
    if evaluation.published:
        queries, photos = evaluation.published.counts
        for f in evaluation.published.figures:
            about = {"split": evaluation.reports[0].split, "protocol": "published", "queries": queries}
            about |= {"photos": photos, "model": f.method, "metric": f.name, "mean": f.value, "source": f.source}
            writer.writerow({k: _no_formula(v) for k, v in about.items()})
    return out.getvalue()


def _no_formula(value: object) -> object:
    if isinstance(value, Path):
        value = str(value)
    if not isinstance(value, str):
        return value
    text = escape_line_breaks(value)
    return f"'{text}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def json_text(evaluation: Evaluation, queries: bool) -> str:
    """One JSON object: the first report, and `against`, `comparisons` and `published` where there are any.

    Args:
        queries: with every query's metrics, over several lines; without, it is one line.
    """
    first, *others = evaluation.reports
    said = first.to_dict(queries)
    if others:
        said["against"] = [other.to_dict(queries) for other in others]
        said["test"] = {
            "kind": TEST,
            "p_holm": "p corrected for the number of models compared with the first (Holm)",
            "seed": evaluation.seed,
        }
        said["comparisons"] = [
            asdict(c) | {"against_first": [test._asdict() for test in c.against_first]} for c in evaluation.comparisons
        ]
    if evaluation.published:
        said["published"] = asdict(evaluation.published)
    if evaluation.explanations:
        said["explanations"] = evaluation.explanations.to_dict()
    return escape_json_line_breaks(json.dumps(said, ensure_ascii=False, indent=1 if queries else None)) + "\n"


def format_json(evaluation: Evaluation, per_class: bool) -> str:
    """The JSON of a report file: every query is in it, and every class whatever `per_class` is."""
    return json_text(evaluation, queries=True)


def format_csv(evaluation: Evaluation, per_class: bool) -> str:
    """The CSV of a report file, which has no classes."""
    return csv_text(evaluation)


def show(evaluation: Evaluation, per_class: bool) -> None:
    """The tables on a terminal."""
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    console = Console()
    for line in settings(evaluation):
        console.print(Text(escape_for_terminal(line)), style="dim")
    for caption, columns, rows in tables(evaluation, per_class):
        table = RichTable(title=Text(escape_for_terminal(caption)), title_justify="left", title_style="bold", box=None)
        for i, column in enumerate(columns):
            table.add_column(Text(escape_for_terminal(column)), justify="right" if i else "left")
        for row in rows:
            table.add_row(*(Text(escape_for_terminal(cell)) for cell in row))
        console.print(table)


def check_suffix(output: Path) -> None:
    """UsageError where the name says no format."""
    if output.suffix.removeprefix(".") not in REPORT_FORMATS or not output.suffix:
        suffixes = ", ".join(f".{name}" for name in REPORT_FORMATS)
        raise UsageError(f"-o {output}: its name says no format", f"end it with {suffixes}")


def write(evaluation: Evaluation, output: Path, per_class: bool, overwrite: bool) -> None:
    """The evaluation in the format that the name of `output` says; in JSON every query is in it.

    Raises:
        UsageError: the name says no format, or the file holds something else and `overwrite` is not set.
    """
    check_suffix(output)
    text: str = REPORT_FORMATS.load(output.suffix.removeprefix("."))(evaluation, per_class)
    if output.exists() and output.read_bytes() == text.encode():
        return
    if output.exists() and not overwrite:
        raise UsageError(f"{output}: already holds something else", "pass --overwrite, or another name with -o")
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(output) as (partial,):
        partial.write_bytes(text.encode())
