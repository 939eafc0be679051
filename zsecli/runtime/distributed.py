"""The job of several processes that this one belongs to, as torchrun's environment variables say.

Only this module reads them. A process takes part in a job only where all of `VARIABLES` are set: job scripts export
some of them for other programs too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta

from zsecli.errors import UsageError, ZseError
from zsecli.runtime.log_levels import NOTICE

logger = logging.getLogger(__name__)

VARIABLES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
ALONE = f"torchrun starts all processes of a job; to run this one alone: unset {' '.join(VARIABLES)}"
START_TIMEOUT = timedelta(minutes=10)  # within which all processes must start
WORK_TIMEOUT = timedelta(days=1)  # that a process may wait for the others: while one validates, or fills a cache


@dataclass(frozen=True, kw_only=True)
class Launch:
    """How this process was started: as one of the processes of a job."""

    rank: int = 0  # its number, counted from 0
    world: int = 1  # how many processes there are
    local_rank: int = 0  # its number on this machine
    address: str = ""  # where the processes meet, HOST:PORT
    ignored: str = ""  # a message, where some variables are set, but not all that belong together


def read_launch(environment: Mapping[str, str]) -> Launch:
    """The launch that the variables of an environment describe; an empty variable counts as not set.

    Raises:
        UsageError: all are set, and contradict each other or are no numbers; or torchrun set only some.
    """
    values = {name: environment.get(name, "").strip() for name in (*VARIABLES, "LOCAL_RANK")}
    missing = [name for name in VARIABLES if not values[name]]
    if missing:
        present = [name for name in VARIABLES if values[name]]
        if present and environment.get("TORCHELASTIC_RUN_ID"):
            raise UsageError(f"torchrun set {' and '.join(present)}, but not {' and '.join(missing)}", ALONE)
        if values["WORLD_SIZE"] in ("", "1") and values["RANK"] in ("", "0"):
            return Launch()
        assignments = " and ".join(f"{name}={values[name]}" for name in ("RANK", "WORLD_SIZE") if values[name])
        return Launch(ignored=f"{assignments} ignored: {' and '.join(missing)} not set, so this process works alone")
    rank = _read_number("RANK", values["RANK"])
    world = _read_number("WORLD_SIZE", values["WORLD_SIZE"])
    port = _read_number("MASTER_PORT", values["MASTER_PORT"])
    local_rank = _read_number("LOCAL_RANK", values["LOCAL_RANK"]) if values["LOCAL_RANK"] else rank
    if rank >= world:
        raise UsageError(f"RANK={rank} and WORLD_SIZE={world}: ranks are 0 to WORLD_SIZE - 1", ALONE)
    if not 0 < port < 2**16:
        raise UsageError(f"MASTER_PORT={port} is no port", ALONE)
    if world == 1:
        return Launch()
    return Launch(rank=rank, world=world, local_rank=local_rank, address=f"{values['MASTER_ADDR']}:{port}")


def _read_number(name: str, value: str) -> int:
    if not re.fullmatch(r"[0-9]{1,9}", value):
        raise UsageError(f"{name}={value} is no number", ALONE)
    return int(value)


_launch: Launch | None = None  # read when a command first asks


def get_launch() -> Launch:
    """How this process was started; read once, with a notice of what is ignored."""
    global _launch
    if _launch is None:
        _launch = read_launch(os.environ)
        if _launch.ignored:
            logger.log(NOTICE, _launch.ignored)
    return _launch


def is_background() -> bool:
    """Whether this process, as far as its launch has been read, leaves it to another to talk to the user."""
    return _launch is not None and _launch.rank > 0


def forget_launch() -> None:
    """Read the environment again for the next command."""
    global _launch
    _launch = None


def started_by_torchrun() -> bool:
    """Whether torchrun waits for this process, which takes every exit code but 0 for a failure."""
    return bool(os.environ.get("TORCHELASTIC_RUN_ID"))


@contextlib.contextmanager
def process_group(backend: str) -> Iterator[None]:
    """PyTorch's default process group of the job, while the block lasts.

    Raises:
        ZseError: the processes do not meet.
    """
    from torch import distributed
    from torch.distributed.rendezvous import rendezvous

    job = get_launch()
    logger.info(f"process {job.rank + 1} of {job.world}; they meet at {job.address}")
    try:
        store, rank, world = next(rendezvous("env://", job.rank, job.world, timeout=START_TIMEOUT))
        store.set_timeout(WORK_TIMEOUT)
        distributed.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=WORK_TIMEOUT)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ZseError(
            f"the {job.world} processes of the job did not meet at {job.address}: {reason}", ALONE
        ) from error
    try:
        yield
    finally:
        distributed.destroy_process_group()
