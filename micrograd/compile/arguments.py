"""Arguments: what a call gives a program, taken apart into numbers that may change and all that is part of the program.

Real numbers and arrays of them are free; integers are free as long as only ``take`` uses them; the rest (strings, booleans,
None, the lengths of lists, the shapes of arrays) is the *key* under which a recording is found again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from micrograd import ops, trees
from micrograd.engine import Value


@dataclass
class Argument:
    """One argument of one call: the key of its structure, its real numbers and its integers as arrays, and a tree of them.

    A batched argument's arrays have the examples along their first axis.
    """

    key: Any
    reals: Any
    ints: Any
    tree: Any


class Place:
    """The place of numbers in a tree: ``kind`` is "real" or "index", ``shape`` is () for a single number."""

    __slots__ = ("kind", "shape", "start")

    def __init__(self, kind: str, start: int, shape: tuple[int, ...]) -> None:
        self.kind, self.start, self.shape = kind, start, shape


def describe(x: Any, name: str, batched: bool, real: bool, build: bool = False) -> Argument:
    """Take an argument apart.  ``real`` makes its integers real numbers, as those are that a gradient is asked for by;
    ``build`` makes the tree too, which only a recording needs.

    TypeError for what is no number, container or setting; ValueError for a batched one without a leading axis.
    """
    if isinstance(x, np.ndarray) and x.ndim and not batched:  # the usual cases first: they are in every call
        if x.dtype.kind == "f" or (real and x.dtype.kind in "iu"):
            return Argument(("array", x.shape), x.reshape(-1), _NONE, Place("real", 0, x.shape))
        if x.dtype.kind in "iu":
            return Argument(("ints", x.shape), _NOTHING, x.reshape(-1), Place("index", 0, x.shape))
    return _Walk(name, batched, real, build).argument(x)


_NOTHING = np.zeros(0)
_NONE = np.zeros(0, dtype=np.int64)


class _Walk:
    def __init__(self, name: str, batched: bool, real: bool, build: bool) -> None:
        self.name, self.batched, self.real, self.build = name, batched, real, build
        self.parts: dict[str, list[Any]] = {"real": [], "index": []}
        self.sizes = {"real": 0, "index": 0}
        self.examples: int | None = None

    def argument(self, x: Any) -> Argument:
        if self.batched:
            x = _stacked(x, self.name)
        key, tree = self.walk(x, self.name)
        return Argument(key, self.joined("real", np.float64), self.joined("index", np.int64), tree)

    def joined(self, kind: str, dtype: Any) -> Any:
        parts = self.parts[kind]
        if self.batched:
            if not parts:
                return np.zeros((0 if self.examples is None else self.examples, 0), dtype)
            if not self.examples:
                return np.zeros((0, self.sizes[kind]), dtype)
            rows = [np.asarray(part).reshape(len(part), -1) for part in parts]
            return rows[0] if len(rows) == 1 else np.concatenate(rows, axis=1)
        if len(parts) == 1 and isinstance(parts[0], np.ndarray):
            return parts[0]
        if any(isinstance(part, np.ndarray) for part in parts):
            return np.concatenate([np.atleast_1d(part) for part in parts])
        return np.array(parts, dtype=dtype)

    def place(self, kind: str, part: Any, shape: tuple[int, ...]) -> Place | None:
        made = None if not self.build else Place(kind, self.sizes[kind], shape)
        self.parts[kind].append(part)
        self.sizes[kind] += math.prod(shape)
        return made

    def walk(self, x: Any, path: str) -> tuple[Any, Any]:
        """The key and the tree of a part."""
        kind = type(x)
        if kind is float:
            return "r", self.single(x, path)
        if kind is bool or x is None or isinstance(x, (str, bytes, np.bool_)):
            return (kind, x), x
        if isinstance(x, Value):
            return "r", self.single(x.data, path)
        if kind is int or isinstance(x, np.integer):
            if self.real:
                return "r", self.single(float(x), path)
            self.no_batch(x, path)
            return "i", self.place("index", int(x), ())
        if isinstance(x, np.ndarray) and x.ndim and x.dtype.kind in "fiu":
            return self.array(x, path)
        if isinstance(x, dict):
            walked = {k: self.walk(v, f"{path}[{k!r}]") for k, v in x.items()}
            tree = trees._like_dict(x, [t for _, t in walked.values()]) if self.build else None
            return (kind, *((k, key) for k, (key, _) in walked.items())), tree
        if kind is list and not (self.build or self.batched) and set(map(type, x)) == {float}:  # most numbers come like this
            self.parts["real"] += x
            self.sizes["real"] += len(x)
            return (kind, *["r"] * len(x)), None
        if isinstance(x, (list, tuple)):
            parts = [self.walk(v, f"{path}[{i}]") for i, v in enumerate(x)]
            made = [tree for _, tree in parts] if self.build else []
            if not self.build:
                return (kind, *(key for key, _ in parts)), None
            return (kind, *(key for key, _ in parts)), kind._make(made) if hasattr(kind, "_make") else kind(made)
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
            return "r", self.single(number, path)
        raise TypeError(
            f"{path}: a compiled function takes numbers, Values, arrays, modules, strings and booleans, and lists, tuples and "
            f"dicts of them, got {kind.__name__}"
        )

    def single(self, number: float, path: str) -> Place:
        self.no_batch(number, path)
        return self.place("real", number, ())

    def no_batch(self, number: Any, path: str) -> None:
        if self.batched:
            raise ValueError(f"{path} is batched, so it needs one entry for each example along its leading axis, got {number!r}")

    def array(self, x: Any, path: str) -> tuple[Any, Any]:
        kind = "real" if x.dtype.kind == "f" or self.real else "index"
        shape = x.shape
        if self.batched:
            if self.examples not in (None, len(x)):
                raise ValueError(f"{path} has {len(x)} examples, but another part of {self.name} has {self.examples}")
            self.examples, shape = len(x), x.shape[1:]
            return (kind, shape), self.place(kind, x, shape)
        return (kind, shape), self.place(kind, x.reshape(-1), shape)

    def module(self, x: Any, path: str) -> tuple[Any, Any]:
        """A module: its parameters are free, all else it holds is part of the program."""
        self.no_batch(type(x).__name__, path)
        leaves, structure = trees.flatten(x, path)
        slots = [self.single(float(leaf.data if isinstance(leaf, Value) else leaf), path) for leaf in leaves]
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
        return type(x)._make(parts) if hasattr(x, "_make") else tuple(parts)  # type: ignore[attr-defined]
    if isinstance(x, (list, tuple)) or (isinstance(x, np.ndarray) and x.dtype.kind == "O"):
        x = np.array(_plain(x))
    if not isinstance(x, np.ndarray) or x.dtype.kind not in "fiu" or x.ndim == 0:
        what = f"an array of {x.dtype}" if isinstance(x, np.ndarray) else type(x).__name__
        raise ValueError(f"{name} is batched: expected numbers with one entry for each example along its leading axis, got {what}")
    return x


def _plain(x: Any) -> Any:
    if isinstance(x, (list, tuple, np.ndarray)):
        return [_plain(v) for v in x]
    return x.data if isinstance(x, Value) else x


def rebuild(tree: Any, real: Callable[[int], Any], index: Callable[[int], Any]) -> Any:
    """The argument again, with what ``real`` and ``index`` give in the places of its numbers."""
    if isinstance(tree, Place):
        leaf = real if tree.kind == "real" else index
        if tree.shape == ():
            return leaf(tree.start)
        made = np.empty(int(np.prod(tree.shape)), dtype=object)
        for i in range(made.size):
            made[i] = leaf(tree.start + i)
        return made.reshape(tree.shape)
    if isinstance(tree, ModuleTree):
        return trees.unflatten(tree.structure, [real(place.start) for place in tree.places])
    if isinstance(tree, dict):
        return trees._like_dict(tree, [rebuild(v, real, index) for v in tree.values()])
    if isinstance(tree, (list, tuple)):
        parts = [rebuild(v, real, index) for v in tree]
        return type(tree)._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    if isinstance(tree, np.ndarray):
        new = np.empty(tree.size, dtype=object)
        for i, v in enumerate(tree.ravel().tolist()):
            new[i] = rebuild(v, real, index)
        return new.reshape(tree.shape)
    return tree


def fill(tree: Any, numbers: Any, batched: bool) -> Any:
    """A gradient: the numbers of an argument in its structure.  With ``batched`` they have a leading axis."""
    return _filled(tree, numbers, None if batched else numbers.tolist())


def _filled(tree: Any, numbers: Any, floats: list[float] | None) -> Any:
    if isinstance(tree, Place):
        if tree.kind != "real":
            return 0.0 if tree.shape == () else np.zeros(tree.shape)
        if tree.shape == () and floats is not None:
            return floats[tree.start]
        part = numbers[..., tree.start : tree.start + math.prod(tree.shape)]
        return part.reshape(tree.shape if floats is not None else (len(part), *tree.shape))
    if isinstance(tree, ModuleTree):
        assert floats is not None
        return trees.unflatten(tree.structure, [floats[place.start] for place in tree.places])
    if isinstance(tree, dict):
        return trees._like_dict(tree, [_filled(v, numbers, floats) for v in tree.values()])
    if isinstance(tree, (list, tuple)):
        parts = [_filled(v, numbers, floats) for v in tree]
        return type(tree)._make(parts) if hasattr(tree, "_make") else type(tree)(parts)
    if isinstance(tree, np.ndarray):
        return trees._like_array(tree, [_filled(v, numbers, floats) for v in tree.ravel().tolist()])
    return tree
