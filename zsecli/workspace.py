"""Where files are when a command is given no path: `./zse`, `--workspace`, `ZSE_WORKSPACE`."""

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
    """The folder of a project's stores and checkpoints; folders are made when they are needed."""

    root: Path = Path("zse")

    def dataset(self, name: str) -> Path:
        return self.root / "datasets" / f"{_file_name(name)}.h5"

    def features(self, name: str, model: str, part: str) -> Path:
        return self.root / "features" / f"{_file_name(name)}.{_file_name(part)}.{_file_name(model)}.h5"

    def ranking(self, sketches: Path, photos: Path, options: str) -> Path:
        """Of two feature stores, often one; stores of one name in different folders have different rankings."""
        name = sketches.stem if sketches == photos else f"{sketches.stem}--{photos.stem}"
        features = self.root / "features"
        if sketches.parent != features or photos.parent != features:
            inputs = f"{sketches.resolve()}\0{photos.resolve()}"
            name += f".{_short_hash(inputs)}"
        return self.root / "rankings" / f"{_file_name(name, 120)}.{_file_name(options)}.h5"

    def checkpoint(self, name: str) -> Path:
        return self.root / "models" / f"{_file_name(name)}.safetensors"

    def made_of(self, kind: str, model: str, *pictures: Path) -> Path:
        """The beginning of the names of files made of these pictures by a model; other pictures have another."""
        inputs = "\0".join([model, *(str(picture.resolve()) for picture in pictures)])
        name = f"{_file_name(pictures[0].stem)}--{_file_name(pictures[1].stem)}"
        if len(pictures) > 2:
            name += f"+{len(pictures) - 2}"
        return self.root / kind / f"{name}.{_short_hash(inputs)}"

    def find_dataset(self, name: str | None) -> Path:
        """The dataset store called `name`, or the one prepared last.

        Raises:
            ZseError: there is none.
        """
        if name is not None:
            path = self.dataset(name)
            if not path.is_file():
                names = [store.stem for store in self._dataset_stores()]
                raise ZseError(
                    f"no data set {name!r} in {self.root}{did_you_mean(name, names)}",
                    f"zse prepare makes one (there: {', '.join(names) or 'none'})",
                )
            return path
        stores = self._dataset_stores()
        if not stores:
            raise ZseError(
                f"no data set is prepared in {self.root}", "zse prepare demo, or zse prepare folder YOUR_FOLDER"
            )
        return stores[-1]

    def make_newest(self, store: Path) -> None:
        """Let a dataset store that was prepared again, and has not changed, be the one prepared last."""
        if store in self._dataset_stores()[:-1]:
            os.utime(store)

    def newest_checkpoint(self) -> Path | None:
        """The checkpoint written last; None where there is none."""
        checkpoints = self._list_files("models", "*.safetensors")
        return checkpoints[-1] if checkpoints else None

    def _dataset_stores(self) -> list[Path]:
        """Finished dataset stores, the newest last."""
        return self._list_files("datasets", "*.h5")

    def _list_files(self, kind: str, pattern: str) -> list[Path]:
        """The files of a kind, the newest last; links that lead nowhere are left out."""
        files = [path for path in (self.root / kind).glob(pattern) if path.is_file()]
        return sorted(files, key=lambda path: path.stat().st_mtime_ns)


def _short_hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:8]


def _file_name(name: str, most: int = 60) -> str:
    """`name` as part of a file name of at most so many bytes: without separators, control characters, leading dots."""
    name = unicodedata.normalize("NFC", name)  # a Mac's folder and what is typed are one name
    safe = re.sub(r"[^\w.@+-]+", "-", name).strip(".-") or "unnamed"
    if len(safe.encode()) <= most:
        return safe
    digest = hashlib.sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]
    return f"{safe.encode()[: most - 9].decode(errors='ignore')}-{digest}"
