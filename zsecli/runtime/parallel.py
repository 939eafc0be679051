"""Work shared out over the cores of this machine."""

from __future__ import annotations

import contextlib
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from zsecli.runtime.log_levels import NOTICE

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Thing = TypeVar("Thing")
Made = TypeVar("Made")
AHEAD = 2  # things that wait for a thread: what is made is held until its turn, so no more than needed


@contextlib.contextmanager
def use_threads(device: torch.device) -> Iterator[int]:
    """How many threads may compute at once, and PyTorch set for them.

    On a CPU one a core, with PyTorch keeping to one core in each: that is faster than all cores on one thing after the
    other, and what is computed does not depend on their number. CUDA gets two, so that it has work while results
    are fetched; others are not safe in threads.
    """
    import torch

    if device.type != "cpu":
        yield 2 if device.type == "cuda" else 1
        return
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield count
    finally:
        torch.set_num_threads(count)


def count_cores() -> int:
    """How many there are for this process; of torchrun's, which says so by OMP_NUM_THREADS, each has one."""
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _threads_in(os.environ.get("OMP_NUM_THREADS", "")) or here


@cache  # so that it is told once
def _threads_in(value: str) -> int | None:
    """The number of threads that OMP_NUM_THREADS says, the first of a list for nested threads; None where it says none.

    >>> _threads_in("4,2")
    4
    """
    number = re.fullmatch(r"([1-9]\d{0,3})(,.*)?", value.strip())
    if number is None and value.strip():
        logger.log(NOTICE, f"OMP_NUM_THREADS={value} ignored: it is no number of threads")
    return int(number[1]) if number else None


def map_in_order(function: Callable[[Thing], Made], things: Iterable[Thing], count: int) -> Iterator[Made]:
    """`function` of each thing, in their order, by `count` threads that are a few things ahead."""
    waiting: deque[Future[Made]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for thing in things:
                waiting.append(pool.submit(function, thing))
                if len(waiting) == count + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def block_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the block is left; processes that begin in it never hear it. Windows cannot block it."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent(_worker: int) -> None:
    """Let this worker process of a DataLoader end when its parent does, even by SIGKILL.

    PyTorch's own watch ends the worker's loop alone: then it waits for ever to hand over what nobody takes.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
