"""The committed inputs of every target: one archive each, so that 500 tiny files do not outnumber the code."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

FOLDER = Path(__file__).parent / "corpus"
LONG_AGO = (1980, 1, 1, 0, 0, 0)  # of every entry, so that equal inputs make an equal archive


def get_archive(target: str) -> Path:
    return FOLDER / f"{target}.zip"


def read_corpus(target: str) -> dict[str, bytes]:
    """The committed inputs of a target, by name; none where it has no archive yet."""
    if not get_archive(target).is_file():
        return {}
    with zipfile.ZipFile(get_archive(target)) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist())}


def write_corpus(target: str, inputs: Mapping[str, bytes]) -> None:
    FOLDER.mkdir(exist_ok=True)
    with zipfile.ZipFile(get_archive(target), "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(inputs):
            archive.writestr(zipfile.ZipInfo(name, LONG_AGO), inputs[name], zipfile.ZIP_DEFLATED)


def unpack_corpus(target: str, folder: Path) -> Path:
    """The inputs as files in `folder`, which is made: libFuzzer reads and writes folders."""
    folder.mkdir()
    for name, data in read_corpus(target).items():
        (folder / name).write_bytes(data)
    return folder


def pack_corpus(target: str, folder: Path) -> None:
    """Make the files of `folder` the committed inputs."""
    write_corpus(target, {file.name: file.read_bytes() for file in folder.iterdir()})
