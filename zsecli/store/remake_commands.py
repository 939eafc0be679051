"""The commands that make a store again, as hints print them: read from what its provenance says of how it was made.

A store may come from a stranger: of its command line nothing is kept that writes elsewhere, and a hint is only printed.
"""

from __future__ import annotations

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
_ELSEWHERE = ("--sheet", "--trec", "--shard")  # options that are not repeated: other outputs, and shares of the work
_FLAGS = ("--overwrite", "--dry-run", "-n", "--quiet", "-q", "--json", "--debug")  # nor these, which take no value


def remake_dataset(dataset: Dataset) -> str:
    """The command that lists and hashes a data set anew.

    Where its folder is gone, NEW_FOLDER stands in the command for the folder that has the pictures now.
    """
    return _line(*_prepare(dataset))


def remake_ranking(ranking: Ranking) -> str:
    """The commands that make a ranking, and all that it is made from, anew; in words where they are not known."""
    about = ranking.header.provenance
    words = _repeat(about.get("argv"), RANKINGS_BY, ranking.path, about)
    stores = [str(about.get(side)) for side in ("sketches", "photos")]
    lines = []
    if words is not None:
        try:
            datasets = _datasets(ranking)
            lines = [_line(*_prepare(dataset)) for dataset in datasets]
            given = [Path(_folder(about), store) for store in stores if store in words]
            lines += [_embed(store) for store in given]
            if not given:
                words = _complete(words, datasets, about)
            lines.append(_line(_folder(about), words))
        except StoreError:  # one of them is gone, or does not say how it was made
            lines = []
    if not lines:
        return f"embed its pictures again (zse embed), and rank them again into {ranking.path} (zse match --overwrite)"
    return "; ".join(dict.fromkeys(lines))  # not &&: a command that skips a broken picture has another exit code


def remake_features(*stores: Path) -> str:
    """The commands that make feature stores anew; in words where they are not known."""
    try:
        return "; ".join(dict.fromkeys(map(_embed, stores)))
    except StoreError:
        return f"embed the pictures of {' and '.join(dict.fromkeys(map(str, stores)))} again (zse embed --overwrite)"


def _prepare(dataset: Dataset) -> tuple[Path, list[str]]:
    """The folder to type it in, and the words of `zse prepare`."""
    about: Mapping[str, Any] = dataset.header.provenance if dataset.header is not None else {}
    path, folder = dataset.path or Path(f"{dataset.name}.h5"), _folder(about)
    place = about["source"] if isinstance(about.get("source"), str) else str(dataset.root)
    words = _repeat(about.get("argv"), ("prepare",), path, about)
    if words is None:  # another command prepared it on its way, or no command at all
        if place.endswith(("/demo/manifest.csv", "/demo")) and dataset.name == "demo":
            words = ["zse", "prepare", "demo", "--overwrite"]
        else:
            words = ["zse", "prepare", dataset.benchmark or "folder", place, "--name", dataset.name, "--overwrite"]
        words += ["-o", str(path.resolve())] if path.parent.name != "datasets" else _workspace(path)
    if os.path.isdir(dataset.root):
        return folder, words
    new = NEW_FOLDER if place == str(dataset.root) else f"{NEW_FOLDER}/{Path(place).name}"
    typed_in = Path(str(about.get("folder") or folder))  # gone too where all of a project moved
    moved = [_moved(word, place, typed_in, new) for word in words]
    if moved == words:
        moved += ["--root", new]
    if "--name" not in moved and not any(word.startswith("--name=") for word in moved):
        moved += ["--name", dataset.name]
    return folder, moved


def _moved(word: str, place: str, folder: Path, new: str) -> str:
    """A word of a command line, with the new place where it names the old one."""
    option, equals, value = word.partition("=")
    if equals and option == "--root":
        return f"--root={_moved(value, place, folder, new)}"
    return new if word and os.path.realpath(folder / word) == os.path.realpath(place) else word


def _workspace(store: Path) -> list[str]:
    folder = store.resolve().parents[1]
    return ["--workspace", str(folder)]


def _embed(store: Path) -> str:
    """The command that makes a feature store again; StoreError where that is not known."""
    if not os.path.isfile(store):
        raise StoreError(f"{store}: no such store")
    with open_store(store, "features") as file:
        about = read_header(file, store).provenance
    words = _repeat(about.get("argv"), FEATURES_BY, store, about)
    if words is None:
        raise StoreError(f"{store}: does not say how it was made")
    return _line(_folder(about), words)


def _datasets(ranking: Ranking) -> list[Dataset]:
    """The data sets that a ranking's pictures come from."""
    about = ranking.header.provenance
    said = about.get("datasets", ["", ""])
    found: dict[Path, None] = {}
    for path, origin in zip(map(Path, said), about.get("origins", [{}, {}]), strict=True):
        if name := origin.get("data"):
            # a ranking of an older version does not name the store, and a workspace may have moved
            beside = Workspace(ranking.path.absolute().parents[1]).dataset(name)
            found[path if os.path.isfile(path) else beside] = None
    return [read_dataset(path) for path in found]


def _complete(words: list[str], datasets: Sequence[Dataset], about: Mapping[str, Any]) -> list[str]:
    """A command line that also says what was chosen for it: the data set prepared last, the newest model."""
    if datasets and not _has(words, "--data"):
        words = [*words, "--data", datasets[0].name]
    if isinstance(about.get("model"), str) and not _has(words, "--model"):
        words = [*words, "--model", about["model"]]
    return words


def _has(words: Sequence[str], option: str) -> bool:
    return any(word == option or word.startswith(f"{option}=") for word in words)


def _repeat(argv: Any, commands: Sequence[str], path: Path, about: Mapping[str, Any]) -> list[str] | None:
    """The command line `argv` once more, for the store `path`; None where it is none of `commands`, or read stdin."""
    if not isinstance(argv, list) or not all(isinstance(word, str) for word in argv):
        return None
    if not argv or argv[0] not in commands or "-" in argv or "\0" in "".join(argv):
        return None
    words, output = _take_option(argv, "--output", "-o")
    for option in _ELSEWHERE:
        words, _ = _take_option(words, option)
    words = [word for word in words if word not in _FLAGS]
    if output is not None and argv[0] != "evaluate":  # what evaluate writes there is a report
        words += ["-o", str(path if _folder(about) == Path.cwd() else path.resolve())]
    return ["zse", *words, "--overwrite"]


def _take_option(words: Sequence[str], option: str, short: str | None = None) -> tuple[list[str], str | None]:
    """The words without an option and its value, and the value."""
    left: list[str] = []
    value = None
    rest = iter(words)
    for word in rest:
        if word in (option, short):
            value = next(rest, None)
        elif word.startswith(f"{option}="):
            value = word.partition("=")[2]
        elif short is not None and word.startswith(short) and not word.startswith("--"):
            value = word.removeprefix(short)
        else:
            left.append(word)
    return left, value


def _folder(about: Mapping[str, Any]) -> Path:
    """Where the command was typed; here, where the store does not say, or that folder is gone."""
    folder = about.get("folder")
    return Path(folder) if isinstance(folder, str) and os.path.isdir(folder) else Path.cwd()


def _line(folder: Path, words: Sequence[str]) -> str:
    line = shlex.join(words)
    return line if folder == Path.cwd() else f"(cd {shlex.quote(str(folder))} && {line})"
