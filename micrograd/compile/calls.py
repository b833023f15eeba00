"""Calls: what a call of a program came to, kept so that the same objects need no second look."""

from __future__ import annotations

import marshal
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.arguments import Argument
from micrograd.compile.recording import Recording, Routine

_form = operator.attrgetter("shape", "dtype")
_STILL = frozenset([float, int, bool, str, type(None)])  # what cannot change
REMEMBERED_BYTES = 32 << 20  # how much of the arguments of calls a program may keep alive


class Call:
    """The arguments of a call, and what answers it: it holds while they are the same but for the numbers in arrays."""

    __slots__ = ("args", "arrays", "examples", "forms", "inputs", "lists", "recording", "routine", "written")

    def __init__(
        self, args: tuple[Any, ...], recording: Recording, routine: Routine, arguments: list[Argument], examples: int
    ) -> None:
        self.args, self.recording, self.routine, self.examples = args, recording, routine, examples
        self.inputs = recording.inputs(arguments, examples)
        self.written: list[tuple[Any, bytes]] = []  # containers of numbers, with all that they hold as bytes
        self.lists: list[tuple[list[Any], list[Any]]] = []  # those of arrays, as they are and were
        self.arrays: list[Any] = []

    def is_plain(self, dtype: Any) -> bool:
        """Note what the arguments hold; False if they may change without a trace, or their numbers have to be looked at."""
        for x in self.args:
            count = len(self.arrays)
            if not self._collects(x, dtype):
                return False
            if type(x) not in _STILL and len(self.arrays) == count:
                try:
                    self.written.append((x, _bytes(x)))
                except ValueError:  # a key of a dict
                    return False
        self.forms = list(map(_form, self.arrays))
        return True

    def _collects(self, x: Any, dtype: Any) -> bool:
        kind = type(x)
        if kind is np.ndarray:
            self.arrays.append(x)
            return bool(x.dtype == dtype and x.flags.c_contiguous)
        if kind not in (list, tuple, dict):
            return kind in _STILL
        parts, count = x.values() if kind is dict else x, len(self.arrays)
        if not (_STILL.issuperset(map(type, parts)) or all(self._collects(part, dtype) for part in parts)):
            return False
        if kind is list and len(self.arrays) > count:
            self.lists.append((x, list(x)))
        return kind is not dict or len(self.arrays) == count

    @property
    def bytes(self) -> int:
        """About what it keeps alive, itself included."""
        held = sum(x.nbytes for x in self.arrays) + sum(4 * len(was) for _, was in self.written)
        return 1000 + int(held) + sum(16 * len(was) for _, was in self.lists)

    def holds(self) -> bool:
        """Whether the arguments are what they were; the numbers in arrays are read at each call."""
        try:
            for x, was in self.written:
                if _bytes(x) != was:
                    return False
        except ValueError:  # a Value, or something else that has no bytes, has come in
            return False
        for now, before in self.lists:
            if len(now) != len(before) or not all(map(operator.is_, now, before)):
                return False
        return list(map(_form, self.arrays)) == self.forms

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
        size = call.bytes
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
