"""What of a provenance is read again, and what it must be there: a store by hand, or a stranger's, may say anything."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any], bool]
ORIGIN = ("data", "source", "benchmark", "partition", "selection")  # of the pictures in a feature store


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float))


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _two(kind: Kind) -> Kind:
    """One for the sketches and one for the photos."""
    return lambda value: isinstance(value, list) and len(value) == 2 and all(map(kind, value))


MEANING: dict[str, dict[str, Kind]] = {
    "dataset": {},
    "features": dict.fromkeys(("root", *ORIGIN), _text),
    "ranking": {
        "roots": _two(_text),
        "origins": _two(_texts),
        "ignore_same": lambda value: value in (None, "label", "instance", "family"),
        "shortlist": lambda value: isinstance(value, int) and value > 0,
        "recall": _number,
        "precision": _text,
    },
}


def check(schema: str, provenance: Mapping[str, Any]) -> None:
    """ValueError where the provenance of a store of this kind says something else than is read from it."""
    for name, means in MEANING[schema].items():
        if name in provenance and not means(provenance[name]):
            raise ValueError(f"its provenance says {name}: {reprlib.repr(provenance[name])}")
