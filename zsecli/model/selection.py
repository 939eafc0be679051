"""Token selection: keep the patch tokens that [Ret] attends to most (EViT, Liang et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

COVERED = 0.01  # share of a patch that ink covers where there are strokes


def count(rate: float, tokens: int) -> int:
    """How many of so many tokens one selection keeps."""
    return math.ceil(rate * tokens)


def select(attention: Tensor, rate: float) -> Tensor:
    """The tokens to keep.

    Args:
        attention: (B, H, T), [Ret]'s attention to each of T patch tokens, H heads.
        rate: share to keep, in (0, 1].

    Returns:
        (B, ceil(rate * T)) int64, ascending positions: order on the grid is kept.
    """
    return attention.mean(1).topk(count(rate, attention.shape[-1]), dim=-1).indices.sort(dim=-1).values


def gather(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B, K) of `tokens` (B, T, D) -> (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def find_strokes(sketch: Tensor, grid: tuple[int, int]) -> Tensor:
    """Whether each patch of normalised sketches (B, 3, H, W) holds strokes -> (B, P) bool.

    As `zsecli.images.strokes` says, with the median of all pixels for the paper: ink differs from it by more than half
    of what differs most, and covers 1 % of the patch. In a sketch of one colour every patch does.
    """
    pixels = sketch.float()
    paper = pixels.flatten(2).median(2).values[:, :, None, None]
    off = (pixels - paper).abs().amax(1, keepdim=True)
    most = off.amax((2, 3), keepdim=True)
    ink = ((off > most / 2) & (most > 0)).to(pixels)
    covered = F.adaptive_avg_pool2d(ink, grid).flatten(1) > COVERED
    return covered | ~covered.any(1, keepdim=True)


def to_grid(values: Tensor, index: Tensor, places: int) -> Tensor:
    """Values (B, ..., K) of the kept tokens put back on the grid -> (B, ..., places), 0 where dropped.

    Args:
        index: (B, K) int64, the grid place of each kept token.
    """
    grid = values.new_zeros(*values.shape[:-1], places)
    where = index.reshape(len(index), *[1] * (values.ndim - 2), -1).expand_as(values)
    return grid.scatter(-1, where, values)


def kept(index: Tensor, places: int) -> Tensor:
    """(B, K) grid places -> (B, places) bool, True where a token was kept."""
    return torch.zeros(len(index), places, dtype=torch.bool, device=index.device).scatter(1, index, True)
