"""Checkpoints and configurations that are damaged, or made to do harm: refused in two lines, with nothing run."""

from __future__ import annotations

import hashlib
import json
import pickle
import random
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from helpers.checkpoints import Evil
from helpers.checkpoints import rewrite as rewrite_as
from helpers.commands import Zse
from helpers.tiny import LEAST, build
from zsecli.errors import StoreError
from zsecli.model import checkpoint
from zsecli.train import state

TRUNK = "tf_efficientnet_lite0"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(build(LEAST), tmp_path_factory.mktemp("saved") / "net.safetensors")


def rewrite(saved: Path, path: Path, **changes: object) -> Path:
    return rewrite_as(saved, path, **{"config": LEAST.to_json(), **changes})


@pytest.fixture
def unbuilt(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a network is made: what refuses now has seen the configuration alone."""

    def made(*_: object) -> None:
        raise AssertionError("a part of a network was made")

    monkeypatch.setattr(nn.Module, "__init__", made)


# pickles


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".bin"])
@pytest.mark.parametrize("door", ["{}", f"frozen:{TRUNK}={{}}"])
def test_a_pickle_is_never_run(zse: Zse, tmp_path: Path, sketch: Path, suffix: str, door: str) -> None:
    mark, path = tmp_path / "mark", tmp_path / f"evil{suffix}"
    pickle.loads(pickle.dumps(Evil(mark)))  # what it would do
    assert mark.exists()
    for how in (lambda value: torch.save(value, path), lambda value: path.write_bytes(pickle.dumps(value))):
        mark.unlink(missing_ok=True)
        how({"model": Evil(mark), "state_dict": {"conv_stem.weight": Evil(mark)}})
        zse("embed", sketch.name, "--model", door.format(path)).refused(3, f"evil{suffix}")
        assert not mark.exists()


def _bomb(path: Path) -> None:
    """Zeros that take a hundredth of their size."""
    torch.save({"model": {"a": torch.zeros(1_000_000)}}, path)
    with zipfile.ZipFile(path) as file:
        records = {record.filename: file.read(record) for record in file.infolist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in records.items():
            file.writestr(name, data)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (_bomb, "bytes in a file of"),
        (lambda path: torch.save({"model": {"a": torch.zeros(1).expand(10**12)}}, path), "no dict of tensors"),
        (lambda path: torch.save({"model": {"a": torch.zeros(2, device="meta")}}, path), "no dict of tensors"),
        (lambda path: torch.save({"model": {"a": torch.eye(2).to_sparse()}}, path), "no dict of tensors"),
        (lambda path: torch.save({"model": {1: torch.zeros(2)}}, path), "no dict of tensors"),
        (lambda path: torch.save({"model": {}}, path), "missing"),
        (lambda path: torch.save(torch.zeros(2), path), "no dict of tensors"),
        (lambda path: path.write_bytes(b"PK\x03\x04" + bytes(100)), "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(b"\x80\x02" + b"(" * 1000 + b"."), "damaged"),
        (lambda path: path.write_bytes(pickle.dumps({"model": "\x1b[2J" * 9})), "x.pth"),
    ],
)
def test_what_a_pickle_may_hold(zse: Zse, tmp_path: Path, sketch: Path, make: Callable[[Path], Any], says: str) -> None:
    make(tmp_path / "x.pth")
    zse("embed", sketch.name, "--model", "x.pth").refused(3, "x.pth: ", says)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", TRUNK])
def test_weights_that_timm_itself_trips_over(zse: Zse, tmp_path: Path, sketch: Path, name: str) -> None:
    """Its converters of older files look into tensors of any shape."""
    torch.save({"pos_embed": torch.zeros(7), "patch_embed.proj.weight": torch.zeros(3)}, tmp_path / "x.pth")
    zse("embed", sketch.name, "--model", f"frozen:{name}=x.pth").refused(3, "x.pth: not weights of", name)


# configurations


def changed(path: Path, keys: str, value: Any) -> str:
    """The configuration as JSON with one value exchanged."""
    with safe_open(path, "pt") as file:
        settings = json.loads(file.metadata()["config"])
    *way, last = keys.split(".")
    inside = settings
    for key in way:
        inside = inside[key]
    inside[last] = value
    return json.dumps(settings)


@pytest.mark.parametrize(
    ("keys", "value"),
    [
        ("backbone.depth", 10**9),
        ("backbone.depth", 0),
        ("backbone.width", -1),
        ("backbone.width", 10**9),
        ("backbone.heads", 0),
        ("backbone.image_size", 0),
        ("backbone.image_size", 10**6),
        ("backbone.norm_eps", -1.0),
        ("backbone.dropout", 2.0),
        ("backbone.name", f"hf-hub:somebody/{TRUNK}"),
        ("backbone.name", "local-dir:/etc"),
        ("backbone.name", "a" * 1000),
        ("cross_attention.hidden", 10**12),
        ("cross_attention.heads", 10**30),
        ("relation.hidden", [10**12]),
        ("relation.hidden", [8] * 10_000),
        ("relation.cell", 0),
        ("relation.project", -3),
        ("tokenizer.channels", [1] * 1000),
        ("selection.blocks", [0]),
        ("selection.blocks", list(range(5000))),
        ("selection.rate", 0.0),
        ("selection.rate", 1e999),
        ("preprocess.size", 10**6),
        ("preprocess.mean", [0.5]),
        ("preprocess.std", [0.0, 0.5, 0.5]),
        ("preset", "\x1b[2J"),
        ("preset", "x" * 5_000_000),
        ("preset", ["tiny"]),
    ],
)
@pytest.mark.usefixtures("unbuilt")
def test_impossible_configurations_are_refused(saved: Path, tmp_path: Path, keys: str, value: Any) -> None:
    path = rewrite(saved, tmp_path / "x.safetensors", config=changed(saved, keys, value))
    for load in (checkpoint.load, checkpoint.load_scoring, checkpoint.verify):
        with pytest.raises(StoreError, match=r"x\.safetensors: its model configuration is wrong") as error:
            load(path)
        assert len(error.value.message) < 500


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"a":' * 10_000,
        LEAST.to_json().replace('"depth": 6', '"depth": 6, "depth": 5'),
        LEAST.to_json().replace('"depth": 6', '"depth": NaN'),
        LEAST.to_json().replace('"dropout": 0.0', '"dropout": -Infinity'),
        LEAST.to_json().replace('"depth": 6', f'"depth": {"9" * 5000}'),
        "null",
        "",
        '"' + "x" * 2**24 + '"',
    ],
    ids=["brackets", "braces", "twice", "NaN", "infinity", "digits", "null", "nothing", "long"],
)
@pytest.mark.usefixtures("unbuilt")
def test_configurations_that_are_no_plain_json(saved: Path, tmp_path: Path, text: str) -> None:
    path = rewrite(saved, tmp_path / "x.safetensors", config=text)
    with pytest.raises(StoreError, match=r"x\.safetensors: its model configuration is wrong"):
        checkpoint.load(path)


@pytest.mark.parametrize(
    ("keys", "value", "says"),
    [
        ("cross_attention.heads", 3, "3 heads cannot share a width of 64"),
        ("backbone.name", "no_such_trunk", "no_such_trunk"),
        ("backbone.name", "vit_tiny_patch16_224", "missing"),
        ("backbone.name", "resnet18", "no network can be made"),
        ("relation.cell", 1, "has shape"),
        ("backbone.kind", "hybrid", "no network can be made"),
        ("cross_attention.hidden", 2**20, "has shape"),
        ("relation.hidden", [2**20] * 31, "missing"),
    ],
)
def test_networks_that_cannot_be(
    zse: Zse, saved: Path, tmp_path: Path, sketch: Path, keys: str, value: Any, says: str
) -> None:
    """Parts of them on no device: none takes the memory that it asks for."""
    rewrite(saved, tmp_path / "x.safetensors", config=changed(saved, keys, value))
    zse("embed", sketch.name, "--model", "x.safetensors").refused(3, "x.safetensors: ", says)


@pytest.mark.parametrize("shape", [(0,), (), (3, 0), (10**6, 0)])
@pytest.mark.parametrize("name", ["cross_attention.sketch.query.weight", "backbone.vit.patch_embed.proj.weight"])
def test_shapes_that_scoring_is_measured_by(saved: Path, tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    path = rewrite(saved, tmp_path / "x.safetensors", **{name: torch.zeros(shape)})
    with pytest.raises(StoreError, match=r"x\.safetensors: .*has shape"):
        checkpoint.load_scoring(path)


@pytest.mark.parametrize("about", ["[" * 100_000, '{"seen_classes": 5}', '{"seen_classes": [["a"]]}'])
def test_what_a_checkpoint_says_of_its_training(zse: Zse, saved: Path, tmp_path: Path, about: str) -> None:
    with safe_open(saved, "pt") as file:
        metadata = file.metadata() | {"training": about, "zse-schema-version": "1.1"}
    del metadata["checksum"]
    save_file(load_file(saved), tmp_path / "x.safetensors", metadata)
    line = ("evaluate", "--split", "zs-cross", "--data", "no", "--model", "x.safetensors")
    done = zse(*line)
    assert done.code == (2 if "[[[" in about else 3), done.err
    assert "fault of zse" not in done.err


# tensors


@pytest.mark.parametrize("dtype", [torch.int32, torch.bool, torch.float64, torch.float8_e4m3fn], ids=str)
def test_types_that_no_parameter_has(zse: Zse, saved: Path, tmp_path: Path, sketch: Path, dtype: torch.dtype) -> None:
    rewrite(saved, tmp_path / "x.safetensors", **{"relation.mlp.0.bias": torch.zeros(16).to(dtype)})
    said = str(dtype).removeprefix("torch.")
    zse("embed", sketch.name, "--model", "x.safetensors").refused(3, "relation.mlp.0.bias is of", said)


def test_weights_of_a_backbone_have_the_types_of_parameters(zse: Zse, tmp_path: Path, sketch: Path) -> None:
    import timm

    state = timm.create_model("test_vit").state_dict()
    for dtype in (torch.int32, torch.complex64, torch.float64):
        torch.save(state | {"norm.bias": state["norm.bias"].to(dtype)}, tmp_path / "x.pth")
        said = str(dtype).removeprefix("torch.")
        zse("embed", sketch.name, "--model", "frozen:test_vit=x.pth").refused(3, "x.pth", f"norm.bias is of {said}")
    torch.save(state, tmp_path / "x.pth")
    zse("embed", sketch.name, "--model", "frozen:test_vit=x.pth").ok()


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_no_numbers(zse: Zse, saved: Path, tmp_path: Path, sketch: Path, value: float) -> None:
    rewrite(saved, tmp_path / "x.safetensors", **{"relation.mlp.0.bias": torch.full((16,), value)})
    zse("embed", sketch.name, "--model", "x.safetensors").refused(3, "x.safetensors", "relation.mlp.0.bias", "finite")


def raw(header: dict[str, Any] | bytes, data: bytes = b"", size: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + data


def tensor(start: int, stop: int, dtype: str = "F32", shape: tuple[int, ...] = (1,)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": (start, stop)}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0",
        bytes(8),
        raw(b"", size=2**63),
        raw(b"", size=2**40),
        raw(b"{}", size=99_999_999),
        raw(b"\xff\xfe"),
        raw(b"[]"),
        raw(b"[" * 50_000),
        raw({"a": tensor(0, 4), "b": tensor(0, 4)}, bytes(4)),
        raw({"a": tensor(0, 8, shape=(2,)), "b": tensor(4, 12, shape=(2,))}, bytes(12)),
        raw({"a": tensor(4, 0)}, bytes(4)),
        raw({"a": tensor(0, 4)}),
        raw({"a": tensor(0, 4)}, bytes(400)),
        raw({"a": tensor(0, 4, shape=(2**62, 4))}, bytes(4)),
        raw({"a": tensor(-4, 0)}, bytes(4)),
        raw({"a": tensor(0, 4, "F31")}, bytes(4)),
        raw(b'{"a":%s,"a":%s}' % (json.dumps(tensor(0, 4)).encode(), json.dumps(tensor(4, 8)).encode()), bytes(8)),
        raw({"__metadata__": {"zse-schema": 1}}),
        raw({"__metadata__": {"zse-schema": "checkpoint", "zse-schema-version": "1.x", "config": "{}"}}),
    ],
)
def test_files_that_are_no_safetensors(zse: Zse, tmp_path: Path, sketch: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    for line in (("embed", sketch.name, "--model"), ("inspect",)):
        zse(*line, "x.safetensors").refused(3, "x.safetensors: ")
    zse("embed", sketch.name, "--model", f"frozen:{TRUNK}=x.safetensors").refused(3, "x.safetensors: ")


def test_a_checkpoint_cut_anywhere(saved: Path, tmp_path: Path) -> None:
    data, path = saved.read_bytes(), tmp_path / "x.safetensors"
    for part in range(20):
        path.write_bytes(data[: len(data) * part // 20])
        with pytest.raises(StoreError, match=r"x\.safetensors"):
            checkpoint.load(path)


def test_a_flipped_bit_is_found(zse: Zse, saved: Path, tmp_path: Path, sketch: Path) -> None:
    data, path = bytearray(saved.read_bytes()), tmp_path / "x.safetensors"
    header, drawn = 8 + int.from_bytes(data[:8], "little"), random.Random(0)
    assert "tensors and the metadata are those that were written" in checkpoint.verify(saved)
    places = [drawn.randrange(header, len(data)) for _ in range(10)] + [drawn.randrange(header) for _ in range(50)]
    for place in places:
        data[place] ^= (bit := 1 << drawn.randrange(8))
        path.write_bytes(data)
        for load in (checkpoint.load, checkpoint.load_scoring) if place == places[0] else (checkpoint.load,):
            with pytest.raises(StoreError, match=r"x\.safetensors"):
                load(path)
        if place >= header:
            with pytest.raises(StoreError, match=r"damaged|not finite"):
                checkpoint.verify(path)
        data[place] ^= bit
    path.write_bytes(data)
    assert "those that were written (SHA-256)" in zse("inspect", "x.safetensors", "--verify").ok()
    data[-1] ^= 1
    path.write_bytes(data)
    for line in (("embed", sketch.name, "--model"), ("inspect",)):
        zse(*line, "x.safetensors").refused(3, "x.safetensors: damaged: its tensors", "not those that were written")


def test_the_checksum_is_what_the_specification_says(saved: Path) -> None:
    """Computed from the file's own bytes, without the code that writes it."""
    data = saved.read_bytes()
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    metadata = header.pop("__metadata__")
    said = metadata.pop("checksum")
    digest = hashlib.sha256(json.dumps(sorted(map(list, metadata.items()))).encode() + b"\n")
    for name, about in sorted(header.items()):
        kind = {"F32": "float32", "I64": "int64"}[about["dtype"]]
        digest.update(json.dumps([name, kind, about["shape"]]).encode() + b"\n")
        digest.update(data[8 + size :][slice(*about["data_offsets"])])
    assert digest.hexdigest() == said


def test_the_same_network_makes_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """The metadata too, which safetensors itself writes in an order of chance."""
    assert len({checkpoint.save(build(LEAST), tmp_path / "x.safetensors").read_bytes() for _ in range(3)}) == 1


def test_what_is_compared_where_there_is_no_checksum(saved: Path, tmp_path: Path) -> None:
    """Files older than version 1.2 are read; a newer one has lost it."""
    assert "has no checksum" in checkpoint.verify(rewrite(saved, tmp_path / "x.safetensors", version="1.1"))
    with pytest.raises(StoreError, match="its checksum is gone"):
        checkpoint.verify(rewrite(saved, tmp_path / "x.safetensors", version="1.2"))


# the state of a training run


def optimizer(network: nn.Module) -> torch.optim.AdamW:
    made = torch.optim.AdamW(network.parameters())
    for parameter in network.parameters():
        parameter.grad = torch.ones_like(parameter)
    made.step()
    return made


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    network = build(LEAST)
    path = tmp_path_factory.mktemp("run") / "state.safetensors"
    progress = state.RunProgress(step=7, best=0.5, best_epoch=1)
    state.save_state(path, "key", progress, {"model": network}, optimizer(network))
    return path


def resume(path: Path) -> state.RunProgress | None:
    network = build(LEAST, seed=1)
    return state.load_state(path, "key", {"model": network}, torch.optim.AdamW(network.parameters()))


def test_a_state_as_it_was_written(stopped: Path) -> None:
    assert resume(stopped) == state.RunProgress(step=7, best=0.5, best_epoch=1)


def test_a_state_of_an_earlier_version_has_no_losses(stopped: Path, tmp_path: Path) -> None:
    tensors, path = load_file(stopped), tmp_path / "state.safetensors"
    with safe_open(stopped, "pt") as file:
        metadata = file.metadata()
    del metadata["checksum"]
    metadata["progress"] = '{"step": 7, "best": null, "best_epoch": 0, "stale": 0, "ended": false}'
    save_file(tensors, path, metadata)
    assert resume(path) == state.RunProgress(step=7)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"exp_avg.3": None}, "missing exp_avg.3"),
        ({"exp_avg.3": torch.zeros(1, 2, 3)}, "exp_avg.3 has shape"),
        ({"exp_avg_sq.3": torch.nan}, "exp_avg_sq.3 holds values that are not finite"),
        ({"exp_avg.99999": torch.zeros(1)}, "too many exp_avg.99999"),
        ({"model.backbone.vit.cls_token": None}, "missing backbone.vit.cls_token"),
        ({"model.backbone.vit.cls_token": torch.zeros(1, 1, 64, dtype=torch.int64)}, "is of int64"),
        ({"progress": "[" * 100_000}, "not a state of training"),
        ({"progress": '{"step": -5, "best": null, "best_epoch": 0, "stale": 0, "ended": false}'}, "step=-5"),
        ({"progress": '{"step": "7", "best": null, "best_epoch": 0, "stale": 0, "ended": false}'}, "step must be int"),
        ({"progress": "{}"}, "missing key"),
        (
            {
                "progress": '{"step": 7, "best": null, "best_epoch": 0, "stale": 0, "ended": false, '
                '"unlogged": [[1.0, 2.0]]}'
            },
            "a step has 6 losses",
        ),
        ({"zse-schema": "checkpoint"}, "not a state of training"),
    ],
)
def test_states_that_are_none(stopped: Path, tmp_path: Path, change: dict[str, Any], says: str) -> None:
    tensors, path = load_file(stopped), tmp_path / "state.safetensors"
    with safe_open(stopped, "pt") as file:
        metadata = file.metadata()
    del metadata["checksum"]
    for name, value in change.items():
        if isinstance(value, str):
            metadata[name] = value
        elif value is None:
            del tensors[name]
        else:
            tensors[name] = value if isinstance(value, torch.Tensor) else torch.full_like(tensors[name], value)
    save_file(tensors, path, metadata)
    with pytest.raises(StoreError, match=says) as error:
        resume(path)
    assert str(path) in error.value.message and ("begins again" in error.value.hint or "diverged" in error.value.hint)


def test_a_state_with_a_flipped_bit_or_code(stopped: Path, tmp_path: Path) -> None:
    path, data = tmp_path / "state.safetensors", bytearray(stopped.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)
    with pytest.raises(StoreError, match="damaged: its tensors"):
        resume(path)
    path.write_bytes(pickle.dumps(Evil(tmp_path / "mark")))
    with pytest.raises(StoreError, match="not a safetensors file"):
        resume(path)
    assert not (tmp_path / "mark").exists()


# files of defaults


@pytest.mark.parametrize(
    "text",
    [
        "x = " + "[" * 50_000,
        "[embed]\npart = {a = 1}",
        "[embed]\nbatch-size = nan",
        "[embed]\nbatch-size = 1e400",
        "[embed]\nbatch-size = [[1]]",
        "[embed]\npart = [1, 2]",
        "[embed]\nworkspace = 1979-05-27",
        "[embed]\n[embed]\n",
        "[embed]\nmodel = 'a'\nmodel = 'b'",
        "[[embed]]\nmodel = 'a'",
        "[embed]\n'\\u001b[2J' = 1",
        "\0",
    ],
    ids=range(12),
)
def test_files_of_defaults_that_are_none(zse: Zse, tmp_path: Path, sketch: Path, text: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    said = zse("embed", sketch.name, "--config", "c.toml").refused(2, "c.toml: ")
    assert "\x1b" not in said and len(said) < 2000
