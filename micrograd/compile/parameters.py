"""Parameters: the Values that a compiled function captured, and their numbers as one flat array.

A program reads the numbers of what it captured at every call, so it never runs stale.  Asking for ``program.parameters``
*adopts* the Values: their numbers and gradients move into two arrays, side by side, and the Values become views of them.
A program then reads the array, an optimiser moves it as a whole, and the Values go on as before.
"""

from __future__ import annotations

import copyreg
import functools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from micrograd.compile.buffers import aligned
from micrograd.compile.trace import Symbol
from micrograd.copying import _reduce
from micrograd.engine import Value

_data: Any = Value.__dict__["data"]  # the slots, which in an adopted Value hold (array, position)
_grad: Any = Value.__dict__["grad"]
_place, _grad_place = _data.__get__, _grad.__get__
_moves = 0  # how often Values changed their places: readers look for them anew


class BufferedValue(Value):
    """A leaf whose number and gradient lie in arrays.  Copies of it, and what comes out of a pickle, are plain Values."""

    __slots__ = ()

    @property
    def data(self) -> float:
        array, i = _place(self)
        return array.item(i)  # type: ignore[no-any-return]

    @data.setter
    def data(self, number: float) -> None:
        array, i = _place(self)
        array[i] = number

    @property
    def grad(self) -> float:
        array, i = _grad_place(self)
        return array.item(i)  # type: ignore[no-any-return]

    @grad.setter
    def grad(self, number: float | None) -> None:
        array, i = _grad_place(self)
        array[i] = 0.0 if number is None else number  # None is how PyTorch code clears a gradient


def _yielding(name: str) -> Any:
    """A method of Value that leaves it to a traced operand to record, which a plain Value's operand does as a subclass."""
    method = getattr(Value, name)

    @functools.wraps(method)
    def yielding(self: Value, other: Any) -> Any:
        return NotImplemented if other.__class__ is Symbol else method(self, other)

    return yielding


for _name in ("add", "sub", "mul", "truediv", "pow", "lt", "le", "gt", "ge"):
    setattr(BufferedValue, f"__{_name}__", _yielding(f"__{_name}__"))
copyreg.pickle(BufferedValue, _reduce)


def _move(values: Sequence[Value]) -> Any:
    """Put the numbers of some leaves side by side into a new array, and give it."""
    global _moves
    data, grad = aligned(len(values)), aligned(len(values))
    data[:] = [v.data for v in values]
    grad[:] = [0.0 if v.grad is None else v.grad for v in values]
    for i, v in enumerate(values):
        v.__class__ = BufferedValue
        _data.__set__(v, (data, i))
        _grad.__set__(v, (grad, i))
    _moves += 1
    return data


class Reader:
    """How a program gets at the numbers of some Values: as a stretch of an array, or picked together from several places."""

    def __init__(self, values: Sequence[Value]) -> None:
        self.values = values
        self._seen = -1
        self._marked = False  # that a backward pass has reached them

    def numbers(self) -> Any:
        """The present numbers, in an array that is not to be written to."""
        if self._seen != _moves:
            self._find()
        if self.data is None:
            for data, _, places, at in self._parts:
                self._picked[at] = data[places]
            self._picked[self._loose_at] = [v.data for v in self._loose]
            return self._picked
        return self.data

    def write(self, numbers: Any) -> None:
        """Set all numbers."""
        for v, number in zip(self.values, numbers.tolist(), strict=True):
            v.data = number

    def add(self, gradient: Any) -> None:
        """Add a gradient into the Values' own."""
        if self._seen != _moves:
            self._find()
        if self.grad is not None:
            self.grad += gradient
        else:
            self._add_apart(gradient)
        self.mark()

    def mark(self) -> None:
        """Note that a backward pass has reached the Values, which is what ``has_grad`` tells."""
        if not self._marked:
            for v in self.values:
                if v._pass is None:
                    v._pass = self
            self._marked = True

    def flat(self) -> tuple[Any, Any] | None:
        """The numbers and the gradients as stretches of two arrays, where they lie so."""
        if self._seen != _moves:
            self._find()
        return None if self.data is None else (self.data, self.grad)

    def _find(self) -> None:
        self._seen, self._marked = _moves, False
        self.data: Any = None if self.values else np.zeros(0)
        self.grad: Any = None if self.values else np.zeros(0)
        homes: dict[int, list[tuple[int, Value]]] = {}
        self._loose_at, self._loose = [], []
        for i, v in enumerate(self.values):
            if v.__class__ is BufferedValue:
                homes.setdefault(id(_place(v)[0]), []).append((i, v))
            else:
                self._loose_at.append(i)
                self._loose.append(v)
        self._parts = []
        for members in homes.values():
            (data, start), grad = _place(members[0][1]), _grad_place(members[0][1])[0]
            places = np.array([_place(v)[1] for _, v in members])
            if len(members) == len(self.values) and (np.diff(places) == 1).all():
                stretch = slice(start, start + len(places))
                self.data, self.grad = data[stretch], grad[stretch]
            self._parts.append((data, grad, places, np.array([i for i, _ in members])))
        self._picked = np.zeros(len(self.values))

    def _add_apart(self, gradient: Any) -> None:
        for i, v in zip(self._loose_at, self._loose, strict=True):
            v.grad = gradient.item(i) if v.grad is None else v.grad + gradient.item(i)
        for _, grad, places, at in self._parts:
            grad[places] += gradient[at]


class Parameters:
    """The leaves that a program captured, and their numbers and gradients as flat arrays in the order of iteration.

    >>> import micrograd
    >>> w, b = micrograd.Value(2.0, label="w"), micrograd.Value(1.0, label="b")
    >>> program = micrograd.compile(lambda x: w * x + b)
    >>> program.backward(3.0)
    7.0
    >>> program.parameters
    <2 parameters: w, b>
    >>> program.parameters.grad
    array([3., 1.])
    >>> program.parameters.data[0] = 10.0
    >>> w, program(3.0)
    (Value(data=10.0, grad=3.0, label='w'), 31.0)
    """

    def __init__(self) -> None:
        self.values: list[Value] = []
        self._known: set[int] = set()
        self._own: Any = None  # the array that this program made
        self._given = False  # whether the user may hold arrays of the numbers or the gradients
        self._reader = Reader(self.values)

    def _capture(self, values: Iterable[Value]) -> None:
        for v in values:
            if id(v) not in self._known and v.kind != "constant":
                self._known.add(id(v))
                self.values.append(v)

    def _adopt(self) -> Parameters:
        """These parameters, their numbers in arrays: those that lie in the arrays of another program stay there."""
        new = [v for v in self.values if v.__class__ is Value]
        if new:
            old = [v for v in self.values if v.__class__ is BufferedValue]
            own = all(_place(v)[0] is self._own for v in old)
            self._own = _move([v for v in self.values if v.__class__ in (Value, BufferedValue)] if own else new)
        return self

    def _begin_with(self, values: Sequence[Value]) -> bool:
        """Have these first, in this order, where all are among the parameters; whether that is another order than before.

        Arrays that were handed out stay those of the parameters: then the order stays too.
        """
        first = list(map(id, values))
        if self._given or not self._known.issuperset(first) or first == [id(v) for v in self.values[: len(first)]]:
            return False
        among = set(first)
        self.values[:] = [*values, *(v for v in self.values if id(v) not in among)]
        self._own = _move(self.values)
        return True

    @property
    def data(self) -> Any:
        """All numbers, an array that may be written to.  RuntimeError where they lie in the arrays of other programs."""
        self._given = True
        return self._flat()[0]

    @data.setter
    def data(self, numbers: Any) -> None:
        self._flat()[0][:] = numbers

    @property
    def grad(self) -> Any:
        """All gradients, an array that may be written to."""
        self._given = True
        return self._flat()[1]

    @grad.setter
    def grad(self, numbers: Any) -> None:
        self._flat()[1][:] = numbers

    @property
    def names(self) -> list[str]:
        """The labels of the parameters."""
        return [v.label for v in self.values]

    def zero_grad(self) -> None:
        """Set all gradients to zero."""
        found = self._reader.flat()
        if found is not None:
            found[1].fill(0.0)
        else:
            for v in self.values:
                v.grad = 0.0

    def _stepper(self, state: dict[str, Any]) -> Any:
        """What runs an optimiser's rule on these arrays; its memories in ``state`` become arrays too."""
        from micrograd.compile.steps import Stepper, to_arrays  # steps is built on this module

        to_arrays(state)
        return Stepper()

    def _flat(self) -> tuple[Any, Any]:
        found = self._reader.flat()
        if found is None:
            raise RuntimeError(
                "these parameters are no single array, as another program that shares some was asked for its own first: "
                "read and write program.parameters[:], or ask this program for its parameters before the other one"
            )
        return found

    def __getitem__(self, index: Any) -> Any:
        """A copy of some of the numbers: ``parameters[:]`` of all."""
        picked = self._reader.numbers()[index]
        return picked.copy() if np.ndim(picked) else float(picked)

    def __setitem__(self, index: Any, numbers: Any) -> None:
        present = self[:]
        present[index] = numbers
        self._reader.write(present)

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[Value]:
        return iter(self.values)

    def __repr__(self) -> str:
        names = [name for name in self.names[:4] if name]
        shown = f": {', '.join(names)}{', ...' if len(self) > len(names) else ''}" if names else ""
        return f"<{len(self)} parameter{'s' * (len(self) != 1)}{shown}>"
