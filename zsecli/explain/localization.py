"""Does a correspondence find the right place? PCK where the truth is known, beside controls that know nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zsecli.explain.correspondences import Scores, choose, offered_sources, scores
from zsecli.explain.pair import Mask, Pair, Side, relate, see
from zsecli.images.geometry import Matrix, Points, move_points, similarity_matrix, warp_image
from zsecli.images.normalize_sketch import paper_colour
from zsecli.images.preprocess_rules import Modality
from zsecli.model.config import ModelConfig
from zsecli.model.embedders.base import NetworkEmbedder, normalise
from zsecli.model.network import ZSENetwork
from zsecli.model.scoring import compute_centred_cosine
from zsecli.model.trunk_embed import TrunkEmbed

WINDOW = 2  # patches to each side of the best one
THRESHOLDS = (0.05, 0.10)  # of the picture's sides
SAME, RANDOM = "same place", "random weights"
FROZEN, CHOSEN = "frozen backbone", "frozen backbone, chosen as ours"
MOVES: dict[str, Callable[[tuple[int, int]], Matrix]] = {
    "as it is": lambda size: similarity_matrix(size),
    "mirrored": lambda size: similarity_matrix(size, mirror=True),
    "turned by 30°": lambda size: similarity_matrix(size, 30),
    "turned by 90°": lambda size: similarity_matrix(size, 90),
    "cropped": lambda size: similarity_matrix(size, scale=1.4, shift=(0.12, -0.1)),
    "smaller": lambda size: similarity_matrix(size, scale=0.6, shift=(0.15, 0.12)),
}


class Found(NamedTuple):
    """What one way of finding places scored on one pair: shares of strokes.

    pck5, pck10: found within 5 and 10 % of the photo's sides. cycle: whose best photo place has its best sketch place
    within one patch of where it began.
    """

    pck5: float
    pck10: float
    cycle: float


def point(scores: Scores, grid: tuple[int, int]) -> Points:
    """Where rows of scores (N, C) over a grid point to: (N, 2) x and y in patches from the corner.

    The mean of the places around the best one, weighted by their scores (soft-argmax in a window, after SFNet, Lee et
    al. 2019).
    """
    at = scores.argmax(1)
    rows, columns = np.divmod(np.arange(scores.shape[1]), grid[1])
    near = (abs(rows - rows[at][:, None]) <= WINDOW) & (abs(columns - columns[at][:, None]) <= WINDOW)
    weights = np.where(near, np.maximum(scores, 0), 0).astype(np.float64)
    weights[np.arange(len(at)), at] += 1e-12  # where nothing has a score
    weights /= weights.sum(1, keepdims=True)
    return np.stack([weights @ (columns + 0.5), weights @ (rows + 0.5)], 1)


def pck(found: Points, truth: Points, size: tuple[float, float], threshold: float) -> float:
    """Share of the points (N, 2) found within `threshold` of the sides `size` of the truth; NaN for none.

    Percentage of correct keypoints (Yang & Ramanan 2013), each axis measured in its own side.
    """
    distance = np.linalg.norm((found - truth) / size, axis=1)
    return float((distance <= threshold).mean()) if len(distance) else float("nan")


def cycle(scores: Scores, ours: Mask, grid: tuple[int, int]) -> float:
    """Share of the sketch places `ours` (P,) whose best photo place has its best sketch place within one patch."""
    rows = np.flatnonzero(ours)
    back = rows[scores[rows].argmax(0)][scores[rows].argmax(1)]
    (y, x), (v, u) = np.divmod(rows, grid[1]), np.divmod(back, grid[1])
    return float((np.maximum(abs(y - v), abs(x - u)) <= 1).mean()) if len(rows) else float("nan")


class Controls:
    """Networks that know nothing of sketches: the same with random weights, and its backbone before training.

    Args:
        frozen: tokens (B, P, C) of normalised pictures (B, 3, S, S) by the backbone before training; None: no such
            control.
    """

    def __init__(
        self, model: NetworkEmbedder, frozen: Callable[[torch.Tensor], torch.Tensor] | None, seed: int
    ) -> None:
        self.model, self.frozen = model, frozen
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ZSENetwork(_whole(model.network.config))
        self.random = NetworkEmbedder(network, model.device, [])

    @torch.inference_mode()
    def scores(self, sketch: Side, photo: Side) -> Iterator[tuple[str, Scores]]:
        """Scores by the cosine of each control's tokens; FROZEN as they are, the others chosen as ours are."""
        ours, theirs = (
            normalise(np.stack([s.pixels]), self.model.preprocess, self.model.device) for s in (sketch, photo)
        )
        network, everywhere = self.random.network, np.ones(len(photo.kept), bool)
        tokens = {RANDOM: [network.encode(x, role).tokens[:, 1:] for x, role in _roles(ours, theirs)]}
        if self.frozen is not None:
            tokens[CHOSEN] = a, b = [self.frozen(ours), self.frozen(theirs)]
            yield FROZEN, torch.cosine_similarity(a[0, :, None], b[0, None], dim=-1).cpu().numpy()
        for name, (a, b) in tokens.items():
            yield name, choose(compute_centred_cosine(a, b)[0].cpu().numpy(), sketch.strokes, everywhere)


def _roles(sketch: torch.Tensor, photo: torch.Tensor) -> list[tuple[torch.Tensor, Modality]]:
    return [(sketch, "sketch"), (photo, "photo")]


def _whole(config: ModelConfig) -> ModelConfig:
    """Without token selection: a control has a token at every place."""
    return replace(config, selection=replace(config.selection, rate=1.0))


def before_training(model: NetworkEmbedder, weights: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Patch tokens (B, P, C) of the model's backbone with its weights before training, of pictures (B, 3, S, S)."""
    network = ZSENetwork(_whole(model.network.config), weights=weights).to(model.device).eval()
    embed = network.backbone.vit.patch_embed
    if isinstance(embed, TrunkEmbed):
        return embed.compute_maps  # the blocks above a trunk are new
    return lambda x: network.backbone.forward_trainable(network.backbone.forward_frozen(x)).tokens[:, 1:]


def measure(
    model: NetworkEmbedder, controls: Controls, sketch: Image.Image, photo: Image.Image
) -> dict[tuple[str, str], Found]:
    """(way, move) -> how well the strokes of a sketch are found in a photo that shows the same thing at the same place.

    The photo is moved in every way of MOVES; strokes that leave it are not asked.
    """
    seen = see(model, sketch, "sketch")
    side = seen[0]
    middles = side.frame.to_picture(side.middles())
    guess = middles * np.divide(photo.size, sketch.size)
    fill = tuple(int(v) for v in paper_colour(np.asarray(photo)))
    found = {}
    for name, how in MOVES.items():
        matrix = how(photo.size)
        pair = relate(model, seen, see(model, warp_image(photo, matrix, fill), "photo"))
        truth = move_points(matrix, guess)
        asked = side.asked & ((truth >= 0) & (truth < photo.size)).all(1)
        ways = [(source, scores(pair, source)) for source in offered_sources(pair.network)] + [
            *controls.scores(side, pair.photo)
        ]
        for way, values in ways:
            points = transfer(values, side, pair.photo, middles)
            found[way, name] = _score(points, truth, asked, photo.size, cycle(values, side.asked, side.grid))
        found[SAME, name] = _score(guess, truth, asked, photo.size, float("nan"))
    return found


def measure_points(pair: Pair, controls: Controls, on_sketch: Points, on_photo: Points) -> dict[tuple[str, str], Found]:
    """(way, direction) -> how well points (N, 2) that mark the same parts, in pixels of either picture, are found.

    A point may lie where no stroke is, so every place of the sketch is asked.
    """
    pair = replace(pair, sketch=replace(pair.sketch, strokes=np.ones_like(pair.sketch.strokes)))
    sketch, photo = pair.sketch, pair.photo
    ways = [(source, scores(pair, source)) for source in offered_sources(pair.network)] + [
        *controls.scores(sketch, photo)
    ]
    found = {}
    for name, one, other, points, truth in (
        ("sketch to photo", sketch, photo, on_sketch, on_photo),
        ("photo to sketch", photo, sketch, on_photo, on_sketch),
    ):
        everywhere = np.ones(len(points), bool)
        for way, values in ways:
            turned = values if one is sketch else values.T
            places = transfer(turned, one, other, points)
            found[way, name] = _score(places, truth, everywhere, other.image.size, float("nan"))
        guess = points * np.divide(other.image.size, one.image.size)
        found[SAME, name] = _score(guess, truth, everywhere, other.image.size, float("nan"))
    return found


def _score(found: Points, truth: Points, asked: Mask, size: tuple[int, int], cycled: float) -> Found:
    five, ten = (pck(found[asked], truth[asked], size, threshold) for threshold in THRESHOLDS)
    return Found(five, ten, cycled)


def transfer(scores: Scores, one: Side, other: Side, points: Points) -> Points:
    """Where points (N, 2) of one picture lie in the other, both in pixels of the pictures.

    Args:
        scores: (P, C), places of `one` in rows. Between the middles of four patches their rows are mixed bilinearly.
    """
    rows, columns = one.grid
    at = one.frame.to_input(points) / one.patch - 0.5
    at = np.clip(at, 0, (columns - 1, rows - 1))
    low = np.minimum(np.floor(at).astype(int), (columns - 2, rows - 2)).clip(0)
    across, down = (at - low).T
    mixed: NDArray[np.float64] = np.zeros((len(points), scores.shape[1]))
    for x, y, share in ((0, 0, (1 - across) * (1 - down)), (1, 0, across * (1 - down)),
                        (0, 1, (1 - across) * down), (1, 1, across * down)):  # fmt: skip
        place = np.minimum(low[:, 1] + y, rows - 1) * columns + np.minimum(low[:, 0] + x, columns - 1)
        mixed += share[:, None] * scores[place]
    return other.frame.to_picture(point(mixed.astype(np.float32), other.grid) * other.patch)
