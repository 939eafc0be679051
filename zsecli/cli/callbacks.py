"""What checks or remembers the value of an option when it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

import typer

from zsecli.cli.arguments import spelling
from zsecli.errors import UsageError, did_you_mean
from zsecli.runtime import console


def set_quiet(value: bool) -> bool:
    """Remember --quiet."""
    console.quiet = value
    return value


def set_debug(value: bool) -> bool:
    """Remember --debug."""
    console.debug = value
    return value


def check_device(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    """UsageError where PyTorch has no such kind of device."""
    if not re.fullmatch(r"auto|cpu|(cuda|mps|xpu)(:\d+)?", value):
        source = context.get_parameter_source(param.name or "")
        where = f"{param.envvar}: " if source is not None and source.name == "ENVIRONMENT" else ""
        raise UsageError(f"{where}--device {value!r} is unknown", "choices: auto, cpu, cuda, cuda:0, cuda:1, ...")
    return value


def one_of(choices: Iterable[str]) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """A callback that lets an option take one of `choices` alone, which are read when the option is.

    Raises:
        UsageError: it has another value.
    """

    def check(context: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
        if value is not None and value not in choices:
            source = context.get_parameter_source(param.name or "")
            is_default = source is not None and source.name == "DEFAULT_MAP"
            file = f"{context.params['config']}: " if is_default else ""
            raise UsageError(
                f"{file}{spelling(param)} {value!r} is unknown",
                f"choices: {', '.join(choices)}{did_you_mean(value, choices)}",
            )
        return value

    return check


def choice(flag: str, choices: Iterable[str], help: str) -> Any:
    """The option `flag` that takes one of `choices` alone: a tuple, or a registry to which names may be added."""
    return typer.Option(flag, metavar="|".join(choices), help=help, callback=one_of(choices))
