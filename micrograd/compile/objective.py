"""Programs as SciPy wants functions: of one flat array, with gradients and Jacobians as arrays.

SciPy itself is not needed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from micrograd.compile.arguments import Argument, describe, fill
from micrograd.compile.program import Program, _examples


class Flat:
    """The first argument of a program as one flat array, its other arguments held; they are read anew at each call."""

    def __init__(self, program: Program, x0: Any, args: tuple[Any, ...], name: str) -> None:
        if program._axes(1 + len(args))[0]:
            raise ValueError(f"{name}: what is searched for is the first argument, so it cannot be batched: compile with batch=(None, 0)")
        self.program, self.args = program, args
        self.start: Argument = describe(x0, program._argument_names(1)[0], False, True, build=True)

    def unflatten(self, flat: Any) -> Any:
        """The flat array as the argument that it stands for."""
        numbers = np.asarray(flat, dtype=np.float64)
        if numbers.shape != self.start.reals.shape:
            raise ValueError(f"unflatten() takes an array of {len(self.start.reals)} numbers, got one of shape {numbers.shape}")
        return fill(self.start.tree, numbers, False)

    def flatten(self, x: Any) -> Any:
        """The numbers of such an argument, or of a gradient by it, as one new array."""
        found = describe(x, "x", False, True)
        if found.key != self.start.key:
            raise ValueError("flatten() takes a thing of the structure of x0, and this one has another")
        return np.array(found.reals, dtype=np.float64)


class Objective(Flat):
    """What :func:`as_objective` gives: the value and the gradient at a flat array."""

    def __call__(self, flat: Any) -> tuple[float, Any]:
        value, gradient = self.program.value_and_grad(self.unflatten(flat), *self.args)
        if np.ndim(value):
            raise ValueError("as_objective() needs one number: compile the program with reduce='sum' or reduce='mean'")
        return float(value), self.flatten(gradient)


class Residuals(Flat):
    """What :func:`as_residuals` gives: all results at a flat array, those of the first example first."""

    def __call__(self, flat: Any) -> Any:
        _, numbers, examples = self._ask("value", flat)
        return _table(numbers, examples).T.reshape(-1)

    def jacobian(self, flat: Any) -> Any:
        """The derivatives of the results by the flat array, a row a result."""
        recording, numbers, examples = self._ask("jacobian", flat)
        results, width = len(recording.tape.outputs), len(self.start.reals)
        table = _table(numbers[results:], examples).reshape(results, width, examples)
        return np.ascontiguousarray(table.transpose(2, 0, 1)).reshape(examples * results, width)

    def _ask(self, what: str, flat: Any) -> tuple[Any, Any, int]:
        program = self.program
        x = self.unflatten(flat)
        spread = program.batch is not None  # each example has its own copy of x, so that its derivatives stay its own
        first = _spread(x, self._examples()) if spread else x
        with program._lock:
            recording, numbers, examples = program._asked(what, (first, *self.args), (0,) if what == "jacobian" else None)
        return recording, numbers, examples if spread else 1

    def _examples(self) -> int:
        axes, names = self.program._axes(1 + len(self.args))[1:], self.program._argument_names(1 + len(self.args))[1:]
        held = [describe(x, name, own, False) for x, name, own in zip(self.args, names, axes, strict=True)]
        return _examples(held, axes, names)


def _table(numbers: Any, examples: int) -> Any:
    """Results as rows, with a column for each example."""
    return np.array([np.broadcast_to(x, (examples,)) for x in numbers], dtype=np.float64).reshape(len(numbers), examples)


def _spread(x: Any, examples: int) -> Any:
    """The argument with a leading axis, along which it is the same."""
    if isinstance(x, dict):
        return {key: _spread(part, examples) for key, part in x.items()}
    if isinstance(x, tuple):
        return tuple(_spread(part, examples) for part in x)
    numbers = np.asarray(x, dtype=np.float64)
    return np.broadcast_to(numbers, (examples, *numbers.shape))


def as_objective(program: Program, x0: Any, *args: Any) -> tuple[Objective, Any]:
    """A function for ``scipy.optimize.minimize(..., jac=True)`` and the flat start; see ``Program.as_objective``."""
    fun = Objective(program, x0, args, "as_objective()")
    fun(fun.start.reals)
    return fun, fun.flatten(x0)


def as_residuals(program: Program, x0: Any, *args: Any) -> tuple[Residuals, Any, Any]:
    """The arguments of ``scipy.optimize.least_squares``; see ``Program.as_residuals``."""
    if program.reduce is not None:
        raise ValueError(f"as_residuals() needs the residuals themselves: compile the program without reduce={program.reduce!r}")
    fun = Residuals(program, x0, args, "as_residuals()")
    if program.batch is not None:
        axes: Any = (0, *(0 if own else None for own in program._axes(1 + len(args))[1:]))
        fun.program = Program(program.fn, axes, None, program.backend, program.dtype.name, program.threads)
    return fun, fun.flatten(x0), fun.jacobian
