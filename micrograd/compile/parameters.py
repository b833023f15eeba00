"""Parameters: the Values that a compiled function captured, and their numbers as one flat array."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd import engine
from micrograd.engine import Value


class Parameters:
    """The Values that a program captured."""

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._known: set[int] = set()

    def _capture(self, values: Sequence[Value]) -> None:
        for v in values:
            if id(v) not in self._known:
                self._known.add(id(v))
                self.values.append(v)

    def _numbers(self, values: Sequence[Value]) -> Any:
        """The present numbers of some captured Values."""
        return np.array([v.data for v in values], dtype=np.float64)

    def _add(self, values: Sequence[Value], gradient: Any) -> None:
        """Add a gradient into the Values' own, through the graphs of those that were computed from others."""
        computed = []
        for v, g in zip(values, gradient.tolist(), strict=True):
            if v.parents:
                computed.append((v, g))
            else:
                v.grad = g if v.grad is None else v.grad + g
                v._pass = v._pass if v._pass is not None else self
        if computed:
            engine.dot([v for v, _ in computed], [g for _, g in computed]).backward()
