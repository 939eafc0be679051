"""What the authors' released network computes, for comparison with the golden numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from helpers.golden import make_images
from zsecli.model.backbone import Encoding
from zsecli.model.network import ZSENetwork
from zsecli.model.scoring import Score


def encode_golden_images(network: ZSENetwork, seed: int) -> tuple[Encoding, Encoding]:
    """The four sketches and four photos of a golden file."""
    sketches, photos = (torch.from_numpy(make_images(kind, 4, seed)) for kind in ("sketch", "photo"))
    return network.encode(sketches, "sketch"), network.encode(photos, "photo")


def assert_near(tensor: Tensor, expected: Any, tolerance: float) -> None:
    np.testing.assert_allclose(tensor.detach().numpy(), expected, rtol=0, atol=tolerance)


def compute_released_losses(network: ZSENetwork, seed: int) -> tuple[Tensor, Tensor]:
    """2 * triplet on [Ret] after cross-attention, 4 * squared error of the scores: pairs 0, 1 right, 2, 3 wrong."""
    sketch, photo = encode_golden_images(network, seed)
    score: Score = network.score(sketch, photo)
    triplet = F.triplet_margin_loss(score.ret_sketch[:2], score.ret_photo[:2], score.ret_photo[2:], margin=1.0)
    target = torch.tensor([0.99, 0.99, 0.01, 0.01])
    return 2 * triplet, 4 * F.mse_loss(score.relation, target)
