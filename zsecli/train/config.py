"""How a network is trained, as plain data: it travels inside the checkpoint. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zsecli.model.config import OPTIONAL


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run; the defaults are the authors' (see docs/training.md).

    Loss of a step: `ret_weight` * loss on [Ret] + `match_weight` * mean squared error of the relation score from
    `high` for matching pairs and `low` for others + `outline_weight` * cross entropy of where strokes are found.

    ret_loss: "prototypes" (a vector a class, which sketches and photos of it share), "triplet" with `margin` (L2, on
        [Ret] after cross-attention), or "contrastive" over the batch with `temperature` (cosine, on [Ret] before
        cross-attention, as retrieval uses it).
    draws: "pairs" of a sketch and a photo that match, or "pictures": `batch_size` sketches, and `photos` photos by
        themselves, half of them of classes that are among the sketches'; so that classes without a photo are seen too.
    family_weights: how often a picture of a family is drawn, beside 1 for a picture of any other.
    distill_weight: of the divergence of the class probabilities of photos, and of their outlines, from those that the
        untouched backbone gives the photos.
    name_weight: of the loss on sketches of a noun that is the name of one of the backbone's classes, or of several.
    own_weight: of the loss by which outlines find their own photo in the batch.
    relation_loss: "squared" error of the score from `high` and `low`, or "ranking": cross entropy of the choice among
        the sketch's candidates, and of each pair by itself.
    average: the network that is validated and kept is the running mean of all steps', of which each counts this much
        less than the next; 0: the last step's.
    freehand: strength of what makes clean drawings free-hand: wobbling, interrupted and unfinished lines.
    paste: share of the photos of things on white that are put into another photo.
    instance_share: share of the draws that ask for the sketch's own photo among others of its class.
    class_draws: "uniform" draws every class as often; "sketches" as often as it has sketches, which a data set of a few
        large and many small classes wants.
    hard_negatives: the pairs that do not match are the batch's most similar ones, not drawn ones.
    candidates: the relation loss takes for each sketch this many photos of the batch, the most similar ones, whether
        they match or not, as a cascade meets them; 0: a matching pair and one that does not.
    outlines: photos of a step, over all processes, that are moved at random and asked where the strokes of their own
        outline are (see `zsecli.train.outlines`), at most one a draw; 0: none.
    ignore_same: a column in which a sketch and its positive photo must differ, as in `zse match`.
    batch_size: draws in one optimiser step over all processes, of `accumulate` parts after each other.
    lr, head_lr: learning rate of the backbone, and of everything that begins untrained.
    warmup: steps of linear increase; "cosine" then falls to 0 at the last step.
    clip: largest norm of the gradient; 0 does not clip.
    freeze_stride: a hybrid's trunk stays as it is up to its map of that stride, which trains only what is above it; 0:
        nothing of it does.
    freeze_blocks: the patch embedding (a hybrid's trunk) and that many blocks stay as they are; None: nothing does.
    keep_rate: share of tokens kept by each selection, from epoch `selection_after` on; 1 keeps all.
    augment: strength of the random changes of pictures, 0 for none, 1 as documented in `zsecli.train.augment`.
    epochs: each of `epoch_draws` draws, and with a validation behind it.
    patience: epochs without a better validation before the run ends; 0 never ends it.
    """

    seed: int = 2021
    epochs: int = 30
    epoch_draws: int = 10_000
    batch_size: int = 15
    accumulate: int = 1
    ret_loss: Literal["triplet", "contrastive", "prototypes"] = "triplet"
    ret_weight: float = 2.0
    margin: float = 1.0
    temperature: float = 0.07
    match_weight: float = 4.0
    high: float = 0.99
    low: float = 0.01
    instance_share: float = 0.0
    class_draws: Literal["uniform", "sketches"] = "uniform"
    hard_negatives: bool = False
    candidates: int = 0
    outlines: int = 0
    outline_weight: float = 1.0
    ignore_same: str | None = None
    augment: float = 0.0
    lr: float = 1e-5
    head_lr: float = 1e-5
    weight_decay: float = 1e-2
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: int = 0
    clip: float = 0.0
    precision: Literal["fp32", "bf16"] = "fp32"
    freeze_stride: int = 0
    freeze_blocks: int | None = None
    keep_rate: float = 1.0
    selection_after: int = 5
    patience: int = 0
    draws: Literal["pairs", "pictures"] = field(default="pairs", metadata=OPTIONAL)
    photos: int = field(default=0, metadata=OPTIONAL)
    family_weights: tuple[tuple[str, float], ...] = field(default=(), metadata=OPTIONAL)
    distill_weight: float = field(default=0.0, metadata=OPTIONAL)
    name_weight: float = field(default=0.0, metadata=OPTIONAL)
    own_weight: float = field(default=0.0, metadata=OPTIONAL)
    relation_loss: Literal["squared", "ranking"] = field(default="squared", metadata=OPTIONAL)
    average: float = field(default=0.0, metadata=OPTIONAL)
    freehand: float = field(default=0.0, metadata=OPTIONAL)
    paste: float = field(default=0.0, metadata=OPTIONAL)

    @property
    def outlined(self) -> int:
        """Outlines of a step, of which there is at most one a draw."""
        return min(self.outlines, self.batch_size)

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps of an epoch."""
        return -(-self.epoch_draws // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimiser steps of the whole run."""
        return self.epochs * self.epoch_steps


PRESETS = {
    "paper": TrainConfig(),
    "released": TrainConfig(),
    "freehand": TrainConfig(
        epochs=3,
        epoch_draws=4_800,
        batch_size=40,
        ret_loss="prototypes",
        ret_weight=1.0,
        match_weight=1.0,
        relation_loss="ranking",
        candidates=4,
        outlines=16,
        augment=1.0,
        lr=3e-4,
        head_lr=5e-4,
        weight_decay=1e-4,
        schedule="cosine",
        warmup=20,
        clip=10.0,
        freeze_stride=4,
        draws="pictures",
        photos=24,
        distill_weight=4.0,
        name_weight=1.0,
        own_weight=1.0,
        average=0.99,
        freehand=1.0,
        paste=0.4,
    ),
    "small": TrainConfig(
        epochs=5,
        epoch_draws=2_048,
        batch_size=64,
        ret_loss="contrastive",
        ret_weight=1.0,
        match_weight=4.0,
        instance_share=0.5,
        class_draws="sketches",
        hard_negatives=True,
        candidates=4,
        outlines=16,
        augment=1.0,
        lr=2e-4,
        head_lr=5e-4,
        weight_decay=0.05,
        schedule="cosine",
        warmup=20,
        clip=1.0,
        precision="bf16",
        freeze_stride=8,
    ),
}


def preset(name: str) -> TrainConfig:
    """The way of training that goes with a model's preset; the authors' for every other backbone."""
    return PRESETS.get(name, PRESETS["paper"])
