"""A relation score that is the mean likeness of local matches, so that its parts are its explanation."""

from __future__ import annotations

import torch
from torch import Tensor, nn

SHARPNESS = 15.0  # of the softmax over the patches of a photo
NEARNESS = 100.0  # how much that falls with the squared distance from the expected position, in sides of the picture
ROUNDS = 2  # of fitting where the photo shows the drawn thing
SCALES = (0.4, 1.2)  # of the thing in the photo, beside the sketch: a sketch is cut to its strokes


class MatchReadout(nn.Module):
    """Kernels of cosines between all patches of a sketch and all patches of a photo -> logits.

    Every patch i of the sketch chooses patches j of the photo by p_ij, the softmax over j of

        sharpness * cosine_ij - nearness * |x_j - (s * x_i + t)|^2

    where x are the centres of patches in sides of the picture. The scale s and the shift t say where, and how large,
    the photo shows what is drawn. They are the weighted least-squares fit of the positions that the patches choose by
    their cosines alone, fitted ROUNDS times, so that matches which agree with most others count. The logit is

        scale * sum_i weight_i * sum_j p_ij * cosine_ij + ret_scale * cosine of the two [Ret] + bias

    with weights that the sketch's tokens learn to give themselves. Each term of the double sum is what one pair of
    patches adds to the logit.
    """

    centres: Tensor

    def __init__(self, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        rows, columns = grid
        self.weight = nn.Linear(width, 1)
        nn.init.zeros_(self.weight.weight)
        nn.init.zeros_(self.weight.bias)
        self.sharpness, self.nearness = nn.Parameter(torch.tensor(SHARPNESS)), nn.Parameter(torch.tensor(NEARNESS))
        self.scale, self.ret_scale = nn.Parameter(torch.tensor(20.0)), nn.Parameter(torch.tensor(10.0))
        self.bias = nn.Parameter(torch.tensor(-12.0))
        y, x = torch.meshgrid((torch.arange(rows) + 0.5) / rows, (torch.arange(columns) + 0.5) / columns, indexing="ij")
        self.register_buffer("centres", torch.stack([x.flatten(), y.flatten()], 1), persistent=False)

    def scalars(self) -> list[nn.Parameter]:
        """The parameters that are single numbers."""
        return [self.sharpness, self.nearness, self.scale, self.ret_scale, self.bias]

    def forward(
        self, kernel: Tensor, sketch: Tensor, ret: Tensor, sketch_kept: Tensor | None, photo_kept: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Logits (B,) of B pairs, and what each pair of patches adds to them (B, P, P), sketch patches in rows.

        Args:
            kernel: (B, P, P) cosines. sketch: (B, P, D) the sketches' tokens. ret: (B,) cosines of [Ret].
            sketch_kept, photo_kept: (B, P) bool; a token that was dropped neither chooses nor is chosen.
        """
        shares = self.shares(kernel, sketch, sketch_kept, photo_kept)
        return shares.sum((1, 2)) + self.ret_scale * ret.to(shares) + self.bias, shares

    def shares(self, kernel: Tensor, sketch: Tensor, sketch_kept: Tensor | None, photo_kept: Tensor | None) -> Tensor:
        """What each pair of patches adds to the logit (B, P, P), see `forward`."""
        weight = self.weight(sketch.to(self.weight.weight.dtype)).squeeze(-1).float()
        if sketch_kept is not None:
            weight = weight.masked_fill(~sketch_kept, -torch.inf)
        # where a picture lost all its tokens the softmax is NaN: nothing matches there
        weight = weight.softmax(-1).nan_to_num(0)
        similarity = self.sharpness * kernel
        if photo_kept is not None:
            similarity = similarity.masked_fill(~photo_kept[:, None], -torch.inf)
        chosen = similarity.softmax(-1).nan_to_num(0)
        for _ in range(ROUNDS):
            expected = self._expected_positions(weight, chosen)
            distance = torch.cdist(expected, self.centres.expand(len(expected), -1, -1)).square()
            chosen = (similarity - self.nearness * distance).softmax(-1).nan_to_num(0)
        return self.scale * weight[:, :, None] * chosen * kernel

    def _expected_positions(self, weight: Tensor, chosen: Tensor) -> Tensor:
        """Where in the photo each patch of the sketch is by the fitted scale and shift: (B, P, 2), in sides.

        Args:
            weight: (B, P) of the patches of the sketch. chosen: (B, P, P) how they choose among those of the photo.
        """
        found = chosen @ self.centres
        sketch_mean, photo_mean = weight @ self.centres, (weight[:, :, None] * found).sum(1)
        sketch_offset = self.centres - sketch_mean[:, None]
        photo_offset = found - photo_mean[:, None]
        covariance = (weight[:, :, None] * sketch_offset * photo_offset).sum((1, 2))
        variance = (weight[:, :, None] * sketch_offset.square()).sum((1, 2))
        scale = (covariance / variance.clamp(min=1e-4)).clamp(*SCALES)
        return photo_mean[:, None] + scale[:, None, None] * sketch_offset
