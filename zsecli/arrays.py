"""Array types of the whole package; shapes are said where an array is used."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Mask = NDArray[np.bool_]

Ints = NDArray[np.integer]  # of any width: rows, codes, counts
Ints8 = NDArray[np.int8]
Ints64 = NDArray[np.int64]

Floats = NDArray[np.floating]  # of any width
Floats32 = NDArray[np.float32]
Floats64 = NDArray[np.float64]

Bytes = NDArray[np.uint8]  # digests, say
Pixels = NDArray[np.uint8]  # of pictures (H, W, 3)
