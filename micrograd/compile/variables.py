"""Variables: the names of the numbers of a vector program, and how numbers at some addresses are written with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Addresses, Instruction, Map, Product, Rolled, Rows, Scatter, Take

CONSTANT, UNKNOWN = -2, -1  # what is no variable
COPY = tapes.dot(0, 0, 1, 0)


@dataclass
class Variable:
    """Numbers that have a name together.  ``form`` is the matrix of their addresses, once they were used as one."""

    name: str
    addresses: Any  # rising
    backward: bool = False
    form: Any = None
    derivative: bool = False  # a local derivative, whose name is an expression
    of: Variable | None = None  # what it is the adjoint of
    leaf: bool = False
    text: Callable[[Any], str] | None = None  # how numbers of it are written, where the name does not tell


class Variables:
    """All variables of a program, each with its name."""

    def __init__(self, rolled: Rolled, names: Mapping[int, str]) -> None:
        self.rolled = rolled
        self.variables: list[Variable] = []
        self.ids = np.full(rolled.shared, UNKNOWN), np.full(rolled.lanes, UNKNOWN)  # the variable of each address
        self.ids[0][: len(rolled.constants)] = CONSTANT
        self.later = np.zeros(rolled.shared, bool), np.zeros(rolled.lanes, bool)  # what the backward pass sets
        self.sources: dict[int, int] = {}  # of results that are copies without a line of their own
        self.noted: set[frozenset[str]] = set()  # pairs of names for one thing that were written
        self.taken: set[str] = set()
        self.counts = {"z": 0, "t": 0}
        pairs = np.zeros((2, 0), np.int64) if rolled.adjoints is None else rolled.adjoints
        pairs = np.concatenate([pairs, _zeros(rolled)], axis=1)
        order = np.argsort(pairs[0], kind="stable")
        self.adjoint, self.primal = pairs[0][order], pairs[1][order]
        for space, base in rolled.spaces:
            self.add_leaves(space.name, base, space.size, names)
        self.leaves = list(self.variables)

    def add_leaves(self, default: str, base: int, size: int, names: Mapping[int, str]) -> None:
        places: dict[str, list[int]] = {}
        for address in range(base, base + size):
            places.setdefault(names.get(address, default), []).append(address)
        for name, addresses in places.items():
            self.define(name, np.array(addresses)).leaf = True

    def define(self, name: str, addresses: Any, backward: bool = False, derivative: bool = False) -> Variable:
        """A new variable under a name that is not taken yet."""
        unique, number = name, 1
        while unique in self.taken and not derivative:
            number += 1
            unique = f"{name}_{number}"
        self.taken.add(unique)
        variable = Variable(unique, np.sort(np.ravel(addresses)), backward, derivative=derivative)
        own = int(addresses.flat[0] >= LANES)
        self.ids[own][addresses - LANES if own else addresses] = len(self.variables)
        self.variables.append(variable)
        return variable

    def ids_of(self, addresses: Addresses) -> Any:
        own = np.asarray(addresses) >= LANES
        found = np.empty(np.shape(addresses), np.int64)
        found[own], found[~own] = self.ids[1][addresses[own] - LANES], self.ids[0][addresses[~own]]
        return found

    def belongs_to(self, addresses: Addresses) -> Any:
        """Of what numbers these are the adjoints: their addresses, or -1."""
        if not len(self.adjoint):
            return np.full(np.shape(addresses), -1)
        at = np.searchsorted(self.adjoint, addresses).clip(max=len(self.adjoint) - 1)
        return np.where(self.adjoint[at] == addresses, self.primal[at], -1)

    def only_variable(self, addresses: Addresses) -> Variable | None:
        """The variable that all of these numbers belong to."""
        ids = self.ids_of(np.asarray(addresses))
        first = int(ids.flat[0])
        return self.variables[first] if first >= 0 and (ids == first).all() else None

    def adjoint_variable(self, out: Any) -> Variable | None:
        """All adjoints of the variable whose adjoints these are, as one variable."""
        of = self.belongs_to(out)
        variable = self.only_variable(of) if (of >= 0).all() else None
        if variable is None or variable.derivative or len(np.unique(of)) < len(of):
            return None
        places = np.isin(self.primal, variable.addresses)
        adjoints, primals = self.adjoint[places], self.primal[places]
        free = self.ids_of(adjoints) == UNKNOWN
        adjoints, primals = adjoints[free], primals[free]
        if not np.isin(out, adjoints).all() or len(np.unique(primals)) < len(primals) or not _alike(adjoints):
            adjoints = out  # sums of some, and then of all: each is a variable
        made = self.define(f"d{variable.name}", adjoints, True)
        whole = len(adjoints) == len(variable.addresses)
        if whole or (variable.leaf and self.rolled.wrt is not None):  # the rest of a gradient is other numbers
            made.of = variable
            order = np.argsort(self.belongs_to(made.addresses))
            made.addresses = made.addresses[order]
            if whole and variable.form is not None:
                made.form = made.addresses[np.searchsorted(variable.addresses, variable.form)]
        return made

    # ----------------------------------------------------------------------------------------------------------- texts

    def operand(self, addresses: Addresses) -> str:
        """The text of the numbers at some addresses."""
        flat = np.ravel(np.asarray(addresses))
        ids = self.ids_of(flat)
        order = list(dict.fromkeys(ids.tolist()))
        texts = [self.part(number, flat[ids == number]) for number in order[:4]]
        if len(order) == 1:
            return texts[0]
        return f"[{', '.join(texts[:3])}{', ...' if len(order) > 3 else ''}]"

    def in_order(self, addresses: Any) -> str:
        """The text of numbers that lie in this order, which a name alone may not tell."""
        ids = self.ids_of(addresses)
        breaks = (np.diff(ids) != 0) | ((np.diff(addresses) <= 0) & (ids[1:] >= 0))
        texts = [self.operand(run) for run in np.split(addresses, np.flatnonzero(breaks) + 1)]
        return texts[0] if len(texts) == 1 else f"[{', '.join(texts[:3])}{', ...' if len(texts) > 3 else ''}]"

    def part(self, number: int, addresses: Any) -> str:
        if number == CONSTANT:
            numbers = self.rolled.constants[addresses]
            if (numbers == numbers[0]).all():
                return f"{float(numbers[0]):g}"
            return f"[{', '.join(f'{float(x):g}' for x in numbers[:3])}{', ...' if len(numbers) > 3 else ''}]"
        if number == UNKNOWN:
            return "0"  # what nothing sets
        variable = self.variables[number]
        places = np.unique(addresses)
        whole = variable if variable.of is None else variable.of
        if variable.text is not None:
            return variable.text(addresses)
        if variable.derivative or len(places) == len(whole.addresses):
            return variable.name
        if variable.of is not None:
            return f"{variable.name}{part_of(self.belongs_to(places), variable.of.addresses)}"
        return f"{variable.name}{part_of(places, variable.addresses)}"

    def matrix(self, m: Addresses) -> str:
        """The name of a matrix, transposed if it is used so."""
        variable = self.only_variable(m)
        if variable is None or variable.derivative or m.size != len(variable.addresses):
            return _windows(self.operand(m), m)
        if variable.form is None:
            variable.form = _risen(m)
        if np.array_equal(m, variable.form) or 1 in m.shape:
            return variable.name
        return f"{variable.name}.T" if np.array_equal(m.T, variable.form) else self.operand(m)

    def lies_turned(self, c: Any) -> bool:
        """Whether a result is better written as its transpose: as that lies like what it is the adjoint of, or in memory."""
        if 1 in c.shape:
            return False
        of = self.belongs_to(c)
        variable = self.only_variable(of) if (of >= 0).all() else None
        if variable is not None:
            if variable.form is None:
                variable.form = _risen(of)
            if np.array_equal(of, variable.form):
                return False
            if np.array_equal(of.T, variable.form):
                return True
        return bool((np.diff(c.T.ravel()) == 1).all())

    def terms(self, instruction: Instruction) -> list[tuple[int, str]]:
        """The terms of a sum, each with its sign."""
        if isinstance(instruction, Map):
            plus, minus, single, _, _ = KINDS[instruction.kind].shape
            n = plus + minus
            pairs = zip(instruction.ins[: 2 * n : 2], instruction.ins[1 : 2 * n : 2], strict=True)
            terms = [(1 if k < plus else -1, self.times(a, b)) for k, (a, b) in enumerate(pairs)]
            rest = instruction.ins[2 * n :]
            return terms + [(1 if k < single else -1, self.operand(a)) for k, a in enumerate(rest)]
        if isinstance(instruction, Rows):
            if instruction.largest:
                return [(1, f"max({self.operand(instruction.a)})")]
            factors = self.operand(instruction.a) if instruction.b is None else self.times(instruction.a, instruction.b)
            some = "" if instruction.lengths is None else "_of_some"  # of rows of different lengths
            return [(instruction.sign, factors if instruction.a.shape[1] == 1 else f"sum{some}({factors})")]
        if isinstance(instruction, Take):
            return [(1, f"take({self.operand(instruction.table)}, {self.operand(instruction.index)})")]
        assert isinstance(instruction, Scatter)
        return [(1, f"scatter({self.operand(instruction.values)}, {self.operand(instruction.indexes)})")]

    def times(self, a: Addresses, b: Addresses) -> str:
        """A product, element by element: what the backward pass brings comes first."""
        left, right = self.operand(a), self.operand(b)
        of_left, of_right = self.only_variable(a), self.only_variable(b)
        swap = bool(of_right and of_right.backward and not of_right.derivative and not (of_left and of_left.backward))
        swap |= bool(of_left and of_left.derivative and not (of_right and of_right.derivative))
        if left == right and of_left is not None and np.array_equal(a, b):
            return f"{left}**2"
        return f"{right} * {left}" if swap else f"{left} * {right}"

    def product(self, p: Product) -> tuple[str, Any]:
        """A matrix product with its one @, and the matrix of addresses that it fills, as it is written."""
        a, b, c = p.a, p.b, p.c
        if self.lies_turned(c):
            a, b, c = b, a, c.T
        if len(a) == len(b) == 1:
            factors = self.only_variable(a), self.only_variable(b)
            if any(v is not None and v.leaf for v in factors):  # a layer of one neuron
                return f"{self.operand(a[0])} @ {self.operand(b[0])}", c
            return f"sum({self.times(a[0], b[0])})", c
        if a.shape[1] == 1 and 1 in c.shape:  # a vector times a number
            return self.times(a[:, 0], b[:, 0]), c
        if len(b) == 1:
            return f"{self.matrix(a)} @ {self.operand(b[0])}", c
        if len(a) == 1:
            return f"{self.matrix(b)} @ {self.operand(a[0])}", c
        if a.shape[1] == 1:
            return f"{self.operand(a[:, 0])} @ {self.operand(b[:, 0])}.T", c
        return f"{self.matrix(a)} @ {self.matrix(b.T)}", c


def part_of(places: Any, whole: Any) -> str:
    """``[3]``, ``[0:8]``, ``[0:16:2]`` or ``[...]``: where some addresses are among others."""
    at = np.searchsorted(whole, np.sort(places))
    if len(at) == 1:
        return f"[{at[0]}]"
    steps = np.diff(at)
    if not (steps == steps[0]).all():
        return "[...]"
    return f"[{at[0]}:{at[-1] + 1}]" if steps[0] == 1 else f"[{at[0]}:{at[-1] + 1}:{steps[0]}]"


def _windows(name: str, m: Any) -> str:
    """``windows(x, 3)`` for a matrix whose rows overlap, with their distance or the places in a row where these are not 1.

    >>> _windows("x", np.array([[5, 6], [7, 8], [9, 10]])), _windows("x", np.array([[5, 6], [6, 7], [7, 8]]))
    ('x', 'windows(x, 2)')
    """
    if len(np.unique(m)) == m.size:
        return name
    both = [(w, turned) for rows, turned in ((m, ""), (m.T, ".T")) if (w := _window(rows)) is not None]
    if not both:
        return f"rows_of({name})"
    (places, step), turned = min(both, key=lambda found: found[0][0][-1] - len(found[0][0]))  # with the fewest gaps
    if step and np.array_equal(places, np.arange(len(places))):
        return f"windows({name}, {len(places)}{f', step={step}' if step != 1 else ''}){turned}"
    shown = ", ".join(map(str, places[:8].tolist()))
    return f"windows({name}, [{shown}{', ...' if len(places) > 8 else ''}]){turned}"


def _window(rows: Any) -> tuple[Any, int] | None:
    """The places in a row, counted from its first, where all rows are alike; and their distance, 0 if it varies."""
    places, steps = rows[0] - rows[0, 0], np.diff(rows[:, 0])
    if rows.shape[1] < 2 or (np.diff(places) <= 0).any() or (steps <= 0).any() or not (rows - rows[:, :1] == places).all():
        return None
    return places, int(steps[0]) if len(steps) and (steps == steps[0]).all() else 0


def _zeros(rolled: Rolled) -> Any:
    """The gradients by leaves that are not used, which are numbers of their own, with the leaves."""
    if rolled.wrt is None:
        return np.zeros((2, 0), np.int64)
    copies = [i for _, instructions in rolled.phases() for i in instructions if isinstance(i, Map) and i.kind == COPY]
    zeros = [i.outs[0][i.ins[0] < len(rolled.constants)] for i in copies if i.outs[0] is not None]
    found = (rolled.wrt >= 0) & np.isin(rolled.outputs, np.concatenate([[], *zeros]))
    return np.stack([rolled.outputs, rolled.wrt])[:, found]


def _alike(addresses: Any) -> bool:
    """Whether all of them are shared, or all are of the examples."""
    return bool((addresses >= LANES).all() or (addresses < LANES).all())


def _risen(m: Any) -> Any:
    """The matrix or its transpose, whichever has its addresses rising row after row."""
    return m.T if (np.diff(m.T.ravel()) > 0).all() and not (np.diff(m.ravel()) > 0).all() else m
