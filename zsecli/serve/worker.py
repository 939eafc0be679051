"""One thread that computes, with a short queue in which a client's newer request replaces an older one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from zsecli.serve.rerank import Superseded

QUEUE_LENGTH = 2  # waiting jobs, at most
REMEMBERED_CLIENTS = 256
Result = TypeVar("Result")


class QueueFull(Exception):
    """The queue is full."""


@dataclass
class Job(Generic[Result]):
    """A computation for a client."""

    client: str
    kind: str
    """Jobs of one kind replace each other."""
    seq: int | None
    """The client's number of the drawing; None where the job does not depend on one."""
    compute: Callable[[Callable[[], bool]], Result]
    """Called with a function that tells whether the answer is still wanted."""
    future: Future[Result] = field(default_factory=Future)


class Worker:
    """Runs jobs one by one."""

    def __init__(self, capacity: int = QUEUE_LENGTH) -> None:
        self.capacity = capacity
        self._waiting: list[Job[Any]] = []
        self._newest: dict[str, int] = {}
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="zse-draw", daemon=True)
        self._thread.start()

    def submit(
        self, client: str, kind: str, seq: int | None, compute: Callable[[Callable[[], bool]], Result]
    ) -> Future[Result]:
        """Queue a job; returns its future answer.

        Waiting jobs of the same client are dropped where they are of this kind or about an older drawing: their
        futures raise Superseded, and so does that of a job that runs while a newer drawing arrives.

        Raises:
            QueueFull: too many jobs wait.
            Superseded: the client has already sent a newer drawing.
        """
        job = Job(client, kind, seq, compute)
        with self._ready:
            if seq is not None and seq < self._newest.get(client, seq):
                raise Superseded
            for waiting in [waiting for waiting in self._waiting if _is_superseded(waiting, job)]:
                self._waiting.remove(waiting)
                if waiting.future.set_running_or_notify_cancel():  # False where nobody waits, as when the server ends
                    waiting.future.set_exception(Superseded())
            if len(self._waiting) >= self.capacity:
                raise QueueFull
            if seq is not None:
                self._remember(client, seq)
            self._waiting.append(job)
            self._ready.notify()
        return job.future

    def is_newest(self, client: str, seq: int | None) -> bool:
        """Whether the client has sent no newer drawing than `seq`."""
        return seq is None or seq >= self._newest.get(client, seq)

    def close(self) -> None:
        """Drop waiting jobs; a running one is not waited for."""
        with self._ready:
            self._closed = True
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._ready.notify()

    def __len__(self) -> int:
        return len(self._waiting)

    def _remember(self, client: str, seq: int) -> None:
        newest = max(seq, self._newest.pop(client, seq))
        self._newest[client] = newest  # popped and added, so that it becomes the last entry
        while len(self._newest) > REMEMBERED_CLIENTS:
            self._newest.pop(next(iter(self._newest)))

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.pop(0)
            if job.future.set_running_or_notify_cancel():
                self._run_job(job)

    def _run_job(self, job: Job[Any]) -> None:
        def is_wanted() -> bool:
            return not self._closed and self.is_newest(job.client, job.seq)

        try:
            if not is_wanted():
                raise Superseded
            result = job.compute(is_wanted)
            if not is_wanted():
                raise Superseded
        except BaseException as error:
            job.future.set_exception(error)
        else:
            job.future.set_result(result)


def _is_superseded(waiting: Job[Any], new: Job[Any]) -> bool:
    if waiting.client != new.client:
        return False
    is_older = waiting.seq is not None and new.seq is not None and waiting.seq < new.seq
    return is_older or waiting.kind == new.kind
