"""One thread that computes, and a short queue in front of it in which the latest wish of a client wins."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from zsecli.serve.rerank import Superseded

QUEUE = 2  # jobs that wait
Result = TypeVar("Result")


class QueueFull(Exception):
    """As many jobs wait as may."""


@dataclass
class Job(Generic[Result]):
    """What is to be computed for a client.

    kind: jobs of one kind replace each other. seq: the client's number of the drawing; None where it has no say.
    compute: is called with a function that says whether the answer is still wanted.
    """

    client: str
    kind: str
    seq: int | None
    compute: Callable[[Callable[[], bool]], Result]
    future: Future[Result] = field(default_factory=Future)


class Worker:
    """Runs jobs one after the other."""

    def __init__(self, most: int = QUEUE) -> None:
        self.most = most
        self._waiting: list[Job[Any]] = []
        self._newest: dict[str, int] = {}
        self._ready = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="zse-draw", daemon=True)
        self._thread.start()

    def submit(
        self, client: str, kind: str, seq: int | None, compute: Callable[[Callable[[], bool]], Result]
    ) -> Future[Result]:
        """The answer, when it is there.

        Jobs of the same client that wait give way where they are of this kind or about an older drawing: their futures
        raise Superseded, and so does that of a job which runs while a newer drawing comes.

        Raises:
            QueueFull: too many wait.
            Superseded: this one is older than what the client has asked for already.
        """
        job = Job(client, kind, seq, compute)
        with self._ready:
            if seq is not None and seq < self._newest.get(client, seq):
                raise Superseded
            for other in [other for other in self._waiting if _gives_way(other, job)]:
                self._waiting.remove(other)
                if other.future.set_running_or_notify_cancel():  # else nobody waits for it, as when the server ends
                    other.future.set_exception(Superseded())
            if len(self._waiting) >= self.most:
                raise QueueFull
            if seq is not None:
                self._remember(client, seq)
            self._waiting.append(job)
            self._ready.notify()
        return job.future

    def is_newest(self, client: str, seq: int | None) -> bool:
        """Whether the client has asked for nothing newer than the drawing `seq`."""
        return seq is None or seq >= self._newest.get(client, seq)

    def close(self) -> None:
        """Drop what waits; what runs is not waited for."""
        with self._ready:
            self._closed = True
            for job in self._waiting:
                job.future.cancel()
            self._waiting.clear()
            self._ready.notify()

    def __len__(self) -> int:
        return len(self._waiting)

    def _remember(self, client: str, seq: int) -> None:
        self._newest[client] = max(seq, self._newest.pop(client, seq))  # popped, so that it is the last of them
        while len(self._newest) > 256:
            self._newest.pop(next(iter(self._newest)))

    def _run(self) -> None:
        while True:
            with self._ready:
                self._ready.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                job = self._waiting.pop(0)
            if job.future.set_running_or_notify_cancel():
                self._do(job)

    def _do(self, job: Job[Any]) -> None:
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


def _gives_way(waiting: Job[Any], new: Job[Any]) -> bool:
    if waiting.client != new.client:
        return False
    is_older = waiting.seq is not None and new.seq is not None and waiting.seq < new.seq
    return is_older or waiting.kind == new.kind
