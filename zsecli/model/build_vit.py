"""Building the Vision Transformer of a backbone: a timm model whole, or new blocks above a trunk."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import timm
from timm.models.beit import Beit
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from zsecli.errors import UsageError
from zsecli.model import vit as vits
from zsecli.model.config import BackboneConfig
from zsecli.model.timm_models import BACKBONE_KINDS, create_model
from zsecli.model.trunk_embed import HeadedTrunkEmbed, TrunkEmbed

HINT_CLASSIFIER = "take a backbone with a classifier of its class token, or --preset small"


def build_vit(config: BackboneConfig, pretrained: bool, weights: Path | None, keep_head: bool) -> Any:
    """The Vision Transformer that `config` describes.

    Args:
        pretrained: download the weights that timm has for `config.name`.
        weights: load them from this file instead.
        keep_head: keep the classifier that the model was trained with.

    Raises:
        UsageError: the timm model cannot be such a backbone.
        StoreError: timm cannot make it, or `weights` does not fit.
    """
    if config.kind == "hybrid":
        vit: Any = _build_hybrid(config, pretrained, weights, keep_head)
    else:
        vit = _build_timm_vit(config, pretrained, weights, keep_head)
    if config.norm_eps is not None:
        for module in vit.modules():
            if isinstance(module, nn.LayerNorm):
                module.eps = config.norm_eps
    return vit


def _build_timm_vit(config: BackboneConfig, pretrained: bool, weights: Path | None, keep_head: bool) -> Any:
    """The timm Vision Transformer `config.name`."""
    options: dict[str, Any] = {
        "img_size": config.image_size,
        "proj_drop_rate": config.dropout,
        "pos_drop_rate": config.dropout,
    }
    if not keep_head:
        options["num_classes"] = 0
    if not _is_beit(config.name):
        options["dynamic_img_size"] = False  # with True the patch embedding returns a map, not tokens
    vit = create_model(config.name, pretrained, weights, **options)
    if not vits.is_backbone(vit):
        raise UsageError(
            f"{config.name} is no Vision Transformer of a kind that can be a backbone",
            f"{BACKBONE_KINDS}; others may be a trunk: --preset small --backbone {config.name}",
        )
    if not vits.has_class_token(vit):
        vit.attn_pool = None  # [Ret] replaces it
    if keep_head and getattr(vit, "global_pool", "token") != "token":
        raise UsageError(f"{config.name} classifies by the mean of its tokens, not by [Ret]", HINT_CLASSIFIER)
    return vit


def _is_beit(name: str) -> bool:
    """Whether `name` is a model of timm's BEiT module, whose models are made for one picture size."""
    if not timm.is_model(name):
        return False
    architecture = name.split(".")[0]
    return bool(timm.models.model_entrypoint(architecture).__module__ == Beit.__module__)


def _build_hybrid(config: BackboneConfig, pretrained: bool, weights: Path | None, keep_head: bool) -> VisionTransformer:
    """New transformer blocks above the trunk `config.name`."""
    embed_class = HeadedTrunkEmbed if keep_head else TrunkEmbed
    vit = VisionTransformer(
        img_size=config.image_size,
        patch_size=16,
        num_classes=0,
        embed_dim=config.width,
        depth=config.depth,
        num_heads=config.heads,
        proj_drop_rate=config.dropout,
        pos_drop_rate=config.dropout,
        embed_layer=partial(embed_class, trunk=config.name),
    )
    if keep_head:  # tokens start as the trunk's maps, which know more about objects than few sketches can teach
        _zero_blocks(vit)
    # only now: the constructor of timm's VisionTransformer initialises everything inside it at random
    embed: Any = vit.patch_embed
    embed.load_weights(pretrained, weights)
    return vit


def _zero_blocks(vit: Any) -> None:
    """Initialise blocks and position embeddings so that they add 0 to the tokens."""
    nn.init.zeros_(vit.pos_embed)
    for block in vit.blocks:
        for layer in (block.attn.proj, block.mlp.fc2):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
