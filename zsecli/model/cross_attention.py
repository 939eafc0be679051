"""Cross-attention between the tokens of a sketch and those of a photo.

A stream holds the tokens of one picture: their values, and the residual. What comes from the other
picture is swapped: with `swap="q"`, the paper's reading, its queries (the sketch stream is
softmax(Q_photo K_sketch) V_sketch); with `swap="k"`, the authors' release, its keys (the sketch
stream is softmax(Q_sketch K_photo) V_sketch).
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
from zsecli.images.preprocess_rules import Role
from zsecli.model.config import CrossAttentionConfig


class UnbiasedNorm(nn.Module):
    """a * (x - mean) / (std + 1e-6) + b over the last axis, with the unbiased std (the release's norm)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))

    def forward(self, x: Tensor) -> Tensor:
        # PyTorch's own norm, whose std is the biased one, is several times as fast as std_mean: turned into the other.
        # What eps leaves of the factor's gradient, 1e-6 of it, is left out.
        width = x.shape[-1]
        normed, _, rstd = torch.native_layer_norm(x, (width,), None, None, 1e-12)
        factor = 1 / ((width / (width - 1)) ** 0.5 + 1e-6 * rstd.detach())
        return torch.addcmul(self.bias, normed * factor.to(x.dtype), self.weight)


class Prepared(NamedTuple):
    """All that pairs need of B pictures of one role, computed once a picture.

    tokens: (B, N, D) the stream's input, on the whole grid behind [Ret].
    ret: (B, R) the retrieval vectors; the first token where a network has no others.
    q, k, v: (B, H, N, D/H): values for its own stream; of queries and keys the one that `swap` names is
        for the other stream, by that stream's weights.
    kept: (B, N) bool, False where a token was dropped; None where none was.
    """

    tokens: Tensor
    ret: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    kept: Tensor | None

    def rows(self, at: slice | Tensor) -> Prepared:
        return self._map(lambda x: x[at])

    def pick(self, at: Ints) -> Prepared:
        """The pictures `at` (P,), without a copy where they are one picture P times, or neighbours."""
        first, last = int(at[0]), int(at[-1])
        if (at == first).all():
            return self._map(lambda x: x[first].expand(len(at), *x.shape[1:]))
        if (np.diff(at) == 1).all():
            return self.rows(slice(first, last + 1))
        index = torch.from_numpy(at).to(self.tokens.device)
        return self._map(lambda x: x.index_select(0, index))

    @staticmethod
    def cat(parts: Sequence[Prepared]) -> Prepared:
        """The pictures of all `parts`, in order."""
        kept = [part.kept for part in parts if part.kept is not None]
        return Prepared(
            torch.cat([part.tokens for part in parts]),
            torch.cat([part.ret for part in parts]),
            torch.cat([part.q for part in parts]),
            torch.cat([part.k for part in parts]),
            torch.cat([part.v for part in parts]),
            torch.cat(kept) if kept else None,
        )

    def without(self, kept: Tensor) -> Prepared:
        """One picture as B, of which each keeps those of its tokens that `kept` (B, N) bool says."""
        kept = kept if self.kept is None else kept & self.kept
        tokens, ret, q, k, v = (x.expand(len(kept), *x.shape[1:]) for x in self[:5])
        return Prepared(tokens, ret, q, k, v * kept[:, None, :, None], kept)

    def _map(self, function: Callable[[Tensor], Tensor]) -> Prepared:
        tokens, ret, q, k, v = map(function, self[:5])
        return Prepared(tokens, ret, q, k, v, None if self.kept is None else function(self.kept))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, D) -> (B, H, N, D/H)."""
    return x.reshape(*x.shape[:-1], heads, -1).transpose(1, 2)


def attend(q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None, dropout: float) -> Tensor:
    """softmax(q k^T / sqrt(d)) v, with q (B, H, N, d), k and v (B, H, M, d), over the keys that `kept` (B, M) names."""
    if q.device.type == "cpu" and q.dtype == torch.bfloat16 and not torch.is_grad_enabled():
        # on a CPU the fused kernel makes little of bfloat16, and one pair's weights stay in a core's cache
        pairs, heads, queries, _ = q.shape
        mixed = v.new_empty(pairs, queries, heads, v.shape[-1]).transpose(1, 2)  # as joining the heads wants it
        for i in range(pairs):
            _attend_one(q[i], k[i], v[i], None if kept is None else kept[i], mixed[i])
        return mixed
    mask = None if kept is None else kept[:, None, None, :]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, dropout_p=dropout)


def _attend_one(q: Tensor, k: Tensor, v: Tensor, kept: Tensor | None, out: Tensor) -> None:
    """`attend` for one pair, without the batch axis.

    Softmax without its pass for the maximum, and divided by the sums where there is least to divide: a third less time.
    Scores far too large or small for that, or not numbers, take the safe way.
    """
    scores = torch.bmm(q * q.shape[-1] ** -0.5, k.transpose(1, 2))
    if kept is not None:
        scores.masked_fill_(~kept, -torch.inf)
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
        norm = UnbiasedNorm if config.norm == "unbiased" else nn.LayerNorm
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.hidden),
            nn.ReLU(inplace=True),
            nn.Dropout(config.dropout),
            nn.Linear(config.hidden, width),
        )
        self.norm1, self.norm2 = norm(width), norm(width)
        self.dropout = nn.Dropout(config.dropout)
        self.attention_dropout = config.dropout
        if config.quiet:
            for parameter in (*self.out.parameters(), *self.feed_forward[-1].parameters()):
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor, q: Tensor, k: Tensor, v: Tensor, asked: Tensor | None, kept: Tensor | None) -> Tensor:
        """A stream x (B, N, D) mixed by queries, keys and values (B, H, N, D/H).

        Args:
            asked, kept: (B, N) bool, the queries and the keys of tokens that were kept; None: all.
        """
        mixed = attend(q, k, v, kept, self.attention_dropout if self.training else 0.0)
        if asked is not None:
            mixed = mixed * asked[:, None, :, None]
        x = self.norm1(x + self.dropout(self.out(mixed.transpose(1, 2).flatten(2))))
        return self.norm2(x + self.dropout(self.feed_forward(x)))


class CrossAttention(nn.Module):
    """A layer for the sketch stream and one for the photo stream; weights are not shared."""

    def __init__(self, config: CrossAttentionConfig, width: int) -> None:
        super().__init__()
        if width % config.heads:
            raise UsageError(f"{config.heads} heads cannot share a width of {width}", "take a number that divides it")
        self.config = config
        self.sketch, self.photo = StreamLayer(config, width), StreamLayer(config, width)

    def prepare(self, tokens: Tensor, role: Role, kept: Tensor | None = None, ret: Tensor | None = None) -> Prepared:
        """Tokens (B, N, D) of pictures of one role -> what every pair needs of them.

        Args:
            kept: (B, N) bool. ret: (B, R) retrieval vectors; None: the first tokens.
        """
        own, other = (self.sketch, self.photo) if role == "sketch" else (self.photo, self.sketch)
        swapped = self.config.swap
        query, key = (other.query, own.key) if swapped == "q" else (own.query, other.key)
        q, k, v = (split_heads(linear(tokens), self.config.heads).contiguous() for linear in (query, key, own.value))
        if kept is not None:
            v = v * kept[:, None, :, None]
        return Prepared(tokens, tokens[:, 0] if ret is None else ret, q, k, v, kept)

    def forward(self, sketch: Prepared, photo: Prepared) -> tuple[Tensor, Tensor]:
        """B pairs -> the sketch stream and the photo stream, both (B, N, D)."""
        s, p = sketch, photo
        if self.config.swap == "q":
            s, p = photo, sketch  # whose queries meet whose keys
        return (
            self.sketch(sketch.tokens, s.q, p.k, sketch.v, s.kept, p.kept),
            self.photo(photo.tokens, p.q, s.k, photo.v, p.kept, s.kept),
        )
