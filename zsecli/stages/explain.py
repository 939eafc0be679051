"""The stage `explain`: a sketch and a photo -> a figure, a page and the same as data."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.errors import UsageError
from zsecli.explain import faithfulness
from zsecli.explain.correspondences import find_pair_matches, offered_sources, score_patches
from zsecli.explain.load_network import load_network
from zsecli.explain.pair import Pair, encode_file, score_pair
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.model.spec import ModelSpec
from zsecli.render import explanation_figure, explanation_json, explanation_page
from zsecli.runtime.files import atomic_write
from zsecli.stages.defaults import DEFAULT_WORKSPACE
from zsecli.stages.guards import check_writable, pictures_of
from zsecli.stages.pairs import QueryPhotos, check_is_picture_file, check_unchanged, choose_network, select_pairs
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)

RANDOM_ORDERS = 40
"""Random orders of a single pair, whose range is reported."""
SUFFIXES = (".html", ".png", ".svg", ".json")


@dataclass(frozen=True, kw_only=True)
class ExplainRequest:
    """Which pairs to explain: a sketch and a photo, or a query of a ranking."""

    sketch: Path | None = None
    photo: Path | None = None
    ranking: Path | None = None
    query: str | None = None
    """The sketch of the ranking, by its id or the end of it."""
    ranks: str = "1"
    """The photos of the ranking: 3, or 1,4, or 1..5."""
    source: str | None = None
    """The correspondences that are shown first (`zsecli.vocabulary.EXPLANATION_SOURCES`); None: the network's best."""
    contrast: Path | None = None
    """Another photo: explain why the first matches rather than this one."""
    check: bool = False
    """Test the sources of correspondences against random orders."""
    model: ModelSpec | None = None
    """None: the ranking's model, or without a ranking the workspace's."""
    output: Path | None = None
    """NAME, for NAME.html, NAME.png, NAME.svg and NAME.json; None: in the workspace."""
    overwrite: bool = False
    """Replace files of these names."""
    seed: int = 0
    """Random seed of `check`."""
    device: str = "auto"
    workspace: Path = DEFAULT_WORKSPACE
    protected: Sequence[Path] = ()
    """Further files that must not be written over."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One explained pair."""

    paths: list[Path]
    """What was written, the page first."""
    relation: float
    """The relation score of the pair."""
    check: dict[str, Any] = field(default_factory=dict)
    """Source -> areas and curves of its test, if one was asked for."""


def run(
    request: ExplainRequest, *, on_explained: Callable[[Explanation], None] = lambda explanation: None
) -> list[Explanation]:
    """Explain each pair of a request.

    Args:
        on_explained: is given each explanation as soon as it is written.

    Raises:
        UsageError: the pictures are not given whole, or an output exists. StoreError: the model cannot explain.
        ZseError: a file is no picture.
    """
    query = select_pairs(
        request.sketch, [request.photo] if request.photo else [], request.ranking, request.query, request.ranks
    )
    if request.contrast is not None:
        check_is_picture_file(request.contrast)
        if request.ranking is not None:
            check_unchanged(request.ranking, request.contrast)
    workspace = Workspace(request.workspace)
    spec = choose_network(workspace, request.model, request.ranking)
    bases = _choose_outputs(request, query, spec, workspace)
    network = load_network(spec, request.device)
    explanations = []
    for base, ranked in zip(bases, query.photos, strict=True):
        explanation = explain_pair(
            network,
            spec,
            query.sketch,
            ranked.photo,
            base,
            source=request.source,
            contrast=request.contrast,
            check=request.check,
            seed=request.seed,
        )
        on_explained(explanation)
        explanations.append(explanation)
    return explanations


def output_files(base: Path) -> list[Path]:
    """The files of one explanation: the page, the figure twice, the data."""
    return [base.with_name(base.name + suffix) for suffix in SUFFIXES]


def output_base(output: Path) -> Path:
    """What the names of the files begin with: `output` without one of their suffixes; UsageError for no file name."""
    if not output.name or output.name == "..":
        raise UsageError(f"-o {output}: is no name of a file", "-o explained, for explained.html and the others")
    return output.with_suffix("") if output.suffix in SUFFIXES else output


def _choose_outputs(request: ExplainRequest, query: QueryPhotos, spec: ModelSpec, workspace: Workspace) -> list[Path]:
    """What the names of each explanation's files begin with; UsageError where one must not be written."""
    pictures = [query.sketch]
    if request.ranking is not None and request.output is not None:
        pictures += pictures_of(request.ranking)
    bases = []
    for ranked in query.photos:
        photos = [ranked.photo] if request.contrast is None else [ranked.photo, request.contrast]
        if request.output is None:
            base = workspace.made_of("explanations", spec.tag(), query.sketch, *photos)
        else:
            base = output_base(request.output)
            if len(query.photos) > 1:
                base = base.with_name(f"{base.name}-{ranked.rank}")
        may_replace = request.overwrite or request.output is None
        check_writable(output_files(base), may_replace, [*pictures, *photos, *request.protected])
        bases.append(base)
    return bases


def explain_pair(
    model: NetworkEmbedder,
    spec: ModelSpec,
    sketch: Path,
    photo: Path,
    base: Path,
    *,
    source: str | None = None,
    contrast: Path | None = None,
    check: bool = False,
    seed: int = 0,
) -> Explanation:
    """Explain why `photo` matches `sketch`: base.html, base.png, base.svg and base.json, all or none.

    Args:
        source: of the correspondences that are shown first; None: those that explain the network best.
        contrast: another photo, to say why this one rather than that one.
        check: test the sources too, with random orders drawn by `seed`.

    Raises:
        ZseError: a file is no picture.
    """
    sketch_view = encode_file(model, sketch, "sketch")
    pair = score_pair(model, sketch_view, encode_file(model, photo, "photo"))
    other = None if contrast is None else score_pair(model, sketch_view, encode_file(model, contrast, "photo"))
    if pair.sketch.strokes.all():
        logger.warning(f"{sketch}: no strokes stand out from blank paper, so every patch is a query")
    source = source or offered_sources(pair.network)[0]
    tested: dict[str, faithfulness.Faithfulness | None] = {}
    if check:
        tested = {name: _test_source(pair, name, seed) for name in offered_sources(pair.network)}
    summaries = {name: _summarize(result) for name, result in tested.items() if result is not None}
    document = explanation_json.describe_explanation(
        pair, source, {"name": spec.name, "weights": spec.weights_hash()}, other
    )
    if check:
        document["check"] = summaries
    pictures = {"sketch": pair.sketch.image, "photo": pair.photo.image}
    if other is not None:
        pictures["contrast"] = other.photo.image
    paths = output_files(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(*paths) as (html, png, svg, plain):
        explanation_page.write_page(document, pictures, html)
        explanation_figure.write_figure(pair, source, svg, png, other, tested.get(source))
        explanation_json.write_json(document, plain)
    return Explanation(paths=paths, relation=pair.relation, check=summaries)


def _test_source(pair: Pair, source: str, seed: int) -> faithfulness.Faithfulness | None:
    matches = find_pair_matches(pair, score_patches(pair, source))
    return faithfulness.measure_faithfulness(pair, matches, seed, RANDOM_ORDERS) if matches else None


def _summarize(tested: faithfulness.Faithfulness) -> dict[str, Any]:
    """Mean areas, the middle 95 % of their differences from each random order, and the curves."""
    summary: dict[str, Any] = {}
    for name, areas in zip(faithfulness.Areas._fields, tested.areas_by_order(), strict=True):
        low, high = np.quantile(areas, [0.025, 0.975])
        summary[name] = {"area": float(areas.mean()), "interval": [float(low), float(high)]}
    curves, random_curves = {}, {}
    for name in faithfulness.Areas._fields:
        curves[name] = np.round(getattr(tested, name).astype(float), 4).tolist()
        random_curves[name] = np.round(getattr(tested, f"random_{name}").mean(0, dtype=float), 4).tolist()
    return summary | {"curves": curves, "random_curves": random_curves}
