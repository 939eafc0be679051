"""The losses of training beside plain loops, the authors' numbers and numerical gradients."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from helpers.golden import load_golden
from helpers.released import compute_released_losses
from helpers.tiny import TINY, build
from zsecli.model.backbone import Encoding
from zsecli.model.scoring import Score
from zsecli.train.batches import Batch
from zsecli.train.config import TrainConfig
from zsecli.train.losses import contrastive_loss, hardest_negatives, relation_loss, triplet_loss
from zsecli.train.step import compute_losses, encode_pictures

pytestmark = pytest.mark.fast

B, C, D = 5, 7, 4


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def pairs() -> tuple[Tensor, Tensor]:
    """positive, eligible: row 4 and columns 5 and 6 have no positive, column 6 no eligible pair, all else varies."""
    positive = torch.zeros(B, C, dtype=torch.bool)
    for row, column in ((0, 0), (0, 1), (1, 0), (2, 2), (2, 3), (2, 4), (3, 3)):
        positive[row, column] = True
    eligible = torch.ones(B, C, dtype=torch.bool)
    for row, column in ((0, 0), (0, 2), (1, 3), (2, 2), (3, 0), (4, 4)):  # two of them positive
        eligible[row, column] = False
    eligible[:, 6] = False
    return positive, eligible


def by_hand(sketch: Tensor, photo: Tensor, positive: Tensor, eligible: Tensor, temperature: float) -> float:
    """L_out in both directions, one pair after the other."""
    s, p = ([[x / math.hypot(*v) for x in v] for v in m.tolist()] for m in (sketch, photo))
    logit = [[sum(x * y for x, y in zip(a, b, strict=True)) / temperature for b in p] for a in s]
    table = [[(logit[i][j], positive[i, j], eligible[i, j]) for j in range(len(p))] for i in range(len(s))]
    directions = []
    for lines in (table, list(zip(*table, strict=True))):
        losses = []
        for line in lines:
            total = sum(math.exp(value) for value, match, known in line if match or known)
            terms = [-math.log(math.exp(value) / total) for value, match, _ in line if match]
            if terms:
                losses.append(sum(terms) / len(terms))
        directions.append(sum(losses) / len(losses))
    return sum(directions) / 2


@pytest.mark.parametrize("margin", [0.3, 5.0])
def test_triplet_loss_by_hand(margin: float) -> None:
    a, p, n = (normal(B, D, seed=seed) for seed in range(3))
    terms = [
        max(0.0, math.dist(x, y) - math.dist(x, z) + margin)
        for x, y, z in zip(a.tolist(), p.tolist(), n.tolist(), strict=True)
    ]
    assert triplet_loss(a, p, n, margin).item() == pytest.approx(sum(terms) / B, rel=1e-5)
    assert torch.autograd.gradcheck(lambda *x: triplet_loss(*x, margin), (a, p, n))


def test_triplet_of_nothing() -> None:
    rows = [normal(3, D, seed=seed) for seed in range(3)]
    loss = triplet_loss(*(x[:0] for x in rows), 1.0)
    loss.backward()
    assert loss.item() == 0
    assert all((x.grad == 0).all() for x in rows if x.grad is not None)


def test_matching_loss_by_hand() -> None:
    score = torch.tensor([0.2, 0.7, 0.99, 0.5], dtype=torch.float64, requires_grad=True)
    match = torch.tensor([True, False, True, False])
    expected = ((0.2 - 0.99) ** 2 + (0.7 - 0.01) ** 2 + 0 + (0.5 - 0.01) ** 2) / 4
    assert relation_loss(score, match).item() == pytest.approx(expected)
    expected = ((0.2 - 0.8) ** 2 + (0.7 - 0.1) ** 2 + (0.99 - 0.8) ** 2 + (0.5 - 0.1) ** 2) / 4
    assert relation_loss(score, match, high=0.8, low=0.1).item() == pytest.approx(expected)
    assert torch.autograd.gradcheck(lambda x: relation_loss(x, match), score)


def test_the_loss_of_the_released_network() -> None:
    """What model/test_released.py holds against the authors' three steps is what these functions give."""
    rng = torch.Generator().manual_seed(0)
    score = Score(*(torch.randn(*shape, generator=rng) for shape in ((4,), (4, 1, 1), (4, 1, D), (4, 1, D))))
    network: Any = SimpleNamespace(encode=lambda *_: None, score=lambda *_: score)
    ret, relation = compute_released_losses(network, seed=0)
    photos = score.ret_photo
    torch.testing.assert_close(2 * triplet_loss(score.ret_sketch[:2], photos[:2], photos[2:], 1.0), ret)
    torch.testing.assert_close(4 * relation_loss(score.relation, torch.arange(4) < 2), relation)


def test_relation_loss_of_the_authors() -> None:
    golden = load_golden()
    score = torch.from_numpy(golden["rn_scores"]).diagonal()
    loss = 4 * relation_loss(score, torch.arange(4) < 2).item()
    assert loss == pytest.approx(golden["train_losses"][0, 1], rel=1e-5)


@pytest.mark.parametrize("temperature", [0.07, 1.0])
def test_contrastive_loss_agrees_with_a_loop(temperature: float) -> None:
    sketch, photo = normal(B, D), normal(C, D, seed=1)
    masks = pairs()
    loss = contrastive_loss(sketch, photo, *masks, temperature)
    assert loss.item() == pytest.approx(by_hand(sketch, photo, *masks, temperature))
    # either modality may come first, and lengths do not matter
    turned = contrastive_loss(photo, 3 * sketch, *(m.T for m in masks), temperature)
    assert turned.item() == pytest.approx(loss.item())
    assert torch.autograd.gradcheck(lambda s, p: contrastive_loss(s, p, *masks, temperature), (sketch, photo))


def test_ignored_pairs_get_no_gradient() -> None:
    positive, eligible = pairs()
    sketch, photo = normal(B, D), normal(C, D, seed=1)
    contrastive_loss(sketch, photo, positive, eligible, 0.1).backward()
    assert photo.grad is not None
    moved = photo.grad.abs().sum(1) > 0
    # column 5 is a negative of every row, column 6 of none
    assert moved.tolist() == [True] * 6 + [False]
    # of a sketch that shares a pair with one photo alone, the others get nothing
    single = torch.zeros(1, C, dtype=torch.bool)
    single[0, 2] = True
    eligible = single.clone()
    eligible[0, 4] = True
    photo.grad = None
    contrastive_loss(sketch[:1], photo, single, eligible, 0.1).backward()
    assert (photo.grad.abs().sum(1) > 0).nonzero().flatten().tolist() == [2, 4]


@pytest.mark.parametrize("known", [False, True])
def test_no_positive_at_all(known: bool) -> None:
    sketch, photo = normal(B, D), normal(C, D, seed=1)
    loss = contrastive_loss(sketch, photo, torch.zeros(B, C, dtype=torch.bool), torch.full((B, C), known), 0.07)
    loss.backward()
    assert loss.item() == 0
    for x in (sketch, photo):
        assert x.grad is not None and (x.grad == 0).all()


@pytest.mark.parametrize("case", ["same pictures", "zero vectors", "cold", "positives alone"])
def test_gradients_are_finite(case: str) -> None:
    positive, eligible = pairs()
    sketch, photo = (normal(n, D, seed=n).detach().float() for n in (B, C))
    if case == "same pictures":
        sketch[:], photo[:] = sketch[0], sketch[0]
    elif case == "zero vectors":
        sketch[0], photo[3] = 0, 0
    elif case == "positives alone":
        eligible[:] = False
    sketch.requires_grad_()
    photo.requires_grad_()
    loss = contrastive_loss(sketch, photo, positive, eligible, 1e-4 if case == "cold" else 0.07)
    loss.backward()
    assert loss.isfinite() and loss > 0
    for x in (sketch, photo):
        assert x.grad is not None and x.grad.isfinite().all()


def test_low_precision_keeps_the_losses_exact() -> None:
    sketch, photo, far = (normal(B, D, seed=seed).detach().float() for seed in range(3))
    positive, eligible = (m[:, :B] for m in pairs())
    expected = by_hand(sketch, photo, positive, eligible, 0.01)
    with torch.autocast("cpu", torch.bfloat16):
        assert contrastive_loss(sketch, photo, positive, eligible, 0.01).item() == pytest.approx(expected, rel=1e-5)
    low = [x.bfloat16() for x in (sketch, photo, far)]
    assert triplet_loss(*low, 1.0) == triplet_loss(*(x.float() for x in low), 1.0)
    score = sketch[0].sigmoid().bfloat16()
    assert relation_loss(score, score > 0.5) == relation_loss(score.float(), score > 0.5)


def test_hardest_negatives_are_chosen() -> None:
    similarity, allowed = normal(B, C).detach(), pairs()[1]
    allowed[3] = False
    expected = []
    for row in range(B):
        best = -1
        for column in range(C):
            if allowed[row, column] and (best < 0 or similarity[row, column] > similarity[row, best]):
                best = column
        expected.append(best)
    negative = hardest_negatives(similarity, allowed)
    assert negative.dtype == torch.int64
    assert negative.tolist() == expected
    assert negative[3] == -1 and not torch.equal(negative, similarity.argmax(1))


@pytest.mark.parametrize("candidates", [2, 99])
def test_candidates_are_the_nearest_photos_matching_or_not(candidates: int) -> None:
    """The relation loss of a step beside a loop over its pairs."""
    network, many = build(TINY), 6
    picture = torch.randint(256, (2 * many, 64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    positive, eligible = torch.eye(many, dtype=torch.bool), torch.ones(many, many, dtype=torch.bool)
    positive[0, 1], eligible[2, 3:] = True, False
    config = TrainConfig(ret_loss="contrastive", candidates=candidates)
    batch = Batch(sketch=picture[:many], photo=picture[many:], positive=positive, eligible=eligible)
    with torch.no_grad():
        loss = compute_losses(network, batch, config).match
        sketch, photo = (
            encode_pictures(network, part, role, config)
            for part, role in ((picture[:many], "sketch"), (picture[many:], "photo"))  # type: ignore[arg-type]
        )
        similarity = torch.nn.functional.normalize(sketch.ret) @ torch.nn.functional.normalize(photo.ret).T
        expected = []
        for row in range(many):
            order = sorted((c for c in range(many) if eligible[row, c]), key=lambda c: -similarity[row, c].item())
            for column in order[:candidates]:
                pair = (sketch, row), (photo, column)
                one, other = (Encoding(x.tokens[[i]], x.index[[i]], x.attention) for x, i in pair)
                wanted = config.high if positive[row, column] else config.low
                expected.append((network.score(one, other).relation.item() - wanted) ** 2)
    assert len(expected) == (12 if candidates == 2 else 33)
    assert loss.item() == pytest.approx(np.mean(expected), rel=1e-4)
