"""Finding the operation that made a number non-finite."""

from __future__ import annotations

import math
import os
import sys
import types

from micrograd import engine
from micrograd.engine import Value, topological_order

_PACKAGE = os.path.dirname(__file__)


class detect_anomaly:
    """Within ``with detect_anomaly():`` the first non-finite value or gradient raises FloatingPointError.

    The message names the operation, its operands' data and the line that recorded it.  Nodes recorded before the block are
    checked too, but their lines are not known.  The convention is PyTorch's ``torch.autograd.detect_anomaly``.

    >>> with detect_anomaly():
    ...     Value(0.0).log()
    Traceback (most recent call last):
        ...
    FloatingPointError: log(0.0) gave -inf, recorded at <doctest ...>:2
    """

    def __enter__(self) -> None:
        self._outer = engine._watch
        self._lines: dict[Value, str] = {}
        engine._watch = self

    def __exit__(self, *_: object) -> None:
        engine._watch = self._outer
        self._lines.clear()

    def recorded(self, node: Value) -> None:
        """Called by the engine with each new node."""
        self._lines[node] = _line_outside(sys._getframe(2))
        if not math.isfinite(node.data):
            raise FloatingPointError(f"{_call(node)} gave {node.data}, recorded at {self._lines[node]}")

    def swept(self, root: Value) -> None:
        """Called by the engine after each backward pass."""
        for node in reversed(topological_order(root)):
            for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
                self.sent(node, node.grad, derivative, parent.grad)

    def sent(self, node: Value, gradient: float, derivative: float, total: float) -> None:
        """Called with what a node sends to an operand, and with the sum that this made."""
        if not math.isfinite(gradient * derivative) or not math.isfinite(total):
            line = self._lines.get(node, "a line before detect_anomaly began")
            raise FloatingPointError(
                f"backward through {_call(node)}: gradient {gradient} times local derivative {derivative} "
                f"made the gradient of an operand {total}, recorded at {line}"
            )


def _call(node: Value) -> str:
    name = getattr(node.operation, "name", node._op)
    return f"{name}({', '.join(str(parent.data) for parent in node.parents)})"


def _line_outside(frame: types.FrameType | None) -> str:
    """File and line of the first caller outside this package."""
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
