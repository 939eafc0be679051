"""`zse` in this process, with what it printed and how it ended."""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from zsecli import cli
from zsecli.cli import signals
from zsecli.runtime import console


def set_up_process() -> None:
    """Settings of a process in which tests or `call` run; before torch is imported."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # tests run side by side and share the cores
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a script's background job begins with it ignored


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    def ok(self) -> str:
        """Its output without the last newline; fails where the command did."""
        assert (self.code, self.err) == (0, "")
        return self.out.removesuffix("\n")

    def refused(self, code: int, *words: str) -> str:
        """Its two lines on stderr; fails unless it ended with `code`, an error and a hint that hold `words`."""
        lines = self.err.splitlines()
        assert self.code == code, self.err
        assert self.out == ""
        assert [line.split(":")[0] for line in lines] == ["error", "hint"], self.err
        for word in words:
            assert word in self.err
        return self.err


def call(folder: Path, *words: object, stdin: bytes = b"", stderr: Any = None, **env: str | None) -> Done:
    """`zse WORDS` in `folder`, in this process, with the pixels model unless `env` has another ZSE_MODEL."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in [name for name in os.environ if name.startswith("ZSE_")]:
            patch.delenv(name)
        for name, value in {"ZSE_MODEL": "pixels", "COLUMNS": "100", "TERM": "xterm", **env}.items():
            patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
        patch.setattr(sys, "argv", ["zse", *map(str, words)])
        patch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin), "utf-8"))
        patch.setattr(sys, "stdout", out)
        patch.setattr(sys, "stderr", stderr or err)
        patch.setattr(console, "quiet", False)
        patch.setattr(console, "debug", False)
        for hook in ("unraisablehook", "excepthook"):
            patch.setattr(sys, hook, getattr(sys, hook))
        handlers = [(number, signal.getsignal(number)) for number in signals.STOPS]
        with pytest.raises(SystemExit) as end:
            cli.main()
        for number, handler in handlers:
            signal.signal(number, handler)
        out.flush()
        err.flush()
    code = end.value.code
    assert isinstance(code, int)
    # surrogateescape: what a shell would see where a name is no UTF-8
    return Done(code, *(s.buffer.getvalue().decode(errors="surrogateescape") for s in (out, err)))  # type: ignore[attr-defined]


Zse = Callable[..., Done]
