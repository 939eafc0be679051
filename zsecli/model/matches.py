"""A relation score that is the mean similarity of local matches, so that its terms explain it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 15.0  # of the softmax over the patches of a photo
NEARNESS = 100.0  # decrease of a match's logit per squared distance from its expected position, in sides of the picture
ROUNDS = 2  # of fitting where the photo shows the drawn thing
SCALES = (0.4, 1.2)  # allowed size of the thing in the photo, relative to the sketch, which is cut to its strokes


class MatchReadout(nn.Module):
    """Kernels of cosines between all patches of a sketch and all patches of a photo -> logits.

    Every patch i of the sketch chooses patches j of the photo by p_ij, the softmax over j of

        sharpness * cosine_ij - nearness * |x_j - (s * x_i + t)|^2

    where x are the centres of patches in sides of the picture. The scale s and the shift t say where, and how large,
    the photo shows what is drawn. They are the weighted least-squares fit of the positions that the patches choose by
    their cosines alone, fitted ROUNDS times, so that matches which agree with most others count. The logit is

        scale * sum_i weight_i * sum_j p_ij * cosine_ij + ret_scale * cosine of the two [Ret] + bias

    with weights, which sum to 1, learned from the sketch's tokens. Each term of the double sum is what one pair of
    patches adds to the logit.
    """

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.weight = nn.Linear(width, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.sharpness = nn.Parameter(torch.tensor(SHARPNESS))
        self.nearness = nn.Parameter(torch.tensor(NEARNESS))
        self.scale = nn.Parameter(torch.tensor(20.0))
        self.ret_scale = nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-12.0))
        self.grid = grid

    def scalars(self) -> list[nn.Parameter]:
        """The parameters that are single numbers."""
        return [self.sharpness, self.nearness, self.scale, self.ret_scale, self.bias]

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
        shares = self.shares(kernel, sketch, sketch_mask, photo_mask)
        return shares.sum((1, 2)) + self.ret_scale * ret.to(shares) + self.bias, shares

    def shares(self, kernel: Tensor, sketch: Tensor, sketch_mask: Tensor | None, photo_mask: Tensor | None) -> Tensor:
        """What each pair of patches adds to the logit (B, P, P); arguments as of `forward`."""
        weight_logits = self.weight(sketch.to(self.weight.weight.dtype)).squeeze(-1).float()
        if sketch_mask is not None:
            weight_logits = weight_logits.masked_fill(~sketch_mask, -torch.inf)
        # where a picture lost all its tokens the softmax is NaN: nothing matches there
        weights = weight_logits.softmax(-1).nan_to_num(0)
        similarity = self.sharpness * kernel
        if photo_mask is not None:
            similarity = similarity.masked_fill(~photo_mask[:, None], -torch.inf)
        centres = self._patch_centres(kernel.device)
        choice = similarity.softmax(-1).nan_to_num(0)
        for _ in range(ROUNDS):
            expected = _fit_positions(weights, choice, centres)
            distance = torch.cdist(expected, centres.expand(len(expected), -1, -1)).square()
            choice = (similarity - self.nearness * distance).softmax(-1).nan_to_num(0)
        return self.scale * weights[:, :, None] * choice * kernel

    def _patch_centres(self, device: torch.device) -> Tensor:
        """(P, 2) float: x and y of the patches' centres, in sides of the picture."""
        rows, columns = self.grid
        y = (torch.arange(rows, device=device) + 0.5) / rows
        x = (torch.arange(columns, device=device) + 0.5) / columns
        return torch.stack([x.repeat(rows), y.repeat_interleave(columns)], 1)


def _fit_positions(weights: Tensor, choice: Tensor, centres: Tensor) -> Tensor:
    """Position in the photo of each sketch patch by the fitted scale and shift -> (B, P, 2), in sides.

    Args:
        weights: (B, P) of the sketch patches.
        choice: (B, P, P) probabilities of the photo patches, for each sketch patch.
        centres: (P, 2) of the patches.
    """
    chosen = choice @ centres
    sketch_mean = weights @ centres
    photo_mean = (weights[:, :, None] * chosen).sum(1)
    sketch_offset = centres - sketch_mean[:, None]
    photo_offset = chosen - photo_mean[:, None]
    covariance = (weights[:, :, None] * sketch_offset * photo_offset).sum((1, 2))
    variance = (weights[:, :, None] * sketch_offset.square()).sum((1, 2))
    scale = (covariance / variance.clamp(min=1e-4)).clamp(*SCALES)
    return photo_mean[:, None] + scale[:, None, None] * sketch_offset
