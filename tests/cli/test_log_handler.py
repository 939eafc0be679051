"""What the package logs: lines on stderr for the command line, records for a Python caller."""

from __future__ import annotations

import logging

import pytest

from zsecli.cli.log_handler import log_to_console
from zsecli.data.folder_walk import PassedOver
from zsecli.runtime import console, distributed
from zsecli.runtime.log_levels import NOTICE

LEVELS = {"done": logging.INFO, "changed": NOTICE, "doubtful": logging.WARNING}


def log_all() -> None:
    for message, level in LEVELS.items():
        logging.getLogger("zsecli.test").log(level, message)


@pytest.mark.parametrize(
    ("quiet", "terminal", "lines"),
    [
        (False, True, ["done", "note: changed", "warning: doubtful"]),
        (False, False, ["note: changed", "warning: doubtful"]),
        (True, True, ["warning: doubtful"]),
    ],
)
def test_each_level_has_its_line(
    quiet: bool, terminal: bool, lines: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "quiet", quiet)
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    with log_to_console():
        log_all()
    assert capsys.readouterr().err.splitlines() == lines
    log_all()
    assert capsys.readouterr().err == ""  # nothing of the command line is left


def test_only_the_first_process_of_a_job_talks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr(distributed, "_launch", distributed.Launch(rank=1, world=2))
    with log_to_console():
        log_all()
    assert capsys.readouterr().err == "warning: doubtful\n"


def test_a_python_caller_chooses_what_it_hears(caplog: pytest.LogCaptureFixture) -> None:
    passed = PassedOver({"hidden": ["a", "b"]})
    with caplog.at_level(NOTICE, "zsecli"):
        passed.report()
    with caplog.at_level(logging.WARNING, "zsecli.data"):
        passed.report()
    assert caplog.messages == ["passed over: 2 hidden"]
