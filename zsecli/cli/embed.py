"""`zse embed`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files, reject_options
from zsecli.cli.callbacks import choice
from zsecli.cli.results import finish, print_lines
from zsecli.errors import UsageError
from zsecli.runtime import console
from zsecli.runtime.textfiles import decode_text
from zsecli.vocabulary import MODALITIES, PARTS
from zsecli.workspace import Workspace

if TYPE_CHECKING:
    from zsecli.model.spec import ModelSpec

PART_CHOICES = (*PARTS[::-1], "all")
MODALITY_CHOICES = (*MODALITIES, "auto")


def embed(
    context: typer.Context,
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="INPUT",
            help="A dataset store, or pictures, folders, and - for a list on stdin, one a line or ended by zero bytes. "
            "Default: the data set prepared last.",
        ),
        INPUT,
    ] = None,
    model: opt.Model = None,
    data: opt.Data = None,
    part: Annotated[
        str,
        choice("--part", PART_CHOICES, "Part of a data set; unseen is what benchmarks evaluate."),
    ] = "unseen",
    split: Annotated[
        str | None,
        typer.Option("--split", metavar="NAME", help="Embed what this split of the data set needs, not a part."),
    ] = None,
    modality: Annotated[
        str,
        choice(
            "--modality",
            MODALITY_CHOICES,
            "What picture inputs are; auto: decided for each by its looks.",
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
    from zsecli.runtime.shards import current_shard
    from zsecli.stages import embed as stage
    from zsecli.stages.defaults import Compute

    shard_of_process = context.with_resource(current_shard(shard))
    inputs = inputs or []
    store = _find_store(inputs)
    is_dataset = store is not None or not inputs
    if is_dataset:
        reject_options(
            context, ("modality",), "has no effect on a data set", "its pictures are sketches and photos already"
        )
        if store is not None:
            reject_options(context, ("data",), "names another data set", "leave out one of the two")
        if split is not None:
            reject_options(context, ("part",), "cannot be combined with --split", "leave out one of the two")
    else:
        reject_options(
            context,
            ("data", "part", "split"),
            "cannot be combined with picture inputs",
            "leave out the pictures, or the option",
        )
    spec = _choose_model(context, workspace, model)
    listed = [] if is_dataset or "-" not in inputs else [Path(path) for path in _read_list()]
    pictures: list[Path] = []
    for text in inputs:
        pictures += listed if text == "-" else [Path(text)]
    request = stage.EmbedRequest(
        pictures=None if is_dataset else pictures,
        listed=listed,
        dataset=store,
        data=data,
        part=part,
        split=split,
        modality=modality,
        model=spec,
        compute=Compute(
            device=device, batch_size=batch_size, workers=workers, precision=precision, shard=shard_of_process
        ),
        output=output,
        overwrite=overwrite,
        dry_run=dry_run,
        workspace=workspace,
        protected=input_files(context),
    )
    result = stage.run(request, progress=console.show_progress)
    print_lines(result.plan)
    if not dry_run and shard_of_process.is_main and result.path.is_file():  # a shard may have no rows
        rest = "" if is_dataset else " PHOTOS.h5 --top 5"
        hint = f"zse match {shlex.quote(str(result.path))}{rest}"
        finish(result.path, result.fresh, result.skipped, as_json, hint, passed_over=result.passed_over)


def _choose_model(context: typer.Context, workspace: Path, text: str | None) -> ModelSpec:
    from zsecli.stages.defaults import choose_model

    spec = choose_model(Workspace(workspace), text)
    if not spec.is_network:
        reject_options(context, ("precision",), f"has no effect with {spec.text}", "leave it out")
    return spec


def _find_store(inputs: list[str]) -> Path | None:
    """The dataset store among the inputs, which then is the only one; None where all are pictures."""
    if "" in inputs:
        raise UsageError("an input is empty text", "give . for the folder you are in")
    stores = [path for path in map(Path, inputs) if path.suffix == ".h5" or _is_hdf5(path)]
    if stores and len(inputs) > 1:
        raise UsageError(f"{stores[0]}: a dataset store is embedded by itself", "run zse embed once for each input")
    return stores[0] if stores else None


def _is_hdf5(path: Path) -> bool:
    try:
        if not path.is_file():  # opening a FIFO would block
            return False
        with path.open("rb") as file:
            return file.read(8) == b"\x89HDF\r\n\x1a\n"
    except OSError:
        return False


def _read_list() -> list[str]:
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
