"""Cross-attention between the tokens of a sketch and those of a photo.

A stream holds the tokens of one picture: their values, and the residual. What comes from the other picture is swapped:
with `swap="q"`, the paper's reading, its queries (the sketch stream is softmax(Q_photo K_sketch) V_sketch); with
`swap="k"`, the authors' release, its keys (the sketch stream is softmax(Q_sketch K_photo) V_sketch).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.arrays import Ints
from zsecli.errors import UsageError
from zsecli.images.preprocess_rules import Modality
from zsecli.model.config import CrossAttentionConfig


class UnbiasedNorm(nn.Module):
    """a * (x - mean) / (std + 1e-6) + b over the last axis, with the unbiased std (as in the authors' release)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        # PyTorch's own norm, with the biased std, is several times as fast as std_mean; a factor corrects its result.
        # The gradient of the factor, which eps makes 1e-6 of the whole, is left out.
        width = x.shape[-1]
        normed, _, rstd = torch.native_layer_norm(x, (width,), None, None, 1e-12)
        factor = 1 / ((width / (width - 1)) ** 0.5 + 1e-6 * rstd.detach())
        return torch.addcmul(self.bias, normed * factor.to(x.dtype), self.weight)


class Prepared(NamedTuple):
    """What all pairs need of B pictures of one modality, computed once per picture."""

    tokens: Tensor
    """(B, N, D) float: input of the stream, [Ret] and then the whole grid."""

    ret: Tensor
    """(B, R) float: retrieval vectors; the first tokens for a network without retrieval head."""

    q: Tensor
    """(B, H, N, D/H) float: queries; with swap="q", for the other stream and by its weights."""

    k: Tensor
    """(B, H, N, D/H) float: keys; with swap="k", for the other stream and by its weights."""

    v: Tensor
    """(B, H, N, D/H) float: values for the picture's own stream, 0 for a dropped token."""

    mask: Tensor | None
    """(B, N) bool: False for a dropped token; None where no token was dropped."""

    def take(self, rows: slice | Tensor) -> Prepared:
        """The pictures `rows`."""
        return self._map(lambda x: x[rows])

    def take_pairs(self, rows: Ints) -> Prepared:
        """The pictures `rows` (P,) of P pairs, without a copy for P times one picture, or for P neighbours."""
        first, last = int(rows[0]), int(rows[-1])
        if (rows == first).all():
            return self._map(lambda x: x[first].expand(len(rows), *x.shape[1:]))
        if (np.diff(rows) == 1).all():
            return self.take(slice(first, last + 1))
        index = torch.from_numpy(rows).to(self.tokens.device)
        return self._map(lambda x: x.index_select(0, index))

    @staticmethod
    def concatenate(batches: Sequence[Prepared]) -> Prepared:
        """The pictures of all batches, in order."""
        masks = [batch.mask for batch in batches if batch.mask is not None]
        return Prepared(
            tokens=torch.cat([batch.tokens for batch in batches]),
            ret=torch.cat([batch.ret for batch in batches]),
            q=torch.cat([batch.q for batch in batches]),
            k=torch.cat([batch.k for batch in batches]),
            v=torch.cat([batch.v for batch in batches]),
            mask=torch.cat(masks) if masks else None,
        )

    def mask_tokens(self, mask: Tensor) -> Prepared:
        """One picture as B pictures, each without the tokens where `mask` (B, N) bool is False."""
        if self.mask is not None:
            mask = mask & self.mask
        repeated = self._map(lambda x: x.expand(len(mask), *x.shape[1:]))
        return repeated._replace(v=repeated.v * mask[:, None, :, None], mask=mask)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Prepared:
        return Prepared(
            tokens=function(self.tokens),
            ret=function(self.ret),
            q=function(self.q),
            k=function(self.k),
            v=function(self.v),
            mask=None if self.mask is None else function(self.mask),
        )


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, H, N, D/H)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(d)) v -> (B, H, N, d).

    Args:
        q: (B, H, N, d) queries.
        k, v: (B, H, M, d) keys and values.
        mask: (B, M) bool, False for keys to leave out; None: all are used.
    """
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        # on a CPU the fused kernel is slow in bfloat16, and one pair's weights stay in a core's cache
        n_pairs, heads, n_queries, _ = q.shape
        mixed = v.new_empty(n_pairs, n_queries, heads, v.shape[-1]).transpose(1, 2)  # the layout that joins heads
        for i in range(n_pairs):
            _attend_in_pair(q[i], k[i], v[i], None if mask is None else mask[i], mixed[i])
        return mixed
    attention_mask = None if mask is None else mask[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=attention_mask, dropout_p=dropout)


def _attend_in_pair(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None, out: Tensor) -> None:
    """`attend` for one pair, without the batch axis and without dropout.

    The softmax omits the pass for the maximum, and divides by the sums where there is least to divide: a third less
    time. Where scores are too large or too small for that, or not finite, PyTorch's softmax is used.
    """
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    if mask is not None:
        scores.masked_fill_(~mask, -torch.inf)
    weights = scores.exp()
    sums = weights.sum(-1, keepdim=True)
    lowest, highest = sums.aminmax()
    if lowest > 1e-30 and highest < 1e30:
        torch.div(torch.bmm(weights, v), sums, out=out)
    else:
        out.copy_(torch.bmm(scores.softmax(-1), v))


class StreamLayer(nn.Module):
    """One post-norm transformer layer: x = norm(x + out(attention)); x = norm(x + feed-forward(x))."""

    def __init__(self, config: CrossAttentionConfig, width: int) -> None:
        super().__init__()
        norm_class = UnbiasedNorm if config.norm == "unbiased" else nn.LayerNorm
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )
        self.norm1 = norm_class(width)
        self.norm2 = norm_class(width)
        self.dropout = nn.Dropout(config.dropout)
        self.attention_dropout = config.dropout
        if config.quiet:
            for parameter in (*self.out.parameters(), *self.feed_forward[-1].parameters()):
                nn.init.zeros_(parameter)

    def forward(
        self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, query_mask: Tensor | None, key_mask: Tensor | None
    ) -> Tensor:
        """Mix the stream x (B, N, D) by queries, keys and values (B, H, N, D/H) -> (B, N, D).

        Args:
            query_mask, key_mask: (B, N) bool, False for queries and keys of dropped tokens; None: none was dropped.
        """
        mixed = attend(q, k, v, key_mask, self.attention_dropout if self.training else 0.0)
        if query_mask is not None:
            mixed = mixed * query_mask[:, None, :, None]
        joined = mixed.transpose(1, 2).flatten(2)
        x = self.norm1(x + self.dropout(self.out(joined)))
        return self.norm2(x + self.dropout(self.feed_forward(x)))


class CrossAttention(nn.Module):
    """A layer for the sketch stream and one for the photo stream; weights are not shared."""

    def __init__(self, config: CrossAttentionConfig, width: int) -> None:
        super().__init__()
        if width % config.heads:
            raise UsageError(f"{config.heads} heads cannot share a width of {width}", "take a number that divides it")
        self.config = config
        self.sketch = StreamLayer(config, width)
        self.photo = StreamLayer(config, width)

    def prepare(
        self, tokens: Tensor, modality: Modality, mask: Tensor | None = None, ret: Tensor | None = None
    ) -> Prepared:
        """Compute what every pair needs of pictures of one modality.

        Args:
            tokens: (B, N, D), [Ret] first.
            mask: (B, N) bool, False for dropped tokens; None: none was dropped.
            ret: (B, R) retrieval vectors; None: the first tokens.
        """
        own, other = (self.sketch, self.photo) if modality == "sketch" else (self.photo, self.sketch)
        if self.config.swap == "q":
            to_query, to_key = other.query, own.key
        else:
            to_query, to_key = own.query, other.key
        heads = self.config.heads
        q = split_heads(to_query(tokens), heads).contiguous()
        k = split_heads(to_key(tokens), heads).contiguous()
        v = split_heads(own.value(tokens), heads).contiguous()
        if mask is not None:
            v = v * mask[:, None, :, None]
        if ret is None:
            ret = tokens[:, 0]
        return Prepared(tokens=tokens, ret=ret, q=q, k=k, v=v, mask=mask)

    def forward(self, sketch: Prepared, photo: Prepared) -> tuple[Tensor, Tensor]:
        """B pairs -> the sketch stream and the photo stream, both (B, N, D)."""
        if self.config.swap == "q":
            return (
                self.sketch(sketch.tokens, photo.q, sketch.k, sketch.v, photo.mask, sketch.mask),
                self.photo(photo.tokens, sketch.q, photo.k, photo.v, sketch.mask, photo.mask),
            )
        return (
            self.sketch(sketch.tokens, sketch.q, photo.k, sketch.v, sketch.mask, photo.mask),
            self.photo(photo.tokens, photo.q, sketch.k, photo.v, photo.mask, sketch.mask),
        )
