"""The authors' golden numbers, and what is computed to compare with them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from zsecli.model.backbone import Encoding
from zsecli.model.network import ZSENetwork
from zsecli.model.scoring import Score

REFERENCE = Path(__file__).parents[3] / "shared/reference"
GOLDEN = Path(os.environ.get("ZSE_GOLDEN", REFERENCE / "official_golden.npz"))
MAKER = REFERENCE / "make_weights.py"


def encode(network: ZSENetwork, made: Any, golden: Any) -> tuple[Encoding, Encoding]:
    seed = int(golden["seed"])
    sketches, photos = (torch.from_numpy(made.make_images(kind, 4, seed)) for kind in ("sketch", "photo"))
    return network.encode(sketches, "sketch"), network.encode(photos, "photo")


def near(ours: Tensor, theirs: Any, tolerance: float) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=tolerance)


def released_losses(network: ZSENetwork, made: Any, golden: Any) -> tuple[Tensor, Tensor]:
    """2 * triplet on [Ret] after cross-attention, 4 * squared error of the scores: pairs 0, 1 right, 2, 3 wrong."""
    sketch, photo = encode(network, made, golden)
    score: Score = network.score(sketch, photo)
    triplet = F.triplet_margin_loss(score.ret_sketch[:2], score.ret_photo[:2], score.ret_photo[2:], margin=1.0)
    target = torch.tensor([0.99, 0.99, 0.01, 0.01])
    return 2 * triplet, 4 * F.mse_loss(score.relation, target)
