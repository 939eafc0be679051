"""The ImageNet classes that make a sketch and a photo alike, where a network compares class probabilities."""

from __future__ import annotations

from typing import NamedTuple

import torch

from zsecli.explain.pair import Pair
from zsecli.model.class_names import name_of_class

MAX_CLASSES = 3
MIN_PROBABILITY = 0.02  # in both pictures; a class below it says little to a reader


class SharedClass(NamedTuple):
    """A class that both pictures look like."""

    name: str
    sketch: float
    """Its probability in the sketch."""
    photo: float
    """Its probability in the photo."""
    cosine: float
    """What it adds to the cosine of the two retrieval vectors."""


@torch.inference_mode()
def find_shared_classes(pair: Pair) -> list[SharedClass]:
    """The classes that add most to the cosine of the two [Ret], best first; none where no classes are compared."""
    if pair.retrieval is None:
        return []
    sketch, photo = pair.retrieval
    n_classes = sketch.logits.shape[1]
    cosine_terms = (sketch.vector[0, -n_classes:] * photo.vector[0, -n_classes:]).float().cpu()
    temperature = pair.network.config.retrieval.temperature
    sketch_probabilities = (sketch.logits[0].float() / temperature).softmax(-1).cpu()
    photo_probabilities = (photo.logits[0].float() / temperature).softmax(-1).cpu()
    classes = []
    for number in cosine_terms.topk(MAX_CLASSES).indices.tolist():
        shared = SharedClass(
            name=name_of_class(number, n_classes),
            sketch=float(sketch_probabilities[number]),
            photo=float(photo_probabilities[number]),
            cosine=float(cosine_terms[number]),
        )
        if shared.cosine > 0 and min(shared.sketch, shared.photo) >= MIN_PROBABILITY:
            classes.append(shared)
    return classes


def describe_shared_classes(classes: list[SharedClass]) -> str:
    """`Both look like umbrella (.41 and .22), parachute (.10 and .05)`; empty where there is none."""
    if not classes:
        return ""
    names = [f"{shared.name} ({shared.sketch:.2f} and {shared.photo:.2f})" for shared in classes]
    return f"Both look like {', '.join(names)}"
