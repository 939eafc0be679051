"""Data sets of one's own: a tree `sketch/CLASS/*`, `photo/CLASS/*`, or a CSV manifest."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from zsecli.data.folder_walk import HIDDEN, OUTSIDE
from zsecli.data.items import MODALITIES
from zsecli.data.names import (
    find_classes,
    join_classes,
    join_instances,
    join_spellings,
    tidy_name,
    warn_of_lone_classes,
)
from zsecli.data.sources.base import Entry, Listing, name_few
from zsecli.data.sources.class_folders import describe_content, find_subfolder, list_pictures
from zsecli.data.sources.manifest import read_manifest
from zsecli.data.sources.options import SourceOptions
from zsecli.errors import UsageError, ZseError, did_you_mean

INSTANCE_RULES = ("auto", "underscores", "dash", "stem", "none")

Stems = Mapping[tuple[str, str], list[str]]  # (modality, class) -> names of its files, without suffix


def read(
    source: Path,
    *,
    rule: str = "auto",
    where: Mapping[str, str] | None = None,
    columns: Mapping[str, str] | None = None,
    unseen: Iterable[str] | None = None,
    excluded: Collection[Path] = (),
) -> Listing:
    """What the tree or the CSV manifest `source` lists; see `read_tree` and `read_manifest`."""
    check_rule(rule)
    if source.is_file():
        entries = read_manifest(source, where or {}, columns or {})
        listing = Listing(root=source.parent.resolve(), named=True)
        listing.entries, listing.warnings = join_spellings(entries)
    else:
        listing = read_tree(source.resolve(), rule, unseen, excluded)
    listing.warnings += warn_of_lone_classes(listing.entries)
    return listing


def read_tree(root: Path, rule: str, unseen: Iterable[str] | None = None, excluded: Collection[Path] = ()) -> Listing:
    """What a tree lists; pictures elsewhere below sketch/ and photo/ are skipped, with the reason.

    Args:
        rule: how a name says its instance, see `instance_of`.
        unseen: classes that training must not see; None: all of them.
        excluded: folders that are passed over, as zse wrote what they hold.

    Raises:
        ZseError: the tree has another shape, or `unseen` names a class it does not have.
    """
    folders = _find_modality_folders(root)
    listing = Listing(root=root)
    for modality, folder in folders.items():
        for file in list_pictures(listing, folder, excluded):
            path, parts = file.relative_to(root).as_posix(), file.relative_to(folder).parts
            if len(parts) == 2:
                listing.entries.append(Entry(path=path, modality=modality, label=parts[0]))
            else:
                listing.skipped.append((path, "does not lie in sketch/CLASS/ or photo/CLASS/"))
    for child in sorted(root.iterdir()):
        if child not in folders.values():
            listing.passed.add(HIDDEN if child.name.startswith(".") else OUTSIDE, child.name)
    listing.entries, listing.warnings = join_classes(listing.entries)
    listing.warnings += _set_instances(listing, rule)
    listing.entries, warnings = join_instances(listing.entries)
    listing.warnings += warnings
    if unseen is not None:
        held_out = find_classes(unseen, (entry.label for entry in listing.entries), root)
        for number, entry in enumerate(listing.entries):
            listing.entries[number] = replace(entry, part="unseen" if entry.label in held_out else "seen")
    return listing


def _find_modality_folders(root: Path) -> dict[str, Path]:
    """Modality -> its folder; ZseError where one is missing."""
    folders: dict[str, Path] = {}
    for modality in MODALITIES:
        folder = root / modality if (root / modality).is_dir() else find_subfolder([root], modality)
        if folder is None:
            raise ZseError(
                f"{root}: needs the folders sketch/CLASS/ and photo/CLASS/ (found: {describe_content(root)})",
                "pictures without classes need no preparing: zse embed FOLDER",
            )
        folders[modality] = folder
    return folders


def _set_instances(listing: Listing, rule: str) -> list[str]:
    """Give each entry its instance by the name of its file; returns warnings of names that can be read in two ways."""
    stems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for entry in listing.entries:
        stems[entry.modality, entry.label].append(_stem_of(entry))
    photo_stems = {label: set(names) for (modality, label), names in stems.items() if modality == "photo"}
    whole = rule == "auto" and _pairs_by_whole_names(stems)
    photos: dict[str, set[str | None]] = {}  # class -> instances
    for label, names in photo_stems.items():
        photos[label] = {instance_of(stem, rule, None, whole=whole) for stem in names}
    for number, entry in enumerate(listing.entries):
        photos_of_class = photos.get(entry.label, set()) if entry.modality == "sketch" else None
        instance = instance_of(_stem_of(entry), rule, photos_of_class, whole=whole)
        listing.entries[number] = replace(entry, instance=instance)
    if whole:
        return [
            "sketches and photos have equal names, so an object is called by the whole name, not by what precedes `__` "
            "(--instance-rule underscores takes that)"
        ]
    if rule == "auto":
        return _warn_of_single_objects(photo_stems, photos)
    return []


def _warn_of_single_objects(stems: Mapping[str, set[str]], photos: Mapping[str, set[str | None]]) -> list[str]:
    """A warning where every class with several photos has one object by what precedes `__` in their names."""
    labels = [label for label, names in stems.items() if len(names) > 1]
    if not labels:
        return []
    for label in labels:
        if len(photos[label]) != 1 or not all("__" in stem for stem in stems[label]):
            return []
    return [
        f"what precedes `__` is the same in all photos of {name_few(labels)}, so each such class has one object "
        "(--instance-rule stem takes the whole names)"
    ]


def _stem_of(entry: Entry) -> str:
    return tidy_name(PurePosixPath(entry.path).stem)


def _pairs_by_whole_names(stems: Stems) -> bool:
    """Whether most sketches with `__` in their names have a whole photo name of their class, or that and a number."""
    marked = paired = 0
    for (modality, label), names in stems.items():
        if modality != "sketch":
            continue
        photos = set(stems.get(("photo", label), ()))
        for name in names:
            if "__" in name:
                marked += 1
                paired += _find_whole_name(name, photos) is not None
    return 2 * paired > marked


def _find_whole_name(stem: str, photos: Collection[str | None]) -> str | None:
    """The photo whose whole name, with `__` in it, a sketch has, perhaps with `-N` or `__...` behind it."""
    before_dash, _, number = stem.rpartition("-")
    names = (stem, before_dash if number.isdecimal() else "", stem.rpartition("__")[0])
    return next((name for name in names if "__" in name and name in photos), None)


def instance_of(stem: str, rule: str, photos: set[str | None] | None, *, whole: bool = False) -> str | None:
    """The instance that a file's name (without suffix) stands for.

    `underscores`: what precedes `__`. `dash`: what precedes the last `-`. `stem`: the whole name.
    `none`: nothing. `auto`: what precedes `__` where there is one; else a photo's whole name, and for
    a sketch (`photos`: the instances of its class's photos) that name too, unless it is no photo's and
    what precedes the last `-` is one, or what follows it is a number. Anything else is a regular
    expression whose first group is the instance.

    Args:
        photos: of a sketch, the instances of its class's photos; None for a photo.
        whole: `auto` takes whole names with `__` too, as sketches and photos have equal ones.
    """
    head, _, tail = stem.rpartition("-")
    if rule == "none":
        return None
    if rule == "stem":
        return stem
    if rule == "underscores" or (rule == "auto" and "__" in stem and not whole):
        return stem.split("__")[0]
    if rule == "dash":
        return head or stem
    if rule == "auto":
        if whole and photos and (name := _find_whole_name(stem, photos)):
            return name
        has_suffix = photos is not None and stem not in photos and (head in photos or tail.isdecimal())
        return head if head and has_suffix else stem
    match = re.search(rule, stem)
    return match[1] if match else None


def check_rule(rule: str) -> str:
    """`rule` if it is a known name or a regular expression with a group; UsageError otherwise."""
    if rule in INSTANCE_RULES:
        return rule
    try:
        if re.compile(rule).groups:
            return rule
    except re.error as error:
        raise UsageError(
            f"instance rule {rule!r}: {error}", f"rules: {', '.join(INSTANCE_RULES)}, or a regular expression"
        ) from error
    raise UsageError(
        f"instance rule {rule!r} is unknown",
        f"rules: {', '.join(INSTANCE_RULES)}, or a regular expression with a (group)"
        f"{did_you_mean(rule, INSTANCE_RULES)}",
    )


class FolderSource:
    """A data set of one's own, as a `DataSource`."""

    is_benchmark = False
    takes_path = True
    needs_path = True

    def find(self, path: Path | None) -> Path:
        if path is None:
            raise UsageError("prepare folder needs the folder, or the manifest", "zse prepare folder pictures/")
        return path

    def options_for(self, path: Path) -> frozenset[str]:
        """A manifest has columns, where a tree has names of files."""
        return frozenset({"where", "columns"} if path.is_file() else {"instance_rule", "unseen"})

    def read(self, path: Path, options: SourceOptions) -> Listing:
        return read(
            path,
            rule=options.instance_rule,
            where=options.where,
            columns=options.columns,
            unseen=options.unseen,
            excluded=options.exclude,
        )

    def default_name(self, path: Path, options: SourceOptions) -> str:
        folder = path.resolve().parent if path.is_file() else path.resolve()
        return options.where.get("set") or folder.name


SOURCE = FolderSource()
