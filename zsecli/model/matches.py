"""A relation score that is the mean likeness of local matches, so that its parts are its explanation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 15.0  # of the softmax over the places of a photo
NEARNESS = 10.0  # how much that falls with the squared distance, in sides of the picture


class MatchReadout(nn.Module):
    """Kernels of cosines between all places of a sketch and all places of a photo -> logits.

    Every place i of the sketch chooses photo places j by p_ij, the softmax of `sharpness` * cosine_ij + `offsets`, a
    learned value for how far j lies from i in which direction. The logit is

        scale * sum_i weight_i * sum_j p_ij * cosine_ij + ret_scale * cosine of the two [Ret] + bias

    with weights that the sketch's tokens learn to give themselves, as blank paper says nothing. Each term of the double
    sum is what one pair of places adds to the logit.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = grid
        self.weight = nn.Linear(width, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        down, right = torch.arange(1 - rows, rows), torch.arange(1 - columns, columns)
        distance = (down[:, None] / rows) ** 2 + (right[None] / columns) ** 2
        self.offsets = nn.Parameter(-NEARNESS * distance)
        self.scale, self.ret_scale = nn.Parameter(torch.tensor(10.0)), nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-10.0))
        self.grid = grid

    def few(self) -> list[nn.Parameter]:
        """The parameters that are single numbers, or one for each displacement."""
        return [self.sharpness, self.offsets, self.scale, self.ret_scale, self.bias]

    def forward(
        self, kernel: Tensor, sketch: Tensor, ret: Tensor, sketch_kept: Tensor | None, photo_kept: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B,) of B pairs, and what each pair of places adds to them (B, P, P), sketch places in rows.

        Args:
            kernel: (B, P, P) cosines. sketch: (B, P, D) the sketches' tokens. ret: (B,) cosines of [Ret].
            sketch_kept, photo_kept: (B, P) bool; a token that was dropped neither chooses nor is chosen.
        """
        shares = self.shares(kernel, sketch, sketch_kept, photo_kept)
        return shares.sum((1, 2)) + self.ret_scale * ret.to(shares) + self.bias, shares

    def shares(self, kernel: Tensor, sketch: Tensor, sketch_kept: Tensor | None, photo_kept: Tensor | None) -> Tensor:
        """What each pair of places adds to the logit (B, P, P), see `forward`."""
        choice = self.sharpness * kernel + self.offset_of_pairs()
        weight = self.weight(sketch.to(self.weight.weight.dtype)).squeeze(-1).float()
        if photo_kept is not None:
            choice = choice.masked_fill(~photo_kept[:, None], -torch.inf)
        if sketch_kept is not None:
            weight = weight.masked_fill(~sketch_kept, -torch.inf)
        # where a picture lost all its tokens the softmax is NaN: nothing matches there
        chosen, weight = choice.softmax(-1).nan_to_num(0), weight.softmax(-1).nan_to_num(0)
        return self.scale * weight[:, :, None] * chosen * kernel

    def offset_of_pairs(self) -> Tensor:
        """`offsets` for every sketch place and photo place (P, P)."""
        rows, columns = self.grid
        y, x = (v.flatten() for v in torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij"))
        down, right = y[None] - y[:, None] + rows - 1, x[None] - x[:, None] + columns - 1
        return self.offsets[down.to(self.offsets.device), right.to(self.offsets.device)]
