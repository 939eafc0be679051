"""From what was typed to a feature store: photos that have no features yet are embedded first."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zsecli.data.folder_walk import workspace_folders
from zsecli.data.hashing import hash_files
from zsecli.data.items import NEITHER, PHOTO, Column, Items
from zsecli.data.picture_list import find_pictures
from zsecli.data.sources import folder
from zsecli.data.sources.demo import demo_folder
from zsecli.errors import StoreError, UsageError
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.extract import ExtractResult
from zsecli.runtime import console
from zsecli.runtime.log_levels import NOTICE
from zsecli.stages import defaults
from zsecli.store.dataset import read_dataset
from zsecli.store.features import open_features
from zsecli.store.hdf5 import open_store, read_header
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PhotoSource:
    """A finished feature store with photos, what to call it, and the model that made it."""

    store: Path
    name: str
    model: ModelSpec


def find_photos(
    workspace: Workspace, photos: str | None, model: str | None, compute: defaults.Compute, model_typed: bool = False
) -> PhotoSource:
    """The features of `photos`: a feature store, a folder, a data set by its name or its store; None: the demo's.

    A path that exists goes before a data set of the same name.

    Args:
        model: as `--model`; None: as for every command. model_typed: a model that is not the one of a feature store is
            then an error; else the store's own is taken.

    Raises:
        UsageError: it is none of these. ZseError: no photo can be used.
    """
    path = Path(photos) if photos else None
    if path is not None and path.is_file():
        kind = _kind_of(path)
        if kind == "features":
            return PhotoSource(path, path.stem, _model_of(path, model if model_typed else None))
        if kind != "dataset":
            raise StoreError(f"{path}: is a {kind} store", "give a feature store: zse embed makes one")
    spec = defaults.model_of(workspace, model)
    if path is None:
        return _embed_demo(workspace, spec, compute)
    if path.is_dir():
        return _embed_folder(workspace, path, spec, compute)
    if not path.is_file() and (path.suffix or len(path.parts) != 1):
        raise UsageError(f"{path}: no such file or folder", "give a feature store, a folder, or a data set's name")
    store = path if path.is_file() else defaults.dataset_of(workspace, photos)
    result = defaults.embed_dataset(workspace, store, spec, "photos", compute)
    return _as_source(result, read_dataset(store).name, spec)


def _kind_of(path: Path) -> str:
    with open_store(path) as file:
        return read_header(file, path).schema


def _model_of(store: Path, model: str | None) -> ModelSpec:
    """The model that made a feature store.

    Raises:
        StoreError: `model` is another one, or its weights are no longer the same.
    """
    with open_features(store) as features:
        about = features.header.provenance
    spec = ModelSpec.parse(model or str(about.get("model")))
    if (spec.weights_hash() or spec.text) != (about.get("weights") or about.get("model")):
        raise StoreError(
            f"{spec.text}: is not the model that made {store}", "leave --model out, or embed again with it"
        )
    return spec


def _embed_demo(workspace: Workspace, spec: ModelSpec, compute: defaults.Compute) -> PhotoSource:
    """The shipped photos. They are not prepared as a data set: it would be the workspace's newest from then on."""
    manifest = demo_folder() / "manifest.csv"
    listing = folder.read(manifest)
    entries = [entry for entry in listing.entries if entry.modality == "photo"]
    hashed = hash_files(listing.root, [entry.path for entry in entries], {})
    entries = [entries[i] for i in hashed.good]
    count = len(entries)
    items = Items(
        id=[entry.path for entry in entries],
        modality=np.full(count, PHOTO, np.uint8),
        part=np.full(count, NEITHER, np.int8),
        sha256=hashed.sha256,
        label=Column.from_values([entry.label for entry in entries]),
    )
    result = defaults.embed_items(workspace, "demo", items, listing.root, spec, compute)
    return _as_source(result, "demo", spec)


def _embed_folder(workspace: Workspace, path: Path, spec: ModelSpec, compute: defaults.Compute) -> PhotoSource:
    if (path / "photo").is_dir() and (path / "sketch").is_dir():  # as zse prepare folder wants it
        path = path / "photo"
        logger.log(NOTICE, f"the photos are those in {path}")
    found = find_pictures([path], excluded=workspace_folders(workspace.root))
    result = defaults.embed_pictures(workspace, found, spec, "photo", compute, None, True)
    return _as_source(result, path.resolve().name or str(path), spec)


def _as_source(result: ExtractResult, name: str, spec: ModelSpec) -> PhotoSource:
    if result.skipped:
        console.print_skipped(result.skipped)
    return PhotoSource(result.path, name, spec)
