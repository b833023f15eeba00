"""Contestants: the same C with IEEE arithmetic, as the compiler's own code is built (for information)."""

from __future__ import annotations

import with_c
from contest import IEEE, Entry

LABEL = "the same C, IEEE flags"


def gpt() -> Entry:
    return with_c.gpt(IEEE)


def gpt_batch() -> Entry:
    return with_c.gpt_batch(IEEE)


def mlp() -> Entry:
    return with_c.mlp(IEEE)


def asian(paths: int) -> Entry:
    return with_c.asian(paths, IEEE)
