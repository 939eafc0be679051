"""The preset `released` against numbers computed with the authors' published code."""

from __future__ import annotations

import ast
import copy
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from helpers.checkpoints import rename
from helpers.golden import load_golden, make_parameter
from helpers.released import assert_near, compute_released_losses, encode_golden_images
from zsecli.model import checkpoint
from zsecli.model.network import ZSENetwork
from zsecli.model.released import NAMES, UNUSED
from zsecli.model.weights import read_pickle

pytestmark = [
    pytest.mark.network,
    pytest.mark.xdist_group("released"),  # the network is built once, by one worker
]


@pytest.fixture(scope="module")
def golden() -> Any:
    return load_golden()


@pytest.fixture(scope="module")
def seed(golden: Any) -> int:
    return int(golden["seed"])


@pytest.fixture(scope="module")
def published(golden: Any, seed: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint as the authors' script writes it: a dict with `model`, and two means that numpy made."""
    state = {
        str(key): torch.from_numpy(make_parameter(str(key), ast.literal_eval(str(shape)), seed))
        for key, shape in zip(golden["keys"], golden["shapes"], strict=True)
    }
    path = tmp_path_factory.mktemp("released") / "best_checkpoint.pth"
    means = {"map_all": np.float64(0.5), "precision_100": np.nanmean([0.6, np.nan])}
    torch.save({"model": state, "epoch": 3, **means}, path)
    return path


@pytest.fixture(scope="module")
def network(published: Path) -> ZSENetwork:
    """Not to be changed."""
    return checkpoint.load(published)[0]


def test_names_cover_the_published_state(golden: Any, published: Path) -> None:
    assert {str(key) for key in golden["keys"]} == NAMES.keys() | UNUSED
    without_gradient = {
        str(k) for k, norm in zip(golden["grad_keys"], golden["grad_norm"], strict=True) if np.isnan(norm)
    }
    assert without_gradient == UNUSED
    assert checkpoint.load(published)[1] == sorted(UNUSED)


@torch.inference_mode()
def test_forward_agrees_with_the_authors(network: ZSENetwork, seed: int, golden: Any) -> None:
    sketch, photo = encode_golden_images(network, seed)
    for encoding, name in ((sketch, "sk"), (photo, "im")):
        assert_near(encoding.tokens[:, [0, 1, 50, 196], :32], golden[f"{name}_sa_slice"], 1e-4)
        assert_near(encoding.tokens.norm(dim=-1), golden[f"{name}_sa_norm"], 1e-4)
    assert_near(torch.cdist(F.normalize(sketch.ret), F.normalize(photo.ret)), golden["ret_distance"], 1e-5)
    s, p = network.prepare(sketch.tokens, sketch.index, "sketch"), network.prepare(photo.tokens, photo.index, "photo")
    for row in range(4):
        score = network.score_prepared(s.take(torch.full((4,), row)), p)
        assert_near(score.relation, golden["rn_scores"][row], 1e-5)
        assert_near(score.ret_sketch[:, :32], golden["pair_ret_sketch"][row], 1e-4)
        assert_near(score.ret_photo[:, :32], golden["pair_ret_photo"][row], 1e-4)
        if row == 0:
            assert_near(score.kernel[0], golden["kernel_pair_0_0"], 1e-4)


def test_training_steps_agree_with_the_authors(network: ZSENetwork, seed: int, golden: Any) -> None:
    """The losses of the first step, its gradients, and the losses behind it (dropout off)."""
    network = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-5, weight_decay=1e-2)
    norms = dict(zip(map(str, golden["grad_keys"]), golden["grad_norm"], strict=True))
    parameters = dict(network.named_parameters())
    for expected, tolerance in zip(golden["train_losses"], (1e-4, 1e-2), strict=False):
        is_first = tolerance == 1e-4
        with torch.set_grad_enabled(is_first):
            triplet, relation = compute_released_losses(network, seed)
        ours = [x.item() for x in (triplet, relation, triplet + relation)]
        np.testing.assert_allclose(ours, expected, rtol=tolerance)
        if is_first:
            (triplet + relation).backward()
            ours = [parameters[NAMES[key]].grad.norm().item() for key in NAMES]  # type: ignore[union-attr]
            # a bias of the keys moves no softmax: its gradient is rounding alone, hence the absolute part
            np.testing.assert_allclose(ours, [norms[key] for key in NAMES], rtol=1e-3, atol=1e-6)
            optimizer.step()


@pytest.mark.parametrize("change", ["missing", "extra", "parallel", "no model", "shape", "safetensors"])
def test_states_that_are_not_the_release_are_refused(published: Path, tmp_path: Path, change: str) -> None:
    """A state that is not the release's is refused by the name of its key; however it is wrapped, it loads."""
    state = read_pickle(published)["model"]
    if change == "missing":
        del state["rn.rn.6.bias"]
    elif change == "extra":
        state["rn.rn.9.bias"] = torch.zeros(1)
    elif change == "parallel":
        state = {f"module.{key}": value for key, value in state.items()}
    elif change == "shape":
        state["conv2d.bias"] = torch.zeros(3)
    path = tmp_path / "other.pth"
    if change == "safetensors":
        save_file(state, path)
    else:
        torch.save(state if change == "no model" else {"model": state}, path)
    if change in ("parallel", "no model", "safetensors"):
        assert checkpoint.load(path)[1] == sorted(UNUSED)
        return
    named = {"missing": "missing rn.rn.6.bias", "extra": "too many rn.rn.9.bias"}
    with pytest.raises(checkpoint.StoreError, match=named.get(change, "relation.pool.bias has shape")):
        checkpoint.load(path)


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_the_means_of_either_numpy(published: Path, network: ZSENetwork, tmp_path: Path, core: str) -> None:
    path = Path(shutil.copy(published, tmp_path / "best_checkpoint.pth"))
    rename(path, core)
    loaded = checkpoint.load(path)[0].state_dict()
    for name, tensor in network.state_dict().items():
        assert torch.equal(loaded[name], tensor)
    assert "those that were written (CRC-32)" in checkpoint.verify(path)
