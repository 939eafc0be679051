"""What a network is made of, as plain data: the configuration that travels inside every checkpoint.

Nothing here imports torch, so a command line can list and check presets at once.
"""

from __future__ import annotations

import dataclasses
import json
import re
import reprlib
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from zsecli.errors import StoreError, UsageError, did_you_mean
from zsecli.images.preprocess_rules import Preprocess

Precision = Literal["fp32", "bf16", "fp16"]  # of what is computed; stores and scores have their own
LONGEST = 2**16  # characters of a configuration; each of the presets takes about a thousand
LATER = {"later": True}  # a field that checkpoints of version 1.0 lack: its default is what they mean
# the same, and the field is written only where it is not the default: an older zse reads what needs nothing newer, and
# run keys made before the field existed stay valid
OPTIONAL = {"later": True, "optional": True}


@dataclass(frozen=True)
class BackboneConfig:
    """The ViT that turns a picture into tokens.

    `kind="vit"` takes the timm Vision Transformer `name` whole. `kind="hybrid"` takes the timm
    convolutional network `name` as the patch embedding (its stride-16 and upsampled stride-32 maps
    together) and puts `depth` fresh blocks of `width` above it.

    ret: [Ret] enters the blocks as a learned token, or as that plus the mean of the patch tokens.
    """

    kind: Literal["vit", "hybrid"] = "vit"
    name: str = "vit_base_patch16_224.sam_in1k"
    image_size: int = 224
    width: int = 256  # hybrid only, as are depth and heads: a timm ViT has its own
    depth: int = 6
    heads: int = 8
    ret: Literal["token", "mean"] = field(default="token", metadata=LATER)
    norm_eps: float | None = None  # None: what timm gives this ViT
    dropout: float = 0.0


@dataclass(frozen=True)
class RetrievalConfig:
    """The retrieval vector of a picture, by which photos are found.

    `kind="token"` takes the token [Ret] as it leaves the blocks. `kind="head"` keeps the head and the classifier that
    the backbone was trained with: the vector is the head's feature, to which the blocks add, beside the square roots of
    the class probabilities, each less its mean over the training pictures of the same modality and at length 1.
    """

    kind: Literal["token", "head"] = "token"
    class_share: float = 0.5  # of the cosine of two vectors that is the likeness of their class probabilities
    temperature: float = 2.0  # of these probabilities


@dataclass(frozen=True)
class TokenizerConfig:
    """The learnable convolutional tokens that join the backbone's patch tokens."""

    on: Literal["off", "sketch", "both"] = "off"
    combine: Literal["sum", "mean"] = "sum"
    channels: tuple[int, ...] = (64, 128, 256)


@dataclass(frozen=True)
class SelectionConfig:
    """Tokens kept by [Ret]'s attention: `rate` of them after each of `blocks` (counted from 1).

    `blank="drop"` leaves the patches of a sketch that hold no strokes out of cross-attention and relation.
    """

    rate: float = 1.0
    blocks: tuple[int, ...] = (4, 7, 10)
    blank: Literal["keep", "drop"] = field(default="keep", metadata=OPTIONAL)


@dataclass(frozen=True)
class CrossAttentionConfig:
    """One post-norm attention layer for each stream; `swap` is what comes from the other picture, its q or its k.

    quiet: attention and feed-forward begin at 0, so that at first a stream is what the backbone made.
    """

    swap: Literal["q", "k"] = "q"
    heads: int = 8
    hidden: int = 1024
    quiet: bool = field(default=False, metadata=LATER)
    norm: Literal["layer", "unbiased"] = "layer"
    dropout: float = 0.1


@dataclass(frozen=True)
class RelationConfig:
    """The network on the cosine kernel.

    `layout="grid"` pools `cell` x `cell` neighbouring tokens; `layout="memory"` reads the token matrix
    as if it were stored channel first, as the authors' release does, so that its cells are no places.
    `project` > 0 learns the pooling as a convolution to that many channels; 0 takes the mean of the
    tokens that were kept. `readout="matches"` takes no network of layers but the mean, over the strokes of the sketch,
    of the likeness of the photo places that each of them matches best (see `zsecli.model.matches`). `direct` adds to
    the logit, each times a learned factor, the cosine of the two [Ret] before cross-attention and the mean cosine of
    cells at the same place: the rest has to say only what these do not know.
    """

    layout: Literal["grid", "memory"] = "grid"
    cell: int = 2
    project: int = 0
    hidden: tuple[int, ...] = (343, 49)
    direct: bool = field(default=False, metadata=LATER)
    readout: Literal["layers", "matches"] = field(default="layers", metadata=OPTIONAL)
    dropout: float = 0.1


@dataclass(frozen=True)
class ModelConfig:
    """A whole network; `preset` is the name it began with."""

    preset: str = "paper"
    backbone: BackboneConfig = field(default_factory=BackboneConfig)
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    cross_attention: CrossAttentionConfig = field(default_factory=CrossAttentionConfig)
    relation: RelationConfig = field(default_factory=RelationConfig)
    preprocess: Preprocess = field(default_factory=Preprocess)
    retrieval: RetrievalConfig = field(default=RetrievalConfig(), metadata=OPTIONAL)

    def to_json(self) -> str:
        return json.dumps(to_plain(self), sort_keys=True)


PRESETS: dict[str, ModelConfig] = {
    "paper": ModelConfig(tokenizer=TokenizerConfig(on="sketch"), preprocess=Preprocess(sketch="crop")),
    "released": ModelConfig(
        preset="released",
        backbone=BackboneConfig(name="vit_base_patch16_224", norm_eps=1e-5, dropout=0.1),
        tokenizer=TokenizerConfig(on="both", combine="mean"),
        cross_attention=CrossAttentionConfig(swap="k", norm="unbiased"),
        relation=RelationConfig(layout="memory", project=512),
        preprocess=Preprocess(sketch="released", photo="released"),
    ),
    "freehand": ModelConfig(
        preset="freehand",
        backbone=BackboneConfig(
            kind="hybrid", name="tf_efficientnet_lite2", image_size=160, width=472, depth=1, ret="mean"
        ),
        selection=SelectionConfig(blocks=(1,), blank="drop"),
        cross_attention=CrossAttentionConfig(hidden=256, quiet=True, dropout=0.0),
        relation=RelationConfig(cell=1, readout="matches"),
        preprocess=Preprocess(size=160, sketch="crop"),
        retrieval=RetrievalConfig(kind="head"),
    ),
    "small": ModelConfig(
        preset="small",
        backbone=BackboneConfig(kind="hybrid", name="tf_efficientnet_lite0", depth=2, ret="mean"),
        selection=SelectionConfig(blocks=(1,)),
        cross_attention=CrossAttentionConfig(hidden=256, quiet=True),
        relation=RelationConfig(direct=True),
        preprocess=Preprocess(sketch="crop"),
    ),
    "dinov2-small": ModelConfig(
        preset="dinov2-small",
        backbone=BackboneConfig(name="vit_small_patch14_dinov2.lvd142m"),
        preprocess=Preprocess(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), sketch="crop"),
    ),
}


def get_preset(name: str) -> ModelConfig:
    """The named preset; for the name of a timm Vision Transformer, `paper` on that backbone. Else UsageError."""
    if name in PRESETS:
        return PRESETS[name]
    import timm

    if not timm.is_model(name):
        near = did_you_mean(name, PRESETS)
        raise UsageError(f"there is no preset {name!r}", f"presets: {', '.join(PRESETS)}, or a timm name{near}")
    known = timm.get_pretrained_cfg(name)
    preprocess = Preprocess(mean=known.mean, std=known.std, sketch="crop") if known else Preprocess(sketch="crop")
    return replace(PRESETS["paper"], preset=name, backbone=BackboneConfig(name=name), preprocess=preprocess)


def from_json(text: str, where: str) -> ModelConfig:
    """The configuration written by `ModelConfig.to_json`.

    Raises:
        StoreError: `text`, found in `where`, is no such configuration; the wrong key is named.
    """
    try:
        if len(text) > LONGEST:
            raise ValueError(f"it has {len(text)} characters")
        config = from_plain(ModelConfig, json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number))
        _check(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{where}: its model configuration is wrong: {error}", "the file was not written by zse, or by a newer one"
        ) from error
    return config


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check(config: ModelConfig) -> None:
    """ValueError where a value makes no network, or an absurd one: it is refused before anything of it is made."""
    backbone, cross, relation, preprocess = config.backbone, config.cross_attention, config.relation, config.preprocess
    side, hybrid = backbone.image_size, backbone.kind == "hybrid"
    values: list[tuple[str, Sequence[float], float, float]] = [
        ("image_size", (side,), 1, 4096),
        ("width", (backbone.width,), 1, 2**16),
        ("depth", (backbone.depth,), 1, 64),
        ("heads", (backbone.heads, cross.heads), 1, 1024),
        ("norm_eps", () if backbone.norm_eps is None else (backbone.norm_eps,), 0, 1),
        ("dropout", (backbone.dropout, cross.dropout, relation.dropout), 0, 1),
        ("channels", config.tokenizer.channels, 1, 2**16),
        ("rate", (config.selection.rate,), 1e-3, 1),
        ("blocks", config.selection.blocks, 1, 256),
        ("hidden", (cross.hidden, *relation.hidden), 1, 2**20),
        ("cell", (relation.cell,), 1, 256),
        ("project", (relation.project,), 0, 2**16),
        ("class_share", (config.retrieval.class_share,), 0, 1),
        ("temperature", (config.retrieval.temperature,), 1e-3, 1e3),
        ("size", (preprocess.size,), side, side),  # the backbone's
        ("mean", preprocess.mean, -1e3, 1e3),
        ("std", preprocess.std, 1e-3, 1e3),
    ]
    for name, found, least, most in values:
        if len(found) > 32 or (name in ("mean", "std") and len(found) != 3):
            raise ValueError(f"{name} has {len(found)} values")
        for value in found:
            if not least <= value <= most:
                raise ValueError(f"{name} is {reprlib.repr(value)}, not {least:g} to {most:g}")
    if not re.fullmatch(r"[\w.]{1,100}", backbone.name):  # with a colon timm would look on a hub, or in a folder
        raise ValueError(f"{reprlib.repr(backbone.name)} is no name of timm's")
    if not (config.preset.isprintable() and len(config.preset) <= 100):
        raise ValueError(f"{reprlib.repr(config.preset)} is no name of a preset")
    if relation.readout == "matches" and (relation.cell, relation.project, relation.layout) != (1, 0, "grid"):
        raise ValueError("readout matches needs cells of one place: cell 1, project 0 and layout grid")
    if hybrid and (side % 16 or backbone.width % backbone.heads):
        raise ValueError(f"width {backbone.width} for {backbone.heads} heads, or image_size {side}, leaves a rest")


def to_plain(config: Any) -> dict[str, Any]:
    """A dataclass as nested dicts, without OPTIONAL fields that have their default."""
    plain = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if f.metadata.get("optional") and value == f.default:
            continue
        plain[f.name] = to_plain(value) if dataclasses.is_dataclass(value) else value
    return plain


def from_plain(cls: type, values: Any) -> Any:
    """A dataclass from nested dicts, refusing unknown and missing keys and values of another type."""
    if not isinstance(values, dict):
        raise TypeError(f"{cls.__name__} must be a table of values")
    hints = typing.get_type_hints(cls)
    values = {f.name: f.default for f in dataclasses.fields(cls) if f.metadata.get("later")} | values
    for name in values.keys() ^ hints.keys():
        raise ValueError(f"{'unknown' if name in values else 'missing'} key {reprlib.repr(name)} in {cls.__name__}")
    return cls(**{name: _value(hints[name], name, value) for name, value in values.items()})


def _value(hint: Any, name: str, value: Any) -> Any:
    """`value` as the annotation says: a dataclass, tuple[T, ...], Literal, T | None, or a plain type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if dataclasses.is_dataclass(hint):
        return value if isinstance(value, typing.cast(type, hint)) else from_plain(typing.cast(type, hint), value)
    if origin is tuple and isinstance(value, list | tuple):  # JSON's, or a default
        return tuple(_value(inner[0], name, v) for v in value)
    if origin is Literal and value in inner:
        return value
    if origin is types.UnionType:
        return None if value is None else _value(inner[0], name, value)
    plain = (int, float) if hint is float else hint
    if origin is None and isinstance(value, plain) and isinstance(value, bool) == (hint is bool):
        return value
    raise TypeError(
        f"{name} must be {getattr(hint, '__name__', hint) if origin is None else hint}, not {reprlib.repr(value)}"
    )
