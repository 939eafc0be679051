"""Safetensors files with text metadata and a checksum, by which damage is noticed."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from zsecli.errors import StoreError
from zsecli.runtime.files import atomic_write

# keys of the metadata
SCHEMA = "zse-schema"
CHECKSUM = "checksum"


def checksum(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256, as hexadecimal text, of all metadata but the checksum itself and of all tensors.

    docs/stores.md says which bytes enter it, and in which order.
    """
    hashed = [(key, value) for key, value in metadata.items() if key != CHECKSUM]
    digest = hashlib.sha256(_line(sorted(hashed)))
    for name, tensor in sorted(state.items()):
        digest.update(_line([name, str(tensor.dtype).removeprefix("torch."), list(tensor.shape)]))
        digest.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _line(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"


def write(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write tensors, which are on the CPU, and metadata beside `path`, then replace it.

    The same content makes the same bytes. Of tensors that share memory, each is written separately.
    """
    state = _separate(state)
    with atomic_write(path) as (partial,):
        save_file(state, partial, {**metadata, CHECKSUM: checksum(state, metadata)})
        _sort_metadata(partial)


def _separate(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`state` with a copy of every tensor that shares memory with an earlier one: some networks use a layer twice."""
    used_addresses: set[int] = set()
    separate = {}
    for name, tensor in state.items():
        address = tensor.untyped_storage().data_ptr()
        is_shared = address in used_addresses and tensor.numel() > 0
        separate[name] = tensor.clone() if is_shared else tensor
        used_addresses.add(address)
    return separate


def _sort_metadata(path: Path) -> None:
    """Sort the metadata, whose order the library chooses anew in every process."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        assert len(text) <= size
        file.seek(8)
        file.write(text.ljust(size))


def read_metadata(path: Path, hint: str) -> dict[str, str]:
    """The metadata of a safetensors file, without its tensors; StoreError, with `hint`, where it is none."""
    with refusing(path, "not a safetensors file", hint), safe_open(path, "pt") as file:
        return file.metadata() or {}


def read(path: Path, hint: str) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The metadata and the tensors of a safetensors file.

    Raises:
        StoreError: it is none, or not what zse wrote into it, where it has a checksum.
    """
    with refusing(path, "not a safetensors file", hint), safe_open(path, "pt") as file:
        metadata = file.metadata() or {}
        state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if {SCHEMA, CHECKSUM} <= metadata.keys() and metadata[CHECKSUM] != checksum(state, metadata):
        raise StoreError(
            f"{path}: damaged: its tensors, or its metadata, are not those that were written",
            "copy it again from where it came, or make it again",
        )
    return metadata, state


@contextlib.contextmanager
def refusing(path: Path, what: str, hint: str) -> Iterator[None]:
    """Turn any error into a StoreError "`path`: `what`: the reason", for libraries reading a file of unknown origin."""
    try:
        yield
    except Exception as error:  # timm, PyTorch and pickle raise errors of every kind
        if isinstance(error, StoreError) and error.message.startswith(str(path)):
            raise
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        raise StoreError(f"{path}: {what}: {reason[:200]}", hint) from error
