"""A photo's content in a sketch's shape: each patch of the sketch is replaced by its best answer in the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zsecli.arrays import Pixels
from zsecli.errors import UsageError
from zsecli.explain.correspondences import Scores, choose
from zsecli.explain.pair import Mask, Pair, Side, look, relate
from zsecli.images.normalize_sketch import paper_colour
from zsecli.images.strokes import find_stroke_patches
from zsecli.model import selection
from zsecli.model.backbone import Encoding
from zsecli.model.embedders.base import NetworkEmbedder, normalise
from zsecli.model.scoring import compute_centred_cosine

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Seen = tuple[Side, Encoding]


@dataclass(frozen=True)
class SynthesisOptions:
    """How a picture is put together.

    strokes_only: leave a blank patch of the sketch as paper; the paper's figure fills it.
    mutual: leave a patch as paper where its photo patch would choose another; so none of a photo is used twice.
    threshold: leave a patch as paper where the cosine is below.
    blend: average four pictures, of sketch and photos moved by half a patch, so that no seams show.
    size: side of the picture in pixels.
    """

    strokes_only: bool = False
    mutual: bool = False
    threshold: float = -1.0
    blend: bool = False
    size: int = 448


@dataclass(frozen=True)
class Synthesis:
    """A sketch made of patches of N photos; P places on the sketch's grid.

    picture: size x size, RGB, what the network's input shows of the sketch.
    grid: rows and columns of patches, the same for all pictures.
    asked: (P,) the sketch places that could get a patch; without `strokes_only` all.
    sources: (P, 2) int64, which photo and which of its places a patch was taken from; -1, -1 where paper was left.
    scores: (P,) float32, cosine of a sketch place and its source; NaN where paper was left. Of a blended picture,
        sources and scores are those of the first of its four layers, which nothing moved.
    sketch, photos: files. sketch_view, photo_views: what the network's input shows of them, size x size.
    """

    picture: Image.Image
    grid: tuple[int, int]
    asked: Mask
    sources: Ints
    scores: Scores
    sketch: Path
    photos: tuple[Path, ...]
    sketch_view: Image.Image
    photo_views: tuple[Image.Image, ...]
    options: SynthesisOptions

    @property
    def taken(self) -> Mask:
        """(P,) the sketch places that got a patch."""
        return self.sources[:, 0] >= 0

    @property
    def coverage(self) -> float:
        """Share of the asked places that got a patch; 0 where none is asked."""
        return float(self.taken.sum() / max(1, self.asked.sum()))

    @property
    def distinct(self) -> int:
        """How many different photo patches the picture is made of."""
        return len(np.unique(self.sources[self.taken], axis=0))

    @property
    def mean_score(self) -> float:
        """Mean cosine of the places that got a patch; NaN where none did."""
        return float(self.scores[self.taken].mean()) if self.taken.any() else float("nan")


def synthesize(
    model: NetworkEmbedder, sketch: Path, photos: Sequence[Path], options: SynthesisOptions | None = None
) -> Synthesis:
    """Replace each patch of the sketch by the best patch of whichever photo has it.

    The photos' own pixels are taken, not those of the network's input: a large photo gives a sharp picture.

    Raises:
        UsageError: there is no photo, or the size is no size.
        ZseError: a file is not a picture.
    """
    options = options or SynthesisOptions()
    if not photos:
        raise UsageError("there is no photo to take patches from", "give one photo or more")
    if options.size < 1:
        raise UsageError(f"a picture of {options.size} pixels is none", "give a size of 1 or more")
    drawn = look(model, sketch, "sketch")
    seen = [look(model, photo, "photo") for photo in photos]
    side, square = drawn[0], (options.size, options.size)
    picture, sources, scores = _put_together(model, drawn, seen, options)
    return Synthesis(
        picture if picture.size == square else picture.resize(square, Image.Resampling.LANCZOS),
        side.grid,
        side.asked if options.strokes_only else np.ones(len(scores), bool),
        sources,
        scores,
        sketch,
        tuple(photos),
        view(side, *square),
        tuple(view(photo, *square) for photo, _ in seen),
        options,
    )


def synthesize_seen(
    model: NetworkEmbedder, sketch: Seen, photos: Sequence[Seen], options: SynthesisOptions | None = None
) -> Image.Image:
    """The picture of `synthesize`, of pictures that the network has seen already."""
    options = options or SynthesisOptions()
    picture = _put_together(model, sketch, photos, options)[0]
    return picture.resize((options.size, options.size), Image.Resampling.LANCZOS)


def view(side: Side, width: int, height: int) -> Image.Image:
    """What the network's input shows of a picture, from the picture's own pixels.

    Beyond the picture lies the colour of its border, beyond a sketch that of the paper.
    """
    fill = paper_colour(side.pixels if side.role == "sketch" else np.asarray(side.image))
    canvas = Image.new("RGB", (width, height), tuple(int(v) for v in np.rint(fill)))
    scale = np.array((width, height)) / side.pixels.shape[1::-1]
    box = np.clip(side.frame.to_picture(np.array([[0, 0], side.pixels.shape[1::-1]], float)), 0, side.image.size)
    (left, top), (right, bottom) = np.rint(side.frame.to_input(box) * scale).astype(int).tolist()
    if right > left and bottom > top:
        x0, y0, x1, y1 = box.ravel().tolist()
        part = side.image.resize((right - left, bottom - top), Image.Resampling.LANCZOS, (x0, y0, x1, y1))
        canvas.paste(part, (left, top))
    return canvas


def _put_together(
    model: NetworkEmbedder, sketch: Seen, photos: Sequence[Seen], options: SynthesisOptions
) -> tuple[Image.Image, Ints, Scores]:
    """The picture, somewhat larger than asked for, and the sources (P, 2) and cosines (P,) of the pictures as given."""
    grid, blank = sketch[0].grid, paper_colour(sketch[0].pixels)
    rows, columns = grid
    # a patch is of whole pixels, even ones where it is moved by half
    width, height = (2 * -(-options.size // (2 * count)) for count in (columns, rows))
    window = _window(height, width) if options.blend else np.ones((height, width))
    # behind the right and lower border there is room for what moved patches hold beyond the picture
    total = np.zeros(((rows + 1) * height, (columns + 1) * width, 3))
    weights = np.zeros(total.shape[:2])
    found = []
    for down, right in ((0, 0), (0, 1), (1, 0), (1, 1)) if options.blend else ((0, 0),):
        # photos are moved as the sketch is: of patches on one grid alone, each edge would show several times
        ours, *theirs = [_moved(model, one, down, right) if down or right else one for one in (sketch, *photos)]
        sources, scores = _sources([relate(model, ours, photo) for photo in theirs], options)
        found.append((sources, scores))
        tiles = np.stack([_tiles(view(photo, columns * width, rows * height), grid) for photo, _ in theirs])
        left = (sources[:, 0] < 0)[:, None, None, None]
        patches = np.where(left, blank, tiles[sources[:, 0], sources[:, 1]]) * window[..., None]
        top, start = down * height // 2, right * width // 2
        at = slice(top, top + rows * height), slice(start, start + columns * width)
        total[at] += _joined(patches, grid)
        weights[at] += np.tile(window, grid)
    inside = slice(rows * height), slice(columns * width)
    mean = total[inside] / weights[inside][..., None]
    return Image.fromarray(np.rint(mean).astype(np.uint8)), *found[0]


def _sources(pairs: Sequence[Pair], options: SynthesisOptions) -> tuple[Ints, Scores]:
    """The photo and the place that each sketch place is taken from (P, 2), and the cosines (P,)."""
    answers = [_answers(pair, options) for pair in pairs]
    places, scores = np.stack([place for place, _ in answers]), np.stack([score for _, score in answers])
    photo = scores.argmax(0)
    every = np.arange(scores.shape[1])
    sources, best = np.stack([photo, places[photo, every]], 1), scores[photo, every]
    left = np.isneginf(best) | (best < options.threshold)
    return np.where(left[:, None], -1, sources), np.where(left, np.float32(np.nan), best)


def _answers(pair: Pair, options: SynthesisOptions) -> tuple[Ints, Scores]:
    """For each sketch place (P,) the best place of one photo, and the cosine, -inf where there is none."""
    cosines = compute_centred_cosine(pair.score.sketch[:, 1:], pair.score.photo[:, 1:])[0].cpu().numpy()
    ours = pair.sketch.asked if options.strokes_only else pair.sketch.kept
    # Each chooses the other, as for matches: by the cosine alone, a few photo patches that are like everything come
    # up again and again, and with them holes in the middle of things, and feet and combs are lost.
    mutual = choose(cosines, ours, pair.photo.kept)
    every, places = np.arange(len(mutual)), mutual.argmax(1)
    there = ours & (mutual.argmax(0)[places] == every) if options.mutual else ours
    return places, np.where(there, cosines[every, places], np.float32(-np.inf))


@torch.inference_mode()
def _moved(model: NetworkEmbedder, seen: Seen, down: int, right: int) -> Seen:
    """A picture as seen from half a patch further down or right, or both (0 or 1 each)."""
    side = seen[0]
    x, y = (int(half) for half in np.rint(np.array(side.patch) / 2) * (right, down))
    pixels: Pixels = np.empty_like(side.pixels)
    pixels[:] = np.rint(paper_colour(side.pixels))
    pixels[: len(pixels) - y, : pixels.shape[1] - x] = side.pixels[y:, x:]
    (left, top), *_ = side.frame.to_picture(np.array([[x, y]], float)).tolist()
    out = model.network.encode(normalise(np.stack([pixels]), model.preprocess, model.device), side.role)
    kept = selection.mask_of_kept(out.index, len(side.kept))[0].cpu().numpy()
    drawn = find_stroke_patches(pixels, side.grid) if side.role == "sketch" else side.strokes
    frame = replace(side.frame, left=left, top=top)
    attention = out.attention[0].float().cpu().numpy()
    return replace(side, pixels=pixels, frame=frame, strokes=drawn, kept=kept, attention=attention), out


def _window(height: int, width: int) -> Floats:
    """Weights of a patch's pixels that fall off to its edge; of patches moved by halves they add up to 1."""
    y, x = (np.sin(np.pi * (np.arange(side) + 0.5) / side) ** 2 for side in (height, width))
    return np.outer(y, x)


def _tiles(picture: Image.Image, grid: tuple[int, int]) -> Pixels:
    """The patches (P, h, w, 3) of a picture (rows * h, columns * w)."""
    pixels = np.asarray(picture)
    rows, columns = grid
    cut = pixels.reshape(rows, len(pixels) // rows, columns, pixels.shape[1] // columns, 3)
    return cut.swapaxes(1, 2).reshape(rows * columns, cut.shape[1], cut.shape[3], 3)


def _joined(patches: Floats, grid: tuple[int, int]) -> Floats:
    """The picture (rows * h, columns * w, 3) of patches (P, h, w, 3)."""
    rows, columns = grid
    height, width = patches.shape[1:3]
    return patches.reshape(rows, columns, height, width, 3).swapaxes(1, 2).reshape(rows * height, columns * width, 3)
