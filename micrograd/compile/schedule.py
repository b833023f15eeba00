"""Schedule: the order and the memory of a vector program.

Instructions of the batched phase that walk the same way become streams.  A number that nothing reads any more leaves its
place to others: what the way back needs stays, the rest of the forward pass is overwritten.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import replace
from typing import Any

import numpy as np

from micrograd.compile.streams import Part, Stream, streams
from micrograd.compile.vector import LANES, Loop, Rolled, shifted, views, with_views

ALIGNED = 16  # shared numbers: groups begin at a multiple, so that vector registers are loaded from one line of the cache


def schedule(rolled: Rolled) -> Rolled:
    """The same program, in streams and in less memory.  The given one stays as it is."""
    new = replace(rolled, batch=streams(rolled.batch))
    units = [*new.before, *new.batch, *new.after]
    for bank in (0, LANES):
        moves = _Moves(new, units, bank)
        units = [moves.unit(unit) for unit in units]
        if bank:
            new.lanes = moves.size
        else:
            new.shared = moves.size
    first, second = len(new.before), len(new.before) + len(new.batch)
    new.before, new.batch, new.after = units[:first], units[first:second], units[second:]
    return new


class _Moves:
    """Where the numbers of one bank, the shared ones or those of each example, go.

    They move in stretches, the numbers of a group; stretches that a loop walks through move together.
    """

    def __init__(self, rolled: Rolled, units: list[Any], bank: int) -> None:
        self.bank = bank
        self.starts, end = rolled.stretches[bank > 0], rolled.lanes if bank else rolled.shared
        self.lengths = np.diff(np.append(self.starts, end))
        count = len(self.starts)
        self.leader = np.arange(count)
        touched = [self._touched(unit) for unit in units]
        self._keep_loops_together(units)
        fixed = self._fixed(rolled)
        begins, ends = np.full(count, len(units)), np.full(count, -1)
        for i, stretches in enumerate(touched):
            mine = self.leader[stretches]
            np.minimum.at(begins, mine, i)
            np.maximum.at(ends, mine, i)
        self.delta = np.zeros(count, dtype=np.int64)
        self.size = self._allocate(fixed, begins, ends, len(units))

    def _mine(self, view: Any) -> Any:
        flat = np.asarray(view).ravel()
        reach = getattr(view, "shift", 0) * (getattr(view, "turns", 1) - 1)
        flat = np.concatenate([flat, flat + reach]) if reach else flat
        return flat[flat >= LANES] - LANES if self.bank else flat[flat < LANES]

    def _stretch(self, places: Any) -> Any:
        return np.searchsorted(self.starts, places, side="right") - 1

    def _touched(self, unit: Any) -> Any:
        """The stretches that an instruction reads or writes, loops and streams in one."""
        found = []
        for view in _all_views(unit):
            mine = self._mine(view)
            if len(mine):
                stretches = self._stretch(mine)
                found.append(np.arange(stretches.min(), stretches.max() + 1) if getattr(view, "shift", 0) else stretches)
        return np.unique(np.concatenate(found)) if found else np.zeros(0, dtype=np.int64)

    def _keep_loops_together(self, units: list[Any]) -> None:
        """Stretches that a view of a loop or of a stream walks through have one leader."""
        spans = []
        for unit in units:
            for view in _all_views(unit):
                if getattr(view, "shift", 0) or isinstance(unit, Stream):
                    mine = self._mine(view)
                    if len(mine):
                        stretches = self._stretch(mine)
                        spans.append((int(stretches.min()), int(stretches.max())))
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
        outputs = self._mine(rolled.outputs)
        if len(outputs):
            fixed[self._stretch(outputs)] = True
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

    def unit(self, unit: Any) -> Any:
        """An instruction at its new places."""
        if isinstance(unit, Stream):
            return Stream([Part(self.unit(p.instruction), p.walk, p.lag, p.turned) for p in unit.parts])
        if isinstance(unit, Loop):
            return Loop(unit.turns, [self.unit(i) for i in unit.body])
        return with_views(unit, [self.view(v) for v in views(unit)])

    def view(self, view: Any) -> Any:
        if view is None or not view.size or (view.flat[0] >= LANES) != (self.bank > 0):
            return view
        flat = np.asarray(view)
        moved = flat + self.delta[self._stretch(flat - self.bank)]
        return shifted(moved, view.shift, view.turns) if getattr(view, "shift", 0) else moved


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
