"""Tables for the pages in docs/. A program prints blocks of tables; what they mean is written in the page, by people.

In a page a block stands between two marks, `<!-- NAME: begin -->` and `<!-- NAME: end -->`. A program prints its
blocks with the same marks, and `python benchmarks/fill.py PAGE OUTPUT` puts them where they belong.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from importlib.metadata import version

from lib.machine import describe_machine

BLOCK = re.compile(r"<!-- (?P<name>[\w-]+): begin -->\n.*?<!-- (?P=name): end -->\n", re.DOTALL)


@contextmanager
def block(name: str) -> Iterator[None]:
    """What is printed inside is the block `name`."""
    print(f"<!-- {name}: begin -->\n", flush=True)
    yield
    print(f"\n<!-- {name}: end -->", flush=True)


def print_conditions(*facts: str) -> None:
    """The line above a table: when and where it was measured."""
    conditions = [str(date.today()), describe_machine(), f"PyTorch {version('torch')}", *facts]
    print(f"*{'; '.join(conditions)}*\n")


def print_header(*titles: str) -> None:
    print_row(*titles)
    print(f"|{'---|' * len(titles)}")


def print_row(*cells: object) -> None:
    print(f"| {' | '.join(map(str, cells))} |", flush=True)


def find_blocks(text: str) -> dict[str, str]:
    """The blocks of a page or of a program's output, with their marks, by name."""
    return {match["name"]: match[0] for match in BLOCK.finditer(text)}


def fill_blocks(page: str, blocks: dict[str, str]) -> str:
    """The page with the blocks in place of those of their names.

    Raises:
        ValueError: the page has no such block.
    """
    if unknown := blocks.keys() - find_blocks(page).keys():
        raise ValueError(f"the page has no block {', '.join(sorted(unknown))}")
    return BLOCK.sub(lambda match: blocks.get(match["name"], match[0]), page)
