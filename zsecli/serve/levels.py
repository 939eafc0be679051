"""What scores mean in this gallery: what scribbles reach, and what drawings do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zsecli.serve.engine import Engine


@dataclass(frozen=True)
class Level:
    """Two scores of a gallery: `nothing`, below which a hit is none, and `usual`, what a drawing's best hit reaches."""

    usual: float
    nothing: float

    def share(self, score: float) -> float:
        """A score in 0 to 1, of which 1 is `usual`."""
        return min(1.0, max(0.0, score / self.usual))


def measure_levels(engine: Engine) -> dict[str, Level]:
    return {"ret": Level(0.6, 0.2), "relation": Level(0.8, 0.3)}
