"""A photo's content in a sketch's shape: each patch of the sketch is replaced by its best match in the photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zsecli.arrays import Floats64, Ints64, Mask, Pixels
from zsecli.errors import UsageError
from zsecli.explain.correspondences import Scores, dual_softmax, token_cosines
from zsecli.explain.pair import EncodedSide, Pair, Side, encode_file, score_pair
from zsecli.images.normalize_sketch import paper_colour
from zsecli.images.strokes import find_stroke_patches
from zsecli.model import selection
from zsecli.model.embedders.base import NetworkEmbedder, normalise

UNMOVED = (0, 0)
HALF_PATCH_MOVES = (UNMOVED, (0, 1), (1, 0), (1, 1))  # down and right, in half patches


@dataclass(frozen=True, kw_only=True)
class SynthesisOptions:
    """How a picture is put together."""

    strokes_only: bool = False
    """Leave a blank patch of the sketch as paper; in the paper's figure it is filled."""
    mutual: bool = False
    """Leave a patch as paper if its photo patch would choose another one; so no patch of a photo is used twice."""
    threshold: float = -1.0
    """Leave a patch as paper if the cosine is below."""
    blend: bool = False
    """Average four pictures, with sketch and photos moved by half a patch, so that no seams show."""
    size: int = 448
    """Side of the picture in pixels."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A sketch made of patches of N photos, on the sketch's grid of P patches."""

    picture: Image.Image
    """size x size, RGB: what the network's input shows of the sketch."""
    grid: tuple[int, int]
    """Rows and columns of patches, the same for all pictures."""
    queried: Mask
    """(P,) the sketch patches that could be replaced; without `strokes_only` all."""
    sources: Ints64
    """(P, 2), which photo and which of its patches a patch was taken from; -1, -1 where paper was left. Of a blended
    picture, sources and scores are those of the unmoved pictures, the first of the four."""
    scores: Scores
    """(P,) float32, cosine of a sketch patch and its source; NaN where paper was left."""
    sketch: Path
    photos: tuple[Path, ...]
    sketch_view: Image.Image
    """What the network's input shows of the sketch, size x size."""
    photo_views: tuple[Image.Image, ...]
    """The same of each photo."""
    options: SynthesisOptions

    @property
    def taken(self) -> Mask:
        """(P,) the sketch patches that were replaced by a photo patch."""
        return self.sources[:, 0] >= 0

    @property
    def coverage(self) -> float:
        """Share of the queried patches that were replaced; 0 where none is queried."""
        return float(self.taken.sum() / max(1, self.queried.sum()))

    @property
    def distinct(self) -> int:
        """How many different photo patches the picture is made of."""
        return len(np.unique(self.sources[self.taken], axis=0))

    @property
    def mean_score(self) -> float:
        """Mean cosine of the replaced patches; NaN where there are none."""
        if not self.taken.any():
            return float("nan")
        return float(self.scores[self.taken].mean())


def synthesize(
    model: NetworkEmbedder, sketch: Path, photos: Sequence[Path], options: SynthesisOptions | None = None
) -> Synthesis:
    """Replace each patch of the sketch by the best patch of all photos.

    The pixels come from the photos, not from the network's input: a large photo gives a sharp picture.

    Raises:
        UsageError: there is no photo, or the size is below 1.
        ZseError: a file is not a picture.
    """
    options = options or SynthesisOptions()
    if not photos:
        raise UsageError("there is no photo to take patches from", "give one photo or more")
    if options.size < 1:
        raise UsageError(f"a picture of {options.size} pixels is none", "give a size of 1 or more")
    encoded_sketch = encode_file(model, sketch, "sketch")
    encoded_photos = [encode_file(model, photo, "photo") for photo in photos]
    picture, sources, scores = _assemble_picture(model, encoded_sketch, encoded_photos, options)
    side = encoded_sketch[0]
    queried = side.matchable if options.strokes_only else np.ones(len(scores), bool)
    square = (options.size, options.size)
    if picture.size != square:
        picture = picture.resize(square, Image.Resampling.LANCZOS)
    return Synthesis(
        picture=picture,
        grid=side.grid,
        queried=queried,
        sources=sources,
        scores=scores,
        sketch=sketch,
        photos=tuple(photos),
        sketch_view=render_view(side, *square),
        photo_views=tuple(render_view(photo_side, *square) for photo_side, _ in encoded_photos),
        options=options,
    )


def synthesize_encoded(
    model: NetworkEmbedder, sketch: EncodedSide, photos: Sequence[EncodedSide], options: SynthesisOptions | None = None
) -> Image.Image:
    """The picture of `synthesize`, from encoded pictures."""
    options = options or SynthesisOptions()
    picture, _, _ = _assemble_picture(model, sketch, photos, options)
    return picture.resize((options.size, options.size), Image.Resampling.LANCZOS)


def render_view(side: Side, width: int, height: int) -> Image.Image:
    """What the network's input shows of a picture, from the picture's own pixels.

    Beyond the picture lies the colour of its border, beyond a sketch that of the paper.
    """
    border_of = side.pixels if side.modality == "sketch" else np.asarray(side.image)
    fill = paper_colour(border_of)
    red, green, blue = np.rint(fill).astype(int).tolist()
    canvas = Image.new("RGB", (width, height), (red, green, blue))
    input_size = side.pixels.shape[1::-1]
    scale = np.array((width, height)) / input_size
    input_corners = np.array([[0, 0], input_size], float)
    box = np.clip(side.frame.to_picture(input_corners), 0, side.image.size)
    box_on_canvas = np.rint(side.frame.to_input(box) * scale)
    (left, top), (right, bottom) = box_on_canvas.astype(int).tolist()
    if right > left and bottom > top:
        x0, y0, x1, y1 = box.ravel().tolist()
        visible_size = right - left, bottom - top
        visible = side.image.resize(visible_size, Image.Resampling.LANCZOS, (x0, y0, x1, y1))
        canvas.paste(visible, (left, top))
    return canvas


def _assemble_picture(
    model: NetworkEmbedder, sketch: EncodedSide, photos: Sequence[EncodedSide], options: SynthesisOptions
) -> tuple[Image.Image, Ints64, Scores]:
    """The picture, at least as large as requested, and sources (P, 2) and cosines (P,) of the unmoved pictures."""
    side = sketch[0]
    blank = paper_colour(side.pixels)
    rows, columns = side.grid
    patch_height = _even_patch_side(options.size, rows)
    patch_width = _even_patch_side(options.size, columns)
    height = rows * patch_height
    width = columns * patch_width
    window = np.ones((patch_height, patch_width))
    moves: Sequence[tuple[int, int]] = (UNMOVED,)
    if options.blend:
        window = _blending_window(patch_height, patch_width)
        moves = HALF_PATCH_MOVES
    window_tiles = np.tile(window, side.grid)
    # One more patch at the right and lower border holds what moved patches show beyond the picture.
    total = np.zeros((height + patch_height, width + patch_width, 3))
    weights = np.zeros(total.shape[:2])
    results = []
    for down, right in moves:
        # Photos are moved like the sketch: with patches on one grid alone, each edge would show several times.
        moved_sketch = _move_view(model, sketch, down, right)
        moved_photos = [_move_view(model, photo, down, right) for photo in photos]
        pairs = [score_pair(model, moved_sketch, moved_photo) for moved_photo in moved_photos]
        sources, scores = _select_sources(pairs, options)
        results.append((sources, scores))
        tiles_by_photo = []
        for photo_side, _ in moved_photos:
            view = render_view(photo_side, width, height)
            tiles_by_photo.append(_split_into_tiles(view, side.grid))
        photo_numbers, photo_patches = sources.T
        source_tiles = np.stack(tiles_by_photo)[photo_numbers, photo_patches]
        is_paper = (photo_numbers < 0)[:, None, None, None]
        patches = np.where(is_paper, blank, source_tiles)
        top = down * patch_height // 2
        left = right * patch_width // 2
        area = slice(top, top + height), slice(left, left + width)
        total[area] += _join_tiles(patches * window[..., None], side.grid)
        weights[area] += window_tiles
    inside = slice(height), slice(width)
    mean = total[inside] / weights[inside][..., None]
    sources, scores = results[0]
    return Image.fromarray(np.rint(mean).astype(np.uint8)), sources, scores


def _even_patch_side(size: int, count: int) -> int:
    """Pixels of a patch, of which `count` make `size` or more; even, because patches move by half."""
    return 2 * -(-size // (2 * count))


def _select_sources(pairs: Sequence[Pair], options: SynthesisOptions) -> tuple[Ints64, Scores]:
    """The photo and the patch that each sketch patch is taken from (P, 2), and the cosines (P,)."""
    patches_by_photo = []
    scores_by_photo = []
    for pair in pairs:
        patches, scores = _select_patches(pair, options)
        patches_by_photo.append(patches)
        scores_by_photo.append(scores)
    every_score = np.stack(scores_by_photo)
    photo = every_score.argmax(0)
    sketch_patches = np.arange(every_score.shape[1])
    patch = np.stack(patches_by_photo)[photo, sketch_patches]
    score = every_score[photo, sketch_patches]
    is_paper = np.isneginf(score) | (score < options.threshold)
    sources = np.stack([photo, patch], 1)
    sources = np.where(is_paper[:, None], -1, sources)
    return sources, np.where(is_paper, np.float32(np.nan), score)


def _select_patches(pair: Pair, options: SynthesisOptions) -> tuple[Ints64, Scores]:
    """For each sketch patch (P,) the best patch of one photo, and the cosine, -inf where there is none."""
    cosines = token_cosines(pair)
    queried = pair.sketch.matchable if options.strokes_only else pair.sketch.kept
    # Each chooses the other, as for matches: by the cosine alone, a few photo patches that resemble everything are used
    # again and again, which leaves holes in the middle of things, and loses feet and combs.
    scores = dual_softmax(cosines, queried, pair.photo.kept)
    best_photo = scores.argmax(1)
    best_sketch = scores.argmax(0)
    sketch_patches = np.arange(len(scores))
    has_source = queried
    if options.mutual:
        is_mutual = best_sketch[best_photo] == sketch_patches
        has_source = queried & is_mutual
    best_cosines = cosines[sketch_patches, best_photo]
    return best_photo, np.where(has_source, best_cosines, np.float32(-np.inf))


@torch.inference_mode()
def _move_view(model: NetworkEmbedder, encoded: EncodedSide, down: int, right: int) -> EncodedSide:
    """A picture seen from half a patch further down or right, or both (0 or 1 each)."""
    if (down, right) == UNMOVED:
        return encoded
    side = encoded[0]
    half_width, half_height = np.rint(np.array(side.patch_size) / 2)
    x = int(right * half_width)
    y = int(down * half_height)
    visible = side.pixels[y:, x:]
    pixels: Pixels = np.empty_like(side.pixels)
    pixels[:] = np.rint(paper_colour(side.pixels))
    pixels[: visible.shape[0], : visible.shape[1]] = visible
    corner = np.array([[x, y]], float)
    left, top = side.frame.to_picture(corner)[0].tolist()
    batch = normalise(np.stack([pixels]), model.preprocess, model.device)
    encoding = model.network.encode(batch, side.modality)
    moved = replace(
        side,
        pixels=pixels,
        frame=replace(side.frame, left=left, top=top),
        strokes=find_stroke_patches(pixels, side.grid) if side.modality == "sketch" else side.strokes,
        kept=selection.mask_of_kept(encoding.index, len(side.kept))[0].cpu().numpy(),
        attention=encoding.attention[0].float().cpu().numpy(),
    )
    return moved, encoding


def _blending_window(height: int, width: int) -> Floats64:
    """Weights of a patch's pixels, which fall off towards its edge; those of patches moved by halves sum to 1."""
    return np.outer(_squared_sine(height), _squared_sine(width))


def _squared_sine(length: int) -> Floats64:
    """(length,) weights from 0 over 1 to 0."""
    centres = np.arange(length) + 0.5
    return np.sin(np.pi * centres / length) ** 2


def _split_into_tiles(picture: Image.Image, grid: tuple[int, int]) -> Pixels:
    """The patches (P, h, w, 3) of a picture (rows * h, columns * w)."""
    pixels = np.asarray(picture)
    rows, columns = grid
    height = pixels.shape[0] // rows
    width = pixels.shape[1] // columns
    tiles = pixels.reshape(rows, height, columns, width, 3).swapaxes(1, 2)
    return tiles.reshape(rows * columns, height, width, 3)


def _join_tiles(patches: Floats64, grid: tuple[int, int]) -> Floats64:
    """The picture (rows * h, columns * w, 3) of patches (P, h, w, 3)."""
    rows, columns = grid
    height, width = patches.shape[1:3]
    tiles = patches.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return tiles.reshape(rows * height, columns * width, 3)
