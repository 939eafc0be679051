"""Options that every command spells alike."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from zsecli.cli.config_file import defaults
from zsecli.errors import UsageError, did_you_mean
from zsecli.model.spec import HELP, ModelSpec
from zsecli.runtime import console
from zsecli.runtime.textfiles import decode_text
from zsecli.workspace import Workspace as _Workspace

BY = ("ret", "rn", "cascade")
COLUMNS = ("label", "instance", "family")
PRECISIONS = ("fp32", "bf16", "fp16")


def _quiet(value: bool) -> bool:
    console.quiet = value
    return value


def _debug(value: bool) -> bool:
    console.debug = value
    return value


def _device(context: typer.Context, param: typer.CallbackParam, value: str) -> str:
    if not re.fullmatch(r"auto|cpu|(cuda|mps|xpu)(:\d+)?", value):
        source = context.get_parameter_source(param.name or "")
        where = f"{param.envvar}: " if source is not None and source.name == "ENVIRONMENT" else ""
        raise UsageError(f"{where}--device {value!r} is unknown", "choices: auto, cpu, cuda, cuda:0, cuda:1, ...")
    return value


def one_of(*choices: str) -> Callable[[typer.Context, typer.CallbackParam, str | None], str | None]:
    """A callback that lets an option take one of `choices` alone; UsageError otherwise."""

    def check(context: typer.Context, param: typer.CallbackParam, value: str | None) -> str | None:
        if value is not None and value not in choices:
            source = context.get_parameter_source(param.name or "")
            where = f"{context.params['config']}: " if source is not None and source.name == "DEFAULT_MAP" else ""
            raise UsageError(
                f"{where}{spelling(param)} {value!r} is unknown",
                f"choices: {', '.join(choices)}{did_you_mean(str(value), choices)}",
            )
        return value

    return check


def choice(flag: str, choices: Sequence[str], help: str) -> Any:
    """The option `flag` that takes one of `choices` alone."""
    return typer.Option(flag, metavar="|".join(choices), help=help, callback=one_of(*choices))


def spelling(param: typer.CallbackParam) -> str:
    """What a user types for a parameter: `--name`; an argument's name."""
    return max(param.opts, key=len)


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
        help="Take defaults from this file: a section for each command, a key for each option.",
        callback=defaults,
        is_eager=True,
    ),
]
WorkspaceDir = Annotated[
    Path,
    typer.Option(
        "--workspace", metavar="FOLDER", envvar="ZSE_WORKSPACE", help="Where stores lie that are given no path."
    ),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="Write here instead of into the workspace.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what -o names, if it holds something else.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be done, and do nothing.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        envvar="ZSE_MODEL",
        help=f"One of: {HELP}. Default: the workspace's newest checkpoint, else small.",
    ),
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda:N",
        envvar="ZSE_DEVICE",
        help="Where the model runs; auto: on the GPU where there is one.",
        callback=_device,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        help="Pictures at once in a thread. Default: 4 on a CPU, 128 on a GPU, fewer where its memory is full.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", min=0, max=1024, help="Processes that decode pictures; 0: none beside this one."
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do the I-th of N shares, for batch systems; the last one to be done puts them together. torchrun needs "
        "no --shard.",
    ),
]
Precision = Annotated[
    str,
    choice(
        "--precision",
        PRECISIONS,
        "What networks compute in. bf16: half as fast again or twice, where the processor has it. fp16: on a GPU. "
        "docs/performance.md has both costs.",
    ),
]
Data = Annotated[
    str | None,
    typer.Option("--data", metavar="NAME", help="A prepared data set, by its name. Default: the one prepared last."),
]
Split = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="NAME",
        help="zs-inter: same class. zs-intra: the sketch's own photo, within its class and among all. generalized: "
        "photos of seen classes too. zs-cross, zs-cross-all: a model trained on --train-data. Others, as "
        "zs-inter-21 or zs-inter-validation, are listed by zse inspect.",
    ),
]
By = Annotated[
    str | None,
    choice(
        "--by",
        BY,
        "ret: distance of [Ret]; rn: relation score of every pair; cascade: the best by [Ret], re-ranked by rn. "
        "Default: cascade where the model has a relation network, else ret.",
    ),
]
Shortlist = Annotated[
    int, typer.Option("--shortlist", metavar="N", min=1, help="Photos a query that a cascade re-ranks.")
]
IgnoreSame = Annotated[
    str | None,
    choice(
        "--ignore-same",
        COLUMNS,
        "Leave out pairs that agree in this column: neither hit nor miss.",
    ),
]
Center = Annotated[
    bool, typer.Option("--center/--no-center", show_default=False, help="Take each modality's mean [Ret] away first.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Of everything drawn at random.")]
SketchFile = Annotated[Path | None, typer.Argument(metavar="SKETCH", help="The sketch, a picture.")]
RankingOf = Annotated[
    Path | None,
    typer.Option("--ranking", metavar="FILE.h5", help="Take the pictures from a ranking instead, by --query."),
]
Query = Annotated[
    str | None, typer.Option("--query", metavar="ID", help="The sketch of --ranking, by its id or the end of it.")
]
Rank = Annotated[str, typer.Option("--rank", metavar="1..5", help="The photos of --ranking: 3, or 1,4, or 1..5.")]

DEFAULT_WORKSPACE = _Workspace().root


def typed(context: typer.Context, name: str) -> bool:
    """Whether the parameter stands in the command line itself: no default, no environment, no file."""
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def refuse(context: typer.Context, names: tuple[str, ...], why: str, hint: str) -> None:
    """UsageError where one of the parameters `names` was typed, which would have no effect here."""
    for param in context.command.params:
        if param.name in names and typed(context, param.name or ""):
            raise UsageError(f"{spelling(param)} {why}", hint)  # type: ignore[arg-type]


def store_path(text: str) -> Path:
    """The path of a store: `text`, or the next line of stdin where that is `-`."""
    if text != "-":
        return Path(text)
    line = "" if sys.stdin.isatty() else _next_line()
    if not line or "\0" in line:
        what = "what came holds a zero byte" if line else "none came"
        raise UsageError(
            f"- reads the path of a store from stdin, and {what}", "zse embed sketch.png | zse match - photos.h5"
        )
    return Path(line)


def _next_line() -> str:
    """The next line of stdin; "" where there is none."""
    data = sys.stdin.buffer.readline()
    if data.endswith(b"\n") and b"\0" in data and len(data) % 2:
        data += sys.stdin.buffer.read(1)  # the second half of a line feed in UTF-16
    return decode_text(data, "surrogateescape").rstrip("\r\n")


def pairs(
    context: typer.Context, sketch: Path | None, photos: list[Path], ranking: Path | None, query: str | None, rank: str
) -> list[tuple[int, Path, Path]]:
    """(rank, sketch, photo) of the pairs that are asked: given as files, or as a row of a ranking.

    Raises:
        UsageError: neither is given whole, both are, or a file is missing.
    """
    if ranking is not None:
        from zsecli.stages.explain import of_ranking

        if sketch is not None:
            raise UsageError(f"{sketch}: --ranking names the pictures", "leave out the pictures, or --ranking")
        if query is None:
            raise UsageError("--ranking needs --query, the sketch", "--query sketch/cat/1.png")
        drawn, found = of_ranking(ranking, query, rank)
        return [(place, drawn, photo) for place, photo in found]
    refuse(context, ("query", "rank"), "is of --ranking", "add --ranking FILE.h5")
    if sketch is None or not photos:
        raise UsageError(
            "a sketch and a photo are needed", "zse explain sketch.png photo.jpg, or --ranking and --query"
        )
    return [(place, there(sketch), there(photo)) for place, photo in enumerate(photos, 1)]


def check_contrast(ranking: Path, contrast: Path) -> None:
    """Check that a photo given beside a ranking, if it is one of its own, is still what was ranked."""
    from zsecli.retrieval.ranked_pictures import check_named
    from zsecli.store.ranking import open_ranking

    with open_ranking(ranking) as opened:
        check_named(opened, [contrast])


def there(picture: Path) -> Path:
    if not picture.is_file():
        what = "is a folder" if picture.is_dir() else "is a pipe or a device" if picture.exists() else "no such picture"
        raise UsageError(f"{picture}: {what}", "give the path of one picture")
    return picture


def explainer(workspace: _Workspace, context: typer.Context, model: str | None, ranking: Path | None) -> ModelSpec:
    """The model that explains: that of the ranking, unless another is typed or asked for elsewhere."""
    from zsecli.explain.load_network import network_of_ranking
    from zsecli.stages.defaults import model_of as chosen
    from zsecli.store.ranking import open_ranking

    if ranking is None or (model and typed(context, "model")):
        return chosen(workspace, model)
    with open_ranking(ranking) as opened:
        return network_of_ranking(opened)
