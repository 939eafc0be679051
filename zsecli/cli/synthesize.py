"""`zse synthesize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, reject_options, was_typed
from zsecli.runtime import console

if TYPE_CHECKING:
    from zsecli.stages.synthesize import SynthesizedPicture


def synthesize(
    context: typer.Context,
    sketch: opt.SketchFile = None,
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTO", help="The photo that gives the patches; of several the best one for each patch."
        ),
        INPUT,
    ] = None,
    ranking: opt.RankingOf = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            "--query", metavar="ID", help="A sketch of --ranking, by its id or the end of it. May be given again."
        ),
    ] = None,
    rank: opt.Rank = "1",
    strokes_only: Annotated[
        bool, typer.Option("--strokes-only", help="Leave blank patches of the sketch as paper.")
    ] = False,
    mutual: Annotated[
        bool, typer.Option("--mutual", help="Take a photo patch only where it would choose the same sketch patch.")
    ] = False,
    threshold: Annotated[
        float,
        typer.Option("--threshold", metavar="C", min=-1, max=1, help="Leave patches with a lower cosine as paper."),
    ] = -1.0,
    blend: Annotated[
        bool, typer.Option("--blend", help="Average four pictures, shifted by half a patch, so that no seams show.")
    ] = False,
    size: Annotated[int, typer.Option("--size", metavar="N", min=16, max=4096, help="Side in pixels.")] = 448,
    sheet: Annotated[
        Path | None,
        typer.Option("--sheet", metavar="FILE.png", help="Draw a contact sheet of all of them there."),
    ] = None,
    model: opt.Model = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="NAME.png",
            help="Write here, with NAME.map.png and NAME.json beside it, instead of into the workspace.",
        ),
    ] = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Put a photo together from its patches in the sketch's shape.

    \b
      zse synthesize sketch.png photo.jpg --blend
      zse synthesize sketch.png one.jpg two.jpg three.jpg
      zse synthesize --ranking R.h5 --query cat/1.png --query cup/3.png --rank 1..3 --sheet sheet.png

    Each patch of the sketch, blank or not, becomes the photo patch that answers it best (the paper's figure 1c).
    Beside the picture lie a map of where each patch comes from, and numbers: coverage, different patches, mean cosine.
    """
    from zsecli.explain.synthesis import SynthesisOptions
    from zsecli.model.spec import ModelSpec
    from zsecli.stages import synthesize as stage

    if not ranking:
        reject_options(context, ("query", "rank"), "has no effect without --ranking", "add --ranking FILE.h5")
    # a ranking names its model, which a default from elsewhere does not replace
    needs_model = ranking is None or was_typed(context, "model")
    request = stage.SynthesizeRequest(
        sketch=sketch,
        photos=photos or [],
        ranking=ranking,
        queries=query or [],
        ranks=rank,
        options=SynthesisOptions(strokes_only=strokes_only, mutual=mutual, threshold=threshold, blend=blend, size=size),
        sheet=sheet,
        model=ModelSpec.parse(model) if model and needs_model else None,
        output=output,
        overwrite=overwrite,
        device=device,
        workspace=workspace,
        protected=input_files(context),
    )
    stage.run(request, on_synthesized=lambda picture: _print(picture, as_json))


def _print(picture: SynthesizedPicture, as_json: bool) -> None:
    """Print the path of a picture, or all of it as JSON; its numbers go to stderr too."""
    paths = [str(path) for path in picture.paths]
    if as_json:
        print(json.dumps({"path": paths[0], "paths": paths, **picture.numbers}))
    else:
        print(console.escape_for_stdout(paths[0]))
    console.print_info(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in picture.numbers.items()))
