"""The stage `explain`: a sketch and a photo -> a figure, a page and the same as data."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zsecli.errors import UsageError, did_you_mean
from zsecli.explain import faithfulness
from zsecli.explain.correspondences import SOURCES, Source, best, scores
from zsecli.explain.pair import Pair, look, relate
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.model.spec import ModelSpec
from zsecli.render import explanation_figure, explanation_json, explanation_page
from zsecli.retrieval.ranked_pictures import check_ranked
from zsecli.runtime.files import atomic_write
from zsecli.store.ranking import open_ranking

logger = logging.getLogger(__name__)

ORDERS = 40  # random ones, of a single pair: their range is told
SUFFIXES = (".html", ".png", ".svg", ".json")


def outputs(base: Path) -> list[Path]:
    """The files that `run` makes: the page, the figure twice, the data."""
    return [base.with_name(base.name + suffix) for suffix in SUFFIXES]


def base_of(output: Path) -> Path:
    """What the names of the outputs begin with: `output` without a suffix of theirs. UsageError where that is none."""
    if not output.name or output.name == "..":
        raise UsageError(f"-o {output}: is no name of a file", "-o explained, for explained.html and the others")
    return output.with_suffix("") if output.suffix in SUFFIXES else output


@dataclass(frozen=True)
class Explained:
    """What was written (the page first), the relation score, and what a test of the sources said, if one was asked."""

    paths: list[Path]
    relation: float
    check: dict[str, Any] = field(default_factory=dict)


def run(
    model: NetworkEmbedder,
    spec: ModelSpec,
    sketch: Path,
    photo: Path,
    base: Path,
    *,
    source: Source = "cosine",
    contrast: Path | None = None,
    check: bool = False,
    seed: int = 0,
) -> Explained:
    """Explain why `photo` matches `sketch`: base.html, base.png, base.svg and base.json, all or none.

    Args:
        source: of the correspondences that are shown first.
        contrast: another photo, to say why this one rather than that one.
        check: test the sources too, with random orders drawn by `seed`.

    Raises:
        ZseError: a file is no picture.
    """
    drawn = look(model, sketch, "sketch")
    pair = relate(model, drawn, look(model, photo, "photo"))
    other = None if contrast is None else relate(model, drawn, look(model, contrast, "photo"))
    if pair.sketch.strokes.all():
        logger.warning(f"{sketch}: no strokes stand out from blank paper, so every patch is asked")
    tested: dict[str, faithfulness.Faithfulness | None] = (
        {name: _test(pair, name, seed) for name in SOURCES} if check else {}
    )
    said = {name: _summary(result) for name, result in tested.items() if result is not None}
    about = {"name": spec.name, "weights": spec.weights_hash()}
    described = explanation_json.describe_explanation(pair, source, about, other)
    if check:
        described["check"] = said
    pictures = {"sketch": pair.sketch.image, "photo": pair.photo.image}
    if other is not None:
        pictures["contrast"] = other.photo.image
    paths = outputs(base)
    base.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(*paths) as (html, png, svg, plain):
        explanation_page.write_page(described, pictures, html)
        explanation_figure.write_figure(pair, source, svg, png, other, tested.get(source))
        explanation_json.write_json(described, plain)
    return Explained(paths, pair.relation, said)


def _test(pair: Pair, source: Source, seed: int) -> faithfulness.Faithfulness | None:
    matches = best(scores(pair, source), pair.sketch.asked, pair.photo.asked)
    return faithfulness.measure(pair, matches, seed, ORDERS) if matches else None


def _summary(tested: faithfulness.Faithfulness) -> dict[str, Any]:
    """Areas with the middle 95 % of what they are against each random order, and the curves."""
    found: dict[str, Any] = {}
    for name, areas in zip(faithfulness.Areas._fields, tested.each(), strict=True):
        low, high = np.quantile(areas, [0.025, 0.975])
        found[name] = {"area": float(areas.mean()), "interval": [float(low), float(high)]}
    curves = {name: np.round(getattr(tested, name).astype(float), 4).tolist() for name in faithfulness.Areas._fields}
    chance = {
        name: np.round(getattr(tested, f"random_{name}").mean(0, dtype=float), 4).tolist()
        for name in faithfulness.Areas._fields
    }
    return found | {"curves": curves, "random_curves": chance}


def of_ranking(ranking: Path, query: str, ranks: str) -> tuple[Path, list[tuple[int, Path]]]:
    """The sketch of a ranking called `query`, and (rank, photo) of the ranks `ranks`: 3, 1,4 or 1..5.

    Raises:
        UsageError: no such query, or no such rank. StoreError: the ranking does not say where its pictures lie.
        ChangedPicture: one of them is no longer what was ranked.
    """
    with open_ranking(ranking) as opened:
        sketches, photos = opened.pictures()
        ids = opened.query.id
        rows = [i for i, name in enumerate(ids) if name == query or name.endswith("/" + query)]
        if len(rows) != 1:
            what = "is no sketch of it" if not rows else f"names {len(rows)} sketches of it"
            raise UsageError(f"--query {query}: {what}{did_you_mean(query, ids)}", f"for example {ids[0]}")
        order = opened.indices[rows[0]]
        found = []
        for rank in _ranks(ranks):
            if not 1 <= rank <= len(order) or order[rank - 1] < 0:
                last = int((order >= 0).sum())
                raise UsageError(f"--rank {rank}: the ranking keeps {last} photos for this sketch", f"1..{last}")
            found.append((rank, photos[order[rank - 1]]))
        check_ranked(opened, np.array(rows), order[[rank - 1 for rank, _ in found]])
        return sketches[rows[0]], found


def _ranks(text: str) -> Iterator[int]:
    for part in text.split(","):
        found = re.fullmatch(r"(\d{1,9})(?:\.\.(\d{1,9}))?", part.strip())
        if found is None:
            raise UsageError(f"--rank {text[:40]}: is no rank", "3, or 1,4, or 1..5")
        first, last = int(found[1]), int(found[2] or found[1])
        if last < first:
            raise UsageError(f"--rank {text}: ends before it begins", f"{last}..{first}")
        yield from range(first, last + 1)
