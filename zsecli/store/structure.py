"""What an HDF5 file may consist of to be a store: the format can do far more, and a stranger's file may use it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import h5py
from h5py import h5d

MOST_NODES = 10_000  # groups and datasets
ROWS = ("ret", "tokens", "index", "indices", "scores")  # datasets that need not be stored whole
WIDEST = 2**30  # bytes of a row


class Refused(ValueError):
    """The file has what no store has; the text says what."""


def check_structure(file: h5py.File) -> None:
    """Refuse what would reach into other files, never end, run a filter's code, or ask for memory it does not fill.

    Raises:
        Refused: a link that is not a hard one, a group within itself, references, filters, virtual or external
            data, a type no store has, or a dataset larger than what is stored of it.
    """
    addresses = set()
    for name, node in _walk_nodes(file):
        address = h5py.h5o.get_info(node.id).addr
        if address in addresses:
            raise Refused(f"{name} is there under two names")
        addresses.add(address)
        if len(addresses) > MOST_NODES:
            raise Refused(f"more than {MOST_NODES} groups and datasets")
        if isinstance(node, h5py.Dataset):
            _check_dataset(name, node)
        elif not isinstance(node, h5py.Group):
            raise Refused(f"{name} is neither a group nor a dataset")


def _walk_nodes(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    """Everything below a group, each before what is below it."""
    for name in group:
        if not isinstance(group.get(name, getlink=True), h5py.HardLink):
            raise Refused(f"{group.name.rstrip('/')}/{name} is a link to another place")
        node = group[name]
        yield node.name, node
        if isinstance(node, h5py.Group):
            yield from _walk_nodes(node)


def _check_dataset(name: str, data: h5py.Dataset) -> None:
    creation = data.id.get_create_plist()
    if creation.get_layout() == h5d.VIRTUAL or creation.get_external_count():
        raise Refused(f"{name} lies in another file")
    if creation.get_nfilters():
        raise Refused(f"{name} is filtered")
    if not _has_known_type(data):
        raise Refused(f"{name} is of a type that no store has")
    if data.chunks is None or name.lstrip("/") not in ROWS:
        if data.id.get_storage_size() < data.nbytes:
            raise Refused(f"{name} is larger than what is stored of it")
        return
    # the number of rows is that of a table, which is stored whole
    row_bytes = data.dtype.itemsize * max(math.prod(data.shape[1:]), math.prod(data.chunks))
    if row_bytes > WIDEST:
        raise Refused(f"a row of {name} has {row_bytes} bytes")


def _has_known_type(data: h5py.Dataset) -> bool:
    """Whether the values are truth values, numbers or text."""
    if data.shape is None or data.dtype.subdtype is not None:
        return False
    return data.dtype.kind in "biuf" or h5py.check_string_dtype(data.dtype) is not None
