"""Look for inputs that break a reader, guided by the code that they reach.

    python -m fuzz TARGET|all SECONDS [--corpus]       (in the folder `tests`)
    python -m fuzz add TARGET FILE                     (FILE by its name)

Runs atheris (in the extra `dev`, where it has a wheel) on a target of `targets.py`, beginning with the inputs of
`corpus/TARGET.zip`. `--corpus` adds the smallest inputs that reach new code to the archive; without it they are
deleted at the end. An input that breaks the reader is left in the folder that is then named, and the exit code is 1:
fix the reader, give the file a good name and `add` it, and `test_fuzz.py` replays it from then on.

A reader breaks where anything but an answer or two lines comes out, where it takes more than 20 seconds or 2 GiB, or
where what it accepts does not read back as it was. Bytes behind a true seal, and stores of versions that had
none, are not tried: HDF5's library itself may crash on them (docs/stores.md).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from fuzz.corpus import pack_corpus, read_corpus, unpack_corpus, write_corpus

os.environ.setdefault("OMP_NUM_THREADS", "1")


def main(words: list[str]) -> int:
    keep = "--corpus" in words
    match [word for word in words if not word.startswith("--")]:
        case ["all", seconds] if seconds.isdecimal():
            return max(hunt(target, int(seconds), keep) for target in _targets())
        case [target, seconds] if target in _targets() and seconds.isdecimal():
            return hunt(target, int(seconds), keep)
        case ["add", target, file] if target in _targets():
            write_corpus(target, read_corpus(target) | {Path(file).name: Path(file).read_bytes()})
            return 0
    print(f"python -m fuzz TARGET|all SECONDS [--corpus]; targets: {', '.join(_targets())}", file=sys.stderr)
    return 2


def _targets() -> list[str]:
    from fuzz.targets import TARGETS

    return list(TARGETS)


def hunt(target: str, seconds: int, keep: bool) -> int:
    """Fuzz one target in a process of its own; its exit code."""
    print(f"== {target}", flush=True)
    found = Path(tempfile.mkdtemp(prefix=f"zse-fuzz-{target}-"))
    (found / "new").mkdir()
    seeds = unpack_corpus(target, found / "seeds")
    limits = [
        f"-max_total_time={seconds}",
        "-timeout=20",
        "-rss_limit_mb=2048",
        "-max_len=8192",
        "-len_control=0",
        "-print_final_stats=1",
    ]
    code = _fuzz(target, found, *limits, f"-artifact_prefix={found}/", found / "new", seeds)
    if keep and code == 0:
        _fuzz(target, found, "-merge=1", "-max_len=8192", seeds, found / "new")
        pack_corpus(target, seeds)
    if code == 0:
        shutil.rmtree(found)
    else:
        print(f"{target}: broken by what lies in {found}", file=sys.stderr)
    return int(code != 0)


def _fuzz(target: str, scratch: Path, *options: object) -> int:
    """Atheris on a target; the exit code of the process, which cleans up nothing behind itself."""
    command = [sys.executable, "-m", "fuzz.engine", target, *map(str, options)]
    return subprocess.run(command, env={**os.environ, "TMPDIR": str(scratch)}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
