"""Contestant: the Asian call in C with glibc's vector exp in the place of the one in line."""

from __future__ import annotations

import with_c
from contest import FAST, Entry

LABEL = "hand-written C, libmvec"


def asian(paths: int) -> Entry:
    return with_c.asian(paths, (*FAST, "-DLIBMVEC", "-DBLOCK=5"))
