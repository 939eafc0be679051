"""The frozen part of a network, computed once a picture and kept in a feature store."""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from zsecli.data.embedded import Embedded
from zsecli.data.items import Items
from zsecli.images.preprocess_rules import REVISION, Modality
from zsecli.model.embedders.base import normalise
from zsecli.model.network import ZSENetwork
from zsecli.model.trunk_embed import TrunkEmbed
from zsecli.model.vit import find_last_norm, list_embedding_parts
from zsecli.retrieval.extract import CPU_BATCH, GPU_BATCH, write_features
from zsecli.runtime.console import SILENT, Progress
from zsecli.runtime.fingerprint import installed_versions, run_key
from zsecli.store.hdf5 import is_up_to_date


def frozen_parts(network: ZSENetwork, blocks: int) -> list[nn.Module | nn.Parameter]:
    """Modules that `Backbone.forward_frozen(picture, blocks)` uses; with all blocks also the norm behind them."""
    vit = network.backbone.vit
    if not blocks:
        return [vit.patch_embed.trunk if isinstance(vit.patch_embed, TrunkEmbed) else vit.patch_embed]
    last = [find_last_norm(vit)] if blocks == len(vit.blocks) else []
    own = [] if network.backbone.ret_token is None else [network.backbone.ret_token]
    return [*list_embedding_parts(vit), *own, *vit.blocks[:blocks], *last]


class _Beginning:
    """`Backbone.forward_frozen` with the face of an embedder; its [Ret] is the mean of the tokens."""

    def __init__(self, network: ZSENetwork, blocks: int, device: torch.device) -> None:
        self.backbone, self.blocks, self.device = network.backbone, blocks, device
        self.preprocess = network.config.preprocess
        self.n_kept: int | None = None
        size = self.preprocess.size
        with torch.inference_mode():
            _, count, self.token_width = self.backbone.forward_frozen(
                torch.zeros(1, 3, size, size, device=device), blocks
            ).shape
        self.width, self.tokens = self.token_width, 1 + count
        self.about: dict[str, Any] = {"config": network.config.to_json(), "frozen_blocks": blocks}

    @torch.inference_mode()
    def embed(self, pictures: NDArray[np.uint8], role: Modality) -> Embedded:
        x = self.backbone.forward_frozen(normalise(pictures, self.preprocess, self.device), self.blocks).cpu()
        mean = x.mean(1)
        return Embedded(mean.numpy(), torch.cat([mean[:, None], x], 1).numpy())


def cached(
    network: ZSENetwork,
    blocks: int,
    items: Items,
    root: Path,
    folder: Path,
    device: torch.device,
    workers: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """The feature store, in `folder`, of what `network`'s frozen part makes of the N pictures `root`/id of `items`.

    Its `tokens` (N, 1 + P, C) hold the mean and then `Backbone.forward_frozen`. A run that was killed goes on.
    """
    weights = hashlib.sha256()
    for part in frozen_parts(network, blocks):
        for tensor in part.state_dict().values() if isinstance(part, nn.Module) else [part.detach()]:
            weights.update(tensor.cpu().contiguous().numpy().tobytes())
    backbone = dataclasses.asdict(network.config.backbone)
    key = run_key(
        stage="frozen",
        weights=weights.hexdigest(),
        backbone={name: backbone[name] for name in ("kind", "name", "image_size", "norm_eps", "ret")},
        preprocess=dataclasses.asdict(network.config.preprocess),
        blocks=blocks,
        pictures=REVISION,
        library=f"timm {version('timm')}",
        **items.content(),
    )
    path = folder / f"frozen-{key[:12]}.h5"
    if not is_up_to_date(path, "features", key):
        model = _Beginning(network.eval(), blocks, device)
        provenance = {"argv": sys.argv[1:], "versions": installed_versions(), "root": str(root), **model.about}
        write_features(
            items,
            root,
            model,
            path,
            key=key,
            provenance=provenance,
            progress=progress,
            batch_size=CPU_BATCH if device.type == "cpu" else GPU_BATCH,
            workers=workers,
        )
    return path
