"""What a user sees when something is wrong: two lines, the right exit code, and no traceback unless asked for."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import h5py
import pytest

from helpers.commands import Zse, call
from helpers.demo import DEMO
from helpers.files import files
from helpers.stores import read_datasets

FEATURES, RANKING = "zse/features/pictures.unseen.pixels.h5", "zse/rankings/pictures.unseen.pixels.ret.h5"


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("foo", 2, ["no such command 'foo'", "prepare, train, embed, match"]),
        ("evaluat", 2, ["'evaluate'"]),
        ("embed --modle pixels", 2, ["--modle", "did you mean '--model'?", "zse embed --help"]),
        ("embed --model", 2, ["--model"]),
        ("match --top 0", 2, ["--top"]),
        ("match --top five", 2, ["--top"]),
        ("match a.h5 b.h5 c.h5", 2, ["c.h5"]),
        ("inspect", 2, ["FILE"]),
        ("prepare", 2, ["SOURCE"]),
        ("prepare foler x", 2, ["'foler'", "did you mean 'folder'?"]),
        ("prepare folder", 2, ["needs the folder"]),
        ("prepare demo pictures", 2, ["takes no path"]),
        ("prepare folder nowhere", 2, ["nowhere: no such folder"]),
        ("prepare folder {tree} --unseen nowhere", 2, ["--unseen nowhere", "class a line"]),
        ("prepare folder {tree} --where set=demo", 2, ["--where", "tree"]),
        ("prepare folder {tree} --column class=noun", 2, ["--column", "tree"]),
        ("prepare demo --column class=noun", 1, ["no column 'noun'"]),
        ("prepare demo --column clas=concept", 2, ["says no 'clas'", "did you mean 'class'?"]),
        ("prepare folder {tree} --instance-rule stam", 2, ["'stam'", "did you mean 'stem'?"]),
        ("prepare demo --where set", 2, ["needs an equals sign", "--where set=emoji"]),
        ("prepare demo --where set=demo --where set=other", 2, ["set is 'demo' already"]),
        ("prepare demo --unseen notes.txt", 2, ["--unseen", "manifest"]),
        ("prepare folder zse", 1, ["sketch/CLASS/"]),
        ("prepare folder {tree} -o .", 2, [".: is a folder"]),
        ("prepare demo --name \udcff", 2, ["\\udcff: is a name in bytes that are not UTF-8", "--name"]),
        ("embed --part unsen", 2, ["'unsen'", "did you mean 'unseen'?"]),
        ("embed sketch.png --modality fotos", 2, ["'fotos'", "sketch, photo, auto", "did you mean 'photo'?"]),
        ("embed --modality photo", 2, ["--modality", "data set"]),
        ("embed sketch.png --part all", 2, ["--part"]),
        ("embed sketch.png --workers 9999999999", 2, ["--workers"]),
        (f"embed --shard 1/{'9' * 5000}", 2, ["no shard", "9999 at most"]),
        ("embed --shard 1/10000", 2, ["no shard", "9999 at most"]),
        ("embed --part seen", 1, ["no seen pictures", "--part all"]),
        ("embed --device gpu", 2, ["'gpu'", "auto, cpu, cuda"]),
        ("embed --model frozen:", 2, ["timm"]),
        ("embed --model nowhere.safetensors", 3, ["nowhere.safetensors: no such weights", "--model takes"]),
        ("embed --model notes.txt", 3, ["notes.txt: not a safetensors file"]),
        ("embed --data pictuers", 1, ["'pictuers'", "did you mean 'pictures'?"]),
        ("embed nowhere.png", 1, ["nowhere.png: no such file"]),
        ("embed nowhere.h5", 3, ["nowhere.h5: no such store"]),
        ("embed sketch.png zse/datasets/pictures.h5", 2, ["by itself"]),
        (f"embed {RANKING}", 3, ["ranking", "zse inspect"]),
        ("match --by rett", 2, ["'rett'", "did you mean 'ret'?"]),
        ("match --by rn", 3, ["pixels has no relation network", "--by ret"]),
        (f"match {FEATURES} --by cascade", 3, ["no relation network", "--by ret"]),
        ("match --format csv", 2, ["'csv'", "did you mean 'tsv'?"]),
        ("match --ignore-same famly", 2, ["'famly'", "did you mean 'family'?"]),
        ("match nowhere.h5", 3, ["nowhere.h5: no such store"]),
        ("match notes.txt", 3, ["notes.txt: not an HDF5 file"]),
        ("match sketch.png zse", 3, ["sketch.png: holds pictures", "zse embed sketch.png makes one"]),
        (f"match {FEATURES} --data pictures", 2, ["--data"]),
        ("evaluate --seed -1", 2, ["--seed", "greater than or equal to 0"]),
        ("evaluate --split zs-intr", 2, ["zs-intr", "did you mean 'zs-intra'?"]),
        (f"evaluate {FEATURES}", 3, ["features", "zse inspect"]),
        (f"evaluate {RANKING} --center", 2, ["--center", "ranking that is given"]),
        (f"evaluate {RANKING} -o {RANKING} --overwrite", 2, ["says no format", ".json, .csv, .md"]),
        (f"evaluate {RANKING} -o notes.md", 2, ["notes.md: already holds", "--overwrite"]),
        (f"evaluate {RANKING} -o notes.txt/report.json", 1, ["notes.txt"]),
        ("evaluate --sheet .", 2, ["--sheet .:", "--sheet sheet.png"]),
        ("explain --ranking . --query a", 3, [".: no such store"]),
        ("inspect zse", 3, ["zse: is a folder"]),
        ("inspect notes.txt", 3, ["notes.txt: not an HDF5 file"]),
        ("inspect other.h5", 3, ["no zse store"]),
        ("inspect nowhere.safetensors", 3, ["nowhere.safetensors: no such file"]),
        ("prepare demo --workspace notes.txt", 1, ["notes.txt"]),
    ],
)
@pytest.mark.usefixtures("sketch")
def test_a_mistake_is_named_with_its_remedy(
    zse: Zse, ready: Path, pictures: Path, line: str, code: int, words: list[str]
) -> None:
    folder = ready.parent
    for name in ("notes.txt", "notes.md"):
        (folder / name).write_text("hello\n")
    h5py.File(folder / "other.h5", "w").close()
    before = files(folder)
    zse(*(word.format(tree=pictures) for word in line.split())).refused(code, *words)
    assert files(folder) == before


def test_an_empty_name_is_not_the_folder_one_is_in(zse: Zse, sketch: Path) -> None:
    zse("embed", "").refused(2, "empty")  # as of `zse embed "$unset"`
    zse("embed", ".", "--modality", "sketch").ok()


@pytest.mark.fast
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("embed", ["no data set", "zse prepare demo"]),
        ("match", ["no data set", "zse prepare demo"]),
        ("evaluate", ["no data set", "zse prepare demo"]),
    ],
)
def test_an_empty_workspace_says_how_to_begin(zse: Zse, line: str, words: list[str]) -> None:
    zse(line).refused(1, *words)
    zse(line, ZSE_MODEL=None).refused(1, *words)


def test_nothing_on_stdin_is_an_error(zse: Zse) -> None:
    zse("match", "-").refused(2, "none came")
    zse("embed", "-").refused(1, "the list is empty")


def test_a_zero_byte_on_stdin_is_no_path(zse: Zse) -> None:
    for command in ("match", "inspect"):
        zse(command, "-", stdin=b"a\0b.h5\n").refused(2, "zero byte")


def test_stores_of_different_models_are_refused(zse: Zse, ready: Path) -> None:
    other = zse("embed", "--model", "hog").ok()
    zse("match", FEATURES, other).refused(3, "different models", "pixels", "hog")


def test_an_unfinished_store_is_refused(zse: Zse, ready: Path) -> None:
    (ready.parent / FEATURES).rename(ready.parent / "x.h5.partial")
    zse("match", "x.h5").refused(3, "x.h5: no such store", "x.h5.partial is unfinished")
    with h5py.File(ready.parent / "x.h5.partial", "r+") as file:
        file.attrs["complete"] = False
    zse("match", "x.h5.partial").refused(3, "not finished")
    zse("inspect", "x.h5.partial").refused(3, "not finished")


def test_a_mean_over_too_few_is_refused(zse: Zse, ready: Path, sketch: Path) -> None:
    query = zse("embed", "sketch.png", "--modality", "sketch").ok()
    zse("match", query, FEATURES, "--center").refused(2, "--center", "10")


@pytest.mark.fast
def test_a_damaged_picture_is_listed_and_the_rest_embedded(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(pictures / "photo" / "drink", folder)
    truncated, *good = sorted(f.name for f in folder.iterdir())
    data = (folder / truncated).read_bytes()
    (folder / truncated).write_bytes(data[: len(data) // 2])
    (folder / "empty.png").touch()
    (folder / "notes.jpg").write_text("no picture")
    for fresh in (True, False):  # what was skipped is said the second time too
        done = zse("embed", "photos", "--modality", "photo", "--json")
        result = json.loads(done.out)
        assert (done.code, result["fresh"]) == (4, fresh)
        assert {name for name, _ in result["skipped"]} == {f"photos/{n}" for n in (truncated, "empty.png", "notes.jpg")}
        assert [line.split(":")[0] for line in done.err.splitlines()] == ["skipped"] * 3
    about = json.loads(zse("inspect", result["path"], "--json").ok())
    assert about["pictures"] == len(good)


def test_no_readable_picture_at_all_is_a_failure(zse: Zse, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes((DEMO / "sketch/lock").glob("*.png").__next__().read_bytes()[:99])
    done = zse("embed", "a.png", "--modality", "sketch")
    assert (done.code, done.out) == (1, "")
    assert "no picture" in done.err
    assert not list(tmp_path.glob("zse/**/*.h5"))


@pytest.mark.fast
@pytest.mark.parametrize("error", ["fault", "memory"])
def test_an_unexpected_error_is_two_lines_too(
    zse: Zse, ready: Path, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a cable is loose\nin the second line") if error == "fault" else MemoryError

    monkeypatch.setattr("zsecli.stages.defaults.choose_model", fail)
    words = ["a cable is loose", "report it", "--debug"] if error == "fault" else ["out of memory", "--batch-size"]
    assert "Traceback" not in zse("embed").refused(1, *words)


@pytest.mark.parametrize("how", [{"ZSE_DEBUG": "1"}, {}])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(zse: Zse, how: dict[str, str]) -> None:
    done = zse("match", "nowhere.h5", *([] if how else ["--debug"]), **how)
    assert done.code == 3
    assert done.err.startswith("Traceback")
    assert "open_store" in done.err
    assert done.err.splitlines()[-2] == "error: nowhere.h5: no such store"
    assert zse("match", "nowhere.h5").err.startswith("error")  # and not for the next one


CONFIG = """
[embed]
model = "hog"
batch-size = 7
[match]
top = 2
format = "tsv"
center = true
[evaluate]
json = true
"""


@pytest.mark.fast
def test_a_file_gives_defaults_and_what_is_typed_wins(zse: Zse, ready: Path) -> None:
    (ready.parent / "c.toml").write_text(CONFIG)

    def lines(*words: str) -> int:
        return len(zse("match", "--config", "c.toml", *words).ok().splitlines())

    assert zse("embed", "--config", "c.toml", ZSE_MODEL=None).ok() == "zse/features/pictures.unseen.hog.h5"
    # typed before the environment before the file
    assert "pixels" in zse("embed", "--config", "c.toml").ok()
    assert "hog" in zse("embed", "--config", "c.toml", "--model", "hog").ok()
    assert lines() == 18 * 2
    assert lines("--top", "1") == 18
    assert json.loads(zse("evaluate", "--config", "c.toml").ok())["split"] == "zs-inter"
    rankings = [f.name for f in (ready / "rankings").iterdir()]
    assert sorted(rankings) == ["pictures.unseen.pixels.ret-centred.h5", "pictures.unseen.pixels.ret.h5"]
    assert lines("--no-center", "--top", "3") == 18 * 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[embd]\nmodel='hog'", ["[embd] is no command", "did you mean 'embed'?", "prepare, train, embed"]),
        ("[embed]\nmodle='hog'", ["[embed] has no option 'modle'", "did you mean 'model'?"]),
        ("[match]\nby='ret'\n[evaluate]\nsplitt='zs-intra'", ["[evaluate] has no option 'splitt'", "'split'"]),
        ("model='hog'", ["model stands outside of a section", "prepare, train, embed"]),
        ("[embed]\nconfig='c.toml'", ["'config'"]),
        ("[embed]\ninputs='a.png'", ["'inputs'"]),
        ("[embed]\nbatch-size='many'", ["c.toml", "--batch-size"]),
        ("[embed]\npart='unsen'", ["c.toml", "'unsen'", "did you mean 'unseen'?"]),
        ("[embed\nmodel=", ["c.toml"]),
        (b"\xff\xfa", ["c.toml"]),
        (None, ["c.toml: No such file"]),
    ],
)
def test_a_wrong_file_of_defaults_is_refused(zse: Zse, tmp_path: Path, text: Any, words: list[str]) -> None:
    if text is not None:
        (tmp_path / "c.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    zse("embed", "--config", "c.toml").refused(2, *words)


def test_a_list_in_the_file_may_be_one_value(zse: Zse, tmp_path: Path) -> None:
    for value in ('"set=demo"', '["set=demo", "class=lock"]'):
        (tmp_path / "c.toml").write_text(f"[prepare]\nwhere = {value}\noverwrite = true\n")
        zse("prepare", "demo", "--config", "c.toml").ok()
    assert set(read_datasets(tmp_path / "zse/datasets/demo.h5")["items/classes"]) == {b"lock"}


def test_quiet_on_a_terminal_is_quiet(zse: Zse, prepared: Path) -> None:
    class Terminal:
        """What a person sees."""

        def __init__(self) -> None:
            self.text = ""

        def write(self, text: str) -> int:
            self.text += text
            return len(text)

        def flush(self) -> None: ...

        def isatty(self) -> bool:
            return True

    for words, talks in (((), True), (("-q",), False)):
        terminal = Terminal()
        assert call(prepared, "embed", *words, stderr=terminal).code == 0
        assert ("up to date" in terminal.text) is talks
        assert ("next: zse match " in terminal.text) is talks
