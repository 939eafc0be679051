"""Every kind of wrong picture in one run."""

from __future__ import annotations

import os
from pathlib import Path

import h5py

from helpers.commands import call
from helpers.wrong_pictures import KINDS, lay

HEAD = """
## Wrong pictures

All in one list for one `zse embed - --modality sketch`, which ends with exit code 4 and the list of those it skipped
(tests/images/test_wrong_pictures.py compares the features of each with those of the picture that a person sees).

| picture | what the user saw |
|---|---|"""


def report(scratch: Path) -> int:
    """Print the section; how many were neither taken nor skipped with the reason that they are due."""
    print(HEAD)
    folder = scratch / "wrong"
    folder.mkdir()
    laid = lay(folder)
    done = call(scratch, "embed", "-", "--modality", "sketch", stdin=b"\0".join(map(os.fsencode, laid.values())))
    with h5py.File(scratch / done.out.strip()) as file:
        reasons = dict(zip(file["items/id"].asstr()[:], file["skipped"].asstr()[:], strict=True))
    failed = int(done.code != 4)
    for kind in KINDS:
        if kind.kind not in laid:
            print(f"| {kind.kind} | (this file system has none) |")
            continue
        path = laid[kind.kind].as_posix()
        name = path.encode("ascii", "backslashreplace").decode()
        begin = f"skipped: {name}: "
        said = [line.removeprefix(begin) for line in done.err.splitlines() if line.startswith(begin)]
        taken = reasons.get(path) == ""
        failed += taken == bool(said) or bool(kind.reason) == taken or not all(kind.reason in line for line in said)
        print(f"| {kind.kind} | {'taken' if taken else ' '.join(f'`{line}`' for line in said)} |")
    for line in done.err.splitlines():
        if line.startswith("note: "):
            print(f"\nAnd `{line}`.")
    return failed
