"""Surroundings: what a function reads besides its arguments, so that a change of it is noticed.

A number in a closure, a global or an attribute becomes a constant of the recording, and nothing tells when it changes.  So
all that the function can reach is noted when it is recorded, and compared at each call: containers by what they hold, Values
by identity (their numbers are read anew anyhow), other objects by their attributes.
"""

from __future__ import annotations

import builtins
import types
from typing import Any

import numpy as np

from micrograd.engine import Value
from micrograd.ops import Op

_STILL = (str, bytes, bool, type(None), types.ModuleType, type, Op, types.BuiltinFunctionType, Value)


def note(fn: Any) -> Any:
    """A picture of the surroundings of a function: two pictures are equal while nothing has changed."""
    return _Walk().visit(fn)


def same(before: Any, now: Any) -> bool:
    """Whether two pictures are equal, arrays by their numbers."""
    if isinstance(before, np.ndarray) or isinstance(now, np.ndarray):
        return type(before) is type(now) and before.dtype == now.dtype and np.array_equal(before, now, equal_nan=before.dtype.kind == "f")
    if isinstance(before, tuple) and isinstance(now, tuple):
        return len(before) == len(now) and all(map(same, before, now))
    if isinstance(before, list) and isinstance(now, list):
        return len(before) == len(now) and all(a is b or (type(a) is type(b) and a == b) for a, b in zip(before, now, strict=True))
    return before is now or (type(before) is type(now) and bool(before == now))


class _Walk:
    """One walk; what was met before is not entered again."""

    def __init__(self) -> None:
        self.met: dict[int, Any] = {}

    def visit(self, x: Any) -> Any:
        if isinstance(x, (float, int, *_STILL)):
            return x
        if id(x) in self.met:
            return ("again", self.met[id(x)])
        self.met[id(x)] = len(self.met)
        if isinstance(x, types.FunctionType):
            return self.function(x)
        if isinstance(x, types.MethodType):
            return self.visit(x.__func__), self.visit(x.__self__)
        if isinstance(x, np.ndarray):
            return x.copy() if x.dtype.kind != "O" else self.items(x.ravel().tolist())
        if isinstance(x, (list, tuple)):
            return type(x), self.items(x)
        if isinstance(x, dict):
            return type(x), list(x), self.items(x.values())
        if isinstance(x, (set, frozenset)):
            return type(x), x.copy()
        if type(x).__module__.partition(".")[0] in ("numpy", "functools"):
            return self.visit(getattr(x, "func", None)), self.items(getattr(x, "args", ())) if hasattr(x, "func") else x
        return type(x), self.items(vars(x).values()) if hasattr(x, "__dict__") else x

    def items(self, parts: Any) -> Any:
        """A list as it is where it holds nothing to enter, as most long ones do."""
        found = list(parts)
        if all(issubclass(kind, (float, int, *_STILL)) for kind in set(map(type, found))):
            return found
        return tuple(self.visit(part) for part in found)

    def function(self, fn: types.FunctionType) -> Any:
        """A function: its code, its defaults, its closure, and the globals that it names."""
        if fn.__module__ is not None and fn.__module__.partition(".")[0] == "micrograd":
            return fn
        cells = []
        for cell in fn.__closure__ or ():
            try:
                cells.append(cell.cell_contents)
            except ValueError:  # not filled yet
                cells.append(None)
        names = [name for name in _names(fn.__code__) if name in fn.__globals__ and not hasattr(builtins, name)]
        return (
            fn.__code__,
            self.items(fn.__defaults__ or ()),
            self.items((fn.__kwdefaults__ or {}).values()),
            self.items(cells),
            self.items([fn.__globals__[name] for name in names]),
        )


def _names(code: types.CodeType) -> list[str]:
    """All names that a function's code looks up, those of functions within it too."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(_names(constant)))
    return list(names)
