"""The stage `embed`: pictures -> a feature store."""

from __future__ import annotations

import hashlib
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from zsecli.console import SILENT, Progress, note
from zsecli.data.pictures import REVISION, PictureError, Pixels, decode, prepare
from zsecli.data.preprocess import Preprocess
from zsecli.errors import ZseError
from zsecli.model.spec import ModelSpec
from zsecli.store.features import FeatureWriter, skipped_in
from zsecli.store.header import check_target, finished, run_key, versions
from zsecli.store.items import MODALITIES, PHOTO, SKETCH, Ints, Items

if TYPE_CHECKING:
    from zsecli.model.embedder import Embedder


@dataclass(frozen=True)
class EmbedResult:
    """Where the features are, whether they had to be computed, and (picture, reason) of those that have none."""

    path: Path
    fresh: bool
    skipped: list[tuple[str, str]]


def key_of(items: Items, spec: ModelSpec) -> str:
    """Run key of the features of these pictures by this model.

    What a library decides counts too: timm a frozen backbone's layers, preprocessing and unnamed weights.
    """
    library = {"frozen": "timm", "hog": "scikit-image"}.get(spec.kind)
    return run_key(
        stage="features",
        kind=spec.kind,
        name=spec.name if spec.kind == "frozen" else "",
        weights=spec.weights_hash(),
        pictures=REVISION,
        library=f"{library} {version(library)}" if library else "",
        **items.content(),
    )


def run(
    items: Items,
    root: Path,
    spec: ModelSpec,
    output: Path,
    *,
    origin: Mapping[str, str] | None = None,
    device: str = "auto",
    batch_size: int = 32,
    workers: int = 0,
    overwrite: bool = True,
    progress: Progress = SILENT,
) -> EmbedResult:
    """Embed the N pictures `root`/id of `items` with the model `spec` into the feature store `output`.

    Nothing is computed where `output` holds just that already; a run that was killed goes on.

    Args:
        origin: what the pictures came from, for the provenance (the data set's name and run key, say).
        batch_size: pictures at once. workers: processes that decode; 0 decodes in this one.
        overwrite: replace another content of `output`.
        progress: told the number of pictures, and of those just done.

    Raises:
        ZseError: a picture changed since its hash was taken, or no picture at all can be used.
    """
    key = key_of(items, spec)
    if finished(output, "features", key):
        return EmbedResult(output, False, skipped_in(output))
    check_target(output, "features", key, overwrite)
    from zsecli.model.load import load  # here: an up-to-date run needs no torch

    model = load(spec, device)
    if unused := model.about.get("unused"):
        note(f"{spec.file}: {len(unused)} parameters in the file are never used by the network ({unused[0]}, ...)")
    provenance = {
        "argv": sys.argv[1:],
        "versions": versions(),
        **(origin or {}),
        "root": str(root.resolve()),
        "model": spec.text,
        "weights": spec.weights_hash(),
        "relation": spec.has_relation,
        "preprocess": vars(model.preprocess),
        **model.about,
    }
    note(f"embedding {len(items)} pictures with {spec.text}")
    return write(items, root, model, output, key, provenance, batch_size, workers, progress)


def write(
    items: Items,
    root: Path,
    model: Embedder,
    output: Path,
    key: str,
    provenance: dict[str, Any],
    batch_size: int,
    workers: int,
    progress: Progress,
) -> EmbedResult:
    """Write the features of a model that is there already, or the rest of them, under the run key `key`."""
    with FeatureWriter(output, key, provenance, items, model.width, model.tokens, model.kept) as store:
        progress.start(len(items))
        progress(store.rows)
        for batch in _batches(items, root, model.preprocess, batch_size, workers, store.rows):
            for picture in batch:
                if isinstance(picture, ZseError):
                    raise picture
            good = np.array([i for i, picture in enumerate(batch) if not isinstance(picture, str)], np.int64)
            reasons = [picture if isinstance(picture, str) else "" for picture in batch]
            rows = slice(store.rows, store.rows + len(batch))
            features = _by_role(model, [batch[i] for i in good], items.modality[rows][good])
            store.write(items.id[rows], reasons, **features)
            progress(len(batch))
        if store.empty():
            raise ZseError(f"no picture could be read (the first: {items.id[0]})", "see the reasons above")
        store.finish()
    return EmbedResult(output, True, skipped_in(output))


def _by_role(model: Embedder, pictures: list[Pixels], modality: Ints) -> dict[str, Any]:
    """Features of G pictures that may hold both modalities, in their order."""
    out: dict[str, Any] = {"ret": np.empty((len(pictures), model.width), np.float32), "tokens": None, "index": None}
    if model.tokens:
        out["tokens"] = np.empty((len(pictures), model.tokens, model.width), np.float32)
    if model.kept is not None:
        out["index"] = np.empty((len(pictures), model.kept), np.int64)
    for code in (SKETCH, PHOTO):
        rows = np.flatnonzero(modality == code)
        if len(rows):
            features = model.embed(np.stack([pictures[r] for r in rows]), MODALITIES[code])
            for name, values in out.items():
                if values is not None:
                    values[rows] = getattr(features, name)
    return out


def _batches(
    items: Items, root: Path, preprocess: Preprocess, size: int, workers: int, start: int
) -> Iterator[list[Any]]:
    """The pictures from row `start` on, `size` at once."""
    from torch.utils.data import DataLoader, Dataset, Subset

    reader = _Reader(items, root, preprocess)  # a Dataset in all but name: an up-to-date run needs no torch
    rows: Dataset[Any] = Subset(reader, range(start, len(items)))  # type: ignore[arg-type]
    loader = DataLoader(rows, batch_size=size, num_workers=workers, collate_fn=list)
    if not workers:
        yield from loader
        return
    # a terminal's Ctrl-C reaches the workers too: they inherit the mask, so that this process alone ends them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        batches = iter(loader)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    yield from batches


def changed(file: Path) -> ZseError:
    """The error of a picture that is no longer what was listed."""
    return ZseError(f"{file}: changed since the list was made", "make the list again (zse prepare)")


class _Reader:
    """Picture `row` as the model wants it, uint8 (S, S, 3); or the reason why it cannot be used.

    An error is returned, not raised: a worker process would send it home with its whole traceback.
    """

    def __init__(self, items: Items, root: Path, preprocess: Preprocess) -> None:
        self.items, self.root, self.preprocess = items, root, preprocess

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, row: int) -> Pixels | str | ZseError:
        file = self.root / self.items.id[row]
        try:
            data = file.read_bytes()
        except OSError as error:
            return ZseError(
                f"{file}: {error.strerror or error}", "it was there when the list was made: make the list again"
            )
        if hashlib.sha256(data).digest() != self.items.sha256[row].tobytes():
            return changed(file)
        try:
            return prepare(decode(data), MODALITIES[self.items.modality[row]], self.preprocess)
        except PictureError as error:
            return str(error)
