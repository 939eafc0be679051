"""The stage `synthesize`: a sketch and photos -> a picture of the photos' patches in the sketch's shape."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zsecli.errors import UsageError
from zsecli.explain.load_network import load_network
from zsecli.explain.synthesis import Synthesis, SynthesisOptions, synthesize
from zsecli.model.spec import ModelSpec
from zsecli.render import synthesis_sheet
from zsecli.stages.defaults import DEFAULT_WORKSPACE
from zsecli.stages.guards import check_writable, pictures_of
from zsecli.stages.pairs import QueryPhotos, choose_network, select_pairs
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)

SUMMARY = ("coverage", "distinct", "mean_score")
"""What is reported of a synthesis, of all that `synthesis_sheet.describe_synthesis` says."""


@dataclass(frozen=True, kw_only=True)
class SynthesizeRequest:
    """Which pictures to put together: a sketch and photos, or queries of a ranking."""

    sketch: Path | None = None
    photos: Sequence[Path] = ()
    """Photos that give the patches; each patch takes the best of all."""
    ranking: Path | None = None
    queries: Sequence[str] = ()
    """Sketches of the ranking, by their ids or the ends of them."""
    ranks: str = "1"
    """The photos of the ranking: 3, or 1,4, or 1..5."""
    options: SynthesisOptions = field(default_factory=SynthesisOptions)
    sheet: Path | None = None
    """Draw a contact sheet of all of them here."""
    model: ModelSpec | None = None
    """None: the ranking's model, or without a ranking the workspace's."""
    output: Path | None = None
    """NAME.png, for NAME.png, NAME.map.png and NAME.json; None: in the workspace."""
    overwrite: bool = False
    """Replace files of these names."""
    device: str = "auto"
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class SynthesizedPicture:
    """One picture."""

    paths: list[Path]
    """What was written, the picture first."""
    numbers: dict[str, Any]
    """Coverage, number of different patches and mean cosine."""


def run(
    request: SynthesizeRequest, *, on_synthesized: Callable[[SynthesizedPicture], None] = lambda picture: None
) -> list[SynthesizedPicture]:
    """Put a picture together for each query of a request.

    Args:
        on_synthesized: is given each picture as soon as it is written.

    Raises:
        UsageError: the pictures are not given whole, or an output exists. StoreError: the model cannot do it.
        ZseError: a file is no picture.
    """
    names: Sequence[str | None] = request.queries or [None]
    queries = [select_pairs(request.sketch, request.photos, request.ranking, name, request.ranks) for name in names]
    for flag, file in (("-o", request.output), ("--sheet", request.sheet)):
        if file is not None and file.suffix.lower() != ".png":
            raise UsageError(f"{flag} {file}: is no name of a PNG picture", f"{flag} picture.png")
    workspace = Workspace(request.workspace)
    spec = choose_network(workspace, request.model, request.ranking)
    targets = _choose_outputs(request, queries, spec, workspace)
    network = load_network(spec, request.device)
    model = {"name": spec.name, "weights": spec.weights_hash()}
    syntheses: list[Synthesis] = []
    pictures = []
    for target, query in zip(targets, queries, strict=True):
        synthesis = synthesize(network, query.sketch, _photos(query), request.options)
        paths = synthesis_sheet.write_synthesis(synthesis, target, model)
        described = synthesis_sheet.describe_synthesis(synthesis, model)
        picture = SynthesizedPicture(paths=paths, numbers={name: described[name] for name in SUMMARY})
        on_synthesized(picture)
        syntheses.append(synthesis)
        pictures.append(picture)
    if request.sheet is not None:
        synthesis_sheet.write_synthesis_sheet(syntheses, request.sheet)
        logger.info(f"contact sheet: {request.sheet}")
    return pictures


def _photos(query: QueryPhotos) -> list[Path]:
    return [ranked.photo for ranked in query.photos]


def _choose_outputs(
    request: SynthesizeRequest, queries: list[QueryPhotos], spec: ModelSpec, workspace: Workspace
) -> list[Path]:
    """The picture of each query; UsageError where it, a file beside it, or the sheet must not be written."""
    targets = []
    for number, query in enumerate(queries, 1):
        base = workspace.made_of("syntheses", f"{spec.tag()} {request.options}", query.sketch, *_photos(query))
        target = request.output or base.with_name(f"{base.name}.png")
        if request.output is not None and len(queries) > 1:
            target = target.with_stem(f"{target.stem}-{number}")
        targets.append(target)
    inputs = list(request.protected)
    for query in queries:
        inputs += [query.sketch, *_photos(query)]
    if request.ranking is not None and (request.output or request.sheet):
        inputs += pictures_of(request.ranking)
    files: list[Path] = []
    for target in targets:
        files += synthesis_sheet.synthesis_paths(target)
    check_writable(files, request.overwrite or request.output is None, inputs)
    if request.sheet is not None:
        if request.sheet.resolve() in [file.resolve() for file in files]:
            raise UsageError(f"--sheet {request.sheet}: would be written twice", "give different names")
        check_writable([request.sheet], request.overwrite, inputs)
    return targets
