"""The rule table: every operation of micrograd, defined once.

An operation is one small function over a *number system* ``xp``.  It returns its value and its local derivatives,
one for each argument, and may share work between the two::

    @op(symbol="tanh", domain=[(-20, 20)])
    def tanh(xp, a):
        t = xp.tanh(a)
        return t, (1.0 - t * t,)

The same stanza is run over floats (:data:`FLOATS`, the eager engine), over Values (:data:`VALUES`, exact higher
derivatives), over NumPy arrays and over the compiler's recorder.  It may use the operators ``+ - *``, order comparisons
joined by ``&`` and ``|``, and the functions of its number system: ``xp.div`` and ``xp.pow`` (which follow IEEE 754 where
Python's ``/`` and ``**`` raise), ``xp.where``, and every operation of this table by its name.

``symbol`` is what pictures print, ``domain`` one interval an argument on which tests hold the operation to its accuracy.
Keyword-only arguments are *parameters*: numbers fixed when the operation is recorded, which get no gradient.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
import textwrap
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

Number = Any  # a number of whatever system the rule is run over
Result = tuple[Number, tuple[Number, ...]]  # a value and its local derivatives
VectorResult = tuple[tuple[Number, ...], Callable[[int], tuple[Number, ...]]]  # values, and the row of the Jacobian for one


# ---------------------------------------------------------------------------------------------------- operations


_VARARGS = 0x04  # the flag of a function with *args: inspect.CO_VARARGS, without the cost of importing inspect


class Op:
    """One operation of the table: a name, a symbol, a rule and the domain of its tests.

    Calling it records a node when an argument is a Value and computes a float when all arguments are numbers.  A rule
    with ``*args`` takes one iterable; parameters may follow by position or by name.

    >>> tanh(0.5) == math.tanh(0.5)
    True
    >>> clip(7.0, -1.0, 1.0)
    1.0
    """

    def __init__(
        self, name: str, symbol: str, rule: Callable[..., Any], domain: Sequence[tuple[float, float]], vector: bool = False
    ) -> None:
        self.name, self.symbol, self.rule, self.domain, self.vector = name, symbol, rule, tuple(domain), vector
        if not hasattr(rule, "__code__"):
            raise TypeError(f"the rule of an operation is a plain function, got {rule!r}: write it with def")
        code, defaults = rule.__code__, rule.__kwdefaults__ or {}
        parameters = code.co_varnames[code.co_argcount : code.co_argcount + code.co_kwonlyargcount]
        if len(defaults) < len(parameters):
            raise ValueError(f"operation {name}: its parameters {', '.join(parameters)} need default values")
        self.arity = None if code.co_flags & _VARARGS else code.co_argcount - 1
        self.params = {parameter: defaults[parameter] for parameter in parameters}
        if self.arity is not None and len(self.domain) == 1:
            self.domain *= self.arity  # one interval for all operands
        self._base = self
        self._bound: dict[tuple[Any, ...], Op] = {}
        first, _, rest = (rule.__doc__ or f"The operation {name}.").partition("\n")
        self.__doc__ = f"{first}\n{textwrap.dedent(rest)}".rstrip()

    def bind(self, **params: Any) -> Op:
        """This operation with its parameters fixed; ``index=i`` picks one output of a vector operation.

        >>> power.bind(exponent=2.0).symbol
        '**2'
        """
        # one number, one operation: parameters become floats, and adding 0.0 makes -0.0 the same key as 0.0
        params = {**self.params, **{name: v if name == "index" else (real(v) or 0.0) + 0.0 for name, v in params.items()}}
        key = tuple(params.items())
        bound = self._bound.get(key)
        if bound is None:
            bound = self._base._bind(params)
            if len(self._bound) < 1000:  # a cache, not a leak: an exponent may change at every step
                self._bound[key] = bound
        return bound

    def _bind(self, params: dict[str, Any]) -> Op:
        bound: Op = object.__new__(Op)
        for slot in ("name", "domain", "arity", "_base", "_bound", "__doc__"):
            setattr(bound, slot, getattr(self, slot))
        bound.params = params
        bound.symbol = self.symbol.format(**{k: f"{v:.12g}" for k, v in params.items()})
        bound.vector = self.vector and "index" not in params
        rule = functools.partial(_output, self.rule) if "index" in params else self.rule
        bound.rule = functools.partial(rule, **params)
        return bound

    def arguments(self, args: tuple[Any, ...], params: dict[str, Any]) -> tuple[Op, tuple[Any, ...]]:
        """The operation with its parameters bound, and its operands as a flat tuple.  Raises TypeError for a wrong count."""
        count = 1 if self.arity is None else self.arity
        given = {**dict(zip(self.params, args[count:], strict=False)), **params}
        unused = len(args) - count + len(params) != len(given)  # too many by position, or one by position and by name
        if len(args) < count or unused or given.keys() - self.params.keys():
            raise TypeError(f"{self.name}() takes {self._expects(count)}, got {_describe(args, params)}")
        for name, value in given.items():
            if real(value) is None:
                hint = ": use maximum and minimum for bounds that are Values" if self.name == "clip" else ""
                raise TypeError(
                    f"{self.name}(): {name} is a parameter and must be a number, got {type(value).__name__}{hint}"
                )
        operands = args[:count]
        if self.arity is None:
            operands = _iterable(self.name, args[0])
        return (self.bind(**{**self.params, **given}) if self.params else self), operands

    def _expects(self, count: int) -> str:
        operands = "one iterable of numbers" if self.arity is None else f"{count} operand{'s' * (count != 1)}"
        return operands + (f" and then {', '.join(self.params)}" if self.params else "")

    def __call__(self, *args: Any, **params: Any) -> Any:
        if params or self.params or len(args) != self.arity:
            op, operands = self.arguments(args, params)
        else:
            op, operands = self, args
        for operand in operands:
            record = getattr(operand.__class__, "_record", None)
            if record is not None:
                return record(op, operands)
        numbers = [_number(op.name, operand) for operand in operands]
        if self.arity is None and not numbers and self.name not in ("sum", "prod"):
            raise ValueError(f"{self.name}() of no numbers: expected at least one, got an empty iterable")
        value = op.rule(FLOATS, *numbers)[0]
        return list(value) if op.vector else value

    def __repr__(self) -> str:
        return f"<operation {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        base: Op = self._base
        return _lookup, (self.name, tuple(self.params.items()) if self is not base else ())


TABLE: dict[str, Op] = {}


def op(
    symbol: str | None = None, domain: Sequence[tuple[float, float]] = ((-2.0, 2.0),), vector: bool = False
) -> Callable[[Callable[..., Any]], Op]:
    """Add an operation to the table: a decorator for a rule ``(xp, a, b, ..., *, parameter=default)``.

    The rule returns ``value, (derivative by a, derivative by b, ...)``; with ``vector=True`` a tuple of values and a
    function that gives such a row for the i-th value.  It asks with ``xp.where``, not with ``if``: in a compiled program it
    is run once for all numbers.  Raises ValueError for a name of micrograd's own and TypeError for a rule whose result has
    the wrong shape.

    >>> @op(symbol="cube", domain=[(-2.0, 2.0)])
    ... def cube(xp, a):
    ...     return a * a * a, (3.0 * a * a,)
    >>> cube(2.0)
    8.0
    >>> del TABLE["cube"]
    """

    def add(rule: Callable[..., Any]) -> Op:
        name = rule.__name__
        if name in TABLE and TABLE[name].rule.__module__ == __name__:
            raise ValueError(f"an operation named {name!r} is part of micrograd: choose another name")
        added = Op(name, symbol or name, rule, domain, vector)
        if rule.__module__ != __name__:
            _check_rule(added)
        TABLE[name] = added  # one of the user's own is replaced, as when a notebook cell runs again
        return added

    if callable(symbol):
        raise TypeError(f'write @op() or @op(symbol="...") above {symbol.__name__}, with parentheses')
    return add


def _check_rule(added: Op) -> None:
    """Run a new rule once inside its domain, so that a result of the wrong shape is told where the rule is written."""
    args = [low + 0.375 * (high - low) for low, high in added.domain]
    result = added.rule(FLOATS, *args)
    if added.vector:
        fits = isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], tuple) and callable(result[1])
        wanted = "a tuple of values and a function that gives the row of local derivatives of the i-th"
    else:
        fits = (
            isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], tuple) and len(result[1]) == len(args)
        )
        wanted = (
            f"its value and a tuple of {len(args)} local derivative{'s' * (len(args) != 1)}: return value, (derivative,)"
        )
    if not fits:
        raise TypeError(f"the rule of {added.name} must return {wanted}, got {result!r}")


def _lookup(name: str, params: tuple[tuple[str, Any], ...]) -> Op:
    if name not in TABLE:
        raise LookupError(f"no operation named {name!r}: define it with micrograd.ops.op before loading this graph")
    return TABLE[name].bind(**dict(params)) if params else TABLE[name]


def _named(name: str) -> Op:
    if name not in TABLE:
        raise AttributeError(f"no operation named {name!r} in the table")
    return TABLE[name]


def _output(rule: Callable[..., Any], xp: Any, *args: Number, index: int, **params: float) -> Result:
    values, row = rule(xp, *args, **params)
    return values[index], row(index)


def _iterable(name: str, operand: Any) -> tuple[Any, ...]:
    if isinstance(operand, (str, bytes)) or not hasattr(operand, "__iter__"):
        raise TypeError(
            f"{name}() takes one iterable of Values and numbers, got {type(operand).__name__}: write {name}([a, b])"
        )
    return tuple(operand)


def real(x: Any) -> float | None:
    """The float that a real number stands for (int, float, bool, NumPy scalars, 0-d arrays); None for all else.

    >>> real(True), real("2"), real(2j)
    (1.0, None, None)
    """
    if isinstance(x, (float, int)):
        try:
            return float(x)
        except OverflowError:  # an integer beyond double precision
            return math.inf if x > 0 else -math.inf
    if isinstance(x, (str, bytes, complex)) or not hasattr(x.__class__, "__float__") or getattr(x, "shape", ()) != ():
        return None
    if hasattr(x.__class__, "_record"):  # a Value has a history, which a float would drop
        return None
    return float(x) if getattr(getattr(x, "dtype", None), "kind", "f") in "fiub" else None


def _number(name: str, operand: Any) -> float:
    number = real(operand)
    if number is None:
        raise TypeError(f"{name}() takes Values and numbers, got {type(operand).__name__}")
    return number


def _describe(args: tuple[Any, ...], params: dict[str, Any]) -> str:
    return f"({', '.join([type(a).__name__ for a in args] + [f'{k}={v!r}' for k, v in params.items()])})"


# ------------------------------------------------------------------------------------------------ number systems


def _ieee(function: Callable[..., float], otherwise: Callable[..., float]) -> Callable[..., float]:
    """The math function, with the IEEE 754 result where Python raises."""

    @functools.wraps(function)
    def total(*args: float) -> float:
        try:
            return function(*args)
        except (ValueError, OverflowError, ZeroDivisionError):
            return otherwise(*args)

    return total


def _nan(*_: float) -> float:
    return math.nan


def _infinite(*_: float) -> float:
    return math.inf


def _signed_infinite(a: float) -> float:
    return math.copysign(math.inf, a)


def _pole_at(pole: float) -> Callable[[float], float]:
    return lambda a: -math.inf if a == pole else math.nan


def _pow_edge(a: float, b: float) -> float:
    odd = b % 2.0 == 1.0
    if a == 0.0:  # a negative power of zero
        return math.copysign(math.inf, a) if odd else math.inf
    if a < 0.0 and b != math.floor(b):
        return math.nan
    return -math.inf if a < 0.0 and odd else math.inf  # overflow


def _div_edge(a: float, b: float) -> float:
    return math.nan if a == 0.0 or a != a else math.copysign(math.inf, a) * math.copysign(1.0, b)


def _where(condition: bool, a: Number, b: Number) -> Number:
    return a if condition else b


def _maximum(a: float, b: float) -> float:
    return a if a > b or a != a else b


class Numbers(SimpleNamespace):
    """A number system: its own functions and, derived from their rules, all other operations of the table."""

    def __getattr__(self, name: str) -> Callable[..., Number]:
        found = _named(name)
        return lambda *args, **params: (found.bind(**params) if params else found).rule(self, *args)[0]


#: IEEE 754 double precision on Python floats: no operation ever raises for its numbers or turns complex.
FLOATS = Numbers(
    where=_where,
    detach=lambda a: a,
    maximum=_maximum,
    div=_ieee(operator.truediv, _div_edge),
    pow=_ieee(math.pow, _pow_edge),
    abs=math.fabs,
    sqrt=_ieee(math.sqrt, _nan),
    exp=_ieee(math.exp, _infinite),
    expm1=_ieee(math.expm1, _infinite),
    log=_ieee(math.log, _pole_at(0.0)),
    log1p=_ieee(math.log1p, _pole_at(-1.0)),
    log2=_ieee(math.log2, _pole_at(0.0)),
    log10=_ieee(math.log10, _pole_at(0.0)),
    sin=_ieee(math.sin, _nan),
    cos=_ieee(math.cos, _nan),
    tan=_ieee(math.tan, _nan),
    asin=_ieee(math.asin, _nan),
    acos=_ieee(math.acos, _nan),
    atan=math.atan,
    atan2=math.atan2,
    sinh=_ieee(math.sinh, _signed_infinite),
    cosh=_ieee(math.cosh, _infinite),
    tanh=math.tanh,
    asinh=math.asinh,
    acosh=_ieee(math.acosh, _nan),
    atanh=_ieee(math.atanh, lambda a: math.copysign(math.inf, a) if math.fabs(a) == 1.0 else math.nan),
    hypot=math.hypot,
    erf=math.erf,
    erfc=math.erfc,
)


class _Values:
    """Values as a number system: each function records a node, so a rule run over it can be differentiated again."""

    where = staticmethod(_where)

    @staticmethod
    def detach(a: Number) -> Number:
        return a if isinstance(a, float) else a.detach()

    @staticmethod
    def pow(a: Number, b: Number) -> Number:
        return power(a, b) if isinstance(b, float) else pow(a, b)  # a fixed exponent needs no logarithm of a

    def __getattr__(self, name: str) -> Callable[..., Number]:
        found = _named(name)
        return found if found.arity is not None else lambda *args: found(args)


VALUES = _Values()


# --------------------------------------------------------------------------------------------------- arithmetic


@op("+", [(-9, 9), (-9, 9)])
def add(xp: Any, a: Number, b: Number) -> Result:
    """Sum ``a + b``.

    >>> add(2.0, 3.0)
    5.0
    """
    return a + b, (1.0, 1.0)


@op("-", [(-9, 9), (-9, 9)])
def sub(xp: Any, a: Number, b: Number) -> Result:
    """Difference ``a - b``.

    >>> sub(2.0, 3.0)
    -1.0
    """
    return a - b, (1.0, -1.0)


@op("*", [(-9, 9), (-9, 9)])
def mul(xp: Any, a: Number, b: Number) -> Result:
    """Product ``a * b``.

    >>> mul(2.0, 3.0)
    6.0
    """
    return a * b, (b, a)


@op("/", [(-9, 9), (1, 9)])
def div(xp: Any, a: Number, b: Number) -> Result:
    """Quotient ``a / b``, a true division; a division by zero gives an infinity or nan (IEEE 754).

    >>> div(1.0, 0.0)
    inf
    """
    quotient = xp.div(a, b)
    return quotient, (xp.div(1.0, b), -xp.div(quotient, b))


@op("neg", [(-9, 9)])
def neg(xp: Any, a: Number) -> Result:
    """Negation ``-a``.

    >>> neg(2.0)
    -2.0
    """
    return -a, (-1.0,)


@op("**", [(0.1, 5), (-3, 3)])
def pow(xp: Any, a: Number, b: Number) -> Result:
    """Power ``a ** b`` of two variables; nan for a fractional power of a negative base.

    ``x ** 0`` has derivative 0 everywhere, ``0 ** b`` has derivative 0 by a b >= 0 (PyTorch's convention).

    >>> pow(2.0, 10.0)
    1024.0
    """
    value = xp.pow(a, b)
    slope = xp.pow(a, b - 1.0)
    finite = (slope > -math.inf) & (slope < math.inf)  # elsewhere b = 0 needs care: 0 * inf is nan
    by_base = xp.where(finite, b * slope, xp.where((b >= 0.0) & (b <= 0.0), 0.0, b * slope))
    by_exponent = xp.where((a >= 0.0) & (a <= 0.0) & (b >= 0.0), 0.0, value * xp.log(a))
    return value, (by_base, by_exponent)


@op("**{exponent}", [(0.1, 5)])
def power(xp: Any, a: Number, *, exponent: float = 2.0) -> Result:
    """Power ``a ** exponent`` with a fixed exponent, a parameter that gets no gradient.

    >>> power(3.0, exponent=2.0)
    9.0
    """
    return xp.pow(a, exponent), ((exponent * xp.pow(a, exponent - 1.0)) if exponent else 0.0,)


@op("abs", [(-9, 9)])
def abs(xp: Any, a: Number) -> Result:
    """Absolute value ``|a|``; its derivative at 0 is 0.

    >>> abs(-2.0)
    2.0
    """
    return xp.abs(a), (xp.where(a > 0.0, 1.0, xp.where(a < 0.0, -1.0, 0.0)),)


@op("sqrt", [(0.01, 9)])
def sqrt(xp: Any, a: Number) -> Result:
    """Square root; its derivative at 0 is inf.

    >>> sqrt(9.0)
    3.0
    """
    root = xp.sqrt(a)
    return root, (xp.div(0.5, root),)


@op("hypot", [(0.5, 9), (0.5, 9)])
def hypot(xp: Any, a: Number, b: Number) -> Result:
    """Euclidean length ``sqrt(a*a + b*b)`` without overflow in between.

    >>> hypot(3.0, 4.0)
    5.0
    """
    length = xp.hypot(a, b)
    return length, (xp.div(a, length), xp.div(b, length))


# -------------------------------------------------------------------------------------- exponentials, logarithms


@op("exp", [(-20, 20)])
def exp(xp: Any, a: Number) -> Result:
    """Exponential; overflows to inf.

    >>> exp(0.0)
    1.0
    """
    value = xp.exp(a)
    return value, (value,)


@op("expm1", [(-20, 20)])
def expm1(xp: Any, a: Number) -> Result:
    """``exp(a) - 1``, accurate near 0.

    >>> expm1(1e-20)
    1e-20
    """
    return xp.expm1(a), (xp.exp(a),)


@op("log", [(0.01, 9)])
def log(xp: Any, a: Number) -> Result:
    """Natural logarithm; -inf at 0 and nan below.

    >>> log(1.0)
    0.0
    """
    return xp.log(a), (xp.div(1.0, a),)


@op("log1p", [(-0.9, 9)])
def log1p(xp: Any, a: Number) -> Result:
    """``log(1 + a)``, accurate near 0.

    >>> log1p(1e-20)
    1e-20
    """
    return xp.log1p(a), (xp.div(1.0, 1.0 + a),)


@op("log2", [(0.01, 9)])
def log2(xp: Any, a: Number) -> Result:
    """Logarithm to base 2.

    >>> log2(8.0)
    3.0
    """
    return xp.log2(a), (xp.div(1.0, a * math.log(2.0)),)


@op("log10", [(0.01, 9)])
def log10(xp: Any, a: Number) -> Result:
    """Logarithm to base 10.

    >>> log10(1000.0)
    3.0
    """
    return xp.log10(a), (xp.div(1.0, a * math.log(10.0)),)


# -------------------------------------------------------------------------------------------------- trigonometry


@op("sin", [(-6, 6)])
def sin(xp: Any, a: Number) -> Result:
    """Sine of an angle in radians.

    >>> sin(0.0)
    0.0
    """
    return xp.sin(a), (xp.cos(a),)


@op("cos", [(-6, 6)])
def cos(xp: Any, a: Number) -> Result:
    """Cosine of an angle in radians.

    >>> cos(0.0)
    1.0
    """
    return xp.cos(a), (-xp.sin(a),)


@op("tan", [(-1.5, 1.5)])
def tan(xp: Any, a: Number) -> Result:
    """Tangent of an angle in radians.

    >>> tan(0.0)
    0.0
    """
    t = xp.tan(a)
    return t, (1.0 + t * t,)


@op("asin", [(-0.99, 0.99)])
def asin(xp: Any, a: Number) -> Result:
    """Arc sine in radians; nan outside [-1, 1].

    >>> asin(0.0)
    0.0
    """
    return xp.asin(a), (xp.div(1.0, xp.sqrt((1.0 - a) * (1.0 + a))),)


@op("acos", [(-0.99, 0.99)])
def acos(xp: Any, a: Number) -> Result:
    """Arc cosine in radians; nan outside [-1, 1].

    >>> acos(1.0)
    0.0
    """
    return xp.acos(a), (xp.div(-1.0, xp.sqrt((1.0 - a) * (1.0 + a))),)


@op("atan", [(-9, 9)])
def atan(xp: Any, a: Number) -> Result:
    """Arc tangent in radians.

    >>> atan(0.0)
    0.0
    """
    return xp.atan(a), (xp.div(1.0, 1.0 + a * a),)


@op("atan2", [(-9, 9), (0.5, 9)])
def atan2(xp: Any, a: Number, b: Number) -> Result:
    """Angle in radians of the point with ordinate ``a`` and abscissa ``b``; its derivatives at the origin are 0 (PyTorch's).

    >>> atan2(0.0, 1.0)
    0.0
    """
    length = xp.hypot(a, b)
    length = xp.where(length <= 0.0, math.inf, length)
    return xp.atan2(a, b), (xp.div(xp.div(b, length), length), -xp.div(xp.div(a, length), length))


@op("sinh", [(-9, 9)])
def sinh(xp: Any, a: Number) -> Result:
    """Hyperbolic sine.

    >>> sinh(0.0)
    0.0
    """
    return xp.sinh(a), (xp.cosh(a),)


@op("cosh", [(-9, 9)])
def cosh(xp: Any, a: Number) -> Result:
    """Hyperbolic cosine.

    >>> cosh(0.0)
    1.0
    """
    return xp.cosh(a), (xp.sinh(a),)


@op("tanh", [(-20, 20)])
def tanh(xp: Any, a: Number) -> Result:
    """Hyperbolic tangent; its slope is ``1 - tanh(a)**2`` (S7).

    >>> tanh(0.0)
    0.0
    """
    t = xp.tanh(a)
    return t, (1.0 - t * t,)


@op("asinh", [(-9, 9)])
def asinh(xp: Any, a: Number) -> Result:
    """Inverse hyperbolic sine.

    >>> asinh(0.0)
    0.0
    """
    return xp.asinh(a), (xp.div(1.0, xp.hypot(1.0, a)),)


@op("acosh", [(1.01, 9)])
def acosh(xp: Any, a: Number) -> Result:
    """Inverse hyperbolic cosine; nan below 1.

    >>> acosh(1.0)
    0.0
    """
    return xp.acosh(a), (xp.div(1.0, xp.sqrt((a - 1.0) * (a + 1.0))),)


@op("atanh", [(-0.99, 0.99)])
def atanh(xp: Any, a: Number) -> Result:
    """Inverse hyperbolic tangent; infinite at -1 and 1, nan outside.

    >>> atanh(0.0)
    0.0
    """
    return xp.atanh(a), (xp.div(1.0, (1.0 - a) * (1.0 + a)),)


@op("erf", [(-5, 5)])
def erf(xp: Any, a: Number) -> Result:
    """Error function ``2/sqrt(pi) * integral of exp(-t*t) from 0 to a``.

    >>> erf(0.0)
    0.0
    """
    return xp.erf(a), (2.0 / math.sqrt(math.pi) * xp.exp(-a * a),)


@op("erfc", [(-5, 0.5)])
def erfc(xp: Any, a: Number) -> Result:
    """Complementary error function ``1 - erf(a)``, accurate where erf is close to 1.

    >>> erfc(0.0)
    1.0
    """
    return xp.erfc(a), (-2.0 / math.sqrt(math.pi) * xp.exp(-a * a),)


# ------------------------------------------------------------------------------------------ activation functions


@op("sigmoid", [(-30, 30)])
def sigmoid(xp: Any, a: Number) -> Result:
    """Logistic function ``g = 1 / (1 + exp(-a))``; its slope is ``g * (1 - g)`` (S7).

    >>> sigmoid(0.0), sigmoid(-1000.0)
    (0.5, 0.0)
    """
    e = xp.exp(xp.where(a >= 0.0, -a, a))  # never overflows; not -|a|, whose slope at 0 is not one of e's
    g = xp.div(xp.where(a >= 0.0, 1.0, e), 1.0 + e)
    return g, (xp.div(xp.div(e, 1.0 + e), 1.0 + e),)  # g * (1 - g) without the cancellation


@op("softplus", [(-30, 30)])
def softplus(xp: Any, a: Number) -> Result:
    """``log(1 + exp(a))``, a smooth relu; its slope is the sigmoid.

    >>> softplus(1000.0)
    1000.0
    """
    e = xp.exp(xp.where(a >= 0.0, -a, a))
    return xp.where(a >= 0.0, a, 0.0) + xp.log1p(e), (xp.div(xp.where(a >= 0.0, 1.0, e), 1.0 + e),)


@op("ReLU", [(-9, 9)])
def relu(xp: Any, a: Number) -> Result:
    """Rectified linear unit ``max(0, a)``; its slope is 1 for a > 0 and 0 elsewhere, 0 included (S7, V4).

    >>> relu(-2.0), relu(2.0)
    (0.0, 2.0)
    """
    return xp.where(a <= 0.0, 0.0, a), (xp.where(a <= 0.0, 0.0, 1.0),)  # nan stays nan


@op("leaky_relu", [(-9, 9)])
def leaky_relu(xp: Any, a: Number, *, slope: float = 0.01) -> Result:
    """``a`` where it is positive, ``slope * a`` elsewhere.

    >>> leaky_relu(-2.0, slope=0.5)
    -1.0
    """
    return xp.where(a > 0.0, a, slope * a), (xp.where(a > 0.0, 1.0, slope),)


@op("elu", [(-9, 9)])
def elu(xp: Any, a: Number, *, alpha: float = 1.0) -> Result:
    """Exponential linear unit: ``a`` where it is positive, ``alpha * (exp(a) - 1)`` elsewhere.

    >>> elu(-1000.0)
    -1.0
    """
    return xp.where(a > 0.0, a, alpha * xp.expm1(a)), (xp.where(a > 0.0, 1.0, alpha * xp.exp(a)),)


@op("gelu", [(-0.5, 9)])
def gelu(xp: Any, a: Number) -> Result:
    """Gaussian error linear unit ``a * Phi(a)``, with the normal distribution function (the exact form, not the tanh one).

    >>> gelu(0.0)
    0.0
    """
    phi = 0.5 * xp.erfc(-math.sqrt(0.5) * a)  # erfc, as 1 + erf cancels for negative a
    return a * phi, (phi + a * xp.exp(-0.5 * a * a) * (1.0 / math.sqrt(2.0 * math.pi)),)


@op("silu", [(-20, 20)])
def silu(xp: Any, a: Number) -> Result:
    """Sigmoid linear unit ``a * sigmoid(a)``, also named swish.

    >>> silu(0.0)
    0.0
    """
    e = xp.exp(xp.where(a >= 0.0, -a, a))
    g = xp.div(xp.where(a >= 0.0, 1.0, e), 1.0 + e)
    return xp.div(a, 1.0 + xp.exp(-a)), (g + a * xp.div(xp.div(e, 1.0 + e), 1.0 + e),)


# ----------------------------------------------------------------------------------------------------- choosing


@op("max", [(-9, 9), (-9, 9)])
def maximum(xp: Any, a: Number, b: Number) -> Result:
    """The larger of two; a tie splits the gradient half and half, nan stays nan.

    >>> maximum(2.0, 3.0)
    3.0
    """
    value = xp.where(a > b, a, xp.where(b >= a, b, a + b))  # a + b only where nan makes the two incomparable
    return value, (_share(xp, a > b, b > a), _share(xp, b > a, a > b))


@op("min", [(-9, 9), (-9, 9)])
def minimum(xp: Any, a: Number, b: Number) -> Result:
    """The smaller of two; a tie splits the gradient half and half, nan stays nan.

    >>> minimum(2.0, 3.0)
    2.0
    """
    value = xp.where(a < b, a, xp.where(b <= a, b, a + b))
    return value, (_share(xp, a < b, b < a), _share(xp, b < a, a < b))


def _share(xp: Any, wins: Any, loses: Any) -> Number:
    return xp.where(wins, 1.0, xp.where(loses, 0.0, 0.5))


@op("clip", [(-9, 9)])
def clip(xp: Any, a: Number, *, low: float = -math.inf, high: float = math.inf) -> Result:
    """``a`` held between two numbers; its slope is 1 inside and on the bounds, 0 outside (PyTorch's clamp).

    >>> clip(-7.0, -1.0, 1.0)
    -1.0
    """
    value = xp.where(a < low, low, xp.where(a > high, high, a))
    return value, (xp.where((a < low) | (a > high), 0.0, 1.0),)


@op("where", [(-9, 9)])
def where(xp: Any, chosen: Number) -> Result:
    """The side that a condition chose: the other side has no path to the result, so that its nan cannot leak.

    >>> where(2.0)
    2.0
    """
    return chosen, (1.0,)


@op("take", [(-9, 9)])
def take(xp: Any, chosen: Number) -> Result:
    """The entry that an index chose from a table.

    >>> take(2.0)
    2.0
    """
    return chosen, (1.0,)


@op("id", [(-9, 9)])
def identity(xp: Any, a: Number) -> Result:
    """``a`` itself, as a node of its own.

    >>> identity(2.0)
    2.0
    """
    return a, (1.0,)


# ------------------------------------------------------------------------------------------------ many operands


@op("sum", [(0.1, 9)] * 4)
def sum(xp: Any, *a: Number) -> Result:
    """Sum of any number of operands, left to right; of none 0.

    >>> sum([1.0, 2.0, 3.0])
    6.0
    """
    return _total(a) if a else 0.0, (1.0,) * len(a)


@op("mean", [(0.1, 9)] * 4)
def mean(xp: Any, *a: Number) -> Result:
    """Arithmetic mean of one or more operands.

    >>> mean([1.0, 2.0, 3.0])
    2.0
    """
    return xp.div(_total(a), float(len(a))), (1.0 / len(a),) * len(a)


@op("prod", [(0.1, 3)] * 4)
def prod(xp: Any, *a: Number) -> Result:
    """Product of any number of operands, of none 1.  A derivative is the product of the others, zeros included.

    >>> prod([2.0, 3.0, 4.0])
    24.0
    """
    before = list(itertools.accumulate(a, operator.mul, initial=1.0))
    after = list(itertools.accumulate(reversed(a), operator.mul, initial=1.0))[::-1]
    return before[-1], tuple(map(operator.mul, before, after[1:]))


@op("dot", [(0.1, 3)] * 7)
def dot(xp: Any, *w_x_b: Number) -> Result:
    """Weighted sum ``b + w1*x1 + w2*x2 + ...`` as one operation; operands are w, then x, then b (V2, V3).

    >>> dot([1.0, 2.0, 10.0, 20.0, 0.5])
    50.5
    """
    n = len(w_x_b) // 2
    w, x, b = w_x_b[:n], w_x_b[n:-1], w_x_b[-1]
    return functools.reduce(operator.add, map(operator.mul, w, x), b), (*x, *w, 1.0)


@op("logsumexp", [(0.1, 4)] * 4)
def logsumexp(xp: Any, *a: Number) -> Result:
    """``log(exp(a1) + exp(a2) + ...)``, finite for any finite operands; its gradient is the softmax.

    >>> logsumexp([1000.0])
    1000.0
    """
    top, exps, total, log_total = _exponentials(xp, a)
    value = xp.where((top > -math.inf) & (top < math.inf), top + log_total, top)
    return value, tuple(xp.div(e, total) for e in exps)


@op("softmax", [(-1, 1)] * 2, vector=True)
def softmax(xp: Any, *a: Number) -> VectorResult:
    """Probabilities ``exp(a_i) / (exp(a1) + exp(a2) + ...)``, finite for any finite operands.

    >>> softmax([0.0, 0.0])
    [0.5, 0.5]
    """
    _, exps, total, _ = _exponentials(xp, a)
    p = tuple(xp.div(e, total) for e in exps)
    return p, lambda i: tuple([p[i] * r for r in _onehot_minus(p, i)])


@op("log_softmax", [(-4, 4)] * 4, vector=True)
def log_softmax(xp: Any, *a: Number) -> VectorResult:
    """Logarithms of the softmax, accurate where a probability is close to 0 or 1.  The gradient of ``-log_softmax(a)[y]`` is
    ``softmax(a) - onehot(y)`` (S2).

    >>> log_softmax([1000.0, 0.0])
    [0.0, -1000.0]
    """
    top, exps, total, log_total = _exponentials(xp, a)
    p = tuple(xp.div(e, total) for e in exps)
    values = tuple(x - top - log_total for x in a)
    return values, lambda i: _onehot_minus(p, i)


def _onehot_minus(p: tuple[Number, ...], i: int) -> tuple[Number, ...]:
    """``onehot(i) - p``, with 1 - p_i as the sum of the other probabilities, which does not cancel."""
    others = functools.reduce(operator.add, p[:i] + p[i + 1 :], 0.0)
    return tuple([others if i == j else -p[j] for j in range(len(p))])


def _total(a: Sequence[Number]) -> Number:
    return functools.reduce(operator.add, a)


def _exponentials(xp: Any, a: Sequence[Number]) -> tuple[Number, list[Number], Number, Number]:
    """The largest operand, exp(a - largest), their sum, and the logarithm of that sum, accurate where it is close to 1."""
    top = xp.detach(functools.reduce(xp.maximum, a))  # the shift cancels, so it needs no gradient
    exps = [xp.exp(x - top) for x in a]
    ties = _total([xp.where(x < top, 0.0, 1.0) for x in a])
    rest = _total([xp.where(x < top, e, 0.0) for x, e in zip(a, exps, strict=True)])
    return top, exps, _total(exps), xp.log1p(rest + (ties - 1.0))
