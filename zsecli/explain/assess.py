"""Explanations measured over a ranking: are they the reason for the scores, and do they find the right places?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from zsecli.arrays import Ints
from zsecli.data.items import Items
from zsecli.errors import UsageError, did_you_mean
from zsecli.explain.assessment import (
    Assessment,
    Clusters,
    ControlTest,
    MethodAreas,
    average_table,
    compare_with_zero,
)
from zsecli.explain.correspondences import Match, find_pair_matches, offered_sources, score_patches
from zsecli.explain.faithfulness import Areas, measure_faithfulness
from zsecli.explain.keypoints import KeypointPair, read_keypoints
from zsecli.explain.load_network import load_network, network_of_ranking
from zsecli.explain.localization import (
    FROZEN_BACKBONE,
    FROZEN_DUAL_SOFTMAX,
    MOVES,
    RANDOM_WEIGHTS,
    SAME_PLACE,
    UNMOVED,
    Controls,
    LocalizationTable,
    load_frozen_backbone,
    measure_keypoints,
    measure_moves,
)
from zsecli.explain.pair import Pair, Side, encode_image, load_image, score_pair
from zsecli.images.geometry import Points
from zsecli.images.loader import read_full_size
from zsecli.images.outline import draw_outline
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.ranked_pictures import check_named, check_ranked
from zsecli.runtime.console import SILENT, Progress
from zsecli.store.ranking import Ranking, open_ranking

CONTROLS = (SAME_PLACE, FROZEN_BACKBONE, FROZEN_DUAL_SOFTMAX, RANDOM_WEIGHTS)
OUTLINED_SIZE = 256  # pixels of the long side of a photo whose outline is drawn


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """The pictures of a ranking that explanations are tested on. A cluster is the group of a pair in a test."""

    spec: ModelSpec
    """The network that made the ranking."""
    ranked: list[tuple[Path, Path]]
    """Queries and their first photos."""
    ranked_by: str
    """What their clusters have in common."""
    ranked_clusters: list[str]
    aligned: list[tuple[Path, Path]]
    """Sketches and photos that are the same drawing, pixel by pixel."""
    outlined: list[Path]
    """Photos whose own outlines serve as sketches, where there are no aligned pairs."""
    ground_truth: str
    """What the aligned or outlined pairs are, for a reader."""
    truth_by: str
    truth_clusters: list[str]

    def load_truth_pairs(self) -> Iterator[tuple[Image.Image, Image.Image]]:
        """The sketches and photos with known correspondences: the aligned pairs, then the outlined photos."""
        for sketch, photo in self.aligned:
            yield load_image(sketch).convert("RGB"), load_image(photo).convert("RGB")
        for photo in self.outlined:
            yield _load_outlined(photo)


def assess_ranking(
    ranking: Path,
    *,
    pairs: int = 100,
    aligned: str | None = None,
    keypoints: Path | None = None,
    backbone_weights: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = SILENT,
) -> Assessment:
    """Test the explanations of a ranking's first photos, and how well strokes are found where the truth is known.

    Args:
        pairs: maximum number of queries, and of pairs with known correspondences; evenly spread.
        aligned: value of the column `family` whose sketches and photos of one object are the same drawing, pixel by
            pixel; None: photos and their own outlines are the ground truth.
        keypoints: a CSV, see `zsecli.explain.keypoints`.
        backbone_weights: the backbone before training, as `zse train --backbone-weights`, for a control.

    Raises:
        StoreError: the ranking's model has no relation network. UsageError: no pictures are aligned so.
        ChangedPicture: a picture is no longer what was ranked.
    """
    keypoint_pairs = read_keypoints(keypoints) if keypoints is not None else []
    sample = _select_pictures(ranking, pairs, aligned, keypoint_pairs)
    model = load_network(sample.spec, device)
    frozen = None
    if backbone_weights is not None:
        frozen = load_frozen_backbone(model, backbone_weights)
    controls = Controls(model, frozen, seed)
    n_truth_pairs = len(sample.aligned) + len(sample.outlined)
    progress.start(len(sample.ranked) + n_truth_pairs + len(keypoint_pairs))
    keypoint_clusters = [str(pair.photo) for pair in keypoint_pairs]
    assessment = Assessment(
        pairs=len(sample.ranked),
        ground_truth=sample.ground_truth,
        sources=offered_sources(model.network),
        clusters={
            "areas": Clusters(sample.ranked_by, len(set(sample.ranked_clusters))),
            "places": Clusters(sample.truth_by, len(set(sample.truth_clusters))),
            "keypoints": Clusters("photo", len(set(keypoint_clusters))),
        },
    )
    assessment.areas = _measure_areas(model, controls, sample, seed, progress)
    place_tables = []
    for sketch, photo in sample.load_truth_pairs():
        place_tables.append(measure_moves(model, controls, sketch, photo))
        progress(1)
    assessment.places = average_table(place_tables, sample.truth_clusters)
    _compare_with_controls(assessment, place_tables, sample.truth_clusters, seed)
    keypoint_tables = []
    for keypoint_pair in keypoint_pairs:
        keypoint_tables.append(_measure_keypoint_pair(model, controls, keypoint_pair))
        progress(1)
    assessment.keypoints = average_table(keypoint_tables, keypoint_clusters)
    return assessment


def _select_pictures(
    ranking_path: Path, max_pairs: int, aligned: str | None, keypoint_pairs: Sequence[KeypointPair]
) -> _Sample:
    """Choose the pictures, and check that they are still those that were ranked."""
    with open_ranking(ranking_path) as ranking:
        spec = network_of_ranking(ranking)
        sketches, photos = ranking.pictures()
        sketch_by, sketch_clusters = _cluster_pictures(ranking.query)
        photo_by, photo_clusters = _cluster_pictures(ranking.gallery)
        first = np.array([ranking.indices[row][0] for row in range(len(sketches))])
        query_rows = _spread_evenly(np.flatnonzero(first >= 0), max_pairs)
        aligned_rows: list[tuple[int, int]] = []
        outlined_rows: Ints = np.arange(0)
        if aligned:
            aligned_rows = _find_aligned(ranking, aligned, max_pairs)
            ground_truth = f"{len(aligned_rows)} aligned pairs of {aligned}"
            truth_by = sketch_by
            truth_clusters = [sketch_clusters[query] for query, _ in aligned_rows]
        else:
            outlined_rows = _spread_evenly(np.arange(len(photos)), max_pairs)
            ground_truth = f"{len(outlined_rows)} photos and their own outlines"
            truth_by = photo_by
            truth_clusters = [photo_clusters[row] for row in outlined_rows]
        aligned_queries = np.array([query for query, _ in aligned_rows], np.int64)
        aligned_photos = np.array([photo for _, photo in aligned_rows], np.int64)
        check_ranked(
            ranking,
            np.concatenate([query_rows, aligned_queries]),
            np.concatenate([first[query_rows], aligned_photos, outlined_rows]),
        )
        keypoint_files = [file for pair in keypoint_pairs for file in (pair.photo, pair.sketch)]
        check_named(ranking, keypoint_files)
        return _Sample(
            spec=spec,
            ranked=[(sketches[row], photos[first[row]]) for row in query_rows],
            ranked_by=sketch_by,
            ranked_clusters=[sketch_clusters[row] for row in query_rows],
            aligned=[(sketches[query], photos[photo]) for query, photo in aligned_rows],
            outlined=[photos[row] for row in outlined_rows],
            ground_truth=ground_truth,
            truth_by=truth_by,
            truth_clusters=truth_clusters,
        )


def match_by_method(pair: Pair, controls: Controls) -> dict[str, list[Match]]:
    """The matches, best first, of every source and of every control that has scores."""
    matches = {}
    for source in offered_sources(pair.network):
        matches[source] = find_pair_matches(pair, score_patches(pair, source))
    for control, scores in controls.score_patches(pair.sketch, pair.photo):
        matches[control] = find_pair_matches(pair, scores)
    return matches


def _measure_areas(
    model: NetworkEmbedder, controls: Controls, sample: _Sample, seed: int, progress: Progress
) -> dict[str, MethodAreas]:
    """How well each method's order of matches predicts the scores of queries with their first photos."""
    areas: dict[str, list[Areas]] = defaultdict(list)
    n_matches: dict[str, list[int]] = defaultdict(list)
    clusters: dict[str, list[str]] = defaultdict(list)
    for (sketch, photo), cluster in zip(sample.ranked, sample.ranked_clusters, strict=True):
        pair = _load_pair(model, sketch, photo)
        for method, matches in match_by_method(pair, controls).items():
            if matches:
                areas[method].append(measure_faithfulness(pair, matches, seed).mean_areas())
                n_matches[method].append(len(matches))
                clusters[method].append(cluster)
        progress(1)
    means = {}
    for method, of_pairs in areas.items():
        means[method] = MethodAreas(
            deletion=compare_with_zero([pair_areas.deletion for pair_areas in of_pairs], clusters[method], seed),
            insertion=compare_with_zero([pair_areas.insertion for pair_areas in of_pairs], clusters[method], seed),
            matches=float(np.mean(n_matches[method])),
            pairs=len(of_pairs),
        )
    return means


def _compare_with_controls(
    assessment: Assessment, tables: Sequence[LocalizationTable], clusters: Sequence[str], seed: int
) -> None:
    """Test each source's PCK@10 against that of the best control, for each move."""
    for source in assessment.sources:
        for move in MOVES:
            control = _best_control(assessment, move)
            source_pck = np.array([table[source, move].pck10 for table in tables])
            control_pck = np.array([table[control, move].pck10 for table in tables])
            difference = compare_with_zero(source_pck - control_pck, clusters, seed)
            if np.isfinite(difference.value):
                assessment.control_tests[source, move] = ControlTest(control, difference)


def _best_control(assessment: Assessment, move: str) -> str:
    """The control with the highest PCK@10."""
    controls = [control for control in CONTROLS if (control, move) in assessment.places]
    if move == UNMOVED:
        controls.remove(SAME_PLACE)  # which is the truth
    return max(controls, key=lambda control: assessment.places[control, move]["pck10"].value)


def _measure_keypoint_pair(model: NetworkEmbedder, controls: Controls, marked: KeypointPair) -> LocalizationTable:
    pair = _load_pair(model, marked.sketch, marked.photo)
    on_sketch = _scale_points(marked.on_sketch, marked.sketch, pair.sketch)
    on_photo = _scale_points(marked.on_photo, marked.photo, pair.photo)
    return measure_keypoints(pair, controls, on_sketch, on_photo)


def _scale_points(points: Points, file: Path, side: Side) -> Points:
    """Points in pixels of the file -> in pixels of the image that was read, which is smaller for very large files."""
    return points / np.divide(read_full_size(file, side.image), side.image.size)


def _load_pair(model: NetworkEmbedder, sketch: Path, photo: Path) -> Pair:
    encoded_sketch = encode_image(model, load_image(sketch), "sketch")
    encoded_photo = encode_image(model, load_image(photo), "photo")
    return score_pair(model, encoded_sketch, encoded_photo)


def _load_outlined(photo: Path) -> tuple[Image.Image, Image.Image]:
    """A photo's outline, and the photo, reduced as in training: lines a few pixels wide vanish in a large picture."""
    image = load_image(photo).convert("RGB")
    image.thumbnail((OUTLINED_SIZE, OUTLINED_SIZE))
    return draw_outline(np.asarray(image)).convert("RGB"), image


def _find_aligned(ranking: Ranking, family: str, max_pairs: int) -> list[tuple[int, int]]:
    """(query, photo) rows of one object in this family, the first of each, evenly spread."""
    names = ranking.query.family.names
    if family not in names:
        raise UsageError(
            f"--aligned {family}: no sketch is of that family{did_you_mean(family, names)}",
            f"families: {', '.join(names) or 'the data set names none'}",
        )
    objects = ranking.query.instance.names
    query_rows = _first_rows_by_object(ranking.query, family, objects)
    photo_rows = _first_rows_by_object(ranking.gallery, family, objects)
    shared = sorted(query_rows.keys() & photo_rows.keys())
    if not shared:
        raise UsageError(
            f"--aligned {family}: no object has a sketch and a photo of that family", "zse inspect lists the pictures"
        )
    codes = _spread_evenly(np.array(shared), max_pairs)
    return [(query_rows[code], photo_rows[code]) for code in codes]


def _first_rows_by_object(items: Items, family: str, objects: Sequence[str]) -> dict[int, int]:
    """The first picture of each object in this family, by the object's code among `objects`."""
    is_in_family = items.family.codes_in([family]) == 0
    rows: dict[int, int] = {}
    for row, code in enumerate(items.instance.codes_in(objects)):
        if is_in_family[row] and code >= 0:
            rows.setdefault(int(code), row)
    return rows


def _spread_evenly(rows: Ints, max_rows: int) -> Ints:
    """At most so many of the rows, evenly spread."""
    if not len(rows):
        return rows
    positions = np.linspace(0, len(rows) - 1, min(len(rows), max_rows))
    return rows[positions.round().astype(int)]


def _cluster_pictures(items: Items) -> tuple[str, list[str]]:
    """What pictures are grouped by, and the group of each: its class, or its object where no picture has a class.

    A picture without either is a group of its own.
    """
    for name, column in (("class", items.label), ("object", items.instance)):
        if (column.codes >= 0).any():
            clusters = []
            for code, picture in zip(column.codes, items.id, strict=True):
                clusters.append(column.names[code] if code >= 0 else picture)
            return name, clusters
    return "picture", list(items.id)
