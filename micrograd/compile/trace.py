"""Tracing: a function is run once on symbols, and what it does to them is the tape.

A :class:`Symbol` is a Value without a number.  Reading one is an error that says what to write instead, as the branch that
hangs on it would be frozen into the program.  An integer argument is an :class:`Index`: used as a plain number it becomes
part of the program, and only ``take`` keeps it free.
"""

from __future__ import annotations

import functools
import numbers
import operator
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from micrograd import ops
from micrograd.anomaly import _line_outside
from micrograd.compile import tape as tapes
from micrograd.compile.tape import ADD, AND, LESS, LESS_EQUAL, MUL, NEG, NOT, OR, SELECT, SUB, Tape
from micrograd.engine import Value, topological_order
from micrograd.ops import Op

_new = object.__new__
DETACH = tapes.apply(ops.identity)


class TraceError(TypeError):
    """A traced function asked for what is not known before the program runs."""


class BatchedIntegerError(TraceError):
    """An integer of a batch was used as a number; ``argument`` is the position of what it came from."""

    argument: int

    def __init__(self, message: str, space: int) -> None:
        super().__init__(message)
        self.space = space


def _refuse(what: str, instead: str) -> NoReturn:
    line = _line_outside(sys._getframe(2))
    raise TraceError(
        f"{line}: {what} a traced Value, but a compiled function is recorded once, before its numbers are known: {instead}"
    )


_BRANCH = (
    "write micrograd.where(a > b, x, y) for a choice, micrograd.maximum(a, b) or minimum(a, b) for the larger or smaller "
    "of two, clip, relu or abs for what they do (np.where, np.maximum and the like compare as if and max do), and pass what "
    "decides as an int, str or bool to record a program for each"
)
_PICK = (
    "pass it as an int argument and write take(table, index); integers of a batch that the function also uses as numbers "
    "are numbers everywhere: pass them twice, as ints to pick with and as floats"
)
_NUMBER = (
    "write detach(v) for a constant copy, micrograd.sin(v) for math.sin(v), softmax(v) for one with the maximum taken out, "
    "and return the number to see it"
)


class Trace:
    """The recording of one run: its tape, the Values it captured, and the integers that became part of it.

    ``parameters`` are Values that have a place among the captured ones whether they are used or not.
    """

    def __init__(self, parameters: Sequence[Value] = ()) -> None:
        self.tape = Tape()
        self.captured = list(parameters)
        self._places = {id(v): i for i, v in enumerate(self.captured)}
        self.captured_space = self.tape.space(tapes.Space("parameters", size=len(self.captured)))
        self.frozen: dict[tuple[int, int], int] = {}  # (space, position) of an Index -> the number it had
        self.bounds: dict[tuple[int, int], int] = {}  # (space, position) of an Index -> the size of the smallest table
        self._nodes: dict[int, int] = {}  # id of a captured Value -> its instruction
        self._numbers: dict[int, int] = {}  # the same for the constants among what a captured Value was computed from
        self._kept: list[Value] = []  # so that no id is used again while this lives

    def symbol(self, node: int) -> Symbol:
        made = _new(Symbol)
        made.trace, made.node = self, node
        return made

    def emit(self, code: int, args: tuple[int, ...]) -> Symbol:
        return self.symbol(self.tape.add(code, args))

    def node(self, x: Any) -> int | None:
        """The instruction of an operand: of this trace, captured from outside, or a constant; None for no number."""
        if x.__class__ is Symbol:
            if x.trace is not self:
                _refuse("this line uses", "it belongs to another recording; do not keep traced Values outside the function")
            return int(x.node)
        if isinstance(x, Value):
            return self._captured(x)
        number = x if x.__class__ is float else ops.real(x)
        return None if number is None else self.tape.constant(number)

    def _captured(self, x: Value) -> int:
        """A Value from outside: its leaves are read at each call, and what was computed from them is computed anew.

        The numbers that it was computed with are part of the program.
        """
        known = self._nodes.get(id(x))
        if known is not None:
            return known
        for value in topological_order(x):
            if id(value) in self._nodes:
                continue
            if not value.parents and value.kind == "constant" and value is not x:
                self._numbers[id(value)] = self.tape.constant(value.data)
                continue
            if not value.parents:
                place = self._places.setdefault(id(value), len(self.captured))
                if place == len(self.captured):
                    self.captured.append(value)
                self._nodes[id(value)] = self.tape.leaf(self.captured_space, place)
                continue
            if not isinstance(value.operation, Op) or type(value.operation) is not Op:
                raise TraceError(f"a captured Value was built by hand as {value._op!r}: its operation is not in the table")
            nodes = [self._nodes.get(id(parent), self._numbers.get(id(parent), 0)) for parent in value.parents]
            parents = tuple([self.symbol(node) for node in nodes])
            self._nodes[id(value)] = self.record(value.operation, parents).node
            self._kept.append(value)
        return self._nodes[id(x)]

    def nodes(self, name: str, operands: Sequence[Any]) -> tuple[int, ...]:
        found = tuple([o.node if o.__class__ is Symbol and o.trace is self else self.node(o) for o in operands])
        if None in found:
            odd = operands[found.index(None)]
            raise TypeError(f"{name}() takes Values and numbers, got {type(odd).__name__}")
        return found  # type: ignore[return-value]

    def record(self, op: Op, operands: tuple[Any, ...]) -> Any:
        """What an operation gives on symbols.

        Operations of many operands are written out by their rule, so that a program has instructions of few kinds.
        """
        args = self.nodes(op.name, operands)
        if op in (ops.where, ops.take, ops.identity):
            return self.symbol(args[0])
        if op.arity is not None or op in (ops.sum, ops.dot, ops.mean):
            return self.emit(tapes.apply(op), args)
        symbols = [self.symbol(a) for a in args]
        if op._base in (ops.softmax, ops.log_softmax):
            outputs = (_softmax if op._base is ops.softmax else _log_softmax)(symbols)
            return outputs[op.params["index"]] if "index" in op.params else outputs
        value, derivatives = op.rule(SYMBOLS, *symbols)
        if op.vector:
            return [self.given(v, args, derivatives(i)) for i, v in enumerate(value)]
        return self.given(value, args, derivatives)

    def given(self, value: Any, args: tuple[int, ...], derivatives: Sequence[Any]) -> Symbol:
        """A value with its local derivatives, as a rule gave them."""
        nodes = self.nodes("a rule", (value, *derivatives))
        return self.emit(tapes.given(len(args)), (nodes[0], *args, *nodes[1:]))


# ---------------------------------------------------------------------------------------------------------- symbols


def _binary(code: int) -> Callable[[Symbol, Any], Any]:
    def method(self: Symbol, other: Any) -> Any:
        trace = self.trace
        node = other.node if other.__class__ is Symbol and other.trace is trace else trace.node(other)
        if node is None:
            return NotImplemented
        made = _new(Symbol)
        made.trace = trace
        tape = trace.tape
        made.node = len(tape.codes)
        tape.codes.append(code)
        tape.args.append((self.node, node))
        return made

    return method


def _reflected(code: int) -> Callable[[Symbol, Any], Any]:
    def method(self: Symbol, other: Any) -> Any:
        node = self.trace.node(other)
        return NotImplemented if node is None else self.trace.emit(code, (node, self.node))

    return method


def _unary(code: int) -> Callable[[Symbol], Symbol]:
    return lambda self: self.trace.emit(code, (self.node,))


def _comparison(code: int, swapped: bool = False) -> Callable[[Symbol, Any], Any]:
    def method(self: Symbol, other: Any) -> Any:
        node = self.trace.node(other)
        if node is None:
            return NotImplemented
        args = (node, self.node) if swapped else (self.node, node)
        return Predicate(self.trace, self.trace.tape.add(code, args))

    return method


class Symbol(Value):
    """A Value while a function is traced: it knows which instruction makes it, and no number."""

    __slots__ = ("node", "trace")

    trace: Trace
    node: int

    @property
    def data(self) -> float:
        return _refuse("this line reads .data of", _NUMBER)

    @data.setter
    def data(self, _: Any) -> None:
        _refuse("this line sets .data of", "compute a new Value")

    @property
    def grad(self) -> float:  # type: ignore[override]
        return _refuse("this line reads .grad of", "use program.value_and_grad, or program.backward for captured parameters")

    @property
    def label(self) -> str:
        return self.trace.tape.labels.get(self.node, "")

    @label.setter
    def label(self, name: str) -> None:
        self.trace.tape.labels[self.node] = name

    @property
    def parents(self) -> tuple[Value, ...]:
        return ()

    @property
    def kind(self) -> str:
        return "input"

    def backward(self, seed: float = 1.0) -> None:
        _refuse("this line calls backward() on", "return the loss, and call program.backward(...) or value_and_grad(...)")

    def detach(self) -> Symbol:
        return self.trace.emit(DETACH, (self.node,))

    @staticmethod
    def _record(op: Op, operands: tuple[Any, ...]) -> Any:
        return next(o.trace for o in operands if o.__class__ is Symbol).record(op, operands)

    __add__, __radd__ = _binary(ADD), _reflected(ADD)
    __sub__, __rsub__ = _binary(SUB), _reflected(SUB)
    __mul__, __rmul__ = _binary(MUL), _reflected(MUL)
    __truediv__, __rtruediv__ = _binary(tapes.apply(ops.div)), _reflected(tapes.apply(ops.div))
    _pow, __rpow__ = _binary(tapes.apply(ops.pow)), _reflected(tapes.apply(ops.pow))
    __neg__ = _unary(NEG)
    __lt__, __gt__ = _comparison(LESS), _comparison(LESS, swapped=True)
    __le__, __ge__ = _comparison(LESS_EQUAL), _comparison(LESS_EQUAL, swapped=True)

    def __eq__(self, other: object) -> Any:
        """Identity, as of all Values; a number that it were compared with is a choice that would be frozen."""
        if isinstance(other, Value) or ops.real(other) is None:
            return NotImplemented
        return _refuse("this line compares by == or in", _BRANCH)

    __hash__ = Value.__hash__

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, Value):
            return self._pow(exponent)
        number = ops.real(exponent)
        return NotImplemented if number is None else self.trace.record(ops.power.bind(exponent=number), (self,))

    def __bool__(self) -> bool:
        return _refuse("this line takes the truth of", _BRANCH)

    def __float__(self) -> float:
        return _refuse("this line makes a float of", _NUMBER)

    def __int__(self) -> int:
        return _refuse("this line makes an int of", "an index that varies is an int argument, used by take(table, index)")

    def __index__(self) -> int:
        own = "no derivative is by an index, so leave it out of wrt=, and give None as its tangent to hvp"
        return _refuse("this line uses as an index", f"{_PICK}; {own}")

    def __round__(self, digits: int | None = None) -> float:
        return _refuse("this line rounds", _NUMBER)

    def __format__(self, spec: str) -> str:
        return _refuse("this line formats", _NUMBER) if spec else repr(self)

    def __copy__(self) -> Symbol:
        return self

    def __deepcopy__(self, memo: Any) -> Symbol:
        return self

    def __reduce__(self) -> Any:
        return _refuse("this line pickles", _NUMBER)

    def _repr_svg_(self) -> None:
        return None

    def __repr__(self) -> str:
        return f"<traced Value %{self.node}>"


for _name, _method in list(vars(Value).items()):  # tanh, exp, ...: each method that records one operation of one operand
    _op = ops.TABLE.get(getattr(_method, "__name__", ""))
    if _name[0] != "_" and _op is not None and callable(_method) and not _op.params:
        setattr(Symbol, _name, _unary(tapes.apply(_op)) if _op.arity == 1 else _binary(tapes.apply(_op)))
for _name in ("abs", "__abs__"):
    setattr(Symbol, _name, _unary(tapes.apply(ops.abs)))


class Predicate:
    """A comparison of traced Values: it can be combined with ``&``, ``|`` and ``~`` and passed to ``where``."""

    __slots__ = ("node", "trace")

    def __init__(self, trace: Trace, node: int) -> None:
        self.trace, self.node = trace, node

    def _combined(self, code: int, other: Any) -> Any:
        if isinstance(other, bool):
            other = Predicate(self.trace, self.trace.tape.constant(float(other)))
        if not isinstance(other, Predicate):
            return NotImplemented
        return Predicate(self.trace, self.trace.tape.add(code, (self.node, other.node)))

    def __and__(self, other: Any) -> Any:
        return self._combined(AND, other)

    def __or__(self, other: Any) -> Any:
        return self._combined(OR, other)

    __rand__, __ror__ = __and__, __or__

    def __invert__(self) -> Predicate:
        return Predicate(self.trace, self.trace.tape.add(NOT, (self.node,)))

    def __bool__(self) -> bool:
        return _refuse("this line decides by a comparison of", _BRANCH)

    def __float__(self) -> float:
        return _refuse("this line makes a number of a comparison of", "write where(a > b, 1.0, 0.0)")

    __int__ = __index__ = __float__

    def _select(self, a: Any, b: Any) -> Symbol:
        """``where(self, a, b)``."""
        return self.trace.emit(SELECT, (self.node, *self.trace.nodes("where", (a, b))))

    def __repr__(self) -> str:
        return f"<traced comparison %{self.node}>"


# -------------------------------------------------------------------------------------------------------- integers


def _frozen(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def method(self: Index, *others: Any) -> Any:
        return function(self.freeze(), *(o.freeze() if isinstance(o, Index) else o for o in others))

    return method


def _frozen_reflected(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda self, other: function(other, self.freeze())


class Index:
    """An integer argument: ``take(table, index)`` leaves it free, any other use makes it part of the program."""

    __slots__ = ("batched", "node", "place", "trace", "value")

    def __init__(self, trace: Trace, space: int, position: int, value: int) -> None:
        self.trace, self.place, self.value = trace, (space, position), value
        self.node = trace.tape.leaf(space, position)
        self.batched = trace.tape.spaces[space].batched

    def freeze(self) -> int:
        """The integer, from now on part of the program: another one is another recording."""
        if self.batched:
            line = _line_outside(sys._getframe(1))
            raise BatchedIntegerError(
                f"{line}: this line uses an integer that differs between the examples of a batch as part of the program: "
                "write take(table, index) for an entry of a table, or pass floats for numbers",
                self.place[0],
            )
        self.trace.frozen[self.place] = self.value
        return self.value

    def _pick(self, table: Sequence[Any]) -> Any:
        """``take(table, self)``; rows are picked entry by entry."""
        if len(table) == 0:
            raise IndexError("take() from an empty table")
        if not -len(table) <= self.value < len(table) and not self.batched:
            raise IndexError(f"take(): index {self.value} is outside a table of {len(table)}")
        rows = [_entries(row) for row in table]
        bound = self.trace.bounds.get(self.place, len(rows))
        self.trace.bounds[self.place] = min(bound, len(rows))
        return self._column(rows)

    def _column(self, rows: list[Any]) -> Any:
        if isinstance(rows[0], list):
            if len({len(row) if isinstance(row, list) else -1 for row in rows}) != 1:
                raise ValueError("take() by a traced index: the rows of the table must have equal lengths")
            for row in rows:  # captured row by row, as they lie in memory
                if not isinstance(row[0] if row else [], list):
                    self.trace.nodes("take", row)
            return [self._column([row[i] for row in rows]) for i in range(len(rows[0]))]
        return self.trace.emit(tapes.take(len(rows)), (self.node, *self.trace.nodes("take", rows)))

    def __hash__(self) -> int:
        return hash(self.freeze())

    def __repr__(self) -> str:
        return repr(self.freeze())

    def __format__(self, spec: str) -> str:
        return format(self.freeze(), spec)


def _entries(row: Any) -> Any:
    row = row.tolist() if getattr(row, "shape", ()) else row
    return [_entries(entry) for entry in row] if isinstance(row, (list, tuple)) else row


for _name in ("lt", "le", "gt", "ge", "eq", "ne", "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "lshift",
              "rshift", "and_", "or_", "xor", "neg", "pos", "abs", "invert"):  # fmt: skip
    _function = getattr(operator, _name)
    setattr(Index, f"__{_name.strip('_')}__", _frozen(_function))
    if _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "and_", "or_", "xor"):
        setattr(Index, f"__r{_name.strip('_')}__", _frozen_reflected(_function))
_BUILTINS: dict[str, Callable[..., Any]] = {
    "index": operator.index, "int": int, "float": float, "bool": bool, "round": round, "str": str
}  # fmt: skip
for _name, _builtin in _BUILTINS.items():
    setattr(Index, f"__{_name}__", _frozen(_builtin))
numbers.Integral.register(Index)


# ------------------------------------------------------------------------------------- rules of many operands, written out


class _Symbols(ops._Values):
    """Symbols as a number system: like Values, but a choice records both sides."""

    @staticmethod
    def where(condition: Any, a: Any, b: Any) -> Any:
        return condition._select(a, b) if hasattr(condition, "_select") else (a if condition else b)


SYMBOLS = _Symbols()


def _highest(x: list[Any]) -> Any:
    return functools.reduce(lambda a, b: a.maximum(b), x)


def _softmax(x: list[Symbol]) -> list[Any]:
    """exp(x - max) / sum: n quotients, where the rule's Jacobian would have n * n entries."""
    top = _highest(x).detach()
    exps = [(v - top).exp() for v in x]
    total = ops.sum(exps)
    return [e / total for e in exps]


def _log_softmax(x: list[Symbol]) -> list[Any]:
    top = _highest(x).detach()
    shifted = [v - top for v in x]
    total = ops.logsumexp(shifted)
    return [v - total for v in shifted]
