"""Token selection: keep the patch tokens that [Ret] attends to most (EViT, Liang et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

MIN_INK = 0.01  # share of a patch that must be ink for it to hold strokes


def count_selected(rate: float, n_tokens: int) -> int:
    """Number of tokens that one selection keeps."""
    return math.ceil(rate * n_tokens)


def select_tokens(attention: Tensor, rate: float) -> Tensor:
    """Choose the tokens to keep.

    Args:
        attention: (B, H, T) attention of [Ret] to each of T patch tokens, for H heads.
        rate: share of tokens to keep, in (0, 1].

    Returns:
        (B, ceil(rate * T)) int64, ascending, so that tokens stay in grid order.
    """
    n_selected = count_selected(rate, attention.shape[-1])
    return attention.mean(1).topk(n_selected, dim=-1).indices.sort(dim=-1).values


def gather_tokens(tokens: Tensor, index: Tensor) -> Tensor:
    """Rows `index` (B, K) of `tokens` (B, T, D) -> (B, K, D)."""
    return tokens.gather(1, index.unsqueeze(-1).expand(-1, -1, tokens.shape[-1]))


def find_strokes(sketch: Tensor, grid: tuple[int, int]) -> Tensor:
    """Whether each patch of normalised sketches (B, 3, H, W) holds strokes -> (B, P) bool.

    As in `zsecli.images.strokes`, with the median of all pixels as the paper: ink differs from the paper by more than
    half of the largest difference, and covers 1 % of the patch. In a sketch of a single colour all patches are True.
    """
    pixels = sketch.float()
    paper = pixels.flatten(2).median(2).values[:, :, None, None]
    difference = (pixels - paper).abs().amax(1, keepdim=True)
    largest = difference.amax((2, 3), keepdim=True)
    ink = ((difference > largest / 2) & (largest > 0)).to(pixels)
    has_ink = F.adaptive_avg_pool2d(ink, grid).flatten(1) > MIN_INK
    return has_ink | ~has_ink.any(1, keepdim=True)


def scatter_to_grid(values: Tensor, index: Tensor, n_patches: int) -> Tensor:
    """Values (B, ..., K) of the kept tokens on the whole grid -> (B, ..., n_patches), 0 where one was dropped.

    Args:
        index: (B, K) int64, the patch number of each kept token.
    """
    grid = values.new_zeros(*values.shape[:-1], n_patches)
    middle = [1] * (values.ndim - 2)
    expanded = index.reshape(len(index), *middle, -1).expand_as(values)
    return grid.scatter(-1, expanded, values)


def mask_of_kept(index: Tensor, n_patches: int) -> Tensor:
    """Patch numbers (B, K) int64 -> (B, n_patches) bool, True where a token was kept."""
    mask = torch.zeros(len(index), n_patches, dtype=torch.bool, device=index.device)
    return mask.scatter(1, index, True)
