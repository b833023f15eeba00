"""Calls: what a call of a program came to, kept so that the same objects need no second look."""

from __future__ import annotations

import marshal
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.arguments import Argument
from micrograd.compile.recording import Recording, Routine

STILL = frozenset([float, int, bool, str, type(None)])  # what cannot change
REMEMBERED_BYTES = 32 << 20  # how much of the arguments of calls a program may keep alive


class _UnwatchedError(Exception):
    """Something whose changes could not be told."""


class Call:
    """The arguments of a call, and what answers it.  They are watched: a change of anything but the numbers in arrays, which
    are read where they lie, is seen.  Of integers that pick from tables it is seen whether they still do."""

    __slots__ = (
        *("args", "arrays", "contained", "dicts", "examples", "forms", "inputs"),
        *("lists", "picks", "recording", "routine", "watched", "written"),
    )

    def __init__(
        self,
        args: tuple[Any, ...],
        recording: Recording,
        routine: Routine,
        arguments: list[Argument],
        examples: int,
        dtype: Any,
    ) -> None:
        self.args, self.recording, self.routine, self.examples = args, recording, routine, examples
        self.inputs = recording.inputs(arguments, examples)
        self.written: list[tuple[Any, bytes]] = []  # containers without arrays, with all that they hold as bytes
        self.lists: list[tuple[list[Any], list[Any]]] = []  # those with arrays, as they are and were
        self.dicts: list[tuple[dict[Any, Any], list[Any], list[Any]]] = []  # the same, with the keys and values that were
        self.arrays: list[Any] = []
        self.picks: list[tuple[Any, Any, int]] = []  # arrays of integers, without a sign too, and how many they pick from
        self.watched = self._watch(arguments, dtype)
        if self.watched:  # all but the arrays themselves stays as it is, so that it is converted once
            read = {id(x) for x in self.arrays}
            with np.errstate(over="ignore"):
                self.inputs[1:] = [
                    x if id(x) in read or x.dtype.kind != "f" else x.astype(dtype, copy=False) for x in self.inputs[1:]
                ]

    def _watch(self, arguments: list[Argument], dtype: Any) -> bool:
        """Note what the arguments hold; False if they cannot be watched, or their numbers are not read where they lie."""
        try:
            for x in self.args:
                if not self._has_array(x):
                    self._write(x)
        except (_UnwatchedError, ValueError):  # ValueError: a key of a dict has no bytes
            return False
        self.forms = [(x, x.shape, x.strides, x.dtype) for x in self.arrays]
        self.contained = bool(self.written or self.lists or self.dicts)
        recording = self.recording
        if recording.trace.frozen and any(x.dtype.kind != "f" for x in self.arrays):  # integers that are part of the program
            return False
        types = {
            id(part): dtype if recording.tape.spaces[space].kind == "real" else np.int64
            for argument, spaces in zip(arguments, recording.spaces, strict=True)
            for part, space in zip(argument.parts, spaces, strict=True)
        }
        if not all(id(x) in types and x.dtype == types[id(x)] and x.flags.c_contiguous for x in self.arrays):
            return False
        mine = set(map(id, self.arrays))
        self.picks = [(x, x.view(np.uint64), least) for x, least in recording.picks(arguments) if id(x) in mine]
        return True

    def _has_array(self, x: Any) -> bool:
        """Whether there is an array in something; what is in it and beside an array is noted."""
        kind = type(x)
        if kind is np.ndarray:
            self.arrays.append(x)
            return True
        if kind in STILL:
            return False
        if kind not in (list, tuple, dict):
            raise _UnwatchedError
        parts = list(x.values()) if kind is dict else x
        if STILL.issuperset(map(type, parts)):
            return False
        found = list(map(self._has_array, parts))
        if not any(found):
            return False
        for part, has_array in zip(parts, found, strict=True):
            if not has_array:
                self._write(part)
        if kind is list:
            self.lists.append((x, list(x)))
        elif kind is dict:
            self.dicts.append((x, list(x), parts))
        return True

    def _write(self, x: Any) -> None:
        if type(x) not in STILL:
            self.written.append((x, _bytes(x)))

    @property
    def bytes(self) -> int:
        """About what it keeps alive, itself included."""
        held = sum(x.nbytes for x in self.arrays) + sum(4 * len(was) for _, was in self.written)
        return 1000 + int(held) + sum(16 * len(was) for was, *_ in [*self.lists, *self.dicts])

    def holds(self) -> bool:
        """Whether the arguments are what they were, but for the numbers in arrays."""
        for x, shape, strides, dtype in self.forms:
            if x.shape != shape or x.strides != strides or x.dtype is not dtype:
                return False
        for x, unsigned, least in self.picks:  # a negative one is a large one without its sign
            if unsigned.max() >= least and (x.max() >= least or x.min() < -least):
                return False  # outside the smallest table that they pick from
        return not self.contained or self._contained_holds()

    def _contained_holds(self) -> bool:
        """Whether the containers among the arguments hold what they held."""
        try:
            for x, was in self.written:
                if _bytes(x) != was:
                    return False
        except ValueError:  # a Value, or something else that has no bytes, has come in
            return False
        for now, before in self.lists:
            if len(now) != len(before) or not all(map(operator.is_, now, before)):
                return False
        for x, keys, values in self.dicts:  # noqa: SIM110  (a generator of its own would take half the time of the rest)
            if list(x) != keys or not all(map(operator.is_, x.values(), values)):
                return False
        return True

    def spaces(self, vectors: Sequence[Any]) -> list[Any]:
        """An array for each space of the program, as :meth:`Recording.inputs` gives them."""
        numbers = self.recording.reader.numbers()
        if numbers is not self.inputs[0]:
            self.inputs = [numbers, *self.inputs[1:]]
        return [*self.inputs, *vectors] if vectors else self.inputs


class Calls:
    """The last calls of a program by what was asked and the identity of the arguments, up to a count of bytes."""

    def __init__(self) -> None:
        self.known: dict[Any, Call] = {}
        self.bytes = 0
        self.find = self.known.get

    def remember(self, asked: Any, call: Call) -> None:
        """Keep a call and its arguments; where those would be too much, all earlier ones are dropped."""
        size, before = call.bytes, self.known.pop(asked, None)
        if before is not None:
            self.bytes -= before.bytes
        if size > REMEMBERED_BYTES:
            return
        if self.bytes + size > REMEMBERED_BYTES:
            self.clear()
        self.bytes += size
        self.known[asked] = call

    def clear(self) -> None:
        self.known.clear()
        self.bytes = 0


def _bytes(x: Any) -> bytes:
    """All that containers of numbers and strings hold, types too."""
    return marshal.dumps(x, 2)  # this version of the format does not depend on who else holds the parts
