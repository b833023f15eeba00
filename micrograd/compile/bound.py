"""Bound calls: a program together with its arguments, whose numbers are read and whose gradient is written in place."""

from __future__ import annotations

import ctypes
import functools
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from micrograd import trees
from micrograd.compile.quick import Notes, UnwatchedError, quickened
from micrograd.compile.recording import is_within

if TYPE_CHECKING:
    from micrograd.compile.program import Program

MANY = 200  # calls in Python before the first one in C, which has to be compiled once on a machine
BRIEF = 20_000  # nodes of a recording, at most, that run in some microseconds


class Bound:
    """What :meth:`Program.bind` gives: called, it answers for the arguments that it was made with."""

    __slots__ = ("__call__", "__weakref__")  # Python finds what a call runs in the slot: a method, or a function in C

    def __init__(self, program: Program, args: tuple[Any, ...], wrt: Any) -> None:
        self.__call__: Callable[[], Any] = _Caller(weakref.ref(self), program, args, wrt).call

    def __reduce_ex__(self, protocol: Any) -> Any:
        raise TypeError("a bound call refers to arrays where they lie: bind the program to the copies instead")


class _Caller:
    """What a bound call runs in Python."""

    __slots__ = (
        *("_answer", "_args", "_around", "_bound", "_brief", "_call", "_finish", "_first", "_frame", "_holds", "_left"),
        *("_lock", "_numbers", "_positions", "_program", "_read", "_results", "_run", "_wrt"),
    )

    def __init__(self, bound: weakref.ref[Bound], program: Program, args: tuple[Any, ...], wrt: Any) -> None:
        self._program, self._args, self._wrt, self._lock = program, args, wrt, program._lock
        self._positions = () if wrt is None else program._positions(wrt, len(args))
        self._bound, self._left = bound, MANY  # calls until the next one is made in C
        with self._lock:
            self._look()

    def call_anew(self) -> Any:
        """A call where something is not what it was."""
        self._make_calls_by(self.call)
        with self._lock:
            self._look()
            return self.call()

    def call(self) -> Any:
        with self._lock:
            around = self._program._around
            if around is not self._around or around.changed() or not self._holds() or is_within():
                self._look()
            elif self._read() is not self._numbers:
                self._point()
            if self._frame is None:
                program, args = self._program, self._args
                return program(*args) if self._wrt is None else program.value_and_grad(*args, wrt=self._wrt)
            self._run(ctypes.byref(self._frame))
            self._left -= 1
            if not self._left:
                self._quicken()
            value = self._first(0)
            if self._wrt is None:
                return value
            return value, self._answer if self._finish is None else self._finish()

    def _quicken(self) -> None:
        """Have the next calls made in C, if all that they depend on can be looked at there."""
        self._left = MANY
        try:
            notes = Notes()
            notes.around(self._program)
            notes.argument(self._args)
            notes.parameters(self._call.recording.reader)
            how = None if self._brief else self._lock, self.call_anew, self._answer, self._finish
            made = quickened(self._run, self._frame, self._results, *how, notes)
        except UnwatchedError:
            return
        if not self._around.changed() and self._holds() and self._read() is self._numbers:
            self._make_calls_by(made)

    def _make_calls_by(self, function: Callable[[], Any]) -> None:
        bound = self._bound()
        if bound is not None:
            bound.__call__ = function

    def _look(self) -> None:
        """Look at the arguments, and at what answers them, anew."""
        program = self._program
        what, wrt = ("value", None) if self._wrt is None else ("grad", self._positions)
        call = program._called((what, wrt, *map(id, self._args)), what, self._args, wrt)
        if not call.watched:
            raise TypeError(
                f"{program._name}: bind() reads numbers where they lie, so it takes C-contiguous arrays of {program.dtype}, "
                "of int64 where they are indices, and numbers, strings and booleans, in lists, tuples and dicts"
            )
        self._call, self._around = call, program._around
        self._holds, self._read = call.holds, call.recording.reader.numbers
        self._point()

    def _point(self) -> None:
        """Point at the numbers of the arguments and of the captured parameters, and at an array for the results."""
        recording, kernel = self._call.recording, self._call.routine.kernel
        self._numbers, self._frame = self._read(), None
        in_place = all(recording.gradient_by(p)[2] and not recording.batched[p] for p in self._positions)
        self._brief = in_place and recording.size <= BRIEF and not any(recording.batched)
        inputs, examples = self._call.spaces(()), self._call.examples
        bound = kernel.bind(inputs, examples, self._brief) if recording.one_number else None
        if bound is not None:
            self._run, self._frame, self._results = bound
            self._first = self._results.item
            self._answer, self._finish = None, None  # the gradient, and what gives it where that is not just the same again
            if not in_place:
                self._finish = self._gradients
            elif self._positions:
                self._answer = self._gradients()
                self._finish = _copier(self._answer)

    def _gradients(self) -> Any:
        """The results from the second one on in the structure of the arguments."""
        call = self._call
        found = self._program._gradients(call.recording, self._positions, self._results, 1, call.examples)
        return found if isinstance(self._wrt, tuple) else found[0]


def _copier(tree: Any) -> Callable[[], Any] | None:
    """What makes containers of their own for the same arrays, None where nobody could change them."""
    if type(tree) is list and not any(map(_can_change, tree)):
        return tree.copy
    return functools.partial(_copied, tree) if _can_change(tree) else None


def _can_change(tree: Any) -> bool:
    return any(map(_can_change, tree)) if isinstance(tree, tuple) else not isinstance(tree, np.ndarray)


def _copied(tree: Any) -> Any:
    if isinstance(tree, dict):
        return trees._like_dict(tree, [_copied(part) for part in tree.values()])
    if isinstance(tree, (list, tuple)):
        parts = [_copied(part) for part in tree]
        return tree._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    return tree
