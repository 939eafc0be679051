"""Drawings: read from what a page sends, cleaned up, encoded, and the last of them kept."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from zsecli.arrays import Floats32
from zsecli.explain.pair import Side, see
from zsecli.images.decode import decode, is_blank, open_header
from zsecli.images.normalize_sketch import describe_changes_of_one, normalize_picture
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess import frame_input
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model.backbone import Encoding
from zsecli.model.cross_attention import Prepared
from zsecli.model.embedders.base import Embedder, NetworkEmbedder

BYTES = 16 * 2**20  # of a picture that is sent
PIXELS = 50_000_000
SIDE = 1024  # pixels of the long side that is kept of a drawing; networks see 224
KEPT = 32  # encoded drawings


class DrawingRefused(Exception):
    """A picture that cannot be searched with: what is wrong, what to do, and the HTTP status that says so."""

    def __init__(self, message: str, hint: str, status: int = 422) -> None:
        super().__init__(message)
        self.message, self.hint, self.status = message, hint, status


@dataclass(frozen=True)
class Drawing:
    """An encoded drawing.

    image: RGB, as the network and a reader of the explanation see it. changes: sentences on what was done to it.
    ret: (D,) float32 of length 1. side, encoding, prepared: for the relation network; None where the model has none.
    """

    image: Image.Image
    changes: tuple[str, ...]
    ret: Floats32
    side: Side | None = None
    encoding: Encoding | None = None
    prepared: Prepared | None = None


def read_drawing(data: bytes) -> Image.Image:
    """The picture that was sent, at most SIDE pixels wide and high.

    Raises:
        DrawingRefused: it is no picture, has too many pixels (which is known before they are decoded), or is blank.
    """
    try:
        with open_header(io.BytesIO(data)).image as header:
            width, height = header.size
        if width * height > PIXELS:
            raise DrawingRefused(
                f"the picture has {width * height / 1e6:.0f} megapixels, more than {PIXELS / 1e6:.0f}",
                "make it smaller: 1024 pixels are plenty",
                413,
            )
        image = decode(data, (2 * SIDE) ** 2)
    except PictureError as error:
        raise DrawingRefused(f"the picture cannot be read: {error}", "send a PNG, JPEG or WebP picture") from None
    if max(image.size) > SIDE:
        image = image.convert("RGB")
        image.thumbnail((SIDE, SIDE), Image.Resampling.BOX)
    if is_blank(image):
        raise DrawingRefused("nothing is drawn", "draw something first")
    return image


def clean_drawing(image: Image.Image, preprocess: Preprocess) -> tuple[Image.Image, tuple[str, ...]]:
    """A drawing as the network sees it, RGB, and sentences on what was done to it for that."""
    image, changes = normalize_picture(image, "sketch", preprocess)
    return image.convert("RGB"), tuple(describe_changes_of_one((change,)) for change in changes)


@torch.inference_mode()
def encode_drawing(model: Embedder, image: Image.Image) -> Drawing:
    """A drawing, encoded by the model of the gallery."""
    if isinstance(model, NetworkEmbedder):
        side, encoding = see(model, image, "sketch", "your drawing")
        # the store's photos are float16, and so would the drawing be: scores are those of `zse match`
        tokens = encoding.tokens.half().float()
        own = encoding.ret if model.network.has_own_ret else None
        prepared = model.network.prepare(tokens, encoding.index, "sketch", own)
        changes = tuple(describe_changes_of_one((change,)) for change in side.changes)
        return Drawing(side.image, changes, _unit(encoding.ret[0].float().cpu().numpy()), side, encoding, prepared)
    seen, changes = clean_drawing(image, model.preprocess)
    pixels, _ = frame_input(seen, "sketch", model.preprocess)
    return Drawing(seen, changes, _unit(model.embed(np.stack([pixels]), "sketch").ret[0]))


def _unit(vector: np.ndarray) -> Floats32:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


class DrawingStore:
    """The last KEPT drawings by client and number, for what is asked about them later."""

    def __init__(self, most: int = KEPT) -> None:
        self.most = most
        self._kept: OrderedDict[tuple[str, int], tuple[bytes, Drawing]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, client: str, seq: int, data: bytes, drawing: Drawing) -> None:
        """Keep a drawing that was made of `data`."""
        with self._lock:
            self._kept[client, seq] = hashlib.sha256(data).digest(), drawing
            self._kept.move_to_end((client, seq))
            while len(self._kept) > self.most:
                self._kept.popitem(last=False)

    def get(self, client: str, seq: int, data: bytes = b"") -> Drawing | None:
        """A kept drawing; None where there is none, or it was made of something else than `data`, if that is given."""
        with self._lock:
            found = self._kept.get((client, seq))
            if found is None or (data and hashlib.sha256(data).digest() != found[0]):
                return None
            self._kept.move_to_end((client, seq))
            return found[1]

    def __len__(self) -> int:
        return len(self._kept)
