"""Trees: nested containers of numbers, taken apart into a flat list of leaves and put together again.

Lists, tuples, named tuples, dicts (in the order of their keys), NumPy arrays and modules are containers.  Real numbers and
Values are leaves; None, strings and booleans stand still.  The leaves of a module are its parameters, which are Values: its
other attributes, numbers included, are settings and stay as they are.

A *structure* is the tree itself with a numbered :class:`Slot` in the place of each leaf, so one walk serves both ways.
"""

from __future__ import annotations

import copy
import operator
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from micrograd import ops
from micrograd.engine import Value

Tree = Any
Leaf = Any  # a float or a Value
Opened = tuple[Iterable[str], list[Any], Callable[[list[Any]], Tree]]  # steps to the parts, the parts, a maker of the like
Met = dict[int, Any] | None  # within a module: what was made of each part met so far, by its id, so that sharing is kept


class Slot:
    """The place of leaf number ``index`` in a structure."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index

    def __repr__(self) -> str:
        return f"<leaf {self.index}>"


def flatten(tree: Tree, name: str = "tree") -> tuple[list[Leaf], Tree]:
    """The leaves of a tree, left to right, and its structure.

    Numbers come out as floats.  A parameter that a module holds in two places (tied weights) is one leaf.  Raises TypeError
    for anything that is no container, number or Value, naming its position; ``name`` is what the message calls the tree.

    >>> flatten({"w": [1, 2.5], "b": 3, "kind": "affine"})
    ([1.0, 2.5, 3.0], {'w': [<leaf 0>, <leaf 1>], 'b': <leaf 2>, 'kind': 'affine'})
    """
    leaves: list[Leaf] = []

    def visit(part: Any, path: str, met: Met) -> Any:
        if stands_still(part) if met is None else not is_parameter(part):
            return part
        slot = Slot(len(leaves)) if met is None else met.setdefault(id(part), Slot(len(leaves)))
        if slot.index == len(leaves):
            leaves.append(_leaf(part, name + path))
        return slot

    structure = _map(tree, visit)
    _check_modules(tree, leaves, name)
    return leaves, structure


def unflatten(structure: Tree, leaves: Sequence[Any]) -> Tree:
    """The tree of this structure with other leaves; parts without a leaf are shared with the tree that was flattened.

    A number that becomes a leaf of a module becomes a Value, so that the module's own methods find it.

    >>> leaves, structure = flatten((1.0, [2.0]))
    >>> unflatten(structure, [10.0, 20.0])
    (10.0, [20.0])
    """

    def visit(part: Any, _: str, met: Met) -> Any:
        if not isinstance(part, Slot):
            return part
        if met is None:
            return leaves[part.index]
        if id(part) not in met:
            met[id(part)] = _as_parameter(leaves[part.index])
        return met[id(part)]

    return _map(structure, visit)


def match(structure: Tree, tree: Tree, name: str = "tree") -> list[Leaf]:
    """The leaves of a tree in the places where a structure has its own.  Raises TypeError where the two differ.

    >>> leaves, structure = flatten({"w": [1.0, 2.0]})
    >>> match(structure, {"w": [3, 4]})
    [3.0, 4.0]
    """
    expected, found = _ends(structure), _ends(tree)
    missing, extra = [p for p in expected if p not in found], [p for p in found if p not in expected]
    if missing or extra:
        odd = [f"nothing at {name}{p}" for p in missing[:1]] + [f"something unexpected at {name}{p}" for p in extra[:1]]
        raise TypeError(f"{name} must have the structure of what it belongs to, but has {' and '.join(odd)}")
    return [_leaf(found[path], name + path) for path in paths(structure)]


def paths(structure: Tree, name: str = "") -> list[str]:
    """How to reach each leaf from the tree, as one would write it in Python.

    >>> paths(flatten([1.0, {"b": 2.0}])[1], "x")
    ['x[0]', "x[1]['b']"]
    """
    places: dict[int, str] = {}
    for path, part in _ends(structure).items():
        if isinstance(part, Slot):
            places.setdefault(part.index, name + path)
    return list(places.values())


def holds_values(tree: Tree) -> bool:
    """Whether there is a Value anywhere in a tree that may hold anything else too.  A module counts as numbers.

    >>> holds_values([1.0, "text", {"x": Value(2.0)}])
    True
    """
    return any(isinstance(part, Value) for part in _members(tree))


def is_parameter(part: Any) -> bool:
    """Whether a module trains this part: a Value that is a leaf and no constant, or stands for one in a copy of the module.

    >>> is_parameter(Value(1.0)), is_parameter(Value(1.0) * 2.0), is_parameter(1.0)
    (True, False, False)
    """
    return isinstance(part, Value) and part.kind != "constant" and (not part.parents or part.operation is ops.identity)


def stands_still(part: Any) -> bool:
    """Whether a part of a tree is neither container nor leaf: None, strings, booleans and arrays of such.

    >>> stands_still("relu"), stands_still(True), stands_still(1)
    (True, True, False)
    """
    kind = getattr(getattr(part, "dtype", None), "kind", "")
    return part is None or isinstance(part, (str, bytes, bool)) or kind in ("b", "S", "U")


# -------------------------------------------------------------------------------------------------------- walking


def _map(
    tree: Tree, visit: Callable[[Any, str, Met], Any], path: str = "", met: Met = None, above: tuple[int, ...] = ()
) -> Tree:
    """The tree with each part that is no container replaced by what ``visit`` makes of it and of its path.

    ValueError for a list, tuple, dict or array that holds itself other than through a module: it has no end.
    """
    if _is_module(tree):
        met = {} if met is None else met
        if id(tree) not in met:  # a module may hold another twice, or refer back to the one that holds it
            new = met[id(tree)] = object.__new__(type(tree))
            new.__dict__.update({name: _map(part, visit, f"{path}.{name}", met) for name, part in vars(tree).items()})
        return met[id(tree)]
    opened = _open(tree)
    if opened is None:
        return visit(tree, path, met)
    if id(tree) in above:
        raise ValueError(f"a tree must come to an end, but at {path} a {type(tree).__name__} holds itself")
    steps, parts, like = opened
    above = (*above, id(tree))
    made = [_map(part, visit, path + step, met, above) for step, part in zip(steps, parts, strict=True)]
    return tree if all(map(operator.is_, made, parts)) else like(made)


def _ends(tree: Tree) -> dict[str, Any]:
    """Every part that is no container, by its path."""
    ends: dict[str, Any] = {}
    _map(tree, lambda part, path, _: ends.setdefault(path, part))
    return ends


def _members(tree: Tree) -> Iterator[Any]:
    """Every part that is no container, a module counting as one part."""
    stack, met = [tree], dict[int, Any]()  # what was opened, by its id: a list may hold itself
    while stack:
        part = stack.pop()
        opened = None if id(part) in met else _open(part)
        if opened is not None:
            met[id(part)] = part
            stack.extend(opened[1])
        elif id(part) not in met:
            yield part


def _check_modules(tree: Tree, leaves: Sequence[Leaf], name: str) -> None:
    found = set(map(id, leaves))
    for module in filter(_is_module, _members(tree)):
        if any(id(parameter) not in found for parameter in module.parameters()):
            raise TypeError(
                f"{name}: a {type(module).__name__} has parameters that lie in none of its attributes: keep them there, or "
                "in lists, tuples, dicts, arrays and modules there"
            )


# ----------------------------------------------------------------------------------------------------- containers


def _open(tree: Tree) -> Opened | None:
    """How to take a container other than a module apart, and to make one like it; None for anything else."""
    if isinstance(tree, dict):
        return (f"[{key!r}]" for key in tree), list(tree.values()), lambda parts: _like_dict(tree, parts)
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return (f".{field}" for field in tree._fields), list(tree), tree._make  # type: ignore[attr-defined]
    if isinstance(tree, (list, tuple)):
        return (f"[{i}]" for i in range(len(tree))), list(tree), type(tree)
    if _is_array(tree):
        steps = ("".join(f"[{i}]" for i in index) for index in sys.modules["numpy"].ndindex(tree.shape))
        return steps, tree.ravel().tolist(), lambda parts: _like_array(tree, parts)
    return None


def _is_module(tree: Tree) -> bool:
    return hasattr(type(tree), "named_parameters")  # not isinstance: nn is built on trees, not the other way round


def _is_array(tree: Tree) -> bool:
    """Whether this is a NumPy array of real numbers or objects; whoever has one has imported NumPy."""
    numpy = sys.modules.get("numpy")
    return numpy is not None and isinstance(tree, numpy.ndarray) and tree.ndim > 0 and tree.dtype.kind in "fiuO"


def _like_dict(tree: dict[Any, Any], parts: list[Any]) -> dict[Any, Any]:
    new = copy.copy(tree)  # keeps a subclass and what it knows, such as the factory of a defaultdict
    for key, part in zip(tree, parts, strict=True):
        new[key] = part
    return new


def _like_array(tree: Any, parts: list[Any]) -> Any:
    """An array of floats where all parts are floats, one of more dimensions where they are arrays, else one of objects."""
    numpy = sys.modules["numpy"]
    if all(isinstance(part, float) for part in parts) or all(isinstance(part, numpy.ndarray) for part in parts):
        return numpy.array(parts).reshape(tree.shape + numpy.shape(parts[0]))
    new = numpy.empty(len(parts), dtype=object)
    for i, part in enumerate(parts):
        new[i] = part
    return new.reshape(tree.shape)


# --------------------------------------------------------------------------------------------------------- leaves


def _leaf(part: Any, position: str) -> Leaf:
    if isinstance(part, Value):
        return part
    number = None if stands_still(part) else ops.real(part)
    if number is None:
        raise TypeError(
            f"{position}: expected a number, a Value, or a list, tuple, dict, array or module of them, "
            f"got {type(part).__name__}"
        )
    return number


def _as_parameter(leaf: Any) -> Any:
    """What a module can hold as a parameter: it tells its parameters from results by their having no parents."""
    if isinstance(leaf, (int, float)):
        return Value(leaf)
    if not isinstance(leaf, Value) or is_parameter(leaf):
        return leaf
    return ops.identity(leaf)
