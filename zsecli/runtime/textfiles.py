"""Text that people give, whatever program saved it: lists, tables, configurations."""

from __future__ import annotations

import codecs
from pathlib import Path

# UTF-32's little-endian mark begins with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decode_text(data: bytes, errors: str = "strict") -> str:
    r"""Text in UTF-8, or in UTF-16 or UTF-32 as Windows programs save it; a byte order mark is no part of it.

    Without a mark, UTF-16 is known by zero bytes that are every second one.

    Args:
        errors: what to do with bytes that are not in the encoding, as of `bytes.decode`.

    Raises:
        UnicodeDecodeError: it is in another encoding, and `errors` is "strict".

    >>> [decode_text("café\n".encode(name)) for name in ("utf-8-sig", "utf-16", "utf-16-be")]
    ['café\n', 'café\n', 'café\n']
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding, errors)
    return data.decode(_encoding_without_mark(data), errors)


def read_text(file: Path, errors: str = "strict") -> str:
    """The text in `file`, its line ends as they are; see `decode_text`."""
    return decode_text(file.read_bytes(), errors)


def read_lines(file: Path, errors: str = "strict") -> list[str]:
    """The lines of a text file, without their ends; see `decode_text`."""
    text = read_text(file, errors).replace("\r\n", "\n").replace("\r", "\n")
    return text.removesuffix("\n").split("\n") if text else []


def _encoding_without_mark(data: bytes) -> str:
    """`utf-16-le` or `utf-16-be` for what cannot be anything else, `utf-8` for all other bytes.

    Zero bytes also end the names in the list of `find -print0`, so they must be most of the odd or the even bytes; or
    the bytes are no UTF-8, and make lines of text in UTF-16.
    """
    if b"\0" not in data or len(data) % 2:
        return "utf-8"
    even, odd = data[::2].count(0), data[1::2].count(0)
    for encoding, zeros, others in (("utf-16-le", odd, even), ("utf-16-be", even, odd)):
        if zeros > max(len(data) / 4, 4 * others):  # a few letters of other scripts have a zero in the other half
            return encoding
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            try:
                text = data.decode(encoding)
                if "\n" in text and "\0" not in text:
                    return encoding
            except UnicodeDecodeError:
                continue
    return "utf-8"
