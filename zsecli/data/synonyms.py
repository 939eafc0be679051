"""Which classes of two data sets are one: equal names, or names that stand in one row of synonyms.csv."""

from __future__ import annotations

import csv
import unicodedata
from collections.abc import Iterable
from importlib.resources import files

from zsecli.data.names import tidy_name


def class_key(name: str) -> str:
    """What is left of a name without capitals, blanks and signs: `hot-air_balloon` and `Hot air balloon` are one.

    A name that is nothing but signs stays as it is.

    >>> class_key("hot-air_balloon")
    'hotairballoon'
    """
    plain = unicodedata.normalize("NFC", tidy_name(name).casefold())
    # letters, numbers and the marks on them, which are vowels in some scripts
    return "".join(sign for sign in plain if unicodedata.category(sign)[0] in "LNM") or plain


def read_synonyms() -> list[set[str]]:
    """The keys of the names that mean one class; rows that share a name are joined."""
    joined: list[set[str]] = []
    with (files("zsecli.data") / "synonyms.csv").open(encoding="utf-8") as file:
        for row in list(csv.reader(file))[1:]:
            group = {class_key(name) for name in row if name}
            touching = [old for old in joined if old & group]
            joined = [old for old in joined if not old & group] + [group.union(*touching)]
    return joined


def find_shared_classes(train: Iterable[str], test: Iterable[str]) -> dict[str, str]:
    """Class of `test` -> the class of `train` that means the same, for those that have one.

    >>> shared(["mug", "Sea turtle", "chair"], ["cup", "turtle", "table"])
    {'cup': 'mug', 'turtle': 'Sea turtle'}
    """
    of = {key: group for group in read_synonyms() for key in group}
    seen: dict[str, str] = {}
    for name in sorted(train):
        for key in of.get(class_key(name), {class_key(name)}):
            seen.setdefault(key, name)
    return {name: seen[class_key(name)] for name in test if class_key(name) in seen}
