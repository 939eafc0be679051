"""A whole network small enough for a test."""

from __future__ import annotations

from dataclasses import replace

import torch

from zsecli.images.preprocess_rules import Preprocess
from zsecli.model.config import (
    BackboneConfig,
    CrossAttentionConfig,
    ModelConfig,
    RelationConfig,
    RetrievalConfig,
    SelectionConfig,
)
from zsecli.model.network import ZSENetwork

TINY = ModelConfig(
    preset="tiny",
    backbone=BackboneConfig(kind="hybrid", name="tf_efficientnet_lite0", image_size=64, width=32, depth=4, heads=2),
    cross_attention=CrossAttentionConfig(heads=2, hidden=32),
    relation=RelationConfig(hidden=(16, 8)),
    preprocess=Preprocess(size=64),
)
LEAST = replace(TINY, backbone=BackboneConfig(name="test_vit", image_size=64))
SELECTING = replace(TINY, selection=SelectionConfig(rate=0.7, blocks=(1, 3)))


def still(model: ModelConfig) -> ModelConfig:
    """Without dropout, of which two processes draw other units than one does."""
    heads, relation = replace(model.cross_attention, dropout=0.0), replace(model.relation, dropout=0.0)
    return replace(model, cross_attention=heads, relation=relation)


HEADED = replace(
    TINY,
    backbone=replace(TINY.backbone, depth=1, ret="mean"),
    selection=SelectionConfig(blocks=(1,), blank="drop"),
    cross_attention=replace(TINY.cross_attention, quiet=True, dropout=0.0),
    relation=RelationConfig(cell=1, readout="matches", dropout=0.0),
    retrieval=RetrievalConfig(kind="head"),
)
HEADED_VIT = replace(HEADED, backbone=LEAST.backbone)
STILL = still(LEAST)
STILL_HYBRID = still(TINY)


def build(settings: ModelConfig, seed: int = 0) -> ZSENetwork:
    torch.manual_seed(seed)
    return ZSENetwork(settings).eval()
