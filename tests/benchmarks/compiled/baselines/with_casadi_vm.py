"""Contestants: CasADi SX, value and gradient on its interpreter."""

from __future__ import annotations

import symbolic
from contest import Entry
from with_casadi import expression, timed

LABEL = "CasADi interpreter"


def entry(workload: str, size: int) -> Entry:
    return timed(*expression(workload, size))


globals().update(symbolic.workloads(entry))
