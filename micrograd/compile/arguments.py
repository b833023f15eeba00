"""Arguments: what a call gives a program, taken apart into numbers that may change and all that is part of the program.

Real numbers and arrays of them are free; integers are free as long as only ``take`` uses them; the rest (strings, booleans,
None, the lengths of lists, the shapes of arrays) is the *key* under which a recording is found again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micrograd import ops, trees
from micrograd.engine import Value


@dataclass
class Argument:
    """One argument of one call: the key of its structure, and its numbers as arrays, the *parts*.

    Each array is a part of its own, which is never copied; single numbers of a kind are a part together.  The parts of a
    batched argument have the examples along their first axis.  A recording needs more: a tree with a :class:`Place` for each
    number, and of each part its kind, "real" or "index", its path and how many numbers an example has of it.
    """

    key: Any
    parts: list[Any]
    tree: Any = None
    about: list[tuple[str, str, int]] = field(default_factory=list)


class Place:
    """The place of numbers in a tree: which part, where they begin there, and their shape, () for a single number."""

    __slots__ = ("kind", "part", "shape", "start")

    def __init__(self, kind: str, part: int, start: int, shape: tuple[int, ...]) -> None:
        self.kind, self.part, self.start, self.shape = kind, part, start, shape


def describe(x: Any, name: str, batched: bool, real: bool) -> Argument:
    """Take an argument apart.  ``real`` makes its integers real numbers, as those are that a gradient is asked for by.

    TypeError for what is no number, container or setting; ValueError for a batched one without a leading axis.
    """
    parts: list[Any] = []
    singles: tuple[list[float], list[int]] = ([], [])
    try:
        key = _quick(x, batched, real, parts, singles)
    except _UnusualError:
        return detailed(x, name, batched, real)
    if any(singles):
        parts = [
            p if type(p) is np.ndarray else np.array(p, dtype=np.int64 if p is singles[1] else np.float64) for p in parts
        ]
    return Argument(key, parts)


def detailed(x: Any, name: str, batched: bool, real: bool) -> Argument:
    """The same with all that a recording needs."""
    return _Walk(name, batched, real).argument(x)


class _UnusualError(Exception):
    """Something that the quick walk leaves to the careful one."""


_KINDS = {"f": "real", "i": "index", "u": "index"}
_BATCHED_KINDS = {**_KINDS, "b": "real"}  # a column of truths is a column of numbers


def _quick(x: Any, batched: bool, real: bool, parts: list[Any], singles: tuple[list[float], list[int]]) -> Any:
    """The key of what is in nearly every call: arrays, numbers, and lists, tuples and dicts of them."""
    kind = type(x)
    if kind is np.ndarray:
        what = (_BATCHED_KINDS if batched else _KINDS).get(x.dtype.kind)
        if what is None or x.ndim <= batched or (batched and not len(x)):
            raise _UnusualError
        parts.append(x)
        return ("real" if real else what), (x.shape[1:] if batched else x.shape)
    if batched:
        raise _UnusualError
    if kind is float:
        if not singles[0]:
            parts.append(singles[0])
        singles[0].append(x)
        return "r"
    if kind is int:
        if real:
            return _quick(float(x), batched, real, parts, singles)
        if not singles[1]:
            parts.append(singles[1])
        singles[1].append(x)
        return "i"
    if kind is list or kind is tuple:
        kinds = set(map(type, x))
        if kinds == {float} or (kinds == {int} and not real):
            numbers: list[Any] = singles[kinds == {int}]
            if not numbers:
                parts.append(numbers)
            numbers.extend(x)
            return (kind, *("r" if kinds == {float} else "i") * len(x))
        return (kind, *[_quick(v, batched, real, parts, singles) for v in x])
    if kind is dict:
        return (kind, *[(k, _quick(v, batched, real, parts, singles)) for k, v in x.items()])
    raise _UnusualError


class _Walk:
    """A careful walk, which knows where it is and builds the tree."""

    def __init__(self, name: str, batched: bool, real: bool) -> None:
        self.name, self.batched, self.real = name, batched, real
        self.parts: list[Any] = []
        self.about: list[tuple[str, str, int]] = []
        self.singles: dict[str, int] = {}  # the part of the single numbers of a kind
        self.examples: int | None = None

    def argument(self, x: Any) -> Argument:
        if self.batched:
            x = _stacked(x, self.name)
        key, tree = self.walk(x, self.name)
        for kind, part in self.singles.items():
            self.about[part] = kind, self.name, len(self.parts[part])
            self.parts[part] = np.array(self.parts[part], dtype=np.float64 if kind == "real" else np.int64)
        return Argument(key, self.parts, tree, self.about)

    def walk(self, x: Any, path: str) -> tuple[Any, Any]:
        """The key and the tree of a part."""
        kind = type(x)
        if kind is float:
            return "r", self.single("real", x, path)
        if kind is bool or x is None or isinstance(x, (str, bytes, np.bool_)):
            return (kind, x), x
        if isinstance(x, Value):
            return "r", self.single("real", x.data, path)
        if kind is int or isinstance(x, np.integer):
            if self.real:
                return "r", self.single("real", float(x), path)
            return "i", self.single("index", int(x), path)
        if isinstance(x, np.ndarray) and x.ndim and x.dtype.kind in "fiu":
            return self.array(x, path)
        if isinstance(x, dict):
            walked = {k: self.walk(v, f"{path}[{k!r}]") for k, v in x.items()}
            tree = trees._like_dict(x, [t for _, t in walked.values()])
            return (kind, *((k, key) for k, (key, _) in walked.items())), tree
        if isinstance(x, (list, tuple)):
            parts = [self.walk(v, f"{path}[{i}]") for i, v in enumerate(x)]
            key = kind, *(key for key, _ in parts)
            made = [tree for _, tree in parts]
            return key, kind._make(made) if hasattr(kind, "_make") else kind(made)
        if isinstance(x, np.ndarray) and x.dtype.kind == "O" and x.ndim:
            parts = [self.walk(v, path) for v in x.ravel().tolist()]
            new = np.empty(len(parts), dtype=object)
            for i, (_, tree) in enumerate(parts):
                new[i] = tree
            return ("objects", x.shape, *(key for key, _ in parts)), new.reshape(x.shape)
        if hasattr(kind, "named_parameters"):
            return self.module(x, path)
        number = ops.real(x)
        if number is not None:
            return "r", self.single("real", number, path)
        raise TypeError(
            f"{path}: a compiled function takes numbers, Values, arrays, modules, strings and booleans, and lists, tuples "
            f"and dicts of them, got {kind.__name__}"
        )

    def single(self, kind: str, number: Any, path: str) -> Place:
        if self.batched:
            raise ValueError(
                f"{path} is batched, so it needs one entry for each example along its leading axis, got {number!r}"
            )
        if kind not in self.singles:
            self.singles[kind] = len(self.parts)
            self.parts.append([])
            self.about.append((kind, self.name, 0))
        part = self.singles[kind]
        self.parts[part].append(number)
        return Place(kind, part, len(self.parts[part]) - 1, ())

    def array(self, x: Any, path: str) -> tuple[Any, Any]:
        kind = "real" if x.dtype.kind == "f" or self.real else "index"
        shape = x.shape
        if self.batched:
            if self.examples not in (None, len(x)):
                raise ValueError(f"{path} has {len(x)} examples, but another part of {self.name} has {self.examples}")
            self.examples, shape = len(x), x.shape[1:]
        self.parts.append(x)
        self.about.append((kind, path, math.prod(shape)))
        return (kind, shape), Place(kind, len(self.parts) - 1, 0, shape)

    def module(self, x: Any, path: str) -> tuple[Any, Any]:
        """A module: its parameters are free, all else it holds is part of the program."""
        leaves, structure = trees.flatten(x, path)
        slots = [self.single("real", float(leaf.data if isinstance(leaf, Value) else leaf), path) for leaf in leaves]
        settings = tuple((step, _setting(part)) for step, part in trees._ends(structure).items())
        return (type(x), *settings), ModuleTree(structure, slots)


class ModuleTree:
    """A module taken apart: put together again with symbols in the places of its parameters."""

    def __init__(self, structure: Any, places: list[Place]) -> None:
        self.structure, self.places = structure, places


def _setting(part: Any) -> Any:
    if isinstance(part, trees.Slot):
        return "r"
    return part if isinstance(part, (str, bytes, bool, int, float, type(None))) else id(part)


def _stacked(x: Any, name: str) -> Any:
    """A batched argument as arrays with a leading axis, within the dicts and tuples that it came in."""
    if isinstance(x, dict):
        return trees._like_dict(x, [_stacked(v, f"{name}[{k!r}]") for k, v in x.items()])
    if isinstance(x, tuple) and x and all(hasattr(v, "__len__") or isinstance(v, dict) for v in x):
        parts = [_stacked(v, f"{name}[{i}]") for i, v in enumerate(x)]
        return type(x)._make(parts) if hasattr(x, "_make") else tuple(parts)
    if isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.dtype.kind == "O"):
        x = np.array(_plain(x))
    if isinstance(x, np.ndarray) and x.dtype.kind == "b":
        x = x.astype(np.float64)
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or x.ndim == 0:
        what = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(
            f"{name} is batched: expected numbers with one entry for each example along its leading axis, got {what}"
        )
    return x


def _plain(x: Any) -> Any:
    if isinstance(x, (list, tuple, np.ndarray)):
        return [_plain(v) for v in x]
    return x.data if isinstance(x, Value) else x


def rebuild(tree: Any, leaf: Callable[[Place, int], Any]) -> Any:
    """The argument again, with what ``leaf`` gives for a place and a position in its part where its numbers were."""
    if isinstance(tree, Place):
        if tree.shape == ():
            return leaf(tree, tree.start)
        made = np.empty(math.prod(tree.shape), dtype=object)
        for i in range(made.size):
            made[i] = leaf(tree, tree.start + i)
        return made.reshape(tree.shape)
    if isinstance(tree, ModuleTree):
        return trees.unflatten(tree.structure, [leaf(place, place.start) for place in tree.places])
    if isinstance(tree, dict):
        return trees._like_dict(tree, [rebuild(v, leaf) for v in tree.values()])
    if isinstance(tree, (list, tuple)):
        parts = [rebuild(v, leaf) for v in tree]
        return type(tree)._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    if isinstance(tree, np.ndarray):
        new = np.empty(tree.size, dtype=object)
        for i, v in enumerate(tree.ravel().tolist()):
            new[i] = rebuild(v, leaf)
        return new.reshape(tree.shape)
    return tree


Build = Callable[[Any], Any]
_Build = Callable[[Any, Any], Any]  # of an array and of the list of its single numbers


def builder(tree: Any, offsets: dict[int, int], batched: bool) -> tuple[Build, bool]:
    """What puts a gradient, an array with a leading axis if ``batched``, into the structure of an argument; and whether
    all of that are parts of the array.

    ``offsets`` tells where the numbers of each part begin.
    """
    singles: list[Place] = []
    build = _builder(tree, offsets, batched, singles)
    if not singles:
        return lambda numbers: build(numbers, ()), True
    first = offsets[singles[0].part]
    last = first + 1 + max(place.start for place in singles)
    return lambda numbers: build(numbers, numbers[first:last].tolist()), False


def _builder(tree: Any, offsets: dict[int, int], batched: bool, singles: list[Place]) -> _Build:
    """The same from the array and the list of single numbers; the places of those are added to ``singles``."""
    if isinstance(tree, Place):
        return _place_builder(tree, offsets, batched, singles)
    if isinstance(tree, ModuleTree):
        singles += tree.places
        at = [place.start for place in tree.places]
        return lambda numbers, one: trees.unflatten(tree.structure, [one[i] for i in at])
    if isinstance(tree, (list, tuple)):
        make = tree._make if hasattr(tree, "_make") else type(tree)
        if tree and not batched and all(isinstance(v, Place) and v.shape == () and v.kind == "real" for v in tree):
            start, end = tree[0].start, tree[-1].start + 1
            if [v.start for v in tree] == list(range(start, end)):
                singles += tree
                return (lambda numbers, one: one[start:end]) if make is list else (lambda numbers, one: make(one[start:end]))
        builds = [_builder(v, offsets, batched, singles) for v in tree]
        if make is list:
            return lambda numbers, one: [build(numbers, one) for build in builds]
        return lambda numbers, one: make([build(numbers, one) for build in builds])
    if isinstance(tree, dict):
        builds = [_builder(v, offsets, batched, singles) for v in tree.values()]
        return lambda numbers, one: trees._like_dict(tree, [build(numbers, one) for build in builds])
    if isinstance(tree, np.ndarray):
        builds = [_builder(v, offsets, batched, singles) for v in tree.ravel().tolist()]
        return lambda numbers, one: trees._like_array(tree, [build(numbers, one) for build in builds])
    return lambda numbers, one: tree


def _place_builder(place: Place, offsets: dict[int, int], batched: bool, singles: list[Place]) -> _Build:
    shape = place.shape
    if place.kind != "real":
        return lambda numbers, one: np.zeros(shape) if shape else 0.0
    start = offsets[place.part] + place.start
    end = start + math.prod(shape)
    if batched:
        return lambda numbers, one: numbers[:, start:end].reshape(len(numbers), *shape)
    if not shape:
        singles.append(place)
        return lambda numbers, one: one[place.start]
    if len(shape) == 1:
        return lambda numbers, one: numbers[start:end]
    return lambda numbers, one: numbers[start:end].reshape(shape)
