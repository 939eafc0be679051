"""The image encoder: a Vision Transformer with [Ret] as its class token, and token selection between its blocks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from zsecli.errors import UsageError
from zsecli.model import vit as vits
from zsecli.model.build_vit import HINT_CLASSIFIER, build_vit
from zsecli.model.config import BackboneConfig, RetrievalConfig, SelectionConfig, TokenizerConfig
from zsecli.model.modality_mean import ModalityMean
from zsecli.model.retrieval_head import Retrieval, RetrievalHead
from zsecli.model.selection import count_selected, find_strokes, gather_tokens, scatter_to_grid, select_tokens
from zsecli.model.tokenizer import ConvTokenizer
from zsecli.model.trunk_embed import HeadedTrunkEmbed, TrunkEmbed


@dataclass
class Encoding:
    """Backbone output for a batch of B pictures of P patches."""

    tokens: Tensor
    """(B, 1 + T, D) float: [Ret], then the T patch tokens that selection kept, in grid order."""

    index: Tensor
    """(B, T) int64: the patch number of each token in the picture's whole grid."""

    attention: Tensor
    """(B, H, P) float: attention of [Ret] to each patch in the last block, per head; 0 for a dropped patch."""

    retrieval: Retrieval | None = None
    """Output of the retrieval head, for a network that keeps the head of its backbone."""

    @property
    def ret(self) -> Tensor:
        """(B, R) retrieval vectors; the token [Ret], (B, D), for a network without retrieval head."""
        return self.tokens[:, 0] if self.retrieval is None else self.retrieval.vector


class Backbone(nn.Module):
    """Patch embedding, tokenizer, transformer blocks and token selection.

    Args:
        pretrained: download the weights that timm has for the backbone.
        weights: load them from this file instead.
    """

    def __init__(
        self,
        config: BackboneConfig,
        tokenizer: TokenizerConfig,
        selection: SelectionConfig,
        pretrained: bool = False,
        weights: Path | None = None,
        retrieval: RetrievalConfig = RetrievalConfig(),  # noqa: B008, it is frozen
    ) -> None:
        super().__init__()
        keep_head = retrieval.kind == "head"
        self.vit = build_vit(config, pretrained, weights, keep_head)
        self.grid: tuple[int, int] = tuple(self.vit.patch_embed.grid_size)
        self.n_patches = self.grid[0] * self.grid[1]
        self.width: int = self.vit.embed_dim
        self.selection = selection
        self.adds_mean_to_ret = config.ret == "mean"
        self.ret_token: nn.Parameter | None = None
        if not vits.has_class_token(self.vit):  # [Ret] is a token of its own, which starts as the mean of the patches
            self.ret_token = nn.Parameter(torch.zeros(1, 1, self.width))
            self.adds_mean_to_ret = True
            vits.add_prefix_token(self.vit)
        self.n_prefix_tokens: int = self.vit.num_prefix_tokens + (self.ret_token is not None)
        self.tokenizer = None if tokenizer.on == "off" else ConvTokenizer(tokenizer, self.width)
        self.retrieval_head: RetrievalHead | None = None
        self.token_mean: ModalityMean | None = None
        if keep_head:
            self._add_retrieval_head(retrieval, is_hybrid=config.kind == "hybrid")
        if selection.rate < 1:
            self._check_selected_blocks()
            self.check_selection()

    def _add_retrieval_head(self, retrieval: RetrievalConfig, is_hybrid: bool) -> None:
        n_features = self.classifier.in_features
        n_classes = self.classifier.out_features
        ret_width = self.width if is_hybrid else None
        self.retrieval_head = RetrievalHead(retrieval, n_features, n_classes, ret_width)
        if not is_hybrid:  # a trunk has means of its maps
            self.token_mean = ModalityMean(self.width)

    def _check_selected_blocks(self) -> None:
        n_blocks = len(self.vit.blocks)
        for block in self.selection.blocks:
            if not 1 <= block <= n_blocks:
                raise UsageError(f"tokens cannot be selected after block {block}: there are {n_blocks}")

    def check_selection(self) -> None:
        """Raise UsageError where no token can be dropped between the blocks."""
        if not vits.can_drop_tokens(self.vit):
            raise UsageError(
                "tokens cannot be selected in a backbone whose attention is biased by their places",
                "--keep-rate 1, or another backbone",
            )

    @property
    def n_kept(self) -> int:
        """Number of patch tokens after the last selection."""
        remaining = self.n_patches
        if self.selection.rate < 1:
            for _ in set(self.selection.blocks):
                remaining = count_selected(self.selection.rate, remaining)
        return remaining

    @property
    def classifier(self) -> nn.Linear:
        """The classifier that the backbone was trained with; UsageError where it has none."""
        embed = self.vit.patch_embed
        if isinstance(embed, TrunkEmbed):
            classifier, name = embed.trunk.get_classifier(), embed.name
        else:
            classifier, name = self.vit.get_classifier(), "this backbone"
        if not isinstance(classifier, nn.Linear):
            raise UsageError(f"{name} has no classifier, whose head the retrieval vector is made of", HINT_CLASSIFIER)
        return classifier

    def forward(self, picture: Tensor, is_sketch: bool) -> Encoding:
        """Encode normalised pictures (B, 3, H, W) of one modality."""
        encoding = self._encode(picture, is_sketch)
        if is_sketch and self.selection.blank == "drop":
            has_strokes = find_strokes(picture, self.grid).gather(1, encoding.index).unsqueeze(-1)
            ret, patches = encoding.tokens[:, :1], encoding.tokens[:, 1:]
            # a token of zeros is left out by Scoring.prepare
            encoding.tokens = torch.cat([ret, patches * has_strokes], 1)
        return encoding

    def _encode(self, picture: Tensor, is_sketch: bool) -> Encoding:
        if self.retrieval_head is None:
            return self._encode_without_head(picture, is_sketch)
        embed = self.vit.patch_embed
        if isinstance(embed, HeadedTrunkEmbed):
            patches, feature = embed.compute_tokens_and_feature(picture, is_sketch)
            if self.tokenizer is not None:
                patches = self.tokenizer(patches, picture, self.grid, is_sketch)
            encoding = self.forward_trainable(patches, are_patches=True)
            ret = encoding.tokens[:, 0]
            encoding.retrieval = self.retrieval_head(feature, ret, is_sketch, self.classifier)
            return encoding
        assert self.token_mean is not None
        encoding = self._encode_without_head(picture, is_sketch)
        ret, patches = encoding.tokens[:, :1], encoding.tokens[:, 1:]
        encoding.retrieval = self.retrieval_head(ret[:, 0], ret[:, 0], is_sketch, self.classifier)
        encoding.tokens = torch.cat([ret, self.token_mean(patches, is_sketch)], 1)
        return encoding

    def _encode_without_head(self, picture: Tensor, is_sketch: bool) -> Encoding:
        x = self.forward_frozen(picture)
        if self.tokenizer is None:
            return self.forward_trainable(x)
        patches = self.tokenizer(self._project(x), picture, self.grid, is_sketch)
        return self.forward_trainable(patches, are_patches=True)

    def forward_frozen(self, picture: Tensor, blocks: int = 0) -> Tensor:
        """The part that training may freeze: patch embedding and the first `blocks` blocks, without tokenizer.

        Args:
            picture: (B, 3, H, W) normalised pictures.
            blocks: number of blocks to run.

        Returns:
            With blocks: the tokens (B, prefix + P, D) behind them. Without: the patch tokens (B, P, D), or the
            maps (B, P, C) of a hybrid's trunk.
        """
        embed = self.vit.patch_embed
        x: Tensor = embed.compute_maps(picture) if isinstance(embed, TrunkEmbed) else embed(picture)
        if not blocks:
            return x
        x = self._prepend_ret(self._project(x))
        positions = vits.find_positions(self.vit)
        for number, block in enumerate(self.vit.blocks[:blocks]):
            x = block(x, **positions.options(number, None))
        return x

    def _project(self, x: Tensor) -> Tensor:
        """The patch tokens (B, P, D) of what `forward_frozen` returns without blocks."""
        embed = self.vit.patch_embed
        return embed.proj(x) if isinstance(embed, TrunkEmbed) else x

    def _prepend_ret(self, patches: Tensor) -> Tensor:
        """Patch tokens (B, P, D) -> the blocks' input (B, prefix + P, D), with positions and [Ret]."""
        x = vits.embed_positions(self.vit, patches)
        if self.adds_mean_to_ret:
            mean = x[:, self.vit.num_prefix_tokens :].mean(1, keepdim=True)
            if self.ret_token is not None:
                x = torch.cat([self.ret_token + mean, x], 1)
            else:
                x = torch.cat([x[:, :1] + mean, x[:, 1:]], 1)
        return self.vit.norm_pre(x) if hasattr(self.vit, "norm_pre") else x

    def forward_trainable(self, x: Tensor, blocks: int = 0, are_patches: bool = False) -> Encoding:
        """Everything behind `forward_frozen`.

        Args:
            x: output of `forward_frozen` with the same `blocks`.
            are_patches: x is the patch tokens (B, P, D) instead, of a hybrid too.
        """
        if not blocks:
            x = self._prepend_ret(x if are_patches else self._project(x))
        n_prefix = self.n_prefix_tokens
        n_blocks = len(self.vit.blocks)
        positions = vits.find_positions(self.vit)
        index = torch.arange(self.n_patches, device=x.device).expand(len(x), -1)
        remaining: Tensor | None = None  # the index once selection has dropped patches; None: all are there
        attention = x.new_empty(0)
        for number, block in enumerate(self.vit.blocks[blocks:], blocks + 1):
            options = positions.options(number - 1, remaining)
            block_input = x
            x = block(block_input, **options)
            is_last = number == n_blocks
            selects = self.selection.rate < 1 and number in self.selection.blocks
            if not (is_last or selects):
                continue
            ret_row = vits.compute_ret_attention(block, block_input, options)[..., n_prefix:]
            if is_last:
                attention = scatter_to_grid(ret_row, index, self.n_patches)
            if selects:
                selected = select_tokens(ret_row, self.selection.rate)
                patches = gather_tokens(x[:, n_prefix:], selected)
                x = torch.cat([x[:, :n_prefix], patches], 1)
                index = index.gather(1, selected)
                remaining = index
        x = vits.find_last_norm(self.vit)(x)
        tokens = torch.cat([x[:, :1], x[:, n_prefix:]], 1)
        return Encoding(tokens, index, attention)
