"""Sums of products taken apart into their factors, and put together as the matrix products that they are."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.roll import _grid
from micrograd.compile.tape import KINDS
from micrograd.compile.variables import Variables
from micrograd.compile.vector import Instruction, Loop, Map, Product, Rows, Scatter, Take, is_reduced


@dataclass
class Equation:
    """What is known of the numbers that some instructions compute together."""

    instructions: list[Instruction]
    out: Any  # their addresses, rising
    backward: bool


def as_product(e: Equation) -> Equation:
    """A sum whose products were computed in several ways as one matrix product, where it is one."""
    if len(e.instructions) == 1 and (not isinstance(e.instructions[0], (Map, Rows)) or len(e.out) == 1):
        return e
    found = [_factors(i, e.out) for i in e.instructions]
    rest = [
        r for i, f in zip(e.instructions, found, strict=True) for r in (_rest(i, e.out) if _is_dot(i) else [] if f else [i])
    ]
    factors = [f for f in found if f is not None]
    product = _gathered(factors, e.out, is_reduced(e.instructions[0])) if factors else None
    return e if product is None else Equation([product, *rest], e.out, e.backward)


def joined(equations: Iterable[Equation], names: Variables) -> list[Equation]:
    """Products that give the parts of one matrix of adjoints as one product, in the place of the last."""
    found = list(equations)
    parts: dict[tuple[int, bool], list[int]] = {}
    for number, e in enumerate(found):
        of = names.belongs_to(e.out)
        variable = names.only_variable(of) if (of >= 0).all() else None
        if variable is not None and len(e.out) < len(variable.addresses) and len(e.instructions) == 1:
            parts.setdefault((id(variable), is_reduced(e.instructions[0])), []).append(number)
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
        order = np.argsort(made_by(instruction))
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
    order = np.argsort(made_by(instruction))
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


def _is_dot(instruction: Instruction) -> bool:
    return isinstance(instruction, Map) and KINDS[instruction.kind].key[0] == "dot"


def made_by(instruction: Instruction) -> Any:
    if isinstance(instruction, Loop):
        return np.concatenate([made_by(i) for turn in range(instruction.turns) for i in instruction.unrolled(turn)])
    if isinstance(instruction, Map):
        return np.concatenate([np.ravel(out) for out in instruction.outs if out is not None])
    return np.ravel(instruction.out if isinstance(instruction, (Take, Scatter)) else instruction.c)
