"""Optimiser steps on flat arrays: one update rule, written on single numbers, run over all parameters at once.

The rule is the one that ``optim`` runs on each Value.  Written out in C it is a loop that reads and writes each array once;
without a compiler NumPy runs it.  Products and sums are not contracted, so that all three give the same bits.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from micrograd import ops
from micrograd.compile import toolchain
from micrograd.compile.emit import Code, Term, write
from micrograd.compile.native import C, _prelude
from micrograd.compile.parameters import Parameters

Rule = Callable[..., tuple[Any, ...]]  # (number system, settings, parameter, gradient, *memories) -> parameter, *memories
NUMPY = ops.Numbers(div=np.divide, sqrt=np.sqrt)


class Stepper:
    """Runs a rule on the arrays of the parameters, of their gradients and of an optimiser's memories, in place."""

    def __init__(self) -> None:
        self.arrays: tuple[Any, ...] = ()
        self.used: Any = None

    def __call__(self, rule: Rule, settings: Sequence[float], arrays: tuple[Any, ...]) -> None:
        used = tuple(map(bool, settings))
        if used != self.used:
            self.loop, self.used = _loop(rule, used, len(arrays)), used
            self.settings = (ctypes.c_double * len(settings))()
        if self.loop is None:
            with np.errstate(all="ignore"):
                _assign(arrays, rule(NUMPY, settings, *arrays))
            return
        if len(arrays) != len(self.arrays) or any(a is not b for a, b in zip(arrays, self.arrays, strict=True)):
            self.arrays = arrays
            self.fixed = (self.settings, ctypes.c_long(len(arrays[0])), *(ctypes.c_void_p(a.ctypes.data) for a in arrays))
        self.settings[:] = list(settings)
        self.loop(*self.fixed)


def _assign(arrays: Sequence[Any], results: Sequence[Any]) -> None:
    for old, new in zip((arrays[0], *arrays[2:]), results, strict=True):
        np.copyto(old, new)


def _loop(rule: Rule, used: tuple[bool, ...], count: int) -> Any:
    """The rule as a C function; None without a compiler."""
    try:
        return toolchain.load(source(rule, used, count), extra=("-ffp-contract=off",)).library.mg_step
    except toolchain.NoCompiler:
        return None


def source(rule: Rule, used: tuple[bool, ...], count: int) -> str:
    """The rule as C, for so many arrays; a setting that is zero is left out of it."""
    code = Code()
    settings = [code.operand(f"s{i}") if needed else 0.0 for i, needed in enumerate(used)]
    arrays = [code.operand(f"a{i}") for i in range(count)]
    results = rule(code.xp, settings, *arrays)
    names = {term: term.function[1:] for term in (*settings, *arrays) if isinstance(term, Term)}
    counter = iter(range(1 << 30))
    lines, outs = write(results, names, C, lambda: f"t{next(counter)}")
    head = [f"  const double s{i} = settings[{i}];" for i, needed in enumerate(used) if needed]
    body = [f"    const double a{i} = p{i}[i]; (void)a{i};" for i in range(count)]
    body += [f"    const double {name} = {text};" for name, text in lines]
    body += [f"    p{i}[i] = {out};" for i, out in zip((0, *range(2, count)), outs, strict=True) if out != f"a{i}"]
    pointers = ", ".join(f"double *restrict p{i}" for i in range(count))
    return "\n".join(
        (
            "#define real double",
            _prelude(frozenset({"base"})),
            "#define MG(x) ((real)(x))",
            f"void mg_step(const double *settings, long count, {pointers}) {{",
            *head,
            '  (void)settings;\n  _Pragma("omp simd")\n  for (long i = 0; i < count; i++) {',
            *body,
            "  }\n}\n",
        )
    )


def flatten(optimizer: Any) -> None:
    """Let an optimiser of a list of Values work on their arrays, where they can lie in such."""
    if not isinstance(optimizer.parameters, Parameters):
        parameters = Parameters()
        parameters._capture(optimizer.parameters)
        if parameters._adopt()._reader.flat() is not None and len(parameters) == len(optimizer.parameters):
            optimizer.parameters = parameters


def to_arrays(state: dict[str, Any]) -> None:
    """An optimiser's memories as arrays."""
    for name, numbers in state.items():
        state[name] = np.array(numbers, dtype=np.float64)
