"""`zse synthesize`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.errors import UsageError
from zsecli.runtime import console
from zsecli.workspace import Workspace


def synthesize(
    context: typer.Context,
    sketch: opt.SketchFile = None,
    photos: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="PHOTO", help="The photo that gives the patches; of several the best one for each patch."
        ),
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
        bool, typer.Option("--blend", help="Average four pictures, moved by half a patch: no seams.")
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
    from zsecli.explain.load_network import load_network
    from zsecli.explain.synthesis import SynthesisOptions
    from zsecli.explain.synthesis import synthesize as put_together
    from zsecli.render import synthesis_sheet as sheets

    queries: list[str | None] = [*query] if query else [None]
    asked = [opt.pairs(context, sketch, photos or [], ranking, one, rank) for one in queries]
    for name, file in (("-o", output), ("--sheet", sheet)):
        if file is not None and file.suffix.lower() != ".png":
            raise UsageError(f"{name} {file}: is no name of a PNG picture", f"{name} picture.png")
    ws = Workspace(workspace)
    spec = opt.explainer(ws, context, model, ranking)
    how = SynthesisOptions(strokes_only, mutual, threshold, blend, size)
    rows = [(found[0][1], [photo for _, _, photo in found]) for found in asked]
    targets = []
    for number, (drawn, sources) in enumerate(rows, 1):
        base = ws.made_of("syntheses", f"{spec.tag()} {how}", drawn, *sources)
        target = output or base.with_name(f"{base.name}.png")
        targets.append(target.with_stem(f"{target.stem}-{number}") if output and len(rows) > 1 else target)
    inputs = [picture for drawn, sources in rows for picture in (drawn, *sources)]
    written = [path for target in targets for path in sheets.synthesis_paths(target)]
    if ranking and (output or sheet):
        inputs += outputs.pictures_of(ranking)
    outputs.free(context, written, overwrite or output is None, inputs)
    if sheet and sheet.resolve() in [path.resolve() for path in written]:
        raise UsageError(f"--sheet {sheet}: would be written twice", "give different names")
    outputs.free(context, [sheet] if sheet else [], overwrite, inputs)
    loaded, about = load_network(spec, device), {"name": spec.name, "weights": spec.weights_hash()}
    made = []
    for target, (drawn, sources) in zip(targets, rows, strict=True):
        made.append(put_together(loaded, drawn, sources, how))
        paths = [str(path) for path in sheets.write_synthesis(made[-1], target, about)]
        said = sheets.describe_synthesis(made[-1], about)
        numbers = {name: said[name] for name in ("coverage", "distinct", "mean_score")}
        print(
            json.dumps({"path": paths[0], "paths": paths, **numbers})
            if as_json
            else console.escape_for_stdout(paths[0])
        )
        console.print_info(", ".join(f"{name.replace('_', ' ')} {value}" for name, value in numbers.items()))
    if sheet:
        sheets.write_synthesis_sheet(made, sheet)
        console.print_info(f"contact sheet: {sheet}")
