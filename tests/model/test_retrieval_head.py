"""The vector that a network with its backbone's head retrieves by, and the score that is a sum over matches."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw
from torch.nn import functional as F

from helpers.tiny import HEADED, HEADED_VIT, TINY, build
from zsecli.errors import StoreError, UsageError
from zsecli.images.strokes import find_stroke_patches
from zsecli.model import checkpoint
from zsecli.model.config import RelationConfig, from_json
from zsecli.model.matches import MatchReadout
from zsecli.model.modality_mean import ModalityMean, frozen_means
from zsecli.model.network import ZSENetwork
from zsecli.model.selection import find_strokes


def drawings(count: int = 2, side: int = 64) -> torch.Tensor:
    """Normalised sketches (B, 3, S, S) with strokes in some of their patches."""
    pictures = []
    for number in range(count):
        image = Image.new("RGB", (side, side), "white")
        ImageDraw.Draw(image).line([(5, 6 + 9 * number), (40, 9 + 9 * number)], "black", 3)
        pictures.append(np.asarray(image))
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def photos(count: int = 2, side: int = 64) -> torch.Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("model", [HEADED, HEADED_VIT], ids=["hybrid", "vit"])
def test_the_vector_holds_feature_and_classes(model: object) -> None:
    """Its cosine is the mean of both cosines, each less its modality's mean; what the blocks add begins at 0."""
    network = build(model)  # type: ignore[arg-type]
    head = network.backbone.retrieval_head
    assert head is not None
    for mean in (head.feature_mean, head.class_mean):
        torch.nn.init.normal_(mean.sketch)
        torch.nn.init.normal_(mean.photo)
    with torch.no_grad():
        sketch, photo = network.encode(drawings(), "sketch"), network.encode(photos(), "photo")
    assert sketch.retrieval is not None and photo.retrieval is not None
    torch.testing.assert_close(sketch.ret.norm(dim=1), torch.ones(2))
    parts = []
    for encoding, modality in ((sketch, "sketch"), (photo, "photo")):
        logits = encoding.retrieval.logits
        roots = (logits / 2).softmax(1).sqrt() - getattr(head.class_mean, modality)
        feature = encoding.retrieval.feature
        torch.testing.assert_close(
            network.backbone.classifier(feature + getattr(head.feature_mean, modality)), logits, rtol=1e-4, atol=1e-4
        )
        parts.append((feature, roots))
    (feature, roots), (other_feature, other_roots) = parts
    expected = (F.cosine_similarity(feature, other_feature) + F.cosine_similarity(roots, other_roots)) / 2
    torch.testing.assert_close((sketch.ret * photo.ret).sum(1), expected, rtol=1e-4, atol=1e-5)


def test_means_follow_the_modality_in_training_alone() -> None:
    mean = ModalityMean(2)
    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    torch.testing.assert_close(mean(x, True).mean(0), torch.zeros(2))  # the first batch is the mean
    assert mean.photo.tolist() == [0, 0]
    mean(x + 1, True)
    torch.testing.assert_close(mean.sketch, torch.tensor([2.5, 3.5]))
    with frozen_means(mean):
        mean(x + 100, True)
    mean.eval()(x + 100, True)
    torch.testing.assert_close(mean.sketch, torch.tensor([2.5, 3.5]))


def score_of(network: ZSENetwork) -> object:
    with torch.no_grad():
        return network.score(network.encode(drawings(), "sketch"), network.encode(photos(), "photo"))


def test_the_score_is_the_sum_of_its_matches() -> None:
    """Every pair of places adds its share; blank patches add nothing, and the weights of the others add up to 1."""
    network = build(HEADED)
    matches = network.relation.matches
    assert matches is not None
    torch.nn.init.normal_(matches.weight.weight)
    with torch.no_grad():
        sketch, photo = network.encode(drawings(), "sketch"), network.encode(photos(), "photo")
        score = network.score(sketch, photo)
        cosine = F.cosine_similarity(sketch.ret, photo.ret)
    assert score.shares is not None
    total = score.shares.sum((1, 2)) + matches.ret_scale * cosine + matches.bias
    torch.testing.assert_close(score.logit, total, rtol=1e-5, atol=1e-5)
    drawn = find_strokes(drawings(), network.backbone.grid)
    assert torch.equal(score.shares.abs().sum(2) > 0, drawn)


def test_matches_are_where_the_thing_is_found() -> None:
    """Of a sketch whose patches are all in the photo, smaller and shifted, the fit finds scale and shift."""
    matches = MatchReadout(8, (8, 8))
    generator = torch.Generator().manual_seed(0)
    codes = F.normalize(torch.randn(64, 64, generator=generator), dim=1)
    sketch = codes.reshape(8, 8, 64)
    photo = F.normalize(torch.randn(8, 8, 64, generator=generator), dim=2)
    photo[3:7, 2:6] = sketch[1::2, 1::2]  # every second patch: half the size
    kernel = (sketch.reshape(64, 64) @ photo.reshape(64, 64).T)[None]
    kept = torch.zeros(8, 8, dtype=torch.bool)
    kept[1::2, 1::2] = True
    with torch.no_grad():
        shares = matches.shares(kernel, torch.zeros(1, 64, 8), kept.reshape(1, 64), None)[0]
    best = shares.argmax(1).reshape(8, 8)
    assert (shares.sum(1) > 0).reshape(8, 8).equal(kept)
    for row in range(4):
        for column in range(4):
            assert divmod(int(best[1 + 2 * row, 1 + 2 * column]), 8) == (3 + row, 2 + column)
    assert float(shares.sum()) == pytest.approx(20, rel=0.05)  # all weights on cosines of 1


def test_strokes_are_those_of_the_pictures() -> None:
    """The network finds the same patches as the explanations do in pixels."""
    pictures = drawings(5)
    for picture, found in zip(pictures, find_strokes(pictures, (4, 4)), strict=True):
        pixels = ((picture + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        assert found.tolist() == find_stroke_patches(pixels, (4, 4)).tolist()
    assert find_strokes(torch.ones(1, 3, 64, 64), (4, 4)).all()  # a blank sheet: every patch


def test_a_checkpoint_keeps_all_of_it(tmp_path: Path) -> None:
    network = build(HEADED)
    loaded, unused = checkpoint.load(checkpoint.save(network, tmp_path / "net.safetensors"))
    assert loaded.config == HEADED and not unused
    torch.testing.assert_close(score_of(loaded).logit, score_of(network).logit)  # type: ignore[attr-defined]
    scoring = checkpoint.load_scoring(tmp_path / "net.safetensors")
    with torch.no_grad():
        sketch, photo = network.encode(drawings(), "sketch"), network.encode(photos(), "photo")
        prepared = (
            scoring.prepare(sketch.tokens, sketch.index, "sketch", sketch.ret),
            scoring.prepare(photo.tokens, photo.index, "photo", photo.ret),
        )
        torch.testing.assert_close(scoring.score_prepared(*prepared).logit, network.score(sketch, photo).logit)


def test_what_is_newer_is_written_only_where_it_is_used() -> None:
    """Configurations, and so run keys, of networks without it are as they were."""
    assert "retrieval" not in TINY.to_json() and "readout" not in TINY.to_json() and "blank" not in TINY.to_json()
    assert from_json(HEADED.to_json(), "x") == HEADED and from_json(TINY.to_json(), "x") == TINY


def test_matches_are_of_places() -> None:
    wrong = replace(HEADED, relation=RelationConfig(cell=2, readout="matches"))
    with pytest.raises(StoreError, match="cells of one place"):
        from_json(wrong.to_json(), "x")


def test_a_backbone_without_classes_has_no_head() -> None:
    dino = replace(HEADED, backbone=replace(HEADED.backbone, kind="vit", name="vit_small_patch14_dinov2"))
    with torch.device("meta"), pytest.raises(UsageError, match=r"classifier|classifies"):
        ZSENetwork(replace(dino, backbone=replace(dino.backbone, image_size=56)))
