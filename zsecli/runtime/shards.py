"""Work shared out over processes: each writes the rows of its shard, and the shards are put together."""

from __future__ import annotations

import contextlib
import logging
import re
import reprlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from zsecli.errors import UsageError, ZseError
from zsecli.runtime.distributed import launch, process_group
from zsecli.runtime.files import alone
from zsecli.store.hdf5 import Writer, finished, run_key

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shard:
    """Shard `number`, counted from 1, of `of`. together: torchrun started all of them, and they wait for each other."""

    number: int = 1
    of: int = 1
    together: bool = False

    @classmethod
    def parse(cls, text: str) -> Shard:
        """UsageError where `text` is not I/N."""
        found = re.fullmatch(r"([1-9]\d{0,3})/([1-9]\d{0,3})", text)
        if found is None or int(found[1]) > int(found[2]):
            raise UsageError(
                f"--shard {reprlib.repr(text)} is no shard", "--shard 2/8 is the second of eight; 9999 at most"
            )
        return cls(int(found[1]), int(found[2]))

    @property
    def all(self) -> list[Shard]:
        return [replace(self, number=number) for number in range(1, self.of + 1)]

    def rows(self, count: int, step: int) -> slice:
        """Its rows of `count`: whole blocks of `step`, as rounding depends on what is computed together.

        >>> [Shard(i, 2).rows(10, 4) for i in (1, 2)]
        [slice(0, 4, None), slice(4, 10, None)]
        """
        blocks = -(-count // step)
        first, stop = (min(count, blocks * number // self.of * step) for number in (self.number - 1, self.number))
        return slice(first, stop)

    @property
    def speaks(self) -> bool:
        """Whether it prints the result: of shards that run together, the first alone."""
        return self.number == 1 or not self.together

    def path(self, output: Path) -> Path:
        """Where the shard of the store `output` is written."""
        return output if self.of == 1 else output.with_name(f"{output.stem}.{self.number}-of-{self.of}{output.suffix}")

    def key(self, key: str) -> str:
        """Run key of the shard of a store with the run key `key`."""
        return key if self.of == 1 else run_key(of=key, shard=self.number, shards=self.of)

    def tidy(self, output: Path, kind: str, key: str) -> None:
        """Remove the shards of the store `output`, which is there.

        Some are left where who put them together was stopped, or two processes made the same one.
        """
        if self.of > 1:
            for one in self.all:
                if finished(one.path(output), kind, one.key(key)):
                    one.path(output).unlink(missing_ok=True)

    def wait(self) -> None:
        """For the other processes to come as far; ZseError where one of them failed."""
        if self.together:
            from torch import distributed

            try:
                distributed.barrier()
            except RuntimeError as error:
                raise ZseError("another of the processes has failed", "what it said stands beside this") from error


WHOLE = Shard()


@contextlib.contextmanager
def share(text: str | None) -> Iterator[Shard]:
    """The shard that `--shard` or torchrun says is this process's."""
    job = launch()
    if job.world == 1 or text is not None:
        if job.world > 1:
            raise UsageError("--shard and torchrun both share out the work", "leave out one")
        yield WHOLE if text is None else Shard.parse(text)
        return
    with process_group("gloo"):
        yield Shard(job.rank + 1, job.world, True)


def join(
    shard: Shard, output: Path, kind: str, key: str, count: int, step: int, begin: Callable[[Path], Writer]
) -> bool:
    """Put the shards of the store `output`, of `count` rows, together once all are there; whether it is there then.

    Args:
        step: as `Shard.rows` was given. begin: the writer of the whole store, given a shard.

    Raises:
        StoreError: a shard has another number of rows than is due.
    """
    if shard.of == 1:
        return True
    shard.wait()
    parts = [(one.rows(count, step), one.path(output), one.key(key)) for one in shard.all]
    parts = [part for part in parts if part[0].start < part[0].stop]
    if shard.speaks:
        with alone(output.with_name(f"{output.name}.join"), wait=True):  # several may be the last to be done
            if not finished(output, kind, key) and all(finished(path, kind, part) for _, path, part in parts):
                with begin(parts[0][1]) as store:
                    for rows, path, _ in parts:
                        store.append(path, kind, rows)
                    store.finish()
            if finished(output, kind, key):
                shard.tidy(output, kind, key)
            else:
                logger.info(f"shard {shard.number} of {shard.of} is done; the last of them puts all together")
    shard.wait()
    return finished(output, kind, key)
