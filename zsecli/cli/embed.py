"""`zse embed`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli import outputs
from zsecli.cli.results import finish
from zsecli.errors import UsageError
from zsecli.runtime.textfiles import decode_text
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.model.spec import ModelSpec

PARTS, MODALITIES = ("unseen", "seen", "all"), ("sketch", "photo", "auto")


def embed(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="A dataset store, or pictures, folders, and - for a list on stdin, one a line or ended by zero bytes. "
            "Default: the data set prepared last.",
        ),
    ] = None,
    model: opt.Model = None,
    data: opt.Data = None,
    part: Annotated[
        str,
        opt.choice("--part", PARTS, "Part of a data set; unseen is what benchmarks evaluate."),
    ] = "unseen",
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Embed what this split of the data set needs, not a part of it."),
    ] = None,
    modality: Annotated[
        str,
        opt.choice(
            "--modality",
            MODALITIES,
            "What pictures without a data set are; auto: each is looked at.",
        ),
    ] = "auto",
    output: opt.Output = None,
    overwrite: opt.Overwrite = False,
    device: opt.Device = "auto",
    batch_size: opt.BatchSize = None,
    workers: opt.Workers = 0,
    precision: opt.Precision = "fp32",
    shard: opt.Shard = None,
    dry_run: opt.DryRun = False,
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Compute the features of pictures, [Ret] and tokens, into a feature store.

    \b
      zse embed
      zse embed sketch.png photos/ --model checkpoint.safetensors
      find pictures -name '*.jpg' | zse embed - --modality photo
      torchrun --nproc-per-node=2 -m zsecli embed --data sketchy

    [Ret] is one vector for the whole picture, a token one for a place in it. A store that holds just
    these features already is left as it is; a run that was stopped goes on. Files that cannot be read
    and blank sketches are listed and left out, and the exit code is 4. Sketches drawn bright on dark
    are inverted.
    """
    from zsecli.data.folder_walk import workspace_folders
    from zsecli.data.picture_list import find_pictures
    from zsecli.data.splits import Split
    from zsecli.runtime.shards import current_shard
    from zsecli.stages import defaults

    part_of = context.with_resource(current_shard(shard))
    ws, compute = Workspace(workspace), defaults.Compute(device, batch_size, workers, precision, part_of, dry_run)
    outputs.apart(context, output)
    store = _only_store(inputs or [])
    if store or not inputs:
        opt.refuse(context, ("modality",), "has no say in a data set", "its pictures are sketches and photos already")
        if store:
            opt.refuse(context, ("data",), "names another data set", "leave out one of the two")
        if split is not None:
            opt.refuse(context, ("part",), "has no say where --split is given", "leave out one of the two")
        spec = _model(context, ws, model)
        store = store or defaults.dataset_of(ws, data, dry_run)
        chosen = Split.parse(split) if split is not None else part
        result = defaults.embed_dataset(ws, store, spec, chosen, compute, output, overwrite)
        others = ""
    else:
        opt.refuse(
            context, ("data", "part", "split"), "has no say in single pictures", "leave out the pictures, or the option"
        )
        spec = _model(context, ws, model)
        listed = [Path(path) for path in _list()] if "-" in inputs else []
        paths = [path for text in inputs for path in (listed if text == "-" else [Path(text)])]
        pictures = find_pictures(paths, listed, workspace_folders(ws.root))
        result = defaults.embed_pictures(ws, pictures, spec, modality, compute, output, overwrite)
        others = " PHOTOS.h5 --top 5"
    if not dry_run and part_of.is_main and result.path.is_file():  # a shard may have no rows
        hint = f"zse match {shlex.quote(str(result.path))}{others}"
        finish(result.path, result.fresh, result.skipped, as_json, hint, passed_over=result.passed_over)


def _model(context: typer.Context, workspace: Workspace, text: str | None) -> ModelSpec:
    from zsecli.stages import defaults

    spec = defaults.model_of(workspace, text)
    if not spec.is_network:
        opt.refuse(context, ("precision",), f"has no say in {spec.text}", "leave it out")
    return spec


def _only_store(inputs: list[str]) -> Path | None:
    """The dataset store among the inputs, which then is the only one; None where all are pictures."""
    if "" in inputs:
        raise UsageError("an input is empty text", "give . for the folder you are in")
    stores = [path for path in map(Path, inputs) if path.suffix == ".h5" or _is_hdf5(path)]
    if stores and len(inputs) > 1:
        raise UsageError(f"{stores[0]}: a dataset store is embedded by itself", "run zse embed once for each input")
    return stores[0] if stores else None


def _is_hdf5(path: Path) -> bool:
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


def _list() -> list[str]:
    """Paths on stdin, one a line, or each with a zero byte behind it (`find -print0`); a name may be any bytes."""
    if sys.stdin.isatty():
        raise UsageError(
            "- reads a list of pictures from stdin, and nothing is piped in",
            "find pictures -name '*.jpg' | zse embed -",
        )
    try:
        text = decode_text(sys.stdin.buffer.read(), "surrogateescape")
    except UnicodeDecodeError as error:
        raise UsageError(f"the list on stdin is no text: {error}", "save it as UTF-8") from error
    lines = text.split("\0") if "\0" in text else [line.removesuffix("\r") for line in text.split("\n")]
    return [line for line in lines if line.strip()]
