"""Vectors minus the mean over all training pictures of their modality, which is what tells sketches from photos."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch import distributed as dist

MOMENTUM = 0.02  # weight of a batch in the running mean, from the fiftieth batch on


class ModalityMean(nn.Module):
    """Subtracts the mean of each modality. Training updates the means; checkpoints hold them.

    The mean of the searched pictures would do as well, but a single sketch has none.
    """

    sketch: Tensor
    """(D,) float: mean of the sketches."""

    photo: Tensor
    """(D,) float: mean of the photos."""

    batches: Tensor
    """(2,) int64: number of batches in the mean of sketches, and in that of photos."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("sketch", torch.zeros(width))
        self.register_buffer("photo", torch.zeros(width))
        self.register_buffer("batches", torch.zeros(2, dtype=torch.int64))
        self.is_frozen = False

    def forward(self, x: Tensor, is_sketch: bool) -> Tensor:
        """Vectors (..., D) of pictures of one modality -> the same minus the mean; training updates the mean first."""
        mean = self.sketch if is_sketch else self.photo
        if self.training and not self.is_frozen:
            self._update_mean(mean, x, modality=0 if is_sketch else 1)
        return x - mean.to(x.dtype)

    @torch.no_grad()
    def _update_mean(self, mean: Tensor, x: Tensor, modality: int) -> None:
        batch_mean = x.float().flatten(0, -2).mean(0)
        if dist.is_initialized():
            dist.all_reduce(batch_mean)
            batch_mean /= dist.get_world_size()
        self.batches[modality] += 1
        mean.lerp_(batch_mean, max(MOMENTUM, 1 / int(self.batches[modality])))


@contextlib.contextmanager
def frozen_means(network: nn.Module) -> Iterator[None]:
    """Keep all means of `network` constant, for pictures unlike those it will meet."""
    means = [module for module in network.modules() if isinstance(module, ModalityMean)]
    for module in means:
        module.is_frozen = True
    try:
        yield
    finally:
        for module in means:
            module.is_frozen = False
