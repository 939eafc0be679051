"""The names of ImageNet's classes, and which of them a noun names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

IMAGENET = 1000  # classes of ILSVRC 2012, whose names timm knows
OTHER_THINGS = {"bank", "nail", "star", "pie", "hook", "table"}  # nouns whose namesake in ImageNet is another thing


def match_names(nouns: Sequence[str], classes: int) -> Tensor:
    """A mask (nouns, classes) bool: which classes are the noun by name, or else a kind of it (by their last word).

    Nothing where the classes are not the thousand of ImageNet.
    """
    mask = torch.zeros(len(nouns), classes, dtype=torch.bool)
    if classes != IMAGENET:
        return mask
    names = [{name.strip().lower() for name in text.split(",")} for text in imagenet_names()]
    for row, noun in enumerate(nouns):
        noun = noun.replace("_", " ").lower()
        if noun in OTHER_THINGS:
            continue
        same = [k for k, known in enumerate(names) if noun in known or noun.replace(" ", "-") in known]
        kinds = [k for k, known in enumerate(names) if any(name.split()[-1] == noun for name in known)]
        mask[row, same or kinds] = True
    return mask


def name_of_class(number: int, classes: int) -> str:
    """The first name of a class; its number where the classes are not those of ImageNet."""
    return imagenet_names()[number].split(",")[0] if classes == IMAGENET else f"class {number}"


@lru_cache
def imagenet_names() -> list[str]:
    """The names of each class of ImageNet, separated by commas."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [str(info.index_to_description(number, detailed=False)) for number in range(IMAGENET)]
