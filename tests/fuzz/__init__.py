"""Inputs that nobody meant: a coverage-guided fuzzer of all readers (`python -m fuzz`), its corpus, tests of it."""

from __future__ import annotations

import resource
import sys
import time
import traceback
from random import Random

MOST, SECONDS = 5000, 10.0  # inputs of a target, and what they take at most
SLOW, LARGE = 20.0, 2**20  # seconds of an input, and KiB that a target makes the process grow by, which are too many


def report() -> int:
    """Print a table: every target on its corpus and on some thousands of changes of it; the number of findings."""
    from fuzz.corpus import read_corpus
    from fuzz.mutate import mutate
    from fuzz.targets import TARGETS
    from lib.tables import print_header, print_row

    print_header("reader", "inputs tried", "anything but an answer or two lines")
    total = 0
    for name, (title, target) in TARGETS.items():
        seeds, chance = list(read_corpus(name).values()), Random(name)
        target(b"")  # what is imported late
        size, end = _peak(), time.monotonic() + SECONDS
        found = tried = 0
        while tried < len(seeds) or (tried < MOST and time.monotonic() < end):
            data = seeds[tried] if tried < len(seeds) else mutate(chance.choice(seeds), chance)
            begun = time.monotonic()
            try:
                target(data)
            except Exception:
                traceback.print_exc()
                print(f"{name}: {data!r}", file=sys.stderr)
                found += 1
            found += time.monotonic() - begun > SLOW
            tried += 1
        found += _peak() - size > LARGE
        print_row(title, tried, found)
        total += found
    return total


def _peak() -> int:
    """KiB that this process has taken at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
