"""`--config FILE.toml`: defaults of a command's options; what is typed goes before them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import typer

from zsecli.errors import UsageError, did_you_mean
from zsecli.runtime.textfiles import read_text


def defaults(context: typer.Context, value: Path | None) -> Path | None:
    """Callback of `--config`: checks the whole file and hands the command its own section.

    Raises:
        UsageError: no such file, no TOML, a section that is no command, or a key that is none of its options.
    """
    if value is None or context.parent is None:
        return value
    try:
        sections = tomllib.loads(read_text(value).replace("\r\n", "\n"))
    except (OSError, ValueError, RecursionError) as error:  # ValueError: no TOML, or no UTF-8
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UsageError(f"{value}: {why}", "a TOML file with a section for each command, such as [embed]") from error
    commands: Mapping[str, Any] = context.parent.command.commands  # type: ignore[attr-defined]
    found = {name: _section(value, name, section, commands) for name, section in sections.items()}
    context.default_map = {**(context.default_map or {}), **found.get(context.info_name or "", {})}
    return value


def _section(file: Path, name: str, section: Any, commands: Mapping[str, Any]) -> dict[str, Any]:
    """The values of one section, by parameter name."""
    if not isinstance(section, dict):
        raise UsageError(f"{file}: {name} stands outside of a section", f"sections: {', '.join(commands)}")
    if name not in commands:
        raise UsageError(
            f"{file}: [{name}] is no command{did_you_mean(name, commands)}", f"sections: {', '.join(commands)}"
        )
    options = {
        max(param.opts, key=len).removeprefix("--"): param
        for param in commands[name].params
        if param.param_type_name == "option" and param.name not in ("config", "help")
    }
    values = {}
    for key, given in section.items():
        param = options.get(key.replace("_", "-")) or _find_by_former_name(key, options.values())
        if param is None:
            raise UsageError(
                f"{file}: [{name}] has no option {key!r}{did_you_mean(key, options)}", f"options: {', '.join(options)}"
            )
        inside = given if isinstance(given, list) and param.multiple else [given]
        if any(isinstance(value, (dict, list)) for value in inside):
            raise UsageError(f"{file}: [{name}] {key} is no single value", "a text, a number, true or false")
        values[param.name] = [given] if param.multiple and not isinstance(given, list) else given
    return values


def _find_by_former_name(key: str, params: Iterable[Any]) -> Any:
    """The option that has a key as another of its names; None where there is none."""
    flag = f"--{key.replace('_', '-')}"
    return next((param for param in params if flag in param.opts), None)
