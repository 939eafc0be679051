"""The interface of a data source, and the benchmarks' implementation of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from zsecli.data.sources.base import Listing
from zsecli.data.sources.options import SourceOptions
from zsecli.errors import ZseError


class DataSource(Protocol):
    """Lists the pictures of one kind of data set. `zsecli.vocabulary.DATA_SOURCES` has one by each name."""

    @property
    def is_benchmark(self) -> bool:
        """Whether stores record the source's name, under which published figures are looked up."""
        ...

    @property
    def takes_path(self) -> bool:
        """Whether the user may say where the pictures are."""
        ...

    @property
    def needs_path(self) -> bool:
        """Whether the user must say where the pictures are, so that a missing data set cannot be prepared unasked."""
        ...

    def find(self, path: Path | None) -> Path:
        """The folder or file to read, given what the user typed, if anything.

        Raises:
            ZseError: nothing is there.
        """
        ...

    def options_for(self, path: Path) -> frozenset[str]:
        """The names of the `SourceOptions` that matter when `path` is read."""
        ...

    def read(self, path: Path, options: SourceOptions) -> Listing:
        """List what lies at `path`; no picture is opened."""
        ...

    def default_name(self, path: Path, options: SourceOptions) -> str:
        """What to call a data set that the user gave no name."""
        ...


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A data set of the field, which lies below `datasets/` or where `--root` says."""

    name: str
    reader: Callable[[Path, SourceOptions], Listing]
    home: str
    """Where it can be had."""
    shape: str
    """Its folders on disk, for error messages."""
    folder_names: tuple[str, ...]
    """Its usual names below `./datasets`."""
    options: frozenset[str] = frozenset({"lists"})
    is_benchmark: bool = True
    takes_path: bool = True
    needs_path: bool = False

    def find(self, path: Path | None) -> Path:
        """`path`, or the first of the usual places; ZseError where it is in none."""
        if path is not None:
            if path.is_dir():
                return path
            raise ZseError(
                f"{path}: is no folder, {self.name} is not there",
                f"get it from {self.home}; expected below it: {self.shape}",
            )
        candidates = [Path("datasets") / folder for folder in self.folder_names]
        for candidate in candidates:
            if candidate.is_dir():
                return candidate
        tried = ", ".join(f"./{candidate.as_posix()}" for candidate in candidates)
        raise ZseError(
            f"{self.name}: not found (looked for {tried})",
            f"get it from {self.home} and pass --root FOLDER; expected below it: {self.shape}",
        )

    def options_for(self, path: Path) -> frozenset[str]:
        return self.options

    def read(self, path: Path, options: SourceOptions) -> Listing:
        return self.reader(path, options)

    def default_name(self, path: Path, options: SourceOptions) -> str:
        return self.name
