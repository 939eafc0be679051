"""The answers that the page shows: hits of a drawing, why a photo is one, and photos similar to a photo."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from PIL import Image

from zsecli.arrays import Floats32, Ints64
from zsecli.explain.correspondences import dual_softmax, find_mutual_matches, offered_sources
from zsecli.explain.pair import EncodedSide, Pair, Side, encode_image, score_pair
from zsecli.explain.synthesis import synthesize_encoded
from zsecli.images.geometry import Frame, patch_centres
from zsecli.model.embedders.base import Embedder, NetworkEmbedder
from zsecli.model.scoring import compute_centred_cosine
from zsecli.model.spec import ModelSpec
from zsecli.render import explanation_json, explanation_page
from zsecli.serve.drawings import Drawing, DrawingRefused
from zsecli.serve.examples import Example, find_examples
from zsecli.serve.gallery import Gallery, Ranked
from zsecli.serve.levels import Levels, measure_levels
from zsecli.serve.photos import Photos
from zsecli.serve.rerank import Reranker

By = Literal["ret", "cascade"]


@dataclass(frozen=True, kw_only=True)
class Hits:
    """Photos for a drawing, or for a photo, best first."""

    rows: Ints64
    """(K,) rows of the gallery."""
    scores: Floats32
    """(K,) relation scores of the first `n_relation` photos, cosines of the others."""
    shares: list[float]
    """(K,) share of what the best hit usually reaches, 0 to 1."""
    n_relation: int = 0
    """How many of the photos have relation scores."""
    total: int
    """Photos that were searched."""
    is_nothing: bool = False
    """Whether even the best of all photos answers the drawing no better than a scribble."""


class Engine:
    """A gallery and the model that made it. Its methods compute; only one thread may call them at a time."""

    def __init__(self, gallery: Gallery, photos: Photos, model: Embedder, spec: ModelSpec, shortlist: int) -> None:
        self.gallery = gallery
        self.photos = photos
        self.model = model
        self.spec = spec
        self.shortlist = shortlist
        self.reranker: Reranker | None = None
        if isinstance(model, NetworkEmbedder) and gallery.features.has_tokens:
            self.reranker = Reranker(model.network, model.device, gallery.features)
        self.examples: list[Example] = find_examples()
        """Drawings to start from, which also show what scores a drawing usually reaches."""
        self.levels: Levels = measure_levels(gallery, model, self.reranker, self.examples)

    @property
    def has_relation(self) -> bool:
        """Whether photos can be re-ranked and explained."""
        return self.reranker is not None

    def search(
        self,
        drawing: Drawing,
        by: By,
        top: int,
        offset: int = 0,
        group: str = "",
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> Hits:
        """Hits `offset` to `offset + top` of a drawing, among the photos of a group or all ("").

        Raises:
            KeyError: no such group. DrawingRefused: the model has no relation network, and `by` needs one.
            Superseded: `is_wanted` says no.
        """
        rows = self.gallery.rows_of(group)
        total = len(self.gallery) if rows is None else len(rows)
        cosines = self.gallery.score(drawing.ret)
        verdict = self.levels.judge(cosines, rows)
        if by == "ret":
            ranked = self.gallery.rank(cosines, offset + top, rows)
            n_reranked = 0
            best_relation = None
        else:
            ranked = self.gallery.rank(cosines, max(self.shortlist, offset + top), rows)
            ranked = self._rerank(drawing, ranked, is_wanted)
            n_reranked = min(self.shortlist, total)
            best_relation = float(ranked.scores[0])
        page = slice(offset, offset + top)
        page_rows, scores = ranked.rows[page], ranked.scores[page]
        n_relation = min(max(0, n_reranked - offset), len(page_rows))
        shares = [self.levels.share_relation(score) for score in scores[:n_relation].tolist()]
        shares += [self.levels.share(standing) for standing in verdict.standings[page_rows[n_relation:]].tolist()]
        return Hits(
            rows=page_rows,
            scores=scores,
            shares=shares,
            n_relation=n_relation,
            total=total,
            is_nothing=self.levels.is_nothing(verdict, best_relation),
        )

    def search_similar(self, row: int, top: int, offset: int = 0, group: str = "") -> Hits:
        """Photos similar to the photo `row`, without itself; shares are their cosines. KeyError: no such group."""
        rows = self.gallery.rows_of(group)
        candidates = np.arange(len(self.gallery)) if rows is None else rows
        others = candidates[candidates != row]
        ranked = self.gallery.rank(self.gallery.score(self.gallery.vectors[row]), offset + top, others)
        scores = ranked.scores[offset:]
        shares = [min(1.0, max(0.0, score)) for score in scores.tolist()]
        return Hits(rows=ranked.rows[offset:], scores=scores, shares=shares, total=len(others))

    def match(self, drawing: Drawing, row: int) -> dict[str, Any]:
        """Drawing, photo and the surest matches between their places: [sketch place, photo place, score].

        Raises:
            DrawingRefused: the model has no relation network. PhotoGone: the photo's file is not what was embedded.
        """
        reranker = self._need_relation()
        assert drawing.side is not None and drawing.prepared is not None
        photo = reranker.prepare(np.array([row]))
        score = reranker.score_pairs(drawing.prepared, photo)
        cosines = compute_centred_cosine(score.sketch[:, 1:], score.photo[:, 1:])[0].cpu().numpy()
        valid = np.ones(cosines.shape[1], bool) if photo.mask is None else photo.mask[0, 1:].cpu().numpy()
        queried = drawing.side.matchable
        shares = score.shares  # whose sum the score is, of a network of such a kind
        scores = dual_softmax(cosines, queried, valid) if shares is None else shares[0].float().cpu().numpy()
        matches = find_mutual_matches(scores, queried, valid)
        return {
            "sketch": _describe_side(drawing.side),
            "photo": self._describe_photo(row),
            "matches": [[match.sketch, match.photo, round(match.score, 4)] for match in matches],
        }

    def explain(self, drawing: Drawing, row: int, contrast: int | None = None) -> dict[str, Any]:
        """The whole explanation, as `zse explain` writes it. Raises as `match` does."""
        pair, other = self._make_pairs(drawing, row, contrast)
        return self._describe_pair(pair, other)

    def explain_page(self, drawing: Drawing, row: int, contrast: int | None = None) -> str:
        """The same as the self-contained page. Raises as `match` does."""
        pair, other = self._make_pairs(drawing, row, contrast)
        pictures = {"sketch": pair.sketch.image, "photo": pair.photo.image}
        if other is not None:
            pictures["contrast"] = other.photo.image
        return explanation_page.render_page(self._describe_pair(pair, other), pictures)

    def _describe_pair(self, pair: Pair, other: Pair | None) -> dict[str, Any]:
        """The explanation of a pair, and why it rather than the other, as plain data."""
        return explanation_json.describe_explanation(
            pair, offered_sources(pair.network)[0], self._describe_model(), other
        )

    def synthesize(self, drawing: Drawing, row: int) -> bytes:
        """The photo in the drawing's shape, as a PNG. Raises as `match` does."""
        self._need_relation()
        assert isinstance(self.model, NetworkEmbedder)
        assert drawing.side is not None and drawing.encoding is not None
        return as_png(synthesize_encoded(self.model, (drawing.side, drawing.encoding), [self._encode_photo(row)]))

    def _rerank(self, drawing: Drawing, ranked: Ranked, is_wanted: Callable[[], bool]) -> Ranked:
        """The same photos, the first `shortlist` of them in the order of their relation scores."""
        reranker = self._need_relation()
        assert drawing.prepared is not None
        rows = np.sort(ranked.rows[: self.shortlist])
        scores = reranker.score(drawing.prepared, rows, is_wanted)
        order = np.argsort(-scores, kind="stable")
        return Ranked(
            np.concatenate([rows[order], ranked.rows[self.shortlist :]]),
            np.concatenate([scores[order], ranked.scores[self.shortlist :]]),
        )

    def _need_relation(self) -> Reranker:
        if self.reranker is None:
            raise DrawingRefused(f"{self.spec.text} has no relation network", "search by ret")
        return self.reranker

    def _make_pairs(self, drawing: Drawing, row: int, contrast: int | None) -> tuple[Pair, Pair | None]:
        self._need_relation()
        assert isinstance(self.model, NetworkEmbedder)
        assert drawing.side is not None and drawing.encoding is not None
        sketch = drawing.side, drawing.encoding
        pair = score_pair(self.model, sketch, self._encode_photo(row))
        return pair, None if contrast is None else score_pair(self.model, sketch, self._encode_photo(contrast))

    def _encode_photo(self, row: int) -> EncodedSide:
        assert isinstance(self.model, NetworkEmbedder)
        return encode_image(self.model, self.photos.image(row), "photo", self.gallery.names[row])

    def _describe_model(self) -> dict[str, str]:
        return {"name": self.spec.name, "weights": self.spec.weights_hash()}

    def _describe_photo(self, row: int) -> dict[str, Any]:
        assert isinstance(self.model, NetworkEmbedder)
        width, height = self.photos.size(row)
        rows, columns = grid = self.model.network.backbone.grid
        # every preprocessing rule shows the whole photo: see zsecli.images.decode
        frame = Frame(0, 0, width / columns, height / rows)
        half = np.array([[-0.5, -0.5], [0.5, 0.5]])
        boxes = [frame.to_picture(centre + half).round(1).ravel().tolist() for centre in patch_centres(grid, (1, 1))]
        return {"name": self.gallery.names[row], "width": width, "height": height, "grid": list(grid), "boxes": boxes}


def _describe_side(side: Side) -> dict[str, Any]:
    boxes = []
    for patch in range(len(side.kept)):
        boxes.append([round(value, 1) for value in side.patch_box(patch)])
    return {
        "width": side.image.width,
        "height": side.image.height,
        "grid": list(side.grid),
        "boxes": boxes,
        "strokes": side.strokes.tolist(),
    }


def as_png(image: Image.Image) -> bytes:
    """A picture as the bytes of a PNG file."""
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()
