"""Finding the operation that made a number non-finite."""

from __future__ import annotations

import math
import os
import sys
import threading
import types
from collections.abc import Callable

from micrograd import engine
from micrograd.engine import Value, topological_order

_PACKAGE = os.path.dirname(__file__) + os.sep


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
        self._lines: dict[Value, str] = {}
        self._outer = _blocks.get(threading.get_ident())
        with _LOCK:
            _blocks[threading.get_ident()] = self
            engine._watch = _watcher

    def __exit__(self, *_: object) -> None:
        with _LOCK:
            if self._outer is not None:
                _blocks[threading.get_ident()] = self._outer
            else:
                del _blocks[threading.get_ident()]
            if not _blocks:
                engine._watch = None
        self._lines.clear()

    def recorded(self, node: Value) -> None:
        """Look at a new node."""
        self._lines[node] = _line_outside(sys._getframe(2))
        if not math.isfinite(node.data):
            raise FloatingPointError(f"{_call(node)} gave {node.data}, recorded at {self._lines[node]}")

    def swept(self, root: Value) -> None:
        """Look at all that a backward pass has sent, in its order; the lines of a graph that is clean are forgotten."""
        order = topological_order(root)
        for node in reversed(order):
            for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
                if parent.kind != "constant":
                    self.sent(node, node.grad, derivative, parent.grad)
        for node in order:
            self._lines.pop(node, None)

    def sent(self, node: Value, gradient: float, derivative: float, total: float) -> None:
        """Look at what a node sends to an operand, and at the sum that this made."""
        if not math.isfinite(gradient * derivative) or not math.isfinite(total):
            line = self._lines.get(node, "a line before detect_anomaly began")
            raise FloatingPointError(
                f"backward through {_call(node)}: gradient {gradient} times local derivative {derivative} "
                f"made the gradient of an operand {total}, recorded at {line}"
            )


class _Watcher:
    """What the engine calls while any block is open: it passes each call on to the block of the thread that made it."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        block = _blocks.get(threading.get_ident())
        return getattr(block, name) if block is not None else _ignore


def _ignore(*_: object) -> None:
    pass


_LOCK = threading.Lock()
_blocks: dict[int, detect_anomaly] = {}  # the innermost open block of each thread
_watcher = _Watcher()


def _call(node: Value) -> str:
    name = getattr(node.operation, "name", node._op)
    return f"{name}({', '.join(str(parent.data) for parent in node.parents)})"


def _line_outside(frame: types.FrameType | None) -> str:
    """File and line of the first caller outside this package and NumPy."""
    while frame is not None and (
        frame.f_code.co_filename.startswith(_PACKAGE) or frame.f_globals.get("__name__", "").startswith("numpy.")
    ):
        frame = frame.f_back
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
