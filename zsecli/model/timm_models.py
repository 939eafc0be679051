"""Making timm models, with timm's failures reported in one line."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import timm

from zsecli.errors import StoreError, UsageError
from zsecli.model.backbone_weights import fill_backbone

BACKBONE_KINDS = "take a plain ViT, EVA, DINOv3 or BEiT of timm"
LOCAL_WEIGHTS = "frozen:NAME=FILE, --backbone-weights FILE"


def create_model(name: str, pretrained: bool, weights: Path | None, **options: Any) -> Any:
    """timm.create_model, with every failure as a ZseError.

    Args:
        name: timm's name of the model.
        pretrained: download the weights that timm has for `name`.
        weights: load this file instead of downloading.
        options: passed on to timm.create_model.

    Raises:
        UsageError: the model does not take these options.
        StoreError: timm does not know the model, or its weights cannot be had.
    """
    downloads = pretrained and weights is None
    if downloads:
        require_pretrained_weights(name)
    hub_logger = logging.getLogger("huggingface_hub")
    level = hub_logger.level
    try:
        hub_logger.setLevel(logging.CRITICAL)  # it reports every attempt; the error below is raised once
        model = timm.create_model(name, pretrained=downloads, **options)
    except TypeError as error:  # the model lacks an argument that backbones have
        raise UsageError(
            f"{name} cannot be this backbone",
            f"{BACKBONE_KINDS}; others may be a trunk: --preset small --backbone {name}",
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # timm's models raise errors of every kind
        raise _explain_failure(name, error, downloads) from error
    finally:
        hub_logger.setLevel(level)
    if weights is not None:
        fill_backbone(model, name, weights, options)
    return model


def _explain_failure(name: str, error: Exception, downloads: bool) -> StoreError:
    """The error to raise where timm failed to make the model `name`."""
    text = str(error).strip()
    reason = text.splitlines()[0] if text else type(error).__name__
    if "Unknown model" in reason:
        hint = "timm.list_models() has the names"
    elif downloads:
        hint = f"weights from a hub need a network; a local file does not: {LOCAL_WEIGHTS}"
    else:
        hint = "take another backbone"
    return StoreError(f"timm cannot make {name}: {reason}", hint)


def require_pretrained_weights(name: str) -> None:
    """Raise StoreError where timm knows the model `name`, but has no weights of it to download."""
    if not timm.is_model(name):
        return
    pretrained = timm.get_pretrained_cfg(name)
    if pretrained is not None and not pretrained.has_weights:
        hint = f"give them as a file: {LOCAL_WEIGHTS}; or zse train --scratch"
        raise StoreError(f"timm has no weights of {name}", hint)
