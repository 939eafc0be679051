"""The command `zse`: whatever goes wrong in it becomes two lines and an exit code."""

from __future__ import annotations

import os
import sys

from zsecli.cli import signals


def main() -> None:
    """Run the command line. Signals are heard first: imports take longer than a hasty Ctrl-C."""
    work = signals.Work()
    try:
        try:
            signals.hear(work)
            _streams()
            _terminal_size()
            from zsecli.cli.app import run

            code = run()
            sys.stdout.flush()  # a full disk or a closed pipe shows here, not in the interpreter's last breath
        finally:
            work.over = True  # no call precedes it, so Python hears no signal there
            from zsecli.errors import FAILED, INTERRUPTED
    except BrokenPipeError:
        code = FAILED
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        code = INTERRUPTED if work.stopped else _report(error)
    signals.ignore()
    _drop_output()
    if code == INTERRUPTED:
        print(signals.farewell, file=sys.stderr)
    sys.exit(code)


def _streams() -> None:
    """Streams for a process that was started without some, for names in UTF-8 whatever the locale.

    Names in bytes that are no text pass as they are.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdin, sys.stdout):
        if reconfigure := getattr(stream, "reconfigure", None):
            reconfigure(encoding="utf-8", errors="surrogateescape")
    from zsecli.runtime.console import MessageStream

    sys.stderr = MessageStream(sys.stderr)


def _terminal_size() -> None:
    """Forget COLUMNS and LINES that no terminal has: tables would be empty, as programs take them at their word."""
    for name, least in (("COLUMNS", 20), ("LINES", 2)):
        value = os.environ.get(name, "")
        if not (value.isascii() and value.isdigit() and len(value) < 6 and int(value) >= least):
            os.environ.pop(name, None)


def _drop_output() -> None:
    """Send what stdout could not take nowhere, or Python would complain of it once more at its end."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: Exception) -> int:
    from zsecli.cli.failures import in_words
    from zsecli.runtime import console

    if console.debug:
        import traceback

        print(
            *map(console.escape_for_terminal, "".join(traceback.format_exception(error)).split("\n")[:-1]),
            sep="\n",
            file=sys.stderr,
        )
    explained = in_words(error)
    print(f"error: {console.escape_for_terminal(explained.message)}", file=sys.stderr)
    if explained.hint:
        print(f"hint: {console.escape_for_terminal(explained.hint)}", file=sys.stderr)
    return explained.code
