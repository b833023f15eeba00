"""The vector program as equations, forward and then backward: ``z1 = W1 @ x + b1``, ``dz1 = dh1 * step(z1)``.

What one instruction computes is a variable.  It has the user's label, or ``z1`` for a matrix product and ``h1`` for the
activation after it, or ``t1``; what is the derivative of the result by ``z1`` is ``dz1``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.roll import _grid
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Addresses, Instruction, Loop, Map, Product, Rolled, Rows, Scatter, Take, views
from micrograd.ops import Op

CONSTANT, UNKNOWN = -2, -1  # what is no variable
COPY = tapes.dot(0, 0, 1, 0)
TURNS = 1, 2, 3  # of a loop: what moves with them shows in their texts


def equations(rolled: Rolled, names: Mapping[int, str] | None = None, limit: int = 200) -> str:
    """The vector program as text, at most about ``limit`` lines: of a longer one the middle is left out.

    ``names`` has the names of leaves by address; the leaves of a space that have none get the name of the space.

    >>> from micrograd.compile.roll import roll
    >>> tape = tapes.Tape()
    >>> x = tape.leaf(tape.space(tapes.Space("x")), 0)
    >>> tape.outputs = [tape.add(tapes.dot(1, 0, 0, 0), (x, x))]
    >>> print(equations(roll(tape)))
    forward:
      t1 = x**2
    """
    try:
        forward, backward = _Equations(rolled, names or {}).lines()
    except Exception:  # a picture of the program must never stand in the way of the program
        return str(rolled)
    half = limit // 2 if backward else limit
    text = ["forward:", *_shortened(forward, half)]
    return "\n".join([*text, "backward:", *_shortened(backward, half)] if backward else text)


def _shortened(lines: list[str], limit: int) -> list[str]:
    if len(lines) > limit:
        half = max(1, limit // 2)
        lines = [*lines[:half], f"... ({len(lines) - 2 * half} equations left out)", *lines[-half:]]
    return [f"  {line}" for line in lines]


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
    looped: bool = False  # each turn of a loop has one: within loops its name is enough


@dataclass
class Equation:
    """What is known of the numbers that some instructions compute together."""

    instructions: list[Instruction]
    out: Any  # their addresses, rising
    backward: bool


class _Equations:
    def __init__(self, rolled: Rolled, names: Mapping[int, str]) -> None:
        self.rolled = rolled
        self.variables: list[Variable] = []
        self.ids = np.full(rolled.shared, UNKNOWN), np.full(rolled.lanes, UNKNOWN)  # the variable of each address
        self.ids[0][: len(rolled.constants)] = CONSTANT
        self.later = np.zeros(rolled.shared, bool), np.zeros(rolled.lanes, bool)  # what the backward pass sets
        self.in_loop = 0
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

    # ------------------------------------------------------------------------------------------------------- equations

    def lines(self) -> tuple[list[str], list[str]]:
        parts: tuple[list[str], list[str]] = ([], [])
        everything = (part for _, instructions in self.rolled.phases() for i in instructions for part in self.apart(i))
        for equation in _joined(map(_as_product, self.equations(everything)), self):
            parts[equation.backward].extend(self.written(equation))
        parts[1].extend(self.gradients_that_are_other_numbers())
        return parts

    def apart(self, instruction: Instruction) -> list[Instruction]:
        """Results and gradients that are put in their places together, one after the other."""
        if (
            self.rolled.wrt is None
            or not isinstance(instruction, Map)
            or instruction.kind != COPY
            or instruction.outs[0] is None
        ):
            return [instruction]
        out, source = instruction.outs[0], instruction.ins[0]
        results = np.isin(out, self.rolled.outputs[self.rolled.wrt < 0])
        return [Map(COPY, [out[some]], (), [source[some]]) for some in (results, ~results) if some.any()]

    def gradients_that_are_other_numbers(self) -> Iterator[str]:
        """Equations for the gradients of one result that have none yet, as they are numbers that have another name."""
        if self.rolled.wrt is None:
            return
        own = self.rolled.wrt >= 0
        outs, wrt = self.rolled.outputs[own], self.rolled.wrt[own]
        if len(np.unique(wrt)) < len(wrt):  # of several results
            return
        other = self.belongs_to(outs) != wrt
        outs, wrt = outs[other], wrt[other]
        for leaf in self.leaves:
            mine = np.isin(wrt, leaf.addresses)
            if mine.any():
                part = "" if mine.sum() == len(leaf.addresses) else _part(wrt[mine], leaf.addresses)
                yield f"d{leaf.name}{part} = {_bare(self.operand(outs[mine]))}"

    def equations(self, instructions: Iterable[Instruction]) -> Iterator[Equation]:
        """Instructions that add to the same numbers, together."""
        open_: Equation | None = None
        for instruction in instructions:
            out = np.sort(_outs(instruction))
            if open_ is not None and getattr(instruction, "add", False) and np.array_equal(out, open_.out):
                open_.instructions.append(instruction)
                continue
            if open_ is not None:
                yield open_
            own = int(out[0] >= LANES)
            backward = bool((self.belongs_to(out) >= 0).any()) or any(map(self.is_later, _ins(instruction)))
            self.later[own][out - LANES if own else out] |= backward
            open_ = Equation([instruction], out, backward)
        if open_ is not None:
            yield open_

    def is_later(self, addresses: Any) -> bool:
        """Whether the backward pass sets any of these numbers."""
        own = addresses >= LANES
        return bool(self.later[1][addresses[own] - LANES].any() or self.later[0][addresses[~own]].any())

    def written_loop(self, loop: Loop) -> Iterator[str]:
        """The equations of one turn; what a loop computes has one name in all turns."""
        for equation in self.equations(loop.unrolled(0)):  # so that what the turn before computed has its name already
            list(self.written(equation))
        for instruction in loop.body:
            for addresses in _out_views(instruction):
                self.extend(addresses, loop.turns)
        self.in_loop += 1
        one, two, last = ([line for e in self.equations(loop.unrolled(turn)) for line in self.written(e)] for turn in TURNS)
        for instruction in loop.body:  # a local derivative is written as in later turns: what the first reads came before
            for addresses in _out_views(instruction)[1:] if isinstance(instruction, Map) else []:
                self.extend(addresses, loop.turns, first=1)
        alike = len(one) == len(two) == len(last)
        lines = [_moving(*texts) for texts in zip(one, two, last, strict=True)] if alike else one
        moving = any(re.search(r"\bt\b", line) for line in lines)
        yield f"for t in 0..{loop.turns - 1}, {loop.turns} times:" if moving else f"{loop.turns} times:"
        yield from (f"  {line}" for line in lines)
        self.in_loop -= 1

    def extend(self, addresses: Any, turns: int, first: int = 0) -> None:
        """Let the numbers at the places that some addresses move to belong to the same variable, that of the first turn."""
        shift = getattr(addresses, "shift", 0)
        flat = np.ravel(np.asarray(addresses)) + shift * first
        ids = self.ids_of(flat)
        moved = (flat[None] + shift * np.arange(turns - first)[:, None]).ravel()
        own = int(flat[0] >= LANES)
        self.ids[own][moved - LANES if own else moved] = np.tile(ids, turns - first)
        for number in set(ids.tolist()):
            variable = self.variables[number]
            variable.addresses = np.union1d(variable.addresses, moved[np.tile(ids, turns - first) == number])
            variable.of, variable.looped = None, True

    def written(self, e: Equation) -> Iterator[str]:
        first = e.instructions[0]
        if isinstance(first, Loop):
            yield from self.written_loop(first)
            return
        if isinstance(first, Map) and KINDS[first.kind].key[0] == "apply":
            yield from self.written_map(first, e)
            return
        if self.is_result(first):  # a copy has no line
            return
        terms: list[tuple[int, str]] = []
        form = None
        for instruction in e.instructions:
            if isinstance(instruction, Product):
                text, form = self.product(instruction)
                terms.append((instruction.sign, text))
            else:
                terms += self.terms(instruction)
        terms.sort(key=lambda term: "@" not in term[1])
        text = "".join(f" {'+' if sign > 0 else '-'} {term}" for sign, term in terms)
        text = text[3:] if text.startswith(" + ") else f"-{text[3:]}"
        if any(_is_reduced(i) for i in e.instructions):
            text = f"sum over batch of {text}" if len(terms) == 1 else f"sum over batch of ({text})"
        has_product = any(isinstance(i, Product) for i in e.instructions)
        variable, left = self.variable(e, "z" if has_product else "t")
        if variable is not None and variable.form is None and len(variable.addresses) == len(e.out):
            variable.form = form
        if getattr(first, "add", False):
            yield f"{left} -= {text[1:]}" if len(terms) == 1 and text[0] == "-" else f"{left} += {text}"
        else:
            yield f"{left} = {text}"

    def is_result(self, instruction: Instruction) -> bool:
        """Whether an instruction does no more than putting results that were computed before in their places."""
        if self.rolled.wrt is None or not isinstance(instruction, Map) or instruction.kind != COPY:
            return False
        computed = self.ids_of(instruction.ins[0]).tolist()
        results = self.rolled.outputs[self.rolled.wrt < 0]
        named = all(number >= 0 and not self.variables[number].leaf for number in computed)
        return named and bool(np.isin(np.asarray(instruction.outs[0]), results).all())

    def written_map(self, m: Map, e: Equation) -> Iterator[str]:
        """An operation, and names for its local derivatives."""
        op = KINDS[m.kind].op
        assert op is not None
        operands = [self.operand(a) for a in m.ins]
        value = ""
        if m.outs[0] is not None:
            of = self.only_variable(m.ins[0])
            name = None
            if len(m.ins) == 1 and of is not None and of.name[:1] == "z" and of.name[1:].isdigit():
                name = f"h{of.name[1:]}" if f"h{of.name[1:]}" not in self.taken else None
            out: Any = np.sort(m.outs[0])
            variable, value = self.variable(Equation([m], out, e.backward), name or "t")
            if variable and name and of is not None and of.form is not None and len(out) == of.form.size:
                variable.form = of.form + (out[0] - of.addresses[0])
            yield f"{value} = {_applied(op, operands)}"
        for j, slope in zip(m.partials, m.outs[1:], strict=True):
            if slope is not None:
                self.define(_derivative(op, j, operands, value), np.asarray(slope), e.backward, derivative=True)

    def variable(self, e: Equation, default: str) -> tuple[Variable | None, str]:
        """The variable that an equation sets or sets a part of, None if they are several, and how that is written.

        It has the user's label, or d and the name of what it is the adjoint of, or a default with a number.
        """
        found = self.only_variable(e.out) or self.adjoint_variable(e.out)
        of = self.belongs_to(e.out)
        ids = self.ids_of(of) if (of >= 0).all() else np.full(len(of), UNKNOWN)
        if found is None and (ids >= 0).all() and 1 < len(set(ids.tolist())) <= 3:
            parts = [e.out[ids == number] for number in dict.fromkeys(ids.tolist())]
            if all(self.only_variable(part) or self.adjoint_variable(part) for part in parts):
                return None, f"[{', '.join(self.operand(part) for part in parts)}]"
        if found is None:
            found = self.define(self.name(e, default), e.out, e.backward)
        return found, self.operand(e.out)

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

    def name(self, e: Equation, default: str) -> str:
        labels = {self.rolled.names.get(int(address)) for address in e.out[:64]}
        common = _common(labels)
        if common:
            return common
        if default == "z" and e.backward:
            default = "t"
        if default not in self.counts:
            return default
        self.counts[default] += 1
        while f"{default}{self.counts[default]}" in self.taken:
            self.counts[default] += 1
        return f"{default}{self.counts[default]}"

    def only_variable(self, addresses: Addresses) -> Variable | None:
        """The variable that all of these numbers belong to."""
        ids = self.ids_of(np.asarray(addresses))
        first = int(ids.flat[0])
        return self.variables[first] if first >= 0 and (ids == first).all() else None

    # ----------------------------------------------------------------------------------------------------------- terms

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

    def operand(self, addresses: Addresses) -> str:
        """The text of the numbers at some addresses."""
        flat = np.ravel(np.asarray(addresses))
        ids = self.ids_of(flat)
        order = list(dict.fromkeys(ids.tolist()))
        texts = [self.part(number, flat[ids == number]) for number in order[:4]]
        if len(order) == 1:
            return texts[0]
        return f"[{', '.join(texts[:3])}{', ...' if len(order) > 3 else ''}]"

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
        if variable.derivative or (variable.looped and self.in_loop) or len(places) == len(whole.addresses):
            return variable.name
        if variable.of is not None:
            return f"{variable.name}{_part(self.belongs_to(places), variable.of.addresses)}"
        return f"{variable.name}{_part(places, variable.addresses)}"


# ------------------------------------------------------------------------------------------ products taken apart


def _factors(instruction: Instruction, out: Any) -> tuple[int, Any, Any] | None:
    """The sign and the factors of a sum of products, a row for each of ``out`` in their order; None for anything else."""
    if isinstance(instruction, Product):
        r, s = instruction.c.shape
        a = np.repeat(instruction.a[:, None], s, axis=1).reshape(r * s, -1)
        b = np.repeat(instruction.b[None], r, axis=0).reshape(r * s, -1)
    elif isinstance(instruction, Rows) and instruction.b is not None and instruction.lengths is None:
        a, b = instruction.a, instruction.b
    elif isinstance(instruction, Map) and KINDS[instruction.kind].key[0] == "dot":
        plus, minus, *_ = KINDS[instruction.kind].shape
        n = plus + minus
        if not n or (plus and minus):
            return None
        columns = np.stack(instruction.ins[: 2 * n], axis=1)
        order = np.argsort(_outs(instruction))
        return 1 if plus else -1, columns[order, ::2], columns[order, 1::2]
    else:
        return None
    order = np.argsort(np.ravel(instruction.c))
    return instruction.sign, a[order], b[order]


def _rest(instruction: Instruction, out: Any) -> list[Instruction]:
    """The single terms of a sum of products."""
    if not isinstance(instruction, Map):
        return []
    plus, minus, single, negative, reduced = KINDS[instruction.kind].shape
    if not single + negative:
        return []
    order = np.argsort(_outs(instruction))
    ins = [np.asarray(column)[order] for column in instruction.ins[2 * (plus + minus) :]]
    return [Map(tapes.dot(0, 0, single, negative, bool(reduced)), [out], (), ins)]


def _gathered(found: list[tuple[int, Any, Any]], out: Any, reduced: bool) -> Product | None:
    """Factors side by side as one matrix product, if that is what they are."""
    a, b = (np.concatenate([part[side] for part in found], axis=1) for side in (1, 2))
    if len({part[0] for part in found}) > 1:
        return None
    swap = a > b  # each side from one part of memory: what has lower addresses on the left
    a, b = np.where(swap, b, a), np.where(swap, a, b)
    order = np.argsort(a, axis=1, kind="stable")
    by_other = np.argsort(b, axis=1, kind="stable")
    if (np.diff(np.take_along_axis(a, order, 1)) == 0).any():
        order = by_other
    a, b = np.take_along_axis(a, order, 1), np.take_along_axis(b, order, 1)
    grid = _grid(a, b)
    if grid is None or (np.diff(np.sort(a)) == 0).any() or (np.diff(np.sort(b)) == 0).any():
        return None
    if a.shape[1] < 2 and min(grid.shape) < 2:
        return None
    return Product(a[grid[:, 0]], b[grid[0]], out[grid], found[0][0], False, reduced)


def _as_product(e: Equation) -> Equation:
    """A sum whose products were computed in several ways as one matrix product, where it is one."""
    if len(e.instructions) == 1 and (not isinstance(e.instructions[0], (Map, Rows)) or len(e.out) == 1):
        return e
    found = [_factors(i, e.out) for i in e.instructions]
    rest = [
        r for i, f in zip(e.instructions, found, strict=True) for r in (_rest(i, e.out) if _is_dot(i) else [] if f else [i])
    ]
    factors = [f for f in found if f is not None]
    product = _gathered(factors, e.out, _is_reduced(e.instructions[0])) if factors else None
    return e if product is None else Equation([product, *rest], e.out, e.backward)


def _joined(equations: Iterable[Equation], names: _Equations) -> list[Equation]:
    """Products that give the parts of one matrix of adjoints as one product, in the place of the last."""
    found = list(equations)
    parts: dict[tuple[int, bool], list[int]] = {}
    for number, e in enumerate(found):
        of = names.belongs_to(e.out)
        variable = names.only_variable(of) if (of >= 0).all() else None
        if variable is not None and len(e.out) < len(variable.addresses) and len(e.instructions) == 1:
            parts.setdefault((id(variable), _is_reduced(e.instructions[0])), []).append(number)
    gone = set()
    for (_, reduced), numbers in parts.items():
        some = [found[n] for n in numbers]
        factors = [_factors(e.instructions[0], e.out) for e in some]
        if len(some) < 2 or any(f is None for f in factors) or len({(f[0], f[1].shape[1]) for f in factors if f}) > 1:
            continue
        if any(_rest(e.instructions[0], e.out) for e in some):
            continue
        out = np.concatenate([e.out for e in some])
        stacked = [f for f in factors if f is not None]
        a, b = (np.concatenate([f[side] for f in stacked]) for side in (1, 2))
        product = _gathered([(stacked[0][0], a, b)], out, reduced)
        if product is not None:
            gone.update(numbers[:-1])
            found[numbers[-1]] = Equation([product], np.sort(out), True)
    return [e for number, e in enumerate(found) if number not in gone]


def _is_dot(instruction: Instruction) -> bool:
    return isinstance(instruction, Map) and KINDS[instruction.kind].key[0] == "dot"


def _part(places: Any, whole: Any) -> str:
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


def _bare(text: str) -> str:
    """Without the parentheses around all of it."""
    inner = text[1:-1]
    return inner if text[:1] == "(" and text[-1:] == ")" and not set("()") & set(inner) else text


def _moving(one: str, two: str, three: str) -> str:
    """One line of a loop for all turns ``t``, from those of the turns 1, 2 and 3.

    >>> _moving("t2 = x[3] * t2", "t2 = x[5] * t2", "t2 = x[7] * t2")
    't2 = x[2*t+1] * t2'
    """
    found = [_TOKENS.findall(text) for text in (one, two, three)]
    if len({len(tokens) for tokens in found}) > 1:
        return one
    return "".join(a if a == b == c else _moving_token(a, b, c) for a, b, c in zip(*found, strict=True))


_TOKENS = re.compile(r"(?<=[\[:])\d+(?=[\]:])|[A-Za-z_]\w*|\d+(?:\.\d+)?(?:e[+-]?\d+)?|.")


def _moving_token(a: str, b: str, c: str) -> str:
    """A number that is another one at each turn: a place as a formula, anything else as a list."""
    if a.isdigit() and b.isdigit() and c.isdigit() and int(c) - int(b) == int(b) - int(a):
        step = int(b) - int(a)
        return _linear(int(a) - step, step)
    return f"[{a}, {b}, ...][t-1]"


def _linear(start: int, step: int) -> str:
    """``t+2``, ``249-t``, ``3*t``: start + step * t."""
    times = "t" if abs(step) == 1 else f"{abs(step)}*t"
    if step < 0:
        return f"{start}-{times}"
    return f"{times}+{start}" if start > 0 else times if start == 0 else f"{times}{start}"


def _alike(addresses: Any) -> bool:
    """Whether all of them are shared, or all are of the examples."""
    return bool((addresses >= LANES).all() or (addresses < LANES).all())


def _risen(m: Any) -> Any:
    """The matrix or its transpose, whichever has its addresses rising row after row."""
    return m.T if (np.diff(m.T.ravel()) > 0).all() and not (np.diff(m.ravel()) > 0).all() else m


def _out_views(instruction: Instruction) -> list[Any]:
    """What an instruction sets, as it holds the addresses."""
    if isinstance(instruction, Map):
        return [out for out in instruction.outs if out is not None]
    return [views(instruction)[0]]


def _outs(instruction: Instruction) -> Any:
    if isinstance(instruction, Loop):
        return np.concatenate([_outs(i) for turn in range(instruction.turns) for i in instruction.unrolled(turn)])
    if isinstance(instruction, Map):
        return np.concatenate([np.ravel(out) for out in instruction.outs if out is not None])
    return np.ravel(instruction.out if isinstance(instruction, (Take, Scatter)) else instruction.c)


def _ins(instruction: Instruction) -> list[Any]:
    if isinstance(instruction, Loop):
        return [a for i in instruction.unrolled(0) for a in _ins(i)]
    if isinstance(instruction, Map):
        return [np.asarray(a) for a in instruction.ins]
    if isinstance(instruction, Take):
        return [np.asarray(instruction.table)]
    if isinstance(instruction, Scatter):
        return [np.asarray(instruction.values)]
    return [np.asarray(a) for a in (instruction.a, instruction.b) if a is not None]


def _is_reduced(instruction: Instruction) -> bool:
    if isinstance(instruction, Map):
        kind = KINDS[instruction.kind]
        return kind.key[0] == "dot" and bool(kind.shape[-1])
    return bool(getattr(instruction, "reduced", False))


def _common(labels: set[str | None]) -> str:
    """The label that all have, or the letters with which all of them start: h for h0, h1, h2."""
    if None in labels or not labels:
        return ""
    if len(labels) == 1:
        return str(labels.pop())
    stems = {str(label).rstrip("0123456789_,.[]() ") for label in labels}
    return stems.pop() if len(stems) == 1 else ""


# ------------------------------------------------------------------------------------------------------ operations

_INFIX = {"div": "/", "pow": "**", "less": "<", "less_equal": "<=", "and": "&", "or": "|"}

_DERIVATIVES: dict[tuple[str, int], Callable[[list[str], str], str]] = {
    ("relu", 0): lambda x, y: f"step({x[0]})",
    ("tanh", 0): lambda x, y: f"(1 - {y}**2)" if y else f"tanh'({x[0]})",
    ("sigmoid", 0): lambda x, y: f"{y} * (1 - {y})" if y else f"sigmoid'({x[0]})",
    ("softplus", 0): lambda x, y: f"sigmoid({x[0]})",
    ("log", 0): lambda x, y: f"(1 / {x[0]})",
    ("log1p", 0): lambda x, y: f"(1 / (1 + {x[0]}))",
    ("sqrt", 0): lambda x, y: f"(1 / (2 * {y}))" if y else f"sqrt'({x[0]})",
    ("sin", 0): lambda x, y: f"cos({x[0]})",
    ("sinh", 0): lambda x, y: f"cosh({x[0]})",
    ("cosh", 0): lambda x, y: f"sinh({x[0]})",
    ("tan", 0): lambda x, y: f"(1 + {y}**2)" if y else f"tan'({x[0]})",
    ("abs", 0): lambda x, y: f"sign({x[0]})",
    ("expm1", 0): lambda x, y: f"exp({x[0]})",
    ("div", 0): lambda x, y: f"(1 / {x[1]})",
    ("div", 1): lambda x, y: f"(-{y} / {x[1]})" if y else f"(-{x[0]} / {x[1]}**2)",
}


def _applied(op: Op, operands: list[str]) -> str:
    if op.name in _INFIX and len(operands) == 2:
        return f"{operands[0]} {_INFIX[op.name]} {operands[1]}"
    if op.name == "power":
        return f"{operands[0]}**{op.params['exponent']:g}"
    if op.name == "not":
        return f"~{operands[0]}"
    name = {"select": "where", "largest": "max"}.get(op.name, op.name)
    return f"{name}({', '.join([*operands, *(f'{key}={value:g}' for key, value in op.params.items())])})"


def _derivative(op: Op, j: int, operands: list[str], value: str) -> str:
    """The local derivative by operand j as one writes it, or the operation with a prime."""
    if op.name == "power":
        exponent = op.params["exponent"]
        return f"{exponent:g} * {operands[0]}**{exponent - 1:g}"
    write = _DERIVATIVES.get((op.name, j))
    if write is not None:
        return write(operands, value)
    return f"{op.name}'{j if len(operands) > 1 else ''}({', '.join(operands)})"
