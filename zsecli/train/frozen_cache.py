"""The outputs of a network's frozen part, computed once a picture and kept in a feature store."""

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
from torch import Tensor, nn

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
    """Modules that `Backbone.forward_frozen(picture, blocks)` uses; with all blocks also the last norm, for [Ret]."""
    vit = network.backbone.vit
    if not blocks:
        return [vit.patch_embed.trunk if isinstance(vit.patch_embed, TrunkEmbed) else vit.patch_embed]
    parts: list[nn.Module | nn.Parameter] = [*list_embedding_parts(vit)]
    if network.backbone.ret_token is not None:
        parts.append(network.backbone.ret_token)
    parts += vit.blocks[:blocks]
    if blocks == len(vit.blocks):
        parts.append(find_last_norm(vit))
    return parts


class FrozenPartEmbedder:
    """`Backbone.forward_frozen` with the interface of an embedder; its [Ret] is the mean of the tokens."""

    def __init__(self, network: ZSENetwork, blocks: int, device: torch.device) -> None:
        self.backbone = network.backbone
        self.blocks = blocks
        self.device = device
        self.preprocess = network.config.preprocess
        self.n_kept: int | None = None
        size = self.preprocess.size
        with torch.inference_mode():
            blank = torch.zeros(1, 3, size, size, device=device)
            _, token_count, self.token_width = self.backbone.forward_frozen(blank, blocks).shape
        self.width = self.token_width
        self.tokens = 1 + token_count
        self.about: dict[str, Any] = {"config": network.config.to_json(), "frozen_blocks": blocks}

    @torch.inference_mode()
    def embed(self, pictures: NDArray[np.uint8], role: Modality) -> Embedded:
        tokens = self.backbone.forward_frozen(normalise(pictures, self.preprocess, self.device), self.blocks).cpu()
        mean = tokens.mean(1)
        return Embedded(mean.numpy(), torch.cat([mean[:, None], tokens], 1).numpy())


def cache_frozen_part(
    network: ZSENetwork,
    blocks: int,
    items: Items,
    root: Path,
    folder: Path,
    device: torch.device,
    *,
    workers: int = 0,
    progress: Progress = SILENT,
) -> Path:
    """Write the outputs of the frozen part for the N pictures `root`/id of `items` into a feature store in `folder`.

    Its `tokens` (N, 1 + P, C) hold the mean and then `Backbone.forward_frozen`. A run that was killed resumes; a
    finished store is used again.
    """
    key = _find_key(network, blocks, items)
    path = folder / f"frozen-{key[:12]}.h5"
    if is_up_to_date(path, "features", key):
        return path
    model = FrozenPartEmbedder(network.eval(), blocks, device)
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


def _find_key(network: ZSENetwork, blocks: int, items: Items) -> str:
    """Run key of the store: everything that determines its content."""
    backbone = dataclasses.asdict(network.config.backbone)
    return run_key(
        stage="frozen",
        weights=_hash_weights(frozen_parts(network, blocks)),
        backbone={name: backbone[name] for name in ("kind", "name", "image_size", "norm_eps", "ret")},
        preprocess=dataclasses.asdict(network.config.preprocess),
        blocks=blocks,
        pictures=REVISION,
        library=f"timm {version('timm')}",
        **items.content(),
    )


def _hash_weights(parts: list[nn.Module | nn.Parameter]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        for tensor in _list_tensors(part):
            digest.update(tensor.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _list_tensors(part: nn.Module | nn.Parameter) -> list[Tensor]:
    if isinstance(part, nn.Module):
        return [*part.state_dict().values()]
    return [part.detach()]
