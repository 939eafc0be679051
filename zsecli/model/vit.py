"""What differs between the timm Vision Transformers that can be a backbone: plain ViTs, EVA and DINOv3, BEiT.

Input (patch tokens behind prefix tokens) and output are alike. They differ in how a token's position enters: added to
the token once, as a rotation of queries and keys in every block, or as a bias of the attention of every block.
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
    """Whether `vit` is of a supported kind, and every block has one attention with queries and keys."""
    return isinstance(vit, VisionTransformer | Eva | Beit) and all(_has_attention(block) for block in vit.blocks)


def _has_attention(block: nn.Module) -> bool:
    attention = getattr(block, "attn", None)
    return hasattr(block, "norm1") and (hasattr(attention, "qkv") or hasattr(attention, "q_proj"))


def has_class_token(vit: Any) -> bool:
    return vit.cls_token is not None


def add_prefix_token(vit: Any) -> None:
    """Tell the blocks that one more token without position precedes the patches."""
    for block in vit.blocks:
        if hasattr(block.attn, "num_prefix_tokens"):
            block.attn.num_prefix_tokens += 1


def embed_positions(vit: Any, patches: Tensor) -> Tensor:
    """Patch tokens (B, P, D) -> (B, prefix + P, D), with the prefix tokens and the position embeddings added."""
    if isinstance(vit, Beit):
        x = torch.cat([vit.cls_token.expand(len(patches), -1, -1), patches], 1)
        if vit.pos_embed is not None:
            x = x + vit.pos_embed
        return vit.pos_drop(x)
    if isinstance(vit, Eva):
        return vit._pos_embed(patches)[0]
    return vit._pos_embed(patches)


def find_last_norm(vit: Any) -> nn.Module:
    """The norm behind the blocks, also where timm applies it after pooling."""
    if isinstance(vit, VisionTransformer) and has_class_token(vit):
        return vit.norm
    return vit.fc_norm if isinstance(vit.norm, nn.Identity) else vit.norm


def list_embedding_parts(vit: Any) -> list[nn.Module | nn.Parameter]:
    """Everything that makes tokens and their positions, before and beside the blocks."""
    names = ("cls_token", "pos_embed", "reg_token", "norm_pre", "rope", "rel_pos_bias")
    candidates = [getattr(vit, name, None) for name in names]
    return [vit.patch_embed, *(module for module in candidates if module is not None)]


@dataclass(frozen=True)
class PatchPositions:
    """How blocks are told the positions of the patches; both None where the tokens hold them."""

    rope: Tensor | None = None
    """(P, 2 d), or (depth, H, P, 2 d): sines and cosines that rotate queries and keys."""

    bias: Tensor | None = None
    """(H, 1 + P, 1 + P), added to the attention of every block."""

    def options(self, block: int, index: Tensor | None) -> dict[str, Tensor]:
        """Keyword arguments of a block beside its tokens.

        Args:
            block: its number, from 0.
            index: (B, T) int64 numbers of the patches that are left; None: all.
        """
        if self.bias is not None:
            return {"shared_rel_pos_bias": self.bias}
        if self.rope is None:
            return {}
        rope = self.rope[block] if self.rope.ndim == 4 else self.rope
        if index is not None:
            rope = rope[index].unsqueeze(1) if rope.ndim == 2 else rope[:, index].transpose(0, 1)
        return {"rope": rope}


def find_positions(vit: Any) -> PatchPositions:
    """The positions of all patches of `vit`'s grid."""
    make_bias = getattr(vit, "rel_pos_bias", None)
    if make_bias is not None:
        return PatchPositions(bias=make_bias())
    rope = getattr(vit, "rope", None)
    if rope is None:
        return PatchPositions()
    if hasattr(rope, "feat_shape"):
        return PatchPositions(rope=rope.get_embed())
    return PatchPositions(rope=rope.get_embed(shape=vit.patch_embed.grid_size))


def can_drop_tokens(vit: Any) -> bool:
    """Whether blocks accept a part of the patches; with an attention bias by position they take all of them."""
    if getattr(vit, "rel_pos_bias", None) is not None:
        return False
    return all(getattr(block.attn, "relative_position_bias_table", None) is None for block in vit.blocks)


def compute_ret_attention(block: Any, x: Tensor, options: Mapping[str, Tensor] | None = None) -> Tensor:
    """Attention of [Ret], the first token, to all tokens in a timm block with input x (B, N, D) -> (B, H, N).

    Fused attention never forms the matrix; one row of it costs a key projection.

    Args:
        options: the block's keyword arguments, from `PatchPositions.options`.
    """
    attention = block.attn
    options = options or {}
    if not isinstance(block, EvaBlockPostNorm):
        x = block.norm1(x)
    q, k = _project_query_and_keys(attention, x)
    if hasattr(attention, "q_norm"):
        q, k = attention.q_norm(q), attention.k_norm(k)
    if "rope" in options:
        n_prefix = attention.num_prefix_tokens
        half = getattr(attention, "rotate_half", False)
        rotated = apply_rot_embed_cat(k[:, :, n_prefix:], options["rope"], half=half)
        k = torch.cat([k[:, :, :n_prefix], rotated], 2).type_as(q)
    scores = q @ k.transpose(-1, -2) * attention.scale
    if "shared_rel_pos_bias" in options:
        scores = scores + options["shared_rel_pos_bias"][..., :1, :]
    if getattr(attention, "relative_position_bias_table", None) is not None:
        scores = scores + attention._get_rel_pos_bias()[..., :1, :]
    return scores.softmax(-1).squeeze(2)


def _project_query_and_keys(attention: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Tokens x (B, N, D) -> the query of the first (B, H, 1, d) and the keys of all (B, H, N, d)."""
    heads = attention.num_heads
    if attention.qkv is None:
        sharing = getattr(attention, "num_kv_groups", 1)  # number of heads that share a key
        keys = split_heads(attention.k_proj(x), heads // sharing)
        return split_heads(attention.q_proj(x[:, :1]), heads), keys.repeat_interleave(sharing, 1)
    weight = attention.qkv.weight
    bias = attention.qkv.bias
    width = len(weight) // 3
    query_bias = key_bias = None
    if bias is not None:
        query_bias = bias[:width]
        key_bias = bias[width : 2 * width]
    if getattr(attention, "q_bias", None) is not None:  # EVA and BEiT, whose keys have no bias
        query_bias = attention.q_bias
    query = split_heads(F.linear(x[:, :1], weight[:width], query_bias), heads)
    return query, split_heads(F.linear(x, weight[width : 2 * width], key_bias), heads)
