"""Where matches land when things stand in scenes: things on white paper, put into photographs at a known place.

    python benchmarks/scenes.py MANIFEST BACKBONE_WEIGHTS

Prints the block `scenes` of docs/explanations.md. The manifest has photos of things on white and photos of scenes, and
sketches of the same classes; only rows of its unseen part are taken. A scene is another photo, of the same size, with
the thing at 0.6 of its size somewhere in it. The sketch is a drawing of the thing's class, or the outline of the thing
itself, of which the true places are known.
"""

from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
from PIL import Image

from lib.tables import block, print_conditions, print_header, print_row
from zsecli.explain.correspondences import find_pair_matches, offered_sources, score_patches
from zsecli.explain.load_network import load_network
from zsecli.explain.localization import Controls, compute_pck, load_frozen_backbone, transfer_points
from zsecli.explain.pair import encode_image, score_pair
from zsecli.images.outline import draw_outline
from zsecli.model.spec import ModelSpec
from zsecli.train.freehand import find_object, paste_object

SIDE = 256
SCALE = 0.6
SUREST = 10
MOST = 60  # scenes


def load(file: Path) -> Image.Image:
    """The picture on a white square."""
    with Image.open(file) as opened:
        picture = opened.convert("RGBA")
    picture.thumbnail((SIDE, SIDE))
    page = Image.new("RGBA", (SIDE, SIDE), "white")
    page.alpha_composite(picture, ((SIDE - picture.width) // 2, (SIDE - picture.height) // 2))
    return page.convert("RGB")


def make_scene(
    thing: Image.Image, scene: Image.Image, rng: np.random.Generator
) -> tuple[Image.Image, np.ndarray, np.ndarray]:
    """The scene with the thing in it, the mask of the thing (S, S), and the shift of its upper left corner."""
    small = thing.resize((round(SCALE * SIDE),) * 2, Image.Resampling.LANCZOS)
    shift = rng.integers(0, SIDE - small.width + 1, 2)
    page = Image.new("RGB", (SIDE, SIDE), "white")
    page.paste(small, tuple(shift.tolist()))
    mask = find_object(np.asarray(page))
    assert mask is not None
    return Image.fromarray(paste_object(np.asarray(page), mask, np.asarray(scene))), mask, shift


def main(manifest: str, weights: str) -> None:
    root = Path(manifest).parent
    with open(manifest, encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "unseen"]
    drawings = defaultdict(list)
    things, scenes = [], []
    for row in rows:
        if row["modality"] == "sketch":
            drawings[row["class"]].append(root / row["path"])
            continue
        picture = load(root / row["path"])
        mask = find_object(np.asarray(picture))
        if mask is None:
            scenes.append(picture)
        elif mask.mean() > 0.1:
            things.append((row["class"], picture))
    things = [(name, picture) for name, picture in things if drawings[name]]
    things = [things[i] for i in np.linspace(0, len(things) - 1, min(MOST, len(things))).round().astype(int)]
    model = load_network(ModelSpec.parse("freehand"), "cpu")
    controls = Controls(model, load_frozen_backbone(model, Path(weights)), 0)
    on_thing: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    found: dict[str, list[float]] = defaultdict(list)
    for number, (name, thing) in enumerate(things):
        rng = np.random.default_rng(number)
        scene, mask, shift = make_scene(thing, scenes[rng.integers(len(scenes))], rng)
        photo = encode_image(model, scene, "photo")
        drawing = drawings[name][rng.integers(len(drawings[name]))]
        for kind, sketch in (
            ("a drawing of the class", load(drawing)),
            ("its own outline", draw_outline(np.asarray(thing)).convert("RGB")),
        ):
            seen = encode_image(model, sketch, "sketch")
            pair = score_pair(model, seen, photo)
            side = pair.sketch
            ways = {source: score_patches(pair, source) for source in offered_sources(pair.network)}
            ways |= dict(controls.score_patches(pair.sketch, pair.photo))
            centres = pair.photo.frame.to_picture(pair.photo.patch_centres()).astype(int).clip(0, SIDE - 1)
            is_thing = mask[centres[:, 1], centres[:, 0]]
            on_thing["any place"][kind].append(float(is_thing.mean()))
            for way, values in ways.items():
                matches = find_pair_matches(pair, values)[:SUREST]
                if matches:
                    on_thing[way][kind].append(float(np.mean([is_thing[match.photo] for match in matches])))
            if kind == "its own outline":
                points = side.frame.to_picture(side.patch_centres())
                truth = points * SCALE + shift
                for way, values in ways.items():
                    places = transfer_points(values, side, pair.photo, points)
                    found[way].append(compute_pck(places[side.matchable], truth[side.matchable], scene.size, 0.1))
    with block("scenes"):
        print_conditions(f"{len(things)} scenes")
        print_header(
            "way", "on the thing, a drawing of its class", "on the thing, its own outline", "PCK@10, its own outline"
        )
        for way, kinds in on_thing.items():
            place = f"{np.nanmean(found[way]):.3f}" if way in found else "-"
            print_row(
                way, *(f"{np.mean(kinds[kind]):.3f}" for kind in ("a drawing of the class", "its own outline")), place
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
