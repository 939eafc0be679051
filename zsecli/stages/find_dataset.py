"""The data set that a stage works on: a prepared one, or a benchmark in its usual place, which is prepared first."""

from __future__ import annotations

import logging
from pathlib import Path

from zsecli.data.sources.source import DataSource
from zsecli.errors import DryRunEnded, ZseError
from zsecli.runtime.distributed import get_launch
from zsecli.stages.prepare import PrepareRequest, run
from zsecli.vocabulary import DATA_SOURCES
from zsecli.workspace import Workspace

logger = logging.getLogger(__name__)


def find_dataset(workspace: Workspace, name: str | None, dry_run: bool = False) -> Path:
    """The dataset store called `name`, or the one prepared last. A benchmark in its usual place is prepared first.

    Raises:
        ZseError: there is none, or several processes would prepare it at once.
        DryRunEnded: it is a dry run and the benchmark is not prepared, so nothing is known of its content.
    """
    if name is None or name not in DATA_SOURCES or workspace.dataset(name).is_file():
        return workspace.find_dataset(name)
    source: DataSource = DATA_SOURCES.load(name)
    if source.needs_path:
        return workspace.find_dataset(name)
    path = source.find(None)
    if get_launch().world > 1:
        raise ZseError(f"{name} is not prepared", f"zse prepare {name}, and then this again")
    if dry_run:
        raise DryRunEnded(f"to prepare {name} from {path}; the rest depends on what it holds")
    logger.info(f"preparing {name}")
    request = PrepareRequest(source=name, workspace=workspace.root)
    return run(request).path
