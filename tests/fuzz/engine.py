"""A process in which atheris drives a target: `python -m fuzz.engine TARGET [options of libFuzzer]`."""

from __future__ import annotations

import shlex
import sys
import warnings

try:
    import atheris
except ImportError:
    sys.exit("error: atheris is not installed\nhint: pip install atheris, which has wheels for Linux on x86-64")


def main(name: str, *options: str) -> None:
    with atheris.instrument_imports(include=["zsecli"]):
        from fuzz.targets import TARGETS

        target = TARGETS[name][1]
        target(b"")  # what is made once, and imported late, takes no input's time
    warnings.simplefilter("error")  # one would be a line on stderr that nobody explains
    again = shlex.join([sys.executable, "-m", "fuzz.engine", name])  # how libFuzzer starts what merges a corpus
    atheris.Setup([again, *options], target)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*sys.argv[1:])
