"""Contestants: ddx-ad, value and gradient on its interpreter."""

from __future__ import annotations

import ddx
import symbolic
from contest import Entry
from with_ddx import built, timed

LABEL = "ddx interpreter"


def entry(workload: str, size: int) -> Entry:
    equation, point = built(workload, size)
    equation.options = ddx.Options(backend=ddx.Backend.INTERPRET)
    return timed(equation, point)


globals().update(symbolic.workloads(entry))
