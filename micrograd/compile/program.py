"""Programs: the public face of the compiler.

``compile(fn)`` gives a :class:`Program`.  Its first call records ``fn`` (:mod:`trace`), and each thing asked of it (a value,
a gradient by some arguments, a Jacobian) is a *routine*: simplified, differentiated, rolled and handed to a backend once.
"""

from __future__ import annotations

import functools
import inspect
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micrograd import engine, ops, trees
from micrograd.compile import tape as tapes
from micrograd.compile.adjoint import adjoint
from micrograd.compile.arguments import Argument, describe, fill, rebuild
from micrograd.compile.native import NativeKernel
from micrograd.compile.parameters import Parameters
from micrograd.compile.roll import LANES, Rolled, roll
from micrograd.compile.simplify import Sums, simplify
from micrograd.compile.tape import Space, Tape
from micrograd.compile.toolchain import NoCompiler
from micrograd.compile.trace import Index, Trace
from micrograd.engine import Value

BACKENDS = ("auto", "numpy", "native")
DTYPES = {"float64": np.float64, "float32": np.float32}
REDUCTIONS = (None, "sum", "mean")


@dataclass
class Stats:
    """What a program has done: recordings and their sizes, and the seconds of each stage, summed over its routines."""

    recordings: int = 0
    routines: int = 0
    nodes: int = 0
    instructions: int = 0
    bytes: int = 0
    backend: str = ""
    compiler_calls: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, seconds: float) -> None:
        self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds


@dataclass
class Routine:
    """One thing that can be asked of a recording, ready to run: a kernel and what its outputs are."""

    kernel: Any
    rolled: Rolled
    tape: Tape
    is_lane: Any  # for each output whether each example has its own


class Recording:
    """One run of the function: its tape, what it captured, and the routines made of it."""

    def __init__(self, program: Program, arguments: list[Argument], batched: list[bool]) -> None:
        self.program, self.batched = program, batched
        self.trees = [argument.tree for argument in arguments]
        trace = self.trace = Trace()
        self.spaces: list[tuple[int, int]] = []  # of each argument: the spaces of its real numbers and of its integers
        self.shapes = [(a.reals.shape[-1:], a.ints.shape[-1:]) for a in arguments]
        places = []
        names = program._argument_names(len(arguments))
        for argument, name, own in zip(arguments, names, batched, strict=True):
            real = trace.tape.space(Space(name, "real", own))
            index = trace.tape.space(Space(name, "index", own))
            self.spaces.append((real, index))
            places.append(self._rebuilt(argument, real, index, own))
        self.weight = trace.tape.space(Space("weight"))
        result = program.fn(*places)
        leaves, self.structure = trees.flatten(result, "the result")
        trace.tape.outputs = list(trace.nodes("the result", leaves))
        self.scalar = isinstance(self.structure, trees.Slot)
        self.raw_nodes = len(trace.tape)
        self.tape = trace.tape
        self.captured = trace.captured
        self.routines: dict[Any, Routine] = {}

    def _rebuilt(self, argument: Argument, real: int, index: int, batched: bool) -> Any:
        trace = self.trace
        tape = trace.tape
        symbols: dict[int, Any] = {}
        for i in range(argument.reals.shape[-1]):
            symbols[i] = trace.symbol(tape.leaf(real, i))
        ints = argument.ints
        first = ints[0] if batched and len(ints) else ints
        return rebuild(argument.tree, symbols.__getitem__, lambda i: Index(trace, index, i, int(first[i])))

    def fits(self, arguments: list[Argument]) -> bool:
        """Whether the integers that became part of the program are the same."""
        for (space, position), value in self.trace.frozen.items():
            for argument, (_, index) in zip(arguments, self.spaces, strict=True):
                if index == space and int(argument.ints[position]) != value:
                    return False
        return True

    def check(self, arguments: list[Argument]) -> None:
        """IndexError for an integer outside the table that it picks from."""
        for (space, position), size in self.trace.bounds.items():
            for argument, (_, index) in zip(arguments, self.spaces, strict=True):
                if index == space:
                    picked = argument.ints[..., position]
                    if picked.size and not (-size <= picked.min() and picked.max() < size):
                        worst = picked.min() if picked.min() < -size else picked.max()
                        raise IndexError(f"take(): index {int(worst)} is outside a table of {size}")

    # ------------------------------------------------------------------------------------------------------ routines

    def routine(self, request: tuple[Any, ...]) -> Routine:
        found = self.routines.get(request)
        if found is None:
            found = self.routines[request] = self._build(request)
        return found

    def _build(self, request: tuple[Any, ...]) -> Routine:
        program, stats = self.program, self.program.stats
        stage = _Stages(stats)
        tape = stage("simplify", lambda: simplify(self.tape))
        tape = stage("adjoint", lambda: self._extended(tape, request))
        rolled = stage("roll", lambda: roll(tape))
        kernel = stage("backend", lambda: program._kernel(rolled))
        stats.routines += 1
        stats.nodes += self.raw_nodes
        stats.instructions += len(rolled.before) + len(rolled.batch) + len(rolled.after)
        stats.bytes += 8 * (rolled.shared + rolled.lanes * kernel.block)
        stats.backend = kernel.name
        return Routine(kernel, rolled, tape, rolled.outputs >= LANES)

    def _extended(self, tape: Tape, request: tuple[Any, ...]) -> Tape:
        """The tape with what is asked for as its outputs."""
        what, *rest = request
        results = list(tape.outputs)
        values = [self._value(tape, out) for out in results]
        if what == "value":
            tape.outputs = values
        elif what == "grad":
            tape.outputs = values + self._gradients(tape, results[0], self._leaves(tape, rest[0]))
        elif what == "jacobian":
            rows: list[int] = []
            leaves = self._leaves(tape, rest[0])
            for out in results:
                rows += self._gradients(tape, out, leaves)
            tape.outputs = values + rows
        return tape

    def _value(self, tape: Tape, out: int) -> int:
        """A result, summed over the batch if that was asked for."""
        reduce = self.program.reduce
        if reduce is None:
            return out
        sums = Sums(tape)
        batched = tape.batched()[out]
        weight = tape.leaf(self.weight, 0 if batched else 1)
        return sums.emit([[out, weight], [], [], []], reduced=bool(batched))

    def _leaves(self, tape: Tape, spaces: tuple[int, ...]) -> list[int | None]:
        """The instructions of all numbers of some spaces, None for what the program does not use."""
        nodes = {origin: node for node, origin in tape.origins.items()}
        sizes = [(space, self.trace.tape.spaces[space].size) for space in spaces]
        return [nodes.get((space, i)) for space, size in sizes for i in range(size)]

    def _gradients(self, tape: Tape, result: int, leaves: list[int | None]) -> list[int]:
        """The instructions of the derivatives of one result by some leaves."""
        seed = tape.constant(1.0)
        if self.program.reduce is not None:
            seed = tape.leaf(self.weight, 0 if tape.batched()[result] else 1)
        _, found = adjoint(tape, {result: seed}, [leaf for leaf in leaves if leaf is not None])
        given = iter(found)
        zero = tape.constant(0.0)
        return [zero if leaf is None else next(given) for leaf in leaves]

    # ------------------------------------------------------------------------------------------------------- running

    def run(self, routine: Routine, arguments: list[Argument], examples: int) -> tuple[Any, Any]:
        inputs = [self.program.parameters._numbers(self.captured)]
        for argument in arguments:
            inputs += (argument.reals, argument.ints)
        weight = 1.0 / examples if self.program.reduce == "mean" and examples else 1.0
        inputs.append(np.array([weight, weight * examples]))
        return routine.kernel.run(inputs, examples)  # type: ignore[no-any-return]


class _Stages:
    """Runs the stages, keeps their times, and shows their results where MICROGRAD_TRACE=1 asks for it."""

    def __init__(self, stats: Stats) -> None:
        self.stats = stats

    def __call__(self, name: str, stage: Callable[[], Any]) -> Any:
        start = time.perf_counter()
        result = stage()
        seconds = time.perf_counter() - start
        self.stats.add(name, seconds)
        show(name, result, seconds)
        return result


def show(name: str, form: Any, seconds: float) -> None:
    """Print the form that a stage gave, if the environment asks for it."""
    import os
    import sys

    if os.environ.get("MICROGRAD_TRACE") == "1":
        print(f"--- {name}: {seconds * 1e3:.1f} ms\n{form}", file=sys.stderr)


class Program:
    """A compiled function; see :func:`micrograd.compile`."""

    def __init__(
        self, fn: Callable[..., Any], batch: Any, reduce: str | None, backend: str, dtype: str, threads: int
    ) -> None:
        if not callable(fn):
            raise TypeError(f"compile() takes a function, got {type(fn).__name__}")
        for name, value, allowed in (("backend", backend, BACKENDS), ("dtype", dtype, tuple(DTYPES)), ("reduce", reduce, REDUCTIONS)):
            if value not in allowed:
                raise ValueError(f"compile(): {name} must be one of {', '.join(map(repr, allowed))}, got {value!r}")
        if not isinstance(threads, int) or threads < 1:
            raise ValueError(f"compile(): threads must be a whole number from 1, got {threads!r}")
        if reduce is not None and batch is None:
            raise ValueError("compile(): reduce sums over a batch, so it needs batch=, such as batch=(None, 0)")
        if isinstance(batch, (int, type(None))):
            axes: Any = batch
        else:
            axes = tuple(batch)
        if any(axis not in (None, 0) or isinstance(axis, bool) for axis in (axes if isinstance(axes, tuple) else (axes,))):
            raise ValueError(f"compile(): batch has None or 0 for each positional argument, got {batch!r}")
        self.fn, self.batch, self.reduce, self.threads = fn, axes, reduce, threads
        self.backend, self.dtype = backend, np.dtype(DTYPES[dtype])
        self.stats = Stats()
        self.parameters = Parameters()
        self._recordings: dict[Any, list[Recording]] = {}
        self._last: tuple[Recording, Routine] | None = None
        functools.update_wrapper(self, fn, updated=())

    # ----------------------------------------------------------------------------------------------------- asking

    def __call__(self, *args: Any) -> Any:
        """What the function gives: floats, or arrays over a batch, in the structure of its result."""
        recording, arguments, examples = self._recorded(args, ())
        shared, lanes, routine = self._run(recording, ("value",), arguments, examples)
        return self._result(recording, self._merged(routine, shared, lanes, examples))

    def value_and_grad(self, *args: Any, wrt: Any = 0) -> tuple[Any, Any]:
        """The value and its gradient by the arguments ``wrt``, a position or a tuple of them, in their structure.

        Without ``reduce`` a batched function gives a value for each example; gradients by shared arguments are sums.
        """
        positions = self._positions(wrt, len(args))
        recording, arguments, examples = self._recorded(args, positions)
        self._need_scalar(recording, "value_and_grad")
        spaces = tuple(recording.spaces[p][0] for p in positions)
        shared, lanes, routine = self._run(recording, ("grad", spaces), arguments, examples)
        numbers = self._merged(routine, shared, lanes, examples)
        gradients = self._split(recording, positions, numbers[1:])
        return self._result(recording, numbers[:1]), (gradients if isinstance(wrt, tuple) else gradients[0])

    def jacobian(self, *args: Any, wrt: Any = 0) -> Any:
        """All derivatives: the result with a gradient in the place of each number, as :func:`micrograd.jacobian`."""
        positions = self._positions(wrt, len(args))
        recording, arguments, examples = self._recorded(args, positions)
        spaces = tuple(recording.spaces[p][0] for p in positions)
        shared, lanes, routine = self._run(recording, ("jacobian", spaces), arguments, examples)
        numbers = self._merged(routine, shared, lanes, examples)
        outs = len(recording.tape.outputs)
        width = (len(numbers) - outs) // max(outs, 1)
        rows = []
        for i in range(outs):
            gradients = self._split(recording, positions, numbers[outs + i * width : outs + (i + 1) * width])
            rows.append(gradients if isinstance(wrt, tuple) else gradients[0])
        return trees.unflatten(recording.structure, rows)

    def backward(self, *args: Any) -> Any:
        """Add the gradient by the captured parameters into their ``grad``, as ``loss.backward()`` does, and give the value."""
        recording, arguments, examples = self._recorded(args, ())
        self._need_scalar(recording, "backward")
        shared, lanes, routine = self._run(recording, ("grad", (0,)), arguments, examples)
        numbers = self._merged(routine, shared, lanes, examples)
        self.parameters._add(recording.captured, np.array(numbers[1:]))
        return self._result(recording, numbers[:1])

    # ---------------------------------------------------------------------------------------------------- recording

    def _recorded(self, args: tuple[Any, ...], real: tuple[int, ...]) -> tuple[Recording, list[Argument], int]:
        axes = self._axes(len(args))
        names = self._argument_names(len(args))
        arguments = [describe(x, names[i], axes[i], i in real) for i, x in enumerate(args)]
        examples = self._examples(arguments, axes, names)
        key = tuple(argument.key for argument in arguments)
        known = self._recordings.setdefault(key, [])
        for recording in known:
            if not recording.trace.frozen or recording.fits(arguments):
                break
        else:
            start = time.perf_counter()
            recording = Recording(self, arguments, axes)
            seconds = time.perf_counter() - start
            self.stats.add("trace", seconds)
            self.stats.recordings += 1
            show("trace", recording.tape, seconds)
            known.append(recording)
            self.parameters._capture(recording.captured)
        if recording.trace.bounds:
            recording.check(arguments)
        return recording, arguments, examples

    def _axes(self, count: int) -> list[bool]:
        if self.batch is None:
            return [False] * count
        axes = (self.batch,) * count if isinstance(self.batch, int) else self.batch
        if len(axes) != count:
            raise TypeError(f"batch={self.batch!r} is for {len(axes)} arguments, but the call has {count}")
        return [axis is not None for axis in axes]

    def _examples(self, arguments: list[Argument], axes: list[bool], names: Sequence[str]) -> int:
        """How many examples a batch has; all batched arguments must agree."""
        counts = {name: max(len(a.reals), len(a.ints)) for name, a, own in zip(names, arguments, axes, strict=True) if own}
        if len(set(counts.values())) > 1:
            raise ValueError("all batched arguments need the same number of examples, got " + ", ".join(f"{n} in {k}" for k, n in counts.items()))
        examples = next(iter(counts.values()), 1)
        self._count = examples
        if not examples:
            raise ValueError("an empty batch: expected at least one example")
        return examples

    def _argument_names(self, count: int) -> list[str]:
        try:
            found = [p.name for p in inspect.signature(self.fn).parameters.values() if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        except (TypeError, ValueError):
            found = []
        return found[:count] + [f"argument {i}" for i in range(len(found), count)]

    def _positions(self, wrt: Any, count: int) -> tuple[int, ...]:
        positions = wrt if isinstance(wrt, tuple) else (wrt,)
        for p in positions:
            if isinstance(p, bool) or not isinstance(p, int) or not -count <= p < count:
                raise ValueError(f"wrt must be the position of one of the {count} arguments, or a tuple of such, got {wrt!r}")
        return tuple(p % count for p in positions)

    def _need_scalar(self, recording: Recording, name: str) -> None:
        if not recording.scalar:
            raise TypeError(f"{name} needs a function that gives one number, but {self._name} gives {len(recording.tape.outputs)}: use jacobian")

    @property
    def _name(self) -> str:
        return getattr(self.fn, "__name__", type(self.fn).__name__)

    # ------------------------------------------------------------------------------------------------------- running

    def _kernel(self, rolled: Rolled) -> Any:
        if self.backend != "numpy":
            try:
                kernel = NativeKernel(rolled, self.dtype, self.threads)
                self.stats.compiler_calls += not kernel.loaded.cached
                return kernel
            except NoCompiler as error:
                if self.backend == "native":
                    raise
                warnings.warn(f"micrograd.compile runs on NumPy: {error}", stacklevel=6)
        from micrograd.compile.numpy_backend import NumpyKernel

        return NumpyKernel(rolled, self.dtype)

    def _run(self, recording: Recording, request: tuple[Any, ...], arguments: list[Argument], examples: int) -> tuple[Any, Any, Routine]:
        routine = recording.routine(request)
        self._last = recording, routine
        shared, lanes = recording.run(routine, arguments, examples)
        return shared, lanes, routine

    def _merged(self, routine: Routine, shared: Any, lanes: Any, examples: int) -> list[Any]:
        """The outputs in their order: floats, and arrays over the batch."""
        if lanes is None or not lanes.shape[1]:
            return shared.copy() if routine.rolled.lanes == 0 or self.reduce else self._spread(routine, shared, None, examples)
        return self._spread(routine, shared, lanes, examples)

    def _spread(self, routine: Routine, shared: Any, lanes: Any, examples: int) -> list[Any]:
        s, v = iter(shared.tolist()), iter(range(0 if lanes is None else lanes.shape[1]))
        return [lanes[:, next(v)].copy() if lane else next(s) for lane in routine.is_lane]

    def _result(self, recording: Recording, numbers: Any) -> Any:
        count = len(recording.tape.outputs)
        leaves = []
        batched = any(recording.batched) and self.reduce is None
        for number in numbers[:count]:
            if np.ndim(number):
                leaves.append(number)
            else:
                leaves.append(np.full(self._count, float(number)) if batched else float(number))
        return leaves[0] if recording.scalar else trees.unflatten(recording.structure, leaves)

    def _split(self, recording: Recording, positions: tuple[int, ...], numbers: Any) -> tuple[Any, ...]:
        """Gradients by several arguments, each in its structure."""
        gradients, start = [], 0
        for p in positions:
            size = recording.trace.tape.spaces[recording.spaces[p][0]].size
            part = numbers[start : start + size]
            start += size
            if recording.batched[p]:
                rows = [x if np.ndim(x) else np.full(self._count, float(x)) for x in part]
                gradients.append(fill(recording.trees[p], np.stack(rows, axis=-1) if rows else np.zeros((self._count, 0)), True))
            else:
                gradients.append(fill(recording.trees[p], np.array(part), False))
        return tuple(gradients)
