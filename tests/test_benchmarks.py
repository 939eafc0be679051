"""The pages of docs/ have a place for every table that a benchmark prints."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lib.tables import fill_blocks, find_blocks

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[1]
FAULTS = sorted((ROOT / "tests" / "faults").glob("*.py"))
BENCHMARKS = sorted((ROOT / "benchmarks").glob("*.py"))
PROGRAMS = [path for path in BENCHMARKS + FAULTS if 'block("' in path.read_text("utf-8")]


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_the_page_has_every_block_of_a_program(program: Path) -> None:
    text = program.read_text("utf-8")
    named = re.search(r"docs/\w+\.md", text)
    page = "docs/reliability.md" if program in FAULTS else named and named[0]
    assert page
    printed = set(re.findall(r'\bblock\("([\w-]+)"\)', text))
    assert printed <= find_blocks((ROOT / page).read_text("utf-8")).keys()


def test_filling_replaces_blocks_alone() -> None:
    page = "before\n<!-- a: begin -->\n\nold\n\n<!-- a: end -->\nbetween\n<!-- b: begin -->\n<!-- b: end -->\nafter\n"
    printed = "<!-- a: begin -->\n\nnew\n\n<!-- a: end -->\n"
    assert fill_blocks(page, find_blocks(f"noise\n{printed}")) == page.replace("old", "new")
    with pytest.raises(ValueError, match="no block c"):
        fill_blocks(page, find_blocks(printed.replace("a:", "c:")))
