"""Feature maps of timm's convolutional (and other) networks, as the trunk of a hybrid backbone uses them."""

from __future__ import annotations

import copy
import threading
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from timm.models._features import FeatureHookNet
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.errors import UsageError
from zsecli.model.timm_models import create_model

STRIDES = (16, 32)  # of the two maps that a hybrid uses
_HOOK_LOCK = threading.Lock()  # a FeatureHookNet keeps the maps that its hooks catch in itself: one batch at a time


@dataclass(frozen=True)
class TrunkMaps:
    """Which maps of a trunk are used, and how timm is asked for them."""

    indices: tuple[int, ...]
    """Positions of the maps at STRIDES among all maps of the trunk."""

    strides: tuple[int, ...]
    """Strides of all maps of the trunk."""

    image_size: int | None
    """Picture size that timm must be given, for a trunk that is made for one size; else None."""

    def options(self, indices: tuple[int, ...] | None = None) -> dict[str, Any]:
        """Options of timm.create_model for a trunk that returns these maps, or those at `indices`."""
        return {"features_only": True, "out_indices": indices or self.indices, **self.size_options()}

    def size_options(self) -> dict[str, Any]:
        """Options of timm.create_model for the whole model, with its head."""
        return {} if self.image_size is None else {"img_size": self.image_size}


@lru_cache
def find_maps(name: str, side: int) -> TrunkMaps:
    """The maps of the timm network `name` for pictures of `side` pixels; nothing is computed or allocated.

    Raises:
        UsageError: it has no maps at STRIDES, or does not take such pictures.
        StoreError: timm cannot make it.
    """
    hint = "take another trunk"
    with torch.device("meta"):
        network = create_model(name, False, None)
        feature_info = getattr(network, "feature_info", None) or ()
        strides = tuple(info["reduction"] for info in feature_info)
        if not set(STRIDES) <= set(strides):
            listed = ", ".join(map(str, sorted(set(strides))))
            reason = f"its strides are {listed}" if strides else "it has no maps"
            raise UsageError(f"{name} has no maps at strides 16 and 32: {reason}", hint)
        has_fixed_size = (network.pretrained_cfg or {}).get("fixed_input_size")
        indices = tuple(_find_last(strides, stride) for stride in STRIDES)
        maps = TrunkMaps(indices, strides, side if has_fixed_size else None)
        trunk = create_model(name, False, None, **maps.options()).eval()
        try:
            outputs = [to_channels_first(trunk, x) for x in trunk(torch.zeros(1, 3, side, side))]
        except Exception as error:  # timm's networks raise errors of every kind
            text = str(error).strip()
            reason = f": {text.splitlines()[0][:200]}" if text else ""
            raise UsageError(f"{name} takes no pictures of {side} x {side} pixels{reason}", hint) from error
    channels = list(trunk.feature_info.channels())
    if [x.shape[1] for x in outputs] != channels or [x.ndim for x in outputs] != [4, 4]:
        shapes = " and ".join(str(tuple(x.shape)) for x in outputs)
        raise UsageError(f"{name} makes no maps, but {shapes}", hint)
    return maps


def _find_last(strides: tuple[int, ...], stride: int) -> int:
    """The position of the last map of `stride`."""
    return len(strides) - 1 - strides[::-1].index(stride)


def compute_maps(trunk: nn.Module, picture: Tensor, grid: int) -> Tensor:
    """Pictures (B, 3, H, W) -> the maps of stride 16 and 32, stacked (B, C, grid, grid).

    A trunk without padding loses the outermost places; there the values of their neighbours are repeated.
    """
    if isinstance(trunk, FeatureHookNet):
        with _HOOK_LOCK:
            maps = trunk(picture)
    else:
        maps = trunk(picture)
    fine, coarse = (to_channels_first(trunk, x) for x in maps)
    return stack_maps(fine, coarse, grid)


def stack_maps(fine: Tensor, coarse: Tensor, grid: int) -> Tensor:
    """Maps of stride 16 and of stride 32, (B, C, H, W) each -> both, resampled, (B, C_fine + C_coarse, grid, grid)."""
    fine = repeat_border(fine, grid)
    coarse = repeat_border(coarse, -(-grid // 2))
    if fine.shape[-1] != grid:
        fine = F.interpolate(fine, size=(grid, grid), mode="bilinear", align_corners=False)
    coarse = F.interpolate(coarse, size=(grid, grid), mode="bilinear", align_corners=False)
    return torch.cat([fine, coarse], 1)


def to_channels_first(trunk: nn.Module, x: Tensor) -> Tensor:
    """A map of `trunk` as (B, C, H, W); some of timm's networks return (B, H, W, C)."""
    return x.permute(0, 3, 1, 2) if getattr(trunk, "output_fmt", None) == "NHWC" else x


def repeat_border(x: Tensor, side: int) -> Tensor:
    """A map (B, C, H, W) extended to at least `side` by repeating its outermost rows and columns."""
    for axis in (2, 3):
        length = x.shape[axis]
        missing = side - length
        if missing > 0:
            index = torch.arange(side, device=x.device) - missing // 2
            x = x.index_select(axis, index.clamp(0, length - 1))
    return x


def find_map_channels(network: Any, maps: TrunkMaps, side: int) -> tuple[int, ...]:
    """Channels of the maps that a whole network returns together with the input of its head.

    Raises:
        UsageError: it cannot return both.
    """
    with torch.device("meta"), torch.no_grad():
        copied = copy.deepcopy(network).to("meta").eval()
        try:
            _, outputs = copied.forward_intermediates(torch.zeros(1, 3, side, side), list(maps.indices))
            return tuple(to_channels_first(network, x).shape[1] for x in outputs)
        except Exception as error:  # timm's networks raise errors of every kind
            raise UsageError(
                f"{type(network).__name__} does not hand out its maps beside its head",
                "take another trunk, or --preset small",
            ) from error


def find_map_parameters(name: str, side: int, stride: int, is_whole: bool = False) -> set[str]:
    """Names of the parameters that make the trunk's last map of `stride`: those that its gradient reaches.

    Nothing is computed, as all tensors are on PyTorch's meta device.

    Args:
        is_whole: the names in timm's whole model, which hands out its maps beside what its head is given.

    Raises:
        UsageError: the trunk has no such map.
    """
    maps = find_maps(name, side)
    if stride not in maps.strides:
        listed = ", ".join(map(str, dict.fromkeys(maps.strides)))
        raise UsageError(f"the trunk has no map of stride {stride}", f"its strides: {listed}; 0 freezes none of it")
    index = _find_last(maps.strides, stride)
    with torch.enable_grad(), torch.device("meta"):
        options = maps.size_options() if is_whole else maps.options((index,))
        trunk = create_model(name, False, None, **options).eval()
        picture = torch.zeros(1, 3, side, side)
        made = trunk.forward_intermediates(picture, [index], intermediates_only=True) if is_whole else trunk(picture)
        made[0].sum().backward()
    return {parameter_name for parameter_name, parameter in trunk.named_parameters() if parameter.grad is not None}
