"""How to rank: the options of `zse match`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from zsecli.data.items import Items
from zsecli.errors import UsageError, did_you_mean
from zsecli.model.config import Precision
from zsecli.retrieval.scoring_rules import load_ranker

if TYPE_CHECKING:
    from zsecli.retrieval.rankers.base import Ranker

COMPLETE_SHORTLISTS = "complete"  # earlier approximate searches could find fewer photos than there are


@dataclass(frozen=True, kw_only=True)
class MatchOptions:
    """How to rank the photos of a gallery for a sketch."""

    by: str = "cascade"
    """Scoring rule, one of `zsecli.vocabulary.SCORING_RULES`."""
    shortlist: int = 100
    """Photos per query that a cascade re-ranks, or that an approximate search finds."""
    ignore_same: str | None = None
    """Leave out pairs whose pictures agree in this column (label, instance, family)."""
    center: bool = False
    """Subtract the mean [Ret] of each modality first."""
    depth: int = 0
    """Photos to keep per query; 0 keeps all."""
    precision: Precision = "fp32"
    """Precision of the relation network; its inputs and scores are float32 whatever it is."""
    ann: bool = False
    """Find the shortlist approximately, and keep no other photo."""

    def __post_init__(self) -> None:
        if self.ignore_same is not None and self.ignore_same not in Items.COLUMNS:
            raise UsageError(
                f"pairs cannot be ignored by {self.ignore_same}: no such column",
                f"columns: {', '.join(Items.COLUMNS)}{did_you_mean(self.ignore_same, Items.COLUMNS)}",
            )
        if self.center and not self.ranker.uses_ret:
            raise UsageError(
                "centring [Ret] has no effect on relation scores", "leave it out, or rank by ret or cascade"
            )
        if self.ann and (not self.ranker.uses_ret or self.depth > self.shortlist):
            raise UsageError(
                "an approximate search finds a shortlist by [Ret], and no other photo",
                "rank by ret or cascade, with a depth below that of the shortlist",
            )
        if self.shortlist < 1 or self.depth < 0:
            raise UsageError("the shortlist must hold at least 1 photo, and the depth cannot be negative")

    @property
    def ranker(self) -> type[Ranker]:
        """The scoring rule."""
        return load_ranker(self.by)

    @property
    def tag(self) -> str:
        """The part of a file name that tells rankings of the same features apart."""
        words = [f"{self.by}{self.shortlist}" if self.ranker.uses_shortlist else self.by]
        if self.ann:
            words.append(f"ann{self.shortlist}")
        if self.effective_precision != "fp32":
            words.append(self.effective_precision)
        if self.center:
            words.append("centred")
        if self.ignore_same:
            words.append(f"not-same-{self.ignore_same}")
        if self.depth:
            words.append(f"top{self.depth}")
        return "-".join(words)

    @property
    def effective_precision(self) -> Precision:
        """`precision` where a relation network is used; a cosine is always computed in float32."""
        return self.precision if self.ranker.uses_relation else "fp32"

    def to_dict(self) -> dict[str, Any]:
        """The options as a ranking store records them."""
        return asdict(self) | {"precision": self.effective_precision}

    def key_values(self) -> dict[str, Any]:
        """The options that determine the ranking, for a run key.

        Options that change nothing are left out, and so are exact search and float32, which older stores imply.
        """
        values = self.to_dict()
        if not (self.ranker.uses_shortlist or self.ann):
            del values["shortlist"]
        if self.effective_precision == "fp32":
            del values["precision"]
        if self.ann:
            values["ann"] = COMPLETE_SHORTLISTS
        else:
            del values["ann"]
        return values


def queries_per_block(options: MatchOptions, n_photos: int, prepared_bytes: int) -> int:
    """Queries to rank together, of a gallery of `n_photos`.

    Enough that preparing a photo costs little beside scoring it, and not so many that their ranks and sketches take
    much memory, or a kill much work.

    It depends on nothing but the inputs: rounding depends on what is computed together, and however the work is shared
    out, the ranking must be the same.

    Args:
        prepared_bytes: size of a picture prepared for the relation network.
    """
    if options.ann:
        n_photos = min(n_photos, 4 * options.shortlist)
    return options.ranker.queries_per_block(n_photos, prepared_bytes)
