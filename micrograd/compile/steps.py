"""Optimiser steps on flat arrays: one update rule, written on single numbers, run over all parameters at once.

The rule is the one that ``optim`` runs on each Value.  Written out in C it is a loop that reads and writes each array once;
without a compiler NumPy runs it.  Products and sums are not contracted, so that all three give the same bits.  In C the
same loop also ends each step of a training that does not come back to Python in between: ``mg_train``.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd import ops
from micrograd.compile import toolchain
from micrograd.compile.buffers import aligned
from micrograd.compile.dialect import C
from micrograd.compile.emit import Code, Term, write
from micrograd.compile.kernels import prelude
from micrograd.compile.parameters import Parameters
from micrograd.optim import Optimizer

NUMPY = ops.Numbers(div=np.divide, sqrt=np.sqrt)


class Stepper:
    """Runs an optimiser's rule on the arrays of the parameters, of their gradients and of its memories, in place."""

    def __init__(self) -> None:
        self.arrays: tuple[Any, ...] = ()
        self.used: Any = None
        self.text = ""
        self.library: Any = None  # the rule in C; None without a compiler

    def __call__(self, optimizer: Optimizer, lr: float, arrays: tuple[Any, ...]) -> None:
        constants = self._prepare(optimizer, arrays)
        if self.library is not None:
            self.library.mg_step(ctypes.c_double(lr), ctypes.c_double(optimizer.steps), self.constants, *self.fixed)
            return
        settings = optimizer._settings(ops.FLOATS, lr, float(optimizer.steps), *constants)
        with np.errstate(all="ignore"):
            _assign(arrays, optimizer._rule(NUMPY, settings, *arrays))

    def compiles(self, optimizer: Optimizer, arrays: tuple[Any, ...]) -> bool:
        """Whether the rule is to be had in C, the same for all steps to come."""
        done = optimizer.steps
        try:
            optimizer.steps += 1
            self._prepare(optimizer, arrays)
            if self.library is None or _is_known(optimizer):
                return self.library is not None
            optimizer.steps += 1
            return source(optimizer, self.used, len(arrays)) == self.text
        finally:
            optimizer.steps = done

    def train(self, optimizer: Optimizer, rates: Any, jobs: Any, firsts: Any) -> Any:
        """Steps at these learning rates with a rule that was found to compile, each on the mean gradient of its jobs; their
        losses."""
        losses = np.empty(len(rates))
        pointers = (ctypes.c_void_p(array.ctypes.data) for array in (rates, losses, jobs, firsts))
        given = ctypes.c_long(len(rates)), ctypes.c_double(optimizer.steps), *pointers, self.constants, *self.fixed
        optimizer.steps += len(rates)  # before them: an interrupt comes after the last one
        self.library.mg_train(*given)
        return losses

    def _prepare(self, optimizer: Optimizer, arrays: tuple[Any, ...]) -> tuple[float, ...]:
        """Have the C for the rule and pointers to the arrays; the rule's constants."""
        constants = optimizer._constants()
        used = tuple(map(bool, constants))
        if used != self.used or not _is_known(optimizer):
            text = source(optimizer, used, len(arrays))
            if text != self.text:
                self.library, self.text = _compiled(text), text
            self.used, self.constants = used, (ctypes.c_double * len(constants))()
        self.constants[:] = list(constants)
        if len(arrays) != len(self.arrays) or any(a is not b for a, b in zip(arrays, self.arrays, strict=True)):
            self.arrays = arrays
            self.fixed = (ctypes.c_long(len(arrays[0])), *(ctypes.c_void_p(a.ctypes.data) for a in arrays))
        return constants


def _assign(arrays: Sequence[Any], results: Sequence[Any]) -> None:
    for old, new in zip((arrays[0], *arrays[2:]), results, strict=True):
        np.copyto(old, new)


def _is_known(optimizer: Optimizer) -> bool:
    """Whether a rule reads nothing but what it is given; one of the user's may read the optimiser's attributes."""
    return type(optimizer).__module__ == Optimizer.__module__


def _compiled(text: str) -> Any:
    try:
        return toolchain.load(text, extra=("-ffp-contract=off",)).library
    except toolchain.NoCompiler:
        return None


def source(optimizer: Optimizer, used: tuple[bool, ...], count: int) -> str:
    """The rule as C, for so many arrays; a constant that is zero is left out of it."""
    code = Code()
    given = [code.operand(name) for name in ("rate", "steps")]
    constants = [code.operand(f"c{i}") if needed else 0.0 for i, needed in enumerate(used)]
    arrays = [code.operand(f"a{i}") for i in range(count)]
    settings = optimizer._settings(code.xp, *given, *constants)
    results = optimizer._rule(code.xp, settings, *arrays)
    names = {term: term.function[1:] for term in (*given, *constants, *arrays) if isinstance(term, Term)}
    counter = iter(range(1 << 30))
    heads = [(f"c{i}", f"constants[{i}]") for i, needed in enumerate(used) if needed]
    heads += write([x for x in settings if x is not None], names, C, lambda: f"s{next(counter)}")[0]
    lines, outs = write(results, names, C, lambda: f"t{next(counter)}")
    body = [f"const __auto_type a{i} = get(p{i}); (void)a{i};" for i in range(count)]
    body += [f"const __auto_type {name} = {text};" for name, text in lines]
    body += [f"put(p{i}, {out});" for i, out in zip((0, *range(2, count)), outs, strict=True) if out != f"a{i}"]
    return SOURCE.format(
        prelude=prelude(frozenset({"base", "roots", "train"})),
        pointers=", ".join(f"{'const ' * (i == 1)}double *restrict p{i}" for i in range(count)),
        writable=", ".join(f"double *restrict p{i}" for i in range(count)),
        arrays=", ".join("g" if i == 1 else f"p{i}" for i in range(count)),
        settings="\n  ".join(f"const double {name} = {text};" for name, text in heads),
        body=" \\\n  ".join(body),
    )


SOURCE = """#define real double
{prelude}
#define MG(x) ((real)(x))
#define mg_pow pow
#define MG_GET(p) p[i]
#define MG_PUT(p, x) p[i] = (x)
#define MG_GET8(p) ((mg_v8) * (const mg_v8u *)(p + i))
#define MG_PUT8(p, x) *(mg_v8u *)(p + i) = (mg_v8u)(x)
#define MG_RULE(get, put) \\
  {body}
void mg_step(double rate, double steps, const double *constants, long count, {pointers}) {{
  long i = 0;
  {settings}
  (void)rate, (void)steps, (void)constants;
#if MG_EIGHT
  for (; i + 8 <= count; i += 8) {{ MG_RULE(MG_GET8, MG_PUT8) }}
#endif
  _Pragma("omp simd")
  for (long j = i; j < count; j++) {{
    const long i = j;
    MG_RULE(MG_GET, MG_PUT)
  }}
}}
void mg_train(long steps, double before, const double *rates, double *losses, const mg_job *jobs, const int64_t *firsts,
              const double *constants, long count, {writable}) {{
  const double *g = p1;
  for (long k = 0; k < steps; k++) {{
    g = mg_gradient(jobs + firsts[k], firsts[k + 1] - firsts[k], count, p1, losses + k);
    mg_step(rates[k], before + (double)(k + 1), constants, count, {arrays});
  }}
  if (g != p1) memcpy(p1, g, count * sizeof *g);
}}
"""


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
        state[name] = aligned(len(numbers))
        state[name][:] = numbers
