"""`zse explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zsecli import console
from zsecli.cli import options as opt
from zsecli.errors import UsageError
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.explain.correspond import Source

SOURCES = ("cosine", "attention", "contribution")


def explain(
    sketch: opt.SketchFile = None,
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", help="The photo that it is matched with.")] = None,
    ranking: opt.RankingOf = None,
    query: opt.Query = None,
    rank: opt.Rank = "1",
    source: Annotated[
        str,
        typer.Option(
            "--source",
            metavar="|".join(SOURCES),
            help="Of the matches that are shown first: likeness of the tokens after cross-attention; the "
            "cross-attention; what a pair of tokens adds to the relation score.",
            callback=opt.one_of(*SOURCES),
        ),
    ] = "cosine",
    contrast: Annotated[
        Path | None, typer.Option("--contrast", metavar="PHOTO", help="Say why this one rather than that one.")
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Test the sources: take away what they name and put it back, against random orders; the areas go to "
            "stderr, the curves into figure and JSON.",
        ),
    ] = False,
    model: opt.Model = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME",
            help="Write NAME.html, NAME.png, NAME.svg and NAME.json instead of into the workspace.",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    seed: opt.Seed = 0,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Show why a photo matched a sketch: a figure, an interactive page, and the same as JSON.

    \b
      zse explain sketch.png photo.jpg
      zse explain sketch.png photo.jpg --contrast other.jpg --check
      zse explain --ranking zse/rankings/R.h5 --query sketch/cat/1.png --rank 1..5

    Any two pictures will do; nothing needs to be prepared. The path of the page is printed. Open it in a browser: it
    holds its pictures and asks nothing of a network.
    """
    from zsecli import pipeline
    from zsecli.explain import stage

    pairs = opt.pairs(sketch, [photo] if photo else [], ranking, query, rank)
    ws = Workspace(workspace)
    spec = pipeline.model_of(ws, model)
    loaded = stage.network(spec, device)
    printed = []
    for place, drawn, matched in pairs:
        base = opt.base(output, stage.SUFFIXES, ws.root / "explanations", f"{drawn.stem}--{matched.stem}")
        base = base.with_name(f"{base.name}-{place}") if len(pairs) > 1 else base
        there = [base.with_name(base.name + suffix) for suffix in stage.SUFFIXES]
        if output and not overwrite and (old := [path for path in there if path.exists()]):
            raise UsageError(f"{old[0]}: is there already", "pass --overwrite, or another name with -o")
        done = stage.run(
            loaded, spec, drawn, matched, base, source=cast("Source", source), contrast=contrast, check=check, seed=seed
        )
        for name, found in done.check.items():
            said = ", ".join(
                f"{part} area {found[part]['area']:+.4f} ({found[part]['interval'][0]:+.4f} to "
                f"{found[part]['interval'][1]:+.4f})"
                for part in ("deletion", "insertion")
            )
            console.plan(f"{name}: {said}; above 0 is better than random orders")
        printed.append(
            {"path": str(done.paths[0]), "paths": [str(p) for p in done.paths], "relation": done.relation,
             "check": done.check}
        )  # fmt: skip
    for one in printed:
        print(json.dumps(one) if as_json else one["path"])
