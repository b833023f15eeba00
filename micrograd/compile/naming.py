"""What equations call the captured parameters: the names under which the function has them."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from micrograd import nn
from micrograd.engine import Value


def parameter_names(fn: Callable[..., Any], captured: Sequence[Value]) -> list[str]:
    """For each captured Value the name of the matrix or vector that it is part of, found where the function has it from.

    The layers of a multi-layer perceptron have W1, b1, W2, ...; a nested list has the name of its variable, a dict's entry
    that of its key, a module's that of the attribute.  A label that all parts of a list share goes first.  What is found
    nowhere is ``p``.

    >>> weights, bias = [Value(1.0), Value(2.0)], Value(3.0)
    >>> parameter_names(lambda x: weights[0] * x[0] + weights[1] * x[1] + bias, [*weights, bias])
    ['weights', 'weights', 'bias']
    """
    found = _Names()
    wanted = {id(value) for value in captured}
    try:
        for name, part in _reached(fn):
            found.visit(part, name)
            if wanted <= found.names.keys():
                break
    except RecursionError:  # containers nested without end: what was found until here has a name
        pass
    return [found.names.get(id(value)) or value.label or "p" for value in captured]


def _reached(fn: Any) -> Iterator[tuple[str, Any]]:
    """What a function can refer to, with the names under which it does: closures, self, defaults, globals, functions too."""
    stack, met = [("", fn)], set[int]()
    while stack:
        name, part = stack.pop(0)
        if id(part) in met:
            continue
        met.add(id(part))
        if isinstance(part, functools.partial):
            stack += [("", part.func), *((f"arg{i}", a) for i, a in enumerate(part.args)), *part.keywords.items()]
        elif isinstance(part, types.MethodType):
            stack += [("", part.__self__), ("", part.__func__)]
        elif isinstance(part, types.FunctionType):
            stack += _variables(part)
        elif not isinstance(part, (types.ModuleType, type, types.BuiltinFunctionType)):
            yield name, part
            wrapped = getattr(part, "__wrapped__", None)
            if callable(wrapped):
                stack.append((name, wrapped))


def _variables(fn: types.FunctionType) -> Iterator[tuple[str, Any]]:
    for name, cell in zip(fn.__code__.co_freevars, fn.__closure__ or (), strict=True):
        if cell != types.CellType():  # set already
            yield name, cell.cell_contents
    count = fn.__code__.co_argcount
    yield from zip(fn.__code__.co_varnames[:count][::-1], (fn.__defaults__ or ())[::-1], strict=False)
    yield from (fn.__kwdefaults__ or {}).items()
    codes = [fn.__code__]
    while codes:
        code = codes.pop()
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for name in code.co_names:
            if name in fn.__globals__:
                yield name, fn.__globals__[name]


class _Names:
    """Names by the id of a Value."""

    def __init__(self) -> None:
        self.names: dict[int, str] = {}
        self.taken: dict[str, int] = {}  # which container has a name
        self.met: set[int] = set()

    def visit(self, part: Any, name: str) -> None:
        if isinstance(part, Value):
            self.give([part], part.label or name, name)
            return
        if not hasattr(part, "__dict__") and not isinstance(part, (list, tuple, dict)) and not _is_object_array(part):
            return
        if id(part) in self.met:
            return
        self.met.add(id(part))
        if isinstance(part, nn.MLP) and type(part).parameters is nn.MLP.parameters:
            for k, layer in enumerate(part.layers, start=1):
                self.layer(layer, name, str(k))
        elif isinstance(part, nn.Layer):
            self.layer(part, name, "")
        elif isinstance(part, (list, tuple)) or _is_object_array(part):
            self.sequence(list(part), name)
        elif isinstance(part, dict):
            for key, child in part.items():
                self.visit(child, str(key))
        elif isinstance(part, nn.Module):
            for key, child in vars(part).items():
                self.visit(child, key)

    def layer(self, layer: Any, name: str, number: str) -> None:
        if id(layer) in self.met and number == "":
            return
        self.met.add(id(layer))
        self.give([w for neuron in layer.neurons for w in neuron.w], f"W{number}", f"{name}.W{number}")
        self.give([neuron.b for neuron in layer.neurons if isinstance(neuron.b, Value)], f"b{number}", f"{name}.b{number}")

    def sequence(self, parts: list[Any], name: str) -> None:
        """A regular nested list is one matrix; of another each part has a name of its own."""
        if _shape(parts) is not None:
            values = list(_leaves(parts))
            labels = {value.label for value in values}
            self.give(values, labels.pop() if len(labels) == 1 else "" or name, name)
        else:
            for i, child in enumerate(parts):
                self.visit(child, f"{name}[{i}]")

    def give(self, values: list[Value], name: str, longer: str) -> None:
        """A name for some Values: the longer one where something else has the name."""
        new = [value for value in values if id(value) not in self.names]
        if not new:
            return
        name = name or longer
        shape_of = id(new[0])
        if self.taken.setdefault(name, shape_of) != shape_of and not _same_label(new, name):
            name = longer
        for value in new:
            self.names[id(value)] = name


def _same_label(values: list[Value], name: str) -> bool:
    """Whether the name is the users' own label: then what they call alike is alike."""
    return all(value.label == name for value in values)


def _is_object_array(part: Any) -> bool:
    return getattr(getattr(part, "dtype", None), "kind", "") == "O"


def _shape(part: Any) -> tuple[int, ...] | None:
    """The shape of a regular nested list of Values; None for anything else."""
    if isinstance(part, Value):
        return ()
    if not isinstance(part, (list, tuple)) and not _is_object_array(part):
        return None
    shapes = {_shape(child) for child in part}
    only = shapes.pop() if len(shapes) == 1 else None
    return None if only is None else (len(part), *only)


def _leaves(part: Any) -> Iterator[Value]:
    if isinstance(part, Value):
        yield part
    else:
        for child in part:
            yield from _leaves(child)
