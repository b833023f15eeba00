"""Jobs: where the inputs of single examples lie, for steps of a training in C."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, repeat
from typing import Any, NamedTuple

import numpy as np

from micrograd.compile.calls import STILL

COPIED = 256  # numbers of an example's array, at most
JOB = PROGRAM, INPUTS, EXAMPLES = range(3)  # the columns of an array of mg_jobs


class Entry(NamedTuple):
    """How a recording is run: the address of its mg_program, on how many examples at once, where its inputs lie for no
    arguments, and what holds them."""

    kernel: Any
    address: int
    examples: int
    fixed: list[int]
    held: Any


class _Group:
    """Examples of one recording: their numbers, and for each part of the arguments arrays with an example an entry."""

    def __init__(self, program: Entry, parts: int) -> None:
        self.kernel, self.address, self.examples, self.fixed, _ = program
        self.numbers: list[int] = []
        self.parts: list[list[Any]] = [[] for _ in range(parts)]

    def jobs(self) -> Any:
        """A job for each example, valid as long as this lives.  Few numbers are copied side by side."""
        self.table = np.empty((len(self.numbers), len(self.fixed)), np.uintp)
        self.table[:] = self.fixed
        self.arrays: list[Any] = []
        for i, (part, kind) in enumerate(zip(self.parts, self.kernel.types[1:], strict=False), 1):
            if part[0][0].size <= COPIED:
                part = [np.concatenate([array.reshape(len(array), -1) for array in part])]
            start = 0
            for array in part:
                usable = np.ascontiguousarray(array, kind)
                self.arrays.append(usable)
                self.table[start : start + len(array), i] = rows_of(usable)
                start += len(array)
        jobs = np.empty((len(self.numbers), len(JOB)), np.uintp)
        jobs[:, PROGRAM], jobs[:, INPUTS], jobs[:, EXAMPLES] = self.address, rows_of(self.table), self.examples
        return jobs


def rows_of(array: Any) -> Any:
    """Where the rows of an array begin."""
    return array.__array_interface__["data"][0] + array.strides[0] * np.arange(len(array), dtype=np.uintp)


class Inputs:
    """Where the inputs of single examples lie, and what holds them."""

    def __init__(self) -> None:
        self.groups: dict[tuple[int, int], _Group] = {}

    def add(self, numbers: list[int], program: Entry, parts: Sequence[Any]) -> None:
        """Examples of a program, and for each part an array with an entry for each example."""
        key = program.address, program.examples
        group = self.groups.get(key)
        if group is None:
            group = self.groups[key] = _Group(program, len(parts))
        group.numbers += numbers
        for all_of_it, part in zip(group.parts, parts, strict=True):
            all_of_it.append(part)

    def jobs(self) -> list[tuple[list[int], Any]]:
        """The numbers of some examples, and their jobs."""
        return [(group.numbers, group.jobs()) for group in self.groups.values()]


_NUMBERS, _ROWS = {int, float}, {list, tuple}


def forms(examples: Sequence[tuple[Any, ...]]) -> list[Any]:
    """For each example what it has in common with others whose arguments are numbers and rows of numbers of one type; None
    for all else.

    >>> forms([(1, [0.5, 2.0]), (7, [1.0, 1.0]), (2, ["a"])])
    [(<class 'int'>, (<class 'list'>, <class 'float'>, 2)), (<class 'int'>, (<class 'list'>, <class 'float'>, 2)), None]
    >>> forms([(), ()])
    [None, None]
    """
    lengths = set(map(len, examples))
    if len(lengths) != 1 or 0 in lengths:
        return [None] * len(examples)
    return [None if None in form else form for form in zip(*map(_forms, zip(*examples, strict=True)), strict=True)]


def _forms(column: tuple[Any, ...]) -> list[Any]:
    """The forms of one argument of all examples: at once where all are alike but for their lengths."""
    kinds = set(map(type, column))
    if kinds <= _NUMBERS:
        return list(map(type, column))
    if len(kinds) == 1 and kinds <= _ROWS and all(column):
        types = set(map(type, chain.from_iterable(column)))
        if len(types) == 1 and types <= _NUMBERS:
            return list(zip(repeat(*kinds), repeat(*types), map(len, column)))
    return list(map(_form, column))


def _form(x: Any) -> Any:
    """The form of one argument."""
    kind = type(x)
    types = set(map(type, x)) if kind in _ROWS else set()
    return (kind, *types, len(x)) if len(types) == 1 and types <= _NUMBERS else kind if kind in _NUMBERS else None


def is_plain(x: Any) -> bool:
    """Whether an example is made of numbers, strings and arrays in lists, tuples and dicts, and of nothing that lives on."""
    kind = type(x)
    if kind is list or kind is tuple:
        return STILL.issuperset(map(type, x)) or all(map(is_plain, x))
    if kind is dict:
        return all(map(is_plain, x.values()))
    return kind in STILL or (kind is np.ndarray and x.dtype.kind != "O")
