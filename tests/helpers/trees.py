"""Small trees with exactly the shape of the benchmarks: names, folders, lists and quirks. Every picture differs."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import count
from pathlib import Path

from PIL import Image

_numbers = count()
SKETCHY = (
    "airplane",
    "hot-air_balloon",
    "car_(sedan)",
    "cup",
    "cabin",
)  # airplane and cup are unseen of 25, cabin of 21
TUBERLIN = {
    "alarm clock": "alarmclock",
    "giraffe": "griaffe",
    "trombone": "tromobone",
    "mouse (animal)": "mouse",
    "t-shirt": "tshirt",
}
QUICKDRAW = {"hot-air_balloon": "hot-air balloon", "palm tree": "palm_tree", "airplane": "airplane"}


def picture(path: Path) -> Path:
    """A file with a few dark pixels, unlike every other one; a JPEG where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(_numbers)
    image = Image.new("L", (24, 24), 255)
    for bit in range(16):
        if number >> bit & 1:
            image.paste(0, (6 * (bit % 4), 6 * (bit // 4), 6 * (bit % 4) + 4, 6 * (bit // 4) + 4))
    image.putpixel((23, 23), 0)
    image.save(path, "JPEG" if path.suffix.lower() in (".jpg", ".jpeg") else "PNG")
    return path


def sketchy(
    root: Path, classes: Iterable[str] = SKETCHY, ready: str = "", extended: str = "EXTEND_image_sketchy"
) -> Path:
    """A class: 2 photos with 2 sketches each (one numbered 12), and extended photos: the 2 again, and 1 more."""
    for name in classes:
        for photo in ("n02691156_10151", "n02691156_196"):
            picture(root / f"256x256/photo/tx_000000000000{ready}" / name / f"{photo}.jpg")
            for number in (1, 12):
                picture(root / f"256x256/sketch/tx_000000000000{ready}" / name / f"{photo}-{number}.png")
            if extended:
                picture(root / extended / name / f"{photo}.jpg")
        if extended:
            picture(root / extended / name / "ext_7.jpg")
    return root


def info(root: Path) -> None:
    """The marks, with the trailing blanks and line ends that occur."""
    folder = root / "info-06-04" / "info"
    folder.mkdir(parents=True)
    (folder / "invalid-error.txt").write_bytes(b"n02691156_10151-12 \r\nn99_1-1\r\n")
    (folder / "invalid-pose.txt").write_bytes(b"airplane/n02691156_196-1.png\n\n")
    (folder / "testset.txt").write_bytes(b"cup/n02691156_196.jpg\r\n")


def tuberlin(root: Path, ready: str = "") -> Path:
    """A class: 3 sketches, 2 photos."""
    for name, folder in TUBERLIN.items():
        for number in range(3):
            picture(root / f"png{ready}" / name / f"{number + 1}.png")
        for number in range(2):
            picture(root / f"ImageResized{ready}" / folder / f"n0_{number}.JPEG")
    return root


def quickdraw(root: Path) -> Path:
    """A class: 3 sketches, 2 photos; the blanks and underscores of the two trees differ."""
    for name, other in QUICKDRAW.items():
        for number in range(3):
            picture(root / "sketches" / name / f"{4503626191994880 + number}.png")
        for number in range(2):
            picture(root / "images" / other / f"image_{number + 1:05}.jpg")
    return root


def qmul(root: Path, name: str = "ShoeV2") -> Path:
    """3 photos for training and 2 for the test, with 2 sketches each, and the four lists, of SVG names for sketches."""
    for end, ids in (("train", ("11", "22", "33")), ("test", ("44", "Product_5_1"))):
        for photo in ids:
            picture(root / f"{name}_photo" / f"{photo}.png")
            for number in (1, 2):
                picture(root / f"{name}_sketch" / f"{photo}_{number}.png")
        (root / f"photo_{end}.txt").write_text("".join(f"{i}.png\r\n" for i in ids))
        (root / f"sketch_{end}.txt").write_text("".join(f"{i}_{n}.svg\n" for i in ids for n in (1, 2)))
    return root


def repacked(root: Path) -> Path:
    """The same pairs as folders."""
    for end, ids in (("train", ("11", "22", "33")), ("test", ("44", "Product_5_1"))):
        for photo in ids:
            picture(root / f"{end}B" / f"{photo}.png")
            for number in (1, 2):
                picture(root / f"{end}A" / f"{photo}_{number}.png")
    return root


def lists(folder: Path, train: Iterable[str], zero: Iterable[str]) -> Path:
    """File lists; labels start at 0 again in the unseen ones."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, paths in (("sketch_tx_000000000000_ready_filelist_train", train), ("all_photo_filelist_zero", zero)):
        (folder / f"{name}.txt").write_text("".join(f"{path} {i}\n" for i, path in enumerate(paths)))
    (folder / "cname_cid_zero.txt").write_text("cup 0\n")
    return folder
