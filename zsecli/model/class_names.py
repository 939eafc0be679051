"""The names of ImageNet's classes, and the classes that a noun names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

IMAGENET = 1000  # number of classes of ILSVRC 2012, whose names timm has
OTHER_THINGS = {"bank", "nail", "star", "pie", "hook", "table"}  # nouns that mean something else in ImageNet


def match_names(nouns: Sequence[str], classes: int) -> Tensor:
    """Mask (nouns, classes) bool of the classes that each noun names, or else of the kinds of it (by their last word).

    All False where the classes are not the thousand of ImageNet.
    """
    mask = torch.zeros(len(nouns), classes, dtype=torch.bool)
    if classes != IMAGENET:
        return mask
    names = [{name.strip().lower() for name in text.split(",")} for text in imagenet_names()]
    for row, noun in enumerate(nouns):
        noun = noun.replace("_", " ").lower()
        if noun in OTHER_THINGS:
            continue
        mask[row, _find_classes(noun, names)] = True
    return mask


def _find_classes(noun: str, names: Sequence[set[str]]) -> list[int]:
    """The classes with exactly this name; if there are none, those with a name that ends with the noun."""
    hyphenated = noun.replace(" ", "-")
    exact = [number for number, synonyms in enumerate(names) if noun in synonyms or hyphenated in synonyms]
    if exact:
        return exact
    return [number for number, synonyms in enumerate(names) if any(name.split()[-1] == noun for name in synonyms)]


def name_of_class(number: int, classes: int) -> str:
    """The first name of a class; its number where the classes are not those of ImageNet."""
    return imagenet_names()[number].split(",")[0] if classes == IMAGENET else f"class {number}"


@lru_cache
def imagenet_names() -> list[str]:
    """The names of each class of ImageNet, separated by commas."""
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo("imagenet-1k")
    return [str(info.index_to_description(number, detailed=False)) for number in range(IMAGENET)]
