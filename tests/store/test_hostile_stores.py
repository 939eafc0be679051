"""Stores made by a stranger who knows HDF5: whole and sealed, but made of what no store is made of."""

from __future__ import annotations

import shutil
import tracemalloc
from pathlib import Path

import h5py
import pytest

from helpers.commands import Zse
from helpers.damaged_stores import NEWEST, read
from helpers.hostile_stores import (
    TRICKS,
    harm,
)
from helpers.stores import changing, reseal
from zsecli.errors import StoreError


@pytest.mark.parametrize("name", TRICKS)
def test_a_store_made_to_do_harm(tmp_path: Path, name: str) -> None:
    path = harm(tmp_path, name)
    tracemalloc.start()
    with pytest.raises(StoreError, match=TRICKS[name][1]) as error:
        read(path, "features")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert str(path) in error.value.message
    assert peak < 50e6


SAYS = {  # in the provenance of a ranking
    "half a character": ('{"model": "a\\ud800b"}', "says model"),
    "half a character for a byte": ('{"model": "a\\udcffb"}', "says model"),
    "half a character in a data set's name": ('{"origins": [{"data": "\\ud800"}, {}]}', "says origins"),
    "half a character in a folder": ('{"roots": ["\\ud800", ""]}', "says roots"),
    "a zero byte in a folder": ('{"roots": ["\\u0000", ""]}', "says roots"),
    "a model that is a list": ('{"model": [1]}', "says model"),
    "another way to rank": ('{"by": ["cascade"]}', "says by"),
    "a flag that is text": ('{"center": "no"}', "says center"),
    "a share that is no number": ('{"recall": NaN}', "not JSON"),
    "a share without end": ('{"recall": 1e999}', "not JSON"),
    "a share of thousands of digits": ('{"recall": %s}' % ("9" * 4000), "says recall"),
    "no number that nobody asks for": ('{"more": [Infinity]}', "not JSON"),
}


def says(store: Path, provenance: str) -> None:
    shutil.copy(NEWEST / "ranking.h5", store)
    with changing(store) as file:
        del file["provenance"]
        file["provenance"] = provenance


@pytest.mark.parametrize("name", SAYS)
def test_a_provenance_that_cannot_be(zse: Zse, tmp_path: Path, name: str) -> None:
    says(tmp_path / "a.h5", SAYS[name][0])
    for words in (["evaluate", "a.h5", "--json"], ["evaluate", "a.h5", "--csv"], ["inspect", "a.h5", "--json"]):
        zse(*words).refused(3, "a.h5: damaged", SAYS[name][1])


def test_a_folder_s_name_need_not_be_text(zse: Zse, tmp_path: Path) -> None:
    says(tmp_path / "a.h5", '{"roots": ["caf\\udce9", ""]}')
    zse("inspect", "a.h5", "--json").ok()


def test_it_is_said_in_two_lines(zse: Zse, tmp_path: Path) -> None:
    shutil.copy(NEWEST / "features.h5", tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["more"] = h5py.ExternalLink("/etc/passwd", "/")
    reseal(tmp_path / "a.h5")
    for words in (["inspect", "a.h5"], ["inspect", "a.h5", "--verify"], ["match", "a.h5"]):
        zse(*words).refused(3, "a.h5: damaged: /more is a link to another place")
