"""Numbers: none that is no number passes for a result, and how the work is done does not show in what it gives."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from helpers.commands import Zse, call
from helpers.stores import changing
from helpers.tiny import LEAST, build
from zsecli.model import checkpoint

COSINE, RELATION, TOKENS = 1e-5, 1e-5, 2e-3  # how far apart two runs may be, as docs/stores.md says; [Ret] as a cosine


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with net.safetensors, and two.h5: sketches and photos embedded by it. Not to be changed."""
    folder = tmp_path_factory.mktemp("numbers")
    checkpoint.save(build(LEAST), folder / "net.safetensors")
    shutil.copytree(pictures, folder / "pictures")
    embed(folder, listed(folder), "two.h5")
    return folder


def listed(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in (folder / "pictures").rglob("*.*"))


def embed(folder: Path, pictures: list[str], output: Path | str, *words: str) -> Any:
    """Sketches, then photos, in the order of the list."""
    return call(
        folder, "embed", "-", "--model", "net.safetensors", "-o", output, *words, stdin="\n".join(pictures).encode()
    )


@pytest.fixture
def store(folder: Path, tmp_path: Path) -> Path:
    """A copy of the feature store that may be spoiled, with its network beside it."""
    shutil.copy(folder / "net.safetensors", tmp_path)
    return Path(shutil.copy(folder / "two.h5", tmp_path / "two.h5"))


# what is no number


@pytest.mark.parametrize(("value", "precision"), [(1e6, "fp32"), (-1e6, "bf16"), (3e38, "fp32")])
def test_values_beyond_float16_are_no_features(
    zse: Zse, tmp_path: Path, sketch: Path, value: float, precision: str
) -> None:
    network = build(LEAST)
    with torch.no_grad():
        network.backbone.vit.norm.weight.fill_(value)
    checkpoint.save(network, tmp_path / "net.safetensors")
    for name in ("explain", "synthesize")[: 2 * (value == 3e38)]:
        zse(name, "sketch.png", "sketch.png", "--model", "net.safetensors").refused(1, "sketch.png", "not finite")
    line = ("embed", "sketch.png", "--model", "net.safetensors", "--precision", precision, "-o", "x.h5")
    zse(*line).refused(1, "sketch.png: its", "not finite, or too large for float16", "diverged")
    assert not (tmp_path / "x.h5").exists()


def test_a_backbone_whose_ret_is_no_number(zse: Zse, tmp_path: Path, sketch: Path) -> None:
    """It has [Ret] alone, in float32."""
    import timm

    state = timm.create_model("test_vit").state_dict()
    state["norm.weight"].fill_(3e38)
    torch.save(state, tmp_path / "x.pth")
    zse("embed", "sketch.png", "--model", "frozen:test_vit=x.pth").refused(1, "sketch.png: its ret are not finite")


def spoil(store: Path, name: str, value: float, modality: int) -> str:
    """Put a value into the features of one sketch (0) or photo (1); its id."""
    with changing(store) as file:
        row = int(np.flatnonzero(file["items/modality"][:] == modality)[3])
        data = file[name]
        values = data[row] * (value != 0)
        values.reshape(-1)[5] = value
        data[row] = values
        return str(file["items/id"].asstr()[row])


@pytest.mark.parametrize(
    ("words", "value", "modality"),
    [
        ("ret", np.nan, 1),
        ("ret", -np.inf, 0),
        ("cascade", np.inf, 0),
        ("cascade", 3e38, 1),
        ("ret --center", np.nan, 0),
        ("ret --center", -np.inf, 1),
        ("ret --ann --shortlist 5", np.nan, 1),
        ("ret --ann --shortlist 5", 3e38, 0),
    ],
)
def test_a_ret_in_a_store_that_is_no_number(zse: Zse, store: Path, words: str, value: float, modality: int) -> None:
    name = spoil(store, "ret", value, modality)
    zse("match", "two.h5", "--by", *words.split()).refused(3, "two.h5: the [Ret] of", name, "is not a number")
    assert not list(store.parent.glob("zse/rankings/*.h5"))


@pytest.mark.parametrize(
    ("way", "modality", "precision"), [("rn", 0, "fp32"), ("cascade", 1, "fp32"), ("rn", 1, "bf16")]
)
def test_a_relation_score_that_is_no_number(zse: Zse, store: Path, way: str, modality: int, precision: str) -> None:
    name = spoil(store, "tokens", np.nan, modality)
    line = ("match", "two.h5", "--by", way, "--precision", precision)
    zse(*line).refused(1, "the relation score of", name, "is not a number")
    assert not list(store.parent.glob("zse/rankings/*.h5"))


def test_explanations_of_a_score_that_is_no_number(zse: Zse, tmp_path: Path, sketch: Path) -> None:
    """Tokens are numbers, and what the pair makes of them is not."""
    network = build(LEAST)
    with torch.no_grad():
        network.relation.mlp[0].weight.fill_(3e38)
    checkpoint.save(network, tmp_path / "net.safetensors")
    for name in ("explain", "synthesize"):
        line = (name, "sketch.png", "sketch.png", "--model", "net.safetensors")
        zse(*line).refused(1, "the relation score of sketch.png and sketch.png is not a number")
    assert not (tmp_path / "zse").exists()


def test_zeros_are_like_nothing(zse: Zse, store: Path) -> None:
    """The cosine of a [Ret] of zeros is 0 with everything: such photos tie, and stand in the order of the gallery."""
    query, photo = spoil(store, "ret", 0, 0), spoil(store, "ret", 0, 1)
    scores, order = ranking(store.parent / zse("match", "two.h5", "--by", "ret").ok())
    assert set(scores[query].values()) == {0.0}
    assert order[query] == sorted(order[query])
    assert {found[photo] for found in scores.values()} == {0.0}


@pytest.mark.parametrize("model", ["pixels", "hog"])
@pytest.mark.parametrize("center", [(), ("--center",)])
def test_blank_pictures_are_like_nothing(zse: Zse, tmp_path: Path, model: str, center: tuple[str, ...]) -> None:
    """Not wholly alike or opposite, as rounding has it: about their mean, or about that of all, they are zeros."""
    if model == "hog":
        pytest.importorskip("skimage")
    for modality in ("sketch", "photo"):
        (tmp_path / "d" / modality / "a").mkdir(parents=True)
        for number, colour in enumerate(np.random.default_rng(0).integers(256, size=(10, 3)).tolist()):
            Image.new("RGB", (50, 40), tuple(colour)).save(tmp_path / "d" / modality / "a" / f"{number}.png")
    zse("prepare", "folder", "d").ok()
    scores, _ = ranking(tmp_path / zse("match", "--by", "ret", *center, ZSE_MODEL=model).ok())
    assert {score for found in scores.values() for score in found.values()} == {0.0}


def test_what_earlier_versions_stored_of_a_blank_picture_is_like_nothing(zse: Zse, store: Path) -> None:
    """Rounding, of a length of up to 8e-6."""
    for value in (0, 1e-7):
        query, photo = spoil(store, "ret", value, 0), spoil(store, "ret", -value, 1)
    scores, _ = ranking(store.parent / zse("match", "two.h5", "--by", "ret").ok())
    assert set(scores[query].values()) == {0.0}
    assert {found[photo] for found in scores.values()} == {0.0}


# how the work is done


def features(path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    with h5py.File(path) as file:
        values = zip(file["ret"][:], file["tokens"][:].astype(np.float32), strict=True)
        return dict(zip(file["items/id"].asstr()[:], values, strict=True))


def ranking(path: Path) -> tuple[dict[str, dict[str, float]], dict[str, list[str]]]:
    """The score of each photo, and the photos in order, for each sketch."""
    with h5py.File(path) as file:
        gallery = file["gallery/id"].asstr()[:]
        rows = zip(file["query/id"].asstr()[:], file["indices"][:], file["scores"][:], strict=True)
        found = {query: (gallery[at].tolist(), values.tolist()) for query, at, values in rows}
    return (
        {query: dict(zip(*pair, strict=True)) for query, pair in found.items()},
        {query: photos for query, (photos, _) in found.items()},
    )


def alike(one: Path, other: Path) -> None:
    """Two feature stores, and the rankings made of them."""
    a, b = features(one), features(other)
    assert a.keys() == b.keys()
    for name, (ret, tokens) in a.items():
        cosine = ret @ b[name][0] / np.linalg.norm(ret) / np.linalg.norm(b[name][0])
        assert cosine > 1 - COSINE
        np.testing.assert_allclose(ret, b[name][0], rtol=0, atol=COSINE * np.linalg.norm(ret))
        np.testing.assert_allclose(tokens, b[name][1], rtol=TOKENS, atol=TOKENS)


def ranked_alike(one: Path, other: Path, tolerance: float) -> None:
    """Scores agree, and so do orders but for scores that are nearer to each other than that."""
    (scores, _), (others, order) = ranking(one), ranking(other)
    assert scores.keys() == others.keys()
    for query, photos in order.items():
        assert scores[query].keys() == others[query].keys()
        ours = np.array([scores[query][photo] for photo in photos])
        theirs = np.array([others[query][photo] for photo in photos])
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=tolerance)
        assert (np.diff(ours) <= 2 * tolerance).all()


WAYS = {"ret": COSINE, "rn": RELATION, "cascade": max(COSINE, RELATION)}


@pytest.fixture(scope="module")
def ranked(folder: Path) -> dict[str, Path]:
    """The rankings of two.h5."""
    return {way: rank(folder, "two.h5", way, folder / f"{way}.h5") for way in WAYS}


def rank(folder: Path, store: Path | str, way: str, output: Path) -> Path:
    call(folder, "match", store, "--by", way, "--shortlist", "7", "-o", output).ok()
    return output


@pytest.mark.parametrize(("size", "turned"), [("1", True), ("3", False), ("64", True)])
def test_batches_and_order_do_not_show(
    folder: Path, ranked: dict[str, Path], tmp_path: Path, size: str, turned: bool
) -> None:
    pictures = listed(folder)
    shuffled = [pictures[i] for i in np.random.default_rng(int(size)).permutation(len(pictures))]
    other = tmp_path / "other.h5"
    embed(folder, shuffled if turned else pictures, other, "--batch-size", size).ok()
    alike(folder / "two.h5", other)
    for way, tolerance in WAYS.items():
        made = rank(folder, other, way, tmp_path / f"{way}.h5")
        if way != "cascade":
            ranked_alike(ranked[way], made, tolerance)
            continue
        (scores, _), (others, _) = map(ranking, (ranked[way], made))
        for query, found in scores.items():  # at the edge of a shortlist a tie of cosines decides who is related
            both = [photo for photo in found if found[photo] > 0 < others[query][photo]]
            assert len(both) >= 6
            assert max(abs(found[photo] - others[query][photo]) for photo in both) <= tolerance


THREADED = """
import sys
from zsecli import cli
for line in sys.argv[1].split("; "):
    sys.argv = ["zse", *line.split()]
    try:
        cli.main()
    except SystemExit as end:
        assert not end.code, line
"""


def test_threads_and_workers_do_not_show(folder: Path, ranked: dict[str, Path], tmp_path: Path) -> None:
    """Two threads and two processes that decode, in a process of its own, beside one of each here."""
    lines = f"embed - --model net.safetensors --workers 2 -o {tmp_path}/other.h5; "
    lines += f"match {tmp_path}/other.h5 --by rn -o {tmp_path}/rn.h5"
    subprocess.run(
        [sys.executable, "-c", THREADED, lines],
        input="\n".join(listed(folder)),
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        text=True,
        check=True,
        timeout=120,
    )
    alike(folder / "two.h5", tmp_path / "other.h5")
    ranked_alike(ranked["rn"], tmp_path / "rn.h5", RELATION)


def test_the_tolerance_is_the_documented_one() -> None:
    text = (Path(__file__).parents[2] / "docs/stores.md").read_text("utf-8")
    for name, value in (("[Ret]", COSINE), ("relation scores", RELATION), ("tokens", TOKENS)):
        assert f"{name} {value:g}" in " ".join(text.split()), name


def test_the_same_seed_gives_the_same_checkpoint(
    zse: Zse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pictures: Path
) -> None:
    """The same bytes, of the checkpoint, of the last one and of the state; another seed gives others."""
    from zsecli.model.config import PRESETS

    monkeypatch.setitem(PRESETS, "least", LEAST)
    (tmp_path / "unseen.txt").write_text("lock\n")
    zse("prepare", "folder", pictures, "--unseen", "unseen.txt", "--name", "some").ok()
    words = (
        "train",
        "some",
        "--preset",
        "least",
        "--scratch",
        "--epochs",
        "2",
        "--epoch-draws",
        "8",
        "--batch-size",
        "4",
    )
    made = {}
    for name, more in (("one", ()), ("two", ("--workers", "1")), ("three", ("--seed", "5"))):
        zse(*words, "-o", f"{name}.safetensors", *more).ok()
        run = (f"{name}.safetensors", f"{name}.run/last.safetensors", f"{name}.run/state.safetensors")
        made[name] = [(tmp_path / file).read_bytes() for file in run]
    assert made["one"] == made["two"]
    assert all(a != b for a, b in zip(made["one"], made["three"], strict=True))
    assert json.loads(zse("inspect", "one.safetensors", "--json").ok())["kind"] == "checkpoint"
