"""The kernel-based relation network: cosine of every sketch cell with every photo cell, to one score."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import RelationConfig
from zsecli.model.matches import MatchReadout


class RelationNetwork(nn.Module):
    """Tokens of the two streams -> the kernel and the relation logit."""

    def __init__(self, config: RelationConfig, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config, self.grid = config, grid
        cell = config.cell
        self.pool = nn.Conv2d(width, config.project, cell, stride=cell) if config.project else None
        self.matches = MatchReadout(width, grid) if config.readout == "matches" else None
        if self.matches is not None:
            return
        rows, columns = (-(-side // cell) for side in grid)
        sizes = ((rows * columns) ** 2, *config.hidden)
        layers: list[nn.Module] = []
        for ins, outs in pairwise(sizes):
            layers += [nn.Linear(ins, outs), nn.ReLU(), nn.Dropout(config.dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.direct = nn.Linear(2, 1) if config.direct else None
        if self.direct is not None:  # begins as a score that rises from 0.01 to 0.99 between the mean cosines 0 and 1
            nn.init.constant_(self.direct.weight, 5)
            nn.init.constant_(self.direct.bias, -5)
            for parameter in self.mlp[-1].parameters():
                nn.init.zeros_(parameter)

    def cells(self, tokens: Tensor, kept: Tensor | None = None) -> Tensor:
        """Patch tokens (B, P, D), all places of the grid -> unit vectors (B, C, E), 0 where nothing is.

        Args:
            kept: (B, P) bool; a dropped token counts for nothing.
        """
        return F.normalize(self._pooled(tokens, kept).float(), dim=-1)

    def shares(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """What each patch token (P, D) of a picture adds to each of its cells -> (P, C, E).

        They add up to `cells`, but for the bias of a learned pooling, which is no token's.
        """
        length = self._lengths(tokens, kept)
        each = torch.diag_embed(tokens.T).permute(1, 2, 0)  # of P pictures the one token of each
        none = self._pooled(torch.zeros_like(tokens)[None], kept[None])
        return (self._pooled(each, kept.expand(len(each), -1)) - none) / length

    def bias_share(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """What the bias of a learned pooling adds to each cell of a picture of patch tokens (P, D) -> (C, E)."""
        return self._pooled(torch.zeros_like(tokens)[None], kept[None])[0] / self._lengths(tokens, kept)[0]

    def _lengths(self, tokens: Tensor, kept: Tensor) -> Tensor:
        """(1, C, 1) lengths of the cells before they are made unit vectors."""
        return self._pooled(tokens[None], kept[None]).norm(dim=-1, keepdim=True).clamp(min=1e-12)

    def _pooled(self, tokens: Tensor, kept: Tensor | None) -> Tensor:
        if self.config.layout == "memory":
            if kept is not None:  # a reinterpreted cell holds no place: all that can be done is to silence the token
                tokens, kept = tokens * kept.unsqueeze(-1), None
            grid = tokens.reshape(len(tokens), -1, *self.grid)
        else:
            grid = tokens.transpose(1, 2).unflatten(-1, self.grid)
        size = self.config.cell
        pad = (0, -self.grid[1] % size, 0, -self.grid[0] % size)
        if kept is None and not any(pad):
            return (F.avg_pool2d(grid, size) if self.pool is None else self.pool(grid)).flatten(2).transpose(1, 2)
        present = (
            grid.new_ones(len(grid), 1, *self.grid)
            if kept is None
            else kept.to(grid).unflatten(-1, self.grid).unsqueeze(1)
        )
        grid, present = F.pad(grid * present, pad), F.pad(present, pad)
        share = F.avg_pool2d(present, size)
        if self.pool is not None:
            pooled = self.pool(grid) * (share > 0)
        else:
            pooled = F.avg_pool2d(grid, size) / share.clamp(min=1e-6)
        return pooled.flatten(2).transpose(1, 2)

    def forward(
        self,
        sketch: Tensor,
        photo: Tensor,
        sketch_kept: Tensor | None = None,
        photo_kept: Tensor | None = None,
        ret: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Patch tokens (B, P, D) of B pairs -> logits (B,) and kernels (B, C, C), sketch cells in rows.

        Args:
            ret: (B,) cosine of the pairs' [Ret] before cross-attention, for a network that asks for it.

        Returns:
            With them, where the logit is a sum over pairs of places, what each of these adds to it (B, P, P).
        """
        kernel = torch.bmm(self.cells(sketch, sketch_kept), self.cells(photo, photo_kept).transpose(1, 2))
        if self.matches is not None:
            assert ret is not None
            logit, shares = self.matches(kernel, sketch, ret, sketch_kept, photo_kept)
            return logit, kernel, shares
        return self.logit(kernel, ret), kernel, None

    def logit(self, kernel: Tensor, ret: Tensor | None = None) -> Tensor:
        """Kernels (B, C, C), and (B,) cosines of [Ret] for a network that asks for it -> (B,) relation logits."""
        logit = self.mlp(kernel.flatten(1))
        if self.direct is not None:
            assert ret is not None
            same = kernel.diagonal(dim1=1, dim2=2).mean(1)
            logit = logit + self.direct(torch.stack([ret.to(same), same], 1))
        return logit.squeeze(1)
