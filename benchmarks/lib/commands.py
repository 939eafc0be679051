"""Run `zse` as a user would, in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

ZSE = str(Path(sys.executable).with_name("zse"))


def zse(*words: str, workspace: str | None = None) -> str:
    """What `zse WORDS` prints, without the last newline; CalledProcessError where it fails."""
    if workspace is not None:
        words = (*words, "--workspace", workspace)
    done = subprocess.run([ZSE, *words], check=True, text=True, stdout=subprocess.PIPE)
    return done.stdout.removesuffix("\n")


@dataclass(frozen=True)
class Measured:
    """What a finished command took, from the operating system's account of the process."""

    seconds: float
    peak: float
    """MiB of the largest resident set"""
    output: str


def measure_zse(*words: object) -> Measured:
    began = time.perf_counter()
    process = subprocess.Popen([ZSE, *map(str, words)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    output = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"zse {' '.join(map(str, words))} failed")
    return Measured(time.perf_counter() - began, to_mebibytes(usage.ru_maxrss), output)


def to_mebibytes(peak: int) -> float:
    """From ru_maxrss, which macOS gives in bytes and Linux in KiB."""
    return peak / (1024**2 if sys.platform == "darwin" else 1024)
