"""Which classes of ImageNet a noun names."""

from __future__ import annotations

from collections.abc import Sequence

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
    names = imagenet_names()
    for row, noun in enumerate(nouns):
        noun = noun.replace("_", " ").lower()
        if noun in OTHER_THINGS:
            continue
        same = [k for k, known in enumerate(names) if noun in known or noun.replace(" ", "-") in known]
        kinds = [k for k, known in enumerate(names) if any(name.split()[-1] == noun for name in known)]
        mask[row, same or kinds] = True
    return mask


def imagenet_names() -> list[set[str]]:
    """The names of each class of ImageNet, in lower case."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    described = [str(info.index_to_description(k, detailed=False)) for k in range(IMAGENET)]
    return [{name.strip().lower() for name in text.split(",")} for text in described]
