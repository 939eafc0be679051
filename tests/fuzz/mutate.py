"""Random small changes of an input, for tests and reports that need no coverage."""

from __future__ import annotations

from random import Random

# what parsers trip over
PIECES = (
    *(
        b"\0",
        b"\xff",
        b"\n",
        b"\r\n",
        b",",
        b'"',
        b"'",
        b"[",
        b"{",
        b"]",
        b"=",
        b":",
        b"/",
        b"..",
        b"-",
        b" ",
        b"\x1b[",
    ),
    *(b"0", b"-1", b"99999999999999999999", b"1e999", b"nan", b"null", b"true", b"1.5", b"\xef\xbb\xbf", b"\xc2\xb2"),
    *("ä".encode(), "\u202e".encode(), "\U0001f600".encode(), b"\\ud800", b"\\u0000", b"zse-seal", b"a" * 300),
)


def mutate(data: bytes, chance: Random) -> bytes:
    """`data` after one to four changes: a stretch of it is cut out, doubled, or exchanged for something else."""
    for _ in range(chance.randint(1, 4)):
        start = chance.randint(0, len(data))
        stop = min(len(data), start + chance.choice((0, 1, 1, 2, 4, 16, 64)))
        kind = chance.randrange(4)
        new = (b"", data[start:stop] * 2, chance.choice(PIECES), bytes([chance.randrange(256)]))[kind]
        data = data[:start] + new + data[stop:]
    return data
