"""The pictures in a folder, and what of it is passed over, with the reason.

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

from zsecli.images.decode import EXPORTED, SUFFIXES
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
# what stands at the beginning of pictures that people have, so that a damaged one is listed, not passed over
_MAGIC = (
    *(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    *(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"\0\0\0\x0cJXL ", b"\xff\x0a"),
)
_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1", b"avif", b"avis")
# of other formats, those whose beginning says enough; Pillow would also see pictures in what is none
_FORMATS = ("BMP", "DDS", "ICNS", "ICO", "PCX", "PPM", "PSD", "QOI", "SGI", "XBM", "XPM")


@dataclass
class PassedOver:
    """What an enumeration leaves out.

    paths: reason -> paths. skipped: (path, reason) of what was to be read and cannot be.
    """

    paths: dict[str, list[str]] = field(default_factory=dict)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def add(self, reason: str, path: str) -> None:
        self.paths.setdefault(reason, []).append(path)

    def take_own(self, bad: list[tuple[str, str]]) -> list[tuple[str, str]]:
        """Note the pictures of `bad`, as (path, reason), that zse made, and return the others."""
        for path, why in bad:
            if why == OWN:
                self.add(OWN, path)
        return [pair for pair in bad if pair[1] != OWN]

    @property
    def counts(self) -> dict[str, int]:
        """Reason -> number of files and folders."""
        return {reason: len(paths) for reason, paths in sorted(self.paths.items())}

    def report(self) -> None:
        """Say on stderr how much was passed over, and why."""
        if self.paths:
            logger.log(
                NOTICE, "passed over: " + "; ".join(f"{count} {reason}" for reason, count in self.counts.items())
            )


def workspace_folders(root: Path) -> list[Path]:
    """The folders of a workspace that hold what zse wrote, so that none of it is taken for a photo."""
    return [root / name for name in _WORKSPACE]


def system_reason(path: str) -> str | None:
    """Why a file in a list is passed over by its name: it is the system's; None where it is not."""
    *folders, name = path.replace("\\", "/").split("/")
    if any(folder.lower() in _SYSTEM_FOLDERS for folder in folders):
        return SYSTEM
    return SYSTEM if _is_system_file(name) else None


def find_pictures_in(folder: Path, passed: PassedOver, apart: Collection[Path] = ()) -> list[Path]:
    """The pictures below `folder`, sorted by their paths, which begin with `folder`.

    An SVG drawing, a HEIC photo or a raw picture of a camera is one, so that it is read or listed with its reason; but
    not beside a picture of the same name, which has been made of it.

    Args:
        passed: is told of everything else.
        apart: folders that are passed over, as zse wrote what they hold.
    """
    pictures, exported = set[Path](), list[Path]()
    for path in _walk(os.fspath(folder), passed, apart):
        file, suffix = Path(path), os.path.splitext(path)[1].lower()
        if suffix in _TEMPORARY or path.endswith("~"):
            passed.add(TEMPORARY, file.as_posix())
        elif suffix in SUFFIXES:
            pictures.add(file)
        elif suffix in EXPORTED or suffix in _RAW:
            exported.append(file)
        else:
            try:
                reason = _no_file(path) or (None if holds_picture(path) else NO_PICTURE)
            except OSError as error:
                passed.skipped.append((file.as_posix(), f"cannot be read: {error.strerror}"))
                continue
            if reason is None:
                pictures.add(file)
            else:
                passed.add(reason, file.as_posix())
    made = {file.with_suffix("") for file in pictures}
    for file in exported:
        if file.with_suffix("") in made:
            passed.add(BESIDE, file.as_posix())
        elif file.suffix.lower() in _RAW:
            passed.skipped.append((file.as_posix(), RAW_PICTURE))
        else:
            pictures.add(file)
    return sorted(pictures, key=lambda file: file.parts)  # as paths compare, but quicker


def holds_picture(path: str) -> bool:
    """Whether the content of a file is a picture's, whatever its name; OSError where it cannot be read."""
    with open(path, "rb") as file:
        head = file.read(32)
        if head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
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
        except Exception:  # there is no end of what readers raise for files that are something else
            return False
        return True


def _no_file(path: str) -> str | None:
    """The reason why there is no content to look at; None where there is. OSError where nobody can say."""
    if os.path.islink(path) and not os.path.exists(path):
        return BROKEN
    os.stat(path)
    return None if os.path.isfile(path) else SPECIAL


def _is_system_file(name: str) -> bool:
    return name.lower() in _SYSTEM_FILES or name.startswith("._")  # ._NAME: a Mac's attributes of NAME


def _walk(root: str, passed: PassedOver, apart: Collection[Path]) -> Iterator[str]:
    """The files below `root`; real folders first, so that a link to one of them is what is passed over."""
    own = {where for folder in apart if (where := _identity(os.fspath(folder)))}
    searched = {_identity(root), *(_identity(os.fspath(above)) for above in Path(root).absolute().resolve().parents)}
    waiting, links = [root], list[str]()
    while waiting or links:
        folder = waiting.pop() if waiting else heapq.heappop(links)
        if folder != root:
            where = _identity(folder)
            if where is not None and (where in own or where in searched):
                passed.add(OWN if where in own else LINKED, Path(folder).as_posix())
                continue
            searched.add(where)
        try:
            with os.scandir(folder) as found:
                entries = sorted(found, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            passed.skipped.append((Path(folder).as_posix(), f"a folder that cannot be read: {error.strerror}"))
            continue
        for entry in entries:
            inside = entry.is_dir(follow_symlinks=False) or os.path.isdir(entry.path)
            if (inside and entry.name.lower() in _SYSTEM_FOLDERS) or _is_system_file(entry.name):
                passed.add(SYSTEM, Path(entry.path).as_posix())
            elif entry.name.startswith("."):
                passed.add(HIDDEN, Path(entry.path).as_posix())
            elif not inside:
                yield entry.path
            elif entry.is_symlink():
                heapq.heappush(links, entry.path)
            else:
                waiting.append(entry.path)


def _identity(folder: str) -> tuple[int, int] | None:
    """Device and inode of a folder; None where there is none."""
    try:
        status = os.stat(folder)
    except OSError:
        return None
    return status.st_dev, status.st_ino
