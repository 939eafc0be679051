"""The format of a file of weights, found from its content and not from its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Literal

from zsecli.errors import StoreError

Format = Literal["safetensors", "torch"]
HEAD = 512  # bytes that are read; a tar archive has the last signature, at 257
LONGEST_HEADER = 100_000_000  # bytes of a safetensors header, as its library limits it
UNPACK = "unpack it, and give the file inside that holds the weights"
WEIGHTS = "give a safetensors file, or one that torch.save wrote"
SIGNATURES = (  # of other files: position, bytes, description, hint
    (0, b"\x89HDF\r\n\x1a\n", "is an HDF5 file, and holds no weights that zse reads", WEIGHTS),
    (0, b"version https://git-lfs", "is a pointer of Git LFS, and not the file itself", "git lfs pull fetches it"),
    (0, b"\x1f\x8b", "is compressed by gzip", UNPACK),
    (0, b"BZh", "is compressed by bzip2", UNPACK),
    (0, b"\xfd7zXZ", "is compressed by xz", UNPACK),
    (0, b"7z\xbc\xaf\x27\x1c", "is a 7z archive", UNPACK),
    (0, b"Rar!", "is a RAR archive", UNPACK),
    (257, b"ustar", "is a tar archive", UNPACK),
    (0, b"\x93NUMPY", "is an array of numpy", WEIGHTS),
    (0, b"GGUF", "is a GGUF file", WEIGHTS),
)


def read_format(path: Path) -> Format:
    """The format of `path`.

    Raises:
        StoreError: it is none of the two that zse reads; the message names what it is, where that is known.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    if not head:
        raise StoreError(f"{path}: is empty: it is damaged, or was never written whole", "copy it again")
    if head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") <= LONGEST_HEADER:
        return "safetensors"
    if head[:1] == b"\x80":  # a pickle: torch.save as it wrote until 1.5, and whatever else
        return "torch"
    if head[:2] == b"PK":
        return _check_archive(path)
    for start, signature, what, hint in SIGNATURES:
        if head[start:].startswith(signature):
            raise StoreError(f"{path}: {what}", hint)
    raise _text_error(path, head) or StoreError(
        f"{path}: neither a safetensors file nor one of torch.save, or damaged", "copy it again from where it came"
    )


def is_weights(path: Path) -> bool:
    """Whether a file has one of the two formats, damaged or not."""
    try:
        return path.is_file() and bool(read_format(path))
    except StoreError:
        return False


def _check_archive(path: Path) -> Format:
    """torch.save writes a zip archive; StoreError for every other one."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, EOFError, NotImplementedError) as error:
        raise StoreError(f"{path}: a damaged archive: {error}", "copy it again from where it came") from error
    folders = {name.partition("/")[2].split("/")[0] for name in names}
    if {"constants.pkl", "code"} <= folders:
        hint = "where it was made: torch.save(model.state_dict(), FILE) keeps the weights alone"
        raise StoreError(f"{path}: is a TorchScript archive, a program and not weights alone", hint)
    if "data.pkl" in folders:
        return "torch"
    if names and all(name.endswith(".npy") for name in names):
        raise StoreError(f"{path}: is an archive of numpy arrays", WEIGHTS)
    raise StoreError(f"{path}: is a zip archive, but not one of torch.save", UNPACK)


def _text_error(path: Path, head: bytes) -> StoreError | None:
    """The error for a text instead of weights, mostly a failed download; None where it is no text."""
    try:
        text = head.decode("utf-8-sig", "strict" if len(head) < HEAD else "ignore").strip()
    except UnicodeDecodeError:
        return None
    if any(not (c.isprintable() or c.isspace()) for c in text):
        return None
    if text.startswith("<"):
        return StoreError(f"{path}: is a web page, and not the file that was to be downloaded", "download it again")
    first = text.splitlines()[0][:60] if text else ""
    what = f"{path}: not a safetensors file, nor one of torch.save, but a text: {first!r}"
    return StoreError(what, "download it again, or " + WEIGHTS)
