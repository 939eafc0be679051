"""Text in pictures, in any script: each stretch of it in a font that has its characters, or escaped, never as boxes."""

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
SUFFIXES = (".ttf", ".otf", ".ttc", ".otc")
TRIED = 100  # fonts of the usual folders in which a character is looked for, where fontconfig does not tell
PROBE = 24  # pixels, at which glyphs are compared
MISSING = "\U0010fffe"  # no character, so that every font draws its box for it
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
    """A stretch of text in one font; file: None for Pillow's own. missing: a letter that is escaped in it, if any."""

    text: str
    file: Path | None
    missing: str = ""


@lru_cache(200)
def _load(file: Path | None, size: float) -> Font:
    return ImageFont.load_default(size) if file is None else ImageFont.truetype(file, size)


@lru_cache(10_000)
def _has(file: Path | None, character: str) -> bool:
    """Whether a font has a glyph for a character: one that does not look like its box for what it lacks."""
    try:
        font = _load(file, PROBE)
        glyph, box = font.getmask(character), font.getmask(MISSING)
    except (OSError, ValueError):  # no font, or one of pictures alone, which has few sizes
        return False
    if glyph.getbbox() is None:
        return character.isspace() or unicodedata.category(character) in ("Cf", "Mn", "Me")
    return glyph.size != box.size or bytes(glyph) != bytes(box)


def _folders() -> list[Path]:
    """Where Linux, macOS and Windows keep fonts, and their users' own."""
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
def _installed() -> list[Path]:
    """Font files of the usual folders, upright text fonts first."""
    found = dict[Path, None]()
    for folder in _folders():
        for root, _, names in os.walk(folder):
            found |= {Path(root, name): None for name in sorted(names) if name.lower().endswith(SUFFIXES)}
    return sorted(found, key=_strangeness)


def _strangeness(file: Path) -> int:
    """How far a font is from upright sans-serif, by its name."""
    name = file.name.lower()
    unusual = ("bold", "italic", "oblique", "light", "thin", "black", "condensed", "serif", "mono", "emoji", "narrow")
    return sum(word in name for word in unusual) - ("sans" in name) - ("regular" in name)


@lru_cache(1000)
def _listed(character: str) -> list[Path] | None:
    """What fontconfig lists for a character; None where it is not installed."""
    words = ["fc-list", f":charset={ord(character):x}:scalable=true", "--format", "%{file}\\n"]
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=10, errors="surrogateescape", check=False)
    except (OSError, subprocess.SubprocessError):
        return None
    return sorted({Path(line) for line in done.stdout.splitlines() if line}, key=lambda f: (_strangeness(f), f))


def _candidates(character: str) -> Iterator[Path | None]:
    yield None
    listed = _listed(character)
    yield from _installed()[:TRIED] if listed is None else listed


@lru_cache(10_000)
def _font_of(letter: str) -> Path | bool | None:
    """The file of a font that has a letter with its marks (None: Pillow's own), or False where there is none."""
    for file in _candidates(letter[0]):
        if all(_has(file, character) for character in letter):
            return file
    return False


def _letters(text: str) -> Iterator[str]:
    """Characters, each with the marks and joiners behind it."""
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
    """Whether a letter runs from right to left, or is written around its neighbours."""
    return any(unicodedata.bidirectional(c) in ("R", "AL", "AN") or unicodedata.category(c) == "Mc" for c in letter)


_told = set[str]()


def _tell(letter: str) -> None:
    """Say once of each cause why a letter is written as its code."""
    if _cannot_lay_out(letter):
        why, what = "raqm", f"this Pillow cannot lay out '{escape_for_terminal(letter)}', as it lacks raqm"
    else:
        why = _package(letter)
        fonts = f"a package like {why}" if sys.platform == "linux" else "one that covers its script"
        what = f"no font here has '{escape_for_terminal(letter)}'; install {fonts}"
    if why not in _told:
        _told.add(why)
        logger.log(NOTICE, f"{what}. Until then pictures show its code, {_escape(letter)}")


def _escape(letter: str) -> str:
    return "".join(ascii(character)[1:-1] for character in letter)


def _package(letter: str) -> str:
    code = ord(letter[0])
    return next((name for first, last, name in PACKAGES if first <= code <= last), "fonts-noto-core")


def _cannot_lay_out(letter: str) -> bool:
    return _needs_layout(letter) and not features.check("raqm")


@lru_cache(1000)
def _runs(text: str) -> tuple[Run, ...]:
    """The text in stretches of one font, what no font has escaped."""
    runs: list[Run] = []
    for letter in _letters(escape_for_terminal(text)):
        file: Path | bool | None
        if _cannot_lay_out(letter):
            file = False
        elif runs and all(_has(runs[-1].file, character) for character in letter):
            file = runs[-1].file  # a blank, or a letter of two scripts, does not end a stretch
        else:
            file = _font_of(letter)
        run = Run(_escape(letter), None, missing=letter) if isinstance(file, bool) else Run(letter, file)
        if runs and runs[-1].file == run.file:
            run = Run(runs[-1].text + run.text, run.file, runs[-1].missing or run.missing)
            runs.pop()
        runs.append(run)
    return tuple(runs)


def _direction(text: str) -> str | None:
    """`rtl` where the first letter runs from right to left, `ltr` where only a later one does; else None."""
    strong = [kind for kind in map(unicodedata.bidirectional, text) if kind in ("L", "R", "AL")]
    if not features.check("raqm") or not {"R", "AL"} & {*strong}:
        return None
    return "ltr" if strong[0] == "L" else "rtl"


def width_of(text: str, size: float) -> float:
    """Pixels that one line of text takes."""
    direction = _direction(text)
    return sum(
        _load(run.file, size).getlength(run.text, direction=direction if run.file else None) for run in _runs(text)
    )


def shortened(text: str, size: float, most: float) -> str:
    """The text, cut with an ellipsis where it is wider than `most` pixels."""
    if width_of(text, size) <= most:
        return text
    letters = list(_letters(text))
    low, high = 0, len(letters)  # the most letters that fit, by halving: names may be long
    while low < high:
        middle = (low + high + 1) // 2
        if width_of("".join(letters[:middle]) + ELLIPSIS, size) <= most:
            low = middle
        else:
            high = middle - 1
    return "".join(letters[:low]).rstrip() + ELLIPSIS


def draw_text(
    draw: ImageDraw.ImageDraw,
    x: float,
    y: float,
    text: str,
    colour: str,
    size: float,
    *,
    most: float | None = None,
    anchor: str = "ls",
    thick: float = 0,
) -> None:
    """Draw one line of text.

    Args:
        x, y: where the line begins, has its middle or ends, on its baseline, as the anchor says.
        size: of the font in pixels.
        most: cut the line with an ellipsis where it is wider than so many pixels.
        anchor: of Pillow: ls, ms or rs on the baseline, la at the top of the line.
        thick: pixels by which strokes are made wider, for bold text.
    """
    if most is not None:
        text = shortened(text, size, most)
    if anchor[0] != "l":
        x -= width_of(text, size) * (0.5 if anchor[0] == "m" else 1)
    if anchor[1] == "a":  # the first baseline of Pillow's own font: fonts of one line share it
        y += _ascent(size)
    runs = _runs(text)
    direction = _direction(text)
    for run in reversed(runs) if direction == "rtl" else runs:
        if run.missing:
            _tell(run.missing)
        font = _load(run.file, size)
        run_direction = direction if run.file else None  # Pillow lays out its own font letter by letter
        draw.text((x, y), run.text, colour, font, anchor="ls", stroke_width=thick, direction=run_direction)
        x += font.getlength(run.text, direction=run_direction)


@lru_cache(100)
def _ascent(size: float) -> float:
    font = _load(None, size)
    return font.getmetrics()[0] if isinstance(font, ImageFont.FreeTypeFont) else size
