"""Every stage of a network with its parameters on a GPU that is not there.

PyTorch's FakeTensorMode follows shapes, types and devices of tensors without computing: an operation on tensors of two
devices fails as it does on a GPU. What leaves the tensors (numpy, item, bool) is made up here, and must be on the CPU
where PyTorch asks for that.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.overrides import TorchFunctionMode

from helpers.demo import DEMO
from helpers.tiny import SELECTING, build
from zsecli.data.items import Column, Items
from zsecli.explain import correspondences, faithfulness
from zsecli.explain.pair import score_files
from zsecli.explain.synthesis import SynthesisOptions, synthesize
from zsecli.model.config import PRESETS, ModelConfig, Precision, SelectionConfig
from zsecli.model.embedders.base import NetworkEmbedder, dtype_of
from zsecli.model.embedders.timm_frozen import FrozenEmbedder
from zsecli.model.spec import ModelSpec
from zsecli.render import explanation_json
from zsecli.retrieval import relation_scores
from zsecli.retrieval.relation_scores import RelationScorer
from zsecli.train.batches import Batch
from zsecli.train.config import TrainConfig
from zsecli.train.config import preset as training
from zsecli.train.frozen_cache import FrozenPartEmbedder
from zsecli.train.loop import take_step
from zsecli.train.step import LOSS_NAMES
from zsecli.train.trainee import build_trainee
from zsecli.train.validate import HeldOutSet, validate_network
from zsecli.vocabulary import EXPLANATION_SOURCES

CUDA = torch.device("cuda", 0)
SKETCH = DEMO / "sketch/animal-bird/1F413__fluent-hc.png"
PHOTO, OTHER = (DEMO / f"photo/animal-bird/{name}__noto.webp" for name in ("1F413", "1F427"))
SIDE = 64


def reduced(name: str) -> ModelConfig:
    """A preset with a backbone of few and narrow layers, and pictures of 64 pixels."""
    config = PRESETS[name]
    if config.backbone.kind == "hybrid":
        backbone = replace(config.backbone, name="test_efficientnet", image_size=SIDE, width=32, heads=2)
    else:
        backbone = replace(config.backbone, name="test_vit", image_size=SIDE)
    heads = replace(config.cross_attention, heads=2, hidden=32)
    project = replace(config.relation, hidden=(16, 8), project=8 * bool(config.relation.project))
    preprocess = replace(config.preprocess, size=SIDE)
    return replace(config, backbone=backbone, cross_attention=heads, relation=project, preprocess=preprocess)


CONFIGS = {name: reduced(name) for name in ("small", "paper", "released")}
CONFIGS["small, selecting"] = replace(CONFIGS["small"], selection=SelectionConfig(rate=0.7, blocks=(1,)))
each_config = pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)


_SCALARS: dict[Any, Any] = {
    Tensor.item: lambda value: value,
    Tensor.__bool__: bool,
    Tensor.__float__: float,
    Tensor.__int__: int,
}


class MadeUp(TorchFunctionMode):
    """What a fake tensor holds, where it is asked: random numbers, the first index, true."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        tensor = args[0] if args else None
        if function is torch.autograd.grad:
            (given,), (asked,) = args
            assert asked in leaves(given)
            return (torch.zeros_like(asked),)
        if function is Tensor.backward:
            assert isinstance(tensor, Tensor)
            for leaf in leaves(tensor):
                leaf.grad = torch.zeros_like(leaf)
            return None
        if isinstance(tensor, FakeTensor):
            if function in (Tensor.numpy, Tensor.__array__):
                assert tensor.device.type == "cpu", "numpy of a tensor on a GPU"
                assert not tensor.requires_grad
                assert tensor.dtype != torch.bfloat16, "numpy has no bfloat16"
                return self.values(tensor)
            if function is Tensor.tolist:
                return self.values(tensor).tolist()
            if function in _SCALARS:
                return _SCALARS[function](self.values(tensor).item())
            if function is Tensor.__format__:
                return format(1.0, args[1])
            if function is Tensor.__getitem__ and getattr(args[1], "dtype", None) == torch.bool:
                assert args[1].device in (tensor.device, torch.device("cpu"))
                return tensor.clone()  # everything is true
        return function(*args, **(kwargs or {}))

    @staticmethod
    def values(tensor: Tensor) -> NDArray[Any]:
        kind = np.dtype(str(tensor.dtype).removeprefix("torch."))
        if kind.kind == "b":
            return np.ones(tensor.shape, bool)
        if kind.kind in "iu":
            last = tensor.shape[-1] if tensor.ndim else 1
            return np.resize(np.arange(last), tensor.shape).astype(kind)
        return np.random.default_rng(0).uniform(0.1, 0.9, tensor.shape).astype(kind)


def leaves(tensor: Any) -> set[Tensor]:
    """Where the gradient of a tensor comes to. PyTorch's own backward wants a real GPU to run on."""
    found, seen, due = set(), set(), [tensor.grad_fn]
    while due:
        node = due.pop()
        if node is not None and node not in seen:
            seen.add(node)
            due += [following for following, _ in node.next_functions]
            if hasattr(node, "variable"):
                found.add(node.variable)
    return found


def _apply(module: nn.Module, function: Any, recurse: bool = True) -> nn.Module:
    """What `Module.to` does, which cannot put fake parameters into the place of others."""
    for child in module.children():
        _apply(child, function)
    for name, parameter in module._parameters.items():
        if parameter is not None:
            module._parameters[name] = nn.Parameter(function(parameter.detach()), parameter.requires_grad)
    for name, buffer in module._buffers.items():
        if buffer is not None:
            module._buffers[name] = function(buffer)
    return module


@contextlib.contextmanager
def gpu() -> Iterator[None]:
    with FakeTensorMode(allow_non_fake_inputs=True), MadeUp(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.Module, "_apply", _apply)
        # else autocast, without a GPU, is off
        patch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
        patch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
        yield


def on_gpu(config: ModelConfig, precision: Precision = "fp32") -> NetworkEmbedder:
    network = build(config)
    network.cast(dtype_of(precision, CUDA))
    return NetworkEmbedder(network, CUDA, [])


def on_one_device(network: nn.Module) -> bool:
    return {tensor.device for tensor in network.state_dict().values()} == {CUDA}


def pictures(count: int, side: int = SIDE) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(256, size=(count, side, side, 3), dtype=np.uint8)


def test_a_tensor_on_another_device_is_noticed() -> None:
    """Else the other tests could not fail."""
    with gpu():
        on_both = torch.ones(3, 3, device=CUDA), torch.ones(3, 3)
        with pytest.raises(RuntimeError, match="device"):
            on_both[0] @ on_both[1]
        with pytest.raises(AssertionError, match="numpy of a tensor on a GPU"):
            on_both[0].numpy()
        assert on_both[1].numpy().shape == (3, 3)


@pytest.mark.parametrize(
    ("name", "precision"),
    [*((name, "fp32") for name in CONFIGS), ("small", "bf16"), ("small, selecting", "fp16")],
)
def test_encode_and_score(name: str, precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**36, 2**36))
    monkeypatch.setattr(
        relation_scores, "map_in_order", lambda function, things, count: map(function, things)
    )  # modes are a thread's
    with gpu():
        model = on_gpu(CONFIGS[name], precision)
        assert on_one_device(model.network)
        found = model.embed(pictures(3), "sketch")
        assert found.ret.shape == (3, model.width)
        assert found.tokens is not None
        tokens = np.zeros((3, model.tokens, model.width), np.float16)
        index = np.tile(np.arange(model.tokens - 1), (3, 1))
        store: Any = SimpleNamespace(
            width=model.width,
            token_width=model.token_width,
            file={"index"} if model.n_kept else set(),
            read=lambda name, rows: (tokens if name == "tokens" else index)[rows],
        )
        scorer = RelationScorer(model.network, CUDA, store, store)
        for rows, columns in ([0, 0, 0], [0, 1, 2]), ([0, 1, 2], [2, 0, 1]), ([0, 0], [0, 2]):
            scores = scorer.score(np.array(rows), np.array(columns))
            assert scores.shape == (len(rows),)


LOSSES = {
    "authors'": TrainConfig(batch_size=4),
    "shipped": replace(training("small"), batch_size=4, outlines=2, precision="fp32"),
    "shipped in bf16": replace(training("small"), batch_size=4, outlines=2, accumulate=2),
    "hardest negatives": TrainConfig(batch_size=4, hard_negatives=True),
    "small alone": TrainConfig(batch_size=4, ret_loss="small", match_weight=0),
    "small": TrainConfig(batch_size=4, ret_loss="small", clip=1.0),
    "selecting": TrainConfig(batch_size=4, keep_rate=0.7, selection_after=0, outlines=2),
}


def batch(config: TrainConfig, model: NetworkEmbedder) -> Batch:
    rows = config.batch_size // config.accumulate * (1 if config.hard_negatives else 2)
    places = torch.rand(config.outlines, model.network.backbone.n_patches, 2)
    drawn = [torch.from_numpy(pictures(config.outlines)) for _ in range(2)]
    return Batch(
        sketch=torch.from_numpy(pictures(rows)),
        photo=torch.from_numpy(pictures(rows)),
        positive=torch.eye(rows).bool(),
        eligible=torch.ones(rows, rows).bool(),
        outlines=(drawn[0], drawn[1], places) if config.outlines else None,
    )


@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("small", "shipped in bf16"),
        ("small, selecting", "selecting"),
        *(("paper", name) for name in LOSSES),
    ],
)
def test_a_training_step(model: str, name: str) -> None:
    config = LOSSES[name]
    if model == "paper" and config.freeze_stride:
        config = replace(config, freeze_stride=0, freeze_blocks=2)
    settings = CONFIGS[model]
    if config.keep_rate < 1 and model == "paper":
        settings = replace(settings, selection=SELECTING.selection)
    with gpu():
        trainee = build_trainee(settings, config, CUDA)
        network = trainee.network
        batches = iter([batch(config, NetworkEmbedder(network, CUDA, []))] * config.accumulate)
        losses = take_step(trainee, batches, 0, config)
    assert len(losses) == len(LOSS_NAMES)
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert {parameter.grad.device for parameter in trained if parameter.grad is not None} == {CUDA}
    assert sum(parameter.grad is not None for parameter in trained) > len(trained) / 4


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_validation_on_a_device(precision: Any) -> None:
    items = Items(
        id=[f"{row}" for row in range(8)],
        modality=np.repeat([0, 1], 4).astype(np.uint8),
        part=np.zeros(8, np.int8),
        sha256=np.zeros((8, 32), np.uint8),
        label=Column.from_values(list("abababab")),
    )
    given: Any = SimpleNamespace(items=items, stack_pictures=lambda rows: torch.from_numpy(pictures(len(rows))))
    held = [
        HeldOutSet(
            name="classes",
            relevance="label",
            metrics=("AP (raw)",),
            sketches=np.arange(4),
            photos=np.arange(4, 8),
        )
    ]
    with gpu():
        found = validate_network(
            on_gpu(CONFIGS["small, selecting"]).network, held, given, TrainConfig(precision=precision)
        )
    assert {name.partition(":")[0] for name in found} == {"classes", "classes by relation", "score"}


@each_config
def test_explain(config: ModelConfig) -> None:
    with gpu():
        pair = score_files(on_gpu(config), SKETCH, PHOTO)
        described = explanation_json.describe_explanation(
            pair, "cosine", {}, score_files(on_gpu(config), SKETCH, OTHER)
        )
        scores = correspondences.score_patches(pair, "contribution")
        matches = correspondences.find_pair_matches(pair, scores)
        tested = faithfulness.measure_faithfulness(pair, matches or [correspondences.Match(0, 0, 1.0)], n_orders=2)
    assert set(described["matches"]) == set(EXPLANATION_SOURCES)
    assert tested.random_deletion.shape == (2, faithfulness.STEPS + 1)


@pytest.mark.parametrize("name", ["paper", "small, selecting"])
def test_synthesize(name: str) -> None:
    with gpu():
        made = synthesize(on_gpu(CONFIGS[name]), SKETCH, [PHOTO, OTHER], SynthesisOptions(blend=True, size=64))
    assert made.picture.size == (64, 64)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_frozen_backbone(name: str, precision: Precision, tmp_path: Path) -> None:
    torch.save(timm.create_model(name).state_dict(), tmp_path / "x.pth")
    spec = ModelSpec.parse(f"frozen:{name}={tmp_path / 'x.pth'}")
    with gpu():
        model = FrozenEmbedder(spec, CUDA, precision)
        assert on_one_device(model.model)
        assert model.embed(pictures(2, model.preprocess.size), "photo").ret.shape == (2, model.width)


@pytest.mark.parametrize(("config", "blocks"), [(CONFIGS["small"], 0), (CONFIGS["paper"], 2)])
def test_the_cached_beginning_of_a_frozen_part(config: ModelConfig, blocks: int) -> None:
    with gpu():
        found = FrozenPartEmbedder(on_gpu(config).network, blocks, CUDA).embed(pictures(2), "photo")
    assert found.tokens is not None
    assert found.tokens.shape[0] == 2
