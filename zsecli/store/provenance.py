"""What of a provenance is read again, and what it must be there: a store by hand, or a stranger's, may say anything."""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from typing import Any

Kind = Callable[[Any], bool]
ORIGIN = ("data", "source", "benchmark", "partition", "selection")  # of the pictures in a feature store
_NO_TEXT = re.compile(r"[\ud800-\udfff]")  # halves of characters, which JSON can escape and UTF-8 cannot hold
_NO_PATH = re.compile(r"[\0\ud800-\udc7f\udd00-\udfff]")  # some halves stand for bytes of a name that are no UTF-8


def _text(value: Any) -> bool:
    return isinstance(value, str) and not _NO_TEXT.search(value)


def _path(value: Any) -> bool:
    return isinstance(value, str) and not _NO_PATH.search(value)


def _text_or_none(value: Any) -> bool:
    return value is None or _text(value)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_text, value.values()))


def _two(kind: Kind) -> Kind:
    """One for the sketches and one for the photos."""
    return lambda value: isinstance(value, list) and len(value) == 2 and all(map(kind, value))


MEANING: dict[str, dict[str, Kind]] = {
    "dataset": {"folder": _path},
    "features": dict.fromkeys(("model", "weights", *ORIGIN), _text)
    | dict.fromkeys(("root", "folder", "dataset"), _path),
    "ranking": {
        "roots": _two(_path),
        "datasets": _two(_path),
        "folder": _path,
        "origins": _two(_texts),
        "ignore_same": lambda value: value in (None, "label", "instance", "family"),
        "shortlist": lambda value: isinstance(value, int) and value > 0,
        "recall": lambda value: isinstance(value, (int, float)) and 0 <= value <= 1,
        "precision": _text,
        "by": lambda value: value in ("ret", "rn", "cascade"),
        "center": _flag,
        "ann": _flag,
        **dict.fromkeys(("model", "weights"), _text_or_none),  # null where the features did not say
    },
}


def check(schema: str, provenance: Mapping[str, Any]) -> None:
    """ValueError where the provenance of a store of this kind says something else than is read from it, or no JSON."""
    try:
        json.dumps(provenance, allow_nan=False)
    except ValueError as error:  # Python reads NaN, and 1e999 as Infinity
        raise ValueError("its provenance is not JSON: a number is not finite") from error
    for name, means in MEANING[schema].items():
        if name in provenance and not means(provenance[name]):
            raise ValueError(f"its provenance says {name}: {reprlib.repr(provenance[name])}")
