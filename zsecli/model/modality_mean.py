"""Vectors less what tells sketches from photos: their mean over all training pictures of the same modality."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch import distributed as dist

MOMENTUM = 0.02  # share of a batch in the running mean, once that has seen fifty batches


class ModalityMean(nn.Module):
    """Subtracts a mean for each modality, which training keeps and checkpoints hold.

    The mean of the pictures that happen to be searched would do as well, but one sketch has none.
    """

    sketch: Tensor
    photo: Tensor
    batches: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("sketch", torch.zeros(width))
        self.register_buffer("photo", torch.zeros(width))
        self.register_buffer("batches", torch.zeros(2, dtype=torch.int64))  # that either mean has seen
        self.is_frozen = False

    def forward(self, x: Tensor, is_sketch: bool) -> Tensor:
        """Vectors (..., D) of pictures of one modality -> the same less the mean; in training they move it first."""
        mean = self.sketch if is_sketch else self.photo
        if self.training and not self.is_frozen:
            self._update(mean, x, int(not is_sketch))
        return x - mean.to(x.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, x: Tensor, modality: int) -> None:
        batch = x.float().flatten(0, -2).mean(0)
        if dist.is_initialized():
            dist.all_reduce(batch)
            batch /= dist.get_world_size()
        self.batches[modality] += 1
        mean.lerp_(batch, max(MOMENTUM, 1 / int(self.batches[modality])))


@contextlib.contextmanager
def frozen_means(network: nn.Module) -> Iterator[None]:
    """Within it no mean of `network` moves: the pictures are not what it will meet."""
    means = [module for module in network.modules() if isinstance(module, ModalityMean)]
    for module in means:
        module.is_frozen = True
    try:
        yield
    finally:
        for module in means:
            module.is_frozen = False
