"""The kernel-based relation network: cosine of every sketch cell with every photo cell, reduced to one score."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.model.config import RelationConfig
from zsecli.model.matches import MatchReadout


class RelationNetwork(nn.Module):
    """Tokens of the two streams -> the kernel and the relation logit.

    Args:
        width: D of the tokens.
        grid: rows and columns of the P patches.
    """

    def __init__(self, config: RelationConfig, width: int, grid: tuple[int, int]) -> None:
        super().__init__()
        self.config = config
        self.grid = grid
        cell = config.cell
        self.pool = nn.Conv2d(width, config.project, cell, stride=cell) if config.project else None
        self.matches = MatchReadout(width, grid) if config.readout == "matches" else None
        if self.matches is not None:
            return
        rows, columns = (-(-side // cell) for side in grid)
        n_cells = rows * columns
        sizes = (n_cells**2, *config.hidden)
        layers: list[nn.Module] = []
        for in_size, out_size in pairwise(sizes):
            layers += [nn.Linear(in_size, out_size), nn.ReLU(), nn.Dropout(config.dropout)]
        self.mlp = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))
        self.direct = nn.Linear(2, 1) if config.direct else None
        if self.direct is not None:  # starts as a score that rises from 0.01 to 0.99 between the mean cosines 0 and 1
            nn.init.constant_(self.direct.weight, 5)
            nn.init.constant_(self.direct.bias, -5)
            for parameter in self.mlp[-1].parameters():
                nn.init.zeros_(parameter)

    def compute_cells(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """Patch tokens (B, P, D) of the whole grid -> unit vectors of its cells (B, C, E), 0 for an empty cell.

        Args:
            mask: (B, P) bool, False for dropped tokens; None: none was dropped.
        """
        return F.normalize(self._pool_cells(tokens, mask).float(), dim=-1)

    def compute_token_shares(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """What each patch token (P, D) of a picture adds to each of its cells -> (P, C, E).

        The shares sum to `compute_cells`, except for the bias of a learned pooling, which belongs to no token.

        Args:
            mask: (P,) bool, False for dropped tokens.
        """
        length = self._cell_lengths(tokens, mask)
        single_tokens = torch.diag_embed(tokens.T).permute(1, 2, 0)  # (P, P, D): picture i has only its token i
        without_tokens = self._pool_cells(torch.zeros_like(tokens)[None], mask[None])
        pooled = self._pool_cells(single_tokens, mask.expand(len(single_tokens), -1))
        return (pooled - without_tokens) / length

    def compute_bias_share(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """What the bias of a learned pooling adds to each cell of a picture with patch tokens (P, D) -> (C, E).

        Args:
            mask: (P,) bool, False for dropped tokens.
        """
        without_tokens = self._pool_cells(torch.zeros_like(tokens)[None], mask[None])
        return without_tokens[0] / self._cell_lengths(tokens, mask)[0]

    def _cell_lengths(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(1, C, 1) lengths of the cells of patch tokens (P, D), before they become unit vectors."""
        return self._pool_cells(tokens[None], mask[None]).norm(dim=-1, keepdim=True).clamp(min=1e-12)

    def _pool_cells(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        """Patch tokens (B, P, D) -> cells (B, C, E) of any length."""
        if self.config.layout == "memory":
            if mask is not None:  # a reinterpreted cell is no area of the picture: the token can only be set to 0
                tokens = tokens * mask.unsqueeze(-1)
                mask = None
            grid = tokens.reshape(len(tokens), -1, *self.grid)
        else:
            grid = tokens.transpose(1, 2).unflatten(-1, self.grid)
        size = self.config.cell
        padding = (0, -self.grid[1] % size, 0, -self.grid[0] % size)
        if mask is None and not any(padding):
            pooled = F.avg_pool2d(grid, size) if self.pool is None else self.pool(grid)
            return pooled.flatten(2).transpose(1, 2)
        if mask is None:
            present = grid.new_ones(len(grid), 1, *self.grid)
        else:
            present = mask.to(grid).unflatten(-1, self.grid).unsqueeze(1)
        grid = F.pad(grid * present, padding)
        present = F.pad(present, padding)
        share = F.avg_pool2d(present, size)  # of a cell's tokens that are present
        if self.pool is None:
            pooled = F.avg_pool2d(grid, size) / share.clamp(min=1e-6)
        else:
            pooled = self.pool(grid) * (share > 0)
        return pooled.flatten(2).transpose(1, 2)

    def forward(
        self,
        sketch: Tensor,
        photo: Tensor,
        sketch_mask: Tensor | None = None,
        photo_mask: Tensor | None = None,
        ret: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Relate B pairs.

        Args:
            sketch, photo: (B, P, D) patch tokens.
            sketch_mask, photo_mask: (B, P) bool, False for dropped tokens; None: none was dropped.
            ret: (B,) cosine of the pairs' [Ret] before cross-attention, for a network that uses it.

        Returns:
            Logits (B,); kernels (B, C, C), with sketch cells in rows; and, where the logit is a sum over pairs of
            patches, what each of them adds to it (B, P, P), else None.
        """
        sketch_cells = self.compute_cells(sketch, sketch_mask)
        photo_cells = self.compute_cells(photo, photo_mask)
        kernel = torch.bmm(sketch_cells, photo_cells.transpose(1, 2))
        if self.matches is not None:
            assert ret is not None
            logit, shares = self.matches(kernel, sketch, ret, sketch_mask, photo_mask)
            return logit, kernel, shares
        return self.compute_logit(kernel, ret), kernel, None

    def compute_logit(self, kernel: Tensor, ret: Tensor | None = None) -> Tensor:
        """Kernels (B, C, C), and cosines of [Ret] (B,) for a network that uses them -> relation logits (B,)."""
        logit = self.mlp(kernel.flatten(1))
        if self.direct is not None:
            assert ret is not None
            same_cell = kernel.diagonal(dim1=1, dim2=2).mean(1)
            logit = logit + self.direct(torch.stack([ret.to(same_cell), same_cell], 1))
        return logit.squeeze(1)
