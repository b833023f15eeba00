"""Views: how a stretch of addresses is walked, as loops with constant strides where that is possible."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np


def strides(addresses: Any) -> tuple[int, ...] | None:
    """The step along each axis of an array of addresses, None where there is no constant one.

    >>> strides(np.array([[3, 5], [13, 15]]))
    (10, 2)
    >>> strides(np.array([3, 5, 8])) is None
    True
    """
    numbers = np.asarray(addresses)
    expected, first, steps = numbers.flat[0], int(numbers.flat[0]), []
    for axis, count in enumerate(numbers.shape):
        beside = [0] * numbers.ndim
        beside[axis] = min(1, count - 1)
        steps.append(int(numbers[tuple(beside)]) - first)
        expected = np.add.outer(expected, np.arange(count) * steps[-1])
    return tuple(steps) if (expected == numbers).all() else None


@dataclass
class Nest:
    """Loops of these lengths, outermost first, and for each view its steps, None for one that needs a table."""

    lengths: tuple[int, ...]
    steps: list[tuple[int, ...] | None]


def nest(views: list[Any]) -> Nest:
    """Loops that walk several views of equal length together.

    >>> nest([np.arange(6), np.array([0, 0, 0, 1, 1, 1])])
    Nest(lengths=(2, 3), steps=[(3, 1), (1, 0)])
    """
    count = len(views[0])
    if count == 1:
        return Nest((), [()] * len(views))
    plain = [strides(view) for view in views]
    if all(step is not None for step in plain):
        return Nest((count,), plain)
    for inner in _inner_lengths(views, plain, count):
        folded = [strides(view.reshape(-1, inner)) for view in views]
        if all(step is not None for step in folded):
            return Nest((count // inner, inner), folded)
        for middle in _inner_lengths([v[::inner] for v in views], [None] * len(views), count // inner):
            deep = [strides(view.reshape(-1, middle, inner)) for view in views]
            if all(step is not None for step in deep):
                return Nest((count // inner // middle, middle, inner), deep)
    return Nest((count,), plain)


def _inner_lengths(views: list[Any], plain: list[Any], count: int) -> list[int]:
    """After how many steps the walk along some view breaks."""
    breaks = set()
    for view, step in zip(views, plain, strict=True):
        if step is None:
            steps = np.diff(view)
            broken = np.flatnonzero(steps != steps[0])
            if len(broken):
                breaks.add(int(broken[0]) + 1)
    return sorted(b for b in breaks if 1 < b < count and count % b == 0)
