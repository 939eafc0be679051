"""Correspondences, what they add to a score, and what a test of them says, on networks small enough to know."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from helpers.commands import Zse, call
from helpers.demo import DEMO
from helpers.tiny import SELECTING, TINY, build
from zsecli.errors import StoreError
from zsecli.explain import assessment, correspondences, faithfulness, localization
from zsecli.explain.correspondences import Match, dual_softmax, find_mutual_matches, score_patches
from zsecli.explain.pair import Pair, encode_image, score_pair
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model import checkpoint
from zsecli.model.config import ModelConfig, RelationConfig
from zsecli.model.embedders.base import NetworkEmbedder
from zsecli.render import explanation_json
from zsecli.render.report_tables import describe_verdicts
from zsecli.runtime.files import atomic_write
from zsecli.stages import explain
from zsecli.vocabulary import EXPLANATION_SOURCES

DATA_URI = re.compile(r"data:image/[a-z]+;base64,[A-Za-z0-9+/=]+")
SKETCH = DEMO / "sketch/animal-bird/1F413__fluent-hc.png"
PHOTO = DEMO / "photo/animal-bird/1F413__noto.webp"
OTHER = DEMO / "photo/animal-bird/1F427__noto.webp"
GRID = replace(TINY, relation=RelationConfig(hidden=(16, 8), direct=True, cell=1))
LEARNED = replace(TINY, relation=RelationConfig(hidden=(16, 8), project=24, cell=2))
MEMORY = replace(TINY, relation=RelationConfig(hidden=(16, 8), project=24, cell=2, layout="memory"))


def drawing(size: tuple[int, int] = (64, 64)) -> Image.Image:
    """A circle and a stroke beside the middle, on paper."""
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.ellipse((8, 6, size[0] * 0.6, size[1] * 0.7), outline="black", width=3)
    draw.line((10, size[1] - 8, size[0] - 6, size[1] - 20), "black", 3)
    return image


def colours(seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(256, size=(8, 8, 3), dtype=np.uint8)).resize((80, 60))


def build_embedder(settings: ModelConfig, randomly: bool = True) -> NetworkEmbedder:
    """A network whose relation network has weights everywhere, also where training begins at 0."""
    network = build(settings)
    if randomly:
        with torch.no_grad():
            for parameter in network.relation.parameters():
                parameter.normal_(0, 0.3)
    return NetworkEmbedder(network, torch.device("cpu"), [])


def encode_pair(model: NetworkEmbedder) -> Pair:
    return score_pair(
        model, encode_image(model, drawing(), "sketch", "s"), encode_image(model, colours(), "photo", "p")
    )


@pytest.mark.fast
def test_mutual_best_matches() -> None:
    """Against a loop over all pairs; patches that are not queried take no part, whatever their score."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 7)).astype(np.float32)
    queried, valid = rng.random(9) > 0.3, rng.random(7) > 0.2
    expected = []
    for i in np.flatnonzero(queried):
        for j in np.flatnonzero(valid):
            row, column = values[i][valid].max(), values[:, j][queried].max()
            if values[i, j] == row == column and values[i, j] > 0:
                expected.append((i, j, float(values[i, j])))
    matches = find_mutual_matches(values, queried, valid)
    assert [tuple(m) for m in matches] == sorted(expected, key=lambda m: -m[2])
    assert len(matches) > 1
    assert find_mutual_matches(values, np.zeros(9, bool), valid) == []


@pytest.mark.fast
def test_dual_softmax_is_the_product_of_both_softmaxes() -> None:
    cosines = np.random.default_rng(0).uniform(-1, 1, (5, 4)).astype(np.float32)
    queried, valid = np.array([1, 1, 0, 1, 1], bool), np.array([1, 0, 1, 1], bool)
    scores = dual_softmax(cosines, queried, valid, 0.5)
    for i in range(5):
        for j in range(4):
            expected = 0.0
            if queried[i] and valid[j]:
                power = math.exp(cosines[i, j] / 0.5)
                row = sum(math.exp(cosines[i, k] / 0.5) for k in range(4) if valid[k])
                column = sum(math.exp(cosines[k, j] / 0.5) for k in range(5) if queried[k])
                expected = power / row * power / column
            assert scores[i, j] == pytest.approx(expected, rel=1e-5, abs=1e-12)
    assert np.isfinite(dual_softmax(cosines, np.zeros(5, bool), valid)).all()


@pytest.mark.parametrize("settings", [GRID, LEARNED, MEMORY, SELECTING], ids=["grid", "learned", "memory", "selecting"])
def test_shares_add_up_to_the_cells(settings: ModelConfig) -> None:
    """Of each token of a picture to each cell, but for the bias of a learned pooling."""
    network = build_embedder(settings).network
    relation, tokens = network.relation, torch.randn(network.backbone.n_patches, network.backbone.width)
    kept = torch.rand(len(tokens)) > 0.2
    if relation.pool is not None:
        torch.nn.init.zeros_(relation.pool.bias)  # type: ignore[arg-type]
    shares = relation.compute_token_shares(tokens, kept)
    torch.testing.assert_close(shares.sum(0), relation.compute_cells(tokens[None], kept[None])[0], rtol=1e-4, atol=1e-5)
    assert not shares[~kept].abs().max() > 0


def test_contributions_add_up_to_what_the_kernel_says() -> None:
    """The sum over all pairs is the logit less that of an empty kernel (the completeness of integrated gradients)."""
    pair = encode_pair(build_embedder(GRID))
    relation, kernel = pair.network.relation, pair.score.kernel
    with torch.no_grad():
        difference = relation.compute_logit(kernel, kernel.new_zeros(1)) - relation.compute_logit(
            0 * kernel, kernel.new_zeros(1)
        )
    assert correspondences.score_contribution(pair).sum() == pytest.approx(float(difference), rel=0.02, abs=1e-3)
    assert abs(float(difference)) > 0.01


@pytest.mark.parametrize("settings", [GRID, LEARNED, MEMORY, SELECTING], ids=["grid", "learned", "memory", "selecting"])
def test_the_parts_of_the_logit_add_up_though_each_is_computed_by_itself(settings: ModelConfig) -> None:
    pair = encode_pair(build_embedder(settings))
    score = explanation_json.describe_explanation(pair, "cosine", {})["score"]
    assert score["local"] + score["ret"] + score["constant"] == pytest.approx(score["logit"], abs=0.005)
    assert abs(score["local"]) > 0.01
    if settings.relation.project == 0:  # no pooling with a bias: what is left of an empty kernel
        with torch.no_grad():
            empty = pair.network.relation.compute_logit(0 * pair.score.kernel, pair.score.logit.new_zeros(1))
        assert score["constant"] == pytest.approx(float(empty), abs=1e-6)


def test_attention_is_the_networks_own() -> None:
    """The geometric mean of both directions' attention, written out a head at a time."""
    pair = encode_pair(build_embedder(TINY))
    there = back = 0.0
    for head in range(pair.prepared_sketch.q.shape[1]):
        scale = pair.prepared_sketch.q.shape[-1] ** -0.5
        there = there + (pair.prepared_sketch.q[0, head] @ pair.prepared_photo.k[0, head].T * scale).softmax(1)[1:, 1:]
        back = back + (pair.prepared_photo.q[0, head] @ pair.prepared_sketch.k[0, head].T * scale).softmax(1)[1:, 1:]
    expected = (there * back.T).sqrt() / pair.prepared_sketch.q.shape[1]  # type: ignore[attr-defined]
    np.testing.assert_allclose(score_patches(pair, "attention"), expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("source", EXPLANATION_SOURCES)
def test_dropped_tokens_have_no_score(source: str) -> None:
    pair = encode_pair(build_embedder(SELECTING))
    patch_scores = score_patches(pair, source)
    dropped = ~pair.sketch.kept
    assert dropped.any() and patch_scores.any()
    assert not patch_scores[dropped].any() and not patch_scores[:, ~pair.photo.kept].any()


def test_a_box_is_where_the_patch_lies_in_the_picture() -> None:
    """Crop, padding and size are undone: what a patch of the input shows is what its box in the picture holds."""
    model = build_embedder(replace(TINY, preprocess=replace(TINY.preprocess, sketch="crop")))
    image = Image.new("RGB", (300, 200), "white")
    ImageDraw.Draw(image).rectangle((100, 60, 220, 130), "black")
    ImageDraw.Draw(image).rectangle((100, 60, 130, 75), "red")
    side, _ = encode_image(model, image, "sketch")
    for patch in range(len(side.kept)):
        left, top, right, bottom = side.patch_box(patch)
        if right - left > 4 and bottom - top > 4:
            x, y = ((side.patch_centres()[patch]).astype(int)).tolist()
            inside = side.pixels[y, x].astype(int)
            there = np.asarray(image)[round((top + bottom) / 2 - 0.5), round((left + right) / 2 - 0.5)].astype(int)
            assert abs(inside - there).max() < 60 or _at_an_edge(image, (left, top, right, bottom))


def _at_an_edge(image: Image.Image, box: tuple[float, ...]) -> bool:
    """Whether a box holds more than one colour: there the middle may fall on either."""
    return len(image.crop(tuple(round(v) for v in box)).getcolors() or []) != 1  # type: ignore[arg-type]


def test_dropping_tokens_is_what_token_selection_does() -> None:
    """A rescored pair beside the same pair encoded with these tokens alone."""
    model = build_embedder(TINY)
    sketch = encode_image(model, drawing(), "sketch")
    photo = encode_image(model, colours(), "photo")
    pair, network = score_pair(model, sketch, photo), model.network
    rng = np.random.default_rng(0)
    keep = [np.sort(rng.permutation(network.backbone.n_patches)[:5]) for _ in range(2)]
    with torch.inference_mode():
        prepared = [
            network.prepare(out.tokens[:, [0, *(1 + k)]], torch.from_numpy(k)[None], role)  # type: ignore[arg-type]
            for (_, out), k, role in zip((sketch, photo), keep, ("sketch", "photo"), strict=True)
        ]
        expected = float(network.score_prepared(*prepared).relation)
    masks = [np.isin(np.arange(network.backbone.n_patches), k)[None] for k in keep]
    assert faithfulness.rescore_subsets(pair, *masks)[0] == pytest.approx(expected, abs=1e-6)
    everything = np.ones((1, network.backbone.n_patches), bool)
    assert faithfulness.rescore_subsets(pair, everything, everything)[0] == pytest.approx(pair.relation, abs=1e-6)


def test_an_order_by_what_counts_beats_random_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Areas against a score that is known: each match adds a part, and the best first has the largest areas."""
    pair = encode_pair(build_embedder(TINY))
    worth = np.array([8.0, 4.0, 2.0, 1.0])
    matches = [Match(i, i, 0.0) for i in range(4)]
    monkeypatch.setattr(
        faithfulness, "rescore_subsets", lambda pair, sketch_masks, photo_masks: sketch_masks[:, :4] @ worth / 15
    )
    good, bad = faithfulness.measure_faithfulness(pair, matches), faithfulness.measure_faithfulness(pair, matches[::-1])
    assert min(good.mean_areas()) > 0.1 and max(bad.mean_areas()) < -0.1
    assert good.deletion[0] == good.insertion[-1] == 1 and good.deletion[-1] == good.insertion[0] == 0
    np.testing.assert_allclose(good.mean_areas().deletion, good.random_deletion.mean() - good.deletion.mean())
    other = faithfulness.measure_faithfulness(pair, matches, seed=1)
    assert good.mean_areas() == faithfulness.measure_faithfulness(pair, matches).mean_areas() != other.mean_areas()
    with pytest.raises(ValueError, match="no match"):
        faithfulness.measure_faithfulness(pair, [])


@pytest.mark.fast
def test_points_and_pck() -> None:
    """A peak between two patches is found between them; PCK counts in shares of each side."""
    peaks = np.zeros((2, 9), np.float32)
    peaks[0, [4, 5]] = 1
    peaks[1, 0] = 0.3
    np.testing.assert_allclose(localization.locate_peaks(peaks, (3, 3)), [[2, 1.5], [0.5, 0.5]], atol=1e-6)
    points, truth = np.array([[10.0, 10], [50, 20]]), np.array([[14.0, 10], [50, 23]])
    assert localization.compute_pck(points, truth, (100, 50), 0.05) == 0.5
    assert localization.compute_pck(points, truth, (100, 50), 0.1) == 1
    assert math.isnan(localization.compute_pck(points[:0], truth[:0], (100, 50), 0.1))


def test_a_perfect_correspondence_finds_every_move(monkeypatch: pytest.MonkeyPatch) -> None:
    """With scores made from the truth PCK is 1 for every move, so crop, resize and move are undone rightly.

    The photo is oblong: the sketch, of another size, shows it at the same shares of width and height.
    """
    finer = replace(TINY, backbone=replace(TINY.backbone, image_size=128), preprocess=Preprocess(128, sketch="crop"))
    model = build_embedder(finer)
    sketch, photo = drawing((128, 96)), Image.new("RGB", (256, 192), "white")
    current: list[Any] = []
    warp = localization.warp_image

    def moved(image: Image.Image, matrix: Any, fill: Any) -> Image.Image:
        current[:] = [matrix]
        return warp(image, matrix, fill)

    def score_by_truth(pair: Pair, source: str) -> Any:
        centres = pair.sketch.frame.to_picture(pair.sketch.patch_centres()) * np.divide(photo.size, sketch.size)
        truth = pair.photo.frame.to_input(localization.move_points(current[0], centres))
        off = abs(truth[:, None] - pair.photo.patch_centres()[None]) / pair.photo.patch_size
        return np.clip(1 - off, 1e-6, None).prod(2).astype(np.float32)

    monkeypatch.setattr(localization, "warp_image", moved)
    monkeypatch.setattr(localization, "score_patches", score_by_truth)
    table = localization.measure_moves(model, localization.Controls(model, None, 0), sketch, photo)
    for name in localization.MOVES:
        assert table["cosine", name].pck10 == 1
        assert table[localization.SAME_PLACE, name].pck10 < (1 if name != "as it is" else 2)
    assert table[localization.SAME_PLACE, "as it is"].pck5 == 1


def test_cycle_consistency() -> None:
    here = np.eye(9, dtype=np.float32)
    assert localization.compute_cycle_consistency(here, np.ones(9, bool), (3, 3)) == 1
    far = np.zeros((9, 9), np.float32)
    far[:, 8] = 1 + np.arange(9)  # every place goes to the last one, whose best is the last: four are near it
    assert localization.compute_cycle_consistency(far, np.ones(9, bool), (3, 3)) == pytest.approx(4 / 9)


# ---- the command ----


@pytest.fixture(scope="module")
def explained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A folder with e.html, e.png, e.svg and e.json of the shipped network, checked and with a contrast."""
    folder = tmp_path_factory.mktemp("explained")
    words = ("explain", SKETCH, PHOTO, "--contrast", OTHER, "--check", "--json", "-o", "out/e")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(explain, "RANDOM_ORDERS", 4)  # forty take most of the time
        done = call(folder, *words, ZSE_MODEL="small")
    assert done.code == 0, done.err
    assert "deletion area" in done.err
    return folder / "out", json.loads(done.out)


@pytest.mark.xdist_group("explained")  # one worker explains for both
def test_explain_writes_a_page_a_figure_and_data(explained: tuple[Path, dict[str, Any]]) -> None:
    folder, output = explained
    assert sorted(f.name for f in folder.iterdir()) == ["e.html", "e.json", "e.png", "e.svg"]
    assert output["path"] == "out/e.html"
    with Image.open(folder / "e.png") as picture:
        assert min(picture.size) > 1000
    svg = (folder / "e.svg").read_text()
    assert (
        "1F413__noto.webp" in svg
        and svg.count("<circle") == 24
        and "http" not in DATA_URI.sub("", svg).replace("www.w3.org", "", 1)[60:]
    )
    page = (folder / "e.html").read_text()
    assert "data:image/" in page and 'src="http' not in page


@pytest.mark.xdist_group("explained")
def test_the_data_say_what_the_network_says(explained: tuple[Path, dict[str, Any]]) -> None:
    """Scores, the parts of the logit, and matches in the pictures' own pixels."""
    folder, output = explained
    data = json.loads((folder / "e.json").read_text())
    score = data["score"]
    assert score["relation"] == pytest.approx(1 / (1 + math.exp(-score["logit"]))) == output["relation"]
    assert score["local"] + score["ret"] + score["constant"] == pytest.approx(score["logit"], abs=0.005)
    strokes = np.array(data["sketch"]["strokes"])
    boxes = np.array(data["photo"]["boxes"])
    assert 0 < strokes.sum() < strokes.size
    assert boxes.min() == 0 and boxes[:, [0, 2]].max() == data["photo"]["width"]
    for source in data["matches"]:
        matches = data["matches"][source]
        assert matches and all(strokes[i] for i, _, _ in matches)
        assert [m[2] for m in matches] == sorted((m[2] for m in matches), reverse=True)
        assert data["nearest"][source]["sketch"][matches[0][0]][0] == [matches[0][1], matches[0][2]]
        assert not any(data["nearest"][source]["sketch"][i] for i in np.flatnonzero(~strokes))
        assert len(data["check"][source]["deletion"]["interval"]) == 2
    assert data["contrast"]["photo"]["name"] == OTHER.name
    assert np.array(data["kernel"]["values"]).shape == (49, 49)
    assert len(data["model"]["weights"]) == 64


def test_explain_takes_rows_of_a_ranking(prepared: Path, zse: Zse, tmp_path: Path) -> None:
    ranking = next((prepared / "zse/rankings").glob("*.h5"))
    query = "animal-bird/1F413__fluent-hc.png"
    words = ("--ranking", ranking, "--query", query, "--model", "small")
    done = zse("explain", *words, "--rank", "1..2", "-o", "r")
    assert done.out.split() == ["r-1.html", "r-2.html"] and done.code == 0
    zse("explain", "--ranking", ranking, "--query", "none.png").refused(2, "none.png")
    for wrong, message in (("99", "keeps"), ("x", "--rank x"), ("3..1", "ends before")):
        zse("explain", *words, "--rank", wrong).refused(2, message)
    zse("explain", "--ranking", ranking).refused(2, "--query")
    # the ranking's own model explains it, whatever the environment says
    zse("explain", "--ranking", ranking, "--query", query, ZSE_MODEL="small").refused(3, "pixels has no relation")


def test_pairs_that_cannot_be_explained_are_refused(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "no.png").write_bytes(b"nothing")
    (tmp_path / "e.png").write_bytes(b"mine")
    zse("explain", SKETCH).refused(2, "a sketch and a photo")
    zse("explain", SKETCH, "gone.jpg", ZSE_MODEL="small").refused(2, "gone.jpg")
    zse("explain", SKETCH, PHOTO, ZSE_MODEL="hog").refused(3, "no relation network")
    zse("explain", SKETCH, "no.png", ZSE_MODEL="small").refused(1, "no.png", "not a picture")
    zse("explain", SKETCH, PHOTO, "-o", "e", ZSE_MODEL="small").refused(2, "e.png", "--overwrite")
    zse("explain", SKETCH, PHOTO, "--source", "cosin").refused(2, "did you mean 'cosine'")
    zse("explain", SKETCH, PHOTO, "-o", "..", ZSE_MODEL="small").refused(2, "no name of a file")
    zse("explain", SKETCH, PHOTO, "--contrast", "gone.jpg", ZSE_MODEL="small").refused(2, "gone.jpg")
    zse("explain", SKETCH, PHOTO, "--rank", "2").refused(2, "--rank")
    words = ("e.png", PHOTO, "-o", "e.png", "--overwrite")
    for command in ("explain", "synthesize"):  # an input is never replaced
        zse(command, *words, ZSE_MODEL="small").refused(2, "is an input")
    zse("synthesize", SKETCH, PHOTO, "-o", "a.png", "--sheet", "a.png", ZSE_MODEL="small").refused(2, "a.png")
    assert (tmp_path / "e.png").read_bytes() == b"mine"


@pytest.mark.usefixtures("ready")
def test_explanations_of_a_ranking_are_tested(zse: Zse, tmp_path: Path) -> None:
    """With the networks' own controls, on photos and their outlines; marked keypoints too."""
    (tmp_path / "marks.csv").write_text(
        f"photo,sketch,class,XA,YA,XB,YB\n{PHOTO},{SKETCH},bird,100;120,80;90,100;120,80;90\n"
    )
    checkpoint.save(build_embedder(GRID).network, tmp_path / "net.safetensors")
    model = ("--model", "net.safetensors", "--by", "ret")
    words = ("--explanations", "--explanation-pairs", 1, "--keypoints", "marks.csv")
    done = zse("evaluate", *model, *words, "--json")
    report = json.loads(done.ok())["explanations"]
    assert report["known"] == "1 photos and their own outlines"
    # one pair shows nothing of how pairs differ
    assert report["clusters"]["areas"] == {"cluster": "class", "clusters": 1}
    assert report["clusters"]["keypoints"] == {"cluster": "photo", "clusters": 1}
    assert report["areas"]["cosine"]["deletion"]["interval"] is None and report["areas"]["cosine"]["deletion"]["p"] == 1
    assert all("better than nothing" in line for line in report["verdicts"])
    assert set(report["areas"]) >= {"cosine", "contribution", "random weights"}
    places = {(row["way"], row["move"]): row for row in report["places"]}
    assert places["same place", "as it is"]["pck10"]["value"] == 1 and places["same place", "mirrored"]["cycle"] is None
    turned = places["cosine", "turned by 90°"]
    assert 0 <= turned["pck5"]["value"] <= turned["pck10"]["value"]
    assert {row["direction"] for row in report["keypoints"]} == {"sketch to photo", "photo to sketch"}
    assert len(report["verdicts"]) == 3
    zse("evaluate", "--aligned", "x").refused(2, "--explanations")
    zse("evaluate", "--explanations", ZSE_MODEL="pixels").refused(2, "no relation network")
    gone = zse("evaluate", *model, "--explanations", "--aligned", "notto")
    gone.refused(2, "notto", "families")
    (tmp_path / "bad.csv").write_text("photo;sketch;XA;YA;XB;YB\na.jpg;b.png;1,2;3;4;5\n")
    zse("evaluate", "--explanations", "--keypoints", "bad.csv").refused(1, "bad.csv: line 2")


def test_a_second_writer_finds_every_file_taken(
    zse: Zse, tmp_path: Path, sketch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the last of an explanation's files is written; one that it could take would be emptied."""
    tried = []

    def write(described: dict[str, Any], path: Path) -> None:
        for name in ("html", "png", "svg", "json"):
            with pytest.raises(StoreError, match="another zse is writing it"), atomic_write(tmp_path / f"m.{name}"):
                tried.append(name)
        explanation_json.write_json(described, path)

    monkeypatch.setattr(
        "zsecli.stages.explain.explanation_json", SimpleNamespace(**{**vars(explanation_json), "write_json": write})
    )
    checkpoint.save(build(TINY), tmp_path / "tiny.safetensors")
    zse("explain", sketch, sketch, "--model", "tiny.safetensors", "-o", "m")
    assert tried == []
    assert json.loads((tmp_path / "m.json").read_text())


@pytest.mark.parametrize(("classes", "better"), [(4, False), (12, True)])
def test_verdicts_count_classes_and_not_pairs(classes: int, better: bool) -> None:
    """Sixty pairs that all agree are four classes that do, which is one toss of four coins."""
    values = np.random.default_rng(0).uniform(0.01, 0.02, 60)
    groups = [f"class {i % classes}" for i in range(60)]
    mean = assessment.compare_with_zero(values, groups, 0)
    assert mean.p == 2 / 2**classes
    report = assessment.Assessment(
        pairs=60,
        ground_truth="",
        clusters={"areas": assessment.Clusters("class", classes)},
        areas={"cosine": assessment.MethodAreas(deletion=mean, insertion=mean, matches=9.0, pairs=60)},
    )
    assert [verdict.is_better for verdict in report.verdicts()] == [better, better]
    (line,) = [line for line in describe_verdicts(report) if line.startswith("cosine")]
    assert ("NOT better" in line) != better
    ((caption, _, rows),) = report.tables()
    assert f"95 % intervals over {classes} groups of pairs of one class" in caption
    assert " to " in rows[0][1]
