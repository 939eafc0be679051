"""The Vision Transformers of timm that can be a backbone: plain ones, EVA and DINOv3, BEiT. What differs between them.

They open alike (patch tokens behind prefix tokens), and end alike. They differ in how a token knows its place: by what
is added to it once, by a rotation of queries and keys in every block, or by a bias of every block's attention.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.pos_embed_sincos import apply_rot_embed_cat
from timm.models.beit import Beit
from timm.models.eva import Eva, EvaBlockPostNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.cross_attention import split_heads


def is_backbone(vit: Any) -> bool:
    """Whether `vit` is of a kind that is known here, and every block has one attention of queries and keys."""
    return isinstance(vit, VisionTransformer | Eva | Beit) and all(
        hasattr(block, "norm1") and (hasattr(attention, "qkv") or hasattr(attention, "q_proj"))
        for block in vit.blocks
        for attention in [getattr(block, "attn", None)]
    )


def has_class_token(vit: Any) -> bool:
    return vit.cls_token is not None


def add_prefix_token(vit: Any) -> None:
    """Tell the blocks that one more token without a place stands before the patches."""
    for block in vit.blocks:
        if hasattr(block.attn, "num_prefix_tokens"):
            block.attn.num_prefix_tokens += 1


def embed_positions(vit: Any, x: Tensor) -> Tensor:
    """Patch tokens (B, P, D) -> (B, prefix + P, D), each with what is added to it for its place."""
    if isinstance(vit, Beit):
        x = torch.cat([vit.cls_token.expand(len(x), -1, -1), x], 1)
        return vit.pos_drop(x if vit.pos_embed is None else x + vit.pos_embed)
    opened = vit._pos_embed(x)
    return opened[0] if isinstance(vit, Eva) else opened


def last_norm(vit: Any) -> nn.Module:
    """The norm behind the blocks; where timm has it behind the pooling of their tokens, that one."""
    plain = isinstance(vit, VisionTransformer) and has_class_token(vit)
    return vit.fc_norm if isinstance(vit.norm, nn.Identity) and not plain else vit.norm


def opening_parts(vit: Any) -> list[nn.Module | nn.Parameter]:
    """All that makes tokens and their places, before and beside the blocks."""
    names = ("cls_token", "pos_embed", "reg_token", "norm_pre", "rope", "rel_pos_bias")
    found = [getattr(vit, name, None) for name in names]
    return [vit.patch_embed, *(part for part in found if part is not None)]


@dataclass(frozen=True)
class Places:
    """How blocks are told where the patches are; nothing where the tokens themselves know.

    rope: (P, 2 d), or (depth, H, P, 2 d), the sines and cosines that queries and keys are turned by.
    bias: (H, 1 + P, 1 + P), added to the attention of every block.
    """

    rope: Tensor | None = None
    bias: Tensor | None = None

    def options(self, block: int, index: Tensor | None) -> dict[str, Tensor]:
        """What a block takes beside its tokens. block: its number from 0. index: (B, T) the patches left, None: all."""
        if self.bias is not None:
            return {"shared_rel_pos_bias": self.bias}
        if self.rope is None:
            return {}
        rope = self.rope[block] if self.rope.ndim == 4 else self.rope
        if index is not None:
            rope = rope[index].unsqueeze(1) if rope.ndim == 2 else rope[:, index].transpose(0, 1)
        return {"rope": rope}


def find_places(vit: Any) -> Places:
    """The places of all patches of `vit`'s grid."""
    bias, rope = (getattr(vit, name, None) for name in ("rel_pos_bias", "rope"))
    if bias is not None:
        return Places(bias=bias())
    if rope is None:
        return Places()
    return Places(rope.get_embed() if hasattr(rope, "feat_shape") else rope.get_embed(shape=vit.patch_embed.grid_size))


def can_drop_tokens(vit: Any) -> bool:
    """Whether a block takes some of the patches: one whose attention is biased by their places takes all or none."""
    shared = getattr(vit, "rel_pos_bias", None) is not None
    return not shared and all(getattr(b.attn, "relative_position_bias_table", None) is None for b in vit.blocks)


def ret_attention(block: Any, x: Tensor, options: Mapping[str, Tensor] | None = None) -> Tensor:
    """[Ret]'s row of the attention of a timm block on its input x (B, N, D) -> (B, H, N).

    Fused attention never forms the matrix; one row of it costs a key projection.

    Args:
        options: what the block takes beside its tokens, as `Places.options` makes it.
    """
    attention, options = block.attn, options or {}
    if not isinstance(block, EvaBlockPostNorm):
        x = block.norm1(x)
    q, k = _query_and_keys(attention, x)
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    if "rope" in options:
        prefix, half = attention.num_prefix_tokens, getattr(attention, "rotate_half", False)
        turned = apply_rot_embed_cat(k[:, :, prefix:], options["rope"], half=half)
        k = torch.cat([k[:, :, :prefix], turned], 2).type_as(q)
    scores = q @ k.transpose(-1, -2) * attention.scale
    if "shared_rel_pos_bias" in options:
        scores = scores + options["shared_rel_pos_bias"][..., :1, :]
    if getattr(attention, "relative_position_bias_table", None) is not None:
        scores = scores + attention._get_rel_pos_bias()[..., :1, :]
    return scores.softmax(-1).squeeze(2)


def _query_and_keys(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens x (B, N, D) -> the query of the first (B, H, 1, d), and the keys of all (B, H, N, d)."""
    heads = attention.num_heads
    if attention.qkv is None:
        shared = getattr(attention, "num_kv_groups", 1)  # heads that ask the same keys
        keys = split_heads(attention.k_proj(x), heads // shared)
        return split_heads(attention.q_proj(x[:, :1]), heads), keys.repeat_interleave(shared, 1)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    width = len(weight) // 3
    bias_q, bias_k = (None, None) if bias is None else (bias[:width], bias[width : 2 * width])
    if getattr(attention, "q_bias", None) is not None:  # EVA and BEiT: keys have none
        bias_q = attention.q_bias
    q = split_heads(F.linear(x[:, :1], weight[:width], bias_q), heads)
    return q, split_heads(F.linear(x, weight[width : 2 * width], bias_k), heads)
