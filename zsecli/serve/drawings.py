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
from zsecli.explain.pair import Side, encode_image
from zsecli.images.decode import decode, is_blank, open_header
from zsecli.images.normalize_sketch import describe_changes_of_one, normalize_picture
from zsecli.images.picture_errors import PictureError
from zsecli.images.preprocess import frame_input
from zsecli.images.preprocess_rules import Preprocess
from zsecli.model.backbone import Encoding
from zsecli.model.cross_attention import Prepared
from zsecli.model.embedders.base import Embedder, NetworkEmbedder

BYTES = 16 * 2**20  # of an uploaded picture, at most
PIXELS = 50_000_000  # likewise
SIDE = 1024  # pixels of the long side to which a drawing is reduced; networks see 224
CAPACITY = 32  # encoded drawings in memory


class DrawingRefused(Exception):
    """A picture that cannot be searched with: what is wrong, what to do, and the HTTP status that says so."""

    def __init__(self, message: str, hint: str, status: int = 422) -> None:
        super().__init__(message)
        self.message, self.hint, self.status = message, hint, status


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """An encoded drawing. What the relation network needs is None where the model has none."""

    image: Image.Image
    """RGB, as the network and a reader of the explanation see it."""
    changes: tuple[str, ...]
    """Sentences on how it was cleaned up."""
    ret: Floats32
    """(D,) [Ret] at unit length."""
    side: Side | None = None
    encoding: Encoding | None = None
    prepared: Prepared | None = None


def read_drawing(data: bytes) -> Image.Image:
    """The uploaded picture, at most SIDE pixels wide and high.

    Raises:
        DrawingRefused: it is not a picture, has too many pixels (checked before they are decoded), or is blank.
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
    """A drawing as the network sees it, RGB, and sentences on how it was cleaned up."""
    image, changes = normalize_picture(image, "sketch", preprocess)
    return image.convert("RGB"), tuple(describe_changes_of_one((change,)) for change in changes)


@torch.inference_mode()
def encode_drawing(model: Embedder, image: Image.Image) -> Drawing:
    """Encode a drawing with the model of the gallery."""
    if isinstance(model, NetworkEmbedder):
        side, encoding = encode_image(model, image, "sketch", "your drawing")
        # rounded as in a store, so that scores are those of `zse match`
        tokens = encoding.tokens.half().float()
        own_ret = encoding.ret if model.network.has_own_ret else None
        prepared = model.network.prepare(tokens, encoding.index, "sketch", own_ret)
        changes = tuple(describe_changes_of_one((change,)) for change in side.changes)
        return Drawing(
            image=side.image,
            changes=changes,
            ret=_normalise(encoding.ret[0].float().cpu().numpy()),
            side=side,
            encoding=encoding,
            prepared=prepared,
        )
    cleaned, changes = clean_drawing(image, model.preprocess)
    pixels, _ = frame_input(cleaned, "sketch", model.preprocess)
    features = model.embed(np.stack([pixels]), "sketch")
    return Drawing(image=cleaned, changes=changes, ret=_normalise(features.ret[0]))


def _normalise(vector: np.ndarray) -> Floats32:
    return np.asarray(vector / max(float(np.linalg.norm(vector)), 1e-12), np.float32)


class DrawingStore:
    """The last drawings by client and number, for later requests about them."""

    def __init__(self, capacity: int = CAPACITY) -> None:
        self.capacity = capacity
        self._drawings: OrderedDict[tuple[str, int], tuple[bytes, Drawing]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, client: str, seq: int, data: bytes, drawing: Drawing) -> None:
        """Store a drawing that was made of `data`."""
        with self._lock:
            self._drawings[client, seq] = hashlib.sha256(data).digest(), drawing
            self._drawings.move_to_end((client, seq))
            while len(self._drawings) > self.capacity:
                self._drawings.popitem(last=False)

    def get(self, client: str, seq: int, data: bytes = b"") -> Drawing | None:
        """A stored drawing; None where there is none, or it was made of other data than `data`, if that is given."""
        with self._lock:
            if (client, seq) not in self._drawings:
                return None
            digest, drawing = self._drawings[client, seq]
            if data and hashlib.sha256(data).digest() != digest:
                return None
            self._drawings.move_to_end((client, seq))
            return drawing

    def __len__(self) -> int:
        return len(self._drawings)
