"""Training options as plain data, which the checkpoint records. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from zsecli.model.config import OPTIONAL


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """A whole training run; the defaults are the authors' (see docs/training.md).

    The loss of a step is the sum of the loss on [Ret], the relation loss, the outline loss and, with prototypes, the
    losses of distillation and of own photos, each times its weight.
    """

    seed: int = 2021
    epochs: int = 30
    """Each of `epoch_draws` draws, with a validation at its end."""
    epoch_draws: int = 10_000
    batch_size: int = 15
    """Draws in one optimiser step, over all processes."""
    accumulate: int = 1
    """Chunks of a step, computed one after another to save memory."""
    ret_loss: Literal["triplet", "contrastive", "prototypes"] = "triplet"
    """triplet: L2 on [Ret] after cross-attention. contrastive: cosine over the batch, on [Ret] before cross-attention,
    as retrieval uses it. prototypes: one vector per class, shared by its sketches and photos."""
    ret_weight: float = 2.0
    margin: float = 1.0
    """Margin of the triplet loss."""
    temperature: float = 0.07
    """Temperature of the contrastive loss and of the outline loss."""
    match_weight: float = 4.0
    """Weight of the relation loss."""
    high: float = 0.99
    """Target relation score of matching pairs."""
    low: float = 0.01
    """Target relation score of other pairs."""
    instance_share: float = 0.0
    """Share of the draws whose positive is the sketch's own photo, and whose negatives are others of its class."""
    class_draws: Literal["uniform", "sketches"] = "uniform"
    """uniform: every class is drawn equally often. sketches: in proportion to its sketches, for data sets with a few
    large and many small classes."""
    hard_negatives: bool = False
    """Negatives are the most similar photos of the batch, not drawn ones."""
    candidates: int = 0
    """The relation loss takes this many of the batch's most similar photos for each sketch, matching or not, as a
    cascade does; 0: one matching pair and one that does not match."""
    outlines: int = 0
    """Photos per step, over all processes, that are warped and matched to their own outline, at most one a draw; see
    `zsecli.train.outlines`."""
    outline_weight: float = 1.0
    ignore_same: str | None = None
    """A column in which a sketch and its positive photo must differ, as in `zse match`."""
    augment: float = 0.0
    """Strength of random changes of pictures, see `zsecli.train.augment`; 0: none."""
    lr: float = 1e-5
    """Learning rate of the pretrained backbone."""
    head_lr: float = 1e-5
    """Learning rate of everything that begins untrained."""
    weight_decay: float = 1e-2
    schedule: Literal["constant", "cosine"] = "constant"
    """cosine: falls to 0 at the last step, after the warm-up."""
    warmup: int = 0
    """Steps in which the learning rate grows linearly."""
    clip: float = 0.0
    """Largest norm of the gradient; 0 disables clipping."""
    precision: Literal["fp32", "bf16"] = "fp32"
    freeze_stride: int = 0
    """Freeze the trunk of a hybrid up to its feature map of this stride; 0: freeze nothing of it."""
    freeze_blocks: int | None = None
    """Freeze the patch embedding (the trunk of a hybrid) and this many blocks; None: freeze nothing."""
    keep_rate: float = 1.0
    """Share of tokens kept by each selection; 1 keeps all."""
    selection_after: int = 5
    """Epochs without token selection at the beginning."""
    patience: int = 0
    """End the run after this many epochs without a better validation; 0: never."""
    draws: Literal["pairs", "pictures"] = field(default="pairs", metadata=OPTIONAL)
    """pairs: a sketch and a photo that match. pictures: `batch_size` sketches and `photos` photos by themselves, so
    that classes without photos are trained too; half of the photos show classes of the sketches."""
    photos: int = field(default=0, metadata=OPTIONAL)
    """Photos in one step, where pictures are drawn by themselves."""
    family_weights: tuple[tuple[str, float], ...] = field(default=(), metadata=OPTIONAL)
    """(family, weight): how often a picture of the family is drawn; 1 for all others."""
    distill_weight: float = field(default=0.0, metadata=OPTIONAL)
    """Weight of the divergence of class probabilities, of photos and their outlines, from those that the untouched
    backbone gives the photos."""
    name_weight: float = field(default=0.0, metadata=OPTIONAL)
    """Weight of the classification of sketches whose noun names classes of the backbone."""
    own_weight: float = field(default=0.0, metadata=OPTIONAL)
    """Weight of the loss by which outlines find their own photo in the batch."""
    relation_loss: Literal["squared", "ranking"] = field(default="squared", metadata=OPTIONAL)
    """squared: error of the relation score from `high` and `low`. ranking: cross entropy of the choice among the
    sketch's candidates, and of each pair by itself."""
    average: float = field(default=0.0, metadata=OPTIONAL)
    """Decay of the running mean of the weights, which is then validated and kept; 0: the last weights are."""
    freehand: float = field(default=0.0, metadata=OPTIONAL)
    """Strength of changes that make clean drawings look free-hand, see `zsecli.train.freehand`."""
    paste: float = field(default=0.0, metadata=OPTIONAL)
    """Share of the photos with one thing on white that are pasted into another photo."""

    @property
    def outline_count(self) -> int:
        """Outlines in one step: at most one a draw."""
        return min(self.outlines, self.batch_size)

    @property
    def epoch_steps(self) -> int:
        """Optimiser steps in one epoch."""
        return -(-self.epoch_draws // self.batch_size)

    @property
    def steps(self) -> int:
        """Optimiser steps in the whole run."""
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
    """Training defaults for a preset; other backbones use the authors' settings."""
    return PRESETS.get(name, PRESETS["paper"])
