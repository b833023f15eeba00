"""The stages of the compiler run by hand: a function, its arguments, and the vector program of its value and gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from micrograd import Value
from micrograd.compile import tape as tapes
from micrograd.compile.adjoint import adjoint
from micrograd.compile.roll import roll
from micrograd.compile.simplify import simplify
from micrograd.compile.trace import Index, Trace
from micrograd.compile.vector import Rolled


class Recorded:
    """The vector program of ``fn``: its outputs are the result, then the gradients by the arguments and captured Values."""

    def __init__(self, fn: Callable[..., Any], args: Sequence[Any], batched: bool = False, gradients: bool = True) -> None:
        trace = Trace()
        symbols = [self._symbols(trace, f"x{k}", a, batched) for k, a in enumerate(args)]
        found = fn(*symbols)
        results = [r.node if hasattr(r, "node") else trace.tape.constant(float(r)) for r in _flat(found)]
        trace.tape.outputs = results
        tape = simplify(trace.tape.verify()).verify()
        origins = {origin: node for node, origin in tape.origins.items()}
        self.captured: list[Value] = trace.captured
        self.rolled: Rolled
        if gradients:
            real = [(s, p) for s, space in enumerate(tape.spaces) if space.kind == "real" for p in range(space.size)]
            real.sort(key=lambda place: (place[0] == trace.captured_space, place))
            wrt = [origins.get(place, -1) for place in real]
            zero = tape.constant(0.0)
            # the same number for each example, but each result's own: what is summed over the batch is summed for each
            seed = tape.leaf(tape.space(tapes.Space("seed", "real", batched)), 0)
            found = adjoint(tape, {tape.outputs[0]: seed}, [n for n in wrt if n >= 0])
            by_node = dict(zip([n for n in wrt if n >= 0], found, strict=True))
            tape.outputs += [by_node.get(n, zero) for n in wrt]
        self.rolled = roll(tape.verify())

    def _symbols(self, trace: Trace, name: str, arg: Any, batched: bool) -> Any:
        if isinstance(arg, int):
            return Index(trace, trace.tape.space(tapes.Space(name, "index", batched, 1)), 0, arg)
        space = trace.tape.space(tapes.Space(name, "real", batched))
        position = iter(range(1 << 30))
        symbols = _mapped(arg, lambda _: trace.symbol(trace.tape.leaf(space, next(position))))
        return symbols

    def inputs(self, examples: Sequence[Sequence[Any]], batched: bool = False) -> list[Any]:
        """The arrays of the program's spaces: the captured numbers, then the arguments of one or of many examples."""
        arrays = [np.array([v.data for v in self.captured])]
        for column in zip(*examples, strict=True):
            rows = np.array([[float(x) for x in _flat(a)] for a in column])
            rows = rows.astype(np.int64) if isinstance(column[0], int) else rows
            arrays.append(rows if batched else rows[0])
        seeds = [np.ones((len(examples), 1) if batched else 1)] * (len(self.rolled.spaces) - len(arrays))
        return arrays + seeds


def _flat(tree: Any) -> list[Any]:
    if isinstance(tree, np.ndarray):
        tree = tree.tolist()
    if isinstance(tree, dict):
        tree = list(tree.values())
    return [leaf for part in tree for leaf in _flat(part)] if isinstance(tree, (list, tuple)) else [tree]


def _mapped(tree: Any, make: Callable[[Any], Any]) -> Any:
    if isinstance(tree, np.ndarray):
        symbols = np.empty(tree.shape, dtype=object)
        for place in np.ndindex(tree.shape):
            symbols[place] = make(tree[place])
        return symbols
    if isinstance(tree, dict):
        return {key: _mapped(part, make) for key, part in tree.items()}
    return type(tree)(_mapped(part, make) for part in tree) if isinstance(tree, (list, tuple)) else make(tree)
