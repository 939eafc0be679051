"""Why a file cannot be used as a picture."""

from __future__ import annotations


class PictureError(Exception):
    """A file that cannot be used as a picture; the text is the reason."""


class DamagedPicture(PictureError):
    """A file of a format that Pillow reads, which it cannot read."""


def describe_damage(error: Exception) -> DamagedPicture:
    """The error for whatever a reader of Pillow raised, which may be nearly anything."""
    return DamagedPicture(f"damaged: {error or type(error).__name__}")
