"""Programs as SciPy wants functions: of one flat array, with gradients and Jacobians as arrays.

SciPy itself is not needed here.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from micrograd import trees
from micrograd.compile.program import Program
from micrograd.engine import Value


class Flat:
    """The first argument of a program as one flat array, its other arguments held; they are read anew at each call."""

    def __init__(self, program: Program, x0: Any, args: tuple[Any, ...], name: str) -> None:
        if program._axes(1 + len(args))[0]:
            raise ValueError(
                f"{name} searches for the first argument, so it cannot be batched: compile with batch=(None, 0)"
            )
        self.program, self.args = program, args
        leaves, self.structure = trees.flatten(x0, "x0")
        self.start = _floats(leaves)
        self.shape = x0.shape if isinstance(x0, np.ndarray) else None

    def unflatten(self, flat: Any) -> Any:
        """The flat array as the argument that it stands for."""
        numbers = np.asarray(flat, dtype=np.float64)
        if numbers.shape != self.start.shape:
            raise ValueError(f"unflatten() takes an array of {len(self.start)} numbers, got one of shape {numbers.shape}")
        return trees.unflatten(self.structure, numbers.tolist()) if self.shape is None else numbers.reshape(self.shape)

    def flatten(self, x: Any) -> Any:
        """The numbers of such an argument, or of a gradient by it, as one new array.  TypeError for another structure."""
        if self.shape is not None and isinstance(x, np.ndarray) and x.shape == self.shape:
            return np.array(x, dtype=np.float64).reshape(-1)
        return _floats(trees.match(self.structure, x, "x"))


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
        results, width = len(recording.tape.outputs), len(self.start)
        places = self.program._gradients(recording, (0,), list(map(float, range(width))), 0, 1)  # where each number has gone
        order = _floats(trees.flatten(places[0])[0]).astype(np.int64)
        table = _table(numbers[results:], examples).reshape(results, width, examples)[:, order]
        return np.ascontiguousarray(table.transpose(2, 0, 1)).reshape(examples * results, width)

    def _ask(self, what: str, flat: Any) -> tuple[Any, Any, int]:
        program, x = self.program, self.unflatten(flat)
        if program.batch is not None:  # each example has its own copy of x, so that its derivatives stay its own
            x = _spread(x, _examples(self.args, program._axes(1 + len(self.args))[1:]))
        with program._lock:
            recording, numbers, examples = program._asked(what, (x, *self.args), (0,) if what == "jacobian" else None)
        return recording, numbers, examples


def _floats(leaves: list[Any]) -> Any:
    return np.array([leaf.data if isinstance(leaf, Value) else leaf for leaf in leaves], dtype=np.float64)


def _table(numbers: Any, examples: int) -> Any:
    """Results as rows, with a column for each example."""
    return np.array([np.broadcast_to(x, (examples,)) for x in numbers], dtype=np.float64).reshape(len(numbers), examples)


def _examples(args: tuple[Any, ...], axes: list[bool]) -> int:
    """How many examples the first batched argument has; the program checks the others."""
    x: Any = next(x for x, own in zip(args, axes, strict=True) if own)
    while isinstance(x, dict) or (isinstance(x, tuple) and x and hasattr(x[0], "__len__")):
        x = next(iter(x.values())) if isinstance(x, dict) else x[0]
    return len(x)


def _spread(x: Any, examples: int) -> Any:
    """The argument with a leading axis, along which it is the same."""
    if isinstance(x, dict):
        return {key: _spread(part, examples) for key, part in x.items()}
    if isinstance(x, tuple):
        parts = [_spread(part, examples) for part in x]
        return type(x)._make(parts) if hasattr(x, "_make") else tuple(parts)
    numbers = np.asarray(x, dtype=np.float64)
    return np.broadcast_to(numbers, (examples, *numbers.shape))


def as_objective(program: Program, x0: Any, *args: Any) -> tuple[Objective, Any]:
    """A function for ``scipy.optimize.minimize(..., jac=True)`` and the flat start; see ``Program.as_objective``."""
    fun = Objective(program, x0, args, "as_objective()")
    fun(fun.start)
    return fun, fun.start.copy()


def as_residuals(program: Program, x0: Any, *args: Any) -> tuple[Residuals, Any, Any]:
    """The arguments of ``scipy.optimize.least_squares``; see ``Program.as_residuals``."""
    if program.reduce is not None:
        raise ValueError(f"as_residuals() needs the residuals themselves: compile without reduce={program.reduce!r}")
    fun = Residuals(program, x0, args, "as_residuals()")
    if any(axes := program._axes(1 + len(args))):
        batch = (0, *(0 if own else None for own in axes[1:]))
        fun.program = Program(program.fn, batch, None, program.backend, program.dtype.name, program.threads)
    return fun, fun.start.copy(), fun.jacobian
