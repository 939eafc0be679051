"""Work split over the cores of this machine."""

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

Item = TypeVar("Item")
Result = TypeVar("Result")
AHEAD = 2  # items that wait for a thread: results are held until their turn, so no more than needed


@contextlib.contextmanager
def use_threads(device: torch.device) -> Iterator[int]:
    """The number of threads that may compute at once, with PyTorch set for them while the block lasts.

    On a CPU it is one a core, with PyTorch keeping to one core in each: that is faster than all cores on one item after
    the other, and results do not depend on their number. CUDA gets two, so that it has work while results are fetched;
    other devices are not safe in threads.
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
    """The cores for this process; each of torchrun's has one, which it says by OMP_NUM_THREADS."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return _parse_threads(os.environ.get("OMP_NUM_THREADS", "")) or available


@cache  # so that the notice is given once
def _parse_threads(value: str) -> int | None:
    """The number in OMP_NUM_THREADS, the first of a list for nested threads; None where there is none.

    >>> _parse_threads("4,2")
    4
    """
    number = re.fullmatch(r"([1-9]\d{0,3})(,.*)?", value.strip())
    if number is None and value.strip():
        logger.log(NOTICE, f"OMP_NUM_THREADS={value} ignored: it is no number of threads")
    return int(number[1]) if number else None


def map_in_order(function: Callable[[Item], Result], items: Iterable[Item], count: int) -> Iterator[Result]:
    """`function` of each item, in their order, by `count` threads that are a few items ahead."""
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(count) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) == count + AHEAD:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextlib.contextmanager
def block_interrupts() -> Iterator[None]:
    """Hold Ctrl-C back until the block is left; processes that begin in it ignore it. Windows cannot block it."""
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

    PyTorch's own watch only ends the worker's loop: then it waits for ever to hand over what nobody takes.
    """
    parent = multiprocessing.parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
