"""TU-Berlin and QuickDraw Extended: sketches and photos of classes, no pairs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from zsecli.data.sources.base import Listing
from zsecli.data.sources.class_folders import (
    add_classes,
    find_subfolder,
    finish_listing,
    list_folders_below,
    require_folder,
    unwrap_folder,
)
from zsecli.data.sources.classes import Classes
from zsecli.data.sources.options import Options

TUBERLIN_SHAPE = "png/CLASS/*.png, ImageResized/CLASS/*.JPEG"
QUICKDRAW_SHAPE = "sketches/CLASS/*.png, images/CLASS/*.jpg (or QuickDraw_sketches_final/, QuickDraw_images_final/)"
# names of the folders in the published archives, and in what other code makes of them
TUBERLIN_SKETCHES = ("png_ready", "sketches", "sketch", "sketches_png", "png")
TUBERLIN_PHOTOS = ("ImageResized_ready", "images", "image", "photos", "photo", "ImageResized")
QUICKDRAW_SKETCHES = ("sketch", "QuickDraw_sketches_final", "QuickDraw_sketches", "sketches")
QUICKDRAW_PHOTOS = ("photos", "photo", "image", "QuickDraw_images_final", "QuickDraw_images", "images")


def reader(name: str, sketches: tuple[str, ...], photos: tuple[str, ...], shape: str) -> Callable[..., Listing]:
    """The reader of a benchmark whose sketches and photos lie in one of these folders."""

    def read(root: Path, options: Options) -> Listing:
        classes, listing = Classes(name), Listing(root.resolve(), [])
        for plural, modality, names in (("sketches", "sketch", sketches), ("photos", "photo", photos)):
            place = find_subfolder(list_folders_below(listing.root), *names)
            found = unwrap_folder(require_folder(place, root, f"a folder {names[-1]}/", shape), classes.class_of_folder)
            listing.layout[plural] = found.relative_to(listing.root).as_posix()
            add_classes(listing, found, modality, classes, lambda stem: None)
        return finish_listing(listing, classes)

    return read


tuberlin = reader(
    "tuberlin",
    TUBERLIN_SKETCHES,
    TUBERLIN_PHOTOS,
    TUBERLIN_SHAPE,
)
quickdraw = reader("quickdraw", QUICKDRAW_SKETCHES, QUICKDRAW_PHOTOS, QUICKDRAW_SHAPE)
