"""A model with tokens and a relation network through the commands, and TREC files against trec_eval."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import pytrec_eval
import timm
import torch
from safetensors.torch import save_file

from helpers.commands import Zse, call
from helpers.files import files
from helpers.stores import read_datasets
from helpers.tiny import TINY, build
from zsecli.data.embedded import Embedded
from zsecli.images.preprocess_rules import Modality
from zsecli.model import checkpoint
from zsecli.model.embedders.base import NetworkEmbedder


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A folder with tiny.safetensors, in its workspace `pictures` embedded by it. Not to be changed."""
    folder = tmp_path_factory.mktemp("embedded")
    checkpoint.save(build(TINY), folder / "tiny.safetensors")
    call(folder, "prepare", "folder", pictures).ok()
    call(folder, "embed", "--model", "tiny.safetensors").ok()
    return folder


@pytest.fixture
def folder(embedded: Path, tmp_path: Path) -> Path:
    """The test's own copy of `embedded`."""
    return Path(shutil.copytree(embedded, tmp_path, dirs_exist_ok=True))


def features(folder: Path) -> Path:
    return next(folder.glob("zse/features/pictures.unseen.tiny-*")).relative_to(folder)


def order(ranking: Path) -> np.ndarray:
    with h5py.File(ranking) as file:
        return np.asarray(file["indices"][:])


def test_a_cascade_over_the_whole_gallery_is_the_relation_order(zse: Zse, folder: Path) -> None:
    store = features(folder)
    # the model is where the store says it is: no --model is needed
    everything = order(folder / zse("match", store, "--by", "rn").ok())
    for shortlist in (24, 999):
        whole = folder / zse("match", store, "--by", "cascade", "--shortlist", shortlist).ok()
        assert np.array_equal(order(whole), everything)
    ret = order(folder / zse("match", store, "--by", "ret").ok())
    short = folder / zse("match", store, "--shortlist", 5).ok()  # a model that can relate is asked to
    assert not np.array_equal(everything, ret)
    assert np.array_equal(np.sort(order(short)[:, :5]), np.sort(ret[:, :5]))
    assert np.array_equal(order(short)[:, 5:], ret[:, 5:])
    with h5py.File(short) as file:
        assert (np.diff(file["scores"][:], axis=1) <= 0).all()


def test_a_relation_ranking_leaves_out_what_does_not_count(zse: Zse, folder: Path) -> None:
    for by in ("rn", "cascade"):
        ranked = order(folder / zse("match", features(folder), "--by", by, "--ignore-same", "label").ok())
        assert (np.sum(ranked >= 0, axis=1) == 16).all()


def test_a_sketch_through_the_pipe_is_related_to_photos(zse: Zse, folder: Path, sketch: Path) -> None:
    query = zse("embed", "sketch.png", "--modality", "sketch", "--model", "tiny.safetensors").ok()
    hits = zse("match", "-", features(folder), "--top", "3", "--format", "json", stdin=query.encode()).ok()
    scores = [json.loads(line)["score"] for line in hits.splitlines()]
    assert len(scores) == 3
    assert all(0 <= score <= 1 for score in scores)


def test_the_size_of_a_batch_does_not_matter(zse: Zse, folder: Path) -> None:
    first = read_datasets(folder / features(folder))
    for size in (1, 7):
        zse("embed", "--model", "tiny.safetensors", "--batch-size", size, "-o", "x.h5", "--overwrite").ok()
        other = read_datasets(folder / "x.h5")
        np.testing.assert_allclose(other["ret"], first["ret"], rtol=0, atol=1e-5)
        # float16 rounds the same difference up to its own step
        np.testing.assert_allclose(other["tokens"], first["tokens"], rtol=2**-10, atol=1e-5)
        (folder / "x.h5").unlink()


def test_weights_that_did_not_make_the_store_are_refused(zse: Zse, folder: Path) -> None:
    checkpoint.save(build(TINY, seed=1), folder / "other.safetensors")
    zse("match", features(folder), "--model", "other.safetensors").refused(3, "other.safetensors", "is not the model")
    other = zse("embed", "--model", "other.safetensors").ok()
    zse("match", features(folder), other).refused(3, "different models", "--model")
    before = files(folder / "zse")
    (folder / "other.safetensors").unlink()
    zse("match", other).refused(3, "other.safetensors: no such weights", "--model")
    assert files(folder / "zse") == before
    zse("match", other, "--by", "ret").ok()  # needs no model


def test_a_link_to_nothing_is_passed_over(zse: Zse, folder: Path) -> None:
    (folder / "zse" / "models").mkdir()
    shutil.copy(folder / "tiny.safetensors", folder / "zse" / "models")
    for name in ("models/gone.safetensors", "datasets/gone.h5"):
        (folder / "zse" / name).symlink_to("nowhere")
    assert "tiny" in zse("embed", "--dry-run", ZSE_MODEL=None).err


def test_the_newest_checkpoint_of_the_workspace_is_the_default(zse: Zse, folder: Path, prepared: Path) -> None:
    (folder / "zse" / "models").mkdir()
    shutil.copy(folder / "tiny.safetensors", folder / "zse" / "models")
    before = files(folder / "zse" / "features")
    zse("embed", ZSE_MODEL=None).ok()
    assert files(folder / "zse" / "features") == before  # the same weights elsewhere are the same model
    report = json.loads(zse("evaluate", "--json", "--shortlist", "5", ZSE_MODEL=None).ok())
    assert (report["by"], report["shortlist"]) == ("cascade", 5)
    about = json.loads(zse("inspect", "zse/models/tiny.safetensors", "--json").ok())
    assert about["kind"] == "checkpoint"
    assert about["configuration"]["preset"] == "tiny"


def test_a_frozen_backbone_has_no_relation_network(zse: Zse, ready: Path) -> None:
    save_file(timm.create_model("test_vit").state_dict(), ready.parent / "vit.safetensors")
    store = zse("embed", "--model", "frozen:test_vit=vit.safetensors").ok()
    for by in ("rn", "cascade"):
        zse("match", store, "--by", by).refused(3, "frozen:test_vit", "no relation network", "--by ret")
    assert zse("match", store).ok().endswith(".ret.h5")


@pytest.mark.parametrize("split", ["zs-inter", "zs-intra"])
@pytest.mark.parametrize("options", [[], ["--ignore-same", "family", "--center"]], ids=["plain", "ignoring"])
def test_trec_files_agree_with_trec_eval(zse: Zse, ready: Path, split: str, options: list[str]) -> None:
    zse("evaluate", "--split", split, *options, "--trec", "trec", "-o", "report.json").ok()
    report = json.loads((ready.parent / "report.json").read_text())
    for name, part in report["protocols"].items():
        stem = ready.parent / "trec" / name.replace("/", "-")
        with open(f"{stem}.run") as run, open(f"{stem}.qrels") as qrels:
            relevant = pytrec_eval.parse_qrel(qrels)
            judged = pytrec_eval.RelevanceEvaluator(relevant, {"map", "recip_rank"}).evaluate(
                pytrec_eval.parse_run(run)
            )
        assert len(judged) == part["queries"] > 0
        assert np.mean([q["map"] for q in judged.values()]) == pytest.approx(
            part["mean"]["mAP (raw)"]["value"], abs=1e-9
        )
        for query in part["per_query"]:
            assert judged[query["query"]]["map"] == pytest.approx(query["AP (raw)"], abs=1e-9)
            if "reciprocal rank" in query:
                assert judged[query["query"]]["recip_rank"] == pytest.approx(query["reciprocal rank"], abs=1e-9)


def test_a_lower_precision_is_another_store_close_by(zse: Zse, folder: Path) -> None:
    whole = features(folder)
    half = Path(zse("embed", "--model", "tiny.safetensors", "--precision", "bf16").ok())
    assert half.name == whole.name.replace(".h5", "-bf16.h5")
    (a, b) = (read_datasets(folder / path) for path in (whole, half))
    assert a["run-key"] != b["run-key"]
    assert 0 < np.abs(a["ret"] - b["ret"]).max() < 0.05 * np.abs(a["ret"]).max()
    exact = read_datasets(folder / zse("match", whole, "--by", "rn").ok())
    near = read_datasets(folder / zse("match", whole, "--by", "rn", "--precision", "bf16").ok())
    scores = [np.take_along_axis(c["scores"], np.argsort(c["indices"], axis=1), 1) for c in (exact, near)]
    assert 0 < np.abs(scores[0] - scores[1]).max() < 0.01
    assert exact["run-key"] != near["run-key"]


def test_a_precision_that_has_no_say_or_is_not_there(zse: Zse, folder: Path) -> None:
    store = features(folder)
    zse("match", store, "--by", "ret", "--precision", "bf16").refused(2, "--precision", "no effect on stored [Ret]")
    zse("match", store, "--precision", "fp16", "--device", "cpu").refused(2, "fp16 needs a GPU", "bf16")
    zse("match", store, "--precision", "half").refused(2, "--precision 'half'", "fp32, bf16, fp16")
    zse("embed", "--model", "pixels", "--precision", "bf16").refused(2, "--precision", "no effect with pixels")
    pixels = zse("match", "--model", "pixels", "--precision", "bf16").ok()  # a baseline that is no network
    assert pixels == zse("match", "--model", "pixels").ok()


def test_pictures_that_memory_does_not_hold_together(zse: Zse, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are embedded in smaller parts; one that does not fit alone is an error."""
    original, room = NetworkEmbedder.embed, 3

    def embed(self: NetworkEmbedder, pictures: np.ndarray, role: Modality) -> Embedded:
        if len(pictures) > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return original(self, pictures, role)

    monkeypatch.setattr(NetworkEmbedder, "embed", embed)
    words = ["embed", "--model", "tiny.safetensors", "--batch-size", "16", "-o", "x.h5"]
    other = read_datasets(folder / zse(*words).ok())
    for name, values in read_datasets(folder / features(folder)).items():
        if isinstance(values, np.ndarray) and values.dtype.kind == "f":
            np.testing.assert_allclose(values, other[name], rtol=1e-2, atol=1e-3)
    room = 0
    zse(*words, "--overwrite", "--precision", "bf16").refused(1, "does not hold one picture", "--device cpu")
