"""Does a correspondence find the right place? PCK where the truth is known, beside controls without training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from zsecli.arrays import Floats64, Mask
from zsecli.explain.correspondences import Scores, dual_softmax, offered_sources, score_patches
from zsecli.explain.pair import Pair, Side, encode_image, score_pair
from zsecli.images.geometry import Matrix, Points, move_points, similarity_matrix, warp_image
from zsecli.images.normalize_sketch import paper_colour
from zsecli.model.config import ModelConfig
from zsecli.model.embedders.base import NetworkEmbedder, normalise
from zsecli.model.network import ZSENetwork
from zsecli.model.scoring import compute_centred_cosine
from zsecli.model.trunk_embed import TrunkEmbed

WINDOW = 2  # patches to each side of the best one
THRESHOLDS = (0.05, 0.10)  # of the picture's sides
CYCLE_DISTANCE = 1  # patches
SAME_PLACE = "same place"
RANDOM_WEIGHTS = "random weights"
FROZEN_BACKBONE = "frozen backbone"
FROZEN_DUAL_SOFTMAX = "frozen backbone, chosen as ours"
MOVES: dict[str, Callable[[tuple[int, int]], Matrix]] = {
    "as it is": lambda size: similarity_matrix(size),
    "mirrored": lambda size: similarity_matrix(size, mirror=True),
    "turned by 30°": lambda size: similarity_matrix(size, 30),
    "turned by 90°": lambda size: similarity_matrix(size, 90),
    "cropped": lambda size: similarity_matrix(size, scale=1.4, shift=(0.12, -0.1)),
    "smaller": lambda size: similarity_matrix(size, scale=0.6, shift=(0.15, 0.12)),
}
UNMOVED = "as it is"


class LocalizationScores(NamedTuple):
    """How well one method finds the strokes of one pair: shares of the strokes."""

    pck5: float
    """Found within 5 % of the photo's sides."""
    pck10: float
    """Found within 10 %."""
    cycle: float
    """Whose best photo patch has its best sketch patch within one patch of the stroke."""


LocalizationTable = dict[tuple[str, str], LocalizationScores]
"""By method (a source of explanations, or a control) and by move or direction."""


def locate_peaks(scores: Scores, grid: tuple[int, int]) -> Points:
    """Where rows of scores (N, C) over a grid peak: (N, 2) x and y in patches from the corner.

    The mean position of the patches around the best one, weighted by their scores (soft-argmax in a window, after
    SFNet, Lee et al. 2019).
    """
    peaks = scores.argmax(1)
    rows, columns = np.divmod(np.arange(scores.shape[1]), grid[1])
    peak_rows = rows[peaks][:, None]
    peak_columns = columns[peaks][:, None]
    is_near_row = abs(rows - peak_rows) <= WINDOW
    is_near_column = abs(columns - peak_columns) <= WINDOW
    positive_scores = np.maximum(scores, 0)
    weights = np.where(is_near_row & is_near_column, positive_scores, 0).astype(np.float64)
    weights[np.arange(len(peaks)), peaks] += 1e-12  # for rows without a positive score
    weights /= weights.sum(1, keepdims=True)
    x = weights @ (columns + 0.5)
    y = weights @ (rows + 0.5)
    return np.stack([x, y], 1)


def compute_pck(points: Points, truth: Points, size: tuple[float, float], threshold: float) -> float:
    """Share of the points (N, 2) within `threshold` of the truth, as a share of the sides `size`; NaN for no points.

    Percentage of correct keypoints (Yang & Ramanan 2013), each axis measured in its own side.
    """
    distance = np.linalg.norm((points - truth) / size, axis=1)
    if not len(distance):
        return float("nan")
    return float((distance <= threshold).mean())


def compute_cycle_consistency(scores: Scores, queried: Mask, grid: tuple[int, int]) -> float:
    """Share of the sketch patches `queried` (P,) whose best photo patch has its best sketch patch within one patch."""
    start = np.flatnonzero(queried)
    if not len(start):
        return float("nan")
    scores = scores[start]
    best_photo = scores.argmax(1)
    best_sketch = scores.argmax(0)
    end = start[best_sketch[best_photo]]
    start_row, start_column = np.divmod(start, grid[1])
    end_row, end_column = np.divmod(end, grid[1])
    row_distance = abs(start_row - end_row)
    column_distance = abs(start_column - end_column)
    distance = np.maximum(row_distance, column_distance)
    return float((distance <= CYCLE_DISTANCE).mean())


class Controls:
    """Networks that were not trained on sketches: one of the same shape with random weights, and the frozen backbone.

    Args:
        frozen: tokens (B, P, C) of normalised pictures (B, 3, S, S) by the backbone before training; None: no such
            control.
    """

    def __init__(
        self, model: NetworkEmbedder, frozen: Callable[[torch.Tensor], torch.Tensor] | None, seed: int
    ) -> None:
        self.model = model
        self.frozen = frozen
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = ZSENetwork(_without_selection(model.network.config))
        self.random = NetworkEmbedder(network, model.device, [])

    @torch.inference_mode()
    def score_patches(self, sketch: Side, photo: Side) -> Iterator[tuple[str, Scores]]:
        """Scores by the cosine of each control's tokens: FROZEN_BACKBONE as they are, the others by `dual_softmax`."""
        sketch_input = self._normalise(sketch)
        photo_input = self._normalise(photo)
        network = self.random.network
        sketch_tokens = network.encode(sketch_input, "sketch").tokens[:, 1:]
        photo_tokens = network.encode(photo_input, "photo").tokens[:, 1:]
        tokens = {RANDOM_WEIGHTS: (sketch_tokens, photo_tokens)}
        if self.frozen is not None:
            sketch_tokens = self.frozen(sketch_input)
            photo_tokens = self.frozen(photo_input)
            tokens[FROZEN_DUAL_SOFTMAX] = sketch_tokens, photo_tokens
            cosines = torch.cosine_similarity(sketch_tokens[0, :, None], photo_tokens[0, None], dim=-1)
            yield FROZEN_BACKBONE, cosines.cpu().numpy()
        everywhere = np.ones(len(photo.kept), bool)
        for name, (sketch_tokens, photo_tokens) in tokens.items():
            cosines = compute_centred_cosine(sketch_tokens, photo_tokens)[0]
            yield name, dual_softmax(cosines.cpu().numpy(), sketch.strokes, everywhere)

    def _normalise(self, side: Side) -> torch.Tensor:
        return normalise(np.stack([side.pixels]), self.model.preprocess, self.model.device)


def _without_selection(config: ModelConfig) -> ModelConfig:
    """Without token selection: a control has a token in every patch."""
    return replace(config, selection=replace(config.selection, rate=1.0))


def load_frozen_backbone(model: NetworkEmbedder, weights: Path) -> Callable[[torch.Tensor], torch.Tensor]:
    """Patch tokens (B, P, C) of the model's backbone with its weights before training, of pictures (B, 3, S, S)."""
    config = _without_selection(model.network.config)
    network = ZSENetwork(config, weights=weights).to(model.device).eval()
    embed = network.backbone.vit.patch_embed
    if isinstance(embed, TrunkEmbed):
        return embed.compute_maps  # the blocks above a trunk are new
    return lambda x: network.backbone.forward_trainable(network.backbone.forward_frozen(x)).tokens[:, 1:]


def measure_moves(
    model: NetworkEmbedder, controls: Controls, sketch: Image.Image, photo: Image.Image
) -> LocalizationTable:
    """How well the strokes of a sketch are found in a photo of the same thing in the same place, by method and move.

    The photo is moved in each of MOVES; strokes that leave it are not queried.
    """
    encoded_sketch = encode_image(model, sketch, "sketch")
    side = encoded_sketch[0]
    centres = side.frame.to_picture(side.patch_centres())
    same_place = centres * np.divide(photo.size, sketch.size)
    fill = tuple(int(value) for value in paper_colour(np.asarray(photo)))
    table = {}
    for move, make_matrix in MOVES.items():
        matrix = make_matrix(photo.size)
        moved_photo = encode_image(model, warp_image(photo, matrix, fill), "photo")
        pair = score_pair(model, encoded_sketch, moved_photo)
        truth = move_points(matrix, same_place)
        is_inside = (truth >= 0) & (truth < photo.size)
        queried = side.matchable & is_inside.all(1)
        truth = truth[queried]
        for method, scores in _score_methods(pair, controls):
            points = transfer_points(scores, side, pair.photo, centres)
            cycle = compute_cycle_consistency(scores, side.matchable, side.grid)
            table[method, move] = _score_points(points[queried], truth, photo.size, cycle)
        table[SAME_PLACE, move] = _score_points(same_place[queried], truth, photo.size)
    return table


def measure_keypoints(pair: Pair, controls: Controls, on_sketch: Points, on_photo: Points) -> LocalizationTable:
    """How well keypoints (N, 2) that mark the same parts, in pixels of either picture, are found.

    By method and direction. A keypoint may lie where no stroke is, so every patch of the sketch is queried.
    """
    everywhere = np.ones_like(pair.sketch.strokes)
    pair = replace(pair, sketch=replace(pair.sketch, strokes=everywhere))
    scores_by_method = _score_methods(pair, controls)
    table: LocalizationTable = {}
    for direction, start, end, points, truth in (
        ("sketch to photo", pair.sketch, pair.photo, on_sketch, on_photo),
        ("photo to sketch", pair.photo, pair.sketch, on_photo, on_sketch),
    ):
        size = end.image.size
        for method, scores in scores_by_method:
            scores_from_start = scores if start is pair.sketch else scores.T
            predicted = transfer_points(scores_from_start, start, end, points)
            table[method, direction] = _score_points(predicted, truth, size)
        same_place = points * np.divide(size, start.image.size)
        table[SAME_PLACE, direction] = _score_points(same_place, truth, size)
    return table


def _score_methods(pair: Pair, controls: Controls) -> Sequence[tuple[str, Scores]]:
    """The scores (P, C) of every source and control, by its name."""
    by_source = [(source, score_patches(pair, source)) for source in offered_sources(pair.network)]
    return by_source + list(controls.score_patches(pair.sketch, pair.photo))


def _score_points(
    points: Points, truth: Points, size: tuple[int, int], cycle: float = float("nan")
) -> LocalizationScores:
    pck5, pck10 = (compute_pck(points, truth, size, threshold) for threshold in THRESHOLDS)
    return LocalizationScores(pck5=pck5, pck10=pck10, cycle=cycle)


def transfer_points(scores: Scores, start: Side, end: Side, points: Points) -> Points:
    """Where points (N, 2) of the picture `start` lie in the picture `end`, both in pixels of the pictures.

    Args:
        scores: (P, C), patches of `start` in rows. Between four patch centres their rows are interpolated bilinearly.
    """
    rows, columns = start.grid
    cells = start.frame.to_input(points) / start.patch_size - 0.5
    cells = np.clip(cells, 0, (columns - 1, rows - 1))
    corners = np.floor(cells).astype(int)
    corners = np.minimum(corners, (columns - 2, rows - 2)).clip(0)
    across, down = (cells - corners).T
    mixed: Floats64 = np.zeros((len(points), scores.shape[1]))
    for x, y, weight in (
        (0, 0, (1 - across) * (1 - down)),
        (1, 0, across * (1 - down)),
        (0, 1, (1 - across) * down),
        (1, 1, across * down),
    ):
        row = np.minimum(corners[:, 1] + y, rows - 1)
        column = np.minimum(corners[:, 0] + x, columns - 1)
        patches = row * columns + column
        mixed += weight[:, None] * scores[patches]
    peaks = locate_peaks(mixed.astype(np.float32), end.grid)
    return end.frame.to_picture(peaks * end.patch_size)
