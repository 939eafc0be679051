"""An explanation as plain data: enough to draw it again elsewhere."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from zsecli.arrays import Mask
from zsecli.explain.correspondences import (
    Scores,
    compute_constant,
    find_mutual_matches,
    offered_sources,
    score_contribution,
    score_patches,
)
from zsecli.explain.pair import Pair, Side
from zsecli.explain.shared_classes import find_shared_classes

SCHEMA, VERSION = "zse-explanation", "1.0"
NEAREST = 5  # places of the other picture that are listed for a place


def describe_explanation(
    pair: Pair, source: str, model: dict[str, str], contrast: Pair | None = None
) -> dict[str, Any]:
    """Everything that docs/explanations.md lists.

    Args:
        source: the one that is shown first; all of them are in the document.
        model: name and hash of the weights.
        contrast: the same sketch with another photo.
    """
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "model": model,
        "source": source,
        "preprocess": vars(pair.network.config.preprocess),
        "sketch": describe_side(pair.sketch),
        **_describe_photo(pair),
    }
    if contrast is not None:
        difference = score_contribution(pair).sum(1) - score_contribution(contrast).sum(1)
        document["contrast"] = {**_describe_photo(contrast), "difference": _round_all(difference)}
    return document


def write_json(document: dict[str, Any], path: Path) -> None:
    """Write the document as JSON."""
    path.write_text(json.dumps(document) + "\n", "utf-8")  # in ASCII: the name of a file need not be UTF-8


def _describe_photo(pair: Pair) -> dict[str, Any]:
    """Everything that depends on the photo."""
    queried, valid = pair.sketch.matchable, pair.photo.matchable
    all_scores = {source: score_patches(pair, source) for source in offered_sources(pair.network)}
    matches: dict[str, list[Any]] = {}
    nearest: dict[str, dict[str, Any]] = {}
    for source, values in all_scores.items():
        matches[source] = [[m.sketch, m.photo, _round(m.score)] for m in find_mutual_matches(values, queried, valid)]
        nearest[source] = {
            "sketch": _list_nearest(values, queried, valid),
            "photo": _list_nearest(values.T, valid, queried),
        }
    return {
        "photo": describe_side(pair.photo),
        "score": _describe_score(pair, all_scores["contribution"]),
        **_describe_classes(pair),
        "matches": matches,
        "nearest": nearest,
        "kernel": _describe_kernel(pair),
    }


def describe_side(side: Side) -> dict[str, Any]:
    """One picture: its grid of patches in the pixels of its file, and [Ret]'s attention."""
    scale = np.tile(np.divide(side.size, side.image.size), 2)
    boxes = []
    for patch in range(len(side.kept)):
        corners = (scale * side.patch_box(patch)).tolist()
        boxes.append([round(value, 1) for value in corners])
    return {
        "name": side.name,
        "width": side.size[0],
        "height": side.size[1],
        "grid": list(side.grid),
        "boxes": boxes,
        "strokes": side.strokes.tolist(),
        "kept": side.kept.tolist(),
        "attention": [_round_all(head) for head in side.attention],
    }


def _describe_classes(pair: Pair) -> dict[str, Any]:
    """The classes that make the two alike, of a network that compares them: name, both probabilities, and cosine."""
    if pair.retrieval is None:
        return {}
    classes = find_shared_classes(pair)
    rows = [[c.name, _round(c.sketch), _round(c.photo), _round(c.cosine)] for c in classes]
    return {"classes": rows}


def _describe_score(pair: Pair, contributions: Scores) -> dict[str, float]:
    """The scores, and the parts of the logit: from local matches, from [Ret], and the constant without either.

    Each is computed by itself: that they add up tests them.
    """
    logit = float(pair.score.logit)
    matches = pair.network.relation.matches
    with torch.inference_mode():
        if matches is not None:
            by_ret = float(matches.ret_scale) * pair.cosine
        else:
            by_ret = logit - float(
                pair.network.relation.compute_logit(pair.score.kernel, pair.score.logit.new_zeros(1))
            )
    return {
        "relation": pair.relation,
        "cosine": pair.cosine,
        "logit": logit,
        "local": float(contributions.sum(dtype=np.float64)),
        "ret": by_ret,
        "constant": compute_constant(pair),
    }


def _list_nearest(values: Scores, queried: Mask, valid: Mask) -> list[list[list[float]]]:
    """For each place the NEAREST of the other picture, [place, score] each, of scores (P, C).

    Args:
        queried: (P,) places that take part; the others get an empty list.
        valid: (C,) places of the other picture that take part.
    """
    order = np.argsort(-np.where(valid[None], values, -np.inf), axis=1, kind="stable")[:, :NEAREST]
    nearest: list[list[list[float]]] = []
    for row, columns in enumerate(order.tolist()):
        entries = []
        if queried[row]:
            for column in columns:
                if valid[column] and values[row, column] > 0:
                    entries.append([column, _round(values[row, column])])
        nearest.append(entries)
    return nearest


def _describe_kernel(pair: Pair) -> dict[str, Any] | None:
    """Cosines of sketch cells (rows) and photo cells; None where cells are not places."""
    config = pair.network.config.relation
    if config.layout == "memory":
        return None
    cells = [-(-length // config.cell) for length in pair.sketch.grid]
    values = pair.score.kernel[0].cpu().numpy()
    return {"cell": config.cell, "grid": cells, "values": [_round_all(row) for row in values]}


def _round_all(values: Any) -> list[float]:
    return [_round(value) for value in values]


def _round(value: float) -> float:
    """Four digits: more would promise too much, and make a page large."""
    return float(f"{value:.4g}")
