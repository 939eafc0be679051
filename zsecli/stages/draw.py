"""The stage `draw`: photos, embedded first if need be -> a page to draw in, served until it is interrupted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from zsecli.data.folder_walk import workspace_folders
from zsecli.data.hashing import hash_files
from zsecli.data.items import NEITHER, PHOTO, Column, Items
from zsecli.data.picture_list import find_pictures
from zsecli.data.sources import demo, folder
from zsecli.errors import StoreError, UsageError
from zsecli.model.spec import ModelSpec
from zsecli.runtime.log_levels import NOTICE
from zsecli.serve import server
from zsecli.stages.defaults import (
    DEFAULT_WORKSPACE,
    Compute,
    ProgressBars,
    choose_model,
    no_progress,
)
from zsecli.stages.embed import Embedding, EmbedResult, embed_dataset, embed_photos, embed_pictures
from zsecli.stages.find_dataset import find_dataset
from zsecli.store.dataset import read_dataset
from zsecli.store.features import open_features
from zsecli.store.hdf5 import open_store, read_header
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class DrawRequest:
    """Which photos to serve, and to whom."""

    photos: str | None = None
    """A feature store, a folder, or a data set by its name or its store; None: the shipped photos.

    A path that exists goes before a data set of the same name."""
    model: str | None = None
    """The model; an error where it is not the one that made the feature store."""
    default_model: str | None = None
    """The model where `model` is None, except for a feature store, which names its own; None: as elsewhere."""
    top: int = 24
    """Hits of an answer."""
    shortlist: int = 24
    """Photos that are re-ranked."""
    by: str | None = None
    """ret or cascade; None: a cascade if the model has a relation network."""
    host: str = "127.0.0.1"
    """Address to listen at."""
    port: int = 8788
    """One that is taken gives way to the next; 0 is any free one."""
    allow_hosts: Sequence[str] = ()
    """Further names by which browsers may address the server."""
    browser: bool = False
    """Open the page in a browser."""
    compute: Compute = field(default_factory=Compute)
    workspace: Path = DEFAULT_WORKSPACE


@dataclass(frozen=True, kw_only=True)
class PhotoStore:
    """A finished feature store with photos."""

    store: Path
    name: str
    """What the page calls them."""
    model: ModelSpec
    """The model that made it."""
    skipped: list[tuple[str, str]] = field(default_factory=list)
    """(photo, reason) of those that have no features."""


def run(
    request: DrawRequest,
    *,
    announce: Callable[[str], None] = print,
    on_skipped: Callable[[list[tuple[str, str]]], None] = lambda skipped: None,
    progress: ProgressBars = no_progress,
) -> None:
    """Serve the page until SIGINT or SIGTERM.

    Args:
        announce: is given the address of the page once it can be opened.
        on_skipped: is given (photo, reason) of those that cannot be served.

    Raises:
        UsageError: `photos` is none of these. StoreError: the store cannot be used.
        ZseError: the extra `draw` is not installed, no photo can be used, or no port is free.
        KeyboardInterrupt: it was interrupted.
    """
    server.check_installed()
    server.check_host(request.host, tuple(request.allow_hosts))
    photos = find_photos(request, progress=progress)
    if photos.skipped:
        on_skipped(photos.skipped)
    options = server.ServeOptions(
        store=photos.store,
        name=photos.name,
        model=photos.model,
        top=request.top,
        shortlist=request.shortlist,
        by=request.by,
        host=request.host,
        port=request.port,
        allow_hosts=tuple(request.allow_hosts),
        browser=request.browser,
        device=request.compute.device,
    )
    server.serve(options, announce)


def find_photos(request: DrawRequest, *, progress: ProgressBars = no_progress) -> PhotoStore:
    """The features of the photos of a request, which are made where there are none yet."""
    path = Path(request.photos) if request.photos else None
    if path is not None and path.is_file():
        kind = _kind_of_store(path)
        if kind == "features":
            return PhotoStore(store=path, name=path.stem, model=_check_model(path, request.model))
        if kind != "dataset":
            raise StoreError(f"{path}: is a {kind} store", "give a feature store: zse embed makes one")
    workspace = Workspace(request.workspace)
    embedding = Embedding(
        workspace=workspace,
        model=choose_model(workspace, request.model or request.default_model),
        compute=request.compute,
        progress=progress,
    )
    if path is None:
        return _embed_demo(embedding)
    if path.is_dir():
        return _embed_folder(embedding, path)
    if not path.is_file() and (path.suffix or len(path.parts) != 1):
        raise UsageError(f"{path}: no such file or folder", "give a feature store, a folder, or a data set's name")
    store = path if path.is_file() else find_dataset(workspace, request.photos)
    result = embed_dataset(embedding, store, "photos")
    return _photo_store(embedding, result, read_dataset(store).name)


def _kind_of_store(path: Path) -> str:
    with open_store(path) as file:
        return read_header(file, path).schema


def _check_model(store: Path, name: str | None) -> ModelSpec:
    """The model that made a feature store; StoreError where its weights changed, or `name` is another one."""
    with open_features(store) as features:
        provenance = features.header.provenance
    spec = ModelSpec.parse(name or str(provenance.get("model")))
    if (spec.weights_hash() or spec.text) != (provenance.get("weights") or provenance.get("model")):
        raise StoreError(
            f"{spec.text}: is not the model that made {store}", "leave --model out, or embed again with it"
        )
    return spec


def _embed_demo(embedding: Embedding) -> PhotoStore:
    """The shipped photos. They are not prepared as a data set: it would be the workspace's newest from then on."""
    listing = folder.read(demo.demo_folder() / "manifest.csv")
    entries = [entry for entry in listing.entries if entry.modality == "photo"]
    hashed = hash_files(listing.root, [entry.path for entry in entries], {})
    entries = [entries[i] for i in hashed.good]
    items = Items(
        id=[entry.path for entry in entries],
        modality=np.full(len(entries), PHOTO, np.uint8),
        part=np.full(len(entries), NEITHER, np.int8),
        sha256=hashed.sha256,
        label=Column.from_values([entry.label for entry in entries]),
    )
    result = embed_photos(embedding, "demo", items, listing.root)
    return _photo_store(embedding, result, "demo")


def _embed_folder(embedding: Embedding, path: Path) -> PhotoStore:
    if (path / "photo").is_dir() and (path / "sketch").is_dir():  # as zse prepare folder wants it
        path = path / "photo"
        logger.log(NOTICE, f"the photos are those in {path}")
    pictures = find_pictures([path], excluded=workspace_folders(embedding.workspace.root))
    result = embed_pictures(embedding, pictures, "photo")
    return _photo_store(embedding, result, path.resolve().name or str(path))


def _photo_store(embedding: Embedding, result: EmbedResult, name: str) -> PhotoStore:
    return PhotoStore(store=result.path, name=name, model=embedding.model, skipped=result.skipped)
