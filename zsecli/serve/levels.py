"""What scores mean in this gallery: what scribbles reach, and what drawings do. Measured when a server starts.

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
QUANTILE = 0.8  # of the scribbles are below each level of nothing; more would cost too many drawings of things
FEWEST = 10  # photos, among which one can stand out
RELATED = 6  # scribbles, and photos of each drawing, by which relation scores are known
AT_ONCE = 4  # drawings in a thread


@dataclass(frozen=True)
class Verdict:
    """How the photos of a gallery stand for one drawing.

    standings: (N,) float32. lead: the highest lead of the photos that are searched. best: their highest cosine.
    """

    standings: Floats32
    lead: float
    best: float


@dataclass(frozen=True)
class Levels:
    """Levels of a gallery of N photos.

    baseline: (N,) float32, the photos' mean standings for scribbles. usual: the standing that the best photo of a
    drawing reaches in the median. lead, best: what four of five scribbles stay below. usual_relation, nothing_relation:
    the same of relation scores; None where the model has none.
    """

    baseline: Floats32
    usual: float
    lead: float
    best: float
    usual_relation: float | None = None
    nothing_relation: float | None = None

    def judge(self, cosines: Floats32, rows: Ints64 | None = None) -> Verdict:
        """How the photos stand, by their cosines (N,) with a drawing; `rows`: those that are searched, None for all."""
        standings = stand(cosines)
        searched = slice(None) if rows is None else rows
        return Verdict(standings, float((standings - self.baseline)[searched].max()), float(cosines[searched].max()))

    def is_nothing(self, verdict: Verdict, relation: float | None = None) -> bool:
        """Whether even the best photo answers the drawing no better than a scribble.

        Args:
            relation: the best relation score, where photos were re-ranked.
        """
        if len(self.baseline) < FEWEST or verdict.lead >= self.lead or verdict.best >= self.best:
            return False
        return relation is None or self.nothing_relation is None or relation < self.nothing_relation

    def share(self, standing: float) -> float:
        """A standing from 0, the gallery's mean, to 1, the best photo of a usual drawing."""
        return min(1.0, max(0.0, standing / self.usual))

    def share_relation(self, relation: float) -> float:
        """The same of a relation score."""
        return min(1.0, max(0.0, relation / (self.usual_relation or 1.0)))


def stand(cosines: Floats32) -> Floats32:
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
    cosines = _unit(drawings.ret) @ gallery.vectors.T
    standings = stand(cosines)
    baseline = standings[:scribbles].mean(0)
    # a scribble that is measured takes no part in its own baseline
    leads = _leads_of_each(standings[:scribbles])
    drawn = slice(scribbles, None) if examples else slice(None)
    usual_relation = nothing_relation = None
    if reranker is not None:
        last = min(scribbles + RELATED, len(pictures))
        related = _best_relations(reranker, drawings, cosines, range(scribbles, last))
        chance = _best_relations(reranker, drawings, cosines, range(min(RELATED, scribbles)))
        usual_relation = float(np.median(related or chance))
        nothing_relation = float(np.quantile(chance, QUANTILE))
    return Levels(
        baseline=baseline,
        usual=max(float(np.median(standings[drawn].max(1))), 1e-6),
        lead=float(np.quantile(leads, QUANTILE)),
        best=float(np.quantile(cosines[:scribbles].max(1), QUANTILE)),
        usual_relation=usual_relation,
        nothing_relation=nothing_relation,
    )


def _leads_of_each(standings: Floats32) -> Floats32:
    """The highest lead (K,) of each of K scribbles, over the mean of the others."""
    count = len(standings)
    others = (standings.sum(0) - standings) / (count - 1)
    return np.asarray((standings - others).max(1))


def _embed_drawings(model: Embedder, pictures: list[Image.Image]) -> Embedded:
    """Features of drawings, by all cores; PyTorch is to keep to one in each thread."""
    from zsecli.data.embedded import Embedded

    def embed(start: int) -> Embedded:
        pixels = [make_input(picture, "sketch", model.preprocess) for picture in pictures[start : start + AT_ONCE]]
        return model.embed(np.stack(pixels), "sketch")

    count = count_cores() if model.device.type == "cpu" else 1
    return Embedded.concatenate(list(map_in_order(embed, range(0, len(pictures), AT_ONCE), count)))


@torch.inference_mode()
def _best_relations(reranker: Reranker, drawings: Embedded, cosines: Floats32, numbers: range) -> list[float]:
    """The best relation score of each of these drawings with its first photos."""
    assert drawings.tokens is not None
    found = []
    for number in numbers:
        tokens = torch.from_numpy(np.asarray(drawings.tokens[number : number + 1], np.float32)).to(reranker.device)
        ret = torch.from_numpy(np.asarray(drawings.ret[number : number + 1], np.float32)).to(reranker.device)
        if drawings.index is None:
            index = torch.arange(tokens.shape[1] - 1, device=reranker.device)[None]
        else:
            index = torch.from_numpy(np.asarray(drawings.index[number : number + 1])).to(reranker.device).long()
        sketch = reranker.network.prepare(tokens, index, "sketch", ret if reranker.network.has_own_ret else None)
        rows = np.sort(np.argsort(-cosines[number], kind="stable")[:RELATED])
        found.append(float(reranker.score(sketch, rows).max()))
    return found


def _unit(vectors: np.ndarray) -> Floats32:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12), np.float32)
