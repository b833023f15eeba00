"""The tape: a program on scalars as a flat list of instructions, each after those it reads.

An instruction is a *kind* (what it does) and the positions of its operands.  A tape prints itself, one line an instruction,
verifies itself and is then frozen; every stage of the compiler takes one and gives another.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Any, NoReturn, TypeVar

import numpy as np

from micrograd import ops
from micrograd.ops import Op


class Kind:
    """What an instruction does.  Kinds are interned: the same kind is the same object and has the same ``code``."""

    __slots__ = ("code", "key", "name", "op", "shape")

    def __init__(self, key: tuple[Any, ...], name: str, op: Op | None, shape: tuple[int, ...]) -> None:
        self.key, self.name, self.op, self.shape = key, name, op, shape
        self.code = len(KINDS)

    def __repr__(self) -> str:
        return f"<kind {self.name}>"


KINDS: list[Kind] = []  # by code
_BY_KEY: dict[tuple[Any, ...], Kind] = {}


def _intern(key: tuple[Any, ...], name: str, op: Op | None = None, shape: tuple[int, ...] = ()) -> Kind:
    kind = _BY_KEY.get(key)
    if kind is None:
        kind = _BY_KEY[key] = Kind(key, name, op, shape)
        KINDS.append(kind)
    return kind


LEAF = _intern(("leaf",), "leaf").code  # a number that the caller gives: Tape.origins tells where it comes from
CONST = _intern(("const",), "const").code  # a number that is part of the program: Tape.constants has it


@functools.cache
def apply(op: Op) -> int:
    """The code of the value of an operation of the table."""
    return _intern(("apply", op), op.name, op).code


@functools.cache
def partial(op: Op, index: int) -> int:
    """The code of the local derivative of an operation by one operand; its operand is the operation's instruction."""
    return _intern(("partial", op, index), f"{op.name}'{index}", op, (index,)).code


@functools.cache
def dot(plus: int, minus: int, single: int, negative: int, reduced: bool = False) -> int:
    """The code of ``a*b + ... - c*d - ... + e + ... - f - ...``: so many products and single terms of either sign.

    A reduced one sums over the examples of a batch too.
    """
    shape = (plus, minus, single, negative, int(reduced))
    return _intern(("dot", *shape), f"dot{list(shape[:4])}" + ("_over_batch" if reduced else ""), None, shape).code


@functools.cache
def take(count: int) -> int:
    """The code of one entry of a table of so many, picked by the first operand."""
    return _intern(("take", count), f"take[{count}]", None, (count,)).code


@functools.cache
def scatter(terms: int, reduced: bool = False) -> int:
    """The code of the sum of those terms whose index is the instruction's own position; (index, term) pairs follow.

    Tape.positions has the position and the size of the table.
    """
    return _intern(("scatter", terms, reduced), f"scatter[{terms}]", None, (terms, int(reduced))).code


@functools.cache
def largest(count: int) -> int:
    """The code of the largest of so many numbers, which gets no gradient."""
    return _intern(("largest", count), f"largest[{count}]", _LARGEST, (count,)).code


@functools.cache
def given(count: int) -> int:
    """The code of a value with given local derivatives: the value, ``count`` operands, and as many derivatives."""
    return _intern(("given", count), f"given[{count}]", None, (count,)).code


def _primitive(name: str, symbol: str, rule: Any) -> int:
    return apply(Op(name, symbol, rule, [(-9, 9)]))


SELECT = _primitive("select", "where", lambda xp, c, a, b: (xp.where(c > 0.0, a, b), ()))
LESS = _primitive("less", "<", lambda xp, a, b: (xp.where(a < b, 1.0, 0.0), ()))
LESS_EQUAL = _primitive("less_equal", "<=", lambda xp, a, b: (xp.where(a <= b, 1.0, 0.0), ()))
AND = _primitive("and", "&", lambda xp, a, b: (xp.where((a > 0.0) & (b > 0.0), 1.0, 0.0), ()))
OR = _primitive("or", "|", lambda xp, a, b: (xp.where((a > 0.0) | (b > 0.0), 1.0, 0.0), ()))
NOT = _primitive("not", "~", lambda xp, a: (xp.where(a > 0.0, 0.0, 1.0), ()))
COMPARISONS = frozenset({LESS, LESS_EQUAL, AND, OR, NOT})

_LARGEST = Op("largest", "max", lambda xp, *a: (functools.reduce(xp.maximum, a), ()), [(-9, 9)] * 2)


ADD, SUB, MUL, NEG = (apply(op) for op in (ops.add, ops.sub, ops.mul, ops.neg))
SUM, DOT, MEAN = (apply(op) for op in (ops.sum, ops.dot, ops.mean))


class Space:
    """Where leaves come from: the captured parameters, one argument, or what a call sets itself.

    ``kind`` is "real" or "index"; ``batched`` says whether each example has its own.
    """

    __slots__ = ("batched", "kind", "name", "size")

    def __init__(self, name: str, kind: str = "real", batched: bool = False, size: int = 0) -> None:
        self.name, self.kind, self.batched, self.size = name, kind, batched, size

    def __repr__(self) -> str:
        return f"{self.name}: {self.size} {self.kind}{'s, batched' if self.batched else 's'}"


T = TypeVar("T")


class Frozen(tuple[T, ...]):
    """What was a list until it was complete."""

    __slots__ = ()

    def append(self, _: T) -> NoReturn:
        raise TypeError("this tape is frozen: do not keep traced Values outside the function, which has been recorded")


class Tape:
    """A program on scalars: ``codes[i]`` and ``args[i]`` are the kind and the operands of instruction i.

    ``origins`` maps a leaf to (number of its space, position in it), ``constants`` a constant to its number, ``positions`` a
    scatter to (its position, the size of the table); ``rank`` gives
    an adjoint the place of what it is the adjoint of, so that both are laid out alike; ``labels`` are the user's names.

    >>> tape = Tape()
    >>> x = tape.leaf(tape.space(Space("x")), 0)
    >>> tape.outputs = [tape.add(dot(1, 0, 0, 0), (x, x))]
    >>> print(tape)
    x: 1 reals
    %0 = x[0]
    %1 = dot[1, 0, 0, 0] %0 %0
    return %1
    """

    def __init__(self) -> None:
        self.codes: list[int] | Frozen[int] = []
        self.args: list[tuple[int, ...]] | Frozen[tuple[int, ...]] = []
        self.spaces: list[Space] | Frozen[Space] = []
        self.origins: dict[int, tuple[int, int]] = {}
        self.constants: dict[int, float] = {}
        self.positions: dict[int, tuple[int, int]] = {}
        self.primal: int | None = None  # how many instructions there were before the first adjoint
        self.rank: dict[int, int] = {}
        self.labels: dict[int, str] = {}
        self.outputs: Sequence[int] = []
        self._numbers: dict[Any, int] = {}

    def __len__(self) -> int:
        return len(self.codes)

    def add(self, code: int, args: tuple[int, ...]) -> int:
        """Append an instruction and give its position."""
        self.codes.append(code)
        self.args.append(args)
        return len(self.codes) - 1

    def space(self, space: Space) -> int:
        """Append a space and give its number."""
        self.spaces.append(space)
        return len(self.spaces) - 1

    def leaf(self, space: int, position: int) -> int:
        """A number that the caller gives."""
        node = self.add(LEAF, ())
        self.origins[node] = (space, position)
        self.spaces[space].size = max(self.spaces[space].size, position + 1)
        return node

    def constant(self, number: float) -> int:
        """A number that is part of the program; equal numbers are one instruction, 0.0 and -0.0 are not equal."""
        key = number if number else (number, math.copysign(1.0, number))
        node = self._numbers.get(key)
        if node is None:
            node = self._numbers[key] = self.add(CONST, ())
            self.constants[node] = number
        return node

    def like(self) -> Tape:
        """An empty tape with the same spaces."""
        new = Tape()
        new.spaces = list(self.spaces)
        return new

    def copy_leaf(self, new: Tape, node: int) -> int:
        """The leaf or constant of this tape in another."""
        if node in self.constants:
            return new.constant(self.constants[node])
        copied = new.add(LEAF, ())
        new.origins[copied] = self.origins[node]
        return copied

    def operands(self) -> tuple[Any, Any]:
        """How many operands each instruction has, and all of them in a row, as arrays."""
        counts = np.fromiter(map(len, self.args), np.int64, len(self.args))
        return counts, np.fromiter(chain.from_iterable(self.args), np.int64, int(counts.sum()))

    def batched(self) -> bytearray:
        """For each instruction whether its number differs between the examples of a batch."""
        spaces = [space.batched for space in self.spaces]
        reduces = [bool(k.key[0] in ("dot", "scatter") and k.shape[-1]) for k in KINDS]
        flags = bytearray(len(self.codes))
        for node, (space, _) in self.origins.items():
            flags[node] = spaces[space]
        if any(spaces):
            for i, (code, args) in enumerate(zip(self.codes, self.args, strict=True)):
                if args and not reduces[code]:
                    for a in args:
                        if flags[a]:
                            flags[i] = 1
                            break
        return flags

    def verify(self) -> Tape:
        """This tape, or ValueError for an operand that comes later, a wrong count of operands or a leaf from nowhere."""
        codes = np.array(self.codes, dtype=np.int64)
        counts, operands = self.operands()
        if len(codes) != len(counts):
            raise ValueError(f"tape: {len(codes)} instructions have {len(counts)} times operands")
        readers = np.repeat(np.arange(len(codes)), counts)
        for i in readers[(operands >= readers) | (operands < 0)][:1].tolist():
            raise ValueError(f"tape: %{i} = {KINDS[codes[i]].name} {self.args[i]} reads what is not there yet")
        arity = np.array([_arity(kind) for kind in KINDS])
        known = np.zeros(len(codes), dtype=bool)
        for table in (self.origins, self.constants, self.positions):
            known[np.fromiter(table, np.int64, len(table))] = True
        alone = np.array([kind.key[0] in ("leaf", "const", "scatter") for kind in KINDS])
        for i in np.flatnonzero(alone[codes] & ~known)[:1].tolist():
            raise ValueError(f"tape: %{i} is a {KINDS[codes[i]].name} from nowhere")
        for i in np.flatnonzero((arity[codes] != counts) & (arity[codes] >= 0))[:1].tolist():
            raise ValueError(f"tape: %{i} = {KINDS[codes[i]].name} takes {arity[codes[i]]} operands, got {counts[i]}")
        if min(self.outputs, default=0) < 0 or max(self.outputs, default=-1) >= len(codes):
            raise ValueError(f"tape: returns {list(self.outputs)}, of {len(codes)} instructions")
        return self

    def freeze(self) -> None:
        """Verify this tape, and let nothing be added to it any more."""
        self.verify()
        self.codes, self.args = Frozen(self.codes), Frozen(self.args)
        self.spaces, self.outputs = Frozen(self.spaces), tuple(self.outputs)
        for name in _TABLES:
            setattr(self, name, MappingProxyType(getattr(self, name)))

    def thawed(self) -> Tape:
        """The same instructions on a tape that can be added to."""
        new = Tape()
        new.codes, new.args, new.spaces = list(self.codes), list(self.args), list(self.spaces)
        new.primal, new.outputs = self.primal, list(self.outputs)
        for name in _TABLES:
            setattr(new, name, dict(getattr(self, name)))
        return new

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterable[str]:
        yield from map(repr, self.spaces)
        for i, (code, args) in enumerate(zip(self.codes, self.args, strict=True)):
            yield f"%{i} = {self._text(i, code, args)}" + (f"  # {self.labels[i]}" if i in self.labels else "")
        yield f"return {' '.join(f'%{out}' for out in self.outputs)}"

    def _text(self, i: int, code: int, args: Sequence[int]) -> str:
        if code == LEAF:
            space, position = self.origins[i]
            return f"{self.spaces[space].name}[{position}]"
        if code == CONST:
            return repr(self.constants[i])
        return " ".join([KINDS[code].name, *(f"%{a}" for a in args)])


_TABLES = ("origins", "constants", "positions", "rank", "labels", "_numbers")


def _arity(kind: Kind) -> int:
    """How many operands an instruction of this kind has; -1 where any number will do."""
    what = kind.key[0]
    if what == "dot":
        plus, minus, single, negative, _ = kind.shape
        return 2 * (plus + minus) + single + negative
    if what in ("leaf", "const"):
        return 0
    if what == "apply":
        return -1 if kind.op is None or kind.op.arity is None else kind.op.arity
    counts = {"take": (1, 1), "given": (2, 1), "largest": (1, 0), "scatter": (2, 0), "partial": (0, 1)}
    return counts[what][0] * kind.shape[0] + counts[what][1]
