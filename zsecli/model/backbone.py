"""The self-attention backbone: a timm Vision Transformer with [Ret] in the class token's place."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.errors import StoreError, UsageError
from zsecli.model.config import BackboneConfig, SelectionConfig, TokenizerConfig
from zsecli.model.cross_attention import split_heads
from zsecli.model.selection import count, gather, select, to_grid
from zsecli.model.tokenizer import ConvTokenizer
from zsecli.model.weights import fill_backbone


@dataclass
class Encoding:
    """What the network knows of a batch of B pictures.

    tokens: (B, 1 + T, D), [Ret] first, then the T kept patch tokens in grid order.
    index: (B, T) int64, the place of each kept token in the picture's original grid of P places.
    attention: (B, H, P), [Ret]'s attention to the patches in the last block, one map a head; 0 where dropped.
    """

    tokens: Tensor
    index: Tensor
    attention: Tensor

    @property
    def ret(self) -> Tensor:
        """(B, D), the retrieval token."""
        return self.tokens[:, 0]


class Backbone(nn.Module):
    """Tokenizer, transformer blocks and token selection."""

    def __init__(
        self,
        config: BackboneConfig,
        tokenizer: TokenizerConfig,
        selection: SelectionConfig,
        pretrained: bool = False,
        weights: Path | None = None,
    ) -> None:
        super().__init__()
        build = _hybrid if config.kind == "hybrid" else _vit
        self.vit: VisionTransformer = build(config, pretrained, weights)
        if config.norm_eps is not None:
            for module in self.vit.modules():
                if isinstance(module, nn.LayerNorm):
                    module.eps = config.norm_eps
        self.grid: tuple[int, int] = tuple(self.vit.patch_embed.grid_size)
        self.places = self.grid[0] * self.grid[1]
        self.width: int = self.vit.embed_dim
        self.selection, self.mean_ret = selection, config.ret == "mean"
        self.tokenizer = ConvTokenizer(tokenizer, self.width) if tokenizer.on != "off" else None
        beyond = [b for b in selection.blocks if not 1 <= b <= len(self.vit.blocks)]
        if selection.rate < 1 and beyond:
            raise UsageError(f"tokens cannot be selected after block {beyond[0]}: there are {len(self.vit.blocks)}")

    @property
    def kept(self) -> int:
        """Patch tokens left after the last selection."""
        left = self.places
        if self.selection.rate < 1:
            for _ in set(self.selection.blocks):
                left = count(self.selection.rate, left)
        return left

    def forward(self, picture: Tensor, sketch: bool) -> Encoding:
        """Normalised pictures (B, 3, H, W) of one modality -> their Encoding."""
        x = self.begin(picture)
        if self.tokenizer is None:
            return self.finish(x)
        return self.finish(self.tokenizer(self._patches(x), picture, self.grid, sketch), patches=True)

    def begin(self, picture: Tensor, blocks: int = 0) -> Tensor:
        """The part that training may freeze: patch embedding and the first `blocks` blocks, without tokenizer.

        Returns:
            (B, P, C), the trunk's maps of a hybrid or the patch tokens; behind a block (B, prefix + P, D).
        """
        embed = self.vit.patch_embed
        x: Tensor = embed.maps(picture) if isinstance(embed, TrunkEmbed) else embed(picture)
        return self.vit.blocks[:blocks](self._open(self._patches(x))) if blocks else x

    def _patches(self, x: Tensor) -> Tensor:
        embed = self.vit.patch_embed
        return embed.proj(x) if isinstance(embed, TrunkEmbed) else x

    def _open(self, x: Tensor) -> Tensor:
        vit = self.vit
        x = vit._pos_embed(x)
        if self.mean_ret:
            x = torch.cat([x[:, :1] + x[:, vit.num_prefix_tokens :].mean(1, keepdim=True), x[:, 1:]], 1)
        return vit.norm_pre(vit.patch_drop(x))

    def finish(self, x: Tensor, blocks: int = 0, patches: bool = False) -> Encoding:
        """What `begin` made with the same `blocks` -> the Encoding. patches: x is the patch tokens (B, P, D)."""
        vit = self.vit
        if not blocks:
            x = self._open(x if patches else self._patches(x))
        prefix, last = vit.num_prefix_tokens, len(vit.blocks)
        index = torch.arange(self.places, device=x.device).expand(len(x), -1)
        attention = x.new_empty(0)
        for number, block in enumerate(vit.blocks[blocks:], blocks + 1):
            selects = self.selection.rate < 1 and number in self.selection.blocks
            before, x = x, block(x)
            if not (selects or number == last):
                continue
            row = ret_attention(block, before)[..., prefix:]
            if number == last:
                attention = to_grid(row, index, self.places)
            if selects:
                keep = select(row, self.selection.rate)
                x = torch.cat([x[:, :prefix], gather(x[:, prefix:], keep)], 1)
                index = index.gather(1, keep)
        x = vit.norm(x)
        return Encoding(torch.cat([x[:, :1], x[:, prefix:]], 1), index, attention)


def ret_attention(block: Any, x: Tensor) -> Tensor:
    """[Ret]'s row of the attention of a timm block on its input x (B, N, D) -> (B, H, N).

    Fused attention never forms the matrix; one row of it costs a key projection.
    """
    attention = block.attn
    heads, width = attention.num_heads, attention.num_heads * attention.head_dim
    x = block.norm1(x)
    weight, bias = attention.qkv.weight, attention.qkv.bias
    bias_q, bias_k = (None, None) if bias is None else (bias[:width], bias[width : 2 * width])
    q = split_heads(F.linear(x[:, :1], weight[:width], bias_q), heads)
    k = split_heads(F.linear(x, weight[width : 2 * width], bias_k), heads)
    q, k = attention.q_norm(q), attention.k_norm(k)
    return (q @ k.transpose(-1, -2) * attention.scale).softmax(-1).squeeze(2)


def create(name: str, pretrained: bool, weights: Path | None, **options: Any) -> Any:
    """timm.create_model with its failures told in one line.

    Args:
        pretrained: fetch the weights that timm knows for `name`. weights: take them from this file instead.
    """
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    try:
        logger.setLevel(logging.CRITICAL)  # it repeats every attempt; the error below says it once
        model = timm.create_model(name, pretrained=pretrained and weights is None, **options)
    except TypeError as error:  # it has not the arguments of its kind
        raise UsageError(
            f"{name} cannot be this backbone", "take a plain Vision Transformer of timm, or a hybrid"
        ) from error
    except (RuntimeError, OSError, ValueError, IndexError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = "weights from a hub need a network; a local file does not: frozen:NAME=FILE, --backbone-weights FILE"
        if "Unknown model" in first:
            hint = "timm.list_models() has the names"
        raise StoreError(f"timm cannot make {name}: {first}", hint) from error
    finally:
        logger.setLevel(level)
    if weights is not None:
        fill_backbone(model, name, weights)
    return model


def _vit(config: BackboneConfig, pretrained: bool, weights: Path | None) -> VisionTransformer:
    vit = create(
        config.name,
        pretrained,
        weights,
        num_classes=0,
        img_size=config.image_size,
        dynamic_img_size=False,  # the patches of such a one are a map, not tokens
        proj_drop_rate=config.dropout,
        pos_drop_rate=config.dropout,
    )
    plain = isinstance(vit, VisionTransformer) and vit.cls_token is not None
    if not plain or not all(hasattr(b, "norm1") and hasattr(getattr(b, "attn", None), "qkv") for b in vit.blocks):
        raise UsageError(
            f"{config.name} is no plain Vision Transformer with a class token",
            "take another backbone, or a hybrid on this one",
        )
    return vit


def _hybrid(config: BackboneConfig, pretrained: bool, weights: Path | None) -> VisionTransformer:
    return VisionTransformer(
        img_size=config.image_size,
        patch_size=16,
        num_classes=0,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        proj_drop_rate=config.dropout,
        pos_drop_rate=config.dropout,
        embed_layer=partial(TrunkEmbed, trunk=config.name, pretrained=pretrained, weights=weights),
    )


class TrunkEmbed(nn.Module):
    """A convolutional trunk in the patch embedding's place: (B, 3, H, W) -> (B, P, D).

    Its stride-16 map and its stride-32 map, upsampled, lie over each other at P = H/16 * W/16 places.
    """

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        trunk: str,
        pretrained: bool,
        weights: Path | None,
        **_: Any,
    ) -> None:
        super().__init__()
        self.grid_size = (img_size // patch_size, img_size // patch_size)
        self.num_patches = self.grid_size[0] * self.grid_size[1]
        self.trunk = create(trunk, pretrained, weights, features_only=True, out_indices=(3, 4))
        if self.trunk.feature_info.reduction() != [16, 32]:
            raise UsageError(f"{trunk} has no maps at strides 16 and 32", "take another trunk")
        self.proj = nn.Linear(sum(self.trunk.feature_info.channels()), embed_dim)

    def below(self, stride: int) -> list[nn.Parameter]:
        """The parameters that make the trunk's map of this stride; UsageError where it has none."""
        modules = {info["reduction"]: info["module"] for info in self.trunk.feature_info.info}
        wanted = modules.get(stride, "")
        found: list[nn.Parameter] = []
        inside = ""
        for name, module in self.trunk.named_modules():
            if inside and not name.startswith(inside + "."):
                return found
            if name and name in (wanted, wanted.replace(".", "_")):  # timm may flatten a trunk, but not these names
                inside = name
            found += module.parameters(recurse=False)
        raise UsageError(f"the trunk has no map of stride {stride}", f"its strides: {', '.join(map(str, modules))}")

    def maps(self, picture: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, P, C), both maps' channels at every place."""
        near, far = self.trunk(picture)
        far = F.interpolate(far, size=near.shape[-2:], mode="bilinear", align_corners=False)
        return torch.cat([near, far], 1).flatten(2).transpose(1, 2)

    def forward(self, picture: Tensor) -> Tensor:
        return self.proj(self.maps(picture))
