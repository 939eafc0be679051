"""The scoring rules by name."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from zsecli.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from zsecli.retrieval.rankers.base import Ranker

SCORING_RULES = {
    "ret": "zsecli.retrieval.rankers.cosine:CosineRanker",
    "rn": "zsecli.retrieval.rankers.relation:RelationRanker",
    "cascade": "zsecli.retrieval.rankers.cascade:CascadeRanker",
}
"""Name -> module and class, which is imported when it is used."""


def load_ranker(name: str) -> type[Ranker]:
    """The class of a scoring rule; UsageError where there is none of that name."""
    if name not in SCORING_RULES:
        known = ", ".join(SCORING_RULES)
        raise UsageError(f"no scoring rule is called {name}", f"one of {known}{did_you_mean(name, SCORING_RULES)}")
    module, attribute = SCORING_RULES[name].split(":")
    return cast("type[Ranker]", getattr(import_module(module), attribute))
