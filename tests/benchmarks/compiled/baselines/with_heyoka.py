"""Contestants: heyoka, value and gradient as one function compiled by LLVM, in compact mode for more than 20,000 nodes."""

from __future__ import annotations

import os
import tempfile

import numpy as np
import symbolic
from contest import Entry

CACHE = tempfile.TemporaryDirectory()  # a new one: heyoka keeps what it compiled on disk
os.environ["XDG_CACHE_HOME"] = CACHE.name

import heyoka  # noqa: E402

LABEL = "heyoka"
FUNCTIONS = {"exp": heyoka.exp, "log": heyoka.log}


def entry(workload: str, size: int) -> Entry:
    f, point = symbolic.problem(workload, size, FUNCTIONS)
    symbols = heyoka.make_vars(*(f"x{i:07d}" for i in range(len(point))))
    output = f(symbols)
    derivatives = heyoka.diff_tensors([output], diff_args=symbols)
    compiled = heyoka.cfunc([output, *derivatives.gradient], vars=symbols, compact_mode=len(output) > 20_000)
    x, found = np.array(point), np.empty(1 + len(point))

    def run() -> None:
        compiled(x, outputs=found)

    run()
    return Entry({"gradient": found.tolist()}, run)


globals().update(symbolic.workloads(entry))
