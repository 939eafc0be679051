"""What a benchmark can be asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Of sketchy: variant, which rendering (`tx_...`; None: the plain one); extended, with the extended photos."""

    variant: str | None = None
    extended: bool = True
