"""Work split over processes: which rows of a store are this process's shard."""

from __future__ import annotations

import contextlib
import re
import reprlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zsecli.errors import UsageError, ZseError
from zsecli.runtime.distributed import get_launch, process_group
from zsecli.runtime.fingerprint import run_key


@dataclass(frozen=True)
class Shard:
    """One of several shards of a store."""

    number: int = 1  # counted from 1
    count: int = 1
    together: bool = False  # whether torchrun started all of them, and they wait for each other

    @classmethod
    def parse(cls, text: str) -> Shard:
        """The shard I/N; UsageError where `text` is not that."""
        match = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text)
        if match is None or int(match[1]) > int(match[2]):
            raise UsageError(
                f"--shard {reprlib.repr(text)} is no shard", "--shard 2/8 is the second of eight; 9999 at most"
            )
        return cls(int(match[1]), int(match[2]))

    @property
    def is_main(self) -> bool:
        """Whether it prints the result: of shards that run together, the first alone."""
        return self.number == 1 or not self.together

    def all_shards(self) -> list[Shard]:
        """All shards of the store, in order."""
        return [replace(self, number=number) for number in range(1, self.count + 1)]

    def rows(self, count: int, step: int) -> slice:
        """Its rows of `count`: whole blocks of `step`, as rounding depends on what is computed together.

        >>> [Shard(i, 2).rows(10, 4) for i in (1, 2)]
        [slice(0, 4, None), slice(4, 10, None)]
        """
        blocks = -(-count // step)
        start = blocks * (self.number - 1) // self.count * step
        stop = blocks * self.number // self.count * step
        return slice(min(count, start), min(count, stop))

    def path(self, output: Path) -> Path:
        """Where the shard of the store `output` is written."""
        if self.count == 1:
            return output
        return output.with_name(f"{output.stem}.{self.number}-of-{self.count}{output.suffix}")

    def key(self, store_key: str) -> str:
        """Run key of the shard of a store with the run key `store_key`."""
        return store_key if self.count == 1 else run_key(of=store_key, shard=self.number, shards=self.count)

    def wait(self) -> None:
        """Wait until the other processes have come as far; ZseError where one of them failed."""
        if self.together:
            from torch import distributed

            try:
                distributed.barrier()
            except RuntimeError as error:
                raise ZseError("another of the processes has failed", "what it said stands beside this") from error


WHOLE = Shard()


@contextlib.contextmanager
def current_shard(text: str | None) -> Iterator[Shard]:
    """The shard that `--shard` or torchrun gives to this process."""
    job = get_launch()
    if job.world == 1 or text is not None:
        if job.world > 1:
            raise UsageError("--shard and torchrun both share out the work", "leave out one")
        yield WHOLE if text is None else Shard.parse(text)
        return
    with process_group("gloo"):
        yield Shard(job.rank + 1, job.world, True)
