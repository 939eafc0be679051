"""Options that every command spells alike."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli.arguments import INPUT
from zsecli.cli.callbacks import check_device, choice, set_debug, set_quiet
from zsecli.cli.config_file import defaults
from zsecli.model.spec import HELP
from zsecli.vocabulary import COLUMNS, PRECISIONS, SCORING_RULES
from zsecli.workspace import Workspace

DEFAULT_WORKSPACE = Workspace().root


Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No notes and no progress.", callback=set_quiet)]
Debug = Annotated[
    bool,
    typer.Option(
        "--debug", envvar="ZSE_DEBUG", help="Show the traceback of an error.", callback=set_debug, is_eager=True
    ),
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
    INPUT,
]
WorkspaceDir = Annotated[
    Path,
    typer.Option(
        "--workspace",
        metavar="FOLDER",
        envvar="ZSE_WORKSPACE",
        help="Folder of the stores and checkpoints that are given no path.",
    ),
]
Output = Annotated[
    Path | None, typer.Option("-o", "--output", metavar="FILE.h5", help="Write here instead of into the workspace.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what -o names, if it holds something else.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Say what would be done, without doing it.")]
Model = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODEL",
        envvar="ZSE_MODEL",
        help=f"{HELP}. Default: the workspace's newest checkpoint, else small.",
    ),
    INPUT,
]
Device = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda:N",
        envvar="ZSE_DEVICE",
        help="Where the model runs; auto: on the GPU where there is one.",
        callback=check_device,
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        metavar="N",
        min=1,
        help="Batch size per thread. Default: 4 on a CPU, 128 on a GPU, less if its memory is full.",
    ),
]
Workers = Annotated[
    int,
    typer.Option(
        "--workers", metavar="N", min=0, max=1024, help="Processes that decode pictures; 0: this one decodes."
    ),
]
Shard = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Process shard I of N, for batch systems; the last shard to finish merges them. Not needed under "
        "torchrun.",
    ),
]
Precision = Annotated[
    str,
    choice(
        "--precision",
        PRECISIONS,
        "What networks compute in. bf16: 1.5 to 2 times as fast, if the processor has it. fp16: on a GPU. "
        "docs/performance.md has the cost of both.",
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
        SCORING_RULES,
        f"{SCORING_RULES.describe()}. Default: cascade if the model has a relation network, else ret.",
    ),
]
Shortlist = Annotated[
    int, typer.Option("--shortlist", metavar="N", min=1, help="Photos per query that the cascade re-ranks.")
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
    bool, typer.Option("--center/--no-center", show_default=False, help="Subtract each modality's mean [Ret] first.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="Random seed.")]
SketchFile = Annotated[Path | None, typer.Argument(metavar="SKETCH", help="The sketch, a picture."), INPUT]
RankingOf = Annotated[
    Path | None,
    typer.Option("--ranking", metavar="FILE.h5", help="Take the pictures from a ranking instead, with --query."),
    INPUT,
]
Query = Annotated[
    str | None, typer.Option("--query", metavar="ID", help="The sketch of --ranking, by its id or the end of it.")
]
Rank = Annotated[str, typer.Option("--rank", metavar="1..5", help="The photos of --ranking: 3, or 1,4, or 1..5.")]
