"""The pictures in a folder, and what is passed over there, with the reason.

Links to folders are followed, each folder once. A file is a picture by the suffix of its name or by its content.
"""

from __future__ import annotations

import heapq
import logging
import os
import warnings
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image

from zsecli.images.formats import EXPORTED, SUFFIXES
from zsecli.runtime.log_levels import NOTICE

logger = logging.getLogger(__name__)

HIDDEN = "hidden, as the name begins with a dot"
SYSTEM = "of the system (Thumbs.db, .DS_Store, __MACOSX, ...)"
LINKED = "links to a folder that is searched already"
BROKEN = "links that lead nowhere"
SPECIAL = "pipes, sockets and devices"
TEMPORARY = "unfinished downloads and backups"
NO_PICTURE = "not pictures"
BESIDE = "originals beside a picture of the same name"
OWN = "made by zse"
OUTSIDE = "outside of sketch/ and photo/"
RAW_PICTURE = "a camera's raw picture: export it as JPEG"

_SYSTEM_FOLDERS = {"__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information", "lost+found"}
_SYSTEM_FILES = {"thumbs.db", "ehthumbs.db", "desktop.ini", ".ds_store", ".localized", ".directory", "icon\r"}
_TEMPORARY = {".partial", ".part", ".crdownload", ".download", ".tmp", ".temp", ".bak", ".hashes", ".lock"}
_RAW = {".arw", ".cr2", ".cr3", ".crw", ".dng", ".nef", ".orf", ".pef", ".raf", ".rw2", ".srw"}
_WORKSPACE = ("datasets", "features", "rankings", "models", "explanations", "syntheses", "cache")
# How files of the formats that people have begin, so that a damaged picture is listed, not passed over.
_SIGNATURES = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL ", b"\xff\x0a"),
)
_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# Other formats whose beginning says enough; Pillow would also see pictures in files of other kinds.
_FORMATS = ("BMP", "DDS", "ICNS", "ICO", "PCX", "PPM", "PSD", "QOI", "SGI", "XBM", "XPM")


@dataclass
class PassedOver:
    """What an enumeration of pictures leaves out."""

    paths: dict[str, list[str]] = field(default_factory=dict)  # reason -> paths
    skipped: list[tuple[str, str]] = field(default_factory=list)  # (path, reason) of what should be read and cannot be

    def add(self, reason: str, path: str) -> None:
        self.paths.setdefault(reason, []).append(path)

    def remove_own(self, skipped: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Note the pictures of `skipped`, as (path, reason), that zse made, and return the others."""
        others = []
        for path, reason in skipped:
            if reason == OWN:
                self.add(OWN, path)
            else:
                others.append((path, reason))
        return others

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of files and folders."""
        return {reason: len(paths) for reason, paths in sorted(self.paths.items())}

    def report(self) -> None:
        """Log how much was passed over, and why."""
        if self.paths:
            counts = "; ".join(f"{count} {reason}" for reason, count in self.counts.items())
            logger.log(NOTICE, f"passed over: {counts}")


def workspace_folders(root: Path) -> list[Path]:
    """The folders of a workspace that hold what zse wrote, so that none of it is taken for a photo."""
    return [root / name for name in _WORKSPACE]


def system_reason(path: str) -> str | None:
    """Why a file in a list is passed over by its name: it is the system's; None where it is not."""
    *folders, name = path.replace("\\", "/").split("/")
    is_system = _is_system_file(name) or any(folder.lower() in _SYSTEM_FOLDERS for folder in folders)
    return SYSTEM if is_system else None


def find_pictures_in(folder: Path, passed: PassedOver, excluded: Collection[Path] = ()) -> list[Path]:
    """The pictures below `folder`, sorted by their paths, which begin with `folder`.

    An SVG drawing, a HEIC photo or a raw picture of a camera is one, so that it is read or listed with its reason; but
    not beside a picture of the same name, which has been made of it.

    Args:
        passed: receives everything else.
        excluded: folders that are passed over, as zse wrote what they hold.
    """
    pictures: set[Path] = set()
    originals: list[Path] = []  # of which a picture may have been exported
    for path in _walk_files(os.fspath(folder), passed, excluded):
        file = Path(path)
        suffix = os.path.splitext(path)[1].lower()
        if suffix in _TEMPORARY or path.endswith("~"):
            passed.add(TEMPORARY, file.as_posix())
        elif suffix in SUFFIXES:
            pictures.add(file)
        elif suffix in EXPORTED or suffix in _RAW:
            originals.append(file)
        elif _is_picture_inside(path, passed):
            pictures.add(file)
    exported = {file.with_suffix("") for file in pictures}
    for file in originals:
        if file.with_suffix("") in exported:
            passed.add(BESIDE, file.as_posix())
        elif file.suffix.lower() in _RAW:
            passed.skipped.append((file.as_posix(), RAW_PICTURE))
        else:
            pictures.add(file)
    return sorted(pictures, key=lambda file: file.parts)  # as paths compare, but quicker


def _is_picture_inside(path: str, passed: PassedOver) -> bool:
    """Whether a file without the suffix of a picture holds one; `passed` receives the reason why it does not."""
    name = Path(path).as_posix()
    try:
        reason = _reason_without_content(path)
        if reason is None and not holds_picture(path):
            reason = NO_PICTURE
    except OSError as error:
        passed.skipped.append((name, f"cannot be read: {error.strerror}"))
        return False
    if reason is not None:
        passed.add(reason, name)
    return reason is None


def holds_picture(path: str) -> bool:
    """Whether the content of a file is a picture's, whatever its name; OSError where it cannot be read."""
    with open(path, "rb") as file:
        head = file.read(32)
        if head.startswith(_SIGNATURES):
            return True
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return True
        if head[4:8] == b"ftyp" and head[8:12] in _BRANDS:
            return True
        file.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                Image.open(file, formats=_FORMATS)
        except Image.DecompressionBombError:
            return True
        except Exception:  # readers raise nearly anything for files that are something else
            return False
        return True


def _reason_without_content(path: str) -> str | None:
    """The reason why there is no content to look at; None where there is. OSError where nobody can say."""
    if os.path.islink(path) and not os.path.exists(path):
        return BROKEN
    os.stat(path)
    return None if os.path.isfile(path) else SPECIAL


def _is_system_file(name: str) -> bool:
    return name.lower() in _SYSTEM_FILES or name.startswith("._")  # ._NAME: a Mac's attributes of NAME


def _walk_files(root: str, passed: PassedOver, excluded: Collection[Path]) -> Iterator[str]:
    """The files below `root`; real folders first, so that a link to one of them is what is passed over."""
    own = {_find_identity(os.fspath(folder)) for folder in excluded}
    own.discard(None)
    searched = {_find_identity(root)}
    searched |= {_find_identity(os.fspath(above)) for above in Path(root).absolute().resolve().parents}
    folders = [root]
    links: list[str] = []
    while folders or links:
        folder = folders.pop() if folders else heapq.heappop(links)
        if folder != root:
            identity = _find_identity(folder)
            if identity is not None and identity in own:
                passed.add(OWN, Path(folder).as_posix())
                continue
            if identity is not None and identity in searched:
                passed.add(LINKED, Path(folder).as_posix())
                continue
            searched.add(identity)
        try:
            with os.scandir(folder) as scan:
                entries = sorted(scan, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            passed.skipped.append((Path(folder).as_posix(), f"a folder that cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)
            if _is_system_file(entry.name) or (is_folder and entry.name.lower() in _SYSTEM_FOLDERS):
                passed.add(SYSTEM, Path(entry.path).as_posix())
            elif entry.name.startswith("."):
                passed.add(HIDDEN, Path(entry.path).as_posix())
            elif not is_folder:
                yield entry.path
            elif entry.is_symlink():
                heapq.heappush(links, entry.path)
            else:
                folders.append(entry.path)


def _find_identity(folder: str) -> tuple[int, int] | None:
    """Device and inode of a folder; None where there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
