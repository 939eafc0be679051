"""How a network is trained, as plain data: it travels inside the checkpoint. Nothing here imports torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class TrainConfig:
    """A whole training run; the defaults are the authors' (see docs/training.md).

    Loss of a step: `ret_weight` * loss on [Ret] + `match_weight` * mean squared error of the relation score from
    `high` for matching pairs and `low` for others + `outline_weight` * cross entropy of where strokes are found.

    ret_loss: "triplet" with `margin` (L2, on [Ret] after cross-attention), or "contrastive" over the batch
        with `temperature` (cosine, on [Ret] before cross-attention, as retrieval uses it).
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
    ret_loss: Literal["triplet", "contrastive"] = "triplet"
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
