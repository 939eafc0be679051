"""Shards of a store, merged when all are there."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

from zsecli.runtime.files import exclusive_lock
from zsecli.runtime.shards import Shard
from zsecli.store.hdf5 import is_up_to_date
from zsecli.store.writer import Writer

logger = logging.getLogger(__name__)


def remove_shards(shard: Shard, output: Path, kind: str, key: str) -> None:
    """Remove the shards of the finished store `output`.

    Some are left where the process that merged them was stopped, or two processes made the same one.
    """
    if shard.count == 1:
        return
    for sibling in shard.all_shards():
        path = sibling.path(output)
        if is_up_to_date(path, kind, sibling.key(key)):
            path.unlink(missing_ok=True)


def merge_shards(
    shard: Shard, output: Path, kind: str, key: str, count: int, step: int, begin: Callable[[Path], Writer]
) -> bool:
    """Merge the shards of the store `output`, of `count` rows, once all are there; whether the store is there then.

    Args:
        step: as `Shard.rows` was given.
        begin: the writer of the whole store, given the path of a shard.

    Raises:
        StoreError: a shard has another number of rows than expected.
    """
    if shard.count == 1:
        return True
    shard.wait()
    shards = [sibling for sibling in shard.all_shards() if _has_rows(sibling, count, step)]
    if shard.is_main:
        # a lock, as several processes may finish last
        with exclusive_lock(output.with_name(f"{output.name}.join"), wait=True):
            if not is_up_to_date(output, kind, key) and _are_ready(shards, output, kind, key):
                with begin(shards[0].path(output)) as store:
                    for sibling in shards:
                        store.append(sibling.path(output), kind, sibling.rows(count, step))
                    store.finish()
            if is_up_to_date(output, kind, key):
                remove_shards(shard, output, kind, key)
            else:
                logger.info(f"shard {shard.number} of {shard.count} is done; the last of them puts all together")
    shard.wait()
    return is_up_to_date(output, kind, key)


def _has_rows(shard: Shard, count: int, step: int) -> bool:
    rows = shard.rows(count, step)
    return rows.start < rows.stop


def _are_ready(shards: list[Shard], output: Path, kind: str, key: str) -> bool:
    return all(is_up_to_date(shard.path(output), kind, shard.key(key)) for shard in shards)
