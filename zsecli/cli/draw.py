"""`zse draw`."""

from __future__ import annotations

from typing import Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import signals
from zsecli.runtime import console
from zsecli.workspace import Workspace

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
    ] = None,
    model: opt.Model = None,
    top: Annotated[int, typer.Option("--top", metavar="N", min=1, max=500, help="Hits to show at first.")] = 24,
    shortlist: Annotated[
        int,
        typer.Option("--shortlist", metavar="N", min=1, help="Photos that are re-ranked when the hand rests."),
    ] = 24,
    by: Annotated[
        str | None,
        opt.choice(
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
    from zsecli.serve import server
    from zsecli.stages import defaults
    from zsecli.stages.draw import find_photos

    allowed = tuple(allow_host or ())
    server.check_installed()
    server.check_host(host, allowed)
    found = find_photos(
        Workspace(workspace), photos, model, defaults.Compute(device), model_typed=opt.typed(context, "model")
    )
    request = server.ServeOptions(
        store=found.store,
        name=found.name,
        model=found.model,
        top=top,
        shortlist=shortlist,
        by=by,
        host=host,
        port=port,
        allow_hosts=allowed,
        browser=browser,
        device=device,
    )
    signals.farewell = "the page is closed"  # there is nothing to go on from
    server.serve(request, lambda address: print(console.escape_for_stdout(address), flush=True))
