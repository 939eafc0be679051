"""What an HDF5 file may be made of to be a store: the format can do far more, and a stranger's file may use it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
from h5py import h5d

MOST = 10_000  # groups and datasets
ROWS = ("ret", "tokens", "index", "indices", "scores")  # what need not be stored whole
WIDEST = 2**30  # bytes of a row


class Refused(ValueError):
    """The file has what no store has; the text says what."""


def check(file: h5py.File) -> None:
    """Refuse what would reach into other files, never end, run a filter's code, or ask for memory it does not fill.

    Raises:
        Refused: a link that is not a hard one, a group within itself, references, filters, virtual or external
            data, a type no store has, or a dataset larger than what is stored of it.
    """
    seen = set()
    for name, node in _nodes(file):
        place = h5py.h5o.get_info(node.id).addr
        if place in seen:
            raise Refused(f"{name} is there under two names")
        seen.add(place)
        if len(seen) > MOST:
            raise Refused(f"more than {MOST} groups and datasets")
        if isinstance(node, h5py.Dataset):
            _check_dataset(name, node)
        elif not isinstance(node, h5py.Group):
            raise Refused(f"{name} is neither a group nor a dataset")


def _nodes(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Everything below a group, each before what is below it."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Refused(f"{group.name.rstrip('/')}/{name} is a link to another place")
        node = group[name]
        yield node.name, node
        if isinstance(node, h5py.Group):
            yield from _nodes(node)


def _check_dataset(name: str, data: h5py.Dataset) -> None:
    made = data.id.get_create_plist()
    if made.get_layout() == h5d.VIRTUAL or made.get_external_count():
        raise Refused(f"{name} lies in another file")
    if made.get_nfilters():
        raise Refused(f"{name} is filtered")
    text = h5py.check_string_dtype(data.dtype)
    if data.shape is None or data.dtype.subdtype is not None or (data.dtype.kind not in "biuf" and text is None):
        raise Refused(f"{name} is of a type that no store has")
    if data.chunks is None or name.lstrip("/") not in ROWS:
        if data.id.get_storage_size() < data.nbytes:
            raise Refused(f"{name} is larger than what is stored of it")
    elif (row := data.dtype.itemsize * max(math.prod(data.shape[1:]), math.prod(data.chunks))) > WIDEST:
        raise Refused(f"a row of {name} has {row} bytes")  # the number of rows is that of a table, which is stored
