"""The table of pictures in an HDF5 group."""

from __future__ import annotations

import h5py
import numpy as np

from zsecli.arrays import Array
from zsecli.data.items import MODALITIES, NEITHER, PARTS, Column, Items
from zsecli.errors import StoreError
from zsecli.store.hdf5 import TEXT, report_damage

NAMES = {"label": "classes", "instance": "instances", "family": "families"}  # column -> dataset of its names


def write_items(items: Items, group: h5py.Group) -> None:
    """Write the table into an empty group."""
    _write_text(group, "id", items.id)
    modality = group.create_dataset("modality", data=items.modality, dtype="u1")
    modality.attrs["meaning"] = "0 sketch, 1 photo"
    part = group.create_dataset("part", data=items.part, dtype="i1")
    part.attrs["meaning"] = "0 seen, 1 unseen, -1 neither"
    group.create_dataset("sha256", data=items.sha256, dtype="u1")
    for name, names in NAMES.items():
        column = items.column(name)
        codes = group.create_dataset(name, data=column.codes, dtype="i4")
        codes.attrs["meaning"] = f"row of {names}, -1 none"
        _write_text(group, names, column.names)


def read_items(group: h5py.Group, source: object) -> Items:
    """The table in a group.

    Args:
        source: the store, for messages.

    Raises:
        StoreError: its columns do not belong together.
    """
    with report_damage(source):
        ids = _read_text(group, "id")
        modality, part, sha256 = group["modality"][:], group["part"][:], group["sha256"][:]
        columns = {name: Column(group[name][:], _read_text(group, names)) for name, names in NAMES.items()}
        count = len(ids)
        is_valid = (
            len(set(ids)) == count
            and sha256.shape == (count, 32)
            and sha256.dtype == np.uint8
            and _are_codes(modality, count, 0, len(MODALITIES))
            and _are_codes(part, count, NEITHER, len(PARTS))
            and all(_are_codes(column.codes, count, -1, len(column.names)) for column in columns.values())
        )
    if not is_valid:
        raise StoreError(f"{source}: the columns of {group.name} do not belong together", "delete it and make it again")
    return Items(id=ids, modality=modality, part=part, sha256=sha256, **columns)


def _are_codes(values: Array, count: int, least: int, stop: int) -> bool:
    """Whether `values` are `count` whole numbers from `least` to below `stop`."""
    if values.shape != (count,) or values.dtype.kind not in "iu":
        return False
    return bool(((values >= least) & (values < stop)).all())


def _write_text(group: h5py.Group, name: str, values: list[str]) -> None:
    """A column of UTF-8 strings of any length."""
    group.create_dataset(name, data=np.array(values, dtype=object), dtype=TEXT)


def _read_text(group: h5py.Group, name: str) -> list[str]:
    values = group[name].asstr()[:]
    if values.ndim != 1:
        raise ValueError(f"{name} is no list of names")
    return list(values)
