"""`zse train`."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files
from zsecli.cli.callbacks import choice
from zsecli.cli.results import finish, print_lines
from zsecli.errors import UsageError
from zsecli.runtime import console


def train(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="A prepared data set, by its name. Default: the one prepared last."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option("--preset", metavar="NAME", help="Network and training defaults: paper, released, small."),
    ] = "paper",
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", metavar="NAME", help="Another timm backbone (of small: another trunk)."),
    ] = None,
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            "--backbone-weights", metavar="FILE", help="Its weights in timm's names. Default: timm fetches them."
        ),
        INPUT,
    ] = None,
    backbone_from: Annotated[
        Path | None,
        typer.Option(
            "--backbone-from",
            metavar="FILE.safetensors",
            help="Begin with the backbone of this checkpoint, and new heads.",
        ),
        INPUT,
    ] = None,
    scratch: Annotated[bool, typer.Option("--scratch", help="Begin with random weights in the backbone too.")] = False,
    partition: Annotated[
        str,
        typer.Option("--partition", metavar="NAME", help="Train on the seen classes of this split, as 21 of sketchy."),
    ] = "",
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="Name of the checkpoint. Default: DATASET-PRESET.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE.safetensors", help="Write here instead of into the workspace."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the checkpoint of another run.")] = False,
    epochs: Annotated[
        int | None, typer.Option("--epochs", metavar="N", min=1, help="Each ends with a validation.")
    ] = None,
    epoch_draws: Annotated[
        int | None, typer.Option("--epoch-draws", metavar="N", min=1, help="Pairs drawn in an epoch.")
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", min=1, help="Pairs in one step, over all processes."),
    ] = None,
    accumulate: Annotated[
        int | None,
        typer.Option(
            "--accumulate",
            metavar="N",
            min=1,
            help="Parts of each step, computed in turn to save memory.",
        ),
    ] = None,
    ret_loss: Annotated[
        str | None,
        choice(
            "--ret-loss",
            ("triplet", "contrastive", "prototypes"),
            "Of [Ret]: triplet, contrastive over the batch, or prototypes of the classes.",
        ),
    ] = None,
    ret_weight: Annotated[
        float | None, typer.Option("--ret-weight", metavar="W", min=0, help="Weight of the loss on [Ret].")
    ] = None,
    margin: Annotated[float | None, typer.Option("--margin", metavar="D", help="Margin of the triplet loss.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", min=1e-3, help="Temperature of the contrastive loss.")
    ] = None,
    match_weight: Annotated[
        float | None,
        typer.Option(
            "--relation-weight",
            "--match-weight",
            metavar="W",
            min=0,
            help="Weight of the loss on the relation score. --match-weight is its former name.",
        ),
    ] = None,
    high: Annotated[
        float | None, typer.Option("--high", metavar="S", min=0, max=1, help="Relation score of matching pairs.")
    ] = None,
    low: Annotated[
        float | None, typer.Option("--low", metavar="S", min=0, max=1, help="Relation score of other pairs.")
    ] = None,
    instance_share: Annotated[
        float | None,
        typer.Option(
            "--instance-share",
            metavar="S",
            min=0,
            max=1,
            help="Share of the draws that ask for the sketch's own photo among others of its class.",
        ),
    ] = None,
    class_draws: Annotated[
        str | None,
        choice("--class-draws", ("uniform", "sketches"), "Draw every class as often, or as often as it has sketches."),
    ] = None,
    hard_negatives: Annotated[
        bool | None,
        typer.Option(
            "--hard-negatives/--drawn-negatives",
            show_default=False,
            help="Pairs that do not match: the batch's most similar ones, or drawn ones.",
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            "--candidates",
            metavar="N",
            min=0,
            help="Pairs for the relation loss: each sketch with its N most similar photos of the batch, whether they "
            "match or not; 0: with a matching photo and one that does not.",
        ),
    ] = None,
    outlines: Annotated[
        int | None,
        typer.Option(
            "--outlines",
            metavar="N",
            min=0,
            help="Photos per step used for the outline loss: each is warped and matched to its own edge drawing.",
        ),
    ] = None,
    outline_weight: Annotated[
        float | None,
        typer.Option("--outline-weight", metavar="W", min=0, help="Weight of the outline loss."),
    ] = None,
    draws: Annotated[
        str | None,
        opt.choice(
            "--draws", ("pairs", "pictures"), "Draw matching sketches and photos together, or each picture by itself."
        ),
    ] = None,
    photos: Annotated[
        int | None, typer.Option("--photos", metavar="N", min=1, help="With --draws pictures: photos in one step.")
    ] = None,
    family_weights: Annotated[
        list[str] | None,
        typer.Option(
            "--family-weight",
            metavar="FAMILY=W",
            help="With --draws pictures: draw a picture of this family W times as often. Repeatable.",
        ),
    ] = None,
    distill_weight: Annotated[
        float | None,
        typer.Option(
            "--distill-weight",
            metavar="W",
            min=0,
            help="Weight of the loss that holds photos to the class probabilities of the untouched backbone.",
        ),
    ] = None,
    name_weight: Annotated[
        float | None,
        typer.Option(
            "--name-weight",
            metavar="W",
            min=0,
            help="Weight of the loss by which sketches of a noun are classified as the ImageNet classes of that name.",
        ),
    ] = None,
    own_weight: Annotated[
        float | None,
        typer.Option(
            "--own-weight", metavar="W", min=0, help="Weight of the loss by which outlines find their own photo."
        ),
    ] = None,
    relation_loss: Annotated[
        str | None,
        opt.choice("--relation-loss", ("squared", "ranking"), "Squared error of pairs, or choice among candidates."),
    ] = None,
    average: Annotated[
        float | None,
        typer.Option(
            "--average", metavar="D", min=0, max=0.9999, help="Keep the running mean of the weights, with decay D."
        ),
    ] = None,
    freehand: Annotated[
        float | None,
        typer.Option(
            "--freehand", metavar="S", min=0, max=1, help="Strength of bent and interrupted lines in sketches."
        ),
    ] = None,
    paste: Annotated[
        float | None,
        typer.Option(
            "--paste", metavar="S", min=0, max=1, help="Share of photos of things on white to put into other photos."
        ),
    ] = None,
    ignore_same: opt.IgnoreSame = None,
    augment: Annotated[
        float | None,
        typer.Option("--augment", metavar="S", min=0, max=1, help="Strength of the augmentation of pictures."),
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", metavar="R", min=0, help="Learning rate of the backbone.")] = None,
    head_lr: Annotated[
        float | None, typer.Option("--head-lr", metavar="R", min=0, help="Learning rate of all that is new.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", metavar="R", min=0, help="Of AdamW.")] = None,
    schedule: Annotated[
        str | None,
        choice("--schedule", ("constant", "cosine"), "Schedule of the learning rates."),
    ] = None,
    warmup: Annotated[
        int | None, typer.Option("--warmup", metavar="N", min=0, help="Steps of linear warm-up of the learning rates.")
    ] = None,
    clip: Annotated[
        float | None,
        typer.Option("--clip", metavar="G", min=0, help="Clip the gradient norm to G; 0: do not clip."),
    ] = None,
    precision: Annotated[
        str | None,
        choice("--precision", ("fp32", "bf16"), "Precision of the forward pass."),
    ] = None,
    freeze_stride: Annotated[
        int | None,
        typer.Option(
            "--freeze-stride",
            metavar="N",
            min=0,
            help="Keep a hybrid's trunk as it is up to its map of this stride (2, 4, 8, 16); 0: none of it.",
        ),
    ] = None,
    freeze_blocks: Annotated[
        int | None,
        typer.Option(
            "--freeze-blocks",
            metavar="N",
            min=0,
            help="Keep the patch embedding (of small: the trunk) and N blocks as they are; without --augment what they "
            "make of a picture is computed once.",
        ),
    ] = None,
    keep_rate: Annotated[
        float | None,
        typer.Option("--keep-rate", metavar="S", min=0.01, max=1, help="Share of tokens that each selection keeps."),
    ] = None,
    selection_after: Annotated[
        int | None, typer.Option("--selection-after", metavar="N", min=0, help="Epochs before token selection begins.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", metavar="N", min=0, help="Stop after N epochs without a better validation; 0: never."
        ),
    ] = None,
    swap: Annotated[
        str | None,
        choice("--swap", ("q", "k"), "What cross-attention takes from the other picture."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        choice("--tokenizer", ("off", "sketch", "both"), "Where the learnable tokens join."),
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", min=0, help="Random seed.")] = None,
    device: opt.Device = "auto",
    workers: opt.Workers = 0,
    dry_run: opt.DryRun = False,
    as_json: opt.Json = False,
    workspace: opt.WorkspaceDir = opt.DEFAULT_WORKSPACE,
    quiet: opt.Quiet = False,
    debug: opt.Debug = False,
    config: opt.Config = None,
) -> None:
    """Train one network for every zero-shot variant, on the seen part of a prepared data set.

    \b
      zse train sketchy
      zse train sketchy --preset small --backbone-weights tf_efficientnet_lite0.safetensors
      torchrun --nproc-per-node=2 -m zsecli train sketchy

    The preset gives the default of every option. A tenth of the seen classes and a twentieth of the other objects are
    held out, and the network that is best on them is kept; no unseen class is looked at. A run that was stopped
    resumes from its last state and ends with the same weights. The folder `.run` beside the checkpoint has the last
    network, the log and its curve.
    """
    from zsecli.runtime.distributed import get_launch
    from zsecli.stages import train as stage

    launch = get_launch()  # first, as it says where torchrun's variables are ignored
    changes = {name: context.params[name] for name in TRAINING_OPTIONS if context.params[name] is not None}
    if family_weights is not None:
        changes["family_weights"] = tuple(_parse_family_weight(text) for text in family_weights)
    request = stage.TrainRequest(
        dataset=dataset,
        partition=partition,
        preset=preset,
        changes=changes,
        backbone=backbone,
        backbone_weights=backbone_weights,
        backbone_from=backbone_from,
        scratch=scratch,
        swap=swap,
        tokenizer=tokenizer,
        name=name,
        output=output,
        overwrite=overwrite,
        device=device,
        workers=workers,
        dry_run=dry_run,
        workspace=workspace,
        protected=input_files(context),
    )
    result = stage.run(request, progress=console.show_progress)
    if dry_run:
        _print_plan(result.plan, as_json)
        return
    if launch.rank == 0:  # of torchrun's processes the one that talks to the user
        hint = f"zse evaluate --data {shlex.quote(result.dataset)} --model {shlex.quote(str(result.path))}"
        finish(result.path, result.fresh, [], as_json, hint, validation=result.validation)


TRAINING_OPTIONS = (
    "seed",
    "epochs",
    "epoch_draws",
    "batch_size",
    "accumulate",
    "ret_loss",
    "ret_weight",
    "margin",
    "temperature",
    "match_weight",
    "high",
    "low",
    "instance_share",
    "class_draws",
    "hard_negatives",
    "candidates",
    "outlines",
    "outline_weight",
    "ignore_same",
    "augment",
    "lr",
    "head_lr",
    "weight_decay",
    "schedule",
    "warmup",
    "clip",
    "precision",
    "freeze_stride",
    "freeze_blocks",
    "keep_rate",
    "selection_after",
    "patience",
    "draws",
    "photos",
    "family_weights",
    "distill_weight",
    "name_weight",
    "own_weight",
    "relation_loss",
    "average",
    "freehand",
    "paste",
)
"""Parameters of `train` that replace fields of the same name in a preset's `zsecli.train.config.TrainConfig`."""


def _parse_family_weight(text: str) -> tuple[str, float]:
    """FAMILY=W as the two."""
    name, equals, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not equals or not name or not 0 <= value < float("inf"):
        raise UsageError(f"--family-weight {text}: expected FAMILY=W with W at least 0", "--family-weight quickdraw=20")
    return name, value


def _print_plan(plan: dict[str, Any], as_json: bool) -> None:
    """Print what a run would do and need: as JSON, or a line for each number on stderr."""
    if as_json:
        print(json.dumps(plan))
        return
    for name, value in plan.items():
        text = str(value)
        if name.startswith("memory"):
            text = f"{value / 2**20:,.0f} MiB"
        elif isinstance(value, int):
            text = f"{value:,}"
        print_lines([f"{name}: {text}"])
