"""What a user can ask of a data source."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class SourceOptions:
    """Options of all data sources. Each source heeds some of them (`DataSource.options_for`)."""

    lists: Path | None = None
    """Folder with published train/zero file lists, which then decide the split."""
    variant: str | None = None
    """Rendering of Sketchy (`tx_...`); None: the plain one."""
    originals: bool = False
    """Take Sketchy's original photos alone, without the extended ones."""
    instance_rule: str = "auto"
    """How a file's name in a tree says its instance."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Column -> value of the rows of a manifest to keep."""
    columns: Mapping[str, str] = field(default_factory=dict, metadata={"flag": "--column"})
    """Name of a column -> what the manifest calls it."""
    unseen: tuple[str, ...] | None = None
    """Unseen classes of a tree; None: all are unseen."""
    exclude: tuple[Path, ...] = ()
    """Folders to pass over, as zse wrote what they hold."""

    def changed(self) -> list[str]:
        """The names of the options that do not have their default, but for `exclude`."""
        default = SourceOptions()
        names = [option.name for option in fields(self) if option.name != "exclude"]
        return [name for name in names if getattr(self, name) != getattr(default, name)]


def flag_of(name: str) -> str:
    """What the command line calls an option.

    >>> flag_of("instance_rule"), flag_of("columns")
    ('--instance-rule', '--column')
    """
    option = SourceOptions.__dataclass_fields__[name]
    return str(option.metadata.get("flag", f"--{name.replace('_', '-')}"))
