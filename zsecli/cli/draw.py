"""`zse draw`."""

from __future__ import annotations

from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import signals
from zsecli.cli.arguments import INPUT, was_typed
from zsecli.cli.callbacks import choice
from zsecli.runtime import console

BY = ("ret", "cascade")


def draw(
    context: typer.Context,
    photos: Annotated[
        str | None,
        typer.Argument(
            metavar="PHOTOS",
            help="A feature store, a folder of photos, or a data set by its name. Default: the photos shipped with "
            "zse.",
        ),
        INPUT,
    ] = None,
    model: opt.Model = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, max=500, help="Hits to show at first.")] = 24,
    shortlist: Annotated[
        int,
        typer.Option("--shortlist", metavar="N", min=1, help="Photos that are re-ranked when the hand rests."),
    ] = 24,
    by: Annotated[
        str | None,
        choice(
            "--by",
            BY,
            "ret: distance of [Ret]; cascade: the best by [Ret], re-ranked by relation score. Default: cascade where "
            "the model has a relation network, else ret.",
        ),
    ] = None,
    port: Annotated[
        int,
        typer.Option(
            "--port", metavar="N", min=0, max=65535, help="Port to listen at, or the next free one; 0: any free one."
        ),
    ] = 8788,
    browser: Annotated[
        bool, typer.Option("--browser/--no-browser", show_default=False, help="Open the page in the browser.")
    ] = True,
    host: Annotated[
        str,
        typer.Option(
            "--host", metavar="ADDRESS", help="Address to listen at; by default only this machine reaches the page."
        ),
    ] = "127.0.0.1",
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            "--allow-host",
            metavar="NAME",
            help="A further name by which browsers may address the page; needed with --host. May be given again.",
        ),
    ] = None,
    device: opt.Device = "auto",
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Draw on a page and see which photos match, and why, while you draw.

    \b
      zse draw
      zse draw photos/
      zse draw photos.h5 --no-browser

    The address of the page is printed, with the token of this run, and opened in the browser. Only this machine can
    reach it. Photos in a folder are embedded first; besides that nothing is written. Ctrl-C ends it. Needs the extra
    draw: pip install 'zse[draw]'.
    """
    from zsecli.stages import draw as stage
    from zsecli.stages.defaults import Compute

    is_model_typed = was_typed(context, "model")
    request = stage.DrawRequest(
        photos=photos,
        model=model if is_model_typed else None,
        default_model=model,
        top=top,
        shortlist=shortlist,
        by=by,
        host=host,
        port=port,
        allow_hosts=allow_host or [],
        browser=browser,
        compute=Compute(device=device),
        workspace=workspace,
    )
    signals.farewell = "the page is closed"  # there is no work to continue
    stage.run(
        request,
        announce=lambda address: print(console.escape_for_stdout(address), flush=True),
        on_skipped=console.print_skipped,
        progress=console.show_progress,
    )
