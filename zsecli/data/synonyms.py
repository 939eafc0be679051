"""Which classes of two data sets are the same: equal names, or names in one row of synonyms.csv."""

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
    folded = unicodedata.normalize("NFC", tidy_name(name).casefold())
    # letters, numbers and the marks on them, which are vowels in some scripts
    letters = [sign for sign in folded if unicodedata.category(sign)[0] in "LNM"]
    return "".join(letters) or folded


def read_synonyms() -> list[set[str]]:
    """The keys of the names that mean one class; rows that share a name are joined."""
    groups: list[set[str]] = []
    with (files("zsecli.data") / "synonyms.csv").open(encoding="utf-8") as file:
        rows = list(csv.reader(file))[1:]
    for row in rows:
        group = {class_key(name) for name in row if name}
        separate = []
        for old in groups:
            if old & group:
                group |= old
            else:
                separate.append(old)
        groups = [*separate, group]
    return groups


def find_shared_classes(train: Iterable[str], test: Iterable[str]) -> dict[str, str]:
    """Class of `test` -> the class of `train` that means the same, for those that have one.

    >>> find_shared_classes(["mug", "Sea turtle", "chair"], ["cup", "turtle", "table"])
    {'cup': 'mug', 'turtle': 'Sea turtle'}
    """
    synonyms_of: dict[str, set[str]] = {}
    for group in read_synonyms():
        for key in group:
            synonyms_of[key] = group
    train_class_of: dict[str, str] = {}
    for name in sorted(train):
        key = class_key(name)
        for synonym in synonyms_of.get(key, {key}):
            train_class_of.setdefault(synonym, name)
    shared = {}
    for name in test:
        key = class_key(name)
        if key in train_class_of:
            shared[name] = train_class_of[key]
    return shared
