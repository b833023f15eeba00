"""The interpreter: what a small program runs on until it has been run so often that compiling it pays.

A compiler takes a tenth of a second for the least of programs, and a second for a thousand operations without a rule.  The
interpreter is C that was compiled once on this machine, and it is handed the operations of a program as numbers: those on
single numbers, rounded as the compiled program rounds them, and sums of numbers side by side, by the kernels that it calls.
So no bit changes when the compiled program takes over.
"""

from __future__ import annotations

import contextlib
from typing import Any, NamedTuple

import numpy as np

from micrograd.compile.kernels import prelude
from micrograd.compile.scalars import WRITTEN, Pattern, Sums, in_memory, patterns
from micrograd.compile.straight import is_straight
from micrograd.compile.vector import Loop, Map, Rolled
from micrograd.compile.writer import CALL

SMALL = 6_000  # operations, numbers that are copied and results of a program that is interpreted, at most
WORTH = 20_000_000  # operations that take as long as the compiler does
EXACT = ("-ffp-contract=off", "-DMG_EXACT")  # with these flags a compiled program rounds as the interpreter does
# by the number that the C knows them by
_OPERATIONS = ("end", "in", "out", "move", "+", "-", "*", "div", "neg", "fma", "fms", "fnma", "maximum", "abs", "sqrt",
               "<", "<=", ">", ">=", "where", "&", "|", "root", "exp", "expm1", "log", "log1p", "log2", "log10",
               "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh", "atanh", "erf", "erfc",
               "pow", "atan2", "hypot", "sum", "largest", "dot")  # fmt: skip
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


def code(rolled: Rolled) -> Code | None:
    """A program as the interpreter's code, which leaves its outputs one after another in their array.

    None where the program is too large or has operations that the interpreter has not.
    """
    if rolled.lanes or sum(space.size for space, _ in rolled.spaces) + len(rolled.outputs) > SMALL:
        return None
    with contextlib.suppress(_TooMuch):
        return _Coder(rolled).code()
    return None


class _TooMuch(Exception):  # noqa: N818 (nothing is wrong)
    """The interpreter has not this operation, or the program is too large for it."""


class _Coder:
    """Collects the rows of a program's code."""

    def __init__(self, rolled: Rolled) -> None:
        self.rolled = rolled
        self.straight = is_straight(rolled)  # then sums go from the first term to the last
        self.size = 0  # how many rows there are
        self.literals: dict[str, int] = {}
        self.temporary = rolled.shared + 16  # where what operations leave to each other begins
        self.width = 1  # and how many of them there are

    def code(self) -> Code:
        """All of it: leaves are laid beside the other numbers, and outputs copied to where results go."""
        rolled, outputs = self.rolled, self.rolled.outputs.tolist()
        leaves = [(base, k, space.size) for k, (space, base) in enumerate(rolled.spaces) if space.kind == "real"]
        parts = [_rows([("in", *leaf, 0) for leaf in leaves if leaf[2]])]
        parts += [self._rows(instruction) for instruction in (*rolled.before, *rolled.after)]
        outs = [("out", i, at, 1, 0) for i, at in enumerate(outputs)]
        if (np.diff(outputs) == 1).all() and outputs:
            outs = [("out", 0, outputs[0], len(outputs), 0)]
        rows = np.concatenate([*parts, _rows(outs), _rows([("end", 0, 0, 0, 0)])])
        first = self.temporary + self.width
        rows[rows < 0] += first + (1 << 30)
        return Code(np.ascontiguousarray(rows, np.int32), list(map(float, self.literals)), first)

    def _rows(self, instruction: Any) -> Any:
        """The rows of an instruction, those of a loop turn by turn: all places move by constant steps."""
        if not isinstance(instruction, Loop):
            return self._counted(self._plain(instruction))
        first, second = (np.concatenate([self._plain(i) for i in instruction.unrolled(turn)]) for turn in (0, 1))
        turns = np.arange(instruction.turns)[:, None, None]
        return self._counted((first + turns * (second - first)).reshape(-1, 5))

    def _counted(self, rows: Any) -> Any:
        self.size += len(rows)
        if self.size > SMALL:
            raise _TooMuch
        return rows

    def _plain(self, instruction: Any) -> Any:
        sums = None if self.straight else in_memory(instruction)
        if sums is not None:
            return self._sums(instruction, sums)
        if not isinstance(instruction, WRITTEN if self.straight else Map):
            raise _TooMuch
        return np.concatenate([self._members(*some) for some in patterns(instruction)])

    def _sums(self, instruction: Any, sums: Sums) -> Any:
        """The rows of sums that kernels find: what is copied before, and what is done with each sum."""
        out, count = np.ravel(instruction.c), sums.sides[0][1].shape[1]
        made, firsts, copy = [], [], self.temporary + 1
        for copied, places in sums.sides:
            firsts.append(np.array([copy]) if copied else places[:, 0])
            if copied:
                made.append(_columns(_NUMBERS["move"], copy + np.arange(count), places[0]))
                copy += count
        self.width = max(self.width, copy - self.temporary)
        if instruction.add or instruction.sign < 0:
            how = "neg" if not instruction.add else "+" if instruction.sign > 0 else "-"
            operands = [out, self.temporary] if instruction.add else [self.temporary]
            each = [_columns(_NUMBERS[sums.kernel], self.temporary, count, *firsts), _columns(_NUMBERS[how], out, *operands)]
            made.append(np.stack(each, axis=1).reshape(-1, 5))
        else:
            made.append(_columns(_NUMBERS[sums.kernel], out, count, *firsts))
        return np.concatenate(made)

    def _members(self, pattern: Pattern, operands: Any, outs: list[Any]) -> Any:
        """The rows of all members of a pattern; one value goes to its place at once, several after the last operation."""
        steps, count = pattern.steps, pattern.operands
        if any(function not in _NUMBERS for function, _ in steps):
            raise _TooMuch
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


def _columns(*columns: Any) -> Any:
    """Rows of these columns, the last of them zero."""
    rows = np.zeros((max(np.size(column) for column in columns), 5), np.int64)
    for i, column in enumerate(columns):
        rows[:, i] = column
    return rows


def _rows(some: list[tuple[str, int, int, int, int]]) -> Any:
    return np.array([(_NUMBERS[name], *places) for name, *places in some], np.int64).reshape(-1, 5)
