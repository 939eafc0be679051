"""The commands that make a store again, for hints: from the command line in its provenance.

A store may come from a stranger: options that write elsewhere are left out, and a hint is only printed.
"""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zsecli.data.dataset import Dataset
from zsecli.errors import StoreError
from zsecli.store.dataset import read_dataset
from zsecli.store.hdf5 import open_store, read_header
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.store.ranking import Ranking

NEW_FOLDER = "NEW_FOLDER"  # in a hint: where the pictures are now
FEATURES_BY = ("embed", "match", "evaluate")  # the commands that make a feature store
RANKINGS_BY = ("match", "evaluate")
# Options that are not repeated: other outputs, and shards; and those that take no value.
_DROPPED_OPTIONS = ("--sheet", "--trec", "--shard")
_DROPPED_FLAGS = ("--overwrite", "--dry-run", "-n", "--quiet", "-q", "--json", "--debug")


def remake_dataset(dataset: Dataset) -> str:
    """The command that lists and hashes a data set anew.

    Where its folder is gone, NEW_FOLDER stands in the command for the folder that has the pictures now.
    """
    return _format_line(*_prepare_command(dataset))


def remake_ranking(ranking: Ranking) -> str:
    """The commands that make a ranking, and all that it is made from, anew; in words where they are not known."""
    provenance = ranking.header.provenance
    words = _repeat_command(provenance.get("argv"), RANKINGS_BY, ranking.path, provenance)
    lines: list[str] = []
    if words is not None:
        with contextlib.suppress(StoreError):  # one of its inputs is gone, or does not say how it was made
            lines = _ranking_commands(ranking, words)
    if not lines:
        return f"embed its pictures again (zse embed), and rank them again into {ranking.path} (zse match --overwrite)"
    return "; ".join(dict.fromkeys(lines))  # not &&: a command that skips a broken picture has another exit code


def _ranking_commands(ranking: Ranking, words: list[str]) -> list[str]:
    """The command lines that make a ranking's inputs and then, by `words`, the ranking."""
    provenance = ranking.header.provenance
    datasets = _read_datasets(ranking)
    lines = [_format_line(*_prepare_command(dataset)) for dataset in datasets]
    folder = _folder_of(provenance)
    stores = [str(provenance.get(side)) for side in ("sketches", "photos")]
    given = [store for store in stores if store in words]
    for store in given:
        lines.append(_embed_command(Path(folder, store)))
    if not given:
        words = _complete_command(words, datasets, provenance)
    lines.append(_format_line(folder, words))
    return lines


def remake_features(*stores: Path) -> str:
    """The commands that make feature stores anew; in words where they are not known."""
    try:
        return "; ".join(dict.fromkeys(map(_embed_command, stores)))
    except StoreError:
        return f"embed the pictures of {' and '.join(dict.fromkeys(map(str, stores)))} again (zse embed --overwrite)"


def _prepare_command(dataset: Dataset) -> tuple[Path, list[str]]:
    """The folder in which to type it, and the words of `zse prepare`."""
    provenance: Mapping[str, Any] = dataset.header.provenance if dataset.header is not None else {}
    path = dataset.path or Path(f"{dataset.name}.h5")
    folder = _folder_of(provenance)
    source = provenance.get("source")
    if not isinstance(source, str):
        source = str(dataset.root)
    words = _repeat_command(provenance.get("argv"), ("prepare",), path, provenance)
    if words is None:  # another command prepared it on its way, or no command at all
        words = _make_prepare_command(dataset, path, source)
    if os.path.isdir(dataset.root):
        return folder, words
    new_source = NEW_FOLDER if source == str(dataset.root) else f"{NEW_FOLDER}/{Path(source).name}"
    typed_in = Path(str(provenance.get("folder") or folder))  # gone too where all of a project moved
    moved = [_replace_source(word, source, typed_in, new_source) for word in words]
    if moved == words:
        moved += ["--root", new_source]
    if not _has_option(moved, "--name"):
        moved += ["--name", dataset.name]
    return folder, moved


def _make_prepare_command(dataset: Dataset, path: Path, source: str) -> list[str]:
    """The words of `zse prepare` for a data set that no such command made."""
    if dataset.name == "demo" and source.endswith(("/demo/manifest.csv", "/demo")):
        words = ["zse", "prepare", "demo", "--overwrite"]
    else:
        words = ["zse", "prepare", dataset.benchmark or "folder", source, "--name", dataset.name, "--overwrite"]
    if path.parent.name != "datasets":
        return [*words, "-o", str(path.resolve())]
    return [*words, "--workspace", str(path.resolve().parents[1])]


def _replace_source(word: str, source: str, folder: Path, new_source: str) -> str:
    """A word of a command line that was typed in `folder`, with the new source where it names the old one."""
    option, equals, value = word.partition("=")
    if equals and option == "--root":
        return f"--root={_replace_source(value, source, folder, new_source)}"
    is_source = word and os.path.realpath(folder / word) == os.path.realpath(source)
    return new_source if is_source else word


def _embed_command(store: Path) -> str:
    """The command that makes a feature store again; StoreError where that is not known."""
    if not os.path.isfile(store):
        raise StoreError(f"{store}: no such store")
    with open_store(store, "features") as file:
        provenance = read_header(file, store).provenance
    words = _repeat_command(provenance.get("argv"), FEATURES_BY, store, provenance)
    if words is None:
        raise StoreError(f"{store}: does not say how it was made")
    return _format_line(_folder_of(provenance), words)


def _read_datasets(ranking: Ranking) -> list[Dataset]:
    """The data sets that a ranking's pictures come from."""
    provenance = ranking.header.provenance
    paths = map(Path, provenance.get("datasets", ["", ""]))
    origins = provenance.get("origins", [{}, {}])
    existing: dict[Path, None] = {}
    for path, origin in zip(paths, origins, strict=True):
        if name := origin.get("data"):
            # a ranking of an older version does not name the store, and a workspace may have moved
            if not os.path.isfile(path):
                path = Workspace(ranking.path.absolute().parents[1]).dataset(name)
            existing[path] = None
    return [read_dataset(path) for path in existing]


def _complete_command(words: list[str], datasets: Sequence[Dataset], provenance: Mapping[str, Any]) -> list[str]:
    """A command line that also says what was chosen for it: the data set prepared last, the newest model."""
    if datasets and not _has_option(words, "--data"):
        words = [*words, "--data", datasets[0].name]
    if isinstance(provenance.get("model"), str) and not _has_option(words, "--model"):
        words = [*words, "--model", provenance["model"]]
    return words


def _has_option(words: Sequence[str], option: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _repeat_command(argv: Any, commands: Sequence[str], path: Path, provenance: Mapping[str, Any]) -> list[str] | None:
    """The command line `argv` once more, for the store `path`; None where it is none of `commands`, or read stdin."""
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        return None
    if not argv or argv[0] not in commands or "-" in argv or "\0" in "".join(argv):
        return None
    words, output = _take_option(argv, "--output", "-o")
    for option in _DROPPED_OPTIONS:
        words, _ = _take_option(words, option)
    words = [word for word in words if word not in _DROPPED_FLAGS]
    if output is not None and argv[0] != "evaluate":  # what evaluate writes there is a report
        words += ["-o", str(path if _folder_of(provenance) == Path.cwd() else path.resolve())]
    return ["zse", *words, "--overwrite"]


def _take_option(words: Sequence[str], option: str, short: str | None = None) -> tuple[list[str], str | None]:
    """The words without an option and its value, and the value."""
    others: list[str] = []
    value = None
    remaining = iter(words)
    for word in remaining:
        if word in (option, short):
            value = next(remaining, None)
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif short is not None and word.startswith(short) and not word.startswith("--"):
            value = word.removeprefix(short)
        else:
            others.append(word)
    return others, value


def _folder_of(provenance: Mapping[str, Any]) -> Path:
    """Where the command was typed; here, where the store does not say, or that folder is gone."""
    folder = provenance.get("folder")
    return Path(folder) if isinstance(folder, str) and os.path.isdir(folder) else Path.cwd()


def _format_line(folder: Path, words: Sequence[str]) -> str:
    line = shlex.join(words)
    return line if folder == Path.cwd() else f"(cd {shlex.quote(str(folder))} && {line})"
