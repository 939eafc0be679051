"""Patch embeddings made of a convolutional trunk of timm, for hybrid backbones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.backbone_weights import fill_backbone
from zsecli.model.modality_mean import ModalityMean
from zsecli.model.timm_models import create_model
from zsecli.model.trunk import (
    compute_maps,
    find_map_channels,
    find_map_parameters,
    find_maps,
    stack_maps,
    to_channels_first,
)


class TrunkEmbed(nn.Module):
    """A convolutional trunk as the patch embedding: pictures (B, 3, H, W) -> patch tokens (B, P, D).

    A token is a projection of the channels of two maps at one of P = H/16 * W/16 places: the map of stride 16 and the
    map of stride 32, upsampled.

    Args:
        trunk: timm's name of the trunk.
    """

    is_whole = False  # whether the trunk is timm's whole model, with its head

    def __init__(
        self,
        img_size: int,
        patch_size: int,
        embed_dim: int,
        trunk: str,
        **_: Any,
    ) -> None:
        super().__init__()
        self._set_grid(img_size, patch_size)
        self.name = trunk
        self.image_size = img_size
        self.options = find_maps(trunk, img_size).options()
        self.trunk = create_model(trunk, False, None, **self.options)
        self.proj = nn.Linear(sum(self.trunk.feature_info.channels()), embed_dim)

    def _set_grid(self, img_size: int, patch_size: int) -> None:
        """Set what timm's VisionTransformer reads of its patch embedding."""
        side = img_size // patch_size
        self.grid_size = (side, side)
        self.num_patches = side * side

    def load_weights(self, pretrained: bool, weights: Path | None) -> None:
        """Load the trunk's weights.

        Args:
            pretrained: download those that timm has for its name.
            weights: load this file instead. With neither, the trunk stays as it is.
        """
        if weights is not None:
            fill_backbone(self.trunk, self.name, weights, self.options)
        elif pretrained:
            with torch.random.fork_rng(devices=[]):
                self.trunk.load_state_dict(create_model(self.name, True, None, **self.options).state_dict())

    def parameters_of_map(self, stride: int) -> list[nn.Parameter]:
        """The parameters that make the trunk's last map of this stride; UsageError where it has none."""
        names = find_map_parameters(self.name, self.image_size, stride, self.is_whole)
        return [parameter for name, parameter in self.trunk.named_parameters() if name in names]

    def compute_maps(self, picture: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) -> the channels of both maps at every place (B, P, C)."""
        return _flatten_map(compute_maps(self.trunk, picture, self.grid_size[0]))

    def forward(self, picture: Tensor) -> Tensor:
        return self.proj(self.compute_maps(picture))


class HeadedTrunkEmbed(TrunkEmbed):
    """A whole convolutional network as the patch embedding, with the head and the classifier that it was trained with.

    From each of its two maps the mean over the training pictures of the modality is subtracted, then a place's vector
    is scaled to length 1.
    """

    is_whole = True

    def __init__(self, img_size: int, patch_size: int, embed_dim: int, trunk: str, **_: Any) -> None:
        nn.Module.__init__(self)
        self._set_grid(img_size, patch_size)
        self.name = trunk
        self.image_size = img_size
        maps = find_maps(trunk, img_size)
        self.options = maps.size_options()
        self.trunk = create_model(trunk, False, None, **self.options)
        self.channels = find_map_channels(self.trunk, maps, img_size)
        self.indices = maps.indices
        n_channels = sum(self.channels)
        self.map_mean = ModalityMean(n_channels)
        self.proj = nn.Linear(n_channels, embed_dim, bias=False)
        nn.init.orthogonal_(self.proj.weight)  # nearly preserves cosines
        if embed_dim == n_channels:
            nn.init.eye_(self.proj.weight)

    def compute_maps(self, picture: Tensor) -> Tensor:
        fine, coarse = self.trunk.forward_intermediates(picture, list(self.indices), intermediates_only=True)
        fine, coarse = to_channels_first(self.trunk, fine), to_channels_first(self.trunk, coarse)
        return _flatten_map(stack_maps(fine, coarse, self.grid_size[0]))

    def compute_tokens_and_feature(self, picture: Tensor, is_sketch: bool) -> tuple[Tensor, Tensor]:
        """Pictures (B, 3, H, W) of one modality -> patch tokens (B, P, D) and the head's features (B, F)."""
        last_map, maps = self.trunk.forward_intermediates(picture, list(self.indices))
        # The losses on local matches must not train the trunk: measured, they cost accuracy by class and gain none for
        # a sketch's own photo.
        fine, coarse = (to_channels_first(self.trunk, x.detach()) for x in maps)
        stacked = _flatten_map(stack_maps(fine, coarse, self.grid_size[0]))
        with torch.autocast(stacked.device.type, enabled=False):
            fine, coarse = self.map_mean(stacked.float(), is_sketch).split(self.channels, -1)
            unit = torch.cat([F.normalize(fine, dim=-1), F.normalize(coarse, dim=-1)], -1)
        tokens = self.proj(unit.to(self.proj.weight.dtype))
        return tokens, self.trunk.forward_head(last_map, pre_logits=True)


def _flatten_map(stacked: Tensor) -> Tensor:
    """(B, C, rows, columns) -> (B, rows * columns, C)."""
    return stacked.flatten(2).transpose(1, 2)
