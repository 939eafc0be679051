"""The ImageNet classes that make a sketch and a photo alike, where a network compares class probabilities."""

from __future__ import annotations

from typing import NamedTuple

import torch

from zsecli.explain.pair import Pair
from zsecli.model.class_names import name_of_class
from zsecli.model.retrieval_head import Retrieval

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
    sketch_classes = sketch.vector[0, -n_classes:]
    photo_classes = photo.vector[0, -n_classes:]
    cosine_terms = (sketch_classes * photo_classes).float().cpu()
    temperature = pair.network.config.retrieval.temperature
    sketch_probabilities = _class_probabilities(sketch, temperature)
    photo_probabilities = _class_probabilities(photo, temperature)
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


def _class_probabilities(retrieval: Retrieval, temperature: float) -> torch.Tensor:
    logits = retrieval.logits[0].float()
    return (logits / temperature).softmax(-1).cpu()


def describe_shared_classes(classes: list[SharedClass]) -> str:
    """`Both look like umbrella (.41 and .22), parachute (.10 and .05)`; empty where there is none."""
    if not classes:
        return ""
    names = []
    for shared in classes:
        names.append(f"{shared.name} ({shared.sketch:.2f} and {shared.photo:.2f})")
    return f"Both look like {', '.join(names)}"
