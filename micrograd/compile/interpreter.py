"""The interpreter: what a small program runs on until it has been run so often that compiling it pays.

A compiler takes a tenth of a second for the least of programs, and a second for a thousand operations without a rule.  The
interpreter is C that was compiled once on this machine, and it is handed the operations of a program as numbers.  They are
those that straight code is made of, in the same order, so that no bit changes when the compiled program takes over.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from micrograd.compile.kernels import prelude
from micrograd.compile.scalars import WRITTEN, Pattern, patterns
from micrograd.compile.vector import Rolled
from micrograd.compile.writer import CALL

SMALL = 6_000  # operations, numbers that are copied and results of a program that is interpreted, at most
WORTH = 20_000_000  # operations that take as long as the compiler does
EXACT = ("-ffp-contract=off", "-DMG_EXACT")  # with these flags a compiled program rounds as the interpreter does
# by the number that the C knows them by
_OPERATIONS = ("end", "in", "out", "move", "+", "-", "*", "div", "neg", "fma", "fms", "fnma", "maximum", "abs", "sqrt",
               "<", "<=", ">", ">=", "where")  # fmt: skip
_NUMBERS = {name: i for i, name in enumerate(_OPERATIONS)}


class Code(NamedTuple):
    """A program for the interpreter: ``rows`` of an operation and four places each, and the literals that lie from ``start``
    on, after what operations leave to each other."""

    rows: Any
    literals: list[float]
    start: int

    @property
    def end(self) -> int:
        """How many numbers the program takes."""
        return self.start + len(self.literals)

    @property
    def runs(self) -> int:
        """After how many runs the program is better compiled, one at least."""
        return max(1, WORTH // len(self.rows))


def source(real: str) -> str:
    """The interpreter in C, for numbers of the C type ``real``."""
    return "\n".join([f"#define real {real}", prelude(frozenset(["interpret"])), CALL])


def code(rolled: Rolled, apart: bool) -> Code | None:
    """Straight code as the interpreter's code; ``apart`` says that the outputs lie side by side in ``rolled.results``.

    None where the program is too large or has operations that the interpreter has not.
    """
    parts = _parts(rolled)
    return None if parts is None else _Coder(rolled, apart).code(parts)


def _parts(rolled: Rolled) -> list[tuple[Pattern, Any, list[Any]]] | None:
    """A program number by number, None unless the interpreter has all its operations and it is small."""
    parts: list[tuple[Pattern, Any, list[Any]]] = []
    size = sum(space.size for space, _ in rolled.spaces) + len(rolled.outputs)
    if size > SMALL:
        return None
    for instruction in (*rolled.before, *rolled.after):
        if not isinstance(instruction, WRITTEN):
            return None
        for pattern, operands, outs in patterns(instruction):
            size += len(operands) * (len(pattern.steps) + 1)
            if size > SMALL or any(function not in _NUMBERS for function, _ in pattern.steps):
                return None
            parts.append((pattern, operands, outs))
    return parts


class _Coder:
    """Collects the rows of a program's code."""

    def __init__(self, rolled: Rolled, apart: bool) -> None:
        self.rolled, self.apart = rolled, apart
        self.literals: dict[str, int] = {}
        self.temporary = rolled.shared + 16  # where what operations leave to each other begins
        self.width = 0  # and how many of them there are

    def code(self, members: list[tuple[Pattern, Any, list[Any]]]) -> Code:
        """All of it: leaves are laid beside the other numbers, and outputs copied to where results go."""
        rolled, outputs = self.rolled, self.rolled.outputs.tolist()
        leaves = [(base, k, space.size) for k, (space, base) in enumerate(rolled.spaces) if space.kind == "real"]
        parts = [_rows([("in", *leaf, 0) for leaf in leaves if leaf[2]]), *(self._members(*some) for some in members)]
        start, end = rolled.results
        outs = [("out", 0, start, end - start, 0)] if self.apart else [("out", i, at, 1, 0) for i, at in enumerate(outputs)]
        rows = np.concatenate([*parts, _rows(outs), _rows([("end", 0, 0, 0, 0)])])
        first = self.temporary + self.width
        rows[rows < 0] += first + (1 << 30)
        return Code(np.ascontiguousarray(rows, np.int32), list(map(float, self.literals)), first)

    def _members(self, pattern: Pattern, operands: Any, outs: list[Any]) -> Any:
        """The rows of all members of a pattern; one value goes to its place at once, several after the last operation."""
        steps, count = pattern.steps, pattern.operands
        self.width = max(self.width, len(steps))
        moved = [(value, out) for value, out in zip(pattern.values, outs, strict=True) if out is not None]
        places = [*operands.T, *range(self.temporary, self.temporary + len(steps))]
        if steps and len(outs) == 1 and pattern.values[0] == count + len(steps) - 1:
            places[-1], moved = outs[0], []
        rows = np.zeros((len(operands), len(steps) + len(moved), 5), np.int64)
        for j, (function, args) in enumerate(steps):
            rows[:, j, 0], rows[:, j, 1] = _NUMBERS[function], places[count + j]
            for i, arg in enumerate(args, 2):
                rows[:, j, i] = self._place(arg, places)
        for j, (value, out) in enumerate(moved, len(steps)):
            rows[:, j, 0], rows[:, j, 1], rows[:, j, 2] = _NUMBERS["move"], out, self._place(value, places)
        return rows.reshape(-1, 5)

    def _place(self, number: int | float, places: list[Any]) -> Any:
        """Where a number of a pattern lies; literals come from -2**30 on until it is known where they begin."""
        if isinstance(number, int):
            return places[number]
        return self.literals.setdefault(repr(number), len(self.literals)) - (1 << 30)


def _rows(some: list[tuple[str, int, int, int, int]]) -> Any:
    return np.array([(_NUMBERS[name], *places) for name, *places in some], np.int64).reshape(-1, 5)
