"""Surroundings: what a function reads besides its arguments, so that a change of it is noticed.

A number in a closure, a global or an attribute becomes a constant of the recording, and nothing tells when it changes.  So
everything that the function can reach is looked at once, and what each place held is compared at each call: containers by
what they hold, Values by identity (their numbers are read anew anyhow), arrays by their numbers.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from micrograd.engine import Value
from micrograd.ops import Op

_STILL = (float, int, str, bytes, type(None), types.ModuleType, type, Op, types.BuiltinFunctionType, Value)
_EMPTY = object()


class Surroundings:
    """All that a function could reach when this was made; ``values`` are the parameters among it, in their order there."""

    def __init__(self, fn: Any) -> None:
        self._probes: list[tuple[Callable[[Any], Any], Any, Any]] = []  # how to read a place, the place, what was there
        self._arrays: list[tuple[Any, Any]] = []
        self._containers: tuple[list[Any], list[Any]] = ([], [])  # as they are, and copies of what they were
        self.values: list[Value] = []
        self._met: set[int] = set()
        self._stack = [fn]
        while self._stack:
            x = self._stack.pop()
            if id(x) in self._met:
                continue
            if isinstance(x, Value):
                self._met.add(id(x))
                if not x.parents and x.kind != "constant":
                    self.values.append(x)
            elif not isinstance(x, _STILL):
                self._met.add(id(x))
                self._enter(x)

    def _push(self, parts: Iterable[Any]) -> None:
        """Enter some parts next, the first one first."""
        self._stack += reversed(list(parts))

    def changed(self) -> bool:
        """Whether any place holds something else now."""
        try:
            if self._containers[0] != self._containers[1]:
                return True
            for read, place, was in self._probes:
                now = read(place)
                if now is not was and (type(now) is not type(was) or now != was):
                    return True
        except ValueError:  # an array has come among what is compared
            return True
        return any(not np.array_equal(now, was, equal_nan=was.dtype.kind == "f") for now, was in self._arrays)

    def _probe(self, read: Callable[[Any], Any], place: Any) -> Any:
        was = read(place)
        self._probes.append((read, place, was))
        return was

    def _hold(self, container: Any) -> None:
        """Note what a container holds: all of them are compared at once."""
        now, was = self._containers
        now.append(container)
        was.append(container.copy())

    def _enter(self, x: Any) -> None:
        if isinstance(x, types.FunctionType):
            self._enter_function(x)
        elif isinstance(x, types.MethodType):
            self._push((x.__func__, x.__self__))
        elif isinstance(x, np.ndarray):
            if x.dtype.kind == "O":
                self._push(self._probe(_listed, x))
            else:
                self._arrays.append((x, x.copy()))
        elif isinstance(x, (list, tuple, set, frozenset)):
            if isinstance(x, (list, set)):
                self._hold(x)
            self._push(x)
        elif isinstance(x, dict):
            self._hold(x)
            self._push(x.values())
        elif hasattr(x, "func") and hasattr(x, "args"):  # functools.partial
            self._push((x.func, x.args, getattr(x, "keywords", None)))
        elif hasattr(x, "__dict__"):
            self._enter_class(type(x))
            self._hold(vars(x))
            self._push((*vars(x).values(), vars(type(x)).get("__call__")))

    def _enter_class(self, kind: type) -> None:
        """The methods and the attributes of the classes of an object, other than this library's and Python's own."""
        for cls in kind.__mro__:
            if _is_own(cls.__module__) and id(cls) not in self._met:
                self._met.add(id(cls))
                members = self._probe(_members, cls)
                self._push(getattr(m, "fget", getattr(m, "__func__", m)) for m in members.values())

    def _enter_function(self, fn: types.FunctionType) -> None:
        """A function's code, its defaults, its closure, and the globals that it names."""
        if (fn.__module__ or "").partition(".")[0] == "micrograd":
            return
        self._probe(_code, fn)
        parts = [self._probe(_defaults, fn), self._probe(_keyword_defaults, fn)]
        parts += [self._probe(_cell, cell) for cell in fn.__closure__ or ()]
        names = _names(fn.__code__)
        parts += [self._probe(_Global(name), fn.__globals__) for name in names if name in fn.__globals__]
        for module in (part for part in parts if isinstance(part, types.ModuleType) and _is_own(part.__name__)):
            parts += [self._probe(_Global(name), vars(module)) for name in names if name in vars(module)]
        self._push(parts)


def _is_own(module: str) -> bool:
    """Whether a module is the user's: neither this library, nor Python's, nor NumPy."""
    package = module.partition(".")[0]
    return package == "__main__" or package not in {*sys.stdlib_module_names, "micrograd", "numpy"}


def _members(cls: type) -> dict[str, Any]:
    return {name: member for name, member in vars(cls).items() if not name.startswith("__") or name == "__call__"}


class _Global:
    """How to read a global of a name."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name = name

    def __call__(self, variables: dict[str, Any]) -> Any:
        return variables.get(self.name, _EMPTY)


def _listed(array: Any) -> list[Any]:
    return array.ravel().tolist()  # type: ignore[no-any-return]


def _code(fn: Any) -> Any:
    return fn.__code__


def _defaults(fn: Any) -> Any:
    return fn.__defaults__


def _keyword_defaults(fn: Any) -> Any:
    return None if fn.__kwdefaults__ is None else dict(fn.__kwdefaults__)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return _EMPTY


def _names(code: types.CodeType) -> list[str]:
    """All names that a function's code looks up, those of functions within it too."""
    names = dict.fromkeys(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            names.update(dict.fromkeys(_names(constant)))
    return list(names)
