"""Sketches and photos drawn each by itself, and what is done to them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from zsecli.data.items import PHOTO, SKETCH, Column, Items
from zsecli.errors import ZseError
from zsecli.model.class_names import match_names
from zsecli.train.config import TrainConfig
from zsecli.train.freehand import find_object, paste_object, roughen_sketch
from zsecli.train.losses import class_name_loss, distillation_loss, ranking_loss
from zsecli.train.picture_sampler import PictureSampler

CONFIG = TrainConfig(batch_size=40, draws="pictures", photos=20, family_weights=(("rare", 5.0), ("never", 0.0)))


def table() -> Items:
    """60 sketches of classes a to c in two families, 30 photos of a and b."""
    modality = np.array([SKETCH] * 60 + [PHOTO] * 30, np.uint8)
    labels = [*"abc" * 20, *"ab" * 15]
    families = ["rare" if i % 10 == 0 else "never" if i % 10 == 1 else "common" for i in range(90)]
    return Items(
        id=[f"{i}.png" for i in range(90)],
        modality=modality,
        part=np.zeros(90, np.uint8),
        sha256=np.zeros((90, 32), np.uint8),
        label=Column.from_values(labels),
        instance=Column.from_values([""] * 90),
        family=Column.from_values(families),
    )


def test_draws_follow_the_weights_of_families() -> None:
    items = table()
    sampler = PictureSampler(items, CONFIG)
    draws = [sampler.draw(step) for step in range(50)]
    again = PictureSampler(items, CONFIG).draw(3)
    assert (again.sketch == draws[3].sketch).all() and (again.photo == draws[3].photo).all()
    sketches, photos = np.concatenate([d.sketch for d in draws]), np.concatenate([d.photo for d in draws])
    assert len(draws[0].sketch) == 40 and len(draws[0].photo) == 20
    assert (items.modality[sketches] == SKETCH).all() and (items.modality[photos] == PHOTO).all()
    names = np.array(items.family.names)[items.family.codes[sketches]]
    assert "never" not in names
    assert (names == "rare").mean() == pytest.approx(5 * 6 / (5 * 6 + 48), abs=0.05)
    positive, eligible = sampler.label_pairs(draws[0].sketch, draws[0].photo, draws[0].instance)
    same = items.label.codes[draws[0].sketch][:, None] == items.label.codes[draws[0].photo]
    assert (positive == same).all() and eligible.all()


def test_no_sketch_with_a_class() -> None:
    with pytest.raises(ZseError, match="no sketches of a class"):
        PictureSampler(table().take(np.arange(60, 90)), CONFIG)


def test_a_thing_on_white_is_put_into_another_photo() -> None:
    image = Image.new("RGB", (40, 40), "white")
    ImageDraw.Draw(image).ellipse([10, 10, 30, 30], "red")
    ImageDraw.Draw(image).ellipse([17, 17, 23, 23], "white")  # a hole, which no side sees
    thing = find_object(np.asarray(image))
    assert thing is not None and thing[20, 20] and thing[20, 12] and not thing[0, 0] and not thing[5, 20]
    made = paste_object(np.asarray(image), thing, np.full((40, 40, 3), 7, np.uint8))
    assert made[0, 0].tolist() == [7, 7, 7] and made[20, 12].tolist() == [255, 0, 0]
    assert find_object(np.full((40, 40, 3), 100, np.uint8)) is None
    assert find_object(np.full((40, 40, 3), 255, np.uint8)) is None


def test_roughening_keeps_the_drawing() -> None:
    image = Image.new("L", (96, 96), 255)
    ImageDraw.Draw(image).rectangle([20, 20, 76, 76], outline=0, width=3)
    assert roughen_sketch(image, (255,), np.random.default_rng(0), 0.0) is image
    changed = []
    for seed in range(20):
        made = roughen_sketch(image, (255,), np.random.default_rng(seed), 1.0)
        twin = roughen_sketch(image, (255,), np.random.default_rng(seed), 1.0)
        assert made.size == image.size and made.tobytes() == twin.tobytes()
        changed.append(made.tobytes() != image.tobytes())
        dark = np.argwhere(np.asarray(made) < 128)
        near = np.minimum(np.abs(dark - 20), np.abs(dark - 76)).min(1)
        assert len(dark) > 100 and near.max() < 10  # sides: within a tenth of the picture of where they were
    assert sum(changed) > 10


def test_losses_of_prototype_training() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, generator=generator)
    known = torch.randn(3, 4, generator=generator).softmax(1)
    own = (logits / 2).softmax(1)
    expected = (known * (known.log() - own.log())).sum(1).mean()
    torch.testing.assert_close(distillation_loss(logits, known, 2.0), expected)
    named = torch.tensor([[1, 0, 1, 0], [0, 0, 0, 0], [0, 1, 0, 0]]).bool()
    share = logits.softmax(1)
    torch.testing.assert_close(
        class_name_loss(logits, named), -((share[0, 0] + share[0, 2]).log() + share[2, 1].log()) / 2
    )
    assert class_name_loss(logits, torch.zeros(3, 4, dtype=torch.bool)) == 0
    match = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 0, 0]]).bool()
    eligible = torch.ones(3, 4, dtype=torch.bool)
    eligible[0, 3] = False
    each = F.binary_cross_entropy_with_logits(logits, match.float(), reduction="none")[eligible].mean()
    first = -logits[0, :3].softmax(0)[0].log()
    third = -(logits[2].softmax(0)[:2].sum()).log()
    torch.testing.assert_close(ranking_loss(logits, match, eligible), each + (first + third) / 2)


def test_nouns_that_name_classes_of_imagenet() -> None:
    mask = match_names(["umbrella", "dog", "star", "grand_piano", "sea_slug_x"], 1000)
    assert mask[0].nonzero().flatten().tolist() == [879]
    assert mask[3].sum() == 1
    assert not mask[2].any() and not mask[4].any()  # a star of ImageNet is a starfish
    assert not match_names(["umbrella"], 10).any()
