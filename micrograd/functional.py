"""Derivatives of plain Python functions, exact to any order: grad, jacobian, hessian and the products with them.

The names, the order of arguments and the structure of results are JAX's.  An argument may be a number, a list, tuple, dict
or NumPy array of numbers, a module, or any nesting of them (:mod:`micrograd.trees`); a gradient has the structure of the
argument that it belongs to, with 0.0 for what the function does not use.  Inside the function the numbers are Values.

Numbers in, floats out.  When an argument holds a Value, or within a function that is itself being differentiated, the
results are Values with a graph of their own: so transformations nest, and ``backward()`` goes through them.  The gradient
by a module is a module of the same kind, whose parameters are the derivatives.

Nothing here reads or writes anyone's ``grad``.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from micrograd import engine, ops, trees
from micrograd.engine import Value, _depth, topological_order

Function = Callable[..., Any]
Arguments = int | tuple[int, ...]


# ------------------------------------------------------------------------------------------------ transformations


def grad(f: Function, wrt: Arguments = 0) -> Function:
    """The function that gives the gradient of ``f``, which gives one number, by the arguments in the positions ``wrt``.

    The gradient has the structure of the argument; for a tuple of positions it is a tuple.  One run of ``f`` and one sweep
    back.  TypeError where ``f`` gives anything but one number.  Convention: ``jax.grad``.

    >>> grad(lambda x: x**3)(2.0)
    12.0
    >>> grad(grad(lambda x: x**3))(2.0)
    12.0
    >>> grad(lambda w, x: w["a"] * x[0] + w["b"] * x[1])({"a": 1.0, "b": 2.0}, [3.0, 4.0])
    {'a': 3.0, 'b': 4.0}
    """
    return _grad("grad", f, wrt)


def value_and_grad(f: Function, wrt: Arguments = 0) -> Function:
    """The function that gives the pair of ``f``'s value and its gradient, for the price of the gradient.

    See ``grad``.  Convention: ``jax.value_and_grad``.

    >>> value_and_grad(lambda x: x**3)(2.0)
    (8.0, 12.0)
    """
    return _value_and_grad("value_and_grad", f, wrt)


def jacobian(f: Function, wrt: Arguments = 0) -> Function:
    """The function that gives all derivatives of ``f``: its result with a gradient in the place of each number.

    So for lists ``[i][j]`` is the derivative of result i by argument j, and for NumPy arrays the shape is that of the result
    followed by that of the argument.  One sweep back for each number of the result.  Convention: ``jax.jacrev``.

    >>> jacobian(lambda x: [x[0] * x[1], x[0] + x[1]])([2.0, 3.0])
    [[3.0, 2.0], [1.0, 1.0]]
    """
    _check_function("jacobian", f, wrt)

    def transformed(*args: Any, **kwargs: Any) -> Any:
        run = Run("jacobian", f, args, kwargs, wrt)
        rows = [run.gradient(run.pull([(output, 1.0)])) for output in run.outputs]
        return trees.unflatten(run.result_structure, rows)

    return transformed


def hessian(f: Function, wrt: Arguments = 0) -> Function:
    """The function that gives all second derivatives of ``f``, which gives one number: the Jacobian of its gradient.

    For a list ``[i][j]`` is the derivative by numbers i and j.  One recorded gradient and as many sweeps back through it as
    there are numbers: for products with the Hessian ``hvp`` costs one.  Convention: ``jax.hessian``.

    >>> hessian(lambda x: x[0] ** 2 * x[1])([2.0, 3.0])
    [[6.0, 4.0], [4.0, 0.0]]
    """
    return jacobian(_grad("hessian", f, wrt), wrt)


def jvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> tuple[Any, Any]:
    """The value of ``f`` at the arguments ``primals`` and its derivative in the direction ``tangents``.

    The derivative is the Jacobian times the vector.  Both are tuples with one entry an argument, of equal structure.  One
    run and one sweep forward.  TypeError where the structures differ.  Convention: ``jax.jvp``.

    >>> jvp(lambda x, y: x * y, (2.0, 3.0), (1.0, 10.0))
    (6.0, 23.0)
    """
    _check_tuple("jvp", "primals", primals)
    _check_tuple("jvp", "tangents", tangents)
    directions = trees.match(trees.flatten(primals, "primals")[1], tangents, "tangents")
    run = Run("jvp", f, primals, {}, tuple(range(len(primals))), trees.holds_values(directions))
    return run.result(run.outputs), run.result(run.push(directions))


def vjp(f: Function, *primals: Any) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """The value of ``f`` and the function that takes a cotangent, a tree of numbers like the value, back to the arguments.

    It gives the tuple of vector times Jacobian for each argument, and can be called many times: one sweep back each.
    Convention: ``jax.vjp``.

    >>> value, pull = vjp(lambda x, y: [x * y, x + y], 2.0, 3.0)
    >>> value, pull([1.0, 10.0])
    ([6.0, 5.0], (13.0, 12.0))
    """
    run = Run("vjp", f, primals, {}, tuple(range(len(primals))))

    def pull(cotangent: Any) -> tuple[Any, ...]:
        seeds = trees.match(run.result_structure, cotangent, "cotangent")
        recorded = run.recorded or _depth.get() > 0 or trees.holds_values(cotangent)
        return run.gradient(run.pull(zip(run.outputs, seeds, strict=True), recorded))  # type: ignore[no-any-return]

    return run.result(run.outputs), pull


def hvp(f: Function, primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The Hessian of ``f``, which gives one number, times the vector ``tangents``, at the arguments ``primals``.

    The result has the structure of the argument, and is a tuple of such where there are several.  The Hessian is never
    formed: the cost is a small multiple of that of ``f``, whatever the number of arguments.  Convention: JAX's
    ``jvp(grad(f), ...)``.

    >>> hvp(lambda x: x[0] ** 2 * x[1], ([2.0, 3.0],), ([1.0, 0.0],))
    [6.0, 4.0]
    """
    _check_tuple("hvp", "primals", primals)
    _check_tuple("hvp", "tangents", tangents)
    wrt = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return jvp(_grad("hvp", f, wrt), primals, tangents)[1]


# --------------------------------------------------------------------------------------------------- the two sweeps


class Run:
    """One run of a function with fresh Values for the arguments in positions ``wrt``, ready to be swept either way.

    A Value among the arguments is replaced by a node of its own that stands for it: so the argument and the same
    Value used from outside the function are told apart, as in ``grad(lambda x: x * grad(lambda y: x + y)(x))``.
    """

    def __init__(
        self, name: str, f: Function, args: Sequence[Any], kwargs: dict[str, Any], wrt: Arguments, recorded: bool = False
    ) -> None:
        _check_function(name, f, wrt)
        self.wrt = wrt
        self.positions = _positions(name, wrt, len(args))
        self.recorded = recorded or _depth.get() > 0 or trees.holds_values((args, kwargs))
        for i in self.positions:
            if trees.stands_still(args[i]):
                raise TypeError(
                    f"{name}(): argument {i} is a {type(args[i]).__name__}, which has no derivative: let the function close "
                    "over it, or choose other arguments with wrt="
                )
        leaves, self.structure = trees.flatten({i: args[i] for i in self.positions}, "arguments")
        _refuse_traced(name, leaves)
        self.inputs = [_fresh(leaf, self.recorded) for leaf in leaves]
        fresh = trees.unflatten(self.structure, self.inputs)
        self.outputs, self.result_structure = _call(name, f, [fresh.get(i, arg) for i, arg in enumerate(args)], kwargs)
        _refuse_traced(name, self.outputs)
        self.active = set(self.inputs)  # what depends on the inputs
        self.nodes = []  # the same without the inputs, parents before children
        roots = [output for output in self.outputs if isinstance(output, Value)]
        for node in topological_order(*roots, stop=self.active):
            if node not in self.active and not self.active.isdisjoint(node.parents):
                self.active.add(node)
                self.nodes.append(node)

    def pull(self, seeds: Iterable[tuple[Any, Any]], recorded: bool | None = None) -> list[Any]:
        """Backward: the sum of seed times derivative over the outputs, by each input."""
        recorded = self.recorded if recorded is None else recorded
        times = _times if recorded else operator.mul
        watch = None if recorded else engine._watch  # what is recorded is watched as it is recorded
        adjoints: dict[Value, Any] = {}
        for output, seed in seeds:
            if output in self.active:
                adjoints[output] = adjoints[output] + seed if output in adjoints else seed
        for node in reversed(self.nodes):
            adjoint = adjoints.pop(node, None)
            if adjoint is None:
                continue  # no output with a seed depends on it
            for parent, derivative in zip(node.parents, _derivatives(node, recorded), strict=True):
                if parent in self.active:
                    sent = times(adjoint, derivative)
                    adjoints[parent] = adjoints[parent] + sent if parent in adjoints else sent
                    if watch is not None:
                        watch.sent(node, adjoint, derivative, adjoints[parent])
        return [_number(adjoints.get(x, 0.0), recorded) for x in self.inputs]

    def push(self, tangents: Sequence[Any]) -> list[Any]:
        """Forward: the sum of derivative times tangent over the inputs, of each output."""
        times = _times if self.recorded else operator.mul
        moved: dict[Any, Any] = dict(zip(self.inputs, tangents, strict=True))
        for node in self.nodes:
            for parent, derivative in zip(node.parents, _derivatives(node, self.recorded), strict=True):
                if parent in self.active:
                    sent = times(moved[parent], derivative)
                    moved[node] = moved[node] + sent if node in moved else sent
        return [moved.get(output, 0.0) for output in self.outputs]

    def gradient(self, leaves: Sequence[Any]) -> Any:
        """One number for each input, in the structure of the arguments."""
        chosen = trees.unflatten(self.structure, leaves)
        return tuple([chosen[i] for i in self.positions]) if isinstance(self.wrt, tuple) else chosen[self.positions[0]]

    def result(self, leaves: Sequence[Any]) -> Any:
        """One number for each output, in the structure of the result."""
        return trees.unflatten(self.result_structure, [_number(leaf, self.recorded) for leaf in leaves])


def _refuse_traced(name: str, values: Iterable[Any]) -> None:
    """TypeError for Values of a function that is being compiled: they have no graph to sweep."""
    if any(isinstance(v, Value) and type(v)._record is not Value._record for v in values):
        raise TypeError(
            f"{name}() does not work within a compiled function: compile the function itself and ask the program for its "
            "derivatives, with value_and_grad, jacobian or hvp"
        )


def _call(name: str, f: Function, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[list[Any], Any]:
    """The leaves and the structure of f's result; whatever f differentiates meanwhile is recorded."""
    with _differentiating():
        result = f(*args, **kwargs)
    if result is None:
        raise TypeError(f"{name}(): the function gave None: does it lack a return statement?")
    return trees.flatten(result, "result")


@contextmanager
def _differentiating() -> Iterator[None]:
    """Here a Value may not be turned into a float: its derivative would be lost."""
    token = _depth.set(_depth.get() + 1)
    try:
        yield
    finally:
        _depth.reset(token)


def _fresh(leaf: Any, recorded: bool) -> Value:
    if not isinstance(leaf, Value):
        return Value(leaf)
    return ops.identity(leaf) if recorded else Value(leaf.data)


def _derivatives(node: Value, recorded: bool) -> Sequence[Any]:
    """The local derivatives of a node: the stored floats, or Values from its rule, run anew on its parents."""
    stored = tuple(node.local_derivatives)  # refuses a node built by hand, whose rule is not known
    if not recorded:
        return stored
    operation: Any = node.operation
    with _differentiating():
        return operation.rule(ops.VALUES, *node.parents)[1]  # type: ignore[no-any-return]


def _times(adjoint: Any, derivative: Any) -> Any:
    """The product of two floats or Values, without a node for a factor of one, which most sums have."""
    if derivative.__class__ is float and derivative == 1.0:
        return adjoint
    return derivative if adjoint.__class__ is float and adjoint == 1.0 else adjoint * derivative


def _number(x: Any, recorded: bool) -> Any:
    if recorded:
        return x if isinstance(x, Value) else Value(x).detach()
    return x.data if isinstance(x, Value) else x


# ------------------------------------------------------------------------------------------------------- checking


def _grad(name: str, f: Function, wrt: Arguments) -> Function:
    both = _value_and_grad(name, f, wrt)
    return lambda *args, **kwargs: both(*args, **kwargs)[1]


def _value_and_grad(name: str, f: Function, wrt: Arguments) -> Function:
    _check_function(name, f, wrt)

    def transformed(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        run = Run(name, f, args, kwargs, wrt)
        if not isinstance(run.result_structure, trees.Slot):
            got = type(run.result_structure).__name__
            raise TypeError(f"{name}() needs a function that gives one number, got {got}: use jacobian() for several")
        return run.result(run.outputs), run.gradient(run.pull([(run.outputs[0], 1.0)]))

    return transformed


def _check_function(name: str, f: Function, wrt: Arguments) -> None:
    if not callable(f):
        raise TypeError(f"{name}() takes a function, got {type(f).__name__}: write {name}(f)(x)")
    if not all(isinstance(i, int) and not isinstance(i, bool) for i in (wrt if isinstance(wrt, tuple) else (wrt,))):
        raise TypeError(f"{name}(): wrt must be the position of an argument or a tuple of positions, got {wrt!r}")


def _positions(name: str, wrt: Arguments, count: int) -> list[int]:
    positions = []
    for i in wrt if isinstance(wrt, tuple) else (wrt,):
        if not -count <= i < count:
            raise ValueError(
                f"{name}(): wrt={wrt} names a positional argument that is not there: the function was called with {count}"
            )
        positions.append(i % count)
    return positions


def _check_tuple(name: str, what: str, given: Any) -> None:
    if not isinstance(given, tuple):
        raise TypeError(
            f"{name}(): {what} must be a tuple with one entry an argument, got {type(given).__name__}: write (x,)"
        )
