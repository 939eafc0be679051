"""The running mean of a network's weights over the steps of training, which does better than the last of them."""

from __future__ import annotations

import copy

import torch
from torch import nn

from zsecli.model.network import ZSENetwork

YOUNG = 10  # steps: at first the mean is over fewer of them than the decay says


class RunningMean(nn.Module):
    """Weights of which each step's count `decay` times as much as the next one's; counters are the last ones."""

    def __init__(self, network: ZSENetwork, decay: float) -> None:
        super().__init__()
        self.network, self.decay = copy.deepcopy(network).requires_grad_(False), decay

    @torch.no_grad()
    def update(self, network: ZSENetwork, step: int) -> None:
        """Take in the weights after a step, counted from 1."""
        decay = min(self.decay, step / (step + YOUNG))
        for mean, value in zip(self.network.state_dict().values(), network.state_dict().values(), strict=True):
            if mean.is_floating_point():
                mean.lerp_(value, 1 - decay)
            else:
                mean.copy_(value)
