"""Small stores, written whole or by a process that kills itself."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.data.dataset import Dataset
from zsecli.data.items import Items
from zsecli.store.dataset import write_dataset
from zsecli.store.features import FeatureWriter
from zsecli.store.ranking import RankingWriter

COUNT, BATCH = 7, 2


def items(count: int = COUNT) -> Items:
    zeros = np.zeros(count, np.uint8)
    return Items(
        id=[f"{i}.png" for i in range(count)],
        modality=zeros,
        part=zeros.astype(np.int8),
        sha256=np.zeros((count, 32), np.uint8),
    )


def die(*_: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def write(kind: str, path: Path, key: str = "a", death: str = "") -> Path:
    """Write a store of seven rows, two at once; `death` says where the process kills itself."""
    if kind == "dataset":
        times = np.arange(COUNT)
        if death:
            os.replace = die
        return write_dataset(path, Dataset(name=key, root=Path("pictures"), items=items(), size=times, mtime=times), {})
    rng = np.random.default_rng(3)
    scores, tokens = rng.random((COUNT, 4), np.float32), rng.random((COUNT, 3, 4), np.float32)
    store: FeatureWriter | RankingWriter
    store = (
        FeatureWriter(path, key, {}, items(), 4, 3, 2)
        if kind == "features"
        else RankingWriter(path, key, {}, items(), items(4), 4)
    )
    with store:
        if death == "resumed":
            print(store.rows)
        for start in range(store.rows, COUNT, BATCH):
            at = slice(start, start + BATCH)
            rows = len(scores[at])
            if death == f"before commit {start}":
                store.commit = die  # type: ignore[method-assign]
            if isinstance(store, FeatureWriter):
                # the second picture is skipped
                good = np.arange(COUNT)[at] != 1
                reasons = ["" if g else "broken" for g in good]
                store.write(store_ids(at), reasons, scores[at][good], tokens[at][good], np.ones((good.sum(), 2)))
            else:
                store.write(start, np.tile(np.arange(4), (rows, 1)), scores[at])
            if death == f"after commit {start}":
                die()
        if death == "before the rename":
            os.replace = die
        return store.finish()


def store_ids(at: slice) -> list[str]:
    return items().id[at]
