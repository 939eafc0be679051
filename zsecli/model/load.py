"""From a `ModelSpec` to the model itself. Only what the model needs is imported: timm alone takes seconds."""

from __future__ import annotations

from collections.abc import Callable

from zsecli.model.config import Precision
from zsecli.model.embedders.base import (
    Embedder,
    NetworkEmbedder,
    compute_in_full_float32,
    dtype_of,
    resolve_device,
)
from zsecli.model.spec import ModelSpec
from zsecli.vocabulary import EMBEDDERS


def load(spec: ModelSpec, device: str, precision: Precision = "fp32") -> Embedder:
    """The model that `spec` names, on `device`; UsageError for a precision that the device lacks."""
    load_kind: Callable[[ModelSpec, str, Precision], Embedder] = EMBEDDERS.load(spec.kind)
    return load_kind(spec, device, precision)


def load_checkpoint(spec: ModelSpec, device: str, precision: Precision) -> Embedder:
    """A network from a checkpoint."""
    from zsecli.model import checkpoint

    resolved = resolve_device(device)
    compute_in_full_float32()
    assert spec.file is not None
    network, unused = checkpoint.load(spec.file)
    network.cast(dtype_of(precision, resolved))
    return NetworkEmbedder(network, resolved, unused)


def load_frozen(spec: ModelSpec, device: str, precision: Precision) -> Embedder:
    """A timm backbone with the weights it comes with."""
    resolved = resolve_device(device)
    compute_in_full_float32()
    from zsecli.model.embedders.timm_frozen import FrozenEmbedder

    return FrozenEmbedder(spec, resolved, precision)


def load_pixels(spec: ModelSpec, device: str, precision: Precision) -> Embedder:
    """The baseline of grey values, which always computes on the CPU."""
    from zsecli.model.embedders.hog_pixels import PixelEmbedder

    return PixelEmbedder()


def load_hog(spec: ModelSpec, device: str, precision: Precision) -> Embedder:
    """The baseline of gradients, which always computes on the CPU."""
    from zsecli.model.embedders.hog_pixels import HogEmbedder

    return HogEmbedder()
