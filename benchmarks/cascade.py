"""Measure what a cascade's shortlist and a lower precision cost, and print tables of docs/performance.md.

    python benchmarks/cascade.py MANIFEST WORKSPACE

Quality on the unseen classes of a manifest as in `benchmarks/results.py`, time against a gallery of made-up photos.
What is ranked already in WORKSPACE stays: the relation score of every pair takes half an hour on two cores.
"""

from __future__ import annotations

import json
import sys
import tempfile
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from lib.commands import zse
from lib.tables import block, print_conditions, print_header, print_row
from lib.timing import in_turn, spread
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.model.spec import ModelSpec
from zsecli.retrieval.match_options import MatchOptions
from zsecli.retrieval.rank import rank_features
from zsecli.store.features import FeatureWriter, open_features

PHOTOS, SKETCHES, FEW = 10_000, 16, 2
SHORTLISTS = (10, 20, 50, 100, 200)
COLUMNS = (
    ("emoji, same class", "emoji", "zs-inter", "zs-inter"),
    ("emoji, own instance, all", "emoji", "zs-intra", "zs-intra/all"),
    ("emoji, own instance, within the class", "emoji", "zs-intra", "zs-intra/class"),
    ("stamps, same class", "stamps", "zs-inter", "zs-inter"),
)


def quality(options: tuple[str, ...], workspace: str) -> list[float]:
    """mAP (raw) of each column."""
    found = []
    for _, data, split, protocol in COLUMNS:
        words = ["evaluate", "--data", data, "--split", split, "--model", "small", *options, "--json"]
        words += ["--ignore-same", "family"] if data == "emoji" else []
        report = json.loads(zse(*words, workspace=workspace))
        found.append(report["protocols"][protocol]["mean"]["mAP (raw)"]["value"])
    return found


def gallery(source: Path, folder: Path) -> tuple[Path, Path]:
    """Stores of SKETCHES sketches and PHOTOS photos: those of `source`, repeated photos a little changed."""
    rng = np.random.default_rng(0)
    paths = []
    with open_features(source) as opened:
        for kind, count in ((SKETCH, SKETCHES), (PHOTO, PHOTOS)):
            pictures = opened.take(opened.items.modality == kind)
            ids = [f"{kind}/{i}" for i in range(count)]
            digests = rng.integers(256, size=(count, 32), dtype=np.uint8)
            table = Items(id=ids, modality=np.full(count, kind, np.uint8), part=np.ones(count, np.int8), sha256=digests)
            shape = opened.file["tokens"].shape[1:]
            path = folder / f"{kind}.h5"
            with FeatureWriter(path, path.name, opened.header.provenance, table, shape[1], shape[0], None) as store:
                for start in range(0, count, 250):
                    batch_ids = ids[start : start + 250]
                    rows = np.arange(start, start + len(batch_ids)) % len(pictures.items)
                    tokens = pictures.read("tokens", rows).astype(np.float32)
                    if start >= len(pictures.items):
                        tokens += 0.05 * rng.standard_normal(tokens.shape, np.float32)
                    store.write(batch_ids, [""] * len(batch_ids), tokens[:, 0], tokens)
                store.finish()
            paths.append(path)
    return paths[0], paths[1]


def seconds(source: Path) -> dict[str, list[float]]:
    """Of the stage `match`, for one sketch against PHOTOS photos."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sketches, photos = gallery(source, folder)
        with open_features(sketches) as opened:
            few_sketches = folder / "few.h5"
            items, tokens = opened.items.take(np.arange(FEW)), opened.read("tokens", slice(0, FEW))
            about, shape = opened.header.provenance, tokens.shape
            with FeatureWriter(few_sketches, "few", about, items, shape[2], shape[1], None) as store:
                store.write(items.id, [""] * FEW, opened.read("ret", slice(0, FEW)), tokens)
                store.finish()

        def rank(options: MatchOptions) -> None:
            queries = few_sketches if options.by == "rn" else sketches
            (folder / "ranking.h5").unlink(missing_ok=True)
            rank_features(queries, photos, folder / "ranking.h5", options, model=ModelSpec.parse("small"))

        options_by_name = {"ret": MatchOptions(by="ret"), "rn": MatchOptions(by="rn")}
        options_by_name |= {str(k): MatchOptions(shortlist=k) for k in SHORTLISTS}
        seconds_of = in_turn({name: partial(rank, options) for name, options in options_by_name.items()}, 3, warm=False)
        return {name: [t / (FEW if name == "rn" else SKETCHES) for t in values] for name, values in seconds_of.items()}


def main(manifest: str, workspace: str) -> None:
    for data in ("emoji", "stamps"):
        zse("prepare", "folder", manifest, "--where", f"set={data}", "--name", data, workspace=workspace)
    exact = quality(("--by", "rn"), workspace)
    (source,) = Path(workspace).glob(f"features/emoji.unseen.{ModelSpec.parse('small').tag()}.h5")
    seconds_of = seconds(source)
    titles = [title for title, *_ in COLUMNS]
    rows = [("Ret alone", "ret", quality(("--by", "ret"), workspace))]
    rows += [
        (f"cascade, {k}", str(k), quality(("--by", "cascade", "--shortlist", str(k)), workspace)) for k in SHORTLISTS
    ]
    rows += [("RN of every pair", "rn", exact)]
    with block("cascade"):
        print_conditions("fp32", f"{PHOTOS:,} made-up photos, {SKETCHES} sketches together, {FEW} for RN")
        print_header("shortlist", "seconds a sketch", "times as fast", *titles)
        for title, name, means in rows:
            faster = median(a / b for a, b in zip(seconds_of["rn"], seconds_of[name], strict=True))
            cells = [f"{value:.3f} ({100 * (value - best):+.1f})" for value, best in zip(means, exact, strict=True)]
            print_row(title, spread(seconds_of[name], ".3f"), f"{faster:.0f}", *cells)
    with block("precision"):
        print_conditions()
        print_header("precision", *titles)
        whole = quality(("--by", "cascade"), workspace)
        for precision in ("fp32", "bf16"):
            means = quality(("--by", "cascade", "--precision", precision), workspace)
            cells = [f"{value:.4f} ({100 * (value - first):+.2f})" for value, first in zip(means, whole, strict=True)]
            print_row(precision, *cells)


if __name__ == "__main__":
    main(*sys.argv[1:])
