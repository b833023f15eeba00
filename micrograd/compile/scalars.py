"""Scalars: instructions written out number by number, as operations that a processor rounds once each.

Straight code and the interpreter are both made of these, so that they give the same bits.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from micrograd.compile.dialect import template
from micrograd.compile.emit import Term, ordered
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Map, Product, Rows
from micrograd.compile.views import strides

WRITTEN = (Map, Product, Rows)  # the instructions that can be written out
LONG = 16  # terms that are added up by registers, at least: as many as a register has on any machine
Place = int | float  # a number made before, by its position, or a literal


class Pattern(NamedTuple):
    """What one member does: its operands are the numbers 0, 1, ..., and each step makes the next one."""

    operands: int
    steps: tuple[tuple[str, tuple[Place, ...]], ...]
    values: tuple[Place, ...]


def patterns(instruction: Map | Product | Rows) -> Iterator[tuple[Pattern, Any, list[Any]]]:
    """For members that have one pattern: it, the addresses of their operands, a row each, and those of each value."""
    if isinstance(instruction, Map):
        pattern = of_map(instruction.kind, instruction.partials, len(instruction.ins))
        yield pattern, np.stack(instruction.ins, axis=1), instruction.outs
        return
    a, b, c, lengths = instruction.a, instruction.b, np.ravel(instruction.c), getattr(instruction, "lengths", None)
    if isinstance(instruction, Product):
        a, b = np.repeat(a, len(instruction.b), axis=0), np.tile(instruction.b, (len(a), 1))
    for length in sorted(set(lengths.tolist())) if lengths is not None else [a.shape[1]]:
        some = slice(None) if lengths is None else lengths == length
        sides = [side[some, :length] for side in (a, b) if side is not None]
        sides += [c[some, None]] if instruction.add else []
        largest = bool(getattr(instruction, "largest", False))
        pattern = _of_sum(int(length), b is not None, instruction.sign, instruction.add, largest)
        yield pattern, np.concatenate(sides, axis=1), [c[some]]


class Sums(NamedTuple):
    """Sums, or largest numbers, that a kernel finds where the terms of each member lie side by side."""

    kernel: str
    sides: list[tuple[bool, Any]]  # whether the numbers are copied before, and their addresses, a row a member


def in_memory(instruction: Any) -> Sums | None:
    """The kernel that finds the sums of an instruction; None where they are done in another way."""
    if isinstance(instruction, Product):
        views, kernel = [np.asarray(instruction.a), np.asarray(instruction.b)], "dot"
        usable = len(views[0]) == len(views[1]) == 1
    elif isinstance(instruction, Rows) and instruction.b is None and instruction.lengths is None:
        views, kernel = [np.asarray(instruction.a)], "largest" if instruction.largest else "sum"
        usable = views[0].shape[1] >= LONG and bool((np.diff(views[0], axis=1) == 1).all())
    else:
        return None
    if not usable or instruction.reduced or any(view.flat[0] >= LANES for view in (*views, instruction.c)):
        return None
    found = [strides(view) for view in views]
    if any(steps is not None and steps[-1] != 1 for steps in found if len(views) > 1 and views[0].shape[1] > 1):
        return None
    return Sums(kernel, [(steps is None and len(views) > 1, view) for steps, view in zip(found, views, strict=True)])


@functools.lru_cache(maxsize=4096)
def of_map(kind: int, partials: tuple[int, ...], count: int) -> Pattern:
    """The pattern of a kind of instruction with so many operands."""
    op = KINDS[kind].op
    operands, results = template(kind, (count,) if op is not None and op.arity is None else partials)
    places: dict[Term, Place] = {term: i for i, term in enumerate(operands)}
    steps = []
    for term in ordered(results, places):
        steps.append((term.function, tuple(places[a] if isinstance(a, Term) else a for a in term.args)))
        places[term] = len(places)
    return Pattern(count, tuple(steps), tuple(places[r] if isinstance(r, Term) else float(r) for r in results))


@functools.lru_cache(maxsize=4096)
def _of_sum(length: int, products: bool, sign: int, add: bool, largest: bool) -> Pattern:
    """The pattern of a sum of numbers or of products, or of the largest, from the first term to the last.

    >>> _of_sum(2, products=True, sign=1, add=False, largest=False)
    Pattern(operands=4, steps=(('*', (0, 2)), ('fma', (1, 3, 4))), values=(5,))
    """
    count = length * (1 + products) + add
    steps: list[tuple[str, tuple[Place, ...]]] = []

    def step(function: str, *args: int) -> int:
        steps.append((function, args))
        return count + len(steps) - 1

    total = count - 1 if add else -1
    for k in range(length):
        if total >= 0 and products:
            total = step("fma" if sign > 0 else "fnma", k, length + k, total)
        elif total >= 0:
            total = step("maximum" if largest else "+" if sign > 0 else "-", total, k)
        else:
            total = step("*", k, length + k) if products else k
            total = step("neg", total) if sign < 0 else total
    return Pattern(count, tuple(steps), (total,))
