"""Sketch or photo? A look at the picture where nobody says."""

from __future__ import annotations

from pathlib import Path


def guess(file: Path) -> str:
    return "sketch"
