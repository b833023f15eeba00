"""Streams: long instructions that walk the same way are run side by side, a step of each at a time.

A simulation of 252 steps over a block of paths would otherwise be a dozen passes over arrays that do not fit into a core's
nearest cache.  An instruction joins a stream when each number that it reads was made a fixed count of steps earlier; where
it needs one that is made later, it lags behind.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from micrograd.compile.vector import LANES, Loop, Map, Product, Rows, views
from micrograd.compile.views import strides

SHORTEST = 16  # steps
LAG = 8  # steps, at most


@dataclass
class Walk:
    """How an instruction walks: its count of steps, and the first address and the step of all that it writes and reads."""

    steps: int
    writes: list[tuple[int, int]]
    reads: list[tuple[int, int]]
    sums: list[int]  # addresses of sums that are known after the last step only
    turnable: bool  # whether it may walk backwards as well

    def turned(self) -> Walk:
        """The same walk from its end."""

        def back(ends: list[tuple[int, int]]) -> list[tuple[int, int]]:
            return [(first + step * (self.steps - 1), -step) for first, step in ends]

        return Walk(self.steps, back(self.writes), back(self.reads), self.sums, True)


@dataclass
class Part:
    """An instruction in a stream: it is ``lag`` steps behind, and walks backwards if ``turned``."""

    instruction: Any
    walk: Walk
    lag: int
    turned: bool


@dataclass
class Stream:
    """Instructions that are run a step at a time, in this order."""

    parts: list[Part]

    @property
    def steps(self) -> int:
        return max(part.walk.steps + part.lag for part in self.parts)


def streams(instructions: list[Any]) -> list[Any]:
    """The same instructions, with those that follow each other in streams where they can: in as few as can be."""
    return min((_streams(instructions, late) for late in (False, True)), key=len)


def _streams(instructions: list[Any], late: bool) -> list[Any]:
    """The same; ``late`` lets an instruction of one step come at the end of a stream, too."""
    made: list[Any] = []
    parts: list[Part] = []
    later: list[Any] = []  # what needs numbers of the open stream, and so has to come after it

    def close() -> None:
        made.extend([Stream(list(parts))] if len(parts) > 1 else [part.instruction for part in parts])
        made.extend(later)
        parts.clear()
        later.clear()

    for instruction in instructions:
        walk = walk_of(instruction)
        if not parts:
            if walk is not None and walk.steps > 1:
                parts.append(Part(instruction, walk, 0, False))
            else:
                made.append(instruction)
            continue
        waits = _reads_any(instruction, later)
        part = _joined(instruction, walk, parts, late) if walk is not None and not waits else None
        if part is not None:
            parts.append(part)
        elif waits or _depends(instruction, parts):
            if walk is not None and walk.steps > 1:
                close()
                parts.append(Part(instruction, walk, 0, False))
            else:
                later.append(instruction)
        elif walk is not None and walk.steps > 1:
            close()
            parts.append(Part(instruction, walk, 0, False))
        else:
            made.append(instruction)  # before the stream
    close()
    return made


def _reads_any(instruction: Any, earlier: list[Any]) -> bool:
    """Whether an instruction reads or writes what some others write, address by address ranges."""
    mine = [_range(v) for i in _flat(instruction) for v in views(i)]
    theirs = [_range(v) for other in earlier for i in _flat(other) for v in _outs(i)]
    return any(not (high < bottom or top < low) for low, high in mine for bottom, top in theirs)


def _flat(instruction: Any) -> list[Any]:
    return instruction.body if isinstance(instruction, Loop) else [instruction]


def _outs(instruction: Any) -> list[Any]:
    return (
        instruction.outs if isinstance(instruction, Map) else [getattr(instruction, "c", getattr(instruction, "out", None))]
    )


def _range(view: Any) -> tuple[int, int]:
    low, high = int(view.min()), int(view.max())
    reach = getattr(view, "shift", 0) * (getattr(view, "turns", 1) - 1)
    return min(low, low + reach), max(high, high + reach)


def _depends(instruction: Any, parts: list[Part]) -> bool:
    """Whether an instruction reads or adds to anything that a stream makes."""
    for i in _flat(instruction):
        for view in views(i):
            low, high = _range(view)
            for part in parts:
                for first, step in part.walk.writes:
                    bottom, top = sorted((first, first + step * (part.walk.steps - 1)))
                    if not (high < bottom or top < low):
                        return True
                if any(low <= total <= high for total in part.walk.sums):
                    return True
    return False


def walk_of(instruction: Any) -> Walk | None:
    """How an instruction walks over the numbers of each example, None if it does not in this way."""
    if isinstance(instruction, Map):
        outs, ins = [o for o in instruction.outs if o is not None], instruction.ins
        ends = [_ends(v) for v in (*outs, *ins)]
        if 1 < len(outs[0]) < SHORTEST or outs[0][0] < LANES or None in ends:
            return None
        return Walk(len(outs[0]), ends[: len(outs)], ends[len(outs) :], [], True)  # type: ignore[arg-type]
    if isinstance(instruction, Loop):
        steps: list[Any] = instruction.body
        if not all(isinstance(i, Map) and len(i.ins[0]) == 1 and i.outs[0][0] >= LANES for i in steps):  # type: ignore[index]
            return None
        if instruction.turns < SHORTEST:
            return None
        writes = [(int(o[0]), o.shift) for i in steps for o in i.outs]
        reads = [(int(v[0]), v.shift) for i in steps for v in i.ins]
        return Walk(instruction.turns, writes, reads, [], False)
    if (
        isinstance(instruction, Rows)
        and len(instruction.c) == 1
        and not instruction.largest
        and instruction.a.shape[1] >= SHORTEST
    ):
        views = [instruction.a[0], *([] if instruction.b is None else [instruction.b[0]])]
    elif (
        isinstance(instruction, Product)
        and instruction.reduced
        and instruction.c.size == 1
        and instruction.a.shape[1] >= SHORTEST
    ):
        views = [instruction.a[0], instruction.b[0]]
    else:
        return None
    ends = [_ends(v) for v in views]
    if None in ends or all(v[0] < LANES for v in views):
        return None
    return Walk(len(views[0]), [], ends, [int(instruction.c.flat[0])], True)  # type: ignore[arg-type]


def _ends(view: Any) -> tuple[int, int] | None:
    step = strides(np.asarray(view))
    return None if step is None else (int(view[0]), step[0])


def _joined(instruction: Any, walk: Walk, parts: list[Part], late: bool) -> Part | None:
    """The instruction as the next part of a stream, None if it cannot be."""
    if walk.steps > 1 and abs(walk.steps - parts[0].walk.steps) > LAG:
        return None
    for turned in (False, True) if walk.turnable and walk.steps > 1 else (False,):
        way = walk.turned() if turned else walk
        lag, most = _lag(way, parts), LAG
        if late and walk.steps == 1:
            most += parts[0].walk.steps
        if lag is not None and lag <= most:
            return Part(instruction, way, lag, turned)
    return None


def _lag(walk: Walk, parts: list[Part]) -> int | None:
    """How many steps behind a walk has to be so that all it reads is there, None if no fixed count will do."""
    lag = 0
    for part in parts:
        for first, step in walk.reads:
            low, high = sorted((first, first + step * (walk.steps - 1)))
            if any(low <= total <= high for total in part.walk.sums):
                return None
            for begin, stride in part.walk.writes:
                bottom, top = sorted((begin, begin + stride * (part.walk.steps - 1)))
                if high < bottom or top < low:
                    continue
                if part.walk.steps == 1:  # one number, that is read at one step, or at all
                    at, odd = divmod(begin - first, step) if step else (0, 0)
                    needed = 0 if odd else part.lag - at
                elif not step or walk.steps == 1:  # one number of many
                    at, odd = divmod(first - begin, stride) if stride else (part.walk.steps - 1, 0)
                    needed = 0 if odd else part.lag + at
                elif step != stride or (first - begin) % stride:
                    return None
                else:
                    needed = part.lag + (first - begin) // stride
                lag = max(lag, needed)
    return lag
