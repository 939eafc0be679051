"""Where things lie when a command is given no path: `./zse`, `--workspace`, `ZSE_WORKSPACE`."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path

from zsecli.errors import ZseError, did_you_mean


@dataclass(frozen=True)
class Workspace:
    """The folder of a project's stores and checkpoints; nothing is made before it is needed."""

    root: Path = Path("zse")

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / f"{_plain(name)}.h5"

    def features(self, name: str, model: str, part: str) -> Path:
        return self.root / "features" / f"{_plain(name)}.{_plain(part)}.{_plain(model)}.h5"

    def ranking(self, sketches: Path, photos: Path, how: str) -> Path:
        """Of two feature stores, often one; stores of one name in different folders have different rankings."""
        name = sketches.stem if sketches == photos else f"{sketches.stem}--{photos.stem}"
        if any(store.parent != self.root / "features" for store in (sketches, photos)):
            places = f"{sketches.resolve()}\0{photos.resolve()}"
            name += f".{hashlib.sha256(os.fsencode(places)).hexdigest()[:8]}"
        return self.root / "rankings" / f"{_plain(name, 120)}.{_plain(how)}.h5"

    def checkpoint(self, name: str) -> Path:
        return self.root / "models" / f"{_plain(name)}.safetensors"

    def made_of(self, kind: str, model: str, *pictures: Path) -> Path:
        """What the names of files made of these pictures by a model begin with; others of the same names get others."""
        told = "\0".join([model, *(str(picture.resolve()) for picture in pictures)])
        more = f"+{len(pictures) - 2}" if len(pictures) > 2 else ""
        name = f"{_plain(pictures[0].stem)}--{_plain(pictures[1].stem)}{more}"
        return self.root / kind / f"{name}.{hashlib.sha256(os.fsencode(told)).hexdigest()[:8]}"

    def find_dataset(self, name: str | None) -> Path:
        """The dataset store called `name`, or the one prepared last.

        Raises:
            ZseError: there is none.
        """
        if name is not None:
            path = self.dataset(name)
            if not path.is_file():
                known = [p.stem for p in self._stores()]
                raise ZseError(
                    f"no data set {name!r} in {self.root}{did_you_mean(name, known)}",
                    f"zse prepare makes one (there: {', '.join(known) or 'none'})",
                )
            return path
        stores = self._stores()
        if not stores:
            raise ZseError(
                f"no data set is prepared in {self.root}", "zse prepare demo, or zse prepare folder YOUR_FOLDER"
            )
        return stores[-1]

    def make_newest(self, store: Path) -> None:
        """Let a dataset store that is prepared again, and has not changed, be the one prepared last."""
        stores = self._stores()
        if store in stores[:-1]:
            os.utime(store)

    def newest_checkpoint(self) -> Path | None:
        found = self._files("models", "*.safetensors")
        return found[-1] if found else None

    def _stores(self) -> list[Path]:
        """Finished dataset stores, the newest last."""
        return self._files("datasets", "*.h5")

    def _files(self, kind: str, pattern: str) -> list[Path]:
        """The newest last; a link that leads nowhere is passed over."""
        found = (path for path in (self.root / kind).glob(pattern) if path.is_file())
        return sorted(found, key=lambda p: p.stat().st_mtime_ns)


def _plain(name: str, most: int = 60) -> str:
    """`name` as part of a file name of at most so many bytes: without separators, control characters, leading dots."""
    name = unicodedata.normalize("NFC", name)  # a Mac's folder and what is typed are one name
    plain = re.sub(r"[^\w.@+-]+", "-", name).strip(".-") or "unnamed"
    if len(plain.encode()) <= most:
        return plain
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{plain.encode()[: most - 9].decode(errors='ignore')}-{digest}"
