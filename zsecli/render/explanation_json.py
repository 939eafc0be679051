"""An explanation as plain data: enough to draw it again elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsecli.explain.correspondences import SOURCES, Scores, Source, best, constant, contribution, scores
from zsecli.explain.pair import Mask, Pair, Side

SCHEMA, VERSION = "zse-explanation", "1.0"
NEAREST = 5  # places of the other picture that are listed for a place


def describe(pair: Pair, source: Source, model: dict[str, str], contrast: Pair | None = None) -> dict[str, Any]:
    """Everything that docs/explanations.md lists.

    Args:
        source: the one that is shown first; all are in it.
        model: name and hash of the weights.
        contrast: the same sketch with another photo.
    """
    found = {
        "schema": SCHEMA,
        "version": VERSION,
        "model": model,
        "source": source,
        "preprocess": vars(pair.network.config.preprocess),
        "sketch": _side(pair.sketch),
        **_said(pair, source),
    }
    if contrast is not None:
        ours, theirs = (contribution(one).sum(1) for one in (pair, contrast))
        found["contrast"] = {**_said(contrast, source), "difference": _round(ours - theirs)}
    return found


def write(document: dict[str, Any], path: Path) -> None:
    """The document as JSON."""
    path.write_text(json.dumps(document) + "\n", "utf-8")  # in ASCII: a name of a file need not be UTF-8


def _said(pair: Pair, source: Source) -> dict[str, Any]:
    """What depends on the photo."""
    ours, theirs = pair.sketch.asked, pair.photo.asked
    every = {name: scores(pair, name) for name in dict.fromkeys((*SOURCES, source))}
    return {
        "photo": _side(pair.photo),
        "score": _score(pair, every["contribution"]),
        "matches": {name: [[m.sketch, m.photo, _number(m.score)] for m in best(found, ours, theirs)]
                    for name, found in every.items()},
        "nearest": {name: {"sketch": _nearest(found, ours, theirs), "photo": _nearest(found.T, theirs, ours)}
                    for name, found in every.items()},
        "kernel": _kernel(pair),
    }  # fmt: skip


def _side(side: Side) -> dict[str, Any]:
    scale = np.tile(np.divide(side.size, side.image.size), 2)
    return {
        "name": side.name,
        "width": side.size[0],
        "height": side.size[1],
        "grid": list(side.grid),
        "boxes": [[round(v, 1) for v in (scale * side.box(place)).tolist()] for place in range(len(side.kept))],
        "strokes": side.strokes.tolist(),
        "kept": side.kept.tolist(),
        "attention": [_round(head) for head in side.attention],
    }


def _score(pair: Pair, shares: Scores) -> dict[str, float]:
    """The scores, and the parts of the logit: of local matches, of [Ret], and what is there without either.

    Each is computed by itself: that they add up is a test of them, not how they are made.
    """
    logit = float(pair.score.logit)
    with torch.inference_mode():
        without = float(pair.network.relation.logit(pair.score.kernel, pair.score.logit.new_zeros(1)))
    local = float(shares.sum(dtype=np.float64))
    parts = {"local": local, "ret": logit - without, "constant": constant(pair)}
    return {"relation": pair.relation, "cosine": pair.cosine, "logit": logit, **parts}


def _nearest(found: Scores, ours: Mask, theirs: Mask) -> list[list[list[float]]]:
    """For each place the NEAREST of the other picture, [place, score] each; none for one that is not asked."""
    order = np.argsort(-np.where(theirs[None], found, -np.inf), axis=1, kind="stable")[:, :NEAREST]
    return [
        [[int(j), _number(found[i, j])] for j in order[i] if theirs[j] and found[i, j] > 0] if ours[i] else []
        for i in range(len(found))
    ]


def _kernel(pair: Pair) -> dict[str, Any] | None:
    """Cosines of sketch cells (rows) and photo cells; None where cells are no places."""
    config = pair.network.config.relation
    if config.layout == "memory":
        return None
    cells = [-(-side // config.cell) for side in pair.sketch.grid]
    return {"cell": config.cell, "grid": cells, "values": [_round(row) for row in pair.score.kernel[0].cpu().numpy()]}


def _round(values: Any) -> list[float]:
    return [_number(value) for value in values]


def _number(value: float) -> float:
    """Four digits: more would be a promise, and a page of them large."""
    return float(f"{value:.4g}")
