"""How often a command opens each store: opening one reads, checks and parses it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import h5py
import pytest

from helpers.commands import Zse
from zsecli.store import hdf5

MOST = {"datasets": 1, "features": 3, "rankings": 1}  # by `zse match` on a data set, where all is up to date


def test_match_opens_stores_a_few_times(zse: Zse, ready: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: Counter[str] = Counter()
    open_to_read = hdf5.open_to_read

    def count(path: Path) -> h5py.File:
        opened[path.parent.name] += 1
        return open_to_read(path)

    monkeypatch.setattr(hdf5, "open_to_read", count)
    zse("match").ok()
    assert opened == MOST
