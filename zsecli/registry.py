"""Registries of what a user chooses by name. They import nothing heavy, so that `--help` can list the names."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zsecli.errors import UsageError, did_you_mean


@dataclass(frozen=True, kw_only=True)
class Entry:
    """Something that has a name, and is imported when it is first used."""

    name: str
    """What the user types."""
    description: str
    """What it is, in a few words for help texts, without a full stop."""
    target: object
    """`module:attribute`, or the object itself."""

    def load(self) -> Any:
        """The object that `target` names."""
        if not isinstance(self.target, str):
            return self.target
        module, _, attribute = self.target.partition(":")
        return getattr(importlib.import_module(module), attribute)


E = TypeVar("E", bound=Entry)


class Registry(Generic[E]):
    """The entries of one kind, in the order in which they were registered.

    Args:
        noun: what an entry is called in messages, such as "data source".
    """

    def __init__(self, noun: str, entries: Iterable[E] = ()) -> None:
        self.noun = noun
        self._entries: dict[str, E] = {}
        for entry in entries:
            self.register(entry)

    def register(self, entry: E) -> None:
        """Add an entry. ValueError where the name is taken."""
        if entry.name in self._entries:
            raise ValueError(f"there is a {self.noun} {entry.name!r} already")
        self._entries[entry.name] = entry

    def unregister(self, name: str) -> None:
        """Remove an entry, as a test does with its own."""
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, name: str) -> E:
        """The entry called `name`; UsageError with the choices where there is none."""
        if name not in self._entries:
            choices = ", ".join(self)
            raise UsageError(f"there is no {self.noun} {name!r}", f"choices: {choices}{did_you_mean(name, self)}")
        return self._entries[name]

    def entries(self) -> list[E]:
        return list(self._entries.values())

    def load(self, name: str) -> Any:
        """The object of the entry called `name`."""
        return self[name].load()

    def describe(self) -> str:
        """All names with their descriptions, for a help text: `ret: cosine of [Ret]; rn: ...`."""
        return "; ".join(f"{entry.name}: {entry.description}" for entry in self._entries.values())
