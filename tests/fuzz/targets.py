"""Every reader of what strangers write, as a function of bytes.

A target returns where the reader answers, or refuses the bytes in two lines; it raises where something else comes out,
or what is accepted does not read back as it was. PyTorch takes seconds to import: only the targets that need it do.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np

from fuzz.programs import KINDS, STORES, build
from fuzz.scratch import PICTURES, answer, new, run, scratch, tree
from helpers.damaged_stores import read
from zsecli.data.names import name_key, tidy_name
from zsecli.data.sources.base import Entry
from zsecli.data.sources.manifest import read_manifest
from zsecli.explain import keypoints as marked
from zsecli.model.config import from_json
from zsecli.render import hits
from zsecli.runtime.shards import Shard
from zsecli.runtime.textfiles import decode_text
from zsecli.stages.prepare_listing import _items
from zsecli.store.dataset import read_dataset, write_dataset
from zsecli.store.features import open_features, read_skipped
from zsecli.store.items import read_items, write_items
from zsecli.store.ranking import open_ranking
from zsecli.workspace import Workspace

Target = Callable[[bytes], None]


def _text(data: bytes) -> str:
    """As a command line or a file name hands it on: bytes that are no text are surrogates."""
    return os.fsdecode(data)


def store_structure(data: bytes) -> None:
    """A store with edits (see `programs.py`), sealed again, by all that reads it."""
    path = new(".h5")
    try:
        kind = build(data, path)
        run("inspect", path, "--verify", "--json")
        {"dataset": _dataset, "features": _features, "ranking": _ranking}[kind](path)
    finally:
        path.unlink(missing_ok=True)


def _dataset(path: Path) -> None:
    run("embed", path, "--dry-run", "-o", "e.h5", "--split", "generalized-21")
    found = answer(read_dataset, path)
    if found is not None:
        again = read_dataset(write_dataset(scratch() / "again.h5", found, {}))
        assert (again.key(), again.report, again.known()) == (found.key(), found.report, found.known())


def _features(path: Path) -> None:
    made = scratch() / "made.h5"
    made.unlink(missing_ok=True)
    done = run("match", path, "-o", made, "--by", "ret", "--format", "json")
    if done.code == 0:
        for line in done.out.splitlines():
            assert np.isfinite(json.loads(line)["score"])
    if answer(read_skipped, path) is not None:
        with open_features(path) as features:
            ret = answer(features.read, "ret", slice(None))
            assert ret is None or len(ret) == len(features.items)


def _ranking(path: Path) -> None:
    run("evaluate", path, "--json")
    with contextlib.redirect_stdout(io.StringIO()):
        answer(hits.print_hits, path, 3, "tsv")
    answer(_explained, path)


def _explained(path: Path) -> None:
    """What `zse explain --ranking` takes from a ranking."""
    from zsecli.explain.load_network import network_of_ranking
    from zsecli.stages.pairs import read_ranked_pictures

    with open_ranking(path) as ranking:
        answer(network_of_ranking, ranking)
        query = ranking.query.id[0] if ranking.query.id else ""
    read_ranked_pictures(path, query, "1..2")


def store_bytes(data: bytes) -> None:
    """Any bytes under the name of a store. What a fuzzer makes bears no true seal, so HDF5 must not see it."""
    sealed = data.endswith(b"zse-seal")
    if data.startswith(b"\x89HDF\r\n\x1a\n") and not sealed:
        return  # of the versions that had no seal: HDF5 itself reads it, as docs/stores.md says
    path = new(".h5", data)
    try:
        for kind in sorted({*KINDS.values()}):
            answer(read, path, kind)
        assert run("inspect", path).code == 3 or data in _whole()
    finally:
        path.unlink()


def _whole() -> list[bytes]:
    return [(STORES / f"{name}.h5").read_bytes() for name in KINDS]


def tensors(data: bytes) -> None:
    """A safetensors file: what is read of it is the same when it is written again."""
    from zsecli.model import checkpoint, tensorfile
    from zsecli.train import state

    path = new(".safetensors", data)
    try:
        answer(tensorfile.read_metadata, path, "hint")
        found = answer(tensorfile.read, path, "hint")
        if found is not None:
            metadata, held = found
            assert sum(tensor.nbytes for tensor in held.values()) <= len(data)
            tensorfile.write(path, held, metadata)
            again = tensorfile.read(path, "hint")
            assert again[1].keys() == held.keys()
            assert again[0] == metadata | {tensorfile.CHECKSUM: tensorfile.checksum(held, metadata)}
        answer(checkpoint.read_training, path)
        answer(checkpoint.seen_classes, path)
        answer(checkpoint.load_scoring, path)
        answer(state.read_progress, path)
    finally:
        path.unlink()


def config(data: bytes) -> None:
    """The configuration of a checkpoint: what is accepted is the same again."""
    found = answer(from_json, data.decode("utf-8", "surrogateescape"), "x.safetensors")
    if found is not None:
        assert from_json(found.to_json(), "again") == found


def progress(data: bytes) -> None:
    """Where a training run stands, and what a checkpoint says of the run that made it."""
    import torch
    from safetensors.torch import save

    from zsecli.model import checkpoint
    from zsecli.train import state

    said = data.decode(errors="replace")
    kept = {"zse-schema": "training", "run-key": "k", "progress": said, "training": said}
    path = new(".safetensors", save({"a": torch.zeros(1)}, kept))
    try:
        found = answer(state.read_progress, path)
        assert found is None or found[1].step >= 0
        answer(checkpoint.read_training, path)
        answer(checkpoint.seen_classes, path)
    finally:
        path.unlink()


COMMANDS = {
    "embed": ("tree/photo/cat/a.jpg", "-o", "e.h5"),
    "match": (),
    "evaluate": (),
    "train": ("nowhere",),
    "prepare": ("folder", "tree", "-o", "p.h5"),
}


def toml(data: bytes) -> None:
    """The file of `--config`: the first byte chooses the command that reads it. Nothing is done but planned."""
    if re.search(rb"frozen|hub|small|/|\.\.", data):
        return  # which the file may name: weights that would be fetched, folders that are not the fuzzer's
    command = list(COMMANDS)[(data or b"\0")[0] % len(COMMANDS)]
    path = new(".toml", data[1:])
    try:
        run(command, *COMMANDS[command], "--dry-run", "--config", path)
    finally:
        path.unlink()


def manifest(data: bytes) -> None:
    """A CSV of pictures: each is listed once, below the folder, and can be stored."""
    path = new(".csv", data)
    try:
        for where, columns in (({}, {}), ({"split": "seen"}, {}), ({}, {"class": "set", "instance": "path"})):
            found = answer(read_manifest, path, where, columns)
            if found is not None:
                assert found and len({entry.path for entry in found}) == len(found)
                assert not any(entry.path.startswith("/") or ".." in entry.path.split("/") for entry in found)
                assert {entry.modality for entry in found} <= {"sketch", "photo"}
                assert {entry.part for entry in found} <= {"seen", "unseen", None}
                _stored(found)
    finally:
        path.unlink()


def _stored(entries: list[Entry]) -> None:
    items = _items(entries, np.zeros((len(entries), 32), np.uint8))
    with h5py.File("items", "w", driver="core", backing_store=False) as file:
        write_items(items, file)
        assert read_items(file, "items").content() == items.content()


def embed_list(data: bytes) -> None:
    """The list on stdin of `zse embed -`: what is there is embedded, once; the rest is named."""
    if re.search(rb"(^|[\0\n])/|\.\.", data):
        return  # beyond the fuzzer's folder
    target = new(".h5")
    try:
        done = run("embed", "-", "-o", target, stdin=data)
        if done.code in (0, 4):
            with open_features(target) as features:
                names = features.items.id
            assert names and len({*names}) == len(names)
            assert all((scratch() / name).is_file() for name in names)
            assert (done.code == 4) == ("skipped: " in done.err)
    finally:
        target.unlink(missing_ok=True)


def unseen(data: bytes) -> None:
    """The file of `prepare folder TREE --unseen`: just the classes that it names are unseen."""
    path = new(".txt", data)
    target = path.with_suffix(".h5")
    try:
        done = run("prepare", "folder", "tree", "--unseen", path, "-o", target)
        if done.code == 0:
            lines = decode_text(data).replace("\r", "\n").split("\n")
            named = {name_key(line) for line in lines if tidy_name(line)}
            items = read_dataset(target).items
            assert {name_key(items.label.names[code]) for code in items.label.codes[items.part == 1]} == named
    finally:
        path.unlink()
        target.unlink(missing_ok=True)


def keypoints(data: bytes) -> None:
    """A CSV of marked pairs: as many finite points on the one as on the other, of pictures that are there."""
    path = tree() / "tree" / new(".csv").name
    path.write_bytes(data)
    try:
        for pair in answer(marked.read_keypoints, path) or ():
            assert pair.on_photo.shape == pair.on_sketch.shape == (len(pair.on_photo), 2)
            assert len(pair.on_photo) and np.isfinite([pair.on_photo, pair.on_sketch]).all()
            assert pair.photo.is_file() and pair.sketch.is_file()
    finally:
        path.unlink()


def names(data: bytes) -> None:
    """Names of data sets, models and stores: whatever they hold, a file of the workspace is meant, and no other."""
    name, _, other = _text(data).partition("\n")
    ws = Workspace(Path("zse"))
    for path in (ws.dataset(name), ws.features(name, other, "all"), ws.checkpoint(name)):
        assert path.parent.parent == ws.root
        assert len(os.fsencode(path.name)) <= 250 and not re.search(r"[\0/\x1b]", path.name)
        path.name.encode()
    if not re.search(r"\0|\.\.|^/", name):
        run("embed", f"--data={name}", "--dry-run", f"--model={other}" if other in ("pixels", "hog") else "-q")


def ranks(data: bytes) -> None:
    """The text of `--rank`: each of the ranks that are there, in the order that is asked."""
    from zsecli.stages.pairs import read_ranked_pictures

    path, query, best = _a_ranking()
    found = answer(read_ranked_pictures, path, query, _text(data))
    for ranked in found.photos if found else []:
        assert ranked.photo == best[ranked.rank - 1]


@cache
def _a_ranking() -> tuple[Path, str, list[Path]]:
    """Its path, a query, and the photos found for it, best first."""
    path = next((scratch() / "zse" / "rankings").iterdir())
    with open_ranking(path) as ranking:
        photos = ranking.pictures()[1]
        return path, ranking.query.id[0], [photos[row] for row in ranking.indices[0].tolist()]


def shard(data: bytes) -> None:
    """The text of `--shard`: all shares together are the whole, in order; none is so many that it would not end."""
    text = _text(data)
    found = answer(Shard.parse, text)
    if found is not None:
        assert 1 <= found.number <= found.count
        rows = [row for one in found.all_shards() for row in range(40)[one.rows(40, 3)]]
        assert rows == list(range(40))
    if "\0" not in text:
        run("embed", "tree/photo/cat/a.jpg", "--dry-run", "-o", "e.h5", f"--shard={text}")


def where(data: bytes) -> None:
    """Texts of `--where`, one a line, on the manifest of the tree's pictures."""
    texts = [f"--where={line}" for line in _text(data).replace("\0", "").split("\n")]
    run("prepare", "folder", _a_manifest(), "-o", "w.h5", "--overwrite", *texts)


def _a_manifest() -> Path:
    path = scratch() / "manifest.csv"
    if not path.exists():
        rows = [f"tree/photo/{name}.jpg,photo,{name[:3]},25 %,é" for name in PICTURES]
        path.write_text("\n".join(["path,modality,class,share,a=b", *rows]), "utf-8")
    return path


def match_stdin(data: bytes) -> None:
    """A path on stdin, of `zse match -` and of `zse inspect -`."""
    made = new(".h5")
    try:
        run("match", "-", "-o", made, stdin=data)
        run("inspect", "-", stdin=data)
    finally:
        made.unlink(missing_ok=True)


TARGETS: dict[str, tuple[str, Target]] = {
    "store-structure": ("stores made of other things, sealed", store_structure),
    "store-bytes": ("stores of any bytes", store_bytes),
    "tensors": ("checkpoints of any bytes", tensors),
    "config": ("configurations of checkpoints", config),
    "progress": ("metadata of training runs", progress),
    "toml": ("files of defaults (`--config`)", toml),
    "manifest": ("manifests", manifest),
    "embed-list": ("lists on stdin (`zse embed -`)", embed_list),
    "unseen": ("lists of classes (`--unseen`)", unseen),
    "keypoints": ("marked pairs (`--keypoints`)", keypoints),
    "names": ("names of data sets and models", names),
    "ranks": ("ranks (`--rank`)", ranks),
    "shard": ("shares (`--shard`)", shard),
    "where": ("rows of a manifest (`--where`)", where),
    "match-stdin": ("paths on stdin (`zse match -`)", match_stdin),
}
