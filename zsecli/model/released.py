"""Parameter names of the authors' published checkpoints, and which of these the network never uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from zsecli.errors import StoreError
from zsecli.model.weights import list_keys

_BLOCK = {
    "layer_norm_input": "norm1",
    "attention.to_qkv": "attn.qkv",
    "attention.to_out.0": "attn.proj",
    "layer_norm_out": "norm2",
    "mlp.net.0": "mlp.fc1",
    "mlp.net.3": "mlp.fc2",
}
_STREAM = {
    "self_attn.linears.0": "query",
    "self_attn.linears.1": "key",
    "self_attn.linears.2": "value",
    "self_attn.linears.3": "out",
    "feed_forward.w_1": "feed_forward.0",
    "feed_forward.w_2": "feed_forward.3",
}


_STREAMS = {"layer1": "sketch", "layer2": "photo", "layers": None}  # None: never used by their forward pass
_KINDS = ("weight", "bias")


def _map_names() -> tuple[dict[str, str], set[str]]:
    """Published name -> name in `ZSENetwork`, and the published names that the authors' forward pass never reads."""
    vit = "backbone.vit."
    names = {"sa.model.cls": f"{vit}cls_token", "sa.model.pos_embedding": f"{vit}pos_embed"}
    unused: set[str] = set()
    for published, module in _map_modules(vit).items():
        names |= {f"{published}.{kind}": f"{module}.{kind}" for kind in _KINDS}
    for published, stream in _STREAMS.items():
        stream_names = _map_stream(f"ca.encoder.{published}.0.", f"cross_attention.{stream}.")
        if stream is None:
            unused |= stream_names.keys()
        else:
            names |= stream_names
    for i in (0, 2, 4, 6):
        names[f"sa.model.scale.seq.{i}.weight"] = f"backbone.tokenizer.stem.{i}.weight"
    return names, unused


def _map_modules(vit: str) -> dict[str, str]:
    """Published module -> module in `ZSENetwork`, for modules with a weight and a bias outside cross-attention."""
    modules = {
        "sa.model.embedding": f"{vit}patch_embed.proj",
        "sa.model.transformer.encoder_norm": f"{vit}norm",
        "conv2d": "relation.pool",
    }
    for i in (0, 3, 6):
        modules[f"rn.rn.{i}"] = f"relation.mlp.{i}"
    for layer in range(12):
        for published, module in _BLOCK.items():
            modules[f"sa.model.transformer.layers.{layer}.0.{published}"] = f"{vit}blocks.{layer}.{module}"
    return modules


def _map_stream(published_prefix: str, prefix: str) -> dict[str, str]:
    """Published name -> name in `ZSENetwork`, for the parameters of one cross-attention stream."""
    names = {}
    for published, module in _STREAM.items():
        for kind in _KINDS:
            names[f"{published_prefix}{published}.{kind}"] = f"{prefix}{module}.{kind}"
    for i in (0, 1):
        norm = f"{prefix}norm{i + 1}"
        names[f"{published_prefix}sublayer.{i}.norm.a"] = f"{norm}.weight"
        names[f"{published_prefix}sublayer.{i}.norm.b"] = f"{norm}.bias"
    return names


NAMES, UNUSED = _map_names()


def translate(published: Mapping[str, Tensor], where: Path | str) -> dict[str, Tensor]:
    """A published state dict under the names of the preset `released`.

    Args:
        published: 210 tensors, of which the 16 in `UNUSED` are left out; every name may carry the
            `module.` that a parallel training run adds.

    Raises:
        StoreError: naming the keys that are missing or too many.
    """
    if published and all(key.startswith("module.") for key in published):
        published = {key.removeprefix("module."): value for key, value in published.items()}
    missing = NAMES.keys() - published.keys()
    extra = published.keys() - NAMES.keys() - UNUSED
    if missing or extra:
        raise StoreError(
            f"{where}: not a checkpoint of the released network: {list_keys(missing, extra)}",
            "the checkpoints that the authors published hold 210 tensors under `model`",
        )
    return {name: published[published_name] for published_name, name in NAMES.items()}
