"""From the words of `--model` to the model itself. What it does not need is not imported: timm alone takes seconds."""

from __future__ import annotations

from zsecli.model.config import Precision
from zsecli.model.embedders.base import (
    Embedder,
    NetworkEmbedder,
    compute_in_full_float32,
    dtype_of,
    resolve_device,
)
from zsecli.model.spec import ModelSpec


def load(spec: ModelSpec, device: str, precision: Precision = "fp32") -> Embedder:
    """The model that `spec` names, on `device`; UsageError for a precision that the device has not."""
    from zsecli.model.embedders.hog_pixels import HogEmbedder, PixelEmbedder

    if spec.kind == "pixels":
        return PixelEmbedder()
    if spec.kind == "hog":
        return HogEmbedder()
    on = resolve_device(device)
    compute_in_full_float32()
    if spec.kind == "frozen":
        from zsecli.model.embedders.timm_frozen import FrozenEmbedder

        return FrozenEmbedder(spec, on, precision)
    from zsecli.model import checkpoint

    assert spec.file is not None
    network, unused = checkpoint.load(spec.file)
    network.lower(dtype_of(precision, on))
    return NetworkEmbedder(network, on, unused)
