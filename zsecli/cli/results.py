"""How a command ends: the path on stdout, what was skipped on stderr, the exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from zsecli.errors import SKIPPED
from zsecli.runtime import console
from zsecli.runtime.distributed import started_by_torchrun

if TYPE_CHECKING:
    from zsecli.data.dataset import Dataset


def finish(
    path: Path, fresh: bool, skipped: list[tuple[str, str]], as_json: bool, hint: str = "", **more: object
) -> None:
    """Print the finished store's path, or all that is known of the run as JSON; exit 4 where inputs were skipped."""
    if as_json:
        print(json.dumps({"path": str(path), "fresh": fresh, "skipped": [list(pair) for pair in skipped], **more}))
    else:
        print(console.escape_for_stdout(str(path)))
    end(skipped, hint)


def print_lines(lines: list[str]) -> None:
    """Print what was asked for beside the result, such as the plan of a dry run, on stderr."""
    for line in lines:
        console.print_plan(line)


def end(skipped: list[tuple[str, str]], hint: str = "") -> None:
    """List what was skipped and exit 4, or suggest the next step."""
    if skipped:
        console.print_skipped(skipped)
        if started_by_torchrun():
            return  # to torchrun all but 0 is a failure, of which it makes a page
        raise typer.Exit(SKIPPED)
    if hint:
        console.print_info(f"next: {hint}")


def show_report(dataset: Dataset) -> None:
    """What `prepare` found, as a table on stderr."""
    from rich.console import Console
    from rich.table import Column, Table
    from rich.text import Text

    from zsecli.data.splits import count_splits

    items, report = dataset.items, dataset.report
    rows = {
        "root": str(dataset.root),
        **report["layout"],
        "sketches": (items.modality == 0).sum(),
        "photos": (items.modality == 1).sum(),
        "classes": len(items.label.names),
        "instances": len(items.instance.names),
        "unreadable or out of place": len(report["skipped"]),
        "files that are no pictures": report["not_pictures"],
        "sketched instances without photo": report["sketched_instances_without_photo"],
        **{f"passed over: {reason}": count for reason, count in report.get("passed_over", {}).items()},
        **{f"flag {name}": f"{count}, kept" for name, count in report["flags"].items()},
        **{f"flag {name}": f"{count}, dropped" for name, count in report["dropped"].items()},
        **{f"split {c.split.name}": c for c in count_splits(dataset)},
    }
    table = Table("", Column(Text(console.escape_for_terminal(dataset.name))), box=None)
    for name, value in rows.items():
        table.add_row(Text(console.escape_for_terminal(name)), Text(console.escape_for_terminal(str(value))))
    Console(stderr=True).print(table)
