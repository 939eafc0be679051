"""The networks that come with zse: that they are there, small, and good on classes that they never saw."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers.commands import Zse, call
from helpers.demo import DEMO, part_of_demo
from zsecli.model import checkpoint
from zsecli.model.spec import FREEHAND, SHIPPED, ModelSpec

pytestmark = pytest.mark.network
GOLDEN = Path(__file__).parents[2] / "fixtures" / "golden"


def test_it_is_small_and_says_what_it_saw() -> None:
    assert SHIPPED.stat().st_size <= 30e6
    about = checkpoint.read_training(SHIPPED)
    unseen = {folder.name for folder in (DEMO / "photo").iterdir()}
    assert len(about["seen_classes"]) > 100 and unseen.isdisjoint(about["seen_classes"])
    assert "/" not in json.dumps({k: v for k, v in about.items() if k != "seen_classes"})  # no path of a machine
    network, unused = checkpoint.load(SHIPPED)
    assert network.config.preset == "small" and not unused


def test_it_travels_by_name() -> None:
    spec = ModelSpec.parse("small")
    assert spec.text == "small" and ModelSpec.parse(spec.text) == spec
    assert ModelSpec.parse(str(SHIPPED)).weights_hash() == spec.weights_hash()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with half of the demo embedded by the model that is taken where none is named."""
    folder = tmp_path_factory.mktemp("shipped")
    call(folder, "prepare", "folder", part_of_demo(folder, 4), "--name", "demo").ok()
    call(folder, "match", "--by", "ret", "--ignore-same", "family", ZSE_MODEL=None).ok()
    return folder


@pytest.mark.xdist_group("shipped")
@pytest.mark.parametrize(("split", "protocol"), [("zs-inter", "zs-inter"), ("zs-intra", "zs-intra/all")])
def test_it_beats_what_learns_nothing(demo: Path, split: str, protocol: str) -> None:
    words = ("evaluate", "--data", "demo", "--split", split, "--by", "ret", "--ignore-same", "family", "--json")
    found = json.loads(call(demo, *words, "--against", "hog", ZSE_MODEL=None).ok())
    test = next(c for c in found["comparisons"] if c["protocol"] == protocol and c["metric"] == "mAP (raw)")
    assert found["model"] == "small"
    assert test["against_first"][0]["high"] < 0  # HOG less the network, all of its 95 % interval


def test_a_sketch_of_ones_own(zse: Zse, tmp_path: Path, sketch: Path, pictures: Path) -> None:
    """The README's first lines: the drawn rooster finds birds, with the relation network in the loop."""
    zse("embed", pictures / "photo", "--modality", "photo", "-o", "photos.h5", ZSE_MODEL=None).ok()
    store = zse("embed", sketch, "--modality", "sketch", ZSE_MODEL=None).ok()
    lines = zse("match", store, "photos.h5", "--top", "3", "--format", "tsv", ZSE_MODEL=None).ok().splitlines()
    assert all("/animal-bird/" in line.split("\t")[3] for line in lines)


def test_freehand_saw_no_test_class_of_sketchy() -> None:
    """It is strictly zero-shot on Sketchy-25, which its card says."""
    assert FREEHAND.stat().st_size <= 30e6
    about = checkpoint.read_training(FREEHAND)
    classes = (GOLDEN / "classes" / "sketchy-25.test.txt").read_text("utf-8").split()
    unseen = {name.replace("_", " ").replace("(", " ").split()[0] for name in classes}
    seen = {name.replace("_", " ") for name in about["seen_classes"]}
    assert len(unseen) >= 24 and len(seen) > 300 and unseen.isdisjoint(seen)
    assert "/" not in json.dumps({k: v for k, v in about.items() if k != "seen_classes"})
    network, unused = checkpoint.load(FREEHAND)
    assert network.config.preset == "freehand" and not unused


def test_freehand_explains_a_score_by_its_terms(tmp_path: Path) -> None:
    """The parts of the logit add up, the classes that both look like are named, and attention is no explanation."""
    sketch, photo = DEMO / "sketch/animal-bird/1F413__fluent-hc.png", DEMO / "photo/animal-bird/1F413__noto.webp"
    call(tmp_path, "explain", sketch, photo, "-o", "e", ZSE_MODEL="freehand").ok()
    data = json.loads((tmp_path / "e.json").read_text("utf-8"))
    score = data["score"]
    assert data["source"] == "contribution" and list(data["matches"]) == ["contribution", "cosine"]
    assert score["local"] + score["ret"] + score["constant"] == pytest.approx(score["logit"], abs=1e-3)
    assert score["local"] > 1  # logits
    assert "one colour a head" not in (tmp_path / "e.svg").read_text("utf-8")
    assert all(0 < value <= 1 for _, *values in data["classes"] for value in values[:2])
    refused = call(tmp_path, "explain", sketch, photo, "-o", "x", "--source", "attention", ZSE_MODEL="freehand")
    refused.refused(2, "attention does not explain this network", "contribution, cosine")
    assert not list(tmp_path.glob("x.*"))
