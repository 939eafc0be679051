"""Put the tables that programs have printed into a page of docs/: python benchmarks/fill.py PAGE OUTPUT..."""

from __future__ import annotations

import sys
from pathlib import Path

from lib.tables import fill_blocks, find_blocks


def main(page: Path, outputs: list[Path]) -> None:
    blocks: dict[str, str] = {}
    for output in outputs:
        printed = find_blocks(output.read_text("utf-8"))
        if not printed:
            raise SystemExit(f"{output} has no block of tables")
        blocks |= printed
    page.write_text(fill_blocks(page.read_text("utf-8"), blocks), "utf-8")
    for output in outputs:
        output.unlink()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
