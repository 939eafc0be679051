"""`zse train`."""

from __future__ import annotations

import dataclasses
import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from zsecli.cli import options as opt
from zsecli.cli.arguments import INPUT, input_files
from zsecli.cli.callbacks import choice
from zsecli.cli.results import finish
from zsecli.errors import UsageError
from zsecli.runtime import console
from zsecli.workspace import Workspace


def train(
    context: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Argument(metavar="DATASET", help="A prepared data set, by its name. Default: the one prepared last."),
    ] = None,
    preset: Annotated[
        str,
        typer.Option("--preset", metavar="NAME", help="Network and way of training: paper, released, small."),
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
        str | None, typer.Option("--name", metavar="NAME", help="Of the checkpoint. Default: DATASET-PRESET.")
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
        typer.Option("--accumulate", metavar="N", min=1, help="Parts of a step, one after the other, to save memory."),
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
    margin: Annotated[float | None, typer.Option("--margin", metavar="D", help="Of the triplet loss.")] = None,
    temperature: Annotated[
        float | None, typer.Option("--temperature", metavar="T", min=1e-3, help="Of the contrastive loss.")
    ] = None,
    match_weight: Annotated[
        float | None,
        typer.Option("--match-weight", metavar="W", min=0, help="Weight of the loss on the relation score."),
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
            help="Photos of a step that are moved at random and asked where the strokes of their own outline are.",
        ),
    ] = None,
    outline_weight: Annotated[
        float | None,
        typer.Option("--outline-weight", metavar="W", min=0, help="Weight of the loss on what --outlines asks."),
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
        typer.Option("--augment", metavar="S", min=0, max=1, help="Strength of the random changes of pictures."),
    ] = None,
    lr: Annotated[float | None, typer.Option("--lr", metavar="R", min=0, help="Learning rate of the backbone.")] = None,
    head_lr: Annotated[
        float | None, typer.Option("--head-lr", metavar="R", min=0, help="Learning rate of all that is new.")
    ] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", metavar="R", min=0, help="Of AdamW.")] = None,
    schedule: Annotated[
        str | None,
        choice("--schedule", ("constant", "cosine"), "Of the learning rates."),
    ] = None,
    warmup: Annotated[
        int | None, typer.Option("--warmup", metavar="N", min=0, help="Steps in which the learning rates rise.")
    ] = None,
    clip: Annotated[
        float | None, typer.Option("--clip", metavar="G", min=0, help="Largest norm of a gradient; 0: any.")
    ] = None,
    precision: Annotated[
        str | None,
        choice("--precision", ("fp32", "bf16"), "Of the forward pass."),
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
        int | None, typer.Option("--selection-after", metavar="N", min=0, help="Epochs without selection before.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience", metavar="N", min=0, help="Stop after N epochs without a better validation; 0: never."
        ),
    ] = None,
    swap: Annotated[
        str | None,
        choice("--swap", ("q", "k"), "What cross-attention takes from the other."),
    ] = None,
    tokenizer: Annotated[
        str | None,
        choice("--tokenizer", ("off", "sketch", "both"), "Where the learnable tokens join."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", metavar="N", min=0, help="Of everything drawn at random.")
    ] = None,
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

    What an option is not given for, the preset says. A tenth of the seen classes and a twentieth of the other objects
    are held out, and the network that is best on them is kept; no unseen class is looked at. A run that was stopped
    goes on from its last state and ends with the same weights. Beside the checkpoint lies a folder `.run` with the
    last one, the log and its curve.
    """
    from zsecli.model import config as model_config
    from zsecli.runtime.distributed import get_launch
    from zsecli.stages import defaults
    from zsecli.stages.find_dataset import find_dataset
    from zsecli.stages.guards import reject_inputs
    from zsecli.store.dataset import read_dataset
    from zsecli.train import config as train_config
    from zsecli.train.job import Job, plan_training, train_network
    from zsecli.train.loop import Files

    given = {k: v for k, v in locals().items() if k in train_config.TrainConfig.__dataclass_fields__ and v is not None}
    if family_weights is not None:
        given["family_weights"] = tuple(_family_weight(text) for text in family_weights)
    way = dataclasses.replace(train_config.preset(preset), **given)
    network = _network(model_config, preset, backbone, swap, tokenizer)
    if scratch and backbone_weights:
        raise UsageError("--scratch and --backbone-weights both say how the backbone begins", "leave out one")
    if backbone_from and (scratch or backbone_weights):
        other = "--scratch" if scratch else "--backbone-weights"
        raise UsageError(f"--backbone-from and {other} both say how the backbone begins", "leave out one")
    if backbone_from and not backbone_from.is_file():
        raise UsageError(f"--backbone-from {backbone_from}: no such checkpoint", "a file that zse train wrote")
    if backbone_weights and not backbone_weights.is_file():
        raise UsageError(f"--backbone-weights {backbone_weights}: no such file", "a file of weights in timm's names")
    first = get_launch().rank == 0  # of torchrun's processes the one that talks
    ws = Workspace(workspace)
    data = read_dataset(find_dataset(ws, dataset, dry_run))
    job = Job(data, partition, network, way, backbone_weights, not scratch, backbone_from)
    label = name or "-".join(filter(None, (data.name, partition, preset)))
    target = output or ws.checkpoint(label)
    if target.suffix != ".safetensors":
        raise UsageError(f"-o {target}: a checkpoint ends with .safetensors", f"-o {target}.safetensors")
    for file in (target, *Files(target).beside):
        reject_inputs(file, input_files(context))
    if dry_run:
        found = plan_training(job) | {"checkpoint": str(target)}
        print(json.dumps(found)) if as_json else _show(found)
        return
    with defaults.explain_changed_pictures(data), console.show_progress("training") as progress:
        result = train_network(
            job, target, ws.root / "cache", device=device, workers=workers, overwrite=overwrite, progress=progress
        )
    if not result.fresh:
        console.print_info(f"up to date: {target}")
    hint = f"zse evaluate --data {shlex.quote(data.name)} --model {shlex.quote(str(target))}"
    if first:
        finish(result.path, result.fresh, [], as_json, hint, validation=result.validation)


def _network(presets: Any, name: str, backbone: str | None, swap: str | None, tokenizer: str | None) -> Any:
    """The preset's configuration with what is asked otherwise."""
    network = presets.preset(name)
    if backbone is not None:
        other = presets.preset(backbone)
        if other.backbone.kind == "hybrid":
            raise UsageError(f"--backbone {backbone}: is a preset, and no timm backbone", f"--preset {backbone}")
        network = dataclasses.replace(network, backbone=dataclasses.replace(network.backbone, name=other.backbone.name))
        if network.backbone.kind == "vit":
            values = dataclasses.replace(network.preprocess, mean=other.preprocess.mean, std=other.preprocess.std)
            network = dataclasses.replace(network, preprocess=values)
    if swap is not None:
        network = dataclasses.replace(network, cross_attention=dataclasses.replace(network.cross_attention, swap=swap))
    if tokenizer is not None:
        network = dataclasses.replace(network, tokenizer=dataclasses.replace(network.tokenizer, on=tokenizer))
    return network


def _family_weight(text: str) -> tuple[str, float]:
    """FAMILY=W as the two."""
    name, equals, weight = text.rpartition("=")
    try:
        value = float(weight)
    except ValueError:
        value = -1.0
    if not equals or not name or not 0 <= value < float("inf"):
        raise UsageError(f"--family-weight {text}: expected FAMILY=W with W at least 0", "--family-weight quickdraw=20")
    return name, value


def _show(plan: dict[str, Any]) -> None:
    for name, value in plan.items():
        if name.startswith("memory"):
            value = f"{value / 2**20:,.0f} MiB"
        elif isinstance(value, int):
            value = f"{value:,}"
        console.print_plan(f"{name}: {value}")
