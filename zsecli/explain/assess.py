"""Explanations measured over a ranking: are they the reason, and do they find the right places?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from zsecli.arrays import Ints
from zsecli.data.items import Items
from zsecli.errors import UsageError, did_you_mean
from zsecli.evaluate.intervals import FEWEST, KIND, TEST, confidence_interval, sign_flip_p
from zsecli.explain import faithfulness, keypoints
from zsecli.explain import localization as places
from zsecli.explain.correspondences import Match, best, offered_sources, scores
from zsecli.explain.load_network import load_network, network_of_ranking
from zsecli.explain.localization import CHOSEN, FROZEN, RANDOM, SAME, Controls
from zsecli.explain.pair import Pair, read, relate, see
from zsecli.images.loader import read_full_size
from zsecli.images.outline import draw_outline
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.retrieval.ranked_pictures import check_named, check_ranked
from zsecli.runtime.console import SILENT, Progress
from zsecli.store.ranking import Ranking, open_ranking
from zsecli.vocabulary import EXPLANATION_SOURCES

Clusters = Sequence[str]
CONTROLS = (SAME, FROZEN, CHOSEN, RANDOM)
PCK5, PCK10, CYCLE = places.Found._fields
OUTLINED = 256  # pixels of the long side of a photo whose outline is drawn


class Mean(NamedTuple):
    """A mean over pairs, its 95 % interval, and p of "it is 0"; NaN where nothing has a value or groups are too few."""

    value: float
    low: float
    high: float
    p: float = float("nan")


@dataclass
class Checked:
    """What `run` found; every mean is over pairs of pictures.

    areas: way -> "deletion" and "insertion", see `faithful.Areas`, and the mean number of matches.
    places: (way, move) -> PCK and cycle consistency; `known` says of which pairs. marked: the same of keypoints, by
    (way, direction). against: (source, move) -> what PCK@10 is above that of the best control, paired over pairs.
    clusters: by what pairs are grouped for intervals and tests, and how many such groups there are: of `areas`, of
    `places`, of `marked`.
    """

    pairs: int
    known: str
    clusters: dict[str, tuple[str, int]] = field(default_factory=dict)
    areas: dict[str, dict[str, Any]] = field(default_factory=dict)
    places: dict[tuple[str, str], dict[str, Mean]] = field(default_factory=dict)
    marked: dict[tuple[str, str], dict[str, Mean]] = field(default_factory=dict)
    against: dict[tuple[str, str], tuple[str, Mean]] = field(default_factory=dict)
    sources: Sequence[str] = tuple(EXPLANATION_SOURCES)
    """The sources that were tested: those that explain the network."""

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; a mean has a value and an interval, null where nothing has a value."""
        return {
            "pairs": self.pairs,
            "known": self.known,
            "interval_kind": KIND,
            "test": TEST,
            "clusters": {name: {"cluster": by, "clusters": count} for name, (by, count) in self.clusters.items()},
            "areas": {way: {k: _plain(v) for k, v in found.items()} for way, found in self.areas.items()},
            "places": [{"way": w, "move": m} | _plains(values) for (w, m), values in self.places.items()],
            "keypoints": [{"way": w, "direction": d} | _plains(values) for (w, d), values in self.marked.items()],
            "against_controls": [
                {"source": s, "move": m, "control": c, "difference": _plain(v)}
                for (s, m), (c, v) in self.against.items()
            ],
            "verdicts": self.verdicts(),
        }

    def verdicts(self) -> list[str]:
        """A sentence for each source: what it is better than (p < .05, not corrected for their number), what not."""
        lines = []
        for source in self.sources:
            better: list[str] = []
            failed: list[str] = []
            if areas := self.areas.get(source):
                for name in faithfulness.Areas._fields:
                    (better if _above_zero(areas[name]) else failed).append(f"random orders by {name}")
            for (s, m), (c, v) in self.against.items():
                if s == source:
                    (better if _above_zero(v) else failed).append(f"{c} where photos are {m}")
            lines.append(
                f"{source}: better than {', '.join(better) or 'nothing'}"
                + (f"; NOT better than {', '.join(failed)}" if failed else "")
            )
        return lines

    def tables(self) -> Iterator[tuple[str, list[str], list[list[str]]]]:
        """Caption, columns and rows of each table."""
        if self.areas:
            rows = [
                [way, *(_show(a[name], "+.4f") for name in ("deletion", "insertion")), f"{a['matches']:.0f}"]
                for way, a in self.areas.items()
            ]
            caption = f"areas between the curves of an explanation and of random orders, {self.pairs} pairs"
            caption += self._groups("areas")
            yield caption, ["way", "deletion", "insertion", "matches"], rows
        for caption, name, found in (
            (f"PCK@5 / PCK@10, {self.known}", "places", self.places),
            ("keypoints", "keypoints", self.marked),
        ):
            if found:
                caption += self._groups(name)
                columns = list(dict.fromkeys(column for _, column in found))
                yield (
                    caption,
                    ["way", *columns],
                    [
                        [way, *(f"{found[way, c][PCK5][0]:.3f} / {_show(found[way, c][PCK10])}" for c in columns)]
                        for way in dict.fromkeys(way for way, _ in found)
                    ],
                )
        if self.against:
            rows = [[s, m, c, _show(v, "+.3f"), f"{v.p:.3f}"] for (s, m), (c, v) in self.against.items()]
            caption = f"PCK@10 less the best control's{self._groups('places')}; p by {TEST}"
            yield caption, ["source", "move", "best control", "difference", "p"], rows

    def _groups(self, name: str) -> str:
        """What the intervals of a table are."""
        by, count = self.clusters[name]
        if count < FEWEST:
            return f"; no interval, as one {by} alone does not show how much they differ"
        return f"; 95 % intervals over {count} groups of pairs of one {by}: {KIND}"


def run(
    ranking: Path,
    *,
    pairs: int = 100,
    aligned: str | None = None,
    marked: Path | None = None,
    backbone_weights: Path | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: Progress = SILENT,
) -> Checked:
    """Test the explanations of a ranking's first photos, and how well strokes are found where the truth is known.

    Args:
        pairs: queries, and pairs with known places, at most; evenly spread.
        aligned: value of the column `family` whose sketches and photos of one object are the same drawing, pixel on
            pixel; None: the truth is known of photos and their own outlines.
        marked: a CSV of keypoints, see `zsecli.explain.keypoints`.
        backbone_weights: the backbone before training, as `zse train --backbone-weights`, for a control.

    Raises:
        StoreError: the ranking's model has no relation network. UsageError: nothing is aligned so.
        ChangedPicture: a picture is no longer what was ranked.
    """
    points = keypoints.read(marked) if marked is not None else []
    with open_ranking(ranking) as opened:
        spec = network_of_ranking(opened)
        sketches, photos = opened.pictures()
        first = np.array([opened.indices[row][0] for row in range(len(sketches))])
        asked = _some(np.flatnonzero(first >= 0), pairs)
        matched = [(sketches[row], photos[first[row]]) for row in asked]
        by, groups = _clusters(opened.query)
        aligned_rows = np.array(_aligned(opened, aligned, pairs) if aligned else [], np.int64).reshape(-1, 2)
        known = [(sketches[i], photos[j]) for i, j in aligned_rows]
        outlined_rows = _some(np.arange(0 if aligned else len(photos)), pairs)
        outlined = [photos[i] for i in outlined_rows]
        by_places, photo_groups = _clusters(opened.gallery)
        place_groups = [groups[i] for i, _ in aligned_rows] if aligned else [photo_groups[i] for i in outlined_rows]
        check_ranked(
            opened,
            np.concatenate([asked, aligned_rows[:, 0]]),
            np.concatenate([first[asked], aligned_rows[:, 1], outlined_rows]),
        )
        check_named(opened, [file for one in points for file in (one.photo, one.sketch)])
    model = load_network(spec, device)
    frozen = None
    if backbone_weights is not None:
        frozen = places.before_training(model, backbone_weights)
    controls = Controls(model, frozen, seed)
    progress.start(len(matched) + len(known) + len(outlined) + len(points))
    text = f"{len(known)} aligned pairs of {aligned}" if aligned else f"{len(outlined)} photos and their own outlines"
    report = Checked(len(matched), text)
    report.sources = offered_sources(model.network)
    area_groups = [groups[row] for row in asked]
    point_groups = [str(one.photo) for one in points]
    report.clusters = {
        "areas": (by, len({*area_groups})),
        "places": (by if aligned else by_places, len({*place_groups})),
        "keypoints": ("photo", len({*point_groups})),
    }
    _test_areas(report, model, controls, matched, area_groups, seed, progress)
    shown = ((read(sketch).convert("RGB"), read(photo).convert("RGB")) for sketch, photo in known)
    truths = shown if aligned else (_outlined(photo) for photo in outlined)
    _test_places(report, model, controls, truths, place_groups, seed, progress)
    _test_keypoints(report, model, controls, points, point_groups, progress)
    return report


def ways(pair: Pair, controls: Controls) -> dict[str, list[Match]]:
    """The matches of every source and of the controls that put theirs in an order, best first."""
    ours, theirs = pair.sketch.asked, pair.photo.asked
    found = {source: best(scores(pair, source), ours, theirs) for source in offered_sources(pair.network)}
    return found | {name: best(values, ours, theirs) for name, values in controls.scores(pair.sketch, pair.photo)}


def _test_areas(
    report: Checked,
    model: NetworkEmbedder,
    controls: Controls,
    files: Sequence[tuple[Path, Path]],
    clusters: Clusters,
    seed: int,
    progress: Progress,
) -> None:
    areas: dict[str, list[tuple[float, float, int]]] = defaultdict(list)
    groups: dict[str, list[str]] = defaultdict(list)
    for (sketch, photo), cluster in zip(files, clusters, strict=True):
        pair = relate(model, see(model, read(sketch), "sketch"), see(model, read(photo), "photo"))
        for way, matches in ways(pair, controls).items():
            if matches:
                areas[way].append((*faithfulness.measure(pair, matches, seed).areas(), len(matches)))
                groups[way].append(cluster)
        progress(1)
    for way, rows in areas.items():
        deletion, insertion, count = np.array(rows).T
        report.areas[way] = {
            "deletion": _difference(deletion, groups[way], seed),
            "insertion": _difference(insertion, groups[way], seed),
            "matches": float(count.mean()),
            "pairs": len(rows),
        }


def _test_places(
    report: Checked,
    model: NetworkEmbedder,
    controls: Controls,
    known: Iterable[tuple[Image.Image, Image.Image]],
    clusters: Clusters,
    seed: int,
    progress: Progress,
) -> None:
    every = []
    for sketch, photo in known:
        every.append(places.measure(model, controls, sketch, photo))
        progress(1)
    report.places = _means(every, clusters)
    for source in report.sources:
        for name in places.MOVES:
            known_ones = [c for c in CONTROLS if (c, name) in report.places]
            if name == next(iter(places.MOVES)):
                known_ones.remove(SAME)  # where nothing moves, that is the truth
            control = max(known_ones, key=lambda c: report.places[c, name][PCK10][0])
            values = np.array([[found[way, name].pck10 for way in (control, source)] for found in every])
            difference = _difference(values[:, 1] - values[:, 0], clusters, seed)
            if np.isfinite(difference.value):
                report.against[source, name] = control, difference


def _test_keypoints(
    report: Checked,
    model: NetworkEmbedder,
    controls: Controls,
    marked: Sequence[keypoints.Marked],
    clusters: Clusters,
    progress: Progress,
) -> None:
    every = []
    for one in marked:
        pair = relate(model, see(model, read(one.sketch), "sketch"), see(model, read(one.photo), "photo"))
        on_sketch, on_photo = (
            points
            / np.divide(read_full_size(file, side.image), side.image.size)  # of a very large picture a copy was read
            for file, side, points in (
                (one.sketch, pair.sketch, one.on_sketch),
                (one.photo, pair.photo, one.on_photo),
            )
        )
        every.append(places.measure_points(pair, controls, on_sketch, on_photo))
        progress(1)
    report.marked = _means(every, clusters)


def _outlined(photo: Path) -> tuple[Image.Image, Image.Image]:
    image = read(photo).convert("RGB")
    image.thumbnail((OUTLINED, OUTLINED))  # as in training: in a large photo a line of a few pixels is none
    return draw_outline(np.asarray(image)).convert("RGB"), image


def _aligned(ranking: Ranking, family: str, most: int) -> list[tuple[int, int]]:
    """(query, photo) rows of one object in this family, the first of each, evenly spread."""
    names = ranking.query.family.names
    if family not in names:
        raise UsageError(
            f"--aligned {family}: no sketch is of that family{did_you_mean(family, names)}",
            f"families: {', '.join(names) or 'the data set names none'}",
        )
    sides = []
    for items in (ranking.query, ranking.gallery):
        of = items.family.codes_in([family]) == 0
        codes = items.instance.codes_in(ranking.query.instance.names)
        sides.append({int(c): row for row, c in reversed([*enumerate(codes)]) if of[row] and c >= 0})
    shared = sorted(sides[0].keys() & sides[1].keys())
    if not shared:
        raise UsageError(
            f"--aligned {family}: no object has a sketch and a photo of that family", "zse inspect lists the pictures"
        )
    return [(sides[0][c], sides[1][c]) for c in _some(np.array(shared), most)]


def _some(rows: Ints, most: int) -> Ints:
    """At most so many of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(len(rows), most)).round().astype(int)] if len(rows) else rows


def _clusters(items: Items) -> tuple[str, list[str]]:
    """What pictures are grouped by, and the group of each: its class; its object, or itself, where none has a class."""
    for name, column in (("class", items.label), ("object", items.instance)):
        if (column.codes >= 0).any():
            rows = zip(column.codes, items.id, strict=True)
            return name, [column.names[code] if code >= 0 else picture for code, picture in rows]
    return "picture", list(items.id)


def _means(
    every: Sequence[dict[tuple[str, str], places.Found]], clusters: Clusters
) -> dict[tuple[str, str], dict[str, Mean]]:
    """Of shares, 0 to 1, in every key."""
    found: dict[tuple[str, str], dict[str, Mean]] = {}
    for key in dict.fromkeys(key for one in every for key in one):
        rows = [i for i, one in enumerate(every) if key in one]
        groups = [clusters[i] for i in rows]
        found[key] = {
            name: _mean([getattr(every[i][key], name) for i in rows], groups, (0.0, 1.0))
            for name in places.Found._fields
        }
    return found


def _difference(values: Any, clusters: Clusters, seed: int) -> Mean:
    """Of differences, -1 to 1, with p."""
    mean = _mean(values, clusters, (-1.0, 1.0))
    known = np.isfinite(np.asarray(values, np.float64))
    if not known.any():
        return mean
    p = sign_flip_p(np.asarray(values, np.float64)[known], np.array(clusters, object)[known], seed=seed)
    return mean._replace(p=p)


def _mean(values: Any, clusters: Clusters, bounds: tuple[float, float]) -> Mean:
    """Over the pairs that have a value; NaN where none has."""
    values = np.asarray(values, np.float64)
    known = np.isfinite(values)
    if not known.any():
        return Mean(float("nan"), float("nan"), float("nan"))
    interval = confidence_interval(values[known], np.array(clusters, object)[known], bounds=bounds)
    low, high = interval or (float("nan"), float("nan"))
    return Mean(float(values[known].mean()), low, high)


def _above_zero(mean: Mean) -> bool:
    return mean.value > 0 and mean.p < 0.05


def _plains(means: dict[str, Mean]) -> dict[str, Any]:
    return {name: _plain(mean) for name, mean in means.items()}


def _plain(value: Any) -> Any:
    if not isinstance(value, Mean):
        return value
    if np.isnan(value.value):
        return None
    found: dict[str, Any] = {"value": value.value, "interval": None if np.isnan(value.low) else [value.low, value.high]}
    return found if np.isnan(value.p) else found | {"p": value.p}


def _show(mean: Mean, form: str = ".3f") -> str:
    if np.isnan(mean.low):
        return f"{mean.value:{form}}"
    return f"{mean.value:{form}} ({mean.low:{form}} to {mean.high:{form}})"
