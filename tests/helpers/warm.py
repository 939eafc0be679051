"""Processes that have everything imported when they begin, so that a test does not wait for it; and pairs of them.

Tests that use them belong to the xdist_group "faults": one worker has the process of which they are forks.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from multiprocessing import connection
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore

HEAVY = (
    "zsecli.cli.app",
    "torch",
    "timm",
    "h5py",
    "zsecli.model.network",
    "zsecli.retrieval.rank",
    "zsecli.train.job",
)

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(list(HEAVY))


_looking = threading.Lock()


def start(process: Any) -> None:
    """Begin a process where other threads may wait for theirs.

    Who starts one looks whether others have ended, and of two threads that read the end of one the second finds 255.
    """
    with _looking:
        process.start()


def ended(process: Any, seconds: float | None = None) -> int | None:
    """Its exit code, or the negative number of the signal that killed it; None if it goes on for so long."""
    connection.wait([process.sentinel], seconds)
    with _looking:
        return process.exitcode


def end(process: Any) -> None:
    assert ended(process, 120) == 0


def speak(folder: Path, said: str) -> None:
    """What this process says goes to the files `said`.out and `said`.err in `folder`, where it then works."""
    os.chdir(folder)
    for stream, name in ((1, f"{said}.out"), (2, f"{said}.err")):
        os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), stream)
    sys.stdout, sys.stderr = open(1, "w", closefd=False), open(2, "w", closefd=False)  # noqa: SIM115


def together(work: Callable[..., None], *words: Any) -> None:
    """Two processes do `work`, begun as torchrun begins them."""
    meeting = TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    env = {"WORLD_SIZE": "2", "MASTER_ADDR": "localhost", "MASTER_PORT": str(meeting.port)}
    env["TORCHELASTIC_USE_AGENT_STORE"] = "True"
    both = [processes.Process(target=_one, args=({**env, "RANK": rank}, work, *words)) for rank in "01"]
    for process in both:
        start(process)
    for process in both:
        end(process)


def _one(env: dict[str, str], work: Callable[..., None], *words: Any) -> None:
    os.environ.update(env)
    torch.set_num_threads(1)
    work(*words)


def commands(folder: Path, line: str) -> None:
    """`zse LINE` in `folder`, of which rank R writes to the files R.out and R.err."""
    from zsecli import cli

    speak(folder, os.environ["RANK"])
    for name in [name for name in os.environ if name.startswith("ZSE_")]:
        del os.environ[name]
    sys.argv = ["zse", *line.split()]
    cli.main()
