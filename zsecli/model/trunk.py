"""Convolutional (and other) networks of timm that lend a hybrid their maps: which maps, of what form, by what names."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from timm.models._features import FeatureHookNet
from torch import Tensor, nn
from torch.nn import functional as F

from zsecli.errors import UsageError

STRIDES = (16, 32)  # of the two maps that a hybrid lays over each other
_HOOKED = threading.Lock()  # a network whose maps are caught by hooks keeps them in itself: one picture at a time


@dataclass(frozen=True)
class TrunkMaps:
    """How timm hands out the maps of a trunk.

    indices: of the maps at STRIDES among all that it has. strides: of all of these.
    image_size: to be given to timm where the trunk is made for pictures of one size.
    """

    indices: tuple[int, ...]
    strides: tuple[int, ...]
    image_size: int | None

    def options(self, indices: tuple[int, ...] | None = None) -> dict[str, Any]:
        """What `timm.create_model` takes for the trunk that makes these maps, or those at `indices`."""
        size = {} if self.image_size is None else {"img_size": self.image_size}
        return {"features_only": True, "out_indices": indices or self.indices, **size}


@lru_cache
def find_maps(name: str, side: int, create: Callable[..., Any]) -> TrunkMaps:
    """The maps of the timm network `name` for pictures of `side` pixels; nothing is computed or allocated.

    Args:
        create: makes a timm model, as zsecli.model.backbone.create does.

    Raises:
        UsageError: it has no maps at STRIDES, or does not take such pictures. StoreError: timm cannot make it.
    """
    other = "take another trunk"
    with torch.device("meta"):
        whole = create(name, False, None)
        strides = tuple(info["reduction"] for info in getattr(whole, "feature_info", None) or ())
        if not set(STRIDES) <= set(strides):
            found = f"its strides are {', '.join(map(str, sorted(set(strides))))}" if strides else "it has no maps"
            raise UsageError(f"{name} has no maps at strides 16 and 32: {found}", other)
        fixed = (whole.pretrained_cfg or {}).get("fixed_input_size")
        indices = tuple(len(strides) - 1 - strides[::-1].index(stride) for stride in STRIDES)
        maps = TrunkMaps(indices, strides, side if fixed else None)
        trunk = create(name, False, None, **maps.options()).eval()
        try:
            made = [to_channels_first(trunk, x) for x in trunk(torch.zeros(1, 3, side, side))]
        except Exception as error:  # timm's networks have no kind of error of their own
            why = f": {str(error).strip().splitlines()[0][:200]}" if str(error).strip() else ""
            raise UsageError(f"{name} takes no pictures of {side} x {side} pixels{why}", other) from error
    channels = trunk.feature_info.channels()
    if [x.shape[1] for x in made] != list(channels) or [x.ndim for x in made] != [4, 4]:
        raise UsageError(f"{name} makes no maps, but {' and '.join(str(tuple(x.shape)) for x in made)}", other)
    return maps


def compute_maps(trunk: nn.Module, picture: Tensor, grid: int) -> Tensor:
    """Pictures (B, 3, H, W) -> (B, C, grid, grid): the map of stride 16 and that of stride 32, at every place.

    A trunk without padding sees no border: its maps lack the outermost places, where their neighbours' values stand.
    """
    if isinstance(trunk, FeatureHookNet):
        with _HOOKED:
            made = trunk(picture)
    else:
        made = trunk(picture)
    near, far = (to_channels_first(trunk, x) for x in made)
    return lay_over(near, far, grid)


def lay_over(near: Tensor, far: Tensor, grid: int) -> Tensor:
    """A map of stride 16 and one of stride 32, (B, C, H, W) each -> (B, C, grid, grid), both at every place."""
    near, far = _complete(near, grid), _complete(far, -(-grid // 2))
    if near.shape[-1] != grid:
        near = F.interpolate(near, size=(grid, grid), mode="bilinear", align_corners=False)
    far = F.interpolate(far, size=(grid, grid), mode="bilinear", align_corners=False)
    return torch.cat([near, far], 1)


def to_channels_first(trunk: nn.Module, x: Tensor) -> Tensor:
    """A map of `trunk` as (B, C, H, W), which some of timm's networks make as (B, H, W, C)."""
    return x.permute(0, 3, 1, 2) if getattr(trunk, "output_fmt", None) == "NHWC" else x


def _complete(x: Tensor, side: int) -> Tensor:
    """A map (B, C, H, W) with its outermost values repeated around it, as far as it is smaller than `side`."""
    for axis in (2, 3):
        missing = side - x.shape[axis]
        if missing > 0:
            places = torch.arange(side, device=x.device) - missing // 2
            x = x.index_select(axis, places.clamp(0, x.shape[axis] - 1))
    return x


def find_map_channels(trunk: Any, maps: TrunkMaps, side: int) -> tuple[int, ...]:
    """Channels of a whole network's maps, as it hands them out beside what its head is given.

    Raises:
        UsageError: it cannot do both.
    """
    with torch.device("meta"), torch.no_grad():
        shadow = copy.deepcopy(trunk).to("meta").eval()
        try:
            _, made = shadow.forward_intermediates(torch.zeros(1, 3, side, side), list(maps.indices))
            made = [to_channels_first(trunk, x) for x in made]
            return tuple(x.shape[1] for x in made)
        except Exception as error:  # there is no end of the kinds that timm's networks raise
            raise UsageError(
                f"{type(trunk).__name__} does not hand out its maps beside its head",
                "take another trunk, or --preset small",
            ) from error


def find_below(name: str, side: int, create: Callable[..., Any], stride: int) -> set[str]:
    """The names of the parameters that make the trunk's last map of `stride`; UsageError where it has none.

    They are those that a gradient of that map reaches, found without computing anything.
    """
    maps = find_maps(name, side, create)
    if stride not in maps.strides:
        others = ", ".join(map(str, dict.fromkeys(maps.strides)))
        raise UsageError(f"the trunk has no map of stride {stride}", f"its strides: {others}; 0 freezes none of it")
    index = len(maps.strides) - 1 - maps.strides[::-1].index(stride)
    with torch.enable_grad(), torch.device("meta"):
        trunk = create(name, False, None, **maps.options((index,))).eval()
        trunk(torch.zeros(1, 3, side, side))[0].sum().backward()
    return {name for name, parameter in trunk.named_parameters() if parameter.grad is not None}


def find_whole_names(
    trunk: nn.Module, whole: dict[str, Tensor], make: Callable[[dict[str, Tensor]], nn.Module]
) -> dict[str, str]:
    """Name of each tensor of `trunk` -> its name in timm's whole model, which files of weights have.

    timm flattens, cuts and prefixes the names of a model that hands out maps. So it is asked: it loads a whole state
    whose every tensor holds its own number, and the trunk is read.

    What timm cuts a part of (the weights of layers that are no longer there) is left out: no map needs it.

    Args:
        whole: the whole model's state, of which only shapes and types are used.
        make: the trunk with such a state loaded by timm itself.
    """
    own = trunk.state_dict()
    if all(name in whole and whole[name].shape == tensor.shape for name, tensor in own.items()):
        return {name: name for name in own}
    names = list(whole)
    numbered = {
        name: torch.full(whole[name].shape, number, dtype=whole[name].dtype) for number, name in enumerate(names)
    }
    found = {}
    for name, tensor in make(numbered).state_dict().items():
        number = int(tensor.flatten()[0])
        if not 0 <= number < len(names) or not bool((tensor == number).all()):
            raise ValueError(f"no tensor of the whole model is {name}")
        if whole[names[number]].shape == tensor.shape:
            found[name] = names[number]
    return found
