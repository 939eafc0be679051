"""Options that every command spells alike."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import typer

from zsecli import console
from zsecli.errors import UsageError, nearest
from zsecli.model.spec import HELP
from zsecli.workspace import Workspace as _Workspace


def _quiet(value: bool) -> bool:
    console.quiet = value
    return value


def _debug(value: bool) -> bool:
    console.debug = value
    return value


def _config(context: typer.Context, value: Path | None) -> Path | None:
    """Defaults of this command from its section of a TOML file; what is typed goes before them."""
    if value is None:
        return None
    try:
        sections = tomllib.loads(value.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{value}: {error}", "a TOML file with a section for each command, such as [embed]") from error
    commands = list(context.parent.command.commands) if context.parent else []  # type: ignore[attr-defined]
    for name, section in sections.items():
        if name not in commands or not isinstance(section, dict):
            raise UsageError(
                f"{value}: [{name}] is no command{nearest(name, commands)}", f"sections: {', '.join(commands)}"
            )
    given = {key.replace("-", "_"): v for key, v in sections.get(context.info_name or "", {}).items()}
    known = {p.name or "" for p in context.command.params} - {"config", "help"}
    for key in given.keys() - known:
        raise UsageError(
            f"{value}: [{context.info_name}] has no option {key!r}{nearest(key, known)}",
            f"options: {', '.join(sorted(known))}",
        )
    context.default_map = {**(context.default_map or {}), **given}
    return value


Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes and no progress.", callback=_quiet)]
Debug = Annotated[
    bool,
    typer.Option("--debug", envvar="ZSE_DEBUG", help="Show the traceback of an error.", callback=_debug, is_eager=True),
]
Config = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="FILE.toml",
        help="Defaults from this file's section for the command.",
        callback=_config,
        is_eager=True,
    ),
]
WorkspaceDir = Annotated[
    Path, typer.Option("--workspace", envvar="ZSE_WORKSPACE", help="Where stores lie that are given no path.")
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write here instead of into the workspace.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what -o names, if it holds something else.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be done, and do nothing.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model", envvar="ZSE_MODEL", help=f"{HELP[0].upper()}{HELP[1:]}. Default: the workspace's newest checkpoint."
    ),
]
Device = Annotated[str, typer.Option("--device", envvar="ZSE_DEVICE", help="auto, cpu or cuda:0.")]
BatchSize = Annotated[int, typer.Option("--batch-size", min=1, help="Pictures at once.")]
Workers = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that decode pictures; 0: none beside this one.")
]
Data = Annotated[
    str | None, typer.Option("--data", help="A prepared data set, by its name. Default: the one prepared last.")
]
By = Annotated[
    str | None,
    typer.Option(
        "--by",
        help="ret: distance of [Ret]; rn: relation score of every pair; cascade: the best by [Ret], re-ranked by rn. "
        "Default: cascade where the model has a relation network, else ret.",
    ),
]
Shortlist = Annotated[int, typer.Option("--shortlist", min=1, help="Photos a query that a cascade re-ranks.")]
IgnoreSame = Annotated[
    str | None,
    typer.Option(
        "--ignore-same",
        metavar="COLUMN",
        help="Leave out pairs that agree in this column (label, instance, family): neither hit nor miss.",
    ),
]
Center = Annotated[bool, typer.Option("--center", help="Take each modality's mean [Ret] away first.")]
Seed = Annotated[int, typer.Option("--seed", help="Of everything drawn at random.")]

DEFAULT_WORKSPACE = _Workspace().root


def choice(value: str, name: str, choices: tuple[str, ...]) -> Any:
    """`value` if it is one of `choices`; UsageError otherwise."""
    if value not in choices:
        raise UsageError(f"{name} {value!r} is unknown", f"choices: {', '.join(choices)}{nearest(value, choices)}")
    return value
