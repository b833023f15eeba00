"""Buffers: arrays that begin where a vector register can be loaded in one piece."""

from __future__ import annotations

from typing import Any

import numpy as np


def aligned(count: int, dtype: Any = np.float64, number: int = 0) -> Any:
    """An array of zeros in which the number of this index begins at a multiple of 64 bytes.

    >>> aligned(5, np.dtype(np.float64), 1)[1:].ctypes.data % 64
    0
    """
    size = np.dtype(dtype).itemsize
    raw = np.zeros(count + 64 // size, dtype)
    skip = -(raw.ctypes.data // size + number) % (64 // size)
    return raw[skip : skip + count]
