"""`zse explain`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, reject_options, was_typed
from zsecli.cli.callbacks import choice
from zsecli.cli.results import print_lines
from zsecli.runtime import console
from zsecli.vocabulary import EXPLANATION_SOURCES

if TYPE_CHECKING:
    from zsecli.stages.explain import Explanation


def explain(
    context: typer.Context,
    sketch: opt.SketchFile = None,
    photo: Annotated[
        Path | None, typer.Argument(metavar="PHOTO", help="The photo that it is matched with."), INPUT
    ] = None,
    ranking: opt.RankingOf = None,
    query: opt.Query = None,
    rank: opt.Rank = "1",
    source: Annotated[
        str | None,
        choice(
            "--source",
            EXPLANATION_SOURCES,
            f"Which correspondences to show first. Default: those that explain the network best. "
            f"{EXPLANATION_SOURCES.describe()}.",
        ),
    ] = None,
    contrast: Annotated[
        Path | None,
        typer.Option("--contrast", metavar="PHOTO", help="Explain why the first photo matches rather than this one."),
        INPUT,
    ] = None,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Test the sources: delete and insert the patches that they name, against random orders; the areas go "
            "to stderr, the curves into figure and JSON.",
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
    from zsecli.model.spec import ModelSpec
    from zsecli.stages import explain as stage

    if not check:
        reject_options(context, ("seed",), "has no effect without --check", "add --check")
    if not ranking:
        reject_options(context, ("query", "rank"), "has no effect without --ranking", "add --ranking FILE.h5")
    # a ranking names its model, which a default from elsewhere does not replace
    needs_model = ranking is None or was_typed(context, "model")
    request = stage.ExplainRequest(
        sketch=sketch,
        photo=photo,
        ranking=ranking,
        query=query,
        ranks=rank,
        source=source,
        contrast=contrast,
        check=check,
        model=ModelSpec.parse(model) if model and needs_model else None,
        output=output,
        overwrite=overwrite,
        seed=seed,
        device=device,
        workspace=workspace,
        protected=input_files(context),
    )
    stage.run(request, on_explained=lambda explanation: _print(explanation, as_json))


def _print(explanation: Explanation, as_json: bool) -> None:
    """Print the path of the page, or all of an explanation as JSON; the areas of a test go to stderr."""
    from zsecli.stages.explain import RANDOM_ORDERS

    for source, result in explanation.check.items():
        areas = []
        for name in ("deletion", "insertion"):
            low, high = result[name]["interval"]
            areas.append(f"{name} area {result[name]['area']:+.4f} (95 % of orders: {low:+.4f} to {high:+.4f})")
        line = f"{source}: {', '.join(areas)} against {RANDOM_ORDERS} random orders; above 0 is better"
        print_lines([line])
    paths = [str(path) for path in explanation.paths]
    if as_json:
        document = {"path": paths[0], "paths": paths, "relation": explanation.relation, "check": explanation.check}
        print(json.dumps(document))
    else:
        print(console.escape_for_stdout(paths[0]))
