"""Token selection: keep the patch tokens that [Ret] attends to most (EViT, Liang et al. 2022)."""

from __future__ import annotations

import math

import torch
from torch import Tensor


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
