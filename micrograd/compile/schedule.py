"""Schedule: the order and the memory of a vector program.

Instructions of the batched phase that walk the same way become streams.  A number that nothing reads any more leaves its
place to others: what the way back needs stays, the rest of the forward pass is overwritten.
"""

from __future__ import annotations

import itertools
from bisect import insort
from dataclasses import replace
from typing import Any

import numpy as np

from micrograd.compile.streams import Part, Stream, streams
from micrograd.compile.vector import LANES, Loop, Rolled, flattened, shifted, views, with_views

ALIGNED = 16  # shared numbers: groups begin at a multiple, so that vector registers are loaded from one line of the cache


def schedule(rolled: Rolled) -> Rolled:
    """The same program, in streams and in less memory.  The given one stays as it is."""
    new = replace(rolled, batch=streams(rolled.batch))
    units = [*new.before, *new.batch, *new.after]
    book = _Book(units)
    shared, own = (_Moves(new, book, bank) for bank in (0, LANES))
    new.shared, new.lanes = shared.size, own.size
    units = book.at(shared.moved(book) + own.moved(book))
    first, second = len(new.before), len(new.before) + len(new.batch)
    new.before, new.batch, new.after = units[:first], units[first:second], units[second:]
    return new


class _Book:
    """All addresses of a program's instructions, one after another, and which instruction each belongs to."""

    def __init__(self, units: list[Any]) -> None:
        self.units = units
        of_units = [_all_views(unit) for unit in units]
        self.views = [view for some in of_units for view in some]
        self.flat, owners = flattened(self.views)
        self.unit = np.repeat(np.arange(len(units)), [len(some) for some in of_units])[owners]
        self.edges = np.concatenate([[0], np.cumsum([view.size for view in self.views], dtype=np.int64)]).tolist()
        self.walks = self._walks(of_units)

    def _walks(self, of_units: list[list[Any]]) -> Any:
        """For the views of loops and of streams their instruction, and the first and the last address that they reach."""
        if not self.views:
            return np.zeros((3, 0), np.int64)
        streamed = np.repeat([isinstance(unit, Stream) for unit in self.units], [len(some) for some in of_units])
        begins, reach = np.array(self.edges[:-1]), np.array([_reach(view) for view in self.views])
        low = np.minimum.reduceat(self.flat, begins) + np.minimum(reach, 0)
        high = np.maximum.reduceat(self.flat, begins) + np.maximum(reach, 0)
        return np.stack([self.unit[begins], low, high])[:, streamed | (reach != 0)]

    def at(self, moves: Any) -> list[Any]:
        """The instructions with all their addresses moved."""
        flat, edges, numbers = self.flat + moves, self.edges, itertools.count()

        def moved(unit: Any) -> Any:
            if isinstance(unit, Stream):
                return Stream([Part(moved(p.instruction), p.walk, p.lag, p.turned) for p in unit.parts])
            if isinstance(unit, Loop):
                return Loop(unit.turns, [moved(i) for i in unit.body])
            return with_views(unit, [view if view is None else place(view) for view in views(unit)])

        def place(view: Any) -> Any:
            number = next(numbers)
            new = flat[edges[number] : edges[number + 1]].reshape(view.shape)
            return shifted(new, view.shift, view.turns) if _reach(view) else new

        return [moved(unit) for unit in self.units]


class _Moves:
    """Where the numbers of one bank, the shared ones or those of each example, go.

    They move in stretches, the numbers of a group; stretches that a loop walks through move together.
    """

    def __init__(self, rolled: Rolled, book: _Book, bank: int) -> None:
        self.bank = bank
        self.starts, end = rolled.stretches[bank > 0], rolled.lanes if bank else rolled.shared
        self.lengths = np.diff(np.append(self.starts, end))
        count = len(self.starts)
        self.leader = np.arange(count)
        self.mine = np.flatnonzero((book.flat >= LANES) == (bank > 0))
        self.stretches = self._stretch(book.flat[self.mine] - bank)
        walks = self._walks(book)
        self._keep_together([walk[1:] for walk in walks])
        fixed = self._fixed(rolled)
        begins, ends = np.full(count, len(book.units)), np.full(count, -1)
        leaders, unit = self.leader[self.stretches], book.unit[self.mine]
        ends[leaders] = unit  # the last one that is written stays
        begins[leaders[::-1]] = unit[::-1]
        for i, low, high in walks:
            some = self.leader[low : high + 1]
            begins[some], ends[some] = np.minimum(begins[some], i), np.maximum(ends[some], i)
        self.delta = np.zeros(count, dtype=np.int64)
        self.size = self._allocate(fixed, begins, ends, len(book.units))

    def _stretch(self, places: Any) -> Any:
        return np.searchsorted(self.starts, places, side="right") - 1

    def _walks(self, book: _Book) -> list[tuple[int, int, int]]:
        """For the views of loops and streams their instruction, and the first and the last stretch that they come to."""
        unit, *reached = book.walks[:, (book.walks[1] >= LANES) == (self.bank > 0)]
        low, high = (self._stretch(places - self.bank) for places in reached)
        return list(zip(unit.tolist(), low.tolist(), high.tolist(), strict=True))

    def _keep_together(self, spans: list[tuple[int, ...]]) -> None:
        """Stretches that one view walks through have one leader."""
        reach = -1
        for low, high in sorted(spans):
            if low <= reach:
                low = int(self.leader[reach])
            reach = max(reach, high)
            self.leader[low : reach + 1] = self.leader[low]

    def _fixed(self, rolled: Rolled) -> Any:
        """Which stretches stay where they are: constants, leaves, outputs and sums over the examples."""
        fixed = np.zeros(len(self.starts), dtype=bool)
        ends = [base + space.size for space, base in rolled.spaces if (base >= LANES) == (self.bank > 0)]
        kept = max([*ends, 0 if self.bank else len(rolled.constants)], default=0) - self.bank
        fixed[self.starts < kept] = True
        outputs = rolled.outputs[(rolled.outputs >= LANES) == (self.bank > 0)]
        fixed[self._stretch(outputs - self.bank)] = True
        for start, end in () if self.bank else (rolled.sums, rolled.results):
            if start < end:
                fixed[self._stretch(np.arange(start, end))] = True
        led = np.zeros(len(self.starts), dtype=bool)
        np.logical_or.at(led, self.leader, fixed)
        return led[self.leader]

    def _allocate(self, fixed: Any, begins: Any, ends: Any, count: int) -> int:
        """Give each stretch that is free to move the first gap that is large enough, and say how much room all take."""
        sizes: dict[int, int] = {}
        followers: dict[int, int] = {}  # how many stretches move with a leader, itself included: they follow each other
        for leader, length in zip(self.leader.tolist(), self.lengths.tolist(), strict=True):
            sizes[leader] = sizes.get(leader, 0) + length
            followers[leader] = followers.get(leader, 0) + 1
        top = int(max((self.starts + self.lengths)[fixed], default=0))
        born: list[list[int]] = [[] for _ in range(count)]
        dying: list[list[int]] = [[] for _ in range(count)]
        for leader in sizes:
            if not fixed[leader] and ends[leader] >= 0:
                born[begins[leader]].append(leader)
                dying[ends[leader]].append(leader)
        gaps: list[tuple[int, int]] = []  # (start, length), in order
        for i in range(count):
            for leader in born[i]:
                size = sizes[leader]
                grain = 1 if self.bank else min(1 << size.bit_length() - 1, ALIGNED)
                place = next((g for g in gaps if g[0] + g[1] >= _up(g[0], grain) + size), None)
                if place is None:
                    place, top = (top, _up(top, grain) + size - top), _up(top, grain) + size
                else:
                    gaps.remove(place)
                start, end = place[0], place[0] + place[1]
                at = _up(start, grain)
                for begin, stop in ((start, at), (at + size, end)):
                    if stop > begin:
                        insort(gaps, (begin, stop - begin))
                self.delta[leader : leader + followers[leader]] = at - self.starts[leader]
            for leader in dying[i]:
                insort(gaps, (int(self.starts[leader] + self.delta[leader]), sizes[leader]))
            if dying[i]:
                gaps = _merged(gaps)
        return top

    def moved(self, book: _Book) -> Any:
        """How far each address of the program moves."""
        moves = np.zeros(len(book.flat), dtype=np.int64)
        moves[self.mine] = self.delta[self.stretches]
        return moves


def _reach(view: Any) -> int:
    """How far a view has moved at the last turn of its loop."""
    return getattr(view, "shift", 0) * (getattr(view, "turns", 1) - 1)


def _all_views(unit: Any) -> list[Any]:
    if isinstance(unit, Stream):
        return [view for part in unit.parts for view in _all_views(part.instruction)]
    return [view for i in (unit.body if isinstance(unit, Loop) else [unit]) for view in views(i) if view is not None]


def _up(place: int, grain: int) -> int:
    return -(-place // grain) * grain


def _merged(gaps: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Gaps that touch, as one."""
    merged: list[tuple[int, int]] = []
    for start, length in gaps:
        if merged and merged[-1][0] + merged[-1][1] == start:
            merged[-1] = merged[-1][0], merged[-1][1] + length
        else:
            merged.append((start, length))
    return merged
