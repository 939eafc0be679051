"""Text in pictures, in any script: each run in a font that has its characters, or escaped, never as boxes."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from PIL import ImageDraw, ImageFont, features

from zsecli.runtime.console import escape_for_terminal
from zsecli.runtime.log_levels import NOTICE

logger = logging.getLogger(__name__)

Font = ImageFont.ImageFont | ImageFont.FreeTypeFont
FONT_SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
MAX_TRIED_FONTS = 100  # of the usual folders, for one character, where there is no fontconfig
PROBE_SIZE = 24  # pixels at which glyphs are compared
NONCHARACTER = "\U0010fffe"  # every font draws its box for missing glyphs
ELLIPSIS = "…"
# first and last code point -> the package of Debian and Ubuntu whose fonts have these characters
PACKAGES = (
    (0x2E80, 0x9FFF, "fonts-noto-cjk"),
    (0xAC00, 0xD7FF, "fonts-noto-cjk"),
    (0xF900, 0xFAFF, "fonts-noto-cjk"),
    (0xFF00, 0xFFEF, "fonts-noto-cjk"),
    (0x20000, 0x3FFFF, "fonts-noto-cjk"),
    (0x2190, 0x2BFF, "fonts-symbola"),
    (0x1F000, 0x1FAFF, "fonts-symbola"),
)


@dataclass(frozen=True)
class Run:
    """A stretch of text in one font."""

    text: str
    file: Path | None
    """The font; None for Pillow's own."""
    escaped_letter: str = ""
    """A letter that no font has and that is escaped in `text`, if any."""


@lru_cache(200)
def _load_font(file: Path | None, size: float) -> Font:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


@lru_cache(10_000)
def _has_glyph(file: Path | None, character: str) -> bool:
    """Whether a font has a glyph for a character: one that differs from its box for missing glyphs."""
    try:
        font = _load_font(file, PROBE_SIZE)
        glyph = font.getmask(character)
        box = font.getmask(NONCHARACTER)
    except (OSError, ValueError):  # not a font, or a bitmap font, which has few sizes
        return False
    if glyph.getbbox() is None:
        return character.isspace() or unicodedata.category(character) in ("Cf", "Mn", "Me")
    return glyph.size != box.size or bytes(glyph) != bytes(box)


def _font_folders() -> list[Path]:
    """Font folders of Linux, macOS and Windows, the user's own first."""
    home = Path.home()
    shared = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [home / ".fonts", Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share") / "fonts"]
    folders += [Path(folder) / "fonts" for folder in shared.split(":") if folder]
    folders += [home / "Library" / "Fonts", Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    for variable, below in (("WINDIR", "Fonts"), ("LOCALAPPDATA", "Microsoft/Windows/Fonts")):
        if root := os.environ.get(variable):
            folders.append(Path(root) / below)
    return folders


@lru_cache(1)
def _list_installed() -> list[Path]:
    """Font files of the usual folders, upright text fonts first."""
    fonts: dict[Path, None] = {}  # a set that keeps its order
    for folder in _font_folders():
        for root, _, names in os.walk(folder):
            for name in sorted(names):
                if name.lower().endswith(FONT_SUFFIXES):
                    fonts[Path(root, name)] = None
    return sorted(fonts, key=_rate_style)


def _rate_style(file: Path) -> int:
    """How far a font is from upright sans-serif, judged by its name; lower is closer."""
    name = file.name.lower()
    unusual = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "serif", "mono", "emoji", "narrow")
    rating = sum(word in name for word in unusual)
    if "sans" in name:
        rating -= 1
    if "regular" in name:
        rating -= 1
    return rating


@lru_cache(1000)
def _list_by_fontconfig(character: str) -> list[Path] | None:
    """Fonts that fontconfig lists for a character; None where it is not installed."""
    command = ["fc-list", f":charset={ord(character):x}:scalable=true", "--format", "%{file}\\n"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=10, errors="surrogateescape", check=False
        )
    except (OSError, subprocess.SubprocessError):
        return None
    files = {Path(line) for line in done.stdout.splitlines() if line}
    return sorted(files, key=lambda file: (_rate_style(file), file))


def _candidate_fonts(character: str) -> Iterator[Path | None]:
    """Fonts that may have a character, Pillow's own (None) first."""
    yield None
    listed = _list_by_fontconfig(character)
    if listed is None:
        listed = _list_installed()[:MAX_TRIED_FONTS]
    yield from listed


@lru_cache(10_000)
def _find_font(letter: str) -> Path | bool | None:
    """The file of a font that has a letter with its marks (None: Pillow's own), or False where there is none."""
    for file in _candidate_fonts(letter[0]):
        if all(_has_glyph(file, character) for character in letter):
            return file
    return False


def _split_letters(text: str) -> Iterator[str]:
    """Characters, each with the marks and joiners that follow it."""
    letter = ""
    for character in text:
        if letter and unicodedata.category(character) in ("Mn", "Mc", "Me", "Cf"):
            letter += character
        else:
            if letter:
                yield letter
            letter = character
    if letter:
        yield letter


def _needs_layout(letter: str) -> bool:
    """Whether a letter runs from right to left, or is placed around its neighbours."""
    for character in letter:
        if unicodedata.bidirectional(character) in ("R", "AL", "AN") or unicodedata.category(character) == "Mc":
            return True
    return False


_reported_causes = set[str]()


def _report_escaped(letter: str) -> None:
    """Log why a letter is written as its code, once for each cause."""
    if _cannot_lay_out(letter):
        cause = "raqm"
        message = f"this Pillow cannot lay out '{escape_for_terminal(letter)}', as it lacks raqm"
    else:
        cause = _package_for(letter)
        fonts = f"a package like {cause}" if sys.platform == "linux" else "one that covers its script"
        message = f"no font here has '{escape_for_terminal(letter)}'; install {fonts}"
    if cause not in _reported_causes:
        _reported_causes.add(cause)
        logger.log(NOTICE, f"{message}. Until then pictures show its code, {_escape(letter)}")


def _escape(letter: str) -> str:
    return "".join(ascii(character)[1:-1] for character in letter)


def _package_for(letter: str) -> str:
    code = ord(letter[0])
    return next((name for first, last, name in PACKAGES if first <= code <= last), "fonts-noto-core")


def _cannot_lay_out(letter: str) -> bool:
    return _needs_layout(letter) and not features.check("raqm")


@lru_cache(1000)
def _split_runs(text: str) -> tuple[Run, ...]:
    """The text in runs of one font; letters that no font has are escaped."""
    runs: list[Run] = []
    for letter in _split_letters(escape_for_terminal(text)):
        file: Path | bool | None
        if _cannot_lay_out(letter):
            file = False
        elif runs and all(_has_glyph(runs[-1].file, character) for character in letter):
            file = runs[-1].file  # a blank, or a letter of two scripts, does not end a run
        else:
            file = _find_font(letter)
        run = Run(_escape(letter), None, escaped_letter=letter) if isinstance(file, bool) else Run(letter, file)
        if runs and runs[-1].file == run.file:
            previous = runs.pop()
            run = Run(previous.text + run.text, run.file, previous.escaped_letter or run.escaped_letter)
        runs.append(run)
    return tuple(runs)


def _direction(text: str) -> str | None:
    """`rtl` where the first letter runs from right to left, `ltr` where only a later one does; else None."""
    strong = [kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")]
    has_right_to_left = "R" in strong or "AL" in strong
    if not has_right_to_left or not features.check("raqm"):
        return None
    return "ltr" if strong[0] == "L" else "rtl"


def text_width(text: str, size: float) -> float:
    """Width of one line of text in pixels."""
    direction = _direction(text)
    width = 0.0
    for run in _split_runs(text):
        run_direction = direction if run.file else None
        width += _load_font(run.file, size).getlength(run.text, direction=run_direction)
    return width


def shorten_to_width(text: str, size: float, max_width: float) -> str:
    """The text, cut with an ellipsis where it is wider than `max_width` pixels."""
    if text_width(text, size) <= max_width:
        return text
    letters = list(_split_letters(text))
    fitting, limit = 0, len(letters)  # by bisection: names may be long
    while fitting < limit:
        middle = (fitting + limit + 1) // 2
        if text_width("".join(letters[:middle]) + ELLIPSIS, size) <= max_width:
            fitting = middle
        else:
            limit = middle - 1
    return "".join(letters[:fitting]).rstrip() + ELLIPSIS


def draw_text(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    colour: str,
    size: float,
    *,
    max_width: float | None = None,
    anchor: str = "ls",
    stroke: float = 0,
) -> None:
    """Draw one line of text.

    Args:
        x, y: the point of the line that the anchor names.
        size: of the font in pixels.
        max_width: shorten the line with an ellipsis where it is wider than so many pixels.
        anchor: as in Pillow: ls, ms or rs for left, middle or right on the baseline; la for the top left.
        stroke: pixels by which strokes are widened, for bold text.
    """
    if max_width is not None:
        text = shorten_to_width(text, size, max_width)
    if anchor[0] == "m":
        x -= text_width(text, size) * 0.5
    elif anchor[0] == "r":
        x -= text_width(text, size)
    if anchor[1] == "a":  # fonts of one line share the baseline of Pillow's own font
        y += _ascent(size)
    runs = _split_runs(text)
    direction = _direction(text)
    for run in reversed(runs) if direction == "rtl" else runs:
        if run.escaped_letter:
            _report_escaped(run.escaped_letter)
        font = _load_font(run.file, size)
        run_direction = direction if run.file else None  # Pillow lays out its own font letter by letter
        draw.text((x, y), run.text, colour, font, anchor="ls", stroke_width=stroke, direction=run_direction)
        x += font.getlength(run.text, direction=run_direction)


@lru_cache(100)
def _ascent(size: float) -> float:
    font = _load_font(None, size)
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else size
