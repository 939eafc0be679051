"""The authors' published checkpoints: their parameter names, and what they hold that the network never uses."""

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


def _names() -> tuple[dict[str, str], set[str]]:
    """Published name -> name here, and the published names that their forward pass never reads."""
    vit, sa = "backbone.vit.", "sa.model."
    table = {sa + "cls": vit + "cls_token", sa + "pos_embedding": vit + "pos_embed"}
    unused: set[str] = set()
    modules = {
        sa + "embedding": vit + "patch_embed.proj",
        sa + "transformer.encoder_norm": vit + "norm",
        "conv2d": "relation.pool",
        **{f"rn.rn.{i}": f"relation.mlp.{i}" for i in (0, 3, 6)},
    }
    for layer in range(12):
        modules |= {f"{sa}transformer.layers.{layer}.0.{a}": f"{vit}blocks.{layer}.{b}" for a, b in _BLOCK.items()}
    for theirs, ours in (("layer1", "sketch"), ("layer2", "photo"), ("layers", None)):
        at, stream = f"ca.encoder.{theirs}.0.", f"cross_attention.{ours}."
        names = {f"{at}{a}.{kind}": f"{stream}{b}.{kind}" for a, b in _STREAM.items() for kind in ("weight", "bias")}
        names |= {
            f"{at}sublayer.{i}.norm.{a}": f"{stream}norm{i + 1}.{b}"
            for i in (0, 1)
            for a, b in (("a", "weight"), ("b", "bias"))
        }
        if ours is None:
            unused |= names.keys()
        else:
            table |= names
    table |= {f"{a}.{kind}": f"{b}.{kind}" for a, b in modules.items() for kind in ("weight", "bias")}
    table |= {f"{sa}scale.seq.{i}.weight": f"backbone.tokenizer.stem.{i}.weight" for i in (0, 2, 4, 6)}
    return table, unused


NAMES, UNUSED = _names()


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
    missing, extra = NAMES.keys() - published.keys(), published.keys() - NAMES.keys() - UNUSED
    if missing or extra:
        raise StoreError(
            f"{where}: not a checkpoint of the released network: {list_keys(missing, extra)}",
            "the checkpoints that the authors published hold 210 tensors under `model`",
        )
    return {ours: published[theirs] for theirs, ours in NAMES.items()}
