"""What scores mean in this gallery: which ones scribbles reach, and drawings of things. Measured at server start.

A raw score says little: among photographs scribbles reach higher cosines than drawings of things do. Two corrections,
known from speaker verification as the normalisation by a cohort (Auckenthaler et al. 2000), make it comparable:

- A photo's standing is its cosine less the mean over the gallery, in standard deviations over the gallery: how far it
  stands out for this drawing.
- Its lead is its standing less the mean of its standings for scribbles: how much better it answers this drawing than it
  answers anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image

from zsecli.arrays import Floats32, Ints64
from zsecli.images.decode import decode
from zsecli.images.preprocess import make_input
from zsecli.model.embedders.base import Embedder
from zsecli.runtime.parallel import count_cores, map_in_order
from zsecli.serve.gallery import Gallery
from zsecli.serve.scribbles import draw_scribble

if TYPE_CHECKING:
    from zsecli.data.embedded import Embedded
    from zsecli.serve.examples import Example
    from zsecli.serve.rerank import Reranker

SCRIBBLES = 20
NOTHING_QUANTILE = 0.8  # of the scribbles below each level of nothing; more would cost too many drawings of things
MIN_PHOTOS = 10  # among which one can stand out
RELATION_SAMPLE = 6  # scribbles, and photos of each drawing, with which relation scores are measured
BATCH = 4  # drawings in a thread


@dataclass(frozen=True)
class Verdict:
    """How the photos of a gallery stand for one drawing."""

    standings: Floats32
    """(N,) of all photos."""
    lead: float
    """The highest lead of the photos that are searched."""
    best: float
    """Their highest cosine."""


@dataclass(frozen=True, kw_only=True)
class Levels:
    """Levels of a gallery of N photos."""

    baseline: Floats32
    """(N,) mean standing of each photo for scribbles."""
    usual: float
    """Standing of the best photo of a drawing, in the median."""
    lead: float
    """Four of five scribbles stay below this lead."""
    best: float
    """Four of five scribbles stay below this cosine."""
    usual_relation: float | None = None
    """Relation score of the best photo of a drawing, in the median; None where the model has no relation network."""
    nothing_relation: float | None = None
    """Four of five scribbles stay below this relation score."""

    def judge(self, cosines: Floats32, rows: Ints64 | None = None) -> Verdict:
        """How the photos stand, by their cosines (N,) with a drawing; `rows`: those that are searched, None for all."""
        standings = compute_standings(cosines)
        searched = slice(None) if rows is None else rows
        leads = (standings - self.baseline)[searched]
        return Verdict(standings=standings, lead=float(leads.max()), best=float(cosines[searched].max()))

    def is_nothing(self, verdict: Verdict, relation: float | None = None) -> bool:
        """Whether even the best photo answers the drawing no better than a scribble.

        Args:
            relation: the best relation score, where photos were re-ranked.
        """
        if len(self.baseline) < MIN_PHOTOS or verdict.lead >= self.lead or verdict.best >= self.best:
            return False
        return relation is None or self.nothing_relation is None or relation < self.nothing_relation

    def share(self, standing: float) -> float:
        """A standing from 0, the gallery's mean, to 1, the best photo of a usual drawing."""
        return min(1.0, max(0.0, standing / self.usual))

    def share_relation(self, relation: float) -> float:
        """The same of a relation score."""
        return min(1.0, max(0.0, relation / (self.usual_relation or 1.0)))


def compute_standings(cosines: Floats32) -> Floats32:
    """Standings (..., N) float32 of cosines (..., N); 0 where all are the same."""
    spread = cosines.std(-1, keepdims=True)
    return np.asarray((cosines - cosines.mean(-1, keepdims=True)) / np.maximum(spread, 1e-6), np.float32)


def measure_levels(
    gallery: Gallery, model: Embedder, reranker: Reranker | None, examples: list[Example], scribbles: int = SCRIBBLES
) -> Levels:
    """The levels of a gallery, by scribbles that are drawn for it and the example drawings: always the same ones."""
    pictures = [draw_scribble(number) for number in range(scribbles)]
    pictures += [decode(example.file.read_bytes()) for example in examples]
    drawings = _embed_drawings(model, pictures)
    cosines = _normalise(drawings.ret) @ gallery.vectors.T
    standings = compute_standings(cosines)
    baseline = standings[:scribbles].mean(0)
    leads = _leave_one_out_leads(standings[:scribbles])
    drawn = slice(scribbles, None) if examples else slice(None)
    usual_relation = nothing_relation = None
    if reranker is not None:
        last = min(scribbles + RELATION_SAMPLE, len(pictures))
        related = _best_relations(reranker, drawings, cosines, range(scribbles, last))
        chance = _best_relations(reranker, drawings, cosines, range(min(RELATION_SAMPLE, scribbles)))
        usual_relation = float(np.median(related or chance))
        nothing_relation = float(np.quantile(chance, NOTHING_QUANTILE))
    return Levels(
        baseline=baseline,
        usual=max(float(np.median(standings[drawn].max(1))), 1e-6),
        lead=float(np.quantile(leads, NOTHING_QUANTILE)),
        best=float(np.quantile(cosines[:scribbles].max(1), NOTHING_QUANTILE)),
        usual_relation=usual_relation,
        nothing_relation=nothing_relation,
    )


def _leave_one_out_leads(standings: Floats32) -> Floats32:
    """(K,) the highest lead of each of K scribbles, over a baseline of the others alone."""
    count = len(standings)
    others = (standings.sum(0) - standings) / (count - 1)
    return np.asarray((standings - others).max(1))


def _embed_drawings(model: Embedder, pictures: list[Image.Image]) -> Embedded:
    """Features of drawings, on all cores; PyTorch must be set to one thread."""
    from zsecli.data.embedded import Embedded

    def embed(start: int) -> Embedded:
        pixels = [make_input(picture, "sketch", model.preprocess) for picture in pictures[start : start + BATCH]]
        return model.embed(np.stack(pixels), "sketch")

    count = count_cores() if model.device.type == "cpu" else 1
    return Embedded.concatenate(list(map_in_order(embed, range(0, len(pictures), BATCH), count)))


@torch.inference_mode()
def _best_relations(reranker: Reranker, drawings: Embedded, cosines: Floats32, numbers: range) -> list[float]:
    """The best relation score of each of these drawings with its first photos."""
    assert drawings.tokens is not None
    best_scores = []
    for number in numbers:
        tokens = torch.from_numpy(np.asarray(drawings.tokens[number : number + 1], np.float32)).to(reranker.device)
        ret = torch.from_numpy(np.asarray(drawings.ret[number : number + 1], np.float32)).to(reranker.device)
        if drawings.index is None:
            index = torch.arange(tokens.shape[1] - 1, device=reranker.device)[None]
        else:
            index = torch.from_numpy(np.asarray(drawings.index[number : number + 1])).to(reranker.device).long()
        own_ret = ret if reranker.network.has_own_ret else None
        sketch = reranker.network.prepare(tokens, index, "sketch", own_ret)
        rows = np.sort(np.argsort(-cosines[number], kind="stable")[:RELATION_SAMPLE])
        best_scores.append(float(reranker.score(sketch, rows).max()))
    return best_scores


def _normalise(vectors: np.ndarray) -> Floats32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
