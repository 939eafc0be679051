"""Measure `zse draw`, and print tables of docs/performance.md.

    python benchmarks/draw.py [--strokes 100] [--growth 10000] [--largest 100000] [ALL.csv]

The galleries of the timings are made up: [Ret] and tokens are random, of the shipped network's shape. ALL.csv lists
free-hand sketches and photographs (columns path, set, modality, class, split), with which the levels are tested too.
"""

from __future__ import annotations

import argparse
import csv
import io
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
from PIL import Image, ImageChops

from lib.tables import block, print_conditions, print_header, print_row
from zsecli.data.items import PHOTO, Items
from zsecli.data.sources.demo import demo_folder
from zsecli.images.picture_errors import PictureError
from zsecli.model.spec import ModelSpec
from zsecli.serve import server as serving
from zsecli.serve.app import DrawServer
from zsecli.serve.drawings import DrawingRefused, encode_drawing, read_drawing
from zsecli.serve.levels import SCRIBBLES
from zsecli.serve.scribbles import draw_scribble
from zsecli.stages import embed
from zsecli.stages.defaults import Compute
from zsecli.store.features import FeatureWriter

SIZES = (1_000, 10_000, 100_000)
TOKENS, WIDTH = 197, 256
PER_DRAWING = 8  # strokes, after which the paper is cleared
SAMPLE = 500  # photos of a gallery, and at most a fifth of it drawings of each kind


Times = defaultdict[str, list[float]]


def make_store(path: Path, photos: int) -> None:
    """Features of photos that do not exist."""
    spec, rng = ModelSpec.parse("small"), np.random.default_rng(0)
    items = Items(
        id=[f"photo/{i}.jpg" for i in range(photos)],
        modality=np.full(photos, PHOTO, np.uint8),
        part=np.full(photos, -1, np.int8),
        sha256=rng.integers(256, size=(photos, 32), dtype=np.uint8),
    )
    about = {"model": "small", "weights": spec.weights_hash(), "relation": True, "preprocess": {}, "root": "/nowhere"}
    tokens = rng.standard_normal((512, TOKENS, WIDTH)).astype(np.float16)
    with FeatureWriter(path, f"made up {photos}", about, items, WIDTH, TOKENS, None) as store:
        for start in range(0, photos, len(tokens)):
            rows = slice(start, min(start + len(tokens), photos))
            count = rows.stop - start
            ret = rng.standard_normal((count, WIDTH)).astype(np.float32)
            store.write(items.id[rows], [""] * count, ret, tokens[rng.permutation(len(tokens))[:count]])
        store.finish()


class Served:
    """A running `zse draw`."""

    def __init__(self, process: subprocess.Popen[str], address: str) -> None:
        self.process, self.address = process, address
        self.base, _, token = address.partition("/?token=")
        self.cookies = {f"zse-draw-{self.base.rpartition(':')[2]}": token}

    def memory(self, name: str = "VmRSS") -> float:
        """MiB, as the operating system counts them."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return int(next(line.split()[1] for line in lines if line.startswith(name))) / 1024

    def cpu(self) -> float:
        """Milliseconds that it has computed."""
        threads = Path(f"/proc/{self.process.pid}/task").iterdir()
        return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e6


@contextmanager
def served(store: Path) -> Iterator[Served]:
    words = [sys.executable, "-m", "zsecli", "draw", str(store), "--no-browser", "--port", "0", "-q"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Served(process, process.stdout.readline().strip())
        process.send_signal(signal.SIGINT)


def strokes(first: int, count: int) -> Iterator[bytes]:
    """The paper after each stroke, as PNG files."""
    paper = Image.new("L", (512, 512), 255)
    for number in range(first, first + count):
        if number % PER_DRAWING == 0:
            paper = Image.new("L", (512, 512), 255)
        paper = ImageChops.darker(paper, draw_scribble(10_000 + number))
        file = io.BytesIO()
        paper.save(file, "PNG")
        yield file.getvalue()


def draw(server: Served, first: int, count: int, took: Times, rests: int = 1) -> None:
    """Strokes of one client, each searched by [Ret] and then, if the hand rests behind it, re-ranked.

    What is appended to `took` is milliseconds from the request to the answer, and under "cpu" those that the server
    computed, which are a client's own where it is alone.
    """
    headers = {"X-Zse": "1", "X-Zse-Client": f"client {first}"}
    with httpx.Client(base_url=server.base, cookies=server.cookies, headers=headers, timeout=60) as client:
        for number, picture in enumerate(strokes(first, count)):
            for by in ("ret", "cascade") if number % rests == 0 else ("ret",):
                began, computed = time.perf_counter(), server.cpu()
                while (
                    answer := client.post(f"/search?seq={number}&by={by}&top=24", content=picture)
                ).status_code == 429:
                    time.sleep(0.01)
                answer.raise_for_status()
                took[by].append(1000 * (time.perf_counter() - began))
                took[f"cpu {by}"].append(server.cpu() - computed)


def told(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.0f} / {max(values):.0f}"


def measure_gallery(store: Path, photos: int, count: int) -> list[str]:
    """A row of the table: one client, then two at once."""
    with served(store) as server:
        alone, both = Times(list), Times(list)
        draw(server, 0, PER_DRAWING, Times(list))  # the first of all is slower, once
        draw(server, PER_DRAWING, count, alone)
        clients = [threading.Thread(target=draw, args=(server, first, count, both)) for first in (1000, 2000)]
        for client in clients:
            client.start()
        for client in clients:
            client.join()
        cells = [told(times[by]) for times in (alone, both) for by in ("ret", "cascade")]
        peak = server.memory("VmHWM")
    computed = " + ".join(f"{statistics.median(alone[f'cpu {by}']):.0f}" for by in ("ret", "cascade"))
    return [f"{photos:,}", *cells, computed, f"{peak:.0f}"]


def measure_growth(store: Path, count: int) -> str:
    """MiB after a tenth of the strokes and after all of them."""
    with served(store) as server:
        draw(server, 0, count // 10, Times(list), 10)
        before = server.memory()
        draw(server, count, count - count // 10, Times(list), 10)
        after = server.memory()
    return (
        f"Memory: {before:.0f} MiB after {count // 10:,} strokes, {after:.0f} MiB after {count:,} "
        f"({after - before:+.0f} MiB; every tenth re-ranked; 1,000 photos)."
    )


def print_timings(folder: Path, sizes: Sequence[int], count: int, growth: int) -> None:
    print_conditions(f"{count} strokes")
    clients = ("[Ret], two clients", "re-ranked, two clients")
    print_header("photos", "[Ret]", "re-ranked", *clients, "CPU ms", "peak MiB")
    for photos in sizes:
        store = folder / "made-up.h5"
        need = photos * TOKENS * WIDTH * 2
        if shutil.disk_usage(folder).free < 1.2 * need:
            print_row(f"{photos:,}", f"not run here: its store takes {need / 1e9:.0f} GB of disk", *[""] * 5)
            continue
        make_store(store, photos)
        print_row(*measure_gallery(store, photos, count))
    make_store(store, 1000)
    print(f"\n{measure_growth(store, growth)}", flush=True)


Row = dict[str, str]


def pick(rows: list[Row], count: int, **wanted: str) -> list[Row]:
    """Some of the rows with these values, the same ones always."""
    chosen = [row for row in rows if all(row[name] == value for name, value in wanted.items())]
    random.Random(0).shuffle(chosen)
    return chosen[:count]


def judge(server: DrawServer, pictures: list[bytes]) -> list[tuple[bool, int]]:
    """Of each drawing whether it is said that nothing looks like it, and the first hit's row."""
    judgements = []
    for picture in pictures:
        try:
            drawing = encode_drawing(server.engine.model, read_drawing(picture))
        except (DrawingRefused, PictureError):
            continue
        hits = server.engine.search(drawing, "cascade", 1)
        judgements.append((hits.is_nothing, int(hits.rows[0])))
    return judgements


def print_levels(folder: Path, name: str, photos: list[Row], kinds: dict[str, list[Row]], root: Path) -> None:
    """Rows of the table for one gallery."""
    listed = {str(root / row["path"]): row["class"] for row in photos}
    embedded = embed.run(
        embed.EmbedRequest(
            pictures=[Path(path) for path in listed],
            modality="photo",
            model=ModelSpec.parse("small"),
            compute=Compute(device="cpu"),
            output=folder / f"{name}.h5",
            overwrite=True,
            workspace=folder / "zse",
        )
    )
    request = serving.ServeOptions(store=embedded.path, name=name, model=ModelSpec.parse("small"), device="cpu")
    with serving.open_server(request, 1) as server:
        ids = server.engine.gallery.features.items.id
        scribbles = []
        for number in range(SCRIBBLES, SCRIBBLES + 200):
            file = io.BytesIO()
            draw_scribble(number).save(file, "PNG")
            scribbles.append(file.getvalue())
        judged = judge(server, scribbles)
        nothing = share([nothing for nothing, _ in judged])
        print_row(f"{name}, {len(ids)} photos", "scribbles", len(judged), nothing, "", "")
        for kind, drawings in kinds.items():
            judged = judge(server, [(root / row["path"]).read_bytes() for row in drawings])
            right: dict[bool, list[bool]] = {True: [], False: []}  # whether it is said that nothing looks like it
            for (is_nothing, row), drawing in zip(judged, drawings, strict=True):
                right[is_nothing].append(listed[ids[row]] == drawing["class"])
            cells = [share(right[is_nothing]) for is_nothing in (True, False)]
            nothing = share([nothing for nothing, _ in judged])
            print_row("", kind, len(judged), nothing, *cells)


def share(values: Sequence[bool]) -> str:
    return f"{100 * np.mean(values):.0f} %" if values else "none"


def print_all_levels(folder: Path, free_hand: Path | None) -> None:
    print_conditions()
    right = ("first hit right where it says so", "and elsewhere")
    print_header("gallery", "drawings", "number", "nothing looks like it", *right)
    root = demo_folder()
    with (root / "manifest.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    sketches = {"the demo's sketches": pick(rows, SAMPLE, modality="sketch")}
    print_levels(folder, "demo", pick(rows, SAMPLE, modality="photo"), sketches, root)
    if free_hand is None or not free_hand.is_file():
        return
    with free_hand.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for name in ("sketchy", "caltech101"):
        part = {"split": "unseen"} if name == "sketchy" else {}
        photos = pick(rows, SAMPLE, set=name, modality="photo", **part)
        classes = {row["class"] for row in photos}
        kinds = {}
        for drawn in ("sketchy", "quickdraw"):
            every = pick(rows, len(rows), set=drawn, modality="sketch")
            kinds[f"{drawn}, things that are there"] = [r for r in every if r["class"] in classes][: SAMPLE // 5]
            kinds[f"{drawn}, other things"] = [r for r in every if r["class"] not in classes][: SAMPLE // 5]
        kinds = {kind: drawings for kind, drawings in kinds.items() if drawings}
        print_levels(folder, name, photos, kinds, free_hand.parent)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("free_hand", nargs="?", type=Path, default=None)
    parser.add_argument("--strokes", type=int, default=100)
    parser.add_argument("--growth", type=int, default=10_000)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        sizes = [size for size in SIZES if size <= options.largest]
        with block("draw"):
            print_timings(Path(name), sizes, options.strokes, options.growth)
        with block("levels"):
            print_all_levels(Path(name), options.free_hand)


if __name__ == "__main__":
    main()
