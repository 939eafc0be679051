"""What a store says of itself and of how it was made, and what its provenance must be to be read again.

A store may be written by hand or come from a stranger, so that its provenance may say anything.
"""

from __future__ import annotations

import json
import re
import reprlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from zsecli.vocabulary import SCORING_RULES

Check = Callable[[Any], bool]
ORIGIN = ("data", "source", "benchmark", "partition", "selection")  # of the pictures in a feature store
_NO_TEXT = re.compile(r"[\ud800-\udfff]")  # surrogates, which JSON can escape and UTF-8 cannot hold
_NO_PATH = re.compile(r"[\0\ud800-\udc7f\udd00-\udfff]")  # some surrogates stand for bytes of a name that are no UTF-8


@dataclass(frozen=True, kw_only=True)
class Header:
    """Root attributes and provenance of a store."""

    schema: str  # "dataset", "features" or "ranking"
    version: str  # of the schema
    complete: bool
    run_key: str
    created_by: str
    provenance: dict[str, Any]


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not _NO_TEXT.search(value)


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and not _NO_PATH.search(value)


def _is_text_or_none(value: Any) -> bool:
    return value is None or _is_text(value)


def _is_flag(value: Any) -> bool:
    return isinstance(value, bool)


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _is_column(value: Any) -> bool:
    return value in (None, "label", "instance", "family")


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and value > 0


def _is_share(value: Any) -> bool:
    return isinstance(value, (int, float)) and 0 <= value <= 1


def _is_rule(value: Any) -> bool:
    return isinstance(value, str) and value in SCORING_RULES


def _pair_of(check: Check) -> Check:
    """A check of a list of two: one for the sketches and one for the photos."""

    def is_pair(value: Any) -> bool:
        return isinstance(value, list) and len(value) == 2 and all(map(check, value))

    return is_pair


# Kind of store -> name in its provenance -> what its value must be, if it is there.
CHECKS: dict[str, dict[str, Check]] = {
    "dataset": {"folder": _is_path},
    "features": {
        "model": _is_text,
        "weights": _is_text,
        **dict.fromkeys(ORIGIN, _is_text),
        "root": _is_path,
        "folder": _is_path,
        "dataset": _is_path,
    },
    "ranking": {
        "roots": _pair_of(_is_path),
        "datasets": _pair_of(_is_path),
        "folder": _is_path,
        "origins": _pair_of(_are_texts),
        "ignore_same": _is_column,
        "shortlist": _is_positive,
        "recall": _is_share,
        "precision": _is_text,
        "by": _is_rule,
        "center": _is_flag,
        "ann": _is_flag,
        "model": _is_text_or_none,  # null where the features did not say
        "weights": _is_text_or_none,
    },
}


def check_provenance(schema: str, provenance: Mapping[str, Any]) -> None:
    """Refuse a provenance that is not JSON, or says something that a store of this kind cannot.

    Raises:
        ValueError: it does.
    """
    try:
        json.dumps(provenance, allow_nan=False)
    except ValueError as error:  # Python reads NaN, and 1e999 as Infinity
        raise ValueError("its provenance is not JSON: a number is not finite") from error
    for name, is_valid in CHECKS[schema].items():
        if name in provenance and not is_valid(provenance[name]):
            raise ValueError(f"its provenance says {name}: {reprlib.repr(provenance[name])}")
