"""Long work in small: thousands of commands in one process, which must not grow."""

from __future__ import annotations

import gc
import os
import resource
import threading
from pathlib import Path

import numpy as np

from helpers.commands import call
from lib.tables import block, print_header, print_row

WARM, EVERY = 100, 10


def report(template: Path, calls: dict[str, int]) -> int:
    """Print the table; in how many of the models memory has grown by more than 10 MiB, or files or threads at all.

    Args:
        calls: how many commands, by the words for `--model`.
    """
    with block("soak"):
        print_header("model", "commands", "memory, MiB", "open files", "threads")
        return sum(_soak(template, model, count) for model, count in calls.items())


def _soak(template: Path, model: str, calls: int) -> bool:
    sketch, photos, ranking = (template / f"{name}.h5" for name in ("sketch", "photos", "hits"))
    words = "embed", "pictures/photo", "--modality", "photo", "--overwrite", "-o", photos.name
    call(template, *words, ZSE_MODEL=model).ok()
    held: list[tuple[float, int, int]] = []
    for number in range(2, calls + WARM + 1, 2):
        for file in (sketch, ranking):
            file.unlink(missing_ok=True)
        call(template, "embed", "sketch.png", "--modality", "sketch", "-o", sketch.name, ZSE_MODEL=model).ok()
        call(template, "match", sketch.name, photos.name, "-o", ranking.name, ZSE_MODEL=model).ok()
        if number > WARM and number % EVERY == 0:
            held.append(_held())
            if number - WARM in (EVERY, calls // 2, calls):
                print_row(model, number, f"{held[-1][0]:.0f}", held[-1][1], held[-1][2])
    tenth = len(held) // 10
    memory, files, threads = np.median(held[-tenth:], axis=0) - np.median(held[:tenth], axis=0)
    print_row(model, "grown", f"{memory:+.1f}", f"{files:+.0f}", f"{threads:+.0f}")
    return bool(memory > 10 or files > 0 or threads > 0)


def _held() -> tuple[float, int, int]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20, len(os.listdir("/proc/self/fd")), threading.active_count()
