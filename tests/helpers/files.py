"""Files, to see whether any was changed."""

from __future__ import annotations

from pathlib import Path


def files(folder: Path) -> dict[Path, tuple[int, bytes]]:
    """Time and bytes of every file below a folder."""
    return {f: (f.stat().st_mtime_ns, f.read_bytes()) for f in sorted(folder.rglob("*")) if f.is_file()}
