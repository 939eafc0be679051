"""The scoring rules by name (`zsecli.vocabulary.SCORING_RULES`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from zsecli.vocabulary import SCORING_RULES

if TYPE_CHECKING:
    from zsecli.retrieval.rankers.base import Ranker


def load_ranker(name: str) -> type[Ranker]:
    """The class of a scoring rule; UsageError where there is none of that name."""
    return cast("type[Ranker]", SCORING_RULES.load(name))
