"""Names of classes, objects and groups that look the same to a reader: one spelling for each.

A folder that came from a Mac has its letters decomposed, a table has a blank behind a name, one of two folders has a
capital. Names of ASCII letters without blanks around them stay as they are.
"""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
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
    name, before = unicodedata.normalize("NFC", name), None
    while name != before:
        name, before = name.strip().strip(_INVISIBLE), name
    return name


def name_key(name: str) -> str:
    """What is equal for two spellings of one name: capitals, blanks and trailing dots do not count.

    >>> name_key("Hot  Dog.") == name_key("hot dog")
    True
    """
    name = "".join(sign for sign in tidy_name(name) if sign not in _INVISIBLE)
    name = unicodedata.normalize("NFC", re.sub(r"\s+", " ", name).casefold())
    return name.rstrip(". ") or name


def _spellings(names: Iterable[str]) -> Iterator[list[str]]:
    """Groups of two and more different names with one key, sorted."""
    groups: dict[str, set[str]] = defaultdict(set)
    for name in names:
        groups[name_key(name)].add(name)
    yield from (sorted(group) for _, group in sorted(groups.items()) if len(group) > 1)


def find_class(wanted: str, classes: Iterable[str]) -> str | None:
    """The one of `classes` that `wanted` names: itself, or the only one with its key; None where there is none."""
    names = set(classes)
    if tidy_name(wanted) in names:
        return tidy_name(wanted)
    found = [name for name in names if name_key(name) == name_key(wanted)]
    return found[0] if len(found) == 1 else None


def find_classes(wanted: Iterable[str], classes: Iterable[str], where: Path) -> set[str]:
    """`find_class` for a list; ZseError, which says what `where` lacks, for a name without a class."""
    names, found = set(classes), set()
    for name in wanted:
        label = find_class(name, names)
        if label is None:
            raise ZseError(
                f"{where}: has no class {tidy_name(name)!r}{did_you_mean(tidy_name(name), names)}",
                "the list of unseen classes has one folder name a line",
            )
        found.add(label)
    return found


def join_spellings(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries with one spelling for each class and object, and warnings: `join_classes`, then `join_instances`."""
    entries, warnings = join_classes(entries)
    entries, more = join_instances(entries)
    return entries, warnings + more


def join_classes(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries with one spelling for each class, and a warning for each class and family that had several.

    Spellings of a class are joined under the commonest, unless two of them have sketches and photos of their own:
    then each is a class, and the warning says so. Families are not joined, but warned of.
    """
    entries = [_tidy(entry) for entry in entries]
    counts = Counter(entry.label for entry in entries)
    modalities: dict[str, set[str]] = defaultdict(set)
    for entry in entries:
        modalities[entry.label].add(entry.modality)
    chosen, warnings = dict[str, str](), list[str]()
    for names in _spellings(counts):
        quoted = ", ".join(map(repr, names))
        if sum(len(modalities[name]) == 2 for name in names) > 1:
            warnings.append(
                f"classes {quoted} differ in capitals, blanks or dots alone; they are kept apart, as each has sketches "
                "and photos"
            )
            continue
        common = max(names, key=lambda name: (counts[name], name.islower(), name.isascii(), -len(name), name))
        chosen |= dict.fromkeys(names, common)
        warnings.append(f"classes {quoted} are taken as one, {common!r}: their names differ in spelling alone")
    entries = [replace(e, label=chosen[e.label]) if e.label in chosen else e for e in entries]
    for names in _spellings({e.family for e in entries if e.family}):
        warnings.append(f"families {', '.join(map(repr, names))} differ in spelling alone; they are kept apart")
    return entries, warnings


def _tidy(entry: Entry) -> Entry:
    values = {name: getattr(entry, name) for name in ("label", "instance", "family")}
    tidied = {name: tidy_name(value) if value else value for name, value in values.items()}
    return entry if tidied == values else replace(entry, **tidied)


def join_instances(entries: Sequence[Entry]) -> tuple[list[Entry], list[str]]:
    """The entries, and a warning where a sketch without a photo of its object takes one that is spelt otherwise.

    It is the object of its class, if there is only one, that differs in capitals, blanks or trailing dots.
    """
    photos = {(e.label, e.instance) for e in entries if e.modality == "photo" and e.instance}
    by_key: dict[tuple[str, str], set[str]] = defaultdict(set)
    for label, instance in photos:
        if instance:
            by_key[label, name_key(instance)].add(instance)
    out, joined = list[Entry](), dict[str, str]()
    for entry in entries:
        if entry.modality == "sketch" and entry.instance and (entry.label, entry.instance) not in photos:
            found = by_key.get((entry.label, name_key(entry.instance)), set())
            if len(found) == 1:
                (instance,) = found
                joined[entry.instance] = instance
                entry = replace(entry, instance=instance)
        out.append(entry)
    if not joined:
        return out, []
    example = ", ".join(f"{sketch!r} and {photo!r}" for sketch, photo in list(joined.items())[:3])
    return out, [f"{len(joined)} objects of sketches are those of photos that are spelt otherwise: {example}"]


def warn_of_lone_classes(entries: Sequence[Entry]) -> list[str]:
    """Warnings that name the classes without sketches, and those without photos."""
    sketched, photographed = ({e.label for e in entries if e.modality == m and e.label} for m in ("sketch", "photo"))
    warnings = []
    for plural, lone in (("sketches", photographed - sketched), ("photos", sketched - photographed)):
        if lone:
            warnings.append(f"{len(lone)} classes have no {plural}: {name_few(sorted(lone))}")
    return warnings


def find_spelling_on_disk(root: Path, path: str) -> str:
    """`path` as the disk below `root` spells it: composed or decomposed, where there is no file of that very name."""
    if path.isascii() or os.path.exists(root / path):
        return path
    spellings = (unicodedata.normalize(form, path) for form in ("NFC", "NFD"))
    return next((name for name in spellings if os.path.exists(root / name)), path)
