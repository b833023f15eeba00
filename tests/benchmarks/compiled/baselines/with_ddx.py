"""Contestants: ddx-ad, value and gradient compiled through LLVM."""

from __future__ import annotations

from typing import Any

import ddx
import numpy as np
import symbolic
from contest import Entry

LABEL = "ddx JIT"
FUNCTIONS = {"exp": ddx.exp, "log": ddx.log}


def built(workload: str, size: int) -> tuple[Any, list[float]]:
    f, point = symbolic.problem(workload, size, FUNCTIONS)
    return ddx.equation(lambda: f([ddx.var(f"x{i}") for i in range(len(point))])), point


def timed(equation: Any, point: list[float]) -> Entry:
    call = equation.buffer(np.array(point))
    call()
    return Entry({"gradient": [float(call.value), *np.ravel(call.jacobian).tolist()]}, call)


def entry(workload: str, size: int) -> Entry:
    equation, point = built(workload, size)
    return timed(equation.compile(points=1), point)


globals().update(symbolic.workloads(entry))
