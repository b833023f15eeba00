"""The compiler: plain scalar Python in, tensor speed out.

``micrograd.compile`` is this package and, being called, :func:`compile` itself.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any


def compile(
    fn: Callable[..., Any] | None = None,
    *,
    batch: Any = None,
    reduce: str | None = None,
    backend: str = "auto",
    dtype: str = "float64",
    threads: int = 1,
) -> Any:
    """Record a function of numbers once and replay it at native speed, with its gradients.

    A native program of up to some thousand operations is not compiled at once, unless it has matrix products or a batch: it
    begins on an interpreter, which is compiled once on a machine, and its C takes over, without a change in any bit, when it
    has run for some time, or is bound.

    >>> @compile
    ... def f(x, y):
    ...     return x * y + x.tanh()
    >>> f.value_and_grad(0.0, 2.0, wrt=(0, 1))
    (0.0, (3.0, 0.0))
    """
    if fn is None:
        return lambda function: compile(function, batch=batch, reduce=reduce, backend=backend, dtype=dtype, threads=threads)
    try:
        from micrograd.compile.program import Program
    except ModuleNotFoundError as error:
        if error.name != "numpy":
            raise
        raise ModuleNotFoundError("micrograd.compile needs NumPy: pip install numpy") from None
    return Program(fn, batch, reduce, backend, dtype, threads)


class _Callable(types.ModuleType):
    """A module that is called like the function of its name."""

    __call__ = staticmethod(compile)


sys.modules[__name__].__class__ = _Callable
