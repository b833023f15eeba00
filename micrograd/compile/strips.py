"""Strips: instructions of a batch that fall into equal parts are done part by part.

A layer that is applied at several positions is one product for all of them, and its activation one loop.  The numbers of all
positions and examples are more than the nearest cache holds; those of one position, which one leaves to the next, are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.vector import LANES, Loop, Map, Product, Rows, is_reduced, reads, shifted, views, with_views, writes
from micrograd.compile.views import strides


def strips(instructions: Sequence[Any], lanes: int) -> list[Any]:
    """The same instructions, runs of them in loops over their parts; ``lanes`` is how many numbers an example has."""
    made: list[Any] = []
    run: _Run | None = None
    for instruction, parts in zip(instructions, _vectors(instructions), strict=True):
        if run is not None and run.add(instruction):
            continue
        made += run.done() if run is not None else []
        run = _Run(parts, lanes) if parts > 1 and _split(instruction, parts) is not None else None
        if run is None or not run.add(instruction):
            made.append(instruction)
    return made + (run.done() if run is not None else [])


def _vectors(instructions: Sequence[Any]) -> list[int]:
    """For each instruction how many vectors the next layer from there on multiplies, 1 where none comes."""
    found, count = [], 1
    for i in reversed(instructions):
        if _is_layer(i):
            count = len(i.a if i.a.flat[0] >= LANES else i.b)
        found.append(count)
    return found[::-1]


def _is_layer(i: Any) -> bool:
    """Whether an instruction multiplies a matrix that all examples share with vectors of each, which lie side by side."""
    if not isinstance(i, Product) or i.reduced or (i.a.flat[0] >= LANES) == (i.b.flat[0] >= LANES):
        return False
    steps = strides(i.a if i.a.flat[0] >= LANES else i.b)
    return steps is not None and steps[1] == 1


class _Run:
    """Instructions that follow each other, each in so many parts: one part of all of them, then the next."""

    def __init__(self, parts: int, lanes: int) -> None:
        self.parts, self.instructions, self.body = parts, list[Any](), list[Any]()
        self.read, self.wrote = np.full((2, lanes), -1)  # the last part that reads and that writes a number

    def add(self, instruction: Any) -> bool:
        """One more, unless it has no such parts, or one of them touches what a later part of another one writes."""
        split = _split(instruction, self.parts)
        if split is None:
            return False
        read, written = (self._touched(split, some(instruction), instruction) for some in (reads, writes))
        for addresses, parts in (*read, *written):
            if (self.wrote[addresses] > parts).any():
                return False
        for addresses, parts in written:
            if (self.read[addresses] > parts).any():
                return False
        for last, touched in ((self.read, read), (self.wrote, written)):
            for addresses, parts in touched:
                last[addresses] = np.maximum(last[addresses], parts)  # parts go up: of one number's, the last one stays
        moved = [None if p is None else shifted(p[0], int(p[1].flat[0] - p[0].flat[0]), self.parts) for p in split]
        self.instructions.append(instruction)
        self.body.append(with_views(instruction, moved))
        return True

    def done(self) -> list[Any]:
        """A loop over the parts, where a layer leaves something to another instruction or is left something."""
        worth = len(self.body) > 1 and any(map(_is_layer, self.instructions))
        return [Loop(self.parts, self.body)] if worth else self.instructions

    def _touched(self, split: list[Any], some: list[Any], instruction: Any) -> list[tuple[Any, Any]]:
        """The examples' numbers in some views, and the parts that they belong to."""
        found = []
        for view, parts in zip(views(instruction), split, strict=True):
            if parts is not None and any(view is one for one in some) and parts.flat[0] >= LANES:
                flat = parts.reshape(self.parts, -1) - LANES
                found.append((flat.ravel(), np.repeat(np.arange(self.parts), flat.shape[1])))
        return found


def _split(i: Any, count: int) -> list[Any] | None:
    """The views of an instruction in so many equal parts, along their first axes; None where there are none."""
    if _is_layer(i):
        own = i.a if i.a.flat[0] >= LANES else i.b
        if len(own) % count:
            return None
        split: list[Any] = [_parted(i.c if own is i.a else i.c.T, count)]
        if own is i.b:
            split = [split[0].swapaxes(1, 2)]
        split += [_parted(m, count) if m is own else np.broadcast_to(m, (count, *m.shape)) for m in (i.a, i.b)]
    elif isinstance(i, (Map, Rows)) and not is_reduced(i) and getattr(i, "lengths", None) is None:
        if any(len(view) % count for view in views(i) if view is not None):
            return None
        split = [None if view is None else _parted(view, count) for view in views(i)]
    else:
        return None
    moves = [parts for parts in split if parts is not None]
    return split if all(_in_steps(parts) for parts in moves) else None


def _parted(view: Any, count: int) -> Any:
    return view.reshape(count, -1, *view.shape[1:])


def _in_steps(parts: Any) -> bool:
    """Whether each part is as far from the one before it as the second from the first."""
    steps = np.diff(parts.reshape(len(parts), -1), axis=0)
    return bool((steps == steps[0, 0]).all())
