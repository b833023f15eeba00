"""Neurons, layers and multi-layer perceptrons, with the names and the random draws of micrograd 0.1.0.

A :class:`Module` is a plain object: the Values among its attributes, however nested, are its parameters.
"""

from __future__ import annotations

import itertools
import json
import math
import operator
import os
import random
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextvars import ContextVar
from typing import Any

from micrograd import engine, ops, trees
from micrograd.engine import Value

Activation = str | ops.Op | Callable[[Value], Value] | None

# The methods of Value that record a node of one operand: quicker than the operations themselves, which check their call.
_METHODS = {op: operator.methodcaller(name) for name, op in ops.TABLE.items() if op.arity == 1 and hasattr(Value, name)}

#: The operations that people choose for a hidden layer; any other operation of one operand serves too.
USUAL_ACTIVATIONS = ("relu", "leaky_relu", "elu", "gelu", "silu", "softplus", "sigmoid", "tanh")

#: Weights are drawn uniformly from ``-bound .. bound``; the bound for a layer from ``nin`` inputs to ``nout`` neurons.
INITIALISATIONS: dict[str, Callable[[int, int], float]] = {
    "uniform": lambda nin, nout: 1.0,  # micrograd 0.1.0
    # He, Zhang, Ren, Sun: Delving Deep into Rectifiers, 2015: variance 2 / nin, for relu and its kin
    "he": lambda nin, nout: math.sqrt(6.0 / nin),
    # Glorot, Bengio: Understanding the difficulty of training deep feedforward neural networks, 2010, for tanh and its kin
    "xavier": lambda nin, nout: math.sqrt(6.0 / (nin + nout)),
}


# ------------------------------------------------------------------------------------------------------- modules


class Module:
    """Something with parameters: subclass it and put Values, lists, tuples or dicts of them, or Modules into attributes.

    The parameters are all Values found there that are leaves and no constants: a result kept in an attribute is not trained.
    Whoever asks for them, an optimiser or ``zero_grad`` too, marks each as a parameter, which pictures show.

    >>> class Line(Module):
    ...     def __init__(self):
    ...         self.slope, self.offset = Value(2.0), Value(1.0)
    ...     def __call__(self, x):
    ...         return self.slope * x + self.offset
    >>> Line().state_dict()
    {'slope': 2.0, 'offset': 1.0}
    >>> Line()
    Line(slope=<1 parameter>, offset=<1 parameter>)
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the module computes: a subclass defines it.  TypeError where it does not."""
        name = type(self).__name__
        hint = "rename its forward to __call__" if hasattr(self, "forward") else "define __call__(self, x) in its class"
        raise TypeError(f"{name} cannot be called: {hint}")

    def parameters(self) -> list[Value]:
        """All parameters, in the order in which the attributes were defined; a shared one is listed once.

        A subclass may override this, as in micrograd; the other methods follow it.

        >>> len(MLP(2, [4, 1]).parameters())
        17
        """
        return list(dict.fromkeys([_marked(value) for _, value in _found_in(self)]))

    def named_parameters(self) -> Iterator[tuple[str, Value]]:
        """Pairs of a name, the path of attributes and positions to a parameter, and the parameter.

        >>> [name for name, _ in Layer(1, 2).named_parameters()]
        ['neurons.0.w.0', 'neurons.0.b', 'neurons.1.w.0', 'neurons.1.b']
        """
        names: dict[Value, str] = {}
        for name, value in _found_in(self):
            names.setdefault(value, name)
        for i, parameter in enumerate(self.parameters()):
            yield names.get(parameter, f"parameters.{i}"), _marked(parameter)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        parts = [f"{name}={shown}" for name, shown in ((name, _shown(part)) for name, part in vars(self).items()) if shown]
        return f"{type(self).__name__}({', '.join(parts)})"

    def _repr_svg_(self) -> str | None:
        return engine.picture(self)

    def zero_grad(self) -> None:
        """Set the gradient of every parameter to zero.

        >>> model = MLP(2, [1])
        >>> model([1.0, 2.0]).backward()
        >>> model.zero_grad()
        >>> [p.grad for p in model.parameters()]
        [0.0, 0.0, 0.0]
        """
        for parameter in self.parameters():
            parameter.grad = 0.0

    def state_dict(self) -> dict[str, float]:
        """The data of every parameter by its name: plain numbers, in a dict of one's own.

        >>> Neuron(1, rng=random.Random(0)).state_dict()
        {'w.0': 0.6888437030500962, 'b': 0.0}
        """
        return {name: parameter.data for name, parameter in _by_name(self).items()}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Set the data of every parameter from a ``state_dict()``.  Where anything is wrong, nothing is changed.

        TypeError for something that is no dict of numbers, ValueError for missing or unexpected names.

        >>> model = Neuron(1)
        >>> model.load_state_dict({"w.0": 2.0, "b": 1.0})
        >>> model.w[0].data
        2.0
        """
        if not isinstance(state, Mapping):
            raise TypeError(f"load_state_dict() takes a dict of names and numbers, got {type(state).__name__}")
        parameters = _by_name(self)
        missing = [name for name in parameters if name not in state]
        unexpected = [name for name in state if name not in parameters]
        if missing or unexpected:
            raise ValueError(
                f"these are not the weights of this model, {_brief(self)}: "
                f"missing {_some(missing)}; unexpected {_some(unexpected)}"
            )
        numbers: dict[str, float] = {}
        for name in parameters:
            number = ops.real(state[name])
            if number is None:
                raise TypeError(f"load_state_dict(): {name!r} must be a number, got {type(state[name]).__name__}")
            numbers[name] = number
        for name, parameter in parameters.items():
            parameter.data = numbers[name]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the ``state_dict()`` to a JSON file.  The file appears whole or not at all: an old one is replaced last.

        ValueError for a parameter that is inf or nan, which JSON cannot hold.  See ``load`` for an example.
        """
        state = self.state_dict()
        for name, number in state.items():
            if not math.isfinite(number):
                raise ValueError(
                    f"save(): parameter {name!r} is {number}, which JSON cannot hold, so {os.fspath(path)!r} is left as it "
                    "was: find where it arose with micrograd.detect_anomaly()"
                )
        write_json(path, state)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Set the parameters from a file that ``save`` wrote: the same floats, bit for bit.

        OSError for a file that cannot be read, ValueError for one that is not JSON, else as ``load_state_dict``.

        >>> model, twin = MLP(2, [3, 1]), MLP(2, [3, 1])
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(f"{folder}/weights.json")
        ...     twin.load(f"{folder}/weights.json")
        >>> model.state_dict() == twin.state_dict()
        True
        """
        state = read_json(path)
        try:
            self.load_state_dict(state)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{os.fspath(path)}: {error}") from None


_searched: ContextVar[tuple[Module, ...]] = ContextVar("searched", default=())  # those whose parameters are sought now


def _found_in(module: Module) -> list[tuple[str, Value]]:
    """The trainable Values in the attributes of a module, each with its path."""
    token = _searched.set((*_searched.get(), module))
    try:
        return list(_values_in(vars(module)))
    finally:
        _searched.reset(token)


def _values_in(tree: Any) -> Iterator[tuple[str, Value]]:
    """The trainable Values in nested dicts, lists, tuples, object arrays and Modules, each with its path."""
    met: dict[int, Any] = {}  # what was searched, by its id: a module may refer back to the one that holds it

    def visit(part: Any, path: str) -> Iterator[tuple[str, Value]]:
        if isinstance(part, Value):
            if trees.is_parameter(part):
                yield path[1:], part
            return
        children = _children(part)
        if children is None or id(part) in met or any(part is module for module in _searched.get()):
            return
        met[id(part)] = part
        if isinstance(part, Module) and type(part).parameters is not Module.parameters:
            for name, value in part.named_parameters():
                yield f"{path}.{name}"[1:], value
            return
        for name, child in children:
            yield from visit(child, f"{path}.{name}")

    return visit(tree, "")


def _children(part: Any) -> Iterable[tuple[Any, Any]] | None:
    """The names and parts of a container or Module; None for anything else."""
    if isinstance(part, Module):
        return vars(part).items()
    if isinstance(part, Mapping):
        return part.items()
    if isinstance(part, (list, tuple)):
        return enumerate(part)
    if str(getattr(part, "dtype", "")) == "object":  # a NumPy array of Values
        return enumerate(part.tolist())
    return None


def _marked(parameter: Value) -> Value:
    if parameter.operation is engine.INPUT:
        parameter.operation = engine.PARAMETER
    return parameter


def _shown(part: Any) -> str:
    """A part of a module in its repr: empty for what holds no parameters."""
    if isinstance(part, Module):
        return repr(part)
    count = len({value for _, value in _values_in(part)})
    return f"<{count} parameter{'s' * (count != 1)}>" if count else ""


def _by_name(module: Module) -> dict[str, Value]:
    parameters: dict[str, Value] = {}
    for name, parameter in module.named_parameters():
        if name in parameters:
            raise ValueError(f"two parameters are named {name!r}: rename an attribute or a dict key of this module")
        parameters[name] = parameter
    return parameters


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:3]) or "none"
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _brief(module: Module) -> str:
    text = repr(module)
    return text if len(text) <= 60 else text[:57] + "..."


# --------------------------------------------------------------------------------------------------------- neurons


class Neuron(Module):
    """``activation(b + w1*x1 + ... + wn*xn)``, recorded as two nodes (V2-V5); without the activation where not ``nonlin``.

    The activation is the name of an operation of one operand, such an operation, or any function from Value to Value; None
    and ``"linear"`` are none.  Names are found in any case, with or without underscores: ``"LeakyReLU"``.  The weights are
    drawn uniformly from ``-bound .. bound`` by ``rng``, a ``random.Random``, by default the global generator of
    :mod:`random`; the bias starts at zero.

    ValueError for a number of inputs below one and for an unknown activation, TypeError for a ``nonlin`` that is no bool.

    >>> neuron = Neuron(2, activation="tanh")
    >>> neuron
    TanhNeuron(2)
    >>> neuron([0.0, 0.0])
    Value(data=0.0, grad=0.0)
    """

    def __init__(
        self,
        nin: int,
        nonlin: bool = True,
        activation: Activation = "relu",
        bound: float = 1.0,
        rng: random.Random | None = None,
    ) -> None:
        nin = _size(nin, "nin")
        if nonlin not in (True, False):
            raise TypeError(f"nonlin must be True or False, got {nonlin!r}: write {_as_keyword(nonlin)}")
        chosen = _activation(activation)
        uniform = random.uniform if rng is None else rng.uniform
        self.w = [_parameter(uniform(-bound, bound), f"w{i}") for i in range(nin)]
        self.b = _parameter(0.0, "b")
        self.nonlin = bool(nonlin) and chosen is not None
        self.activation: Callable[[Value], Value] = chosen or ops.identity

    def __call__(self, x: Iterable[Any]) -> Value:
        inputs = _inputs(self, x, len(self.w))
        z: Value = inputs[0]._record(ops.dot, (*self.w, *inputs, self.b))  # engine.dot without its checks, made above
        if not self.nonlin:
            return z
        activation = self.activation
        if isinstance(activation, ops.Op):
            activation = _METHODS.get(activation, activation)
        return activation(z)

    def __repr__(self) -> str:
        return f"{self._kind() if self.nonlin else 'Linear'}Neuron({len(self.w)})"

    def _kind(self) -> str:
        op = self.activation
        if not isinstance(op, ops.Op):
            return "Custom"
        return op.symbol if op is ops.relu else op.name.title().replace("_", "")


class Layer(Module):
    """``nout`` neurons that see the same ``nin`` inputs; gives a list of Values, a bare Value where ``nout`` is 1.

    ``init`` names the scale of the weights: ``"uniform"`` (micrograd's -1 .. 1), ``"he"`` or ``"xavier"``, see
    ``INITIALISATIONS``.  Further arguments are the neurons'.

    >>> Layer(3, 2)
    Layer of [ReLUNeuron(3), ReLUNeuron(3)]
    """

    def __init__(self, nin: int, nout: int, init: str = "uniform", **kwargs: Any) -> None:
        nin, nout = _size(nin, "nin"), _size(nout, "nout")
        if init not in INITIALISATIONS:
            hint = f"; for an activation write {_as_keyword(init)}" if init is None or _operation(init) else ""
            raise ValueError(f"unknown init {init!r}: choose from {', '.join(INITIALISATIONS)}{hint}")
        kwargs = {"bound": INITIALISATIONS[init](nin, nout), **kwargs}
        self.neurons = [Neuron(nin, **kwargs) for _ in range(nout)]

    def __call__(self, x: Iterable[Any]) -> Any:
        inputs = _inputs(self, x, len(self.neurons[0].w))
        out = [neuron(inputs) for neuron in self.neurons]
        return out[0] if len(out) == 1 else out

    def __repr__(self) -> str:
        return f"Layer of [{', '.join(map(repr, self.neurons))}]"


class MLP(Module):
    """A multi-layer perceptron from ``nin`` inputs through layers of ``nouts`` neurons; the last layer is linear.

    The result is a list of Values, a bare Value where the last layer has one neuron.  ``seed`` makes the weights
    reproducible without touching the global generator of :mod:`random`, which draws them where it is None, in the order of
    micrograd 0.1.0.  ``activation`` and ``init`` are those of Neuron and Layer.

    >>> model = MLP(2, [3, 1], activation="tanh", seed=1)
    >>> model
    MLP of [Layer of [TanhNeuron(2), TanhNeuron(2), TanhNeuron(2)], Layer of [LinearNeuron(3)]]
    >>> model([0.0, 0.0])
    Value(data=0.0, grad=0.0)
    """

    def __init__(
        self,
        nin: int,
        nouts: Iterable[int],
        activation: Activation = "relu",
        seed: int | str | None = None,
        init: str = "uniform",
    ) -> None:
        unordered = isinstance(nouts, (str, Mapping, Set)) or not hasattr(nouts, "__iter__")
        sizes = [] if unordered else [nin, *nouts]
        if len(sizes) < 2:
            raise ValueError(f"MLP takes a list of layer sizes, such as MLP(2, [16, 1]), got nouts={nouts!r}")
        rng = None if seed is None else random.Random(seed)
        self.layers = [
            Layer(m, n, init, activation=activation, rng=rng, nonlin=i < len(sizes) - 2)
            for i, (m, n) in enumerate(itertools.pairwise(sizes))
        ]

    def __call__(self, x: Iterable[Any]) -> Any:
        first = self.layers[0]
        if isinstance(first, Layer):
            x = _inputs(self, x, len(first.neurons[0].w))  # here, so that an error names what was called
        for i, layer in enumerate(self.layers):
            x = layer([x] if i and isinstance(x, Value) else x)  # a layer of one neuron gives a bare Value
        return x

    def __repr__(self) -> str:
        return f"MLP of [{', '.join(map(repr, self.layers))}]"


class _Inputs(tuple[Value, ...]):
    """Inputs that were counted and made Values already, so that the neurons of a layer share them."""

    __slots__ = ()


def _inputs(module: Module, x: Iterable[Any], nin: int) -> _Inputs:
    """x as Values, after a check of their number."""
    if isinstance(x, _Inputs) and len(x) == nin:
        return x
    name = type(module).__name__
    if isinstance(x, (str, bytes)) or not hasattr(x, "__iter__"):
        raise TypeError(f"{name} takes a list of {nin} inputs, got {type(x).__name__}: write [x] for a single input")
    if isinstance(x, (Mapping, Set)):
        raise TypeError(f"{name} takes a list of {nin} inputs, got {type(x).__name__}: list the numbers in their order")
    values = list(x)
    if len(values) != nin:
        raise ValueError(f"{name} takes {nin} inputs, got {len(values)}{_BATCH_HINT if _has_rows(values) else ''}")
    try:
        return _Inputs([v if isinstance(v, Value) else Value(v) for v in values])
    except TypeError:
        if _has_rows(values):
            raise TypeError(f"{name} takes {nin} numbers or Values, got rows of them{_BATCH_HINT}") from None
        raise


_BATCH_HINT = ": for several examples write [model(x) for x in examples]"


def _has_rows(values: Sequence[Any]) -> bool:
    return any(isinstance(v, (list, tuple)) or getattr(v, "shape", ()) != () for v in values)


def _parameter(data: float, label: str) -> Value:
    value = Value(data, label=label)
    value.operation = engine.PARAMETER
    return value


def _size(n: Any, name: str) -> int:
    if isinstance(n, bool) or not hasattr(n, "__index__"):
        raise TypeError(f"{name} must be a positive integer, got {n!r}")
    if operator.index(n) < 1:
        raise ValueError(f"{name} must be a positive integer, got {n!r}")
    return operator.index(n)


def _activation(choice: Activation) -> Callable[[Value], Value] | None:
    """What a choice of activation means; None for no activation."""
    op = _operation(choice) if isinstance(choice, str) else choice
    if op is None and (choice is None or str(choice).lower() == "linear"):
        return None
    if not callable(op) or (isinstance(op, ops.Op) and op.arity != 1):
        raise ValueError(
            f"unknown activation {choice!r}: give the name of an operation of one operand, such as "
            f"{', '.join(USUAL_ACTIVATIONS)}, or a function from Value to Value"
        )
    return op


def _operation(name: Any) -> ops.Op | None:
    """The operation of a name, whatever its case and underscores where that leaves one of one operand only."""

    def folded(text: Any) -> str:
        return str(text).lower().replace("_", "")

    if name in ops.TABLE:
        return ops.TABLE[name]
    like = [op for other, op in ops.TABLE.items() if op.arity == 1 and folded(other) == folded(name)]
    return like[0] if len(like) == 1 else None


def _as_keyword(misplaced: Any) -> str:
    return f'activation="{misplaced if isinstance(misplaced, str) else "tanh"}"'


# ----------------------------------------------------------------------------------------------------------- files


def write_json(path: str | os.PathLike[str], data: Any) -> None:
    """Write plain data to a JSON file that appears whole or not at all.

    See ``Module.save``.  ValueError for an inf or nan, OSError for a file that cannot be written.
    """
    part = f"{os.fspath(path)}.{os.getpid()}.part"
    text = json.dumps(data, indent=1, allow_nan=False)
    try:
        with open(part, "w", encoding="utf-8") as file:
            file.write(text + "\n")
        os.replace(part, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from None  # and not the temporary name
    finally:
        if os.path.exists(part):
            os.unlink(part)


def read_json(path: str | os.PathLike[str]) -> Any:
    """The plain data in a JSON file.  ValueError where it is not JSON, OSError where it cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file, parse_constant=_not_json)
    except (ValueError, RecursionError) as error:  # JSONDecodeError and UnicodeDecodeError are ValueErrors
        raise ValueError(f"{os.fspath(path)} is not a JSON file: {error}") from None


def _not_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON number")
