"""The pictures that are shipped with zse."""

from __future__ import annotations

from pathlib import Path

from zsecli.errors import ZseError


def demo_folder() -> Path:
    """Where the shipped pictures are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "demo", package.parent / "fixtures" / "demo"):
        if folder.is_dir():
            return folder
    raise ZseError("the demo pictures are not installed", "install zse from its repository")
