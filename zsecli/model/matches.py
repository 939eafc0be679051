"""A relation score that is the mean similarity of local matches, so that its terms explain it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 15.0  # initial, of the softmax over the patches of a photo
NEARNESS = 10.0  # initial decrease of a match's logit per squared distance, in sides of the picture


class MatchReadout(nn.Module):
    """Kernels of cosines between all patches of a sketch and all patches of a photo -> logits.

    Each sketch patch i chooses photo patches j with probability p_ij, the softmax over j of
    `sharpness` * cosine_ij + `offsets`, where `offsets` is a learned value for each displacement from i to j.

        logit = scale * sum_i weight_i * sum_j p_ij * cosine_ij + ret_scale * cosine of the two [Ret] + bias

    The weights, which sum to 1, are learned from the sketch's tokens, as blank paper should count for nothing. Each
    term of the double sum is what one pair of patches adds to the logit.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = grid
        self.weight = nn.Linear(width, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        down = torch.arange(1 - rows, rows)
        right = torch.arange(1 - columns, columns)
        squared_distance = (down[:, None] / rows) ** 2 + (right[None] / columns) ** 2
        self.offsets = nn.Parameter(-NEARNESS * squared_distance)  # (2 rows - 1, 2 columns - 1)
        self.scale = nn.Parameter(torch.tensor(10.0))
        self.ret_scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-10.0))
        self.grid = grid

    def scalar_parameters(self) -> list[nn.Parameter]:
        """The parameters that are single numbers, or one number for each displacement."""
        return [self.sharpness, self.offsets, self.scale, self.ret_scale, self.bias]

    def forward(
        self, kernel: Tensor, sketch: Tensor, ret: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B,) of B pairs, and what each pair of patches adds to them (B, P, P), sketch patches in rows.

        Args:
            kernel: (B, P, P) cosines.
            sketch: (B, P, D) tokens of the sketches.
            ret: (B,) cosines of [Ret].
            sketch_mask, photo_mask: (B, P) bool; a token where it is False neither chooses nor is chosen.
        """
        shares = self.compute_shares(kernel, sketch, sketch_mask, photo_mask)
        return shares.sum((1, 2)) + self.ret_scale * ret.to(shares) + self.bias, shares

    def compute_shares(
        self, kernel: Tensor, sketch: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None
    ) -> Tensor:
        """What each pair of patches adds to the logit (B, P, P); arguments as of `forward`."""
        match_logits = self.sharpness * kernel + self.pair_offsets()
        weight_logits = self.weight(sketch.to(self.weight.weight.dtype)).squeeze(-1).float()
        if photo_mask is not None:
            match_logits = match_logits.masked_fill(~photo_mask[:, None], -torch.inf)
        if sketch_mask is not None:
            weight_logits = weight_logits.masked_fill(~sketch_mask, -torch.inf)
        # where a picture lost all its tokens the softmax is NaN: nothing matches there
        probabilities = match_logits.softmax(-1).nan_to_num(0)
        weights = weight_logits.softmax(-1).nan_to_num(0)
        return self.scale * weights[:, :, None] * probabilities * kernel

    def pair_offsets(self) -> Tensor:
        """`offsets` for every pair of a sketch patch and a photo patch (P, P)."""
        rows, columns = self.grid
        y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
        y, x = y.flatten(), x.flatten()
        down = y[None] - y[:, None] + rows - 1
        right = x[None] - x[:, None] + columns - 1
        device = self.offsets.device
        return self.offsets[down.to(device), right.to(device)]
