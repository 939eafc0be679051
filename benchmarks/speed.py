"""Measure embedding, relation scores and whole evaluations against plain programs, for docs/performance.md.

    python benchmarks/speed.py

On the shipped network, and on the preset `released` (ViT-B/16) with made-up weights. Runs on a GPU where there is one.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from lib import plain
from lib.tables import block, print_conditions, print_header, print_row
from lib.timing import Times, in_turn, settle, spread, times
from zsecli.data.items import PHOTO, SKETCH, Items
from zsecli.data.picture_list import find_pictures, make_items
from zsecli.data.sources.demo import demo_folder
from zsecli.model.checkpoint import load
from zsecli.model.config import Precision, get_preset
from zsecli.model.embedders.base import NetworkEmbedder, compute_in_full_float32, dtype_of, normalise, resolve_device
from zsecli.model.network import ZSENetwork
from zsecli.model.spec import SHIPPED
from zsecli.retrieval.extract import CPU_BATCH, GPU_BATCH, write_features
from zsecli.retrieval.picture_reader import Input, PictureReader
from zsecli.retrieval.relation_scores import RelationScorer
from zsecli.runtime.console import SILENT
from zsecli.runtime.parallel import map_in_order, use_threads
from zsecli.store.features import Features, FeatureWriter, open_features

DEVICE = resolve_device("auto")
compute_in_full_float32()
ON_GPU = DEVICE.type == "cuda"
PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")


@dataclass
class Case:
    """A network in each precision, and how much of it is measured.

    pairs: sketches and photos whose tokens are given. pictures: to embed. evaluation: sketches, and photos, of a whole
    one.
    """

    title: str
    networks: dict[Precision, ZSENetwork]
    pairs: int
    pictures: int
    evaluation: int
    rounds: int

    def embedder(self, precision: Precision) -> NetworkEmbedder:
        return NetworkEmbedder(self.networks[precision], DEVICE, [])

    @property
    def flops(self) -> float:
        """Of one pair whose Q, K and V are there: attention, projection and feed-forward of both streams, relation."""
        network = self.networks["fp32"]
        tokens, width = 1 + network.backbone.n_patches, network.backbone.width
        relation, hidden = network.config.relation, network.config.cross_attention.hidden
        stream = 4 * tokens**2 * width + 2 * tokens * width**2 + 4 * tokens * width * hidden
        side = -(-network.backbone.grid[0] // relation.cell)
        each = relation.project or width
        pool = 2 * side**2 * relation.cell**2 * width * relation.project
        sizes = (side**4, *relation.hidden, 1)
        return 2 * (stream + pool) + 2 * side**4 * each + sum(2 * a * b for a, b in pairwise(sizes))


def cases() -> list[Case]:
    torch.manual_seed(0)
    released = ZSENetwork(get_preset("released")).eval()
    many = 64 if ON_GPU else 0
    return [
        Case("shipped", lowered(load(SHIPPED)[0]), many or 20, 256, 100, 3),
        Case("ViT-B/16", lowered(released), many or 20, 2048 if ON_GPU else 32, 100 if ON_GPU else 30, 2),
    ]


def lowered(network: ZSENetwork) -> dict[Precision, ZSENetwork]:
    by_precision: dict[Precision, ZSENetwork] = {}
    for precision in PRECISIONS:
        by_precision[precision] = copy.deepcopy(network).to(DEVICE)
        by_precision[precision].cast(dtype_of(precision, DEVICE))
    return by_precision


def roofline() -> dict[Precision, float]:
    """Floating-point operations a second of a large matrix product."""
    print_conditions(f"{torch.get_num_threads()} threads")
    print_header("`benchmarks/speed.py`", "")
    peak: dict[Precision, float] = {}
    size = 8192 if ON_GPU else 2048
    for precision in PRECISIONS:
        a, b = (torch.randn(size, size, device=DEVICE, dtype=dtype_of(precision, DEVICE)) for _ in range(2))
        seconds = in_turn({"": lambda a=a, b=b: a @ b}, 15)[""]  # type: ignore[misc]
        peak[precision] = 2 * size**3 / min(seconds)
        rates = [2 * size**3 / t / 1e9 for t in seconds]
        print_row(f"matrix product of {size} x {size}, {precision}", f"{spread(rates, '.0f')} GFLOP/s")
    memory = torch.empty(2**28, dtype=torch.uint8, device=DEVICE)
    other = torch.empty_like(memory)
    copied = in_turn({"": lambda: other.copy_(memory)}, 15)[""]
    rates = [2 * memory.nbytes / t / 1e9 for t in copied]
    print_row("memory copied, read and written", f"{spread(rates, '.1f')} GB/s")
    return peak


def pictures() -> tuple[Items, Items]:
    """The demo's sketches and photos."""
    return tuple(make_items(find_pictures([demo_folder() / name]), name)[0] for name in ("sketch", "photo"))  # type: ignore[return-value]


def decoded(items: Items, model: NetworkEmbedder) -> list[Any]:
    reader = PictureReader(items, Path(), model.preprocess)
    return [
        read_picture.pixels
        for read_picture in map(reader.__getitem__, range(len(items)))
        if isinstance(read_picture, Input)
    ]


def embedding(case: Case, photos: Items) -> None:
    """The stage against the network's forward pass alone, on the same pictures."""
    rows = np.arange(case.pictures) % len(photos)
    repeated = photos.take(rows)
    repeated.id = [photos.id[row] for row in rows]
    for precision in PRECISIONS:
        model = case.embedder(precision)
        arrays = np.stack(decoded(repeated, model))
        size = GPU_BATCH if ON_GPU else CPU_BATCH

        def batches(size: int, arrays: Any = arrays) -> list[Any]:
            return [arrays[start : start + size] for start in range(0, len(arrays), size)]

        def shared(model: Any = model, size: int = size) -> None:
            with use_threads(DEVICE) as count:
                for _ in map_in_order(lambda batch: model.embed(batch, "photo"), batches(size), count):
                    pass

        def stage(model: Any = model, size: int = size) -> None:
            with tempfile.TemporaryDirectory() as folder:
                write_features(
                    repeated,
                    Path(),
                    model,
                    Path(folder) / "x.h5",
                    key="",
                    provenance={},
                    progress=SILENT,
                    batch_size=size,
                    workers=0,
                )

        seconds = in_turn(
            {
                "usual": lambda model=model: [model.embed(batch, "photo") for batch in batches(32)],  # type: ignore[misc]
                "shared": shared,
                "stage": stage,
            },
            case.rounds,
        )
        rates = [spread([len(repeated) / t for t in seconds[name]], ".1f") for name in seconds]
        share = [100 * a / b for a, b in zip(seconds["shared"], seconds["stage"], strict=True)]
        print_row(case.title, precision, *rates, f"{spread(share, '.0f')} %")


def stores(case: Case, folder: Path, opened: ExitStack) -> tuple[Features, Features]:
    """Open feature stores of as many sketches and photos, of the network's own tokens of noise."""
    stores_by_side = []
    for kind, role in ((SKETCH, "sketch"), (PHOTO, "photo")):
        noise = torch.randn(case.pairs, 3, 224, 224, device=DEVICE)
        with torch.inference_mode():
            tokens = case.networks["fp32"].encode(noise, role).tokens.cpu().numpy()  # type: ignore[arg-type]
        ids = [f"{role}/{i}" for i in range(case.pairs)]
        table = Items(
            id=ids,
            modality=np.full(len(ids), kind, np.uint8),
            part=np.ones(len(ids), np.int8),
            sha256=np.zeros((len(ids), 32), "u1"),
        )
        path = folder / f"{role}.h5"
        with FeatureWriter(path, "", {}, table, tokens.shape[2], tokens.shape[1], None) as store:
            store.write(ids, [""] * len(ids), tokens[:, 0], tokens)
            store.finish()
        stores_by_side.append(opened.enter_context(open_features(path)))
    return stores_by_side[0], stores_by_side[1]


def relation(case: Case, peak: dict[Precision, float]) -> None:
    """Relation scores of tokens that are there."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as opened:
        sketches, photos = stores(case, Path(name), opened)
        rows, columns = (x.ravel() for x in np.indices((case.pairs, case.pairs)))
        tokens = [torch.from_numpy(f.read("tokens", slice(None))).to(DEVICE).float() for f in (sketches, photos)]
        works: dict[str, Callable[[], Any]] = {}
        for precision in PRECISIONS:
            network = case.networks[precision]
            typed_tokens = [t.to(dtype_of(precision, DEVICE)) for t in tokens]
            works[f"plain {precision}"] = lambda n=network, g=typed_tokens: plain.given_tokens(n, *g)  # type: ignore[misc]
            scorer = RelationScorer(network, DEVICE, sketches, photos)
            works[precision] = lambda s=scorer: s.score(rows, columns)  # type: ignore[misc]
        seconds = in_turn(works, case.rounds)
        exact = works["plain fp32"]().float().cpu().numpy().ravel()
        for precision in PRECISIONS:
            rate = [len(rows) / t for t in seconds[precision]]
            cells = [
                spread([len(rows) / t for t in seconds["plain fp32"]], ".1f"),
                spread(rate, ".1f"),
                times(seconds["plain fp32"], seconds[precision]),
                times(seconds[f"plain {precision}"], seconds[precision]),
                f"{100 * median(rate) * case.flops / peak[precision]:.0f} %",
                f"{np.abs(works[precision]() - exact).max():.0e}",
            ]
            print_row(case.title, precision, *cells)


def evaluation(case: Case, sketches: Items, photos: Items) -> None:
    """From pictures to the relation score of every pair; plain is given decoded pictures, and writes no store."""
    count = case.evaluation
    drawn, shown = sketches.take(np.arange(count)), photos.take(np.arange(count))
    models = {precision: case.embedder(precision) for precision in PRECISIONS}
    model = models["fp32"]
    inputs = [normalise(np.stack(decoded(items, model)), model.preprocess, DEVICE) for items in (drawn, shown)]

    def ours(precision: Precision) -> None:
        with tempfile.TemporaryDirectory() as name:
            paths = [Path(name) / kind for kind in ("sketches.h5", "photos.h5")]
            size = GPU_BATCH if ON_GPU else CPU_BATCH
            for items, path in zip((drawn, shown), paths, strict=True):
                write_features(
                    items,
                    Path(),
                    models[precision],
                    path,
                    key="",
                    provenance={},
                    progress=SILENT,
                    batch_size=size,
                    workers=0,
                )
            with open_features(paths[0]) as ours, open_features(paths[1]) as theirs:
                rows, columns = (x.ravel() for x in np.indices((count, count)))
                RelationScorer(case.networks[precision], DEVICE, ours, theirs).score(rows, columns)
            settle()

    seconds: Times = in_turn(
        {
            "plain": lambda: plain.given_pictures(case.networks["fp32"], *inputs),
            **{precision: lambda p=precision: ours(p) for precision in PRECISIONS},  # type: ignore[misc]
        },
        case.rounds,
        warm=False,
    )
    for precision in PRECISIONS:
        cells = [
            spread(seconds["plain"], ".1f"),
            spread(seconds[precision], ".1f"),
            times(seconds["plain"], seconds[precision]),
        ]
        print_row(f"{case.title}, {count} x {count}", precision, *cells)


def main() -> None:
    with block("machine"):
        peak = roofline()
    sketches, photos = pictures()
    measured = cases()
    with block("embedding"):
        print_header("network", "precision", "usual", "shared", "stage", "share")
        for case in measured:
            embedding(case, photos)
    with block("relation"):
        titles = ("times as fast", "than plain in it", "share of peak", "difference")
        print_header("network", "precision", "plain, fp32", "zse", *titles)
        for case in measured:
            relation(case, peak)
    with block("evaluation"):
        print_header("network, sketches x photos", "precision", "plain, fp32", "zse", "times as fast")
        for case in measured:
            evaluation(case, sketches, photos)


if __name__ == "__main__":
    main()
