"""Answers of the server as plain data."""

from __future__ import annotations

from typing import Any

from zsecli.serve.drawings import BYTES, PIXELS
from zsecli.serve.engine import By, Engine, Hits
from zsecli.serve.gallery import Gallery
from zsecli.serve.levels import Levels


def describe_gallery(engine: Engine, by: By, top: int) -> dict[str, Any]:
    """What a page needs before the first stroke."""
    gallery = engine.gallery
    return {
        "model": engine.spec.text,
        "name": gallery.name,
        "photos": len(gallery),
        "groups": [{"name": name, "count": count} for name, count in gallery.count_groups()],
        "examples": [{"name": e.name, "url": f"/example/{number}"} for number, e in enumerate(engine.examples)],
        "tokens": engine.has_relation,
        "by": by,
        "top": top,
        "levels": describe_levels(engine.levels),
        "limits": {"bytes": BYTES, "pixels": PIXELS},
    }


def describe_levels(levels: Levels) -> dict[str, dict[str, float]]:
    """`usual` as a standing and `nothing` as a lead, and both as relation scores where there are any."""
    described = {"ret": {"usual": round(levels.usual, 4), "nothing": round(levels.lead, 4)}}
    if levels.usual_relation is not None and levels.nothing_relation is not None:
        relation = {"usual": round(levels.usual_relation, 4), "nothing": round(levels.nothing_relation, 4)}
        described["relation"] = relation
    return described


def describe_hits(gallery: Gallery, hits: Hits, offset: int) -> dict[str, Any]:
    """A page of hits, of which the first has the rank `offset` + 1."""
    listed = []
    for number, row in enumerate(hits.rows.tolist()):
        hit = {
            "row": row,
            "rank": offset + number + 1,
            "score": round(float(hits.scores[number]), 4),
            "by": "relation" if number < hits.n_relation else "ret",
            "share": round(hits.shares[number], 3),
            "name": gallery.names[row],
            "group": gallery.group_of(row),
        }
        listed.append(hit)
    return {"total": hits.total, "nothing": hits.is_nothing, "hits": listed}
