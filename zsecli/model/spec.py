"""The values of `--model`, parsed without importing anything heavy."""

from __future__ import annotations

import contextlib
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.vocabulary import EMBEDDERS

WEIGHTS = Path(__file__).parents[1] / "weights"
SHIPPED = WEIGHTS / "small.safetensors"  # see docs/model-card.md
FREEHAND = WEIGHTS / "freehand.safetensors"  # see docs/model-card-freehand.md
NETWORKS = {"small": SHIPPED, "freehand": FREEHAND}  # that come with zse
HELP = "small, freehand: the shipped networks, for clean outlines and for free-hand drawings; " + "; ".join(
    f"{kind.form}: {kind.description}" for kind in EMBEDDERS.entries()
)

# prefixes of timm's names for a model in a folder and for one on the Hugging Face hub
LOCAL = "local-dir:"
HUB = "hf-hub:"
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".tar", ".npz", ".ckpt")  # suffixes of what timm may load there


@lru_cache
def _hash(file: Path, _size: int, _mtime: int, _changed: int, _inode: int) -> str:
    """SHA-256 of a file, which a run needs several times: a file of hundreds of megabytes is read once."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def hash_file(file: Path) -> str:
    """SHA-256 of a file's content, as hexadecimal text."""
    file = file.resolve()  # a relative name is another file in another folder
    stat = file.stat()
    return _hash(file, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)


def hash_folder(folder: Path) -> str:
    """SHA-256 of a model's folder, as hexadecimal text: of its config.json and of every file that may be its weights.

    Raises:
        StoreError: it has no config.json.
    """
    if not (folder / "config.json").is_file():
        raise StoreError(
            f"{folder}: is no folder of a model, as it has no config.json", "frozen:local-dir:FOLDER, as timm saves one"
        )
    files = [file for file in folder.iterdir() if file.is_file() and file.suffix.lower() in _WEIGHTS]
    content = [(file.name, hash_file(file)) for file in sorted((folder / "config.json", *files))]
    return hashlib.sha256(repr(content).encode(errors="surrogateescape")).hexdigest()


def fetch_from_hub(name: str) -> Path:
    """Where the hub's cache has the configuration and the weights that timm loads for `ID` or `ID@REVISION`.

    What is not there yet is fetched, and what changed on the hub, as timm will, so that both see the same.

    Raises:
        StoreError: the hub cannot be reached, or has no such model.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    repository, _, revision = name.partition("@")
    try:
        config = Path(hf_hub_download(repository, "config.json", revision=revision or None))
        for file in ("model.safetensors", "pytorch_model.bin"):
            with contextlib.suppress(EntryNotFoundError):
                hf_hub_download(repository, file, revision=revision or None)
                break
    except Exception as error:  # the network, the hub and the name fail with errors of every kind
        lines = str(error).strip().splitlines()
        reason = lines[0] if lines else type(error).__name__
        hint = "weights from a hub need a network; a local file does not: frozen:NAME=FILE, or frozen:local-dir:FOLDER"
        raise StoreError(f"timm cannot make {HUB}{name}: {reason}", hint) from error
    return config.parent


@dataclass(frozen=True)
class ModelSpec:
    """A model by name."""

    kind: str  # a name in zsecli.vocabulary.EMBEDDERS
    name: str  # of the backbone for "frozen", of the shipped network or the file for "checkpoint"; else the kind
    file: Path | None = None  # of its weights

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Parse `text`; UsageError where it is none of the forms in HELP, StoreError where its file is missing."""
        kind, _, name = text.partition(":")
        if kind in EMBEDDERS and kind not in ("checkpoint", "frozen"):
            return cls(kind, name or kind)
        if text.startswith("frozen:"):
            name, _, file = text.removeprefix("frozen:").partition("=")
            source, colon, rest = text.removeprefix("frozen:").partition(":")
            source = source.lower().replace("_", "-") + colon  # as timm reads it
            if source == LOCAL and (Path(rest).is_dir() or not file):  # a folder's name may hold an equals sign
                name, file = f"{LOCAL}{rest}", ""
            elif source in (LOCAL, HUB):
                name = source + name.partition(":")[2]
            if not name or name in (LOCAL, HUB):
                raise UsageError(
                    "frozen: needs the name of a timm backbone", "for example frozen:tf_efficientnet_lite0"
                )
            spec = cls("frozen", name, Path(file) if file else None)
        elif text in NETWORKS:
            spec = cls("checkpoint", text, NETWORKS[text])
        else:
            spec = cls("checkpoint", Path(text).stem, Path(text))
        if spec.file is not None and not spec.file.is_file():
            raise StoreError(f"{spec.file}: no such weights", f"--model takes {HELP}")
        return spec

    @classmethod
    def from_store(cls, text: object, store: Path) -> ModelSpec:
        """The model that a store names; StoreError where its weights no longer exist, or it names none."""
        try:
            return cls.parse(str(text))
        except StoreError as error:
            hint = f"make {store.name} again with --model FILE, where they are now: the same weights make it up to date"
            raise StoreError(f"{error.message}, of {store}", hint) from error

    @property
    def text(self) -> str:
        """The form that `parse` reads, with an absolute path."""
        if self.file in NETWORKS.values():
            return self.name
        file = "" if self.file is None else str(self.file.resolve())
        if self.kind == "frozen":
            name = self.name if self.folder is None else f"{LOCAL}{self.folder.resolve()}"
            return f"frozen:{name}" + (f"={file}" if file else "")
        return file or (self.kind if self.name == self.kind else f"{self.kind}:{self.name}")

    @property
    def folder(self) -> Path | None:
        """The folder that a backbone is named by."""
        return Path(self.name.removeprefix(LOCAL)) if self.name.startswith(LOCAL) else None

    @property
    def title(self) -> str:
        """The name of a frozen backbone without a path, which says nothing of its content."""
        return LOCAL.rstrip(":") if self.folder is not None else self.name

    @property
    def is_named(self) -> bool:
        """Whether the user gives the name beside the kind, as of a timm backbone."""
        return self.kind != "checkpoint" and self.name != self.kind

    @property
    def is_network(self) -> bool:
        """Whether there is something to compute on a GPU."""
        return EMBEDDERS[self.kind].is_network

    @property
    def has_relation(self) -> bool:
        """Whether the model has a relation network; the baselines do not."""
        return self.kind == "checkpoint"

    def weights_hash(self) -> str:
        """SHA-256 of the weights file, or of what the folder that names the model holds, with the weights that replace
        its own; of nothing where the weights are timm's for this name, or there are none.
        """
        file_digest = "" if self.file is None else hash_file(self.file)
        if self.kind == "frozen" and self.name.startswith(HUB):
            content = hash_folder(fetch_from_hub(self.name.removeprefix(HUB)))
        elif self.kind == "frozen" and self.folder is not None:
            content = hash_folder(self.folder)
        else:
            return file_digest
        if not file_digest:
            return content
        return hashlib.sha256(f"{content} {file_digest}".encode()).hexdigest()

    def tag(self) -> str:
        """A short name for files made with this model, which differs for other weights."""
        digest = self.weights_hash()[:8]
        name = self.name if self.folder is None else self.folder.resolve().name
        kind = self.kind if self.is_named else ""
        return "-".join(word for word in (kind, name, digest) if word)


def is_available(text: object) -> bool:
    """Whether a model that a store names can still be found by that name."""
    try:
        spec = ModelSpec.parse(str(text))
    except ZseError:
        return False
    return spec.folder is None or spec.folder.is_dir()
