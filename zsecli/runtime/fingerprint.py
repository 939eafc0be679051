"""Run keys: what the content of a store or a checkpoint depends on, as a short text."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from typing import Any

from zsecli import __version__

PACKAGES = ("torch", "timm", "numpy", "h5py", "pillow")  # that the content of a store depends on


def run_key(**inputs: Any) -> str:
    """SHA-256 of everything that determines a store's content, as hexadecimal text."""
    return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()


@cache
def installed_versions() -> dict[str, str]:
    """The installed versions of zse and `PACKAGES`, for a store's provenance."""
    return {"zse": __version__, **{name: version(name) for name in PACKAGES}}
