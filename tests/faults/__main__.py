"""Put many faults in the way of every stage, and damage files of every kind, for docs/reliability.md.

    python -m faults ROUNDS [FAULT ...]

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
HEAD = """# Reliability

What was tried to lose or spoil a result, or to get in; made by `make faults`. SECURITY.md has the promises,
docs/stores.md how files are written.

## Faults

Each stage is disturbed at random moments, on a few pictures and a tiny network, with commits every few rows. After
each fault a file that bears a final name must be whole: the same as an undisturbed run's, in every dataset (a
training's best checkpoint so far must load). Then the same command is run without a fault, after three stops in a row
where it was stopped: it must end well, and what it leaves must be the same as an undisturbed run's; checkpoints,
figures and reports byte by byte. "Lost" counts where anything of that failed. A row alone
is made by `cd tests && PYTHONPATH=. python -m faults 6 "two writers where locks are refused"`.

| fault | tried | lost | what the user saw |
|---|---|---|---|"""
FUZZ_HEAD = """
## Fuzzing

Each reader on the committed inputs in `tests/fuzz/corpus`, which a coverage-guided fuzzer found (`make fuzz`), and on
changes of them drawn at random.
"""
STAGES_HEAD = """
The same by stage:

| stage | faults | lost |
|---|---|---|"""


def main(rounds: int, chosen: list[str]) -> int:
    if not chosen:
        print(HEAD)
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        begun = template(scratch / "template", some_pictures(scratch / "pictures"))
        stages = {stage: Faults(begun, scratch, stage) for stage in STAGES}
        lost: Counter[str] = Counter()
        tried: Counter[str] = Counter()
        for kind, fault in KINDS.items():
            if chosen and kind not in chosen:
                continue
            count = rounds if "SIG" in kind else max(2, rounds // 2)
            jobs = [(stage, partial(fault, faults)) for _ in range(count) for stage, faults in stages.items()]
            with ThreadPoolExecutor(os.cpu_count()) as pool:
                found = list(pool.map(lambda job: (job[0], outcome(job[1])), jobs))
            seen: Counter[str] = Counter()
            number = failed = 0
            for stage, came in found:
                if came is None:
                    failed += 1
                    lost[stage] += 1
                else:
                    number += came.tried
                    tried[stage] += came.tried
                    seen.update(came.seen)
            said = "; ".join(f"{text} ({times})" for text, times in seen.most_common())
            print(f"| {kind} | {number} | {failed} | {said} |", flush=True)
        if chosen:
            return int(bool(lost))
        print(STAGES_HEAD)
        for stage in STAGES:
            print(f"| {stage} | {tried[stage]} | {lost[stage]} |")
        failed = damage.report(scratch) + pictures.report(scratch)
        print(FUZZ_HEAD)
        failed += fuzz.report() + damage.tested() + soak.report(begun, LONG)
    return int(bool(lost or failed))


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
