"""Everything that a user chooses by name can be added from outside the package, and runs through the command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from helpers.commands import Zse
from helpers.demo import DEMO
from zsecli.data.embedded import Embedded
from zsecli.data.sources import folder
from zsecli.data.sources.base import Listing
from zsecli.data.sources.options import SourceOptions
from zsecli.evaluate.metrics import RelevantRanks
from zsecli.evaluate.report_model import Evaluation
from zsecli.explain.pair import Pair
from zsecli.model.embedders.hog_pixels import PixelEmbedder
from zsecli.registry import Entry, Registry
from zsecli.retrieval.rankers.cosine import CosineRanker
from zsecli.vocabulary import (
    DATA_SOURCES,
    EMBEDDERS,
    EXPLANATION_SOURCES,
    METRICS,
    REPORT_FORMATS,
    SCORING_RULES,
    EmbedderEntry,
    MetricEntry,
)

REGISTRIES: list[Registry[Any]] = [
    DATA_SOURCES,
    EMBEDDERS,
    EXPLANATION_SOURCES,
    METRICS,
    REPORT_FORMATS,
    SCORING_RULES,
]


class ToySource(folder.FolderSource):
    """The shipped photos and sketches of one class, wherever the user is."""

    needs_path = False

    def find(self, path: Path | None) -> Path:
        return DEMO / "manifest.csv"

    def options_for(self, path: Path) -> frozenset[str]:
        return frozenset()

    def read(self, path: Path, options: SourceOptions) -> Listing:
        listing = super().read(path, options)
        listing.entries = [entry for entry in listing.entries if entry.label == "lock"]
        return listing

    def default_name(self, path: Path, options: SourceOptions) -> str:
        return "toy"


class ToyEmbedder(PixelEmbedder):
    """Grey values, negated."""

    def embed(self, pictures: Any, modality: Any) -> Embedded:
        return Embedded(-super().embed(pictures, modality).ret)


class BackwardsRanker(CosineRanker):
    """The least similar photos first."""

    def rank(self, block: slice, advance: Any) -> Any:
        indices, scores = super().rank(block, advance)
        return indices[:, ::-1].copy(), -scores[:, ::-1]


def last_relevant_rank(relevant: RelevantRanks) -> Any:
    """The rank of the last relevant photo."""
    return relevant.ranks.max(1).astype(float)


def count_lines(evaluation: Evaluation, per_class: bool) -> str:
    return f"{len(evaluation.reports)} ranking\n"


def uniform_scores(pair: Pair) -> Any:
    """Every patch of the sketch with every patch of the photo alike."""
    return np.ones((len(pair.sketch.kept), len(pair.photo.kept)), np.float32)


@pytest.fixture
def toys() -> Iterator[None]:
    """A toy of each kind is registered."""
    toys: list[tuple[Registry[Any], Entry]] = [
        (DATA_SOURCES, Entry(name="toys", description="locks", target=ToySource())),
        (
            EMBEDDERS,
            EmbedderEntry(name="toy", form="toy[:NAME]", description="negated pixels", target=lambda *_: ToyEmbedder()),
        ),
        (SCORING_RULES, Entry(name="backwards", description="worst first", target=BackwardsRanker)),
        (EXPLANATION_SOURCES, Entry(name="uniform", description="all alike", target=uniform_scores)),
        (REPORT_FORMATS, Entry(name="txt", description="one line", target=count_lines)),
        (
            METRICS,
            MetricEntry(
                name="last rank",
                description="rank of the last relevant photo",
                target=last_relevant_rank,
                mean="mean {}",
                reported_by_class=("last rank",),
            ),
        ),
    ]
    for registry, entry in toys:
        registry.register(entry)
    yield
    for registry, entry in toys:
        registry.unregister(entry.name)


@pytest.mark.usefixtures("toys")
def test_a_toy_of_each_kind_runs_through_the_commands(zse: Zse, tmp_path: Path) -> None:
    assert zse("prepare", "toys").ok() == "zse/datasets/toy.h5"
    features = zse("embed", "--model", "toy:small").ok()
    assert "small" in features and features != zse("embed", "--model", "toy").ok()
    by_cosine = json.loads(zse("match", features, "--by", "ret", "--format", "json").ok().splitlines()[0])
    backwards = json.loads(zse("match", features, "--by", "backwards", "--format", "json").ok().splitlines()[0])
    assert by_cosine["photo"] != backwards["photo"]
    printed = json.loads(zse("evaluate", "--model", "toy", "--by", "backwards", "--json", "-o", "r.txt").ok())
    assert printed["by"] == "backwards"
    assert printed["protocols"]["zs-inter"]["mean"]["mean last rank"]["value"] >= 1
    assert (tmp_path / "r.txt").read_text() == "1 ranking\n"


@pytest.mark.usefixtures("toys")
def test_a_toy_explanation(zse: Zse, tmp_path: Path) -> None:
    sketch = next((DEMO / "sketch" / "lock").iterdir())
    photo = next((DEMO / "photo" / "lock").iterdir())
    zse("explain", sketch, photo, "--source", "uniform", "--model", "small", "-o", "e").ok()
    assert "uniform" in json.loads((tmp_path / "e.json").read_text())["matches"]


PROGRAM = """
import sys
from zsecli.registry import Entry
from zsecli.vocabulary import SCORING_RULES
SCORING_RULES.register(Entry(name="mine", description="my own rule", target="my_module:Rule"))
from zsecli.cli import main
sys.argv = ["zse", "match", "--help"]
main()
"""


def test_what_is_registered_stands_in_the_help(light: str) -> None:
    env = {**os.environ, "PYTHONPATH": f"{light}{os.pathsep}{os.environ.get('PYTHONPATH', '')}", "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=60)
    shown = "".join(done.stdout.split())
    assert "|cascade|mine" in shown and "mine:myownrule" in shown, done.stderr


@pytest.mark.fast
@pytest.mark.parametrize("registry", REGISTRIES, ids=lambda registry: str(registry.noun))
def test_every_entry_can_be_loaded(registry: Registry[Any]) -> None:
    for entry in registry.entries():
        assert entry.load() is not None
        assert entry.description and not entry.description.endswith(".")


@pytest.mark.fast
def test_a_name_is_given_once() -> None:
    with pytest.raises(ValueError, match="already"):
        SCORING_RULES.register(Entry(name="ret", description="again", target=""))
