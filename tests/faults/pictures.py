"""Every kind of wrong picture in one run."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from helpers.commands import call
from helpers.wrong_pictures import KINDS, lay
from lib.tables import block, print_header, print_row


def report(scratch: Path) -> int:
    """Print the table; how many were neither taken nor skipped with the reason that they are due."""
    folder = scratch / "wrong"
    folder.mkdir()
    laid = lay(folder)
    done = call(scratch, "embed", "-", "--modality", "sketch", stdin=b"\0".join(map(os.fsencode, laid.values())))
    with h5py.File(scratch / done.out.strip()) as file:
        reasons = dict(zip(file["items/id"].asstr()[:], file["skipped"].asstr()[:], strict=True))
    with block("pictures"):
        failed = int(done.code != 4) + _print_pictures(laid, reasons, done.err)
        for line in done.err.splitlines():
            if line.startswith("note: "):
                print(f"\nAnd `{line}`.")
    return failed


def _print_pictures(laid: dict[str, Path], reasons: dict[str, str], errors: str) -> int:
    """The number of pictures with another fate than they should have."""
    failed = 0
    print_header("picture", "what the user saw")
    for kind in KINDS:
        if kind.kind not in laid:
            print_row(kind.kind, "(this file system has none)")
            continue
        path = laid[kind.kind].as_posix()
        name = path.encode("ascii", "backslashreplace").decode()
        begin = f"skipped: {name}: "
        said = [line.removeprefix(begin) for line in errors.splitlines() if line.startswith(begin)]
        taken = reasons.get(path) == ""
        failed += taken == bool(said) or bool(kind.reason) == taken or not all(kind.reason in line for line in said)
        print_row(kind.kind, "taken" if taken else " ".join(f"`{line}`" for line in said))
    return failed
