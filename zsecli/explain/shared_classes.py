"""Which classes of the backbone's training make a sketch and a photo alike, where class probabilities are compared."""

from __future__ import annotations

from typing import NamedTuple

import torch

from zsecli.explain.pair import Pair
from zsecli.model.class_names import name_of_class

MOST = 3
LEAST = 0.02  # probability, in both pictures, below which a class says little to a reader


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
def shared_classes(pair: Pair) -> list[SharedClass]:
    """The classes that add most to the cosine of the two [Ret], best first; none where no classes are compared."""
    if pair.retrieval is None:
        return []
    sketch, photo = pair.retrieval
    classes = sketch.logits.shape[1]
    terms = (sketch.vector[0, -classes:] * photo.vector[0, -classes:]).float().cpu()
    temperature = pair.network.config.retrieval.temperature
    of_sketch, of_photo = ((x.logits[0].float() / temperature).softmax(-1).cpu() for x in (sketch, photo))
    found = []
    for number in terms.topk(MOST).indices.tolist():
        probabilities = float(of_sketch[number]), float(of_photo[number])
        if terms[number] > 0 and min(probabilities) >= LEAST:
            found.append(SharedClass(name_of_class(number, classes), *probabilities, float(terms[number])))
    return found


def describe_shared(classes: list[SharedClass]) -> str:
    """`Both look like umbrella (.41 and .22), parachute (.10 and .05)`; empty where there is none."""
    if not classes:
        return ""
    parts = [f"{one.name} ({one.sketch:.2f} and {one.photo:.2f})" for one in classes]
    return f"Both look like {', '.join(parts)}"
