"""What a stage uses when it is given no path: the workspace's newest model, its newest data set, a known benchmark."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from zsecli.data.dataset import Dataset
from zsecli.data.hashing import ChangedPicture
from zsecli.model.config import Precision
from zsecli.model.spec import ModelSpec
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.shards import WHOLE, Shard
from zsecli.store.remake_commands import NEW_FOLDER, remake_dataset
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)

DEFAULT_WORKSPACE = Workspace().root

ProgressBars = Callable[[str], AbstractContextManager[Progress]]
"""Opens a bar for a named part of the work, as `zsecli.runtime.console.show_progress` does."""


def no_progress(label: str) -> AbstractContextManager[Progress]:
    """Show nothing."""
    return contextlib.nullcontext(SILENT)


@dataclass(frozen=True, kw_only=True)
class Compute:
    """How work is done. None of it changes what a stage means."""

    device: str = "auto"
    batch_size: int | None = None
    """Pictures computed together; None: as suits the device."""
    workers: int = 0
    """Processes that decode pictures; 0: threads do."""
    precision: str = "fp32"
    """What networks compute in (`zsecli.vocabulary.PRECISIONS`)."""
    shard: Shard = WHOLE
    """The share of this process."""

    def precision_for(self, spec: ModelSpec) -> Precision:
        """The precision of a model: one that is no network has but one."""
        return cast(Precision, self.precision) if spec.is_network else "fp32"

    def tag_for(self, spec: ModelSpec) -> str:
        """The part of a file name that tells how features were made."""
        if self.precision_for(spec) == "fp32":
            return spec.tag()
        return f"{spec.tag()}-{self.precision}"


def choose_model(workspace: Workspace, name: str | None) -> ModelSpec:
    """The model called `name`, else the workspace's newest trained checkpoint, else the shipped network."""
    if name is not None:
        return ModelSpec.parse(name)
    newest = workspace.newest_checkpoint()
    logger.info(f"model: {newest or 'small, the shipped one'}")
    return ModelSpec.parse("small" if newest is None else str(newest))


@contextlib.contextmanager
def explain_changed_pictures(dataset: Dataset) -> Iterator[None]:
    """Add the command that lists the pictures of `dataset` anew to the error of one that is gone or changed."""
    try:
        yield
    except ChangedPicture as error:
        command = remake_dataset(dataset)
        if Path(dataset.root).is_dir():
            raise ChangedPicture(error.message, f"{error.hint.partition(' (')[0]}: {command}") from error
        raise ChangedPicture(
            f"{dataset.root}: is gone, the folder of the pictures of {dataset.name!r}",
            f"{command} says where they are now, with that folder for {NEW_FOLDER}",
        ) from error
