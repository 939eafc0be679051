"""Text and tables as Markdown, in which no name becomes markup."""

from __future__ import annotations

import re

from zsecli.evaluate.report_model import Table
from zsecli.runtime.console import escape_for_terminal

# addresses, domains, :emoji:, @people and #numbers, which some programs turn into links without any markup
_IMPLICIT_LINK = re.compile(
    r"www\.|[a-z][a-z0-9+.-]*://|(mailto|xmpp):|[^\s.]\.[^\W\d_]{2,}|\w@\w[\w-]*\.\w"
    r"|:[\w+-]+:|(?<!\w)[@#]\w",
    re.IGNORECASE,
)
# characters with a meaning in Markdown; an underscore within a word has none
_MARKUP = re.compile(r"[\\|`\[*$~]|<(?=[a-zA-Z/!?])|&(?=[#a-zA-Z])|(?<![^\W_])_|_(?![^\W_])")


def format_table(table: Table) -> list[str]:
    """The lines of a table below its caption."""
    caption, columns, rows = table
    lines = [escape_markdown(caption), "", _format_row(columns), f"|{'---|' * len(columns)}"]
    lines += [_format_row(row) for row in rows]
    return lines


def _format_row(cells: list[str]) -> str:
    return "| " + " | ".join(escape_markdown(cell, in_table=True) for cell in cells) + " |"


def escape_markdown(text: str, in_table: bool = False) -> str:
    r"""Text that Markdown shows as it is: a class's name becomes no link, no HTML element, no cell, no emphasis.

    Words that some programs turn into a link (or a picture, or a person) without any markup are written as code.

    >>> escape_markdown("www.example.org, *a* and a_b")
    '`www.example.org,` \\*a\\* and a_b'
    """
    escaped = []
    for word in re.split(r"(\s+)", escape_for_terminal(text)):
        if _IMPLICIT_LINK.search(word):
            escaped.append(_format_code(word, in_table))
        else:
            escaped.append(_MARKUP.sub(r"\\\g<0>", word))
    return "".join(escaped)


def _format_code(word: str, in_table: bool) -> str:
    """The word as code, between more backticks than it has in a row."""
    longest_run = max((len(run) for run in re.findall("`+", word)), default=0)
    ticks = "`" * (longest_run + 1)
    padding = " " if word.startswith("`") or word.endswith("`") else ""
    if in_table:  # a table is split into cells before code is recognised
        word = word.replace("|", "\\|")
    return f"{ticks}{padding}{word}{padding}{ticks}"
