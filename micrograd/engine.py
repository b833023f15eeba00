"""The engine: a Value records its parents and local derivatives, and backward sums over all paths by the chain rule."""

from __future__ import annotations

import contextlib
import operator
import os
import threading
from collections.abc import Callable, Container, Iterable, Sequence
from contextvars import ContextVar
from typing import Any, SupportsFloat

from micrograd import ops
from micrograd.ops import FLOATS, Op

NO_PARENTS: tuple[Value, ...] = ()
_LOCK = threading.Lock()  # one backward pass at a time, as passes may share parameters
_sender: int | None = None  # the thread whose pass is running
_watch: Any = None  # the running detect_anomaly, which sees each node recorded and each pass done
_depth: ContextVar[int] = ContextVar("depth", default=0)  # how many functions are being differentiated at the moment
_new = object.__new__


class Leaf:
    """What a node without parents stands for: an input, a parameter that is trained, or a constant."""

    __slots__ = ("kind",)
    symbol = ""

    def __init__(self, kind: str) -> None:
        self.kind = kind

    def __reduce__(self) -> str:
        return self.kind.upper()  # the name of a constant of this module


INPUT, PARAMETER, CONSTANT = Leaf("input"), Leaf("parameter"), Leaf("constant")


def _no_picture(_: object) -> str | None:
    return None


picture: Callable[[object], str | None] = _no_picture  # how things show themselves in a notebook: the package sets it


# ------------------------------------------------------------------------------------------------------ recording


def _unary(op: Op) -> Callable[[Value], Value]:
    """The method that records a node with one parent."""
    rule = op.rule

    def method(self: Value) -> Value:
        node = _new(Value)
        node.data, node._dleft = rule(FLOATS, self.data)
        node._left = (self,)
        node._right = None
        node.operation = op
        node.grad = 0.0
        node.label = ""
        node._pass = None
        if _watch is not None:
            _watch.recorded(node)
        return node

    _name(method, op)
    return method


def _binary(op: Op) -> Callable[[Value, SupportsFloat], Value]:
    """The method that records a node with two parents; NotImplemented for an operand that is no number."""
    rule = op.rule

    def method(self: Value, other: Any) -> Any:
        if other.__class__ is not Value:
            other = _operand(other)
            if other is None:
                return NotImplemented
            if other.__class__ is not Value:
                return self._record(op, (self, other))
        node = _new(Value)
        node.data, (node._dleft, node._dright) = rule(FLOATS, self.data, other.data)
        node._left = self
        node._right = other
        node.operation = op
        node.grad = 0.0
        node.label = ""
        node._pass = None
        if _watch is not None:
            _watch.recorded(node)
        return node

    _name(method, op)
    return method


def _reflected(method: Callable[[Value, SupportsFloat], Value]) -> Callable[[Value, SupportsFloat], Value]:
    """The method for an operand on the left that is no Value: 2 - v."""

    def reflected(self: Value, other: Any) -> Value:
        left = _operand(other)
        return NotImplemented if left is None else method(left, self)

    return reflected


def _comparison(compare: Callable[[Any, Any], bool]) -> Callable[[Value, SupportsFloat], bool]:
    """An order comparison of data with a Value or a number."""

    def method(self: Value, other: Any) -> bool:
        number = other.data if isinstance(other, Value) else ops.real(other)
        return NotImplemented if number is None else compare(self.data, number)

    return method


def _node(op: Op | Leaf, data: float, parents: tuple[Value, ...], derivatives: tuple[float, ...]) -> Value:
    """A node of any number of parents."""
    node = _new(Value)
    node.data, node.grad, node.label, node.operation, node._pass = data, 0.0, "", op, None
    if len(derivatives) == 2:
        (node._left, node._right), (node._dleft, node._dright) = parents, derivatives
    else:
        node._left, node._right, node._dleft = parents, None, derivatives
    if _watch is not None and parents:
        _watch.recorded(node)
    return node


def _operand(x: Any) -> Value | None:
    """x itself when it is a Value, a constant when it is a real number, else None."""
    if isinstance(x, Value):
        return x
    number = x if x.__class__ is float else ops.real(x)
    return None if number is None else _node(CONSTANT, number, NO_PARENTS, ())


def _operand_of(op: Op, x: Any) -> Value:
    operand = _operand(x)
    if operand is None:
        raise TypeError(f"{op.name}() takes Values and numbers, got {type(x).__name__}")
    return operand


def _renew_lock() -> None:
    """In a forked child: the thread that held the lock is not there to release it."""
    global _LOCK, _sender
    _LOCK, _sender = threading.Lock(), None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _name(method: Callable[..., Any], op: Op) -> None:
    method.__name__, method.__qualname__ = op.name, f"Value.{op.name}"
    method.__doc__ = (op.__doc__ or "").split(">>>")[0].rstrip()  # the example is the function's


def _refusal(data: Any) -> str:
    """Why data cannot become a Value, and what to write instead."""
    hints = {
        "Value": "it is one already: use it as it is, or v.detach() for a constant copy",
        "str": "write Value(float(text))",
        "complex": "a Value is real: use z.real and z.imag",
        "NoneType": "a function without a return statement gives None",
    }
    hint = hints.get(type(data).__name__, "for several numbers write [Value(x) for x in numbers]")
    return f"Value(data) takes one real number, got {type(data).__name__}: {hint}"


class _HandBuilt(Op):
    """An operation known by its symbol only, which a node built by hand carries."""

    def __init__(self, symbol: str) -> None:
        super().__init__("by_hand", symbol, ops.identity.rule, ())

    def __reduce__(self) -> tuple[Any, ...]:
        return _HandBuilt, (self.symbol,)


class _Underived(tuple[float, ...]):
    """The local derivatives of a node built by hand with an unknown operation: there are none to give."""

    def __iter__(self) -> Any:
        raise ValueError(
            "this graph has a node built by hand, Value(data, children, op), whose op is not in the table, so it has no "
            "local derivatives: define the operation with micrograd.ops.op"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _Underived, ()


def _by_symbol(symbol: str, parents: tuple[Value, ...]) -> tuple[Op, tuple[float, ...]]:
    """The operation of a node built by hand, and its local derivatives when the table knows its symbol."""
    for op in ops.TABLE.values():
        if op.symbol == symbol and op.arity == len(parents):
            return op, op.rule(FLOATS, *[p.data for p in parents])[1]
    if symbol.startswith("**") and len(parents) == 1:
        with contextlib.suppress(ValueError):
            power = ops.power.bind(exponent=float(symbol[2:]))
            return power, power.rule(FLOATS, parents[0].data)[1]
    return _HandBuilt(symbol), _Underived()


# --------------------------------------------------------------------------------------------------- the chain rule


def topological_order(*roots: Value, stop: Container[Value] = ()) -> list[Value]:
    """Every node that the roots were computed from, each after its parents; nodes in ``stop`` count as leaves.

    The order is a depth-first postorder: the same program gives the same order in every run.

    >>> a = Value(2.0)
    >>> b = a * a
    >>> topological_order(b) == [a, b]
    True
    """
    for root in roots:
        if not hasattr(root, "parents"):
            raise TypeError(f"topological_order() takes Values, each by itself, got {type(root).__name__}")
    order: list[Value] = []
    seen: set[Value] = set()
    stack: list[Value | None] = list(reversed(roots))
    while stack:
        node = stack.pop()
        if node is None:
            order.append(stack.pop())  # type: ignore[arg-type]  # below a None lies a node whose parents are all in order
        elif node not in seen:
            seen.add(node)
            stack += (node, None)
            if node not in stop:
                stack += node.parents[::-1]
    return order


def _count_paths(root: Value) -> list[tuple[Value, float]]:
    """First walk: count the edges into each reached node, zero the interior gradients, return the leaves with theirs."""
    this_pass = object()
    root._pass, root._pending, root_parents = this_pass, 0, root.parents
    leaves = []
    if root_parents:
        root.grad = 0.0
    else:
        leaves.append((root, root.grad))
    stack = [root]
    push, pop = stack.append, stack.pop
    while stack:
        node = pop()
        for parent in node._left if node._right is None else (node._left, node._right):
            if parent._pass is this_pass:
                parent._pending += 1
            else:
                parent._pass = this_pass
                parent._pending = 1
                if parent._left is NO_PARENTS:
                    if parent.grad is None:  # how PyTorch code clears a gradient
                        parent.grad = 0.0
                    leaves.append((parent, parent.grad))
                else:
                    parent.grad = 0.0
                    push(parent)
    return leaves


def _send_gradients(root: Value, seed: float) -> None:
    """Second walk: a node multiplies its gradient down its edges as soon as all paths into it have arrived."""
    root.grad += seed
    stack = [root]
    push, pop = stack.append, stack.pop
    while stack:
        node = pop()
        grad, right = node.grad, node._right
        if right is None:
            for parent, derivative in zip(node._left, node._dleft, strict=True):
                parent.grad += grad * derivative
                if parent._pending == 1:
                    if parent._left is not NO_PARENTS:
                        push(parent)
                else:
                    parent._pending -= 1
        else:  # the loop above written out for two parents, which most nodes have: twice as fast
            left = node._left
            left.grad += grad * node._dleft
            if left._pending == 1:
                if left._left is not NO_PARENTS:
                    push(left)
            else:
                left._pending -= 1
            right.grad += grad * node._dright
            if right._pending == 1:
                if right._left is not NO_PARENTS:
                    push(right)
            else:
                right._pending -= 1


# -------------------------------------------------------------------------------------------------------- the node


class Value:
    """A scalar that remembers how it was computed.

    Arithmetic on Values records a graph: each result keeps its parents (the operands, in order, repeated operands twice)
    and the local derivative by each.  ``backward()`` on a result fills ``grad`` of everything it was computed from.

    >>> a, b = Value(2.0, label="a"), Value(3.0)
    >>> c = a * b + a
    >>> c.backward()
    >>> a, c
    (Value(data=2.0, grad=4.0, label='a'), Value(data=8.0, grad=1.0))

    ``data`` may be any real number and becomes a float; TypeError for anything else.  ``_children`` and ``_op`` build a node
    by hand, as lecture code does.
    """

    # A binary node, the usual kind, keeps two parents and two derivatives in slots: a tuple more in each node would double
    # the work of the garbage collector.  Any other node has its parents in the tuple _left, and _right is None.
    __slots__ = (
        "data",
        "grad",
        "label",
        "operation",
        "_left",
        "_right",
        "_dleft",
        "_dright",
        "_pass",
        "_pending",
    )

    data: float
    grad: float
    label: str
    operation: Op | Leaf
    _left: Any
    _right: Value | None
    _dleft: Any
    _dright: float
    _pass: object | None  # the last backward pass that reached this node
    _pending: int  # edges over which that pass has still to arrive

    def __init__(self, data: Any, _children: Iterable[Value] = (), _op: str = "", label: str = "") -> None:
        number = ops.real(data)
        if number is None:
            raise TypeError(_refusal(data))
        if isinstance(_children, Value):
            raise TypeError("_children must be a tuple of Values, got a Value: write (v,)")
        parents = tuple(_children)
        for parent in parents:
            if not isinstance(parent, Value):
                raise TypeError(f"_children must be Values, got {type(parent).__name__}: write Value(x) for a number x")
        self.data, self.grad, self.label, self._pass = number, 0.0, label, None
        self.operation, self._left, self._right, self._dleft = INPUT, parents, None, NO_PARENTS
        if parents:
            self.operation, self._dleft = _by_symbol(_op, parents)

    # ------------------------------------------------------------------------------------------------ structure

    @property
    def parents(self) -> tuple[Value, ...]:
        """The operands that this node was computed from, in order; ``x + x`` has two.  Empty for a leaf."""
        return self._left if self._right is None else (self._left, self._right)

    @property
    def local_derivatives(self) -> tuple[float, ...]:
        """The derivative of this node by each of its parents, at their data when it was recorded."""
        return self._dleft if self._right is None else (self._dleft, self._dright)

    @property
    def kind(self) -> str:
        """What this node is: ``"input"``, ``"parameter"``, ``"constant"`` or ``"operation"``."""
        return self.operation.kind if isinstance(self.operation, Leaf) else "operation"

    @property
    def has_grad(self) -> bool:
        """Whether a backward pass has reached this node, so that its grad means something."""
        return self._pass is not None

    _prev = _children = parents  # the names of micrograd and microgpt
    _local_grads = local_derivatives

    @property
    def _op(self) -> str:
        return self.operation.symbol

    # ------------------------------------------------------------------------------------------------- backward

    def backward(self, seed: float = 1.0) -> None:
        """Add the derivative of this node by every leaf it depends on into that leaf's ``grad``, times ``seed``.

        The gradients of interior nodes are set anew, those of leaves accumulate until ``zero_grad``, as in PyTorch.  The
        chain rule is a sum over all paths (S1): a node passes its gradient on once the paths into it have all arrived,
        which is Kahn's topological order.

        >>> x = Value(3.0)
        >>> (x * x).backward()
        >>> x.grad
        6.0
        """
        start = ops.real(seed)
        if start is None:
            raise TypeError(f"backward() takes a number as its seed, got {type(seed).__name__}")
        global _sender
        if _sender == threading.get_ident():
            raise RuntimeError("backward() was called within backward(), by a signal handler or a finalizer: call it after")
        with _LOCK:
            _sender = threading.get_ident()
            try:
                leaves = _count_paths(self)
                try:
                    _send_gradients(self, start)
                except BaseException:
                    for leaf, grad in leaves:  # an interrupted pass leaves no half sums behind
                        leaf.grad = grad
                    raise
            finally:
                _sender = None
        if _watch is not None:
            _watch.swept(self)

    def detach(self) -> Value:
        """A constant with the same data: gradients stop here."""
        return _node(CONSTANT, self.data, NO_PARENTS, ())

    # ----------------------------------------------------------------------------------------------- operations

    @staticmethod
    def _record(op: Op, operands: tuple[Any, ...]) -> Any:
        """A node for an operation on Values and numbers: what Op.__call__ finds when an operand is a Value."""
        for kind in set(map(type, operands)):
            if kind is not Value and issubclass(kind, Value) and kind._record is not Value._record:  # a traced Value
                return kind._record(op, operands)
        parents = tuple([o if o.__class__ is Value else _operand_of(op, o) for o in operands])
        value, derivatives = op.rule(FLOATS, *[p.data for p in parents])
        if op.vector:
            return [_node(op.bind(index=i), value[i], parents, derivatives(i)) for i in range(len(value))]
        return _node(op, value, parents, derivatives)

    __add__ = _binary(ops.add)
    __sub__ = _binary(ops.sub)
    __mul__ = _binary(ops.mul)
    __truediv__ = _binary(ops.div)
    __radd__ = _reflected(__add__)
    __rsub__ = _reflected(__sub__)
    __rmul__ = _reflected(__mul__)
    __rtruediv__ = _reflected(__truediv__)
    __neg__ = _unary(ops.neg)
    __abs__ = abs = _unary(ops.abs)
    _pow = _binary(ops.pow)
    __rpow__ = _reflected(_pow)

    def __pow__(self, exponent: SupportsFloat) -> Value:
        if isinstance(exponent, Value):
            return self._pow(exponent)
        number = ops.real(exponent)
        return NotImplemented if number is None else self._record(ops.power.bind(exponent=number), (self,))

    def __pos__(self) -> Value:
        return self

    sqrt = _unary(ops.sqrt)
    exp = _unary(ops.exp)
    expm1 = _unary(ops.expm1)
    log = _unary(ops.log)
    log1p = _unary(ops.log1p)
    log2 = _unary(ops.log2)
    log10 = _unary(ops.log10)
    sin = _unary(ops.sin)
    cos = _unary(ops.cos)
    tan = _unary(ops.tan)
    asin = arcsin = _unary(ops.asin)  # the second names are NumPy's: np.arcsin of an object array calls them
    acos = arccos = _unary(ops.acos)
    atan = arctan = _unary(ops.atan)
    atan2 = arctan2 = _binary(ops.atan2)
    sinh = _unary(ops.sinh)
    cosh = _unary(ops.cosh)
    tanh = _unary(ops.tanh)
    asinh = arcsinh = _unary(ops.asinh)
    acosh = arccosh = _unary(ops.acosh)
    atanh = arctanh = _unary(ops.atanh)
    hypot = _binary(ops.hypot)
    erf = _unary(ops.erf)
    erfc = _unary(ops.erfc)
    sigmoid = _unary(ops.sigmoid)
    softplus = _unary(ops.softplus)
    relu = _unary(ops.relu)
    gelu = _unary(ops.gelu)
    silu = _unary(ops.silu)
    maximum = _binary(ops.maximum)
    minimum = _binary(ops.minimum)

    def leaky_relu(self, slope: float = 0.01) -> Value:
        """``a`` where it is positive, ``slope * a`` elsewhere."""
        return ops.leaky_relu(self, slope)  # type: ignore[no-any-return]

    def elu(self, alpha: float = 1.0) -> Value:
        """``a`` where it is positive, ``alpha * (exp(a) - 1)`` elsewhere."""
        return ops.elu(self, alpha)  # type: ignore[no-any-return]

    def clip(self, low: float = -float("inf"), high: float = float("inf")) -> Value:
        """``a`` held between two numbers."""
        return ops.clip(self, low, high)  # type: ignore[no-any-return]

    # -------------------------------------------------------------------------------------------- Python protocol

    __lt__ = _comparison(operator.lt)
    __le__ = _comparison(operator.le)
    __gt__ = _comparison(operator.gt)
    __ge__ = _comparison(operator.ge)

    def __bool__(self) -> bool:
        return bool(self.data)

    def __float__(self) -> float:
        if _depth.get():  # math.sin(v) calls this: its derivative would silently be zero
            raise TypeError(
                "float(v) drops the history of a Value, and this one is being differentiated: write micrograd.sin(v) for "
                "math.sin(v), xp.sin(a) in the rule of an operation, or v.data where a constant is meant"
            )
        return float(self.data)

    def __int__(self) -> int:
        return int(self.data)

    def __round__(self, digits: int | None = None) -> float:
        return round(self.data, digits)

    def __format__(self, spec: str) -> str:
        return format(self.data, spec) if spec else repr(self)

    def __copy__(self) -> Value:
        copy = _node(self.operation, self.data, self.parents, self.local_derivatives)
        copy.grad, copy.label, copy._pass = self.grad, self.label, self._pass
        return copy

    def _repr_svg_(self) -> str | None:
        return picture(self)

    def __repr__(self) -> str:
        data, grad, label = (getattr(self, name, "?") for name in ("data", "grad", "label"))
        return f"Value(data={data}, grad={grad}" + (f", label={label!r})" if label else ")")


# ------------------------------------------------------------------------------------------ functions of many Values


def dot(w: Sequence[Any], x: Sequence[Any], b: Any = 0.0) -> Any:
    """The weighted sum ``b + w1*x1 + w2*x2 + ...`` as one node (V2, V3).  ValueError for unequal lengths.

    >>> dot([Value(1.0), Value(2.0)], [10.0, 20.0], 0.5)
    Value(data=50.5, grad=0.0)
    """
    for operand in (w, x):
        if not hasattr(operand, "__iter__"):
            raise TypeError(
                f"dot() takes a list of weights and one of inputs, got {type(operand).__name__}: write dot([w], [x])"
            )
    w, x = tuple(w), tuple(x)
    if len(w) != len(x):
        raise ValueError(f"dot() takes as many inputs as weights, got {len(w)} weights and {len(x)} inputs")
    operands = (*w, *x, b)
    if any(isinstance(operand, Value) for operand in operands):
        return Value._record(ops.dot, operands)
    return ops.dot(operands)


def pow(a: Any, b: Any) -> Any:
    """``a ** b``; a number as exponent is a parameter of the operation and gets no gradient.

    >>> pow(Value(-2.0), 3)
    Value(data=-8.0, grad=0.0)
    """
    return a**b if isinstance(a, Value) or isinstance(b, Value) else ops.pow(a, b)


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` if the condition holds, else ``b``.  The gradient goes to the chosen side only: the other has no path.

    >>> x = Value(-1.0)
    >>> where(x > 0, x.log(), 0.0)
    Value(data=0.0, grad=0.0)
    """
    if hasattr(condition, "_select"):  # a comparison of traced Values: both sides are recorded
        return condition._select(a, b)
    chosen = a if condition else b
    if not isinstance(chosen, Value) and (isinstance(a, Value) or isinstance(b, Value)):
        chosen = _operand_of(ops.where, chosen)
    return ops.where(chosen)


def take(table: Sequence[Any], index: Any) -> Any:
    """The entry of a table at an integer index, a row of them where the table is nested.

    TypeError for an index that is no integer, IndexError for one outside the table.

    >>> take([Value(1.0), Value(2.0)], 1)
    Value(data=2.0, grad=0.0)
    """
    if not hasattr(table, "__len__"):
        raise TypeError(f"take() takes a list of Values, got {type(table).__name__}: write take([a, b], index)")
    if hasattr(index, "_pick"):  # a traced integer
        return index._pick(table)
    if not hasattr(index, "__index__"):
        raise TypeError(f"take() takes an integer index, got {type(index).__name__}")
    position = operator.index(index)
    if not -len(table) <= position < len(table):
        raise IndexError(f"take(): index {position} is outside a table of {len(table)}")
    return _taken(table[position])


def _taken(entry: Any) -> Any:
    entry = entry.tolist() if getattr(entry, "shape", ()) else entry  # a row of an object array
    return [_taken(e) for e in entry] if isinstance(entry, (list, tuple)) else ops.take(entry)


def detach(v: Any) -> Any:
    """The same number without its history: gradients stop here.  A constant for a Value, the float for a number.

    >>> x = Value(3.0)
    >>> (x * detach(x)).backward()
    >>> x.grad
    3.0
    """
    return v.detach() if isinstance(v, Value) else ops.identity(v)
