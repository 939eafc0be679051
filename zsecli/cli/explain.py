"""`zse explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.runtime import console
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.explain.correspondences import Source

SOURCES = ("cosine", "attention", "contribution")


def explain(
    context: typer.Context,
    sketch: opt.SketchFile = None,
    photo: Annotated[Path | None, typer.Argument(metavar="PHOTO", help="The photo that it is matched with.")] = None,
    ranking: opt.RankingOf = None,
    query: opt.Query = None,
    rank: opt.Rank = "1",
    source: Annotated[
        str,
        opt.choice(
            "--source",
            SOURCES,
            "Of the matches that are shown first: likeness of the tokens after cross-attention; the "
            "cross-attention; what a pair of tokens adds to the relation score.",
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
    from zsecli.explain.load_network import load_network
    from zsecli.stages import explain as stage

    pairs = opt.pairs(context, sketch, [photo] if photo else [], ranking, query, rank)
    if contrast:
        opt.there(contrast)
        if ranking:
            opt.check_contrast(ranking, contrast)
    if not check:
        opt.refuse(context, ("seed",), "is of --check", "add --check")
    ws = Workspace(workspace)
    spec = opt.explainer(ws, context, model, ranking)
    others = outputs.pictures_of(ranking) if ranking and output else []
    targets = []
    for place, drawn, matched in pairs:
        files = [matched, *([contrast] if contrast else [])]
        base = ws.made_of("explanations", spec.tag(), drawn, *files) if output is None else stage.base_of(output)
        base = base.with_name(f"{base.name}-{place}") if output and len(pairs) > 1 else base
        targets.append(base)
        outputs.free(context, stage.outputs(base), overwrite or output is None, [drawn, *files, *others])
    loaded = load_network(spec, device)
    for base, (_, drawn, matched) in zip(targets, pairs, strict=True):
        done = stage.run(
            loaded, spec, drawn, matched, base, source=cast("Source", source), contrast=contrast, check=check, seed=seed
        )
        for name, found in done.check.items():
            said = ", ".join(
                f"{part} area {found[part]['area']:+.4f} (95 % of orders: {found[part]['interval'][0]:+.4f} to "
                f"{found[part]['interval'][1]:+.4f})"
                for part in ("deletion", "insertion")
            )
            console.print_plan(f"{name}: {said} against {stage.ORDERS} random orders; above 0 is better")
        paths = [str(path) for path in done.paths]
        more = {"paths": paths, "relation": done.relation, "check": done.check}
        print(json.dumps({"path": paths[0], **more}) if as_json else console.escape_for_stdout(paths[0]))
