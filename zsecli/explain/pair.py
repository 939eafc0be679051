"""A sketch and a photo as the network encodes them, and how patches map back to the pixels of the pictures."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from zsecli.arrays import Floats32, Mask, Pixels
from zsecli.errors import ZseError
from zsecli.images.geometry import Frame, Points, patch_centres
from zsecli.images.loader import frame_picture, load_picture, read_full_size
from zsecli.images.normalize_sketch import Change, describe_changes_of_one
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess_rules import Modality
from zsecli.images.strokes import find_stroke_patches
from zsecli.model import selection
from zsecli.model.backbone import Encoding
from zsecli.model.cross_attention import Prepared
from zsecli.model.embedders.base import NetworkEmbedder, normalise
from zsecli.model.network import ZSENetwork
from zsecli.model.retrieval_head import Retrieval
from zsecli.model.scoring import Score
from zsecli.runtime.log_levels import NOTICE

logger = logging.getLogger(__name__)

DAMAGED_WEIGHTS = "the model's weights are damaged, or it diverged in training"
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture


@dataclass(frozen=True, kw_only=True)
class Side:
    """One picture of a pair, on a grid of P patches."""

    name: str
    modality: Modality
    image: Image.Image
    """The decoded picture in RGB: turned by its EXIF orientation, on white, normalised as `changes` says, and reduced
    if it is very large."""
    size: tuple[int, int]
    """Width and height of the picture in its file."""
    pixels: Pixels
    """(S, S, 3) uint8, the network's input."""
    frame: Frame
    """The part of `image` that the input shows."""
    grid: tuple[int, int]
    """Rows and columns."""
    strokes: Mask
    """(P,) where a sketch has strokes; True everywhere on a photo."""
    kept: Mask
    """(P,) False where token selection dropped the patch."""
    attention: Floats32
    """(H, P) attention of [Ret] in the last block, 0 where dropped. A head sums to less than 1: [Ret] attends to itself
    as well."""
    changes: tuple[Change, ...] = ()
    """How the picture was normalised."""

    @property
    def matchable(self) -> Mask:
        """(P,) the patches that take part in correspondences."""
        return self.strokes & self.kept

    @property
    def patch_size(self) -> tuple[float, float]:
        """Width and height of a patch, in pixels of the input."""
        rows, columns = self.grid
        height, width = self.pixels.shape[:2]
        return width / columns, height / rows

    def patch_centres(self) -> Points:
        """(P, 2) the centres of all patches, in pixels of the input."""
        return patch_centres(self.grid, self.patch_size)

    def patch_box(self, patch: int) -> Box:
        """A patch in pixels of the picture, clipped to it: empty where the patch is all padding."""
        half = np.array(self.patch_size) / 2
        centre = self.patch_centres()[patch]
        corners = self.frame.to_picture(np.array([centre - half, centre + half]))
        clipped = np.clip(corners, 0, self.image.size)
        left, top, right, bottom = clipped.ravel().tolist()
        return left, top, right, bottom


EncodedSide = tuple[Side, Encoding]  # the encoding has one row


@dataclass(frozen=True, eq=False, kw_only=True)  # compared by identity, so that results can be cached by pair
class Pair:
    """A sketch, a photo and the network's score of the two. Every tensor has one row."""

    network: ZSENetwork
    sketch: Side
    photo: Side
    prepared_sketch: Prepared
    prepared_photo: Prepared
    score: Score
    retrieval: tuple[Retrieval, Retrieval] | None = None
    """Of sketch and photo, where the network keeps its backbone's classification head."""

    @property
    def relation(self) -> float:
        """The relation score, in (0, 1)."""
        return float(self.score.relation)

    @property
    def cosine(self) -> float:
        """Cosine of the two [Ret] before cross-attention, by which photos are shortlisted."""
        return float(torch.cosine_similarity(self.prepared_sketch.ret.float(), self.prepared_photo.ret.float()))


def load_image(file: Path) -> Image.Image:
    """The picture in its own mode, as preprocessing expects it; ZseError if it cannot be read."""
    try:
        return load_picture(file)
    except PictureError as error:
        raise ZseError(f"{file}: {error}", "give a picture that other programs open") from error


@torch.inference_mode()
def encode_image(model: NetworkEmbedder, image: Image.Image, modality: Modality, name: str = "") -> EncodedSide:
    """Encode a decoded picture."""
    image, pixels, frame, changes = frame_picture(image, modality, model.preprocess)
    batch = normalise(np.stack([pixels]), model.preprocess, model.device)
    encoding = model.network.encode(batch, modality)
    if not encoding.tokens.isfinite().all():
        raise ZseError(f"{name or modality}: its tokens are not finite", DAMAGED_WEIGHTS)
    grid = model.network.backbone.grid
    n_patches = model.network.backbone.n_patches
    if modality == "sketch":
        strokes = find_stroke_patches(pixels, grid, _locate_picture(image, frame, pixels))
    else:
        strokes = np.ones(n_patches, bool)
    side = Side(
        name=name,
        modality=modality,
        image=image.convert("RGB"),
        size=image.size,
        pixels=pixels,
        frame=frame,
        grid=grid,
        strokes=strokes,
        kept=selection.mask_of_kept(encoding.index, n_patches)[0].cpu().numpy(),
        attention=encoding.attention[0].float().cpu().numpy(),
        changes=changes,
    )
    return side, encoding


def encode_file(model: NetworkEmbedder, file: Path, modality: Modality) -> EncodedSide:
    """Encode a picture from its file; ZseError if it cannot be read."""
    image = load_image(file)
    side, encoding = encode_image(model, image, modality, file.name)
    side = replace(side, size=read_full_size(file, image))
    if side.changes:
        logger.log(NOTICE, f"{file}: {describe_changes_of_one(side.changes)}")
    return side, encoding


def _locate_picture(image: Image.Image, frame: Frame, pixels: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the picture in the network's input, at least a pixel wide and high."""
    height, width = pixels.shape[:2]
    corners = frame.to_input(np.array([(0.0, 0.0), image.size]))
    corners = corners.round().astype(int)
    (left, top), (right, bottom) = np.clip(corners, 0, (width, height)).tolist()
    return (
        min(left, width - 1),
        min(top, height - 1),
        max(right, left + 1),
        max(bottom, top + 1),
    )


@torch.inference_mode()
def score_pair(model: NetworkEmbedder, sketch: EncodedSide, photo: EncodedSide) -> Pair:
    """Score an encoded sketch with an encoded photo."""
    sketch_side, sketch_encoding = sketch
    photo_side, photo_encoding = photo
    prepared_sketch = model.network.prepare_encoding(sketch_encoding, "sketch")
    prepared_photo = model.network.prepare_encoding(photo_encoding, "photo")
    score = model.network.score_prepared(prepared_sketch, prepared_photo)
    if not (score.logit.isfinite().all() and score.kernel.isfinite().all()):
        names = f"{sketch_side.name} and {photo_side.name}"
        raise ZseError(f"the relation score of {names} is not a number", DAMAGED_WEIGHTS)
    retrieval = None
    if sketch_encoding.retrieval is not None and photo_encoding.retrieval is not None:
        retrieval = sketch_encoding.retrieval, photo_encoding.retrieval
    return Pair(
        network=model.network,
        sketch=sketch_side,
        photo=photo_side,
        prepared_sketch=prepared_sketch,
        prepared_photo=prepared_photo,
        score=score,
        retrieval=retrieval,
    )


def score_files(model: NetworkEmbedder, sketch: Path, photo: Path) -> Pair:
    """Encode and score a sketch and a photo from their files."""
    return score_pair(model, encode_file(model, sketch, "sketch"), encode_file(model, photo, "photo"))
