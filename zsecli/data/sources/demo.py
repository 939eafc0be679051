"""The pictures that are shipped with zse."""

from __future__ import annotations

from pathlib import Path

from zsecli.data.sources.folder import FolderSource
from zsecli.data.sources.options import SourceOptions
from zsecli.errors import ZseError


def demo_folder() -> Path:
    """Where the shipped pictures are: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "demo", package.parent / "fixtures" / "demo"):
        if folder.is_dir():
            return folder
    raise ZseError("the demo pictures are not installed", "install zse from its repository")


class DemoSource(FolderSource):
    """The manifest of the shipped pictures."""

    takes_path = False
    needs_path = False

    def find(self, path: Path | None) -> Path:
        return demo_folder() / "manifest.csv"

    def default_name(self, path: Path, options: SourceOptions) -> str:
        return "demo"


SOURCE = DemoSource()
