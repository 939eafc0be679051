"""Being stopped: Ctrl-C, and the signal that batch systems send before they kill."""

from __future__ import annotations

import _thread
import os
import signal
import sys
from functools import cache
from types import FrameType

STOPS = (signal.SIGINT, signal.SIGTERM)
SOON = 0.05  # seconds
farewell = "interrupted: the same command goes on from what is done"  # said when one has ended the work


class Work:
    """What a signal stops: the run of one command."""

    over = False  # set when the work has ended: a signal that comes later has nothing left to stop
    stopped = False  # set when a signal came: libraries turn the KeyboardInterrupt that it raises into other errors

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal."""
        self.stopped = True
        if not self.over:
            signal.default_int_handler(number, frame)


def hear(work: Work) -> None:
    """From now on SIGTERM is a KeyboardInterrupt in `work` like SIGINT, and neither is lost.

    Python drops what is raised in a destructor or in a library's callback, which may be where a signal finds it; it is
    then sent again. A process that was started to ignore a signal goes on ignoring it.
    """
    _prepare_forks()
    for number in STOPS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, work.stop)
    import threading  # takes longer than a hasty Ctrl-C

    from zsecli.errors import get_errno

    drop, show = sys.unraisablehook, sys.excepthook

    def dropped(error: sys.UnraisableHookArgs) -> None:
        if issubclass(error.exc_type, KeyboardInterrupt):
            timer = threading.Timer(SOON, _interrupt)
            timer.daemon = True
            timer.start()
        elif get_errno(error.exc_value) is None and not work.stopped:
            drop(error)

    # What was stopped half made complains when it goes, as PyTorch's loaders do; and where the disk is full, HDF5 does
    # once more for every object that it closes. Both were told by then.
    sys.unraisablehook = dropped
    sys.excepthook = lambda kind, error, trace: show(kind, error, trace) if get_errno(error) is None else None


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
    if getattr(signal.getsignal(signal.SIGTERM), "__func__", None) is Work.stop:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _release()


@cache  # what is registered stays so until the process ends
def _prepare_forks() -> None:
    """Let processes that are forked from now on end by SIGTERM. Windows forks none."""
    if hasattr(os, "register_at_fork") and hasattr(signal, "pthread_sigmask"):
        os.register_at_fork(before=_hold, after_in_parent=_release, after_in_child=_as_usual)


def ignore() -> None:
    """From now on there is nothing left to stop."""
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
