"""Files as a failing disk, or a stranger, makes them: is all of it noticed?"""

from __future__ import annotations

import random
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

import h5py

from helpers.damaged_stores import CASES, NEWEST, V1, read, unread
from helpers.hostile_stores import TRICKS, harm
from helpers.tiny import TINY, build
from lib.tables import block, print_header, print_row
from zsecli.errors import ZseError
from zsecli.model import checkpoint

KINDS = ("dataset", "features", "ranking")
CHECKPOINTS = 500  # each is loaded whole
TESTS = {
    "model/test_hostile_checkpoints.py": "pickles with code; checkpoints with other keys, shapes, types and values; "
    "absurd configurations; states of training; configuration files",
    "cli/test_security.py": "names with slashes, control characters and markup; symbolic links; no network",
    "stages/test_finite_numbers.py": "values that are no numbers; batch sizes, orders, threads, workers, seeds",
}


def report(scratch: Path) -> int:
    """Print the table; how much went unnoticed."""
    path = scratch / "a store.h5"
    attempts = {
        "a store cut off anywhere": _cut(path),
        "one flipped bit anywhere in a store": _flipped(path),
        "a store that is not as specified": _tampered(path),
        "a store made of links, filters, virtual data, endless sizes": _hostile(scratch),
        "a checkpoint cut off anywhere": _checkpoint(scratch, _shorter),
        "one flipped bit anywhere in a checkpoint": _checkpoint(scratch, _other),
    }
    with block("damage"):
        print_header("file", "tried", "unnoticed", "what the user saw")
        return sum(_print_row(title, tries) for title, tries in attempts.items())


def tested() -> int:
    """Print the table of inputs that have tests of their own; how many of these fail."""
    failed = 0
    with block("tests"):
        print_header("input", "test", "cases", "failed")
        for name, title in TESTS.items():
            ran = subprocess.run([sys.executable, "-m", "pytest", "-q", "-n0", name], capture_output=True, text=True)
            counts = {word: int(number) for number, word in re.findall(r"(\d+) (passed|failed|error)", ran.stdout)}
            bad = counts.get("failed", 0) + counts.get("error", 0) + (not counts)
            failed += bad
            print_row(title, f"`tests/{name}`", sum(counts.values()), bad)
    return failed


def _print_row(title: str, tries: Iterable[Callable[[], None]]) -> int:
    seen: Counter[str] = Counter()
    tried = unnoticed = 0
    for attempt in tries:
        tried += 1
        try:
            attempt()
        except ZseError as error:
            seen[_plain(error.message)] += 1
        except Exception:
            unnoticed += 1
        else:
            unnoticed += 1
    said = "; ".join(f"`{text}` ({times})" for text, times in seen.most_common(3))
    more = f"; and {len(seen) - 3} other messages" if len(seen) > 3 else ""
    print_row(title, tried, unnoticed, said + more)
    return unnoticed


def _plain(message: str) -> str:
    """A message without the file's name, and without what differs from file to file."""
    said = re.sub(r".*?\.(h5|safetensors): ", "", message, count=1)
    return re.sub(r"\\d+", "N", said.partition(": Unable")[0].partition(" (")[0]).replace("|", "/")


def _cut(path: Path) -> Iterable[Callable[[], None]]:
    for kind in KINDS:
        data = (NEWEST / f"{kind}.h5").read_bytes()
        for length in range(0, len(data), 41):
            path.write_bytes(data[:length])
            yield lambda kind=kind: read(path, kind)


def _flipped(path: Path) -> Iterable[Callable[[], None]]:
    for kind in KINDS:
        data, chance, spared = (NEWEST / f"{kind}.h5").read_bytes(), random.Random(kind), unread(NEWEST / f"{kind}.h5")
        for at in range(len(data)):
            if at not in spared:
                path.write_bytes(data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :])
                yield lambda kind=kind: read(path, kind)


def _tampered(path: Path) -> Iterable[Callable[[], None]]:
    for case in CASES:
        kind, tamper, _ = case.values
        shutil.copy(V1 / f"{kind}.h5", path)
        with h5py.File(path, "r+") as file:
            tamper(file)
        yield lambda kind=kind: read(path, kind)


def _checkpoint(scratch: Path, spoil: Callable[[bytes, random.Random], bytes]) -> Iterable[Callable[[], None]]:
    path, chance = scratch / "a checkpoint.safetensors", random.Random(0)
    whole = checkpoint.save(build(TINY), path).read_bytes()
    for _ in range(CHECKPOINTS):
        path.write_bytes(spoil(whole, chance))
        yield lambda: checkpoint.load(path)  # type: ignore[func-returns-value]


def _shorter(data: bytes, chance: random.Random) -> bytes:
    return data[: chance.randrange(len(data))]


def _other(data: bytes, chance: random.Random) -> bytes:
    at = chance.choice([chance.randrange(len(data)), chance.randrange(4096)])  # its header is a small part of it
    return data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1 :]


def _hostile(scratch: Path) -> Iterable[Callable[[], None]]:
    for number, name in enumerate(TRICKS):
        folder = scratch / f"hostile-{number}"
        folder.mkdir()
        path = harm(folder, name)
        yield lambda path=path: read(path, "features")
