"""A sketch and a photo as the network sees them, with the way back to the pictures' own pixels."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from zsecli.arrays import Pixels
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

Mask = NDArray[np.bool_]
RUINED = "the model's weights are damaged, or it diverged in training"
Box = tuple[float, float, float, float]  # left, top, right, bottom in pixels of the picture


@dataclass(frozen=True)
class Side:
    """One picture of a pair: P places on a grid of patches.

    image: as decoded, turned as its EXIF says and laid on white, changed as `changes` says, RGB; a very large picture
        reduced.
    size: width and height of the picture itself.
    pixels: (S, S, 3) uint8, the network's input.
    frame: the part of `image` that the input shows. grid: rows and columns.
    strokes: (P,) where a sketch is drawn; everywhere on a photo. kept: (P,) False where selection dropped the token.
    attention: (H, P) [Ret]'s attention in the last block, 0 where dropped; a head's sum is below 1 by what it gives to
        [Ret] itself.
    """

    name: str
    role: Modality
    image: Image.Image
    size: tuple[int, int]
    pixels: Pixels
    frame: Frame
    grid: tuple[int, int]
    strokes: Mask
    kept: Mask
    attention: NDArray[np.float32]
    changes: tuple[Change, ...] = ()

    @property
    def asked(self) -> Mask:
        """(P,) the places that take part in correspondences."""
        return self.strokes & self.kept

    @property
    def patch(self) -> tuple[float, float]:
        """Width and height of a patch, in pixels of the input."""
        return self.pixels.shape[1] / self.grid[1], self.pixels.shape[0] / self.grid[0]

    def middles(self) -> Points:
        """(P, 2) the middles of all patches, in pixels of the input."""
        return patch_centres(self.grid, self.patch)

    def box(self, place: int) -> Box:
        """A patch in the picture's own pixels, cut at its borders: of no size where it is padding alone."""
        half = np.array(self.patch) / 2
        corners = self.frame.to_picture(self.middles()[place] + np.array([-half, half]))
        left, top, right, bottom = np.clip(corners, 0, self.image.size).ravel().tolist()
        return left, top, right, bottom


@dataclass(frozen=True, eq=False)  # one is known by itself, so that what is computed of it can be kept
class Pair:
    """A sketch, a photo, and what the network says of the two: one row in each tensor."""

    network: ZSENetwork
    sketch: Side
    photo: Side
    ours: Prepared
    theirs: Prepared
    score: Score
    retrieval: tuple[Retrieval, Retrieval] | None = None
    """Of sketch and photo, of a network that keeps its backbone's head."""

    @property
    def relation(self) -> float:
        """The relation score, in (0, 1)."""
        return float(self.score.relation)

    @property
    def cosine(self) -> float:
        """Cosine of the two [Ret] before cross-attention, by which photos are shortlisted."""
        return float(torch.cosine_similarity(self.ours.ret.float(), self.theirs.ret.float()))


def read(file: Path) -> Image.Image:
    """The picture in its own mode, as preprocessing wants it; ZseError where it cannot be read."""
    try:
        return load_picture(file)
    except PictureError as error:
        raise ZseError(f"{file}: {error}", "give a picture that other programs open") from error


@torch.inference_mode()
def see(model: NetworkEmbedder, image: Image.Image, role: Modality, name: str = "") -> tuple[Side, Encoding]:
    """A decoded picture, and its encoding (one row)."""
    image, pixels, frame, changes = frame_picture(image, role, model.preprocess)
    out = model.network.encode(normalise(np.stack([pixels]), model.preprocess, model.device), role)
    if not out.tokens.isfinite().all():
        raise ZseError(f"{name or role}: its tokens are not finite", RUINED)
    grid, places = model.network.backbone.grid, model.network.backbone.n_patches
    drawn = (
        find_stroke_patches(pixels, grid, _inside(image, frame, pixels)) if role == "sketch" else np.ones(places, bool)
    )
    kept = selection.mask_of_kept(out.index, places)[0].cpu().numpy()
    attention = out.attention[0].float().cpu().numpy()
    return Side(name, role, image.convert("RGB"), image.size, pixels, frame, grid, drawn, kept, attention, changes), out


def look(model: NetworkEmbedder, file: Path, role: Modality) -> tuple[Side, Encoding]:
    """A picture from its file, and its encoding; ZseError where it cannot be read."""
    image = read(file)
    side, out = see(model, image, role, file.name)
    side = replace(side, size=read_full_size(file, image))
    if side.changes:
        logger.log(NOTICE, f"{file}: {describe_changes_of_one(side.changes)}")
    return side, out


def _inside(image: Image.Image, frame: Frame, pixels: Pixels) -> tuple[int, int, int, int]:
    """Left, top, right, bottom of the picture in the network's input, at least a pixel wide and high."""
    corners = frame.to_input(np.array([(0.0, 0.0), image.size]))
    (left, top), (right, bottom) = np.clip(corners.round().astype(int), 0, (pixels.shape[1], pixels.shape[0])).tolist()
    return min(left, pixels.shape[1] - 1), min(top, pixels.shape[0] - 1), max(right, left + 1), max(bottom, top + 1)


@torch.inference_mode()
def relate(model: NetworkEmbedder, sketch: tuple[Side, Encoding], photo: tuple[Side, Encoding]) -> Pair:
    """What the network says of two pictures that it has seen."""
    network = model.network
    ours, theirs = network.prepare_encoding(sketch[1], "sketch"), network.prepare_encoding(photo[1], "photo")
    score = network.score_prepared(ours, theirs)
    if not (score.logit.isfinite().all() and score.kernel.isfinite().all()):
        raise ZseError(f"the relation score of {sketch[0].name} and {photo[0].name} is not a number", RUINED)
    retrieval = None
    if sketch[1].retrieval is not None and photo[1].retrieval is not None:
        retrieval = sketch[1].retrieval, photo[1].retrieval
    return Pair(network, sketch[0], photo[0], ours, theirs, score, retrieval)


def pair(model: NetworkEmbedder, sketch: Path, photo: Path) -> Pair:
    """A sketch and a photo from their files."""
    return relate(model, look(model, sketch, "sketch"), look(model, photo, "photo"))
