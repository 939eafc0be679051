"""What the environment says of a job of several processes; and numbers in it that are none."""

from __future__ import annotations

import socket
from datetime import timedelta
from pathlib import Path

import pytest

from helpers.commands import Zse, call
from zsecli.cli.app import VARIABLES
from zsecli.errors import UsageError
from zsecli.runtime import distributed, parallel
from zsecli.runtime.distributed import Launch, read_launch
from zsecli.runtime.log_levels import NOTICE

ALL = {"RANK": "1", "WORLD_SIZE": "4", "MASTER_ADDR": "host", "MASTER_PORT": "29500"}


@pytest.fixture(autouse=True)
def no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*distributed.VARIABLES, "LOCAL_RANK", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


def test_all_variables_make_a_job() -> None:
    assert read_launch(ALL) == Launch(rank=1, world=4, local_rank=1, address="host:29500")
    assert read_launch({**ALL, "LOCAL_RANK": "0"}) == Launch(rank=1, world=4, local_rank=0, address="host:29500")
    assert read_launch({**ALL, "RANK": "0", "WORLD_SIZE": "1"}) == Launch()
    assert read_launch({"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "LOCAL_RANK": "3"}) == Launch()


@pytest.mark.parametrize("missing", distributed.VARIABLES)
@pytest.mark.parametrize("empty", [True, False])
def test_some_of_them_make_none(missing: str, empty: bool) -> None:
    some = {**ALL, missing: ""} if empty else {name: value for name, value in ALL.items() if name != missing}
    found = read_launch(some)
    assert (found.rank, found.world) == (0, 1)
    assert f"{missing} not set, so this process works alone" in found.ignored
    with pytest.raises(UsageError, match=f"but not {missing}"):
        read_launch({**some, "TORCHELASTIC_RUN_ID": "none"})


@pytest.mark.parametrize(
    "harmless",
    [
        {},
        {"WORLD_SIZE": ""},
        {"RANK": "", "WORLD_SIZE": ""},
        {"WORLD_SIZE": "1", "RANK": "0"},
        {"MASTER_ADDR": "host", "MASTER_PORT": "29500"},
        {"LOCAL_RANK": "many"},
    ],
)
def test_harmless_environments_print_no_note(harmless: dict[str, str]) -> None:
    assert read_launch(harmless) == Launch()


WRONG = [
    ({"RANK": "4"}, "RANK=4 and WORLD_SIZE=4: ranks are 0 to WORLD_SIZE - 1"),
    ({"WORLD_SIZE": "0"}, "WORLD_SIZE=0"),
    ({"WORLD_SIZE": "four"}, "WORLD_SIZE=four is no number"),
    ({"RANK": "-1"}, "RANK=-1 is no number"),
    ({"RANK": "1.0"}, "RANK=1.0 is no number"),
    ({"MASTER_PORT": "http"}, "MASTER_PORT=http is no number"),
    ({"MASTER_PORT": "70000"}, "MASTER_PORT=70000 is no port"),
    ({"LOCAL_RANK": "x"}, "LOCAL_RANK=x is no number"),
]


@pytest.mark.parametrize(("change", "said"), WRONG, ids=lambda value: str(value)[:30])
def test_contradicting_ranks_are_refused_with_a_hint_that_helps(
    tmp_path: Path, sketch: Path, change: dict[str, str], said: str
) -> None:
    values = {**ALL, **change}
    done = call(tmp_path, "embed", sketch, "--modality", "sketch", "-o", "a.h5", **values)
    hint = done.refused(2, said).splitlines()[1]
    for name in hint.partition("unset ")[2].split():
        del values[name]
    call(tmp_path, "embed", sketch, "--modality", "sketch", "-o", "a.h5", **values).ok()


@pytest.mark.parametrize(
    ("words", "result"),
    [
        (("embed", "--modality", "sketch", "-o", "a.h5", "sketch.png"), "a.h5\n"),
        (("match", "-o", "a.h5"), "a.h5\n"),
        (("train", "pictures", "--dry-run"), ""),
        (("evaluate", "--json"), None),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize(
    "half",
    [
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "WORLD_SIZE": "4"},
        {"MASTER_ADDR": "127.0.0.1", "WORLD_SIZE": "2", "RANK": "0"},
        {"WORLD_SIZE": "", "RANK": "many"},
        {"RANK": "3"},
    ],
    ids=str,
)
def test_every_command_works_alone_in_half_a_job(
    tmp_path: Path, ready: Path, sketch: Path, words: tuple[str, ...], result: str | None, half: dict[str, str]
) -> None:
    done = call(tmp_path, *words, **half)
    if words[0] == "train":  # what it was made of has no seen class
        assert done.code == 1 and "has no seen" in done.err
    else:
        assert done.code == 0 and result in (None, done.out)
    notes = [line for line in done.err.splitlines() if "ignored" in line]
    assert len(notes) == (0 if words[0] == "evaluate" else 1)


def test_processes_that_do_not_meet(tmp_path: Path, sketch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of a job that is over: the others never come."""
    monkeypatch.setattr(distributed, "START_TIMEOUT", timedelta(seconds=1))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    job = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    done = call(tmp_path, "embed", sketch, "--modality", "sketch", **job)
    done.refused(1, f"the 2 processes of the job did not meet at 127.0.0.1:{port}", "unset RANK WORLD_SIZE")


@pytest.mark.parametrize("value", ["0", "many", "-2", "2.5", "1e3", "123456"])
def test_a_number_of_threads_that_is_none_is_told(
    value: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    parallel._parse_threads.cache_clear()
    caplog.set_level(NOTICE)
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    found = {parallel.count_cores() for _ in range(2)}
    assert caplog.messages == [f"OMP_NUM_THREADS={value} ignored: it is no number of threads"]
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert found == {parallel.count_cores()}


def test_variables_of_zse_that_are_wrong(zse: Zse, sketch: Path) -> None:
    words = ("embed", sketch, "--modality", "sketch", "-o", "a.h5")
    zse(*words, ZSE_DEVICE="gpu").refused(2, "ZSE_DEVICE: --device 'gpu' is unknown", "auto, cpu, cuda")
    zse(*words, ZSE_DEBUG="maybe").refused(2, "ZSE_DEBUG", "boolean")
    zse(*words, ZSE_MODEL="nonsense").refused(3, "nonsense: no such weights")
    done = zse(*words, ZSE_WORKSPCE="elsewhere", ZSE_OTHER="1")
    assert (done.code, done.err) == (0, "note: ZSE_WORKSPCE ignored: did you mean ZSE_WORKSPACE?\n")
    for empty in VARIABLES:
        zse(*words, "--overwrite", **{"ZSE_MODEL": "pixels", empty: ""} if empty != "ZSE_MODEL" else {}).ok()


def test_every_variable_that_an_option_reads_is_known() -> None:
    from zsecli.cli.app import top

    read = {param.envvar for command in top().commands.values() for param in command.params}
    assert read - {None} == VARIABLES
