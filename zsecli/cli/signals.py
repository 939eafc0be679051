"""Being stopped: Ctrl-C, and the signal that batch systems send before they kill."""

from __future__ import annotations

import _thread
import os
import signal
import sys
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
SOON = 0.05  # seconds
farewell = "interrupted: the same command goes on from what is done"  # said when one has ended the work
over = False  # whether the work has ended: what comes then has nothing left to stop
stopped = False  # whether one came: libraries make other errors of the KeyboardInterrupt that it raises


def hear() -> None:
    """From now on SIGTERM is a KeyboardInterrupt like SIGINT, and neither is lost.

    Python drops what is raised in a destructor or in a library's callback, which may be where a signal finds it; it is
    then sent again. A process that was started to ignore a signal goes on ignoring it.
    """
    global over, stopped
    over, stopped = False, False
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    import threading  # takes longer than a hasty Ctrl-C

    from zsecli.errors import system_number

    drop, show = sys.unraisablehook, sys.excepthook

    def dropped(error: sys.UnraisableHookArgs) -> None:
        if issubclass(error.exc_type, KeyboardInterrupt):
            timer = threading.Timer(SOON, _interrupt)
            timer.daemon = True
            timer.start()
        elif system_number(error.exc_value) is None and not stopped:
            drop(error)

    # What was stopped half made complains when it goes, as PyTorch's loaders do; and where the disk is full, HDF5 does
    # once more for every object that it closes. Both were told by then.
    sys.unraisablehook = dropped
    sys.excepthook = lambda kind, error, trace: show(kind, error, trace) if system_number(error) is None else None


def _stop(number: int, frame: FrameType | None) -> None:
    global stopped
    stopped = True
    if not over:
        signal.default_int_handler(number, frame)


def _interrupt() -> None:
    if os.name == "nt":  # where os.kill() ends a process
        _thread.interrupt_main()
    else:
        os.kill(os.getpid(), signal.SIGINT)


def _hold() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])


def _release() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])


def _as_usual() -> None:
    """A process that was forked ends by SIGTERM, as whoever ends it means: it has no interruption to tell of.

    Held until then, the signal is not lost between the two ways of hearing it.
    """
    if signal.getsignal(signal.SIGTERM) is _stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


if hasattr(os, "register_at_fork") and hasattr(signal, "pthread_sigmask"):  # Windows forks no process
    os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_as_usual)


def ignore() -> None:
    """From now on there is nothing left to stop."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
