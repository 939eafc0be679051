"""The promises of SECURITY.md about the network, the files that are written, and names made to do harm.

Those about checkpoints are in model/test_hostile_checkpoints.py, about stores in store/test_damaged_stores.py, and what
a browser makes of a page is in render/test_explanation_page.py.
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree

import pytest

from helpers.commands import Zse
from helpers.stores import changing
from helpers.tiny import LEAST, build
from zsecli.errors import StoreError
from zsecli.model import checkpoint
from zsecli.runtime import console
from zsecli.runtime.files import atomic_write

# an order to clear the screen, one that names the window, a line that poses as another, text turned around
ORDERS = "\x1b[2J\x1b]0;owned\x07\r\nerror: \u202egnp"
FORBIDDEN = ("\x1b[2J", "\x1b]0", "\x07", "\u202e")


# the network

CUT = """
import os, sys
sys.path[:0] = [{tests!r}]

def hook(event, args):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "socket.bind"):
        if event != "socket.bind" and not (args and hasattr(args[0], "family") and args[0].family == 1):  # 1: AF_UNIX
            with open({record!r}, "a") as file:
                print(sys.argv[1:], event, file=file)
            raise OSError("there is no network here")

sys.addaudithook(hook)
"""
COMMANDS = """
import contextlib, sys
from zsecli import cli
from zsecli.model.config import PRESETS
from helpers.tiny import LEAST
PRESETS["least"] = LEAST
for line in {lines!r}:
    sys.argv = ["zse", *line.split()]
    try:
        cli.main()
    except SystemExit as end:
        print(end.code, line, file=sys.stderr)
sys.argv = ["the test itself"]
with contextlib.suppress(OSError):
    import socket
    socket.create_connection(("localhost", 9))
"""


def without_network(folder: Path, lines: list[str]) -> tuple[list[str], list[str]]:
    """`zse` with each of these lines, where a use of the network fails and is noted: what ended how, and the notes."""
    record = folder / "network.txt"  # the last use is its own, so that it is known to be noted
    site = folder / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(CUT.format(tests=str(Path(__file__).parents[1]), record=str(record)))
    path = os.pathsep.join([str(site), *sys.path[1:]])
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("ZSE_", "HF_"))}
    done = subprocess.run(
        [sys.executable, "-c", COMMANDS.format(lines=lines)],
        cwd=folder,
        env={**kept, "PYTHONPATH": path, "HF_HOME": str(folder / "hub")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    ended = [line for line in done.stderr.splitlines() if line[:1].isdigit()]
    assert len(ended) == len(lines), done.stderr
    *used, last = record.read_text().splitlines()
    assert "socket.getaddrinfo" in last
    return ended, used


def test_no_command_asks_the_network(tmp_path: Path, pictures: Path, store: Path, sketch: Path) -> None:
    """From the first import on. The preset `least` is trained from scratch, so that it needs no weights from a hub."""
    checkpoint.save(build(LEAST), tmp_path / "net.safetensors")
    photo = next((pictures / "photo" / "drink").iterdir())
    model = "--model net.safetensors"
    lines = [
        f"prepare folder {store} --name demo",
        "train demo --preset least --scratch --epochs 1 --epoch-draws 4 --batch-size 4",
        f"embed {sketch} {model} -o sketch.h5",
        f"embed {pictures}/photo/lock --modality photo {model} -o photos.h5",
        "match sketch.h5 photos.h5 --by rn",
        f"evaluate {model} --data demo --by cascade --shortlist 3",
        f"explain {sketch} {photo} {model}",
        f"synthesize {sketch} {photo} {model}",
        "inspect net.safetensors",
        "--help",
        "embed --help",
    ]
    ended, used = without_network(tmp_path, lines)
    assert not used
    assert [line.split()[0] for line in ended] == ["0"] * len(lines), ended
    assert not (tmp_path / "hub").exists()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, pictures: Path) -> Path:
    """A manifest in which birds and drinks are seen, so that there is something to train on."""
    folder = tmp_path_factory.mktemp("manifest")
    shutil.copytree(pictures, folder, dirs_exist_ok=True)
    rows = [
        f"{file.relative_to(folder).as_posix()},{file.parts[-3]},{file.parts[-2]},{file.name.split('__')[0]},"
        f"{'unseen' if file.parts[-2] == 'lock' else 'seen'}"
        for file in sorted(folder.rglob("*.*"))
        if file.suffix != ".csv"
    ]
    (folder / "manifest.csv").write_text("path,modality,class,instance,split\n" + "\n".join(rows) + "\n")
    return folder / "manifest.csv"


# links that lie where something is written


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file elsewhere that links lead to."""
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "victim"
    path.write_text("dear to somebody\n")
    return path


@pytest.mark.parametrize(
    ("line", "written"),
    [
        ("evaluate -o report.json", "report.json"),
        ("evaluate -o report.csv --overwrite", "report.csv"),
        ("evaluate --trec runs", "runs/zs-inter.run"),
        ("evaluate --sheet sheet.png", "sheet.png"),
        ("match -o ranking.h5 --by ret", "ranking.h5"),
        ("embed -o features.h5", "features.h5"),
        ("prepare folder {pictures} -o data.h5", "data.h5"),
        ("explain {sketch} {sketch} --model {net} -o why", "why.html"),
        ("synthesize {sketch} {sketch} --model {net} -o new.png", "new.json"),
    ],
)
def test_a_planted_link_is_not_written_through(
    zse: Zse, ready: Path, victim: Path, pictures: Path, sketch: Path, net: Path, line: str, written: str
) -> None:
    path = ready.parent / written
    path.parent.mkdir(exist_ok=True)
    path.with_name(path.name + ".partial").symlink_to(victim)
    words = line.format(pictures=pictures, sketch=sketch, net=net).split()
    assert zse(*words).code == 0
    assert path.is_file() and not path.is_symlink()
    assert not list(ready.parent.rglob("*.partial"))
    if "--overwrite" in words:  # the output itself may be a link, which is replaced
        path.unlink()
        path.symlink_to(victim)
        assert zse(*words).code == 0
        assert path.is_file() and not path.is_symlink()
    assert victim.read_text() == "dear to somebody\n"
    assert list(victim.parent.iterdir()) == [victim]


@pytest.fixture(scope="session")
def net(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint.save(build(LEAST), tmp_path_factory.mktemp("net") / "net.safetensors")


def test_a_planted_broken_link_is_not_followed(zse: Zse, ready: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json.partial").symlink_to(tmp_path / "made")
    assert zse("evaluate", "-o", "report.json").code == 0
    assert not (tmp_path / "made").exists()


def test_locks_and_journals_are_no_links(zse: Zse, ready: Path, victim: Path, pictures: Path, tmp_path: Path) -> None:
    (tmp_path / ".x.h5.lock").symlink_to(victim)
    for part in ("1/2", "2/2"):
        assert zse("embed", "-o", "x.h5", "--shard", part).code == 0
    assert not (tmp_path / ".x.h5.lock").is_symlink()
    (tmp_path / "y.h5.hashes").symlink_to(victim)
    zse("prepare", "folder", pictures, "-o", "y.h5").refused(1, "y.h5.hashes")
    assert victim.read_text() == "dear to somebody\n"


def test_two_writers_of_one_file(tmp_path: Path) -> None:
    """The second is told, and spoils nothing; what a killed run left is no writer."""
    path, other = tmp_path / "a", tmp_path / "b"
    (tmp_path / "a.partial").write_text('{"schema": "zse-explanation", "vers')
    with atomic_write(path) as (partial,):
        partial.write_text("first")
        with pytest.raises(StoreError, match=r"a\.partial: another zse is writing it"), atomic_write(other, path):
            pass
        assert partial.read_text() == "first"
    assert path.read_text() == "first"
    assert [file.name for file in tmp_path.iterdir()] == ["a"]


# names that become names of files


@pytest.mark.parametrize("name", ["../../x", "/etc/x", "..", "-rf", "x" * 5000, "ä" * 300, ORDERS])
def test_names_stay_in_the_workspace(zse: Zse, pictures: Path, store: Path, tmp_path: Path, name: str) -> None:
    path = zse("prepare", "folder", store, f"--name={name}").ok()
    inside = (tmp_path / "zse").resolve()
    assert (tmp_path / path).resolve().parent == inside / "datasets"
    assert path.isprintable()
    with changing(tmp_path / path) as file:  # as somebody else may have made it
        file.attrs["partition"] = "../../../../x"
    for made in (zse("embed", path, "--part", "all").ok(), zse("match", "--data", name, "--by", "ret").ok()):
        assert (tmp_path / made).resolve().is_relative_to(inside)
        assert made.isprintable()
    words = ("train", f"--name={name}", name, "--scratch", "--dry-run", "--json", "--preset", "test_vit")
    if name == "../../x":
        assert (tmp_path / json.loads(zse(*words).out)["checkpoint"]).resolve().parent == inside / "models"
    assert {file.name for file in tmp_path.iterdir()} == {"zse"}


def test_a_run_of_trec_is_named_by_its_split(zse: Zse, ready: Path) -> None:
    zse("evaluate", "--split", "zs-inter-../../x", "--trec", "runs").refused(2, "has no split '../../x'")


def test_a_manifest_stays_below_its_folder(zse: Zse, tmp_path: Path, sketch: Path) -> None:
    for path in ("../sketch.png", "/etc/passwd", "a/../../sketch.png"):
        (tmp_path / "m.csv").write_text(f"path,modality,class\n{path},sketch,cat\n")
        zse("prepare", "folder", "m.csv").refused(1, "m.csv, line 2", "stay below it")


def test_a_store_names_no_model_that_is_fetched(zse: Zse, net: Path, sketch: Path, pictures: Path) -> None:
    """A feature store that says a model of a hub made it, and that this could relate tokens."""
    store = zse("embed", sketch, pictures / "photo" / "lock", "--model", net).ok()
    with changing(sketch.parent / store) as file:
        about = json.loads(file["provenance"][()])
        about |= {"model": "frozen:hf-hub:somebody/something", "weights": ""}
        del file["provenance"]
        file["provenance"] = json.dumps(about)
    zse("match", store, "--by", "rn").refused(3, "no relation network")


# names on a terminal


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def quiet_of_orders(text: str) -> None:
    for order in FORBIDDEN:
        assert order not in text


@pytest.fixture
def evil(pictures: Path, tmp_path: Path) -> Path:
    """A tree whose classes and files are named to order a terminal about."""
    root = tmp_path / f"tree{ORDERS}"
    for number, (old, new) in enumerate((("lock", f"lock{ORDERS}"), ("drink", "drink"))):
        for modality in ("sketch", "photo"):
            shutil.copytree(pictures / modality / old, root / modality / new)
        file = next((root / "photo" / new).iterdir())
        file.rename(file.with_name(f"{number}__{ORDERS}{file.suffix}"))
    (root / "photo" / "drink" / f"broken{ORDERS}.png").write_text("no picture")
    return root


def test_names_order_no_terminal_about(zse: Zse, evil: Path) -> None:
    def watched(*words: object) -> str:
        screen = Terminal()
        zse(*words, stderr=screen)
        return screen.getvalue()

    seen = watched("prepare", "folder", evil)
    assert "broken\\x1b[2J" in seen
    seen += watched("embed") + watched("match", "--by", "ret")
    seen += watched("embed", evil / "photo" / "drink") + watched("embed", f"gone{ORDERS}.png")
    seen += watched("match", f"gone{ORDERS}.h5") + watched("match", f"gone{ORDERS}.h5", "--debug")
    seen += watched("evaluate", f"--{ORDERS}") + watched("embed", "--model", ORDERS)
    assert seen.count("error: gone\\x1b[2J") == 2
    quiet_of_orders(seen)


def test_stdout_is_as_it_is_in_a_pipe_and_plain_on_a_terminal(
    zse: Zse, evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zse("prepare", "folder", evil, "--name", "evil")
    zse("match", "--by", "ret").ok()
    piped = zse("match", "--by", "ret", "--format", "tsv", "--top", "12").out
    assert "\x1b[2J" in piped
    quiet_of_orders(zse("inspect", "zse/datasets/evil.h5").out)
    for module in ("cli.inspect", "render.hits"):
        monkeypatch.setattr(sys.modules[f"zsecli.{module}"], "escape_for_stdout", console.escape_for_terminal)
    quiet_of_orders(zse("match", "--by", "ret", "--format", "tsv", "--top", "12").out)
    quiet_of_orders(zse("match", "--by", "ret", "--format", "json", "--top", "12").out)
    quiet_of_orders(zse("inspect", "zse/datasets/evil.h5", "--json").out)


def test_a_terminal_is_what_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    for stream, said in ((Terminal(), "a\\x1bb"), (io.StringIO(), "a\x1bb")):
        monkeypatch.setattr(sys, "stdout", stream)
        assert console.escape_for_stdout("a\x1bb") == said


def test_tables_on_a_terminal(zse: Zse, evil: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zsecli.evaluate.evaluate_ranking import evaluate_ranking
    from zsecli.evaluate.report_model import Evaluation
    from zsecli.render import report

    zse("prepare", "folder", evil, "--name", "=evil")
    ranking = zse("match", "--by", "ret").ok()
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "500")
    found = evaluate_ranking(tmp_path / ranking, "zs-inter")
    report.print_tables(Evaluation(reports=[found]), per_class=True)
    assert "lock\\x1b[2J" in screen.getvalue()
    quiet_of_orders(screen.getvalue())


# names in reports and pages


def test_reports_are_text(zse: Zse, pictures: Path, tmp_path: Path) -> None:
    """A class's name makes no cell, no link and no element in Markdown, and no formula in a spreadsheet."""
    names = ("<script>alert(1)</script>".replace("/", "\u2215"), "[x](javascript:1)|`a`", "=1+1")
    for old, new in zip(("lock", "drink", "animal-bird"), names, strict=True):
        for modality in ("sketch", "photo"):
            shutil.copytree(pictures / modality / old, tmp_path / "tree" / modality / new)
    zse("prepare", "folder", "tree", "--name", "=1+1").ok()
    zse("match", "--by", "ret").ok()
    text = zse("evaluate", "--by", "ret", "--per-class").out
    assert r"\<script>" in text and r"\[x](javascript:1)\|\`a\`" in text
    assert "<script" not in text.replace(r"\<script", "") and "[x]" not in text.replace(r"\[x]", "")
    rows = list(csv.DictReader(io.StringIO(zse("evaluate", "--by", "ret", "--csv").out)))
    assert {row["data"] for row in rows} == {"'=1+1"}
    assert all(float(row["mean"]) >= 0 for row in rows)


class Elements(HTMLParser):
    """The elements of a page, each with the names of its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(name for name, _ in attrs)))


def test_a_name_adds_nothing_to_page_and_figure(
    zse: Zse, net: Path, sketch: Path, pictures: Path, tmp_path: Path
) -> None:
    name = '<img src=x onerror=alert(1)>" onload="alert(1)]]><!--<\u2215script><\u2215style>{{data}}'
    photo = next((pictures / "photo" / "lock").iterdir())
    made: list[list[tuple[str, tuple[str, ...]]]] = []
    for one, model in (("plain", "plain"), (name, name)):
        folder = tmp_path / "named" / one
        folder.mkdir(parents=True)
        files_of = [Path(shutil.copy(file, folder / f"{one}{file.suffix}")) for file in (sketch, photo)]
        weights = shutil.copy(net, folder / f"{model}.safetensors")
        page = tmp_path / zse("explain", *files_of, "--model", weights).ok()
        made.append(Elements(page.read_text()).found)
        tree = ElementTree.parse(page.with_suffix(".svg"))
        made[-1] += [(node.tag, tuple(node.attrib)) for node in tree.iter()]
        text = "".join(tree.getroot().itertext())
        assert one in text
    assert made[0] == made[1]
