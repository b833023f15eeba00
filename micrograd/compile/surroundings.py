"""Surroundings: what a function reads besides its arguments, so that a change of it is noticed.

A number in a closure, a global or an attribute becomes a constant of the recording, and nothing tells when it changes.  So
everything that the function can reach is looked at once, and what each place held is compared at each call: containers by
what they hold, Values by identity (their numbers are read anew anyhow), arrays by their bytes.
"""

from __future__ import annotations

import array
import dis
import functools
import math
import operator
import sys
import types
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from micrograd.engine import Value
from micrograd.ops import Op

_STILL = (float, int, str, bytes, type(None), types.ModuleType, Op, types.BuiltinFunctionType, Value)
_PARTS = ("__code__", "__defaults__", "__kwdefaults__")  # of a function
_NO_READERS = ("__dict__", "__weakref__")  # of a class
_EXACT = (object.__eq__, *(kind.__eq__ for kind in (int, str, bytes, type(None), dict, set, frozenset)))
DEPTH = 8  # of containers in containers that are looked through for what is vague; some hold themselves
_OTHERS = frozenset([*sys.stdlib_module_names, "micrograd", "numpy"]) - {"__main__"}
_EMPTY = object()


class Surroundings:
    """All that a function could reach when this was made; ``values`` are the parameters among it, in their order there."""

    def __init__(self, fn: Any) -> None:
        self._probes: list[tuple[Callable[[Any], Any], Any, Any]] = []  # how to read a place, the place, what was there
        self._groups: list[tuple[Callable[[Any], Any], Any, Any]] = []  # the same for several things of one place
        self._plain: list[tuple[Callable[[Any], Any], Any, Any]] = []  # and of functions without defaults
        self._globals: dict[int, tuple[dict[str, Any], set[str]]] = {}  # the names that functions of a module look up
        self._hidden: list[tuple[Any, frozenset[str]]] = []  # the names of a module, and those it has not yet
        self._containers: tuple[list[Any], list[Any]] = ([], [])  # as they are, and copies of what they were
        self.values: list[Value] = []
        self._met: set[int] = set()
        self._modules: list[types.ModuleType] = []  # the user's, and the names that may be looked up in them
        self._names: set[str] = set()
        self._stack = [fn]
        self._enter_all()
        known = None
        while known != (known := (len(self._modules), len(self._names))):
            for module in tuple(self._modules):
                self._push(self._named(vars(module), sorted(self._names)))
                self._enter_all()
        for place, names in self._globals.values():
            self._look_at(operator.itemgetter, place, sorted(names & place.keys()))
            self._hidden.append((place.keys(), frozenset(names - place.keys())))

    def _enter_all(self) -> None:
        while self._stack:
            x = self._stack.pop()
            if id(x) in self._met:
                continue
            if isinstance(x, Value):
                self._met.add(id(x))
                if not x.parents and x.kind != "constant":
                    self.values.append(x)
            elif isinstance(x, types.ModuleType):
                self._met.add(id(x))
                self._modules += [x] if _is_own(x) else []
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
            for names, hidden in self._hidden:
                if not names.isdisjoint(hidden):
                    return True
            for read, place, was in self._plain:
                if read(place) != was:  # a function's parts have types of their own, which compare by all that counts
                    return True
            for read, place, was in self._groups:
                now = read(place)
                if not all(map(operator.is_, now, was)) and any(map(_differ, now, was)):
                    return True
            for read, place, was in self._probes:
                now = read(place)
                if now is not was and _differ(now, was):
                    return True
        except Exception:  # an array has come among what is compared, or what is not to be compared, or a place has gone
            return True
        return False

    def _probe(self, read: Callable[[Any], Any], place: Any) -> Any:
        was = read(place)
        self._probes.append((read, place, was))
        return was

    def _look_at(self, getter: Callable[..., Callable[[Any], Any]], place: Any, names: Sequence[str]) -> list[Any]:
        """Note the parts of a place that have names, in one look; and give them."""
        if len(names) < 2:
            return [self._probe(getter(name), place) for name in names]
        read = getter(*names)
        was = read(place)
        (self._plain if names is _PARTS and was[1:] == (None, None) else self._groups).append((read, place, was))
        return list(was)

    def _hold(self, container: Any, items: Iterable[tuple[Any, Any]]) -> None:
        """Note what a container holds: all of them are compared at once, and apart what that may take for another thing."""
        now, was = self._containers
        now.append(container)
        was.append(container.copy())
        vague = [key for key, part in items if _is_vague(part)]
        if vague:
            self._probe(operator.itemgetter(*vague), container)

    # ----------------------------------------------------------------------------------------------------- entering

    def _enter(self, x: Any) -> None:
        if isinstance(x, types.FunctionType):
            self._enter_function(x)
        elif isinstance(x, types.MethodType):
            self._push((x.__func__, x.__self__))
        elif isinstance(x, functools.partial):
            self._push((x.func, x.args, x.keywords))
        elif isinstance(x, type):
            self._enter_class(x)
        elif hasattr(type(x), "_recorded"):  # another program
            self._push((x.fn,))
        else:
            self._enter_container(x)
            self._enter_object(x)

    def _enter_container(self, x: Any) -> None:
        if isinstance(x, np.ndarray):
            if x.dtype.kind == "O":
                self._push(self._probe(_listed, x))
            else:
                self._probe(_bits, x)
        elif isinstance(x, (array.array, bytearray, memoryview)):
            self._probe(bytes, x)
        elif isinstance(x, (dict, types.MappingProxyType)):
            self._hold(x, x.items())
            self._probe(list, x)  # the order of the keys
            self._push(x.values())
        elif isinstance(x, (list, deque)):
            self._hold(x, enumerate(x))
            self._push(x)
        elif isinstance(x, (set, frozenset, tuple)):
            self._push(self._probe(list, x) if isinstance(x, set) else x)

    def _enter_object(self, x: Any) -> None:
        """The attributes of an object and of its class."""
        kind = type(x)
        self._push((kind,))
        if hasattr(x, "__dict__"):
            self._hold(vars(x), vars(x).items())
            self._push(vars(x).values())
        for cls in filter(_is_own, kind.__mro__):
            slots = [name for name, member in vars(cls).items() if isinstance(member, types.MemberDescriptorType)]
            self._push(self._probe(_slot(name), x) for name in slots)

    def _enter_class(self, cls: type) -> None:
        """The methods and the attributes of a class and of those that it is built on."""
        if _is_own(cls):
            members = self._probe(dict, vars(cls))
            readers = [member for name, member in members.items() if name not in _NO_READERS]
            self._push(getattr(member, "fget", getattr(member, "__func__", member)) for member in readers)
            self._push(cls.__mro__[1:])

    def _enter_function(self, fn: types.FunctionType) -> None:
        """A function's code, its defaults, its closure, and the globals that it names."""
        if not _is_own(fn):
            return
        parts = self._look_at(operator.attrgetter, fn, _PARTS)[1:]
        parts += [self._probe(_cell, cell) for cell in fn.__closure__ or ()]
        loaded, imported, names = _lookups(fn.__code__)
        parts += self._named(fn.__globals__, loaded)
        self._globals[id(fn.__globals__)][1].update(loaded)  # those that come later, too: they may hide a builtin
        package = fn.__globals__.get("__package__")
        parts += [sys.modules[name] for part in imported for name in (part, f"{package}.{part}") if name in sys.modules]
        self._names.update(names)
        looked_into = set()
        for module in parts:
            if isinstance(module, types.ModuleType) and id(module) not in looked_into and _is_own(module):
                looked_into.add(id(module))
                parts += self._named(vars(module), names)  # its modules are looked into too
        self._push(parts)

    def _named(self, module: dict[str, Any], names: Iterable[str]) -> list[Any]:
        """What a module has under these names."""
        found = [name for name in names if name in module]
        self._globals.setdefault(id(module), (module, set()))[1].update(found)
        return [module[name] for name in found]


def _is_own(x: Any) -> bool:
    """Whether a module, a class or a function is the user's: none of this library, of Python or of an installed package."""
    name = x.__name__ if isinstance(x, types.ModuleType) else x.__module__ or ""
    package = name.partition(".")[0]
    if package in _OTHERS:
        return False
    file = getattr(sys.modules.get(package), "__file__", None) or ""
    return "site-packages" not in file and "dist-packages" not in file


def _is_vague(part: Any, depth: int = 0) -> bool:
    """Whether something may be equal to this and still be told from it, as -0.0 is from 0.0."""
    if isinstance(part, (list, tuple, dict)):
        inner = part.values() if isinstance(part, dict) else part
        return depth == DEPTH or any(_is_vague(one, depth + 1) for one in inner)
    return part == 0.0 if isinstance(part, float) else type(part).__eq__ not in _EXACT


def _differ(now: Any, was: Any) -> bool:
    """Whether two things can be told apart."""
    if now is was:
        return False
    if type(now) is not type(was) or now != was:
        return True
    if isinstance(now, float):
        return math.copysign(1.0, now) != math.copysign(1.0, was)
    if isinstance(now, (list, tuple)):
        return any(map(operator.is_not, now, was)) and any(map(_differ, now, was))
    if isinstance(now, dict):
        return list(now) != list(was) or any(map(_differ, now.values(), was.values()))
    return not isinstance(now, _STILL)


def _listed(numbers: Any) -> list[Any]:
    return numbers.ravel().tolist()  # type: ignore[no-any-return]


def _bits(numbers: Any) -> Any:
    return numbers.shape, numbers.dtype.str, numbers.tobytes()


def _slot(name: str) -> Callable[[Any], Any]:
    return lambda x: getattr(x, name, _EMPTY)


def _cell(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not filled yet
        return _EMPTY


@functools.lru_cache(1024)
def _lookups(code: types.CodeType) -> tuple[list[str], list[str], list[str]]:
    """The globals that a function's code reads, the modules that it imports, and all names that it looks up; those of
    functions within it too."""
    loaded: dict[str, None] = {}
    imported: dict[str, None] = {}
    names = dict.fromkeys(code.co_names)
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            loaded[step.argval] = None
        elif step.opname in ("IMPORT_NAME", "IMPORT_FROM"):
            imported[step.argval] = None
            imported[str(step.argval).partition(".")[0]] = None
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            for mine, theirs in zip((loaded, imported, names), _lookups(constant), strict=True):
                mine.update(dict.fromkeys(theirs))
    return list(loaded), list(imported), list(names)
