"""Files of weights as other people's scripts write them: what lies beside the weights, and what the file is called."""

from __future__ import annotations

import argparse
import collections
import datetime
import pickle
import random
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from helpers.checkpoints import Evil, rename
from helpers.commands import Zse
from zsecli.errors import StoreError
from zsecli.model.inert_pickle import stand_ins
from zsecli.model.timm_models import create_model
from zsecli.model.weights import read_state

VIT = "test_vit"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return dict(timm.create_model(VIT).state_dict())


def optimiser() -> torch.optim.Optimizer:
    network = nn.Linear(2, 2)
    made = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(torch.ones(1, 2)).sum().backward()
    made.step()
    return made


class Options(dict[str, Any]):
    """As easydict has them: a dict with attributes."""

    __module__, __qualname__ = "easydict", "EasyDict"


BESIDE: dict[str, Callable[[], Any]] = {
    "numbers of numpy": lambda: [np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.str_("a")],
    "arrays": lambda: [np.arange(3), np.zeros((2, 2)), np.array(["a", None], dtype=object)],
    "types of numpy": lambda: [np.float32, np.dtype("float32")],
    "random states": lambda: [
        random.getstate(),
        np.random.get_state(),
        np.random.default_rng(0),
        torch.get_rng_state(),
    ],
    "options": lambda: argparse.Namespace(lr=np.float64(0.1), data=Path("data"), type=float),
    "paths": lambda: [Path("a/b"), Path("a").absolute()],
    "times": lambda: [datetime.datetime(2024, 5, 1), datetime.timedelta(1)],
    "collections": lambda: [
        collections.OrderedDict(a=1),
        collections.Counter("aab"),
        collections.defaultdict(list, a=[1]),
        collections.deque([1, 2], 3),
        frozenset([1]),
    ],
    "an optimiser's state": lambda: optimiser().state_dict(),
    "an optimiser": optimiser,
    "a schedule": lambda: torch.optim.lr_scheduler.OneCycleLR(optimiser(), 0.1, total_steps=9).state_dict(),
    "versions": lambda: [torch.__version__, torch.float16, torch.device("cuda:0"), torch.Size([2])],
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("beside", BESIDE)
def test_values_beside_the_weights_are_passed_over(
    tmp_path: Path, state: dict[str, torch.Tensor], beside: str, legacy: bool
) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save(
        {"epoch": 3, "best": BESIDE[beside](), "state_dict": state}, path, _use_new_zipfile_serialization=not legacy
    )
    found = read_state(path)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], state[name]) for name in state)


def test_the_options_of_a_library_that_is_not_there(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dict of another make may hold the weights; nothing is imported for it."""
    path = tmp_path / "checkpoint.pth"
    with monkeypatch.context() as patch:
        module = type(pytest)("easydict")
        module.EasyDict = Options  # type: ignore[attr-defined]
        patch.setitem(__import__("sys").modules, "easydict", module)
        torch.save({"config": Options(lr=1), "model": Options(state)}, path)
    assert read_state(path).keys() == state.keys()


@pytest.mark.parametrize("core", ["numpy.core", "numpy._core"])
def test_the_names_of_either_numpy(tmp_path: Path, state: dict[str, torch.Tensor], core: str) -> None:
    path = tmp_path / "checkpoint.pth"
    torch.save({"model": state, "mean": np.float64(0.5), "list": np.arange(3)}, path)
    rename(path, core)
    assert read_state(path).keys() == state.keys()


def test_what_stands_in_is_never_made(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    """Of what a file names nothing is looked up: each name is one of three classes that do nothing."""
    kinds = {kind.__name__ for kind, _ in stand_ins()}
    assert kinds == {"Inert", "InertDict", "InertList"}
    mark, path = tmp_path / "mark", tmp_path / "x.pth"
    torch.save({"model": state, "beside": Evil(mark)}, path)  # getattr(Path, "touch") of a Path: all of these are known
    with pytest.raises(StoreError, match="not tensors alone"):
        read_state(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "call", ["posix.system", "builtins.eval", "builtins.exec", "subprocess.Popen", "shutil.rmtree"]
)
def test_a_call_beside_sound_weights_is_refused(tmp_path: Path, state: dict[str, torch.Tensor], call: str) -> None:
    path = tmp_path / "x.pth"
    torch.save({"model": state, "beside": np.float64(0.5)}, path)
    with zipfile.ZipFile(path) as archive:
        records = {record.filename: archive.read(record) for record in archive.infolist()}
    module, name = call.split(".")
    with zipfile.ZipFile(path, "w") as archive:
        for record, data in records.items():
            data = re.sub(rb"cnumpy\._?core\.multiarray\nscalar\n", f"c{module}\n{name}\n".encode(), data)
            archive.writestr(record, data)
    with pytest.raises(StoreError, match=rf"holds ({call}|{name}), not tensors alone") as error:
        read_state(path)
    assert "torch.save(model.state_dict(), FILE)" in error.value.hint


WRAPPINGS: dict[str, Callable[[dict[str, torch.Tensor]], Any]] = {
    "nothing": lambda state: state,
    **{
        name: lambda state, name=name: {name: state, "epoch": 1} for name in ("model", "net", "ema", "model_state_dict")
    },
    "ordered": lambda state: collections.OrderedDict(state),
    "parameters": lambda state: {name: nn.Parameter(t, t.is_floating_point()) for name, t in state.items()},
    "several GPUs": lambda state: {"state_dict": {f"module.{name}": t for name, t in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{name}": t for name, t in state.items()},
    "Lightning": lambda state: {
        "state_dict": {f"model.{name}": t for name, t in state.items()} | {"loss.weight": torch.ones(1)},
        "pytorch-lightning_version": "2.1",
        "hparams": argparse.Namespace(lr=0.1),
    },
    "DINO": lambda state: {
        "teacher": {f"backbone.{name}": t for name, t in state.items()} | {"head.mlp.weight": torch.ones(2, 2)},
        "student": {},
    },
    "twice": lambda state: {"checkpoint": 1, "model": {"state_dict": state}},
}


@pytest.mark.parametrize("wrapping", WRAPPINGS)
def test_what_scripts_wrap_around_a_state(tmp_path: Path, state: dict[str, torch.Tensor], wrapping: str) -> None:
    """Every parameter of the model comes from the file, however it is wrapped there."""
    path = tmp_path / "wrapped.pth"
    torch.save(WRAPPINGS[wrapping](state), path)
    for name, parameter in create_model(VIT, True, path, num_classes=0).named_parameters():
        assert torch.equal(parameter, state[name])


def test_a_training_checkpoint_on_the_command_line(
    zse: Zse, tmp_path: Path, sketch: Path, state: dict[str, torch.Tensor]
) -> None:
    save_file(state, tmp_path / "plain.pth")
    torch.save({"model": state, "best": np.float64(0.5), "args": argparse.Namespace()}, tmp_path / "t.safetensors")
    rows = []
    for name in ("plain.pth", "t.safetensors"):
        zse("embed", sketch.name, "--model", f"frozen:{VIT}={name}", "-o", f"{name}.h5").ok()
        with h5py.File(tmp_path / f"{name}.h5") as file:
            rows.append(file["ret"][0])
    np.testing.assert_array_equal(*rows)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "torch, legacy"])
@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.pt", "w.bin", "w.ckpt", "w.PTH", "w"])
def test_the_content_says_what_a_file_is(tmp_path: Path, state: dict[str, torch.Tensor], kind: str, name: str) -> None:
    path = tmp_path / name
    if kind == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "torch")
    assert read_state(path).keys() == state.keys()


def _torchscript(path: Path) -> None:
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)


def _arrays(path: Path) -> None:
    with path.open("wb") as file:
        np.savez(file, a=np.ones(2))


def _zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/best.pth", b"x")


OTHERS: dict[str, tuple[Callable[[Path], Any] | bytes, str]] = {
    "nothing": (b"", "is empty"),
    "a page": (b"\n<!DOCTYPE html>\n<html><title>Sign in</title></html>", "is a web page"),
    "an answer": (b"404: Not Found", "but a text: '404: Not Found'"),
    "an index": (b'{"weight_map": {}}', "but a text"),
    "a pointer": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "pointer of Git LFS"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(600), "is an HDF5 file"),
    "gzip": (b"\x1f\x8b\x08" + bytes(600), "compressed by gzip"),
    "tar": (b"a".ljust(257, b"\0") + b"ustar\0" + bytes(600), "is a tar archive"),
    "zip": (_zip, "is a zip archive, but not one of torch.save"),
    "numpy": (_arrays, "archive of numpy arrays"),
    "TorchScript": (_torchscript, "is a TorchScript archive"),
    "a network": (lambda path: torch.save(nn.Linear(2, 2), path), "holds torch.nn.modules.linear.Linear"),
    "another pickle": (lambda path: path.write_bytes(pickle.dumps({"a": 1}, 4)), "pickled in another way|damaged"),
    "zeros": (bytes(600), "neither a safetensors file nor one of torch.save, or damaged"),
}


@pytest.mark.parametrize("other", OTHERS)
def test_files_that_are_no_weights(zse: Zse, tmp_path: Path, sketch: Path, other: str) -> None:
    """One sentence says what the file is, at every door."""
    make, says = OTHERS[other]
    path = tmp_path / ("x.pth" if isinstance(make, bytes) else "x.safetensors")
    if isinstance(make, bytes):
        path.write_bytes(make)
    else:
        make(path)
    for line in (
        ("embed", sketch.name, "--model", path.name),
        ("embed", sketch.name, "--model", f"frozen:{VIT}={path.name}"),
        ("inspect", path.name),
    ):
        assert re.search(says, zse(*line).refused(3, f"{path.name}: "))


def test_a_dict_that_is_made_to_confuse(tmp_path: Path, state: dict[str, torch.Tensor]) -> None:
    path = tmp_path / "x.pth"
    loop: dict[str, Any] = {}
    loop["model"] = loop
    torch.save(loop, path)
    with pytest.raises(StoreError, match="no dict of tensors"):
        read_state(path)
