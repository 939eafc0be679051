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
from zsecli.data.sources.options import SourceOptions
from zsecli.data.sources.source import Benchmark

TUBERLIN_SHAPE = "png/CLASS/*.png, ImageResized/CLASS/*.JPEG"
QUICKDRAW_SHAPE = "sketches/CLASS/*.png, images/CLASS/*.jpg (or QuickDraw_sketches_final/, QuickDraw_images_final/)"
# names of the folders in the published archives, and in what other code makes of them
TUBERLIN_SKETCHES = ("png_ready", "sketches", "sketch", "sketches_png", "png")
TUBERLIN_PHOTOS = ("ImageResized_ready", "images", "image", "photos", "photo", "ImageResized")
QUICKDRAW_SKETCHES = ("sketch", "QuickDraw_sketches_final", "QuickDraw_sketches", "sketches")
QUICKDRAW_PHOTOS = ("photos", "photo", "image", "QuickDraw_images_final", "QuickDraw_images", "images")


def make_reader(
    name: str, sketches: tuple[str, ...], photos: tuple[str, ...], shape: str
) -> Callable[[Path, SourceOptions], Listing]:
    """The reader of a benchmark whose sketches and photos are in one of these folders."""

    def read(root: Path, options: SourceOptions) -> Listing:
        classes = Classes(name)
        listing = Listing(root=root.resolve())
        for plural, modality, names in (("sketches", "sketch", sketches), ("photos", "photo", photos)):
            folder = find_subfolder(list_folders_below(listing.root), *names)
            folder = require_folder(folder, root, f"a folder {names[-1]}/", shape)
            folder = unwrap_folder(folder, classes.class_of_folder)
            listing.layout[plural] = folder.relative_to(listing.root).as_posix()
            add_classes(listing, folder, modality, classes, lambda stem: None)
        return finish_listing(listing, classes)

    return read


read_tuberlin = make_reader("tuberlin", TUBERLIN_SKETCHES, TUBERLIN_PHOTOS, TUBERLIN_SHAPE)
read_quickdraw = make_reader("quickdraw", QUICKDRAW_SKETCHES, QUICKDRAW_PHOTOS, QUICKDRAW_SHAPE)

TUBERLIN = Benchmark(
    name="tuberlin",
    reader=read_tuberlin,
    home="cybertron.cg.tu-berlin.de/eitz/projects/classifysketch",
    shape=TUBERLIN_SHAPE,
    folder_names=("tuberlin", "TUBerlin", "TU-Berlin", "tu_berlin"),
)
QUICKDRAW = Benchmark(
    name="quickdraw",
    reader=read_quickdraw,
    home="github.com/sounakdey/doodle2search",
    shape=QUICKDRAW_SHAPE,
    folder_names=("quickdraw", "QuickDraw", "Quickdraw", "QuickDraw-Extended"),
)
