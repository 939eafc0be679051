"""The configuration of a network, as plain data. Every checkpoint holds one.

Nothing here imports torch, so that the command line can list and check presets at once.
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

Precision = Literal["fp32", "bf16", "fp16"]  # of computation; stores and scores have dtypes of their own
MAX_CHARACTERS = 2**16  # of a configuration; each of the presets takes about a thousand
LATER = {"later": True}  # metadata of a field that checkpoints of version 1.0 lack: they mean its default
# The same, and the field is written only where it differs from its default: an older zse reads what needs nothing
# newer, and run keys made before the field existed stay valid.
OPTIONAL = {"later": True, "optional": True}


@dataclass(frozen=True)
class BackboneConfig:
    """The Vision Transformer that turns a picture into tokens.

    A hybrid uses the stride-16 map and the upsampled stride-32 map of a convolutional network as its patch embedding,
    with new transformer blocks above it.
    """

    kind: Literal["vit", "hybrid"] = "vit"  # the timm ViT `name` whole, or new blocks above the timm network `name`
    name: str = "vit_base_patch16_224.sam_in1k"  # timm's name
    image_size: int = 224  # pixels, of a side
    width: int = 256  # D of a hybrid's tokens; a timm ViT has its own
    depth: int = 6  # blocks of a hybrid
    heads: int = 8  # attention heads of a hybrid
    ret: Literal["token", "mean"] = field(default="token", metadata=LATER)  # [Ret]: learned; plus the patches' mean
    norm_eps: float | None = None  # of layer norms; None: timm's value for this ViT
    dropout: float = 0.0


@dataclass(frozen=True)
class RetrievalConfig:
    """The retrieval vector of a picture, by whose cosine photos are ranked.

    With `kind="head"`, the backbone keeps the head and the classifier that it was trained with. The vector is the
    head's feature, to which the blocks add, and the square roots of the class probabilities; from each the mean over
    the training pictures of the modality is subtracted, and each is scaled to length 1.
    """

    kind: Literal["token", "head"] = "token"  # the token [Ret] behind the blocks; or the backbone's head
    class_share: float = 0.5  # weight of the class probabilities in the cosine of two vectors
    temperature: float = 2.0  # of the class probabilities


@dataclass(frozen=True)
class TokenizerConfig:
    """The learnable convolutional tokens that are combined with the backbone's patch tokens."""

    on: Literal["off", "sketch", "both"] = "off"  # the modality that it is for
    combine: Literal["sum", "mean"] = "sum"  # with the patch tokens
    channels: tuple[int, ...] = (64, 128, 256)  # between its convolutions


@dataclass(frozen=True)
class SelectionConfig:
    """Token selection: the patch tokens that [Ret] attends to most are kept."""

    rate: float = 1.0  # share of tokens that each selection keeps
    blocks: tuple[int, ...] = (4, 7, 10)  # numbers, from 1, of the blocks after which tokens are selected
    # "drop" leaves a sketch's patches without strokes out of cross-attention and relation
    blank: Literal["keep", "drop"] = field(default="keep", metadata=OPTIONAL)


@dataclass(frozen=True)
class CrossAttentionConfig:
    """One post-norm attention layer for each stream."""

    swap: Literal["q", "k"] = "q"  # what comes from the other picture: its queries or its keys
    heads: int = 8
    hidden: int = 1024  # width of the feed-forward layer
    quiet: bool = field(default=False, metadata=LATER)  # attention and feed-forward start at 0: a stream is its input
    norm: Literal["layer", "unbiased"] = "layer"  # "unbiased": the norm of the authors' release
    dropout: float = 0.1


@dataclass(frozen=True)
class RelationConfig:
    """The network that reduces the cosine kernel to a score."""

    # "grid" pools neighbouring tokens; "memory" reads the token matrix as if it were stored channels first, as the
    # authors' release does, so that its cells are no areas of the picture
    layout: Literal["grid", "memory"] = "grid"
    cell: int = 2  # side of a cell, in patches
    project: int = 0  # channels of a learned pooling convolution; 0: the mean of the cell's kept tokens
    hidden: tuple[int, ...] = (343, 49)  # widths of the hidden layers
    # adds to the logit, each with a learned factor, the cosine of the two [Ret] before cross-attention and the mean
    # cosine of cells at the same place, so that the layers learn only what these do not tell
    direct: bool = field(default=False, metadata=LATER)
    # "matches" has no layers: the mean, over a sketch's strokes, of the similarity of the photo patches that each
    # matches best (see `zsecli.model.matches`)
    readout: Literal["layers", "matches"] = field(default="layers", metadata=OPTIONAL)
    dropout: float = 0.1


@dataclass(frozen=True)
class ModelConfig:
    """A whole network."""

    preset: str = "paper"  # name of the preset that it was made from
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
    pretrained = timm.get_pretrained_cfg(name)
    preprocess = Preprocess(sketch="crop")
    if pretrained:
        preprocess = Preprocess(mean=pretrained.mean, std=pretrained.std, sketch="crop")
    return replace(PRESETS["paper"], preset=name, backbone=BackboneConfig(name=name), preprocess=preprocess)


def from_json(text: str, where: str) -> ModelConfig:
    """The configuration written by `ModelConfig.to_json`.

    Raises:
        StoreError: `text`, found in `where`, is no such configuration; the wrong key is named.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"it has {len(text)} characters")
        values = json.loads(text, object_pairs_hook=_reject_repeated_keys, parse_constant=_reject_constant)
        config = from_plain(ModelConfig, values)
        _check(config)
    except (TypeError, ValueError, RecursionError) as error:
        raise StoreError(
            f"{where}: its model configuration is wrong: {error}", "the file was not written by zse, or by a newer one"
        ) from error
    return config


def _reject_repeated_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object as a dict; ValueError where a key is repeated."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key is there twice")
    return values


def _reject_constant(text: str) -> float:
    raise ValueError(f"{text} is no number")


def _check(config: ModelConfig) -> None:
    """Raise ValueError for values that make no network, or an absurd one, before anything of it is allocated."""
    backbone = config.backbone
    cross = config.cross_attention
    relation = config.relation
    preprocess = config.preprocess
    side = backbone.image_size
    ranges: list[tuple[str, Sequence[float], float, float]] = [
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
    for name, field_values, lowest, highest in ranges:
        if len(field_values) > 32 or (name in ("mean", "std") and len(field_values) != 3):
            raise ValueError(f"{name} has {len(field_values)} values")
        for value in field_values:
            if not lowest <= value <= highest:
                raise ValueError(f"{name} is {reprlib.repr(value)}, not {lowest:g} to {highest:g}")
    if not re.fullmatch(r"[\w.]{1,100}", backbone.name):  # with a colon timm would look on a hub, or in a folder
        raise ValueError(f"{reprlib.repr(backbone.name)} is no name of timm's")
    if not (config.preset.isprintable() and len(config.preset) <= 100):
        raise ValueError(f"{reprlib.repr(config.preset)} is no name of a preset")
    if relation.readout == "matches" and (relation.cell, relation.project, relation.layout) != (1, 0, "grid"):
        raise ValueError("readout matches needs cells of one place: cell 1, project 0 and layout grid")
    if backbone.kind == "hybrid" and (side % 16 or backbone.width % backbone.heads):
        raise ValueError(f"width {backbone.width} for {backbone.heads} heads, or image_size {side}, leaves a rest")


def to_plain(config: Any) -> dict[str, Any]:
    """A dataclass as nested dicts, without OPTIONAL fields that have their default."""
    plain = {}
    for item in dataclasses.fields(config):
        value = getattr(config, item.name)
        if item.metadata.get("optional") and value == item.default:
            continue
        plain[item.name] = to_plain(value) if dataclasses.is_dataclass(value) else value
    return plain


def from_plain(cls: type, values: Any) -> Any:
    """A dataclass from nested dicts; ValueError for unknown or missing keys, TypeError for values of another type."""
    if not isinstance(values, dict):
        raise TypeError(f"{cls.__name__} must be a table of values")
    hints = typing.get_type_hints(cls)
    defaults = {item.name: item.default for item in dataclasses.fields(cls) if item.metadata.get("later")}
    values = defaults | values
    for name in values.keys() ^ hints.keys():
        problem = "unknown" if name in values else "missing"
        raise ValueError(f"{problem} key {reprlib.repr(name)} in {cls.__name__}")
    return cls(**{name: _convert(hints[name], name, value) for name, value in values.items()})


def _convert(hint: Any, name: str, value: Any) -> Any:
    """`value` as its annotation says: a dataclass, tuple[T, ...], Literal, T | None, or a plain type."""
    if dataclasses.is_dataclass(hint):
        cls = typing.cast(type, hint)
        return value if isinstance(value, cls) else from_plain(cls, value)
    origin = typing.get_origin(hint)
    arguments = typing.get_args(hint)
    if origin is tuple and isinstance(value, list | tuple):  # a list from JSON, or a default
        return tuple(_convert(arguments[0], name, element) for element in value)
    if origin is Literal and value in arguments:
        return value
    if origin is types.UnionType:
        return None if value is None else _convert(arguments[0], name, value)
    if origin is None and _is_plain(hint, value):
        return value
    expected = getattr(hint, "__name__", hint) if origin is None else hint
    raise TypeError(f"{name} must be {expected}, not {reprlib.repr(value)}")


def _is_plain(hint: Any, value: Any) -> bool:
    """Whether `value` is of the plain type `hint`; an int passes as a float, a bool only as a bool."""
    accepted = (int, float) if hint is float else hint
    return isinstance(value, accepted) and isinstance(value, bool) == (hint is bool)
