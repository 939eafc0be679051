"""One spelling for names of classes, objects and groups that look the same to a reader.

A folder that came from a Mac has its letters decomposed, a table has a blank behind a name, one of two folders has a
capital. Names of ASCII letters without blanks around them stay as they are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from zsecli.data.sources.base import Entry, name_few
from zsecli.errors import ZseError, did_you_mean

# marks of direction, joiners at the border of a name, a byte order mark: nobody sees them
_INVISIBLE = "\u200b\u200c\u200d\u200e\u200f\u2060\ufeff\u00ad"


def tidy_name(name: str) -> str:
    r"""`name` with its letters composed (NFC), without blanks and invisible characters around it.

    >>> tidy_name(" cafe\u0301 \ufeff")
    'café'
    """
    name = unicodedata.normalize("NFC", name)
    while True:
        stripped = name.strip().strip(_INVISIBLE)
        if stripped == name:
            return name
        name = stripped


def name_key(name: str) -> str:
    """What is equal for two spellings of one name: capitals, blanks and trailing dots do not count.

    >>> name_key("Hot  Dog.") == name_key("hot dog")
    True
    """
    visible = "".join(sign for sign in tidy_name(name) if sign not in _INVISIBLE)
    folded = unicodedata.normalize("NFC", re.sub(r"\s+", " ", visible).casefold())
    return folded.rstrip(". ") or folded


def _group_spellings(names: Iterable[str]) -> list[list[str]]:
    """Groups of two and more different names with one key, sorted."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[name_key(name)].add(name)
    return [sorted(group) for _, group in sorted(groups.items()) if len(group) > 1]


def find_class(name: str, classes: Iterable[str]) -> str | None:
    """The one of `classes` that `name` means: itself, or the only one with its key; None where there is none."""
    labels = set(classes)
    if tidy_name(name) in labels:
        return tidy_name(name)
    key = name_key(name)
    matches = [label for label in labels if name_key(label) == key]
    return matches[0] if len(matches) == 1 else None


def find_classes(names: Iterable[str], classes: Iterable[str], source: Path) -> set[str]:
    """`find_class` for a list; ZseError, which says what `source` lacks, for a name without a class."""
    labels = set(classes)
    found_labels = set()
    for name in names:
        label = find_class(name, labels)
        if label is None:
            raise ZseError(
                f"{source}: has no class {tidy_name(name)!r}{did_you_mean(tidy_name(name), labels)}",
                "the list of unseen classes has one folder name a line",
            )
        found_labels.add(label)
    return found_labels


def join_spellings(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries with one spelling for each class and object, and warnings: `join_classes`, then `join_instances`."""
    joined, class_warnings = join_classes(entries)
    joined, instance_warnings = join_instances(joined)
    return joined, class_warnings + instance_warnings


def join_classes(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries with one spelling for each class, and a warning for each class and family that had several.

    Spellings of a class are joined under the commonest, unless two of them have sketches and photos of their own:
    then each is a class, and the warning says so. Families are not joined, but warned of.
    """
    tidied = [_tidy_entry(entry) for entry in entries]
    counts = Counter(entry.label for entry in tidied)
    modalities: dict[str, set[str]] = defaultdict(set)
    for entry in tidied:
        modalities[entry.label].add(entry.modality)
    label_of: dict[str, str] = {}
    warnings: list[str] = []
    for names in _group_spellings(counts):
        quoted = ", ".join(map(repr, names))
        complete = [name for name in names if len(modalities[name]) == 2]
        if len(complete) > 1:
            warnings.append(
                f"classes {quoted} differ in capitals, blanks or dots alone; they are kept apart, as each has sketches "
                "and photos"
            )
            continue
        common = max(names, key=lambda name: (counts[name], name.islower(), name.isascii(), -len(name), name))
        label_of |= dict.fromkeys(names, common)
        warnings.append(f"classes {quoted} are taken as one, {common!r}: their names differ in spelling alone")
    joined = []
    for entry in tidied:
        joined.append(replace(entry, label=label_of[entry.label]) if entry.label in label_of else entry)
    for names in _group_spellings({entry.family for entry in joined if entry.family}):
        warnings.append(f"families {', '.join(map(repr, names))} differ in spelling alone; they are kept apart")
    return joined, warnings


def _tidy_entry(entry: Entry) -> Entry:
    values = {name: getattr(entry, name) for name in ("label", "instance", "family")}
    tidied = {name: tidy_name(value) if value else value for name, value in values.items()}
    return entry if tidied == values else replace(entry, **tidied)


def join_instances(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries, and a warning where a sketch without a photo of its object takes one that is spelt otherwise.

    It is the object of its class, if there is only one, that differs in capitals, blanks or trailing dots.
    """
    photos: set[tuple[str, str]] = set()  # (label, instance)
    spellings: dict[tuple[str, str], set[str]] = defaultdict(set)  # (label, key) -> instances
    for entry in entries:
        if entry.modality == "photo" and entry.instance:
            photos.add((entry.label, entry.instance))
            spellings[entry.label, name_key(entry.instance)].add(entry.instance)
    joined: list[Entry] = []
    instance_of: dict[str, str] = {}
    for entry in entries:
        if entry.modality == "sketch" and entry.instance and (entry.label, entry.instance) not in photos:
            matches = spellings.get((entry.label, name_key(entry.instance)), set())
            if len(matches) == 1:
                (instance,) = matches
                instance_of[entry.instance] = instance
                entry = replace(entry, instance=instance)
        joined.append(entry)
    if not instance_of:
        return joined, []
    examples = ", ".join(f"{sketch!r} and {photo!r}" for sketch, photo in list(instance_of.items())[:3])
    warning = f"{len(instance_of)} objects of sketches are those of photos that are spelt otherwise: {examples}"
    return joined, [warning]


def warn_of_lone_classes(entries: Sequence[Entry]) -> list[str]:
    """Warnings that name the classes without sketches, and those without photos."""
    sketched = {entry.label for entry in entries if entry.modality == "sketch" and entry.label}
    photographed = {entry.label for entry in entries if entry.modality == "photo" and entry.label}
    warnings = []
    for plural, lone in (("sketches", photographed - sketched), ("photos", sketched - photographed)):
        if lone:
            warnings.append(f"{len(lone)} classes have no {plural}: {name_few(sorted(lone))}")
    return warnings


def find_spelling_on_disk(root: Path, path: str) -> str:
    """`path` as the disk below `root` spells it: composed or decomposed, where there is no file of that very name."""
    if path.isascii() or os.path.exists(root / path):
        return path
    for form in ("NFC", "NFD"):
        spelling = unicodedata.normalize(form, path)
        if os.path.exists(root / spelling):
            return spelling
    return path
