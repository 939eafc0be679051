"""The learnable tokenizer: convolutions that look at strokes across patch borders."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import TokenizerConfig


class ConvTokenizer(nn.Module):
    """A convolutional stem of stride 16 whose map joins the patch tokens.

    One 7x7 and then 3x3 convolutions of stride 2, ReLU between them, without bias.
    """

    def __init__(self, config: TokenizerConfig, width: int) -> None:
        super().__init__()
        self.config = config
        sizes = (3, *config.channels, width)
        layers: list[nn.Module] = []
        for i, (ins, outs) in enumerate(pairwise(sizes)):
            kernel = 3 if i else 7
            layers += [nn.Conv2d(ins, outs, kernel, stride=2, padding=kernel // 2, bias=False), nn.ReLU()]
        self.stem = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Tensor, picture: Tensor, grid: tuple[int, int], sketch: bool) -> Tensor:
        """Patch tokens (B, P, D) and their picture (B, 3, H, W) -> tokens (B, P, D).

        Args:
            grid: rows and columns of the P patch tokens; a stem of another stride is resampled to it.
            sketch: whether the batch holds sketches (the tokenizer may be for these alone).
        """
        if self.config.on == "sketch" and not sketch:
            return tokens
        maps = self.stem(picture)
        if maps.shape[-2:] != torch.Size(grid):
            resized = F.interpolate(maps.float(), size=grid, mode="bilinear", align_corners=False, antialias=True)
            maps = resized.to(maps.dtype)  # a CPU has no such kernel for bfloat16
        total = tokens + maps.flatten(2).transpose(1, 2)
        return total / 2 if self.config.combine == "mean" else total
