"""Time several works in turn, so that a slow minute of the machine affects all of them, and format their times."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from statistics import median

import torch

Times = dict[str, list[float]]


def in_turn(works: dict[str, Callable[[], object]], rounds: int, warm: bool = True) -> Times:
    """Seconds of each work in each round. warm: each is done once before, untimed."""
    if warm:
        for work in works.values():
            work()
    took: Times = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            settle()
            began = time.perf_counter()
            work()
            settle()
            took[name].append(time.perf_counter() - began)
    return took


def settle() -> None:
    """Wait for what a GPU still does."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def spread(values: Sequence[float], form: str) -> str:
    """`median (lowest to highest)`."""
    return f"{median(values):{form}} ({min(values):{form}} to {max(values):{form}})"


def times(slow: Sequence[float], fast: Sequence[float]) -> str:
    """How many times as fast, round by round."""
    return spread([a / b for a, b in zip(slow, fast, strict=True)], ".1f")
