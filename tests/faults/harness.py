"""Put faults in the way of zse's stages: kills, stops, full disks, rights that are missing, writers that meet."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from faults.stages import FIRST, STAGES, child, left
from helpers.warm import ended, processes, start

STOPPED = "interrupted: the same command goes on from what is done"
FULL, REFUSED, BUSY = "no space left", "not allowed", "another zse is writing it"
AT_ONCE = 3  # kills of one piece of work before it may end


@dataclass
class Ended:
    """How a process ended: its exit code, or the negative number of the signal that killed it."""

    code: int
    out: str
    err: str


@dataclass
class Outcome:
    """What came of faults of one kind.

    tried: how many. seen: what the user saw, and how often.
    """

    tried: int = 0
    seen: Counter[str] = field(default_factory=Counter)


class Faults:
    """Faults for one stage, in copies of a template; every check that fails is an AssertionError."""

    def __init__(self, template: Path, scratch: Path, stage: str, seed: int = 0) -> None:
        self.template, self.scratch, self.stage = template, scratch, stage
        self.chance = random.Random(f"{seed} {stage}")
        self.number = 0
        self.whole: dict[str, str] = {}
        for _ in range(2):  # the first time is not the usual one
            with self.folder() as folder:
                process = self._start(folder, STAGES[stage])
                begun = time.perf_counter()
                code = ended(process)
                self.seconds = time.perf_counter() - begun
                assert code == 0, (folder / "first.err").read_text()
                found = left(folder)
                assert found and self.whole in ({}, found), f"{stage}: two runs differ: {found}"
                self.whole = found
                self.largest = max(f.stat().st_size for f in (folder / "out").rglob("*") if f.is_file())
                again = self.run(folder)
                assert (again.code, left(folder)) == (0, found), again.err

    @contextlib.contextmanager
    def folder(self) -> Iterator[Path]:
        """A fresh copy of the template, in which what precedes the stage is done; removed at the end."""
        self.number += 1
        folder = self.scratch / f"{self.stage.replace(' ', '-')}-{self.number}"
        shutil.copytree(self.template, folder, symlinks=True)
        if "shard" in self.stage:
            first = self._start(folder, FIRST)
            assert ended(first) == 0, (folder / "first.err").read_text()
        try:
            yield folder
        finally:
            shutil.rmtree(folder)

    def _start(self, folder: Path, line: str, said: str = "first", **limits: Any) -> Any:
        ready = processes.Event()
        process = processes.Process(target=child, args=(folder, line, ready, said), kwargs=limits)
        start(process)
        assert ready.wait(60)
        time.sleep(0.01)  # until it listens
        return process

    def run(self, folder: Path, *, send: int | None = None, after: float = 0, **limits: Any) -> Ended:
        """The stage in `folder`; after so many seconds it is sent a signal, if it is not done."""
        process = self._start(folder, STAGES[self.stage], "second", **limits)
        if send is not None and ended(process, after) is None:
            with contextlib.suppress(ProcessLookupError):  # it ended just now
                os.kill(process.pid, send)
        code = ended(process, 120)
        assert code is not None, f"{self.stage}: it hangs"
        return Ended(code, *((folder / f"second.{name}").read_text("utf-8") for name in ("out", "err")))

    def finish(self, folder: Path, **limits: Any) -> Ended:
        done = self.run(folder, **limits)
        assert done.code == 0, f"{self.stage}: {done}"
        return done

    def check(self, folder: Path, final: bool = False) -> None:
        """What bears a final name is whole: what an undisturbed run leaves. A training's best network so far is one."""
        found = {name: digest for name, digest in left(folder).items() if final or "-of-2" not in name}
        if self.stage == "train" and not final:
            from zsecli.model import checkpoint

            for name in found:
                checkpoint.load(folder / "out" / name)
            return
        assert found.items() <= self.whole.items(), f"{self.stage}: not whole, or not the same: {found}"
        assert not final or found == self.whole, f"{self.stage}: {found.keys()} of {self.whole.keys()}"

    def stop(self, number: int, locks: bool = True) -> Outcome:
        """Send the signal at random moments, up to three times in a row, and let the stage end then.

        Args:
            locks: whether the file system has any.
        """
        outcome = Outcome()
        with self.folder() as folder:
            for _ in range(AT_ONCE):
                after = self.chance.uniform(0, 1.1 * self.seconds)
                came = self.run(folder, send=number, after=after, locks=locks)
                self.check(folder)
                if number == signal.SIGKILL:
                    assert came.code in (-number, 0), came
                    outcome.seen["nothing" if came.code else "it was done already"] += 1
                elif came.code:
                    assert (came.code, came.err.splitlines()[-1:]) == (130, [STOPPED]), came
                    assert "Traceback" not in came.err, (self.stage, came)
                    outcome.seen[f"`{STOPPED}`, exit code 130"] += 1
                else:
                    outcome.seen["it was done already"] += 1
                outcome.tried += 1
            self.finish(folder, locks=locks)
            self.check(folder, final=True)
            assert not list((folder / "out").rglob("*.held")), f"{self.stage}: a killed process still blocks others"
        return outcome

    def fill(self) -> Outcome:
        """Let a file grow no further at a random size, as on a full disk; then make room."""
        with self.folder() as folder:
            came = self.run(folder, bytes_a_file=self.chance.randrange(self.largest))
            self.refused(folder, came, FULL)
        return Outcome(1, Counter({self.said(came): 1}))

    def fill_disk(self) -> Outcome:
        """A disk of a random size; CannotMount where this user may mount none."""
        with self.folder() as folder:
            size = self.chance.randrange(4096, max(8192, self.largest)) // 4096 * 4096
            with mounted(folder / "out", size):
                came = self.run(folder)
                self.refused(folder, came, FULL, again=False)
        return Outcome(1, Counter({self.said(came): 1}))

    def forbid(self) -> Outcome:
        """Nothing may be written into the folder of the result."""
        with self.folder() as folder:
            root = os.geteuid() == 0  # who may write anywhere, but on a disk that is not to be written
            os.chmod(folder / "out", 0o555)
            with mounted(folder / "out", 4096, "ro") if root else contextlib.nullcontext():
                came = self.run(folder)
                self.refused(folder, came, REFUSED, again=False)
            os.chmod(folder / "out", 0o755)
            self.finish(folder)
            self.check(folder, final=True)
        return Outcome(1, Counter({self.said(came): 1}))

    def meet(self, locks: bool = True) -> Outcome:
        """Two of the same command at once, the second a random moment later.

        Args:
            locks: whether the file system has any.
        """
        outcome = Outcome()
        with self.folder() as folder:
            first = self._start(folder, STAGES[self.stage], locks=locks)
            time.sleep(self.chance.uniform(0, self.seconds))
            second = self.run(folder, locks=locks)
            codes = ended(first, 120), second.code
            assert {*codes} <= {0, 3} and 0 in codes, f"{codes}: {(folder / 'first.err').read_text()} {second.err}"
            for code in codes:
                outcome.seen[f"`{BUSY}`" if code else "both done"] += 1
            self.check(folder)
            self.finish(folder, locks=locks)
            self.check(folder, final=True)
        outcome.tried = 1
        return outcome

    def refused(self, folder: Path, came: Ended, words: str, again: bool = True) -> None:
        """It ended with an error and a hint of these words, nothing half done; and with the fault away it ends well."""
        if came.code:
            lines = [line for line in came.err.splitlines() if line.split(":")[0] in ("error", "hint")]
            assert came.code == 1 and len(lines) == 2 and words in lines[0], (self.stage, came)
            assert "Traceback" not in came.err and "HDF5" not in came.err, came.err
        self.check(folder)
        if again:
            self.finish(folder)
            self.check(folder, final=True)

    def said(self, came: Ended) -> str:
        for line in came.err.splitlines():
            if line.startswith("error: "):
                return f"`{words(line)}`, exit code {came.code}"
        return "it fitted"


def words(line: str) -> str:
    """An error without the path it begins with."""
    return line.rpartition(": ")[2]


class CannotMount(Exception):
    """This user may not."""


@contextlib.contextmanager
def mounted(folder: Path, size: int, how: str = "rw") -> Iterator[None]:
    """A disk in memory of so many bytes at `folder`, to be written (rw) or only to be read (ro)."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={size},{how}", "tmpfs", folder]
    if any(folder.iterdir()) or subprocess.run(command, capture_output=True).returncode:
        raise CannotMount
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)
