"""The learnable tokenizer: convolutions that see strokes across patch borders."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import TokenizerConfig


class ConvTokenizer(nn.Module):
    """A convolutional stem of stride 16 whose map is combined with the patch tokens.

    A 7x7 and then 3x3 convolutions of stride 2, without bias, with ReLU between them.
    """

    def __init__(self, config: TokenizerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        channels = (3, *config.channels, width)
        layers: list[nn.Module] = []
        for in_channels, out_channels in pairwise(channels):
            kernel = 3 if layers else 7
            layers.append(nn.Conv2d(in_channels, out_channels, kernel, stride=2, padding=kernel // 2, bias=False))
            layers.append(nn.ReLU())
        self.stem = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Tensor, picture: Tensor, grid: tuple[int, int], is_sketch: bool) -> Tensor:
        """Patch tokens (B, P, D) and their pictures (B, 3, H, W) -> tokens (B, P, D).

        Args:
            grid: rows and columns of the P patches; the map of a stem of another stride is resampled to it.
            is_sketch: whether the pictures are sketches; a tokenizer for sketches leaves photos as they are.
        """
        if self.config.on == "sketch" and not is_sketch:
            return tokens
        maps = self.stem(picture)
        if maps.shape[-2:] != torch.Size(grid):
            resized = F.interpolate(maps.float(), size=grid, mode="bilinear", align_corners=False, antialias=True)
            maps = resized.to(maps.dtype)  # a CPU has no such kernel for bfloat16
        total = tokens + maps.flatten(2).transpose(1, 2)
        return total / 2 if self.config.combine == "mean" else total
