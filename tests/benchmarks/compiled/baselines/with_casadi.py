"""Contestants: CasADi SX, value and gradient as C code, compiled by gcc -O1."""

from __future__ import annotations

import subprocess
import tempfile
from typing import Any

import casadi
import numpy as np
import symbolic
from contest import Entry

LABEL = "CasADi C, gcc -O1"
FUNCTIONS = {"exp": casadi.exp, "log": casadi.log}


def expression(workload: str, size: int) -> tuple[Any, list[float]]:
    f, point = symbolic.problem(workload, size, FUNCTIONS)
    x = casadi.SX.sym("x", len(point))
    y = f(casadi.vertsplit(x))
    return casadi.Function("f", [x], [y, casadi.gradient(y, x)]), point


def timed(function: Any, point: list[float]) -> Entry:
    buffer, call = function.buffer()
    x, value, gradient = np.array(point), np.empty(1), np.empty(len(point))
    buffer.set_arg(0, memoryview(x))
    buffer.set_res(0, memoryview(value))
    buffer.set_res(1, memoryview(gradient))
    kept = function, buffer, x, value, gradient  # the call holds none of them

    def run() -> object:
        call()
        return kept

    run()
    return Entry({"gradient": [*value.tolist(), *gradient.tolist()]}, run)


def entry(workload: str, size: int) -> Entry:
    function, point = expression(workload, size)
    folder = tempfile.mkdtemp()
    code = casadi.CodeGenerator("f.c")
    code.add(function)
    code.generate(folder + "/")
    subprocess.run(["gcc", "-O1", "-shared", "-fPIC", folder + "/f.c", "-o", folder + "/f.so", "-lm"], check=True)
    return timed(casadi.external("f", folder + "/f.so"), point)


globals().update(symbolic.workloads(entry))
