"""How a command ends: the path on stdout, what was skipped on stderr, the exit code."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from zsecli import console
from zsecli.errors import SKIPPED


def finish(path: Path, fresh: bool, skipped: list[tuple[str, str]], as_json: bool, hint: str = "") -> None:
    """Print the finished store's path, or all that is known of the run as JSON; exit 4 where inputs were skipped."""
    if as_json:
        print(json.dumps({"path": str(path), "fresh": fresh, "skipped": [list(pair) for pair in skipped]}))
    else:
        print(path)
    end(skipped, hint)


def end(skipped: list[tuple[str, str]], hint: str = "") -> None:
    """List what was skipped and exit 4, or suggest the next step."""
    if skipped:
        console.skipped(skipped)
        raise typer.Exit(SKIPPED)
    if hint:
        console.note(f"next: {hint}")
