"""TU-Berlin and QuickDraw Extended: sketches and photos of classes, no pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zsecli.data.source import Listing
from zsecli.data.sources.classes import Classes
from zsecli.data.sources.options import Options
from zsecli.data.sources.tree import add_classes, finish, needed, subfolder

TUBERLIN_SHAPE = "png/CLASS/*.png, ImageResized/CLASS/*.JPEG"
QUICKDRAW_SHAPE = "sketches/CLASS/*.png, images/CLASS/*.jpg"


def reader(name: str, sketches: tuple[str, ...], photos: tuple[str, ...], shape: str) -> Callable[..., Listing]:
    """The reader of a benchmark whose sketches and photos lie in one of these folders."""

    def read(root: Path, options: Options) -> Listing:
        classes, listing = Classes(name), Listing(root.resolve(), [])
        for plural, modality, names in (("sketches", "sketch", sketches), ("photos", "photo", photos)):
            found = needed(subfolder([root], *names), root, f"a folder {names[-1]}/", shape)
            listing.layout[plural] = found.name
            add_classes(listing, listing.root / found.name, modality, classes, lambda stem: None)
        return finish(listing, classes)

    return read


tuberlin = reader(
    "tuberlin",
    ("png_ready", "sketches", "png"),
    ("ImageResized_ready", "images", "photos", "ImageResized"),
    TUBERLIN_SHAPE,
)
quickdraw = reader("quickdraw", ("sketch", "sketches"), ("photos", "images"), QUICKDRAW_SHAPE)
