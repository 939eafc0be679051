"""The running mean of a network's weights over the steps of training, which does better than the last of them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from zsecli.model.network import ZSENetwork

YOUNG = 10  # steps: at the beginning the decay is smaller, so that the random start is soon forgotten


class RunningMean(nn.Module):
    """Exponential moving average of the weights; counters are copied."""

    def __init__(self, network: ZSENetwork, decay: float) -> None:
        super().__init__()
        self.network = copy.deepcopy(network).requires_grad_(False)
        self.decay = decay

    @torch.no_grad()
    def update_mean(self, network: ZSENetwork, step: int) -> None:
        """Add the weights after a step, counted from 1, to the mean."""
        decay = min(self.decay, step / (step + YOUNG))
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
