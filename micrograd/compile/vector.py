"""The vector program: what rolling makes of a tape, and what the backends run.

An *address* is where a number lies.  Numbers shared by all examples count from 0, those of each example from ``LANES``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.tape import KINDS

LANES = 1 << 40  # the first address of the numbers that each example has its own of
WIDE = 8  # neighbours that fill the lanes of a register
Addresses = Any  # an integer array


@dataclass
class Map:
    """``outs[0][g], outs[1][g], ... = value and local derivatives of a kind at ins[0][g], ins[1][g], ...`` for each g."""

    kind: int
    outs: list[Addresses | None]  # the value, which may not be wanted, and a derivative for each of ``partials``
    partials: tuple[int, ...]
    ins: list[Addresses]


@dataclass
class Product:
    """``c[r, s] (+ or -)= sum over k of a[r, k] * b[s, k]``: a matrix product, into numbers set before when ``add``."""

    a: Addresses
    b: Addresses
    c: Addresses
    sign: int
    add: bool
    reduced: bool


@dataclass
class Rows:
    """``c[g] (+ or -)= sum over k of a[g, k] * b[g, k]``; without b a plain sum, or the largest."""

    a: Addresses
    b: Addresses | None
    c: Addresses
    sign: int
    add: bool
    reduced: bool
    largest: bool = False
    lengths: Any = None  # of each row, where they differ; the rest of a row repeats its last address


@dataclass
class Take:
    """``out[g] = table[g, index[g]]``."""

    out: Addresses
    index: Addresses
    table: Addresses


@dataclass
class Scatter:
    """``out[g] = sum over u of values[g, u] where indexes[g, u] == position[g]``, over the examples too if reduced."""

    out: Addresses
    position: Any
    count: int
    indexes: Addresses
    values: Addresses
    reduced: bool


@dataclass
class Loop:
    """The instructions ``body``, ``turns`` times; their addresses are :class:`Shifted`."""

    turns: int
    body: list[Any]

    def unrolled(self, turn: int) -> list[Any]:
        """The instructions of one turn, with plain addresses."""

        def moved(view: Any) -> Any:
            return None if view is None else np.asarray(view) + getattr(view, "shift", 0) * turn

        return [with_views(i, list(map(moved, views(i)))) for i in self.body]


Instruction = Map | Product | Rows | Take | Scatter | Loop
Instructions = Any  # a list of them, a tuple in a program that is frozen


class Shifted(np.ndarray[Any, Any]):
    """Addresses that move by ``shift`` at each turn of a loop of so many ``turns``."""

    shift: int
    turns: int

    def __array_finalize__(self, other: Any) -> None:
        self.shift, self.turns = getattr(other, "shift", 0), getattr(other, "turns", 1)


def shifted(addresses: Any, shift: int, turns: int) -> Shifted:
    """Addresses that move by ``shift`` at each of so many turns."""
    made = np.asarray(addresses).view(Shifted)
    made.shift, made.turns = shift, turns
    return made


@dataclass
class Rolled:
    """A vector program: its instructions in three phases, where leaves and outputs lie, and how much room it takes."""

    before: Instructions = ()  # on shared numbers
    batch: Instructions = ()  # on each example
    after: Instructions = ()  # on sums over the examples
    spaces: list[tuple[tapes.Space, int]] = field(default_factory=list)  # with the address of its first number
    constants: Any = ()  # the first addresses hold these numbers
    outputs: Any = None  # the address of each
    shared: int = 0  # how many shared numbers
    lanes: int = 0  # how many numbers an example
    sums: tuple[int, int] = (0, 0)  # the addresses of the sums over the examples
    results: tuple[int, int] = (0, 0)  # the addresses of the outputs that are computed once for all examples
    stretches: tuple[Any, Any] = (None, None)  # where the numbers of a group begin, among the shared ones and the examples'
    wrt: Any = (
        None  # for each output the address of the leaf by which it is a derivative, -1 for a result; None if not known
    )
    names: dict[int, str] = field(default_factory=dict)  # labels by address
    adjoints: Any = None  # two rows: the address of each adjoint, and of what it is the adjoint of
    nodes: int = 0

    def phases(self) -> Iterator[tuple[str, Sequence[Instruction]]]:
        yield from (("before", self.before), ("batch", self.batch), ("after", self.after))

    def freeze(self) -> None:
        """Verify this program, and let nothing be added to it any more."""
        self.verify()
        for name, instructions in self.phases():
            setattr(self, name, tuple(instructions))

    def verify(self) -> Rolled:
        """This program, or ValueError for an address outside of its memory or one that is read before it is written."""
        units = [unit for _, instructions in self.phases() for unit in instructions]
        parts = [(number, part) for number, unit in enumerate(units) for part in plain(unit)]
        since = np.full(self.shared + self.lanes, len(units))  # the first instruction that writes a number
        writers = [(number, view) for number, part in parts for view in writes(part)]
        places, owners = self._slots([view for _, view in writers])
        since[places[::-1]] = np.array([number for number, _ in writers], dtype=np.int64)[owners[::-1]]
        since[: len(self.constants)] = -1
        since[self._slots([base + np.arange(space.size) for space, base in self.spaces])[0]] = -1
        readers = [(number, part, view) for number, part in parts for view in reads(part)]
        # a turn of a loop may read what the turn before it wrote
        ready = np.array([number + (part is not units[number]) for number, part, _ in readers], dtype=np.int64)
        places, owners = self._slots([view for _, _, view in readers])
        early = np.flatnonzero(since[places] >= ready[owners])
        if len(early):
            raise ValueError(f"vector program: {describe(readers[owners[early[0]]][1])!r} reads what is not there yet")
        if (since[self._slots([self.outputs])[0]] == len(units)).any():
            raise ValueError("vector program: an output is not computed")
        return self

    def _slots(self, some: Sequence[Any]) -> tuple[Any, Any]:
        """The places of all addresses of some views in one array of all the memory, and the number of the view of each."""
        at, owners = flattened([every(view) if getattr(view, "turns", 1) > 1 else view for view in some])
        own = at >= LANES
        if not np.where(own, at - LANES < self.lanes, (at >= 0) & (at < self.shared)).all():
            raise ValueError(
                f"vector program: an address outside of {self.shared} shared numbers and {self.lanes} an example"
            )
        return np.where(own, at - LANES + self.shared, at), owners

    def __str__(self) -> str:
        lines = [f"{space!r} from {base}" for space, base in self.spaces]
        for name, instructions in self.phases():
            lines += [f"{name}:", *(f"  {describe(i)}" for i in instructions)] if instructions else []
        return "\n".join(lines)


def describe(instruction: Instruction) -> str:
    """One line on an instruction, more on loops and streams."""
    if hasattr(instruction, "parts"):
        return "\n    ".join(["side by side:", *(describe(part.instruction) for part in instruction.parts)])
    if isinstance(instruction, Loop):
        return "\n    ".join([f"{instruction.turns} times:", *map(describe, instruction.body)])
    if isinstance(instruction, Map):
        return f"{KINDS[instruction.kind].name} {instruction.partials or ''} of {len(instruction.ins[0])}"
    if isinstance(instruction, Product):
        (r, k), s = instruction.a.shape, len(instruction.b)
        over = " over batch" if instruction.reduced else ""
        return f"product {r}x{k} @ {k}x{s}{over}{' added' * instruction.add}{' negative' * (instruction.sign < 0)}"
    if isinstance(instruction, Rows):
        return (
            f"{'dots' if instruction.b is not None else 'sums'} {instruction.a.shape[0]} of length {instruction.a.shape[1]}"
        )
    if isinstance(instruction, Take):
        return f"take {len(instruction.out)} from tables of {instruction.table.shape[1]}"
    return f"scatter {len(instruction.out)} from {instruction.values.shape[1]} terms"


def views(instruction: Instruction) -> list[Any]:
    """All addresses of an instruction, in a fixed order."""
    if isinstance(instruction, Map):
        return [*instruction.outs, *instruction.ins]
    if isinstance(instruction, Product):
        return [instruction.c, instruction.a, instruction.b]
    if isinstance(instruction, Rows):
        return [instruction.c, instruction.a, *([] if instruction.b is None else [instruction.b])]
    if isinstance(instruction, Take):
        return [instruction.out, instruction.index, instruction.table]
    assert isinstance(instruction, Scatter)
    return [instruction.out, instruction.indexes, instruction.values]


def reads(instruction: Instruction) -> list[Any]:
    """The addresses that an instruction reads."""
    if isinstance(instruction, Map):
        return instruction.ins
    return views(instruction)[0 if getattr(instruction, "add", False) else 1 :]


def writes(instruction: Instruction) -> list[Any]:
    """The addresses that an instruction writes."""
    return [out for out in instruction.outs if out is not None] if isinstance(instruction, Map) else views(instruction)[:1]


def is_reduced(instruction: Instruction) -> bool:
    """Whether an instruction adds up over the examples."""
    if isinstance(instruction, Map):
        kind = KINDS[instruction.kind]
        return kind.key[0] == "dot" and bool(kind.shape[-1])
    return bool(getattr(instruction, "reduced", False))


def plain(instruction: Any) -> list[Any]:
    """The plain instructions that a loop or a stream consists of."""
    if isinstance(instruction, Loop):
        return instruction.body
    if hasattr(instruction, "parts"):
        return [one for part in instruction.parts for one in plain(part.instruction)]
    return [instruction]


def every(view: Any) -> Any:
    """All addresses that a view comes to lie on, in the turns of a loop too."""
    turns = np.arange(getattr(view, "turns", 1)) * getattr(view, "shift", 0)
    return (np.asarray(view).ravel()[:, None] + turns).ravel()


def flattened(some: Sequence[Any]) -> tuple[Any, Any]:
    """The addresses of several views one after another, and for each the number of the view that it is of."""
    whole = np.concatenate([np.zeros(0, np.int64), *(np.asarray(view).ravel() for view in some)])
    return whole, np.repeat(np.arange(len(some)), [view.size for view in some])


def with_views(instruction: Instruction, new: Sequence[Any]) -> Instruction:
    """The same instruction at other addresses."""
    if isinstance(instruction, Map):
        outs = len(instruction.outs)
        return replace(instruction, outs=list(new[:outs]), ins=list(new[outs:]))
    if isinstance(instruction, Product):
        return replace(instruction, c=new[0], a=new[1], b=new[2])
    if isinstance(instruction, Rows):
        return replace(instruction, c=new[0], a=new[1], b=new[2] if len(new) > 2 else None)
    if isinstance(instruction, Take):
        return replace(instruction, out=new[0], index=new[1], table=new[2])
    return replace(instruction, out=new[0], indexes=new[1], values=new[2])
