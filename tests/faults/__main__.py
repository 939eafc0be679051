"""Put many faults in the way of every stage, damage files of every kind, and print the tables of docs/reliability.md.

    PYTHONPATH=.:../benchmarks python -m faults ROUNDS [FAULT ...]

In the folder `tests`; 6 rounds take about a quarter of an hour on two cores. With faults, as the first column of the
table names them, their rows alone.

Ends with 1 where anything was lost.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from helpers.commands import set_up_process

set_up_process()

import fuzz  # noqa: E402
from faults import damage, pictures, soak  # noqa: E402
from faults.harness import CannotMount, Faults, Outcome  # noqa: E402
from faults.stages import STAGES, template  # noqa: E402
from helpers.demo import some_pictures  # noqa: E402
from lib.tables import block, print_header, print_row  # noqa: E402

KINDS: dict[str, Callable[[Faults], Outcome]] = {
    "killed (SIGKILL)": lambda faults: faults.stop(signal.SIGKILL),
    "Ctrl-C (SIGINT)": lambda faults: faults.stop(signal.SIGINT),
    "stopped by a batch system (SIGTERM)": lambda faults: faults.stop(signal.SIGTERM),
    "a file that may grow no further (RLIMIT_FSIZE)": Faults.fill,
    "a full disk (tmpfs)": Faults.fill_disk,
    "no right to write": Faults.forbid,
    "two writers at once": Faults.meet,
    "two writers where locks are refused": lambda faults: faults.meet(locks=False),
    "killed (SIGKILL) where locks are refused": lambda faults: faults.stop(signal.SIGKILL, locks=False),
}
LONG = {"pixels": 2000, "tiny.safetensors": 300}  # commands in one process, by model


def main(rounds: int, chosen: list[str]) -> int:
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        begun = template(scratch / "template", some_pictures(scratch / "pictures"))
        lost = print_faults(begun, scratch, rounds, chosen)
        if chosen:
            return int(lost)
        failed = damage.report(scratch) + pictures.report(scratch)
        with block("fuzzing"):
            failed += fuzz.report()
        failed += damage.tested() + soak.report(begun, LONG)
    return int(lost or failed > 0)


def print_faults(begun: Path, scratch: Path, rounds: int, chosen: list[str]) -> bool:
    """Print the rows of every fault, or of the chosen ones alone, and the table by stage; whether anything was lost."""
    stages = {stage: Faults(begun, scratch, stage) for stage in STAGES}
    lost: Counter[str] = Counter()
    tried: Counter[str] = Counter()
    with block("faults"):
        print_header("fault", "tried", "lost", "what the user saw")
        for kind, fault in KINDS.items():
            if chosen and kind not in chosen:
                continue
            count = rounds if "SIG" in kind else max(2, rounds // 2)
            jobs = [(stage, partial(fault, faults)) for _ in range(count) for stage, faults in stages.items()]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                outcomes = list(pool.map(lambda job: (job[0], outcome(job[1])), jobs))
            seen: Counter[str] = Counter()
            number = failed = 0
            for stage, result in outcomes:
                if result is None:
                    failed += 1
                    lost[stage] += 1
                else:
                    number += result.tried
                    tried[stage] += result.tried
                    seen.update(result.seen)
            print_row(kind, number, failed, "; ".join(f"{text} ({times})" for text, times in seen.most_common()))
    if not chosen:
        with block("stages"):
            print_header("stage", "faults", "lost")
            for stage in STAGES:
                print_row(stage, tried[stage], lost[stage])
    return bool(lost)


def outcome(fault: Callable[[], Outcome]) -> Outcome | None:
    try:
        return fault()
    except CannotMount:
        return Outcome()
    except Exception:
        traceback.print_exc()
        return None


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), sys.argv[2:]))
