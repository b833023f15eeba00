"""Recordings: one run of a function on symbols, and the routines that are made of its tape."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micrograd import trees
from micrograd.compile import tape as tapes
from micrograd.compile.adjoint import adjoint
from micrograd.compile.arguments import Argument, Build, Place, builder, rebuild
from micrograd.compile.parameters import Reader
from micrograd.compile.roll import roll
from micrograd.compile.schedule import schedule
from micrograd.compile.simplify import Sums, simplify
from micrograd.compile.tape import Space, Tape
from micrograd.compile.trace import BatchedIntegerError, Index, Trace
from micrograd.compile.vector import LANES, Rolled
from micrograd.engine import Value, _depth

ALONE = tapes.dot(0, 0, 1, 0)  # a number with a place of its own
Request = tuple[Any, ...]  # ("value",), ("grad", spaces), ("jacobian", spaces) or ("hvp", spaces)


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

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """Run a stage, freeze what it made, add up its time, and print that where ``MICROGRAD_TRACE=1`` asks for it."""
        start = time.perf_counter()
        with _collector_off():
            result = work()
            if hasattr(result, "freeze"):  # a kernel is the end
                _frozen(name, result)
        seconds = time.perf_counter() - start
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        if os.environ.get("MICROGRAD_TRACE") == "1":
            print(f"--- {name}: {seconds * 1e3:.1f} ms\n{result}", file=sys.stderr)
        return result


def _frozen(stage: str, form: Any) -> None:
    try:
        form.freeze()
    except ValueError as error:
        raise RuntimeError(f"a fault of micrograd's compiler: {stage} made a program that cannot be: {error}") from error


@contextlib.contextmanager
def _collector_off() -> Iterator[None]:
    """Without Python's garbage collector: it would walk over a million new instructions again and again, for nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


_recording = ContextVar("_recording", default=False)
WITHIN = (_recording, _depth)  # what is_within looks at


@contextlib.contextmanager
def _at_work() -> Iterator[None]:
    token = _recording.set(True)
    try:
        yield
    finally:
        _recording.reset(token)


def is_within() -> bool:
    """Whether this thread is running a function to record it, or to differentiate it eagerly."""
    return _recording.get() or _depth.get() > 0


@dataclass
class Routine:
    """One thing that can be asked of a recording, ready to run."""

    kernel: Any
    rolled: Rolled
    lanes: Any  # for each output whether each example has its own


FEW = 100  # numbers, of which a list is quicker than an array


class Recording:
    """One run of the function: its tape, what it captured, and the routines made of it.

    ``spaces`` has for each argument the spaces of its parts; space 0 are the captured numbers.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        arguments: list[Argument],
        batched: list[bool],
        reduce: str | None,
        parameters: Sequence[Value] = (),
    ) -> None:
        self.batched, self.reduce = batched, reduce
        self.trees = [argument.tree for argument in arguments]
        trace = self.trace = Trace(parameters)
        self.spaces: list[list[int]] = []
        places = []
        for argument, own in zip(arguments, batched, strict=True):
            mine = [trace.tape.space(Space(path, kind, own, size)) for kind, path, size in argument.about]
            self.spaces.append(mine)
            places.append(self._symbols(argument, mine, own))
        self.where = {space: (a, part) for a, mine in enumerate(self.spaces) for part, space in enumerate(mine)}
        self.weight = trace.tape.space(Space("weight", size=2))
        try:
            with _at_work():
                result = fn(*places)
        except BatchedIntegerError as error:
            error.argument = self.where[error.space][0]
            raise
        if result is None:
            raise TypeError("the compiled function gives None: does it end with a return statement?")
        leaves, self.structure = trees.flatten(result, "the result")
        trace.tape.outputs = list(trace.nodes("the result", leaves))
        self.scalar = isinstance(self.structure, trees.Slot)
        self.one_number = self.scalar and not (reduce is None and any(batched))  # for all examples together
        self.tape = trace.tape
        self.size = len(trace.tape)
        self.captured = trace.captured
        self.reader = Reader(self.captured)
        self.routines: dict[Request, Routine] = {}
        self.builders: dict[int, tuple[int, Build, bool]] = {}  # see gradient_by
        self.asked: dict[Any, Routine] = {}  # the same by what was asked for and by which arguments
        self._bounds: dict[tuple[int, int], tuple[Any, Any, int]] | None = None
        self._weights: dict[int, Any] = {}

    def _symbols(self, argument: Argument, spaces: list[int], batched: bool) -> Any:
        """An argument with symbols in the places of its numbers."""
        trace = self.trace
        symbols = {
            part: [trace.symbol(trace.tape.leaf(space, i)) for i in range(size)]
            for part, (space, (kind, _, size)) in enumerate(zip(spaces, argument.about, strict=True))
            if kind == "real"
        }
        firsts = [part[0].reshape(-1) if batched and len(part) else part.reshape(-1) for part in argument.parts]

        def leaf(place: Place, i: int) -> Any:
            if place.kind == "real":
                return symbols[place.part][i]
            return Index(trace, spaces[place.part], i, int(firsts[place.part][i]))

        return rebuild(argument.tree, leaf)

    def real_spaces(self, argument: int) -> list[int]:
        """The spaces of an argument's real numbers."""
        return [space for space in self.spaces[argument] if self.tape.spaces[space].kind == "real"]

    def gradient_by(self, argument: int) -> tuple[int, Build, bool]:
        """How many real numbers an argument has, what puts a gradient by them into its structure, and whether that is all
        arrays."""
        known = self.builders.get(argument)
        if known is None:
            offsets, at = {}, 0
            for part, space in enumerate(self.spaces[argument]):
                if self.tape.spaces[space].kind == "real":
                    offsets[part] = at
                    at += self.tape.spaces[space].size
            known = self.builders[argument] = at, *builder(self.trees[argument], offsets, self.batched[argument])
        return known

    def fits(self, arguments: list[Argument]) -> bool:
        """Whether the integers that became part of the program are the same."""
        for (space, position), value in self.trace.frozen.items():
            argument, part = self.where[space]
            if int(arguments[argument].parts[part].flat[position]) != value:
                return False
        return True

    def check(self, arguments: list[Argument], stacked: bool = False) -> None:
        """IndexError for an integer outside the table that it picks from; the parts may be those of several calls."""
        for (argument, part), (positions, sizes, least) in self._tables().items():
            picked = arguments[argument].parts[part]
            ends = picked.ravel().tolist() if picked.size < FEW else (picked.min(), picked.max())
            if -least <= min(ends) and max(ends) < least:
                continue
            picked = picked.reshape(len(picked) if stacked or self.batched[argument] else 1, -1)[:, positions]
            if not ((picked < sizes) & (picked >= -sizes)).all():
                row, column = np.argwhere((picked >= sizes) | (picked < -sizes))[0]
                raise IndexError(f"take(): index {int(picked[row, column])} is outside a table of {int(sizes[column])}")

    def picks(self, arguments: list[Argument]) -> list[tuple[Any, int]]:
        """The arrays of integers that pick from tables, and the size of the smallest of those tables."""
        return [(arguments[argument].parts[part], least) for (argument, part), (*_, least) in self._tables().items()]

    def _tables(self) -> dict[tuple[int, int], tuple[Any, Any, int]]:
        """By argument and part: the positions of the integers that pick, the sizes of the tables that they pick from, and
        the least of those."""
        if self._bounds is None:
            found: dict[tuple[int, int], dict[int, int]] = {}
            for (space, position), size in self.trace.bounds.items():
                found.setdefault(self.where[space], {})[position] = size
            self._bounds = {
                where: (
                    slice(None) if list(sizes) == list(range(len(sizes))) else list(sizes),
                    np.array(list(sizes.values())),
                    min(sizes.values()),
                )
                for where, sizes in found.items()
            }
            for where, (positions, sizes, least) in self._bounds.items():
                argument, part = where
                if isinstance(positions, slice) and len(sizes) != self.tape.spaces[self.spaces[argument][part]].size:
                    self._bounds[where] = list(range(len(sizes))), sizes, least
        return self._bounds

    # ------------------------------------------------------------------------------------------------------ routines

    def routine(self, request: Request, kernel: Callable[[Rolled], Any], stats: Stats) -> Routine:
        """What answers a request, made at its first time."""
        found = self.routines.get(request)
        if found is None:
            tape = stats.stage("simplify", lambda: simplify(self.tape))
            tape = stats.stage("adjoint", lambda: self._asked(tape.thawed(), request))
            rolled = stats.stage("roll", lambda: self._rolled(tape, request))
            scheduled = stats.stage("schedule", lambda: schedule(rolled))
            made = stats.stage("backend", lambda: kernel(scheduled))
            found = self.routines[request] = Routine(made, rolled, rolled.outputs >= LANES)
            stats.routines += 1
            stats.nodes += self.size
            stats.instructions += len(rolled.before) + len(rolled.batch) + len(rolled.after)
            stats.bytes += made.bytes
            stats.backend = made.name
        return found

    def _rolled(self, tape: Tape, request: Request) -> Rolled:
        rolled = roll(tape)
        rolled.wrt = self._wrt(rolled, request)
        return rolled

    def _wrt(self, rolled: Rolled, request: Request) -> Any:
        """For each output the address of the leaf by which it is a derivative, -1 for a result."""
        what, *rest = request
        if what == "hvp":
            return None
        results = len(self.tape.outputs)
        spaces = [rolled.spaces[space] for space in (rest[0] if rest else ())]
        leaves = [base + np.arange(space.size) for space, base in spaces]
        return np.concatenate([np.full(results, -1), *leaves * results])

    def _asked(self, tape: Tape, request: Request) -> Tape:
        """The tape with what is asked for as its outputs."""
        what, *rest = request
        results = list(tape.outputs)
        if what == "hvp":
            return self._products_with_hessian(tape, rest[0])
        gradients: list[int] = []
        if what != "value":
            leaves = self._leaves(tape, rest[0])
            for out in results:
                gradients += self._gradient(tape, out, leaves)
        values = [self._value(tape, out) for out in results]
        if gradients:  # a copy that nothing else reads can lie beside the gradient
            values = [out if tape.batched()[out] else tape.add(ALONE, (out,)) for out in values]
        tape.outputs = values + gradients
        return tape

    def _value(self, tape: Tape, out: int) -> int:
        """A result, summed over the batch if that was asked for."""
        if self.reduce is None:
            return out
        batched = tape.batched()[out]
        weight = tape.leaf(self.weight, 0 if batched else 1)
        return Sums(tape).emit([[out, weight], [], [], []], reduced=bool(batched))

    def _leaves(self, tape: Tape, spaces: tuple[int, ...]) -> list[int | None]:
        """The instructions of all numbers of some spaces, None for what the program does not use."""
        nodes = {origin: node for node, origin in tape.origins.items()}
        return [nodes.get((space, i)) for space in spaces for i in range(tape.spaces[space].size)]

    def _gradient(self, tape: Tape, result: int, leaves: list[int | None], expanded: bool = False) -> list[int]:
        """The instructions of the derivatives of one result by some leaves."""
        seed = tape.constant(1.0)
        if self.reduce is not None:
            seed = tape.leaf(self.weight, 0 if tape.batched()[result] else 1)
        elif any(self.batched) and not tape.batched()[result]:
            seed = tape.leaf(self.weight, 1)  # one number for each example, all alike
        found = iter(adjoint(tape, {result: seed}, [leaf for leaf in leaves if leaf is not None], expanded))
        zero = tape.constant(0.0)
        # a zero of its own for each number that is not used, so that the gradient lies side by side
        return [tape.add(ALONE, (zero,)) if leaf is None else next(found) for leaf in leaves]

    def _products_with_hessian(self, tape: Tape, spaces: tuple[int, ...]) -> Tape:
        """The gradient's product with a vector, differentiated once more: reverse over reverse."""
        gradient = self._gradient(tape, tape.outputs[0], self._leaves(tape, spaces), expanded=True)
        pairs: list[int] = []
        at = 0
        for space in spaces:
            vector = tape.space(Space(f"vector of {tape.spaces[space].name}"))
            for i in range(tape.spaces[space].size):
                pairs += (gradient[at], tape.leaf(vector, i))
                at += 1
        tape.outputs = [Sums(tape).emit([pairs, [], [], []])]
        again = simplify(tape)
        leaves = self._leaves(again, spaces)
        one = again.constant(1.0)
        found = iter(adjoint(again, {again.outputs[0]: one}, [leaf for leaf in leaves if leaf is not None]))
        zero = again.constant(0.0)
        again.outputs = [zero if leaf is None else next(found) for leaf in leaves]
        return again

    # ------------------------------------------------------------------------------------------------------- running

    def inputs(self, arguments: list[Argument], examples: int, vectors: Sequence[Any] = ()) -> list[Any]:
        """An array for each space; ``vectors`` are those of a Hessian product, one for each space that it is by."""
        inputs = [self.reader.numbers()]
        for argument in arguments:
            inputs += argument.parts
        if examples not in self._weights:
            weight = 1.0 / examples if self.reduce == "mean" else 1.0
            self._weights = {examples: np.array([weight, weight * examples])}
        return [*inputs, self._weights[examples], *vectors]
