"""Every stage of zse, small, and what it leaves: for the faults that are put in its way."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.synchronize import Event
from pathlib import Path

import torch

from helpers.commands import call
from helpers.stores import read_datasets
from helpers.tiny import STILL, TINY, build
from helpers.warm import speak

TRAIN = "train pictures --preset tiny --scratch --epochs 3 --epoch-draws 16 --batch-size 8"
STAGES = {  # each writes into the folder `out`
    "prepare": "prepare folder pictures --unseen unseen.txt --workspace out",
    "embed": "embed --part all --model tiny.safetensors --batch-size 2 -o out/features.h5",
    "embed, by processes": "embed --part all --model tiny.safetensors --batch-size 2 --workers 1 -o out/features.h5",
    "embed, the last shard": "embed --part all --model tiny.safetensors --batch-size 2 --shard 2/2 -o out/features.h5",
    "match by [Ret]": "match features.h5 --by ret -o out/ranking.h5",
    "match by RN": "match features.h5 --by rn -o out/ranking.h5",
    "evaluate": "evaluate ranking.h5 -o out/report.json",
    "train": f"{TRAIN} -o out/net.safetensors",
    "explain": "explain sketch.png photo.webp --model tiny.safetensors -o out/match --overwrite",
    "synthesize": "synthesize sketch.png photo.webp --model tiny.safetensors -o out/match.png --overwrite",
}
BESIDE = (".partial", ".lock", ".held", ".hashes")  # files that are no results
FIRST = "embed --part all --model tiny.safetensors --batch-size 2 --shard 1/2 -o out/features.h5"


def template(folder: Path, pictures: Path) -> Path:
    """Make of `folder` one in which every stage can run."""
    from zsecli.model import checkpoint

    (folder / "out").mkdir(parents=True)
    (folder / "pictures").symlink_to(pictures)
    checkpoint.save(build(TINY), folder / "tiny.safetensors")
    shutil.copy(next((pictures / "sketch" / "lock").iterdir()), folder / "sketch.png")
    shutil.copy(next((pictures / "photo" / "lock").iterdir()), folder / "photo.webp")
    (folder / "unseen.txt").write_text("lock\n")
    call(folder, "prepare", "folder", "pictures", "--unseen", "unseen.txt").ok()
    model = {"ZSE_MODEL": "tiny.safetensors"}
    call(folder, "embed", "--part", "all", "-o", "features.h5", **model).ok()
    call(folder, "match", "features.h5", "--by", "ret", "-o", "ranking.h5", **model).ok()
    return folder


def often() -> None:
    """Let the stages commit often, so that there is much to interrupt in a short time."""
    from zsecli.model import config
    from zsecli.retrieval import extract
    from zsecli.retrieval.rankers import base
    from zsecli.train import job as job  # the presets are complete once it is there

    extract.COMMIT = 4
    base.PAIRS_AT_ONCE = base.ENTRIES_AT_ONCE = 48
    config.PRESETS["tiny"] = replace(STILL, preset="tiny")


def refuse_locks() -> None:
    """Let this process find no locks, as on some network file systems."""

    def flock(*_: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    fcntl.flock = flock


def child(
    folder: Path, line: str, ready: Event, said: str, bytes_a_file: int | None = None, locks: bool = True
) -> None:
    """Run a command in a process that is there for it; what it says goes to the files `said`.out and `said`.err.

    Args:
        ready: set when the command begins.
        bytes_a_file: the most that the system lets it write into one.
        locks: whether the system has any.
    """
    from zsecli import cli
    from zsecli.cli import signals

    multiprocessing.set_start_method("fork", force=True)  # as outside of this harness
    for number in signals.STOPS:
        signal.signal(number, signal.default_int_handler)
    for name in ("ZSE_MODEL", "ZSE_WORKSPACE"):
        os.environ.pop(name, None)
    speak(folder, said)
    sys.argv = ["zse", *line.split()]
    often()
    torch.set_num_threads(1)
    if bytes_a_file is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))
    if not locks:
        refuse_locks()
    ready.set()
    cli.main()


def left(folder: Path) -> dict[str, str]:
    """Names below `out` and digests of their content, of all that bears a final name."""
    names = sorted(f for f in (folder / "out").rglob("*") if f.is_file())
    return {
        f.relative_to(folder / "out").as_posix(): _digest(f)
        for f in names
        if f.suffix not in (".partial", ".lock", ".held", ".hashes")
        and ".run" not in f.parent.name
        and "cache" not in f.parts
    }


def _digest(file: Path) -> str:
    said: Sequence[bytes]
    if file.suffix == ".h5":
        from zsecli.stages.inspect import describe

        describe(file, verify=True)
        said = [
            f"{name}{value!r}".encode() if not hasattr(value, "tolist") else f"{name}{value.tolist()}".encode()
            for name, value in sorted(read_datasets(file).items())
        ]
    else:
        said = [file.read_bytes()]
    return hashlib.sha256(b"".join(said)).hexdigest()
