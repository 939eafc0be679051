"""Training: what it reads and writes, that it learns, that a stopped run resumes, and that processes share the work."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import shutil
import time
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from helpers.checkpoints import save_shipped_trunk
from helpers.commands import Zse, call
from helpers.demo import part_of_demo
from helpers.tiny import HEADED, HEADED_VIT, LEAST, STILL, STILL_HYBRID, build
from helpers.warm import commands, end, processes, together
from zsecli.data.dataset import Dataset
from zsecli.data.items import SEEN, UNSEEN
from zsecli.data.sources.folder import read
from zsecli.errors import StoreError, UsageError, ZseError
from zsecli.model import checkpoint
from zsecli.model.config import PRESETS, ModelConfig, TokenizerConfig
from zsecli.render.training_curve import draw_curve
from zsecli.runtime.console import Progress
from zsecli.runtime.files import exclusive_lock
from zsecli.stages.prepare_listing import prepare_listing
from zsecli.store.dataset import read_dataset
from zsecli.train.config import TrainConfig
from zsecli.train.job import TrainingJob, TrainResult, train_network
from zsecli.train.loop import learning_rate_factor
from zsecli.train.plan import plan_training
from zsecli.train.validate import select_rows

UNSEEN_CLASSES = ("animal-bird", "lock")
SHORT = TrainConfig(
    seed=1, epochs=2, epoch_draws=16, batch_size=8, ret_loss="contrastive", ret_weight=1.0, match_weight=1.0,
    instance_share=0.5, hard_negatives=True, ignore_same="family", lr=1e-3, head_lr=1e-3,
)  # fmt: skip


PROTOTYPES = dataclasses.replace(
    SHORT, ret_loss="prototypes", draws="pictures", photos=8, outlines=4, candidates=3, relation_loss="ranking",
    augment=1.0, freehand=1.0, paste=0.5, distill_weight=4.0, name_weight=1.0, own_weight=1.0, average=0.9,
    ignore_same=None, family_weights=(("noto", 2.0),),
)  # fmt: skip


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four objects of each of the demo's ten classes, two of which are unseen."""
    folder = tmp_path_factory.mktemp("seen")
    prepare_listing(read(part_of_demo(folder, 4, UNSEEN_CLASSES)), folder / "demo.h5", "demo")
    return folder / "demo.h5"


@pytest.fixture
def data(store: Path) -> Dataset:
    return read_dataset(store)


def job(data: Dataset, config: TrainConfig = SHORT, model: ModelConfig = STILL) -> TrainingJob:
    return TrainingJob(dataset=data, model=model, config=config, pretrained=False)


def trained(data: Dataset, folder: Path, config: TrainConfig = SHORT, model: ModelConfig = STILL) -> TrainResult:
    return train_network(
        job(data, config, model), folder / "net.safetensors", folder / "cache", device="cpu", draw_curve=draw_curve
    )


def weights(path: Path) -> dict[str, torch.Tensor]:
    return load_file(path)


def records(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "net.run" / "log.jsonl").read_text().splitlines()]


def test_training_reads_seen_pictures_alone(data: Dataset) -> None:
    used, held = select_rows(data)
    part, label = data.parts(), data.items.label
    unseen = {label.names[c] for c in label.codes[part == UNSEEN]}
    assert unseen == set(UNSEEN_CLASSES)
    everything = [used, *(rows for one in held for rows in (one.sketches, one.photos))]
    assert (part[np.concatenate(everything)] == SEEN).all()
    assert not set(used) & set(np.concatenate(everything[1:]))
    assert not set(held[0].sketches) & set(held[1].sketches)
    assert [one.name for one in held] == ["validation", "validation-items"]
    classes = {label.names[c] for c in label.codes[used]}
    held_classes = {label.names[c] for c in label.codes[held[0].sketches]}
    assert classes and held_classes and not classes & held_classes
    objects = data.items.instance.codes
    assert not set(objects[used]) & set(objects[np.concatenate([held[1].sketches, held[1].photos])])
    assert set(held[1].photos) < set(held[0].photos)


def test_no_unseen_picture_is_opened(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = []
    original = Path.read_bytes

    def spy(self: Path) -> bytes:
        opened.append(self)
        return original(self)

    monkeypatch.setattr(Path, "read_bytes", spy)
    trained(data, tmp_path)
    classes = {path.parent.name for path in opened if path.is_relative_to(data.root)}
    assert classes and not classes & set(UNSEEN_CLASSES)


def test_files_of_a_training_run(data: Dataset, tmp_path: Path) -> None:
    result = trained(data, tmp_path)
    assert result.fresh and 0 < result.validation["score"] <= 1
    network, _ = checkpoint.load(result.path)
    assert network.config == STILL
    with safe_open(result.path, "pt") as file:
        about = json.loads(file.metadata()["training"])
    assert (about["data"], about["partition"], about["epoch"] in (1, 2)) == ("demo", "", True)
    assert set(about["seen_classes"]).isdisjoint(UNSEEN_CLASSES) and len(about["seen_classes"]) == 8
    assert about["config"] == json.loads(json.dumps(dataclasses.asdict(SHORT)))
    assert sorted(f.name for f in (tmp_path / "net.run").iterdir()) == [
        "curve.svg", "last.safetensors", "log.jsonl", "state.safetensors"]  # fmt: skip
    assert [r["epoch"] for r in records(tmp_path) if r["kind"] == "validation"] == [1, 2]
    ElementTree.parse(tmp_path / "net.run" / "curve.svg")
    checkpoint.load(tmp_path / "net.run" / "last.safetensors")
    before = result.path.stat().st_mtime_ns
    assert not trained(data, tmp_path).fresh
    assert result.path.stat().st_mtime_ns == before
    with pytest.raises(UsageError, match="holds another training run"):
        trained(data, tmp_path, dataclasses.replace(SHORT, seed=2))


def test_a_few_steps_learn(data: Dataset, tmp_path: Path) -> None:
    """The loss falls, and classes held out of the seen ones are ranked better than before."""
    config = dataclasses.replace(
        SHORT, epochs=3, epoch_draws=320, batch_size=16, temperature=0.1, head_lr=2e-3, freeze_blocks=0
    )
    trunk = save_shipped_trunk(tmp_path / "trunk.safetensors")
    scores = []
    for name, changed in (("before", dataclasses.replace(config, epochs=1, head_lr=0.0)), ("after", config)):
        learning = dataclasses.replace(job(data, changed, STILL_HYBRID), weights=trunk)
        folder = tmp_path / name
        result = train_network(learning, folder / "net.safetensors", tmp_path / "cache", device="cpu")
        scores.append(result.validation["score"])
    losses = [float(r["ret"]) for r in records(folder) if r["kind"] == "train"]  # type: ignore[arg-type]
    assert losses[-1] < 0.9 * losses[0]
    assert scores[1] > scores[0] + 0.02


@pytest.mark.parametrize(
    "change",
    [
        {"ret_loss": "triplet", "hard_negatives": False, "accumulate": 2},
        {"ret_loss": "triplet", "hard_negatives": True, "instance_share": 0.0},
        {"augment": 1.0, "schedule": "cosine", "warmup": 2, "clip": 0.5, "precision": "bf16"},
        {"freeze_blocks": 0},
        {"freeze_blocks": 2, "keep_rate": 0.8, "selection_after": 1},
        {"freeze_blocks": 1, "augment": 0.5},
        {"candidates": 3, "ignore_same": None},
        {"candidates": 20, "freeze_blocks": 6, "ret_weight": 0.0},
        {"match_weight": 0.0},
    ],
    ids=lambda change: " ".join(change),
)
def test_training_options(data: Dataset, tmp_path: Path, change: dict[str, object]) -> None:
    config = dataclasses.replace(SHORT, **change)  # type: ignore[arg-type]
    model = STILL
    if config.keep_rate < 1:
        model = dataclasses.replace(STILL, selection=dataclasses.replace(STILL.selection, blocks=(3,)))
    result = trained(data, tmp_path, config, model)
    network, _ = checkpoint.load(tmp_path / "net.run" / "last.safetensors")
    assert network.config.selection.rate == config.keep_rate
    assert 0 < result.validation["score"] <= 1
    assert len(list(tmp_path.glob("cache/*.h5"))) == (config.freeze_blocks is not None and not config.augment)


@pytest.mark.parametrize("model", [HEADED, HEADED_VIT], ids=["hybrid", "vit"])
def test_training_with_prototypes(data: Dataset, tmp_path: Path, model: ModelConfig) -> None:
    """What is kept is the running mean; the classifier stays, and the means of both modalities are there."""
    config = dataclasses.replace(PROTOTYPES, epochs=1, epoch_draws=80)
    result = trained(data, tmp_path, config, model)
    assert 0 < result.validation["score"] <= 1
    network, _ = checkpoint.load(result.path)
    torch.manual_seed(PROTOTYPES.seed)
    fresh = build(model, PROTOTYPES.seed)
    assert torch.equal(network.backbone.classifier.weight, fresh.backbone.classifier.weight)
    head = network.backbone.retrieval_head
    assert head is not None
    for mean in (head.feature_mean, head.class_mean):
        assert mean.sketch.abs().sum() > 0 and not torch.equal(mean.sketch, mean.photo)
    record = records(tmp_path)[0]
    assert all(float(record[name]) > 0 for name in ("ret", "match", "outline", "distill", "own"))  # type: ignore[arg-type]


def test_a_frozen_head_is_not_cached(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not kept in the cache"):
        trained(data, tmp_path, dataclasses.replace(SHORT, freeze_blocks=0), HEADED)


def test_prototypes_need_a_head(data: Dataset, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="keeps its backbone's head"):
        trained(data, tmp_path, PROTOTYPES, STILL)


def test_frozen_weights_do_not_change(data: Dataset, tmp_path: Path) -> None:
    short = dataclasses.replace(SHORT, epochs=1)
    for name, blocks in (("all", None), ("trunk", 0), ("two", 2)):
        trained(data, tmp_path / name, dataclasses.replace(short, freeze_blocks=blocks), STILL_HYBRID)
    first, *others = (weights(tmp_path / name / "net.run" / "last.safetensors") for name in ("all", "trunk", "two"))
    fresh = build(STILL_HYBRID, SHORT.seed).state_dict()
    trained(data, tmp_path / "stride", dataclasses.replace(short, freeze_stride=8), STILL_HYBRID)
    above = weights(tmp_path / "stride" / "net.run" / "last.safetensors")
    trunk = [k for k in fresh if "trunk.blocks" in k and k.endswith("weight") and not torch.equal(fresh[k], above[k])]
    assert {int(k.split("trunk.blocks.")[1][0]) for k in trunk} == {3, 4, 5, 6}  # stride 8 is made by the first three
    moved = [
        {k for k in fresh if not torch.equal(fresh[k], trained_weights[k])} for trained_weights in (first, *others)
    ]
    assert any("patch_embed.trunk" in k for k in moved[0])
    assert not any("patch_embed.trunk" in k for k in moved[1] | moved[2])
    assert any("patch_embed.proj" in k for k in moved[1]) and not any("patch_embed.proj" in k for k in moved[2])
    assert any("blocks.1." in k for k in moved[1]) and not any("blocks.1." in k for k in moved[2])
    assert any("blocks.2." in k for k in moved[2])


def test_the_heads_can_be_trained_alone(data: Dataset, tmp_path: Path) -> None:
    """With all blocks frozen and another run's backbone, [Ret] stays; the best is chosen by the relation network."""
    first = trained(data, tmp_path, dataclasses.replace(SHORT, match_weight=0.0))
    config = dataclasses.replace(SHORT, freeze_blocks=6, ret_weight=0.0, candidates=4)
    second = dataclasses.replace(job(data, config), backbone_from=first.path)
    result = train_network(second, tmp_path / "second.safetensors", tmp_path / "cache", device="cpu")
    before, after = weights(first.path), weights(result.path)
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved and not any(k.startswith("backbone.") for k in moved)
    led = [v for k, v in result.validation.items() if "by relation" in k and ("mAP" in k or "rank" in k)]
    assert len(led) == 2 and result.validation["score"] == pytest.approx(np.mean(led))
    about = checkpoint.read_training(result.path)
    assert about["backbone_from"]["run_key"] == checkpoint.read_training(first.path)["run_key"]
    wrong = dataclasses.replace(second, model=dataclasses.replace(STILL, tokenizer=TokenizerConfig(on="both")))
    with pytest.raises(StoreError, match="has another backbone"):
        train_network(wrong, tmp_path / "third.safetensors", tmp_path / "cache", device="cpu")


def test_frozen_tokens_from_the_cache_are_those_of_the_pictures(data: Dataset, tmp_path: Path) -> None:
    """The same run with and without the cache, which a tokenizer that does nothing forbids."""
    config = dataclasses.replace(SHORT, epochs=1, epoch_draws=8, freeze_blocks=0)
    trained(data, tmp_path / "cached", config, STILL_HYBRID)
    off = dataclasses.replace(STILL_HYBRID, tokenizer=TokenizerConfig(on="sketch", channels=(4, 4, 4)))
    trained(data, tmp_path / "not", config, off)
    assert len(list(tmp_path.glob("*/cache/*.h5"))) == 1


MOVING = dataclasses.replace(SHORT, epochs=4, augment=1.0)


def moving(store: Path, folder: Path, config: TrainConfig, model: ModelConfig) -> None:
    torch.set_num_threads(1)
    trained(read_dataset(store), folder, config, model)


@pytest.mark.parametrize(
    ("config", "model"), [(MOVING, LEAST), (dataclasses.replace(PROTOTYPES, epochs=4), HEADED_VIT)], ids=["", "headed"]
)
@pytest.mark.xdist_group("faults")  # one process has everything imported for all of them
def test_a_killed_run_ends_with_the_same_weights(
    store: Path, tmp_path: Path, config: TrainConfig, model: ModelConfig
) -> None:
    def begin(name: str) -> Any:
        process = processes.Process(target=moving, args=(store, tmp_path / name, config, model))
        process.start()
        return process

    end(begin("whole"))
    state = tmp_path / "killed" / "net.run" / "state.safetensors"
    for kills in range(2):
        before = state.stat().st_mtime_ns if state.exists() else 0
        process = begin("killed")
        while process.is_alive() and not (state.exists() and state.stat().st_mtime_ns > before):
            time.sleep(0.01)
        time.sleep(0.05 * kills)
        process.kill()
        process.join()
    assert len(records(tmp_path / "killed")) < len(records(tmp_path / "whole"))
    end(begin("killed"))
    for name in ("net.run/last.safetensors", "net.safetensors"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    timeless = [
        [{k: v for k, v in r.items() if k != "pictures_per_second"} for r in records(tmp_path / name)]
        for name in ("whole", "killed")
    ]
    assert timeless[0] == timeless[1]


class StopAt(Progress):
    """Ctrl-C after so many optimiser steps."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.left = steps

    def __call__(self, count: int) -> None:
        self.left -= count
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("epoch_steps", "epochs", "stop"), [(3, 4, 8), (7, 2, 9), (13, 2, 14)])
def test_a_resumed_run_has_the_log_and_the_curve_of_one_that_was_not_stopped(
    data: Dataset, tmp_path: Path, epoch_steps: int, epochs: int, stop: int
) -> None:
    """A line of the log is the mean of ten steps, and an epoch, after which a state is written, may end between two."""
    config = dataclasses.replace(SHORT, epochs=epochs, epoch_draws=4 * epoch_steps, batch_size=4)
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    trained(data, whole, config)
    with pytest.raises(KeyboardInterrupt):
        train_network(
            job(data, config),
            stopped / "net.safetensors",
            stopped / "cache",
            device="cpu",
            draw_curve=draw_curve,
            progress=StopAt(stop),
        )
    assert trained(data, stopped, config).fresh
    logs, curves = ([(folder / "net.run" / name).read_text() for folder in (whole, stopped)] for name in RUN_FILES)
    lines = [re.sub(r'"pictures_per_second": [^,}]+', "", log).splitlines() for log in logs]
    assert lines[0] == lines[1]
    assert '"kind": "train", "step": 10,' in logs[1]
    timeless = [re.sub(r"[\d,.]+ pictures a second", "", text) for text in curves]
    assert timeless[0] == timeless[1] != curves[1]


RUN_FILES = ("log.jsonl", "curve.svg")
SHARED: dict[str, dict[str, Any]] = {
    "hard": {},
    "drawn": {"ret_loss": "triplet", "hard_negatives": False},
    "nearest, outlines": {"candidates": 4, "outlines": 4},
}


def ten_steps(store: Path, folder: Path, changes: dict[str, Any]) -> None:
    """The weights stay as they are: if they moved, rounding would grow from step to step, on each machine otherwise."""
    config = dataclasses.replace(SHORT, epochs=1, epoch_draws=40, batch_size=4, lr=0.0, head_lr=0.0, **changes)
    trained(read_dataset(store), folder, config)


def gradient(folder: Path) -> torch.Tensor:
    """Adam's mean of the steps' gradients, of all parameters."""
    state = load_file(folder / "net.run" / "state.safetensors")
    return torch.cat([t.flatten() for name, t in state.items() if name.startswith("exp_avg.")])


@pytest.mark.xdist_group("faults")
@pytest.mark.parametrize("changes", SHARED.values(), ids=SHARED)
def test_two_processes_train_as_one(store: Path, tmp_path: Path, changes: dict[str, Any]) -> None:
    ten_steps(store, tmp_path / "one", changes)
    together(ten_steps, store, tmp_path / "two", changes)
    one, two = (records(tmp_path / name)[0] for name in ("one", "two"))  # the mean over ten steps
    for part in {"loss", "ret", "match", "outline"} & one.keys():
        assert two[part] == pytest.approx(one[part], rel=1e-5)
    whole, shared = (gradient(tmp_path / name) for name in ("one", "two"))
    # rounding shows 4e-3 where the triplet loss divides by distances near zero; a gradient not shared, 0.4 and more
    assert (shared - whole).norm() < 0.05 * whole.norm()


def test_a_loss_that_is_no_number_stops(data: Dataset, tmp_path: Path) -> None:
    good = trained(data, tmp_path, dataclasses.replace(SHORT, epochs=1))
    before = good.path.read_bytes()
    with pytest.raises(ZseError, match=r"training diverged at step \d+: loss nan") as error:
        train_network(
            job(data, dataclasses.replace(SHORT, head_lr=1e30, lr=1e30, epochs=3)), tmp_path / "b.safetensors", tmp_path
        )
    assert "--lr" in error.value.hint
    assert not (tmp_path / "b.safetensors").exists()
    assert good.path.read_bytes() == before


def test_a_step_that_ruins_the_weights_is_not_saved(data: Dataset, tmp_path: Path) -> None:
    """The loss before it was a number, and the validation behind it would still rank."""
    ruin = dataclasses.replace(SHORT, epochs=1, epoch_draws=8, head_lr=1e30, lr=1e30)
    with pytest.raises(ZseError, match="training diverged"):
        trained(data, tmp_path, ruin)
    assert not list(tmp_path.rglob("*.safetensors"))


def test_two_cannot_train_the_same(data: Dataset, tmp_path: Path) -> None:
    """They would write into one log, and each over the other's state; the second is told before it touches any."""
    with exclusive_lock(tmp_path / "net.safetensors"), pytest.raises(StoreError, match="another zse is writing it"):
        trained(data, tmp_path)
    assert not list(tmp_path.iterdir())
    trained(data, tmp_path, dataclasses.replace(SHORT, epochs=1))
    assert not list(tmp_path.glob(".*"))


def test_a_run_killed_before_its_first_state_begins_again(data: Dataset, tmp_path: Path) -> None:
    first = trained(data, tmp_path)
    before = weights(first.path)
    (tmp_path / "net.run" / "state.safetensors").unlink()
    again = trained(data, tmp_path)
    assert again.fresh and len(records(tmp_path)) == 2
    assert all(torch.equal(before[k], v) for k, v in weights(again.path).items())


def test_a_finished_run_whose_best_is_gone_begins_again(data: Dataset, tmp_path: Path) -> None:
    trained(data, tmp_path).path.unlink()
    with pytest.raises(UsageError, match="holds another training run"):
        trained(data, tmp_path, dataclasses.replace(SHORT, seed=5))
    again = trained(data, tmp_path)
    assert again.fresh and again.path.is_file()


def test_the_best_is_one_that_selects(data: Dataset, tmp_path: Path) -> None:
    """Validations before token selection began do not compete with those after it."""
    config = dataclasses.replace(SHORT, epochs=3, keep_rate=0.5, selection_after=2, lr=0.0, head_lr=0.0)
    model = dataclasses.replace(STILL, selection=dataclasses.replace(STILL.selection, blocks=(3,)))
    network, _ = checkpoint.load(trained(data, tmp_path, config, model).path)
    assert network.config.selection.rate == 0.5
    with pytest.raises(UsageError, match="all 3 epochs are without selection"):
        trained(data, tmp_path / "never", dataclasses.replace(config, selection_after=3), model)


@pytest.mark.xdist_group("faults")
def test_one_of_two_processes_says_what_came_of_it(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "unseen.txt").write_text("lock\n")
    call(tmp_path, "prepare", "folder", pictures, "--unseen", "unseen.txt", "--name", "few").ok()
    words = "train few --preset small --scratch --epochs 1 --epoch-draws 4 --batch-size 4 --device cpu --precision fp32"
    together(commands, tmp_path, words)
    assert [(tmp_path / f"{rank}.out").read_text() for rank in "01"] == ["zse/models/few-small.safetensors\n", ""]
    checkpoint.load(tmp_path / "zse/models/few-small.safetensors")


def test_learning_rate_schedules() -> None:
    config = dataclasses.replace(SHORT, epochs=10, warmup=4, schedule="cosine")
    values = [learning_rate_factor(step, config) for step in range(config.steps)]
    assert values[:4] == [0.25, 0.5, 0.75, 1.0]
    assert values[4] == 1 and values[-1] < 0.05
    assert all(a >= b for a, b in itertools.pairwise(values[4:]))
    assert {learning_rate_factor(step, SHORT) for step in range(9)} == {1.0}


def test_dry_run_reports_counts(data: Dataset) -> None:
    plan = plan_training(job(data, SHORT, STILL_HYBRID))
    assert plan["classes"] == 7 and plan["steps"] == 4
    assert plan["trained parameters"] == plan["parameters"] == sum(p.numel() for p in build(STILL_HYBRID).parameters())
    frozen = plan_training(job(data, dataclasses.replace(SHORT, freeze_blocks=0), STILL_HYBRID))
    assert frozen["trained parameters"] < plan["trained parameters"]
    assert frozen["memory of a batch"] < plan["memory of a batch"]
    outlines = plan_training(job(data, dataclasses.replace(SHORT, outlines=4), STILL_HYBRID))
    assert 1.2 < outlines["memory of a batch"] / plan["memory of a batch"] < 1.8
    half = plan_training(job(data, dataclasses.replace(SHORT, precision="bf16"), STILL_HYBRID))
    assert half["memory of a batch"] < 0.8 * plan["memory of a batch"]
    assert (
        plan["memory of pictures"]
        == (plan["sketches"] + plan["photos"] + sum(map(sum, plan["held out"].values()))) * 64 * 64 * 3
    )
    with pytest.raises(UsageError, match="cannot be shared"):
        plan_training(job(data, dataclasses.replace(SHORT, accumulate=3), STILL_HYBRID))


# --- the command -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def prepared_demo(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with the data set `demo`. Not to be changed."""
    folder = tmp_path_factory.mktemp("prepared_demo")
    call(folder, "prepare", "folder", store.parent / "manifest.csv", "--name", "demo").ok()
    return folder / "zse"


@pytest.fixture
def workspace(prepared_demo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose workspace has the data set `demo`, and the presets `tiny` and `hybrid`."""
    for name, model in (("tiny", STILL), ("hybrid", STILL_HYBRID)):
        monkeypatch.setitem(PRESETS, name, model)
    shutil.copytree(prepared_demo, tmp_path / "zse")
    return tmp_path


TINY_RUN = (
    "train",
    "demo",
    "--preset",
    "tiny",
    "--scratch",
    "--epochs",
    "1",
    "--epoch-draws",
    "16",
    "--batch-size",
    "8",
)


def test_train_then_evaluate(workspace: Path, zse: Zse) -> None:
    made = zse(*TINY_RUN, "--freeze-blocks", "0").ok()
    assert made == "zse/models/demo-tiny.safetensors"
    report = json.loads(zse("evaluate", "--data", "demo", "--json", ZSE_MODEL=None).ok())  # the newest checkpoint
    assert report["model"].endswith(made)
    assert set(report["protocols"]["zs-inter"]["per_class"]) == set(UNSEEN_CLASSES)
    assert zse(*TINY_RUN, "--freeze-blocks", "0").ok() == made
    cross = ("evaluate", "--split", "zs-cross-all", "--data", "demo", "--json")  # the checkpoint says what it saw
    cross_report = json.loads(zse(*cross, ZSE_MODEL=None).ok())
    assert set(cross_report["protocols"]["zs-cross-all/novel"]["per_class"]) == set(UNSEEN_CLASSES)
    zse(*cross).refused(2, "needs --train-data")  # the pixels know nothing
    zse(*TINY_RUN, "--freeze-blocks", "0", "--seed", "3").refused(2, "holds another training run", "--overwrite")
    again = json.loads(zse(*TINY_RUN, "--seed", "3", "--overwrite", "--json").ok())
    assert again["fresh"] and again["validation"]["score"] > 0
    plan = zse(*TINY_RUN, "--name", "other", "--dry-run")
    assert plan.code == 0 and "trained parameters" in plan.err and "MiB" in plan.err
    assert not (workspace / "zse/models/other.safetensors").exists()


def test_a_damaged_state_is_reported(workspace: Path, zse: Zse) -> None:
    """It is not ignored: hours of work may be in it. A missing log does no harm."""
    made = zse(*TINY_RUN).ok()
    state, log = (workspace / "zse/models/demo-tiny.run" / name for name in ("state.safetensors", "log.jsonl"))
    log.unlink()
    assert zse(*TINY_RUN).ok() == made
    state.write_bytes(state.read_bytes()[:1000])
    zse(*TINY_RUN).refused(3, "state.safetensors: not a safetensors file", "delete it: the run begins again")
    state.unlink()
    assert zse(*TINY_RUN).ok() == made


@pytest.mark.parametrize(
    ("words", "code", "texts"),
    [
        (("--preset", "smal"), 2, ["no preset 'smal'", "did you mean 'small'?"]),
        (("--backbone", "hf-hub:somebody/resnet18"), 2, ["no preset 'hf-hub:somebody/resnet18'", "timm name"]),
        (("--backbone-weights", "gone.safetensors"), 2, ["gone.safetensors: no such file"]),
        (("--partition", "21"), 2, ["has no split '21'"]),
        (("--ret-loss", "triplets"), 2, ["'triplets'", "did you mean 'triplet'?"]),
        (("--candidates", "4", "--ret-loss", "triplet"), 2, ["are no triplets"]),
        (("--backbone-from", "gone.safetensors"), 2, ["both say how the backbone begins"]),
        (("--accumulate", "3"), 2, ["--batch-size 8 cannot be shared"]),
        (("-o", "net.pth"), 2, ["ends with .safetensors"]),
        (("--freeze-blocks", "7"), 2, ["the network has 6 blocks"]),
        (("--preset", "hybrid", "--freeze-stride", "5"), 2, ["no map of stride 5", "2, 4, 8, 16, 32"]),
        (("--class-draws", "even"), 2, ["'even'", "uniform, sketches"]),
        (("--keep-rate", "0.9"), 2, ["all 1 epochs are without selection"]),
        (("--keep-rate", "0.9", "--selection-after", "0"), 2, ["block 7, which selects tokens, is not there, of 6"]),
    ],
)
@pytest.mark.usefixtures("workspace")
def test_train_rejects_invalid_options(zse: Zse, words: tuple[str, ...], code: int, texts: list[str]) -> None:
    line = [w for w in TINY_RUN if w != "--scratch"] if "--backbone-weights" in words else list(TINY_RUN)
    zse(*line, *words).refused(code, *texts)


def test_another_backbone_leaves_the_preset_as_it_is(zse: Zse, tmp_path: Path, pictures: Path) -> None:
    (tmp_path / "unseen.txt").write_text("lock\n")
    zse("prepare", "folder", pictures, "--unseen", "unseen.txt", "--name", "demo").ok()
    words = ("train", "demo", "--scratch", "--epochs", "1", "--epoch-draws", "1", "--batch-size", "1")
    options = ("--preset", "released", "--backbone", "vit_tiny_patch16_224", "-o", "net.safetensors")
    zse(*words, *options).ok()
    config = checkpoint.read_config(tmp_path / "net.safetensors")
    assert config.backbone.name == "vit_tiny_patch16_224"
    assert config.cross_attention.swap == "k" and config.relation.layout == "memory" and config.tokenizer.on == "both"
    zse(*words, "--backbone", "small").refused(2, "is a preset", "--preset small")


def test_train_fails_without_seen_classes(zse: Zse, pictures: Path, workspace: Path) -> None:
    zse("prepare", "folder", pictures, "--name", "unseen").ok()
    for dry in ((), ("--dry-run",)):
        zse("train", "unseen", *TINY_RUN[2:], *dry).refused(1, "has no seen pictures", "--unseen FILE")
