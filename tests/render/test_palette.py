"""The palette: the one place of the colours of figures, sheets and curves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from zsecli import render
from zsecli.render import palette

HEX_COLOUR = re.compile(r"""["'](#[0-9a-fA-F]{3}(?:[0-9a-fA-F]{3})?)["']""")


@pytest.mark.fast
def test_no_other_module_of_render_names_a_colour() -> None:
    for path in Path(str(render.__file__)).parent.glob("*.py"):
        if path.name != "palette.py":
            assert not HEX_COLOUR.findall(path.read_text("utf-8")), path.name


@pytest.mark.fast
def test_series_have_distinct_colours() -> None:
    for colours in (palette.SERIES, palette.HEADS, palette.PAGE_HEADS, palette.RANKS):
        assert len(set(colours)) == len(colours)


@pytest.mark.fast
def test_hits_and_misses_have_the_colours_of_the_page() -> None:
    page = Path(str(render.__file__)).with_name("explanation_page.html").read_text("utf-8")
    assert palette.BLUE in page and palette.ORANGE in page
