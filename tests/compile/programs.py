"""Random programs: the source of small functions on Values, numbers and nested containers of them.

A program is text, so that a failing one can be read, shortened and sent around.  It is drawn from a source of choices: a
``random.Random``, or hypothesis, which then shrinks it.  Operands are kept within an operation's domain by tanh, and all
results of moderate size, so that every program is finite, and smooth but for the kinks of abs, relu, maximum and so on.
"""

from __future__ import annotations

import copy
import itertools
import linecache
import random
from collections.abc import Callable
from typing import Any

import numpy as np

import micrograd
from micrograd import Value, nn, ops
from micrograd.ops import FLOATS, TABLE, Op

OPERATIONS = sorted(TABLE.keys() - {"where", "take"})  # which are written as where(condition, a, b) and take(table, index)
PARAMETERS = {
    "power": [{"exponent": e} for e in (-1.5, 0.0, 0.5, 2.0, 3.0)],
    "leaky_relu": [{"slope": 0.2}],
    "elu": [{"alpha": 0.7}],
    "clip": [{"low": -1.0, "high": 1.5}],
}
NUMBERS = (0.5, -1.25, 2.0, 0.1, 1.0, 3.0)
LARGEST = 8.0  # results that may exceed this are scaled down


class Program:
    """A function, its source, the parameters that it closes over, and examples of its arguments.

    ``size`` counts its steps, of which ``first``, if it is the name of an operation, is the first.
    """

    def __init__(self, choose: Any, size: int = 12, result: str = "number", first: str | None = None) -> None:
        writer = Writer(choose)
        self.kinds = [choose.choice(list(ARGUMENTS)) for _ in range(choose.choice([1, 1, 2, 3]))]
        self.index = len(self.kinds) if choose.choice([True, False]) else None  # the position of an integer argument
        self.names = [*(f"x{i}" for i in range(len(self.kinds))), *["k"] * (self.index is not None)]
        writer.open_arguments(self.kinds, self.index is not None)
        if first:
            writer.operation(first)
        for _ in range(size - bool(first)):
            writer.step(choose.choice(STEPS))
        captured = sorted(writer.captured)
        body = [f"    def f({', '.join(self.names)}):", *writer.lines, f"        return {writer.result(result)}"]
        self.source = "\n".join([f"def make({', '.join(captured)}):", *body, "    return f", ""])
        self.captured = {name: writer.captured[name] for name in captured}
        self.rng = random.Random(choose.choice(range(1000)))
        self.function = self._compiled()(*self.captured.values())

    def _compiled(self) -> Callable[..., Any]:
        file = f"<random program {id(self)}>"
        linecache.cache[file] = (len(self.source), None, self.source.splitlines(keepends=True), file)
        namespace = {"micrograd": micrograd, "ops": ops, "np": np}
        exec(compile(self.source, file, "exec"), namespace)
        return namespace["make"]  # type: ignore[return-value]

    def without(self, number: int) -> Program:
        """This program without one line of its source; SyntaxError where what is left is no program."""
        lines = self.source.splitlines(keepends=True)
        shorter = copy.copy(self)
        shorter.source = "".join(lines[:number] + lines[number + 1 :])
        shorter.function = shorter._compiled()(*self.captured.values())
        return shorter

    @property
    def differentiable(self) -> tuple[int, ...]:
        """The positions of the arguments that are not indices."""
        return tuple(range(len(self.kinds)))

    def example(self) -> tuple[Any, ...]:
        """Arguments drawn at random: floats in the structure of the kinds, and an index."""
        drawn = [_filled(ARGUMENTS[kind], self.rng) for kind in self.kinds]
        return (*drawn, *[self.rng.randrange(3)] * (self.index is not None))

    def __repr__(self) -> str:
        return f"\n{self.source}\n# captured: {self.captured}"


# -------------------------------------------------------------------------------------------------------- arguments

# Each kind of argument: a structure with None for a float.  (n,) stands for a NumPy array of that shape.
ARGUMENTS: Any = {
    "number": None,
    "list": [None, None, None],
    "vector": np.zeros(3),
    "matrix": np.zeros((2, 3)),
    "dict": {"a": None, "b": [None, None]},
    "tuple": (None, [None, None]),
}
ENTRIES = {  # how the numbers of an argument x are written
    "number": ["{x}"],
    "list": ["{x}[0]", "{x}[1]", "{x}[2]"],
    "vector": ["{x}[0]", "{x}[1]", "{x}[2]"],
    "matrix": [f"{{x}}[{i}][{j}]" for i, j in itertools.product(range(2), range(3))],
    "dict": ["{x}['a']", "{x}['b'][0]", "{x}['b'][1]"],
    "tuple": ["{x}[0]", "{x}[1][0]", "{x}[1][1]"],
}


def _filled(kind: Any, rng: random.Random) -> Any:
    if kind is None:
        return rng.uniform(-1.5, 1.5)
    if isinstance(kind, np.ndarray):
        return np.array([rng.uniform(-1.5, 1.5) for _ in range(kind.size)]).reshape(kind.shape)
    if isinstance(kind, dict):
        return {key: _filled(part, rng) for key, part in kind.items()}
    return type(kind)(_filled(part, rng) for part in kind)


def stacked(examples: list[Any]) -> Any:
    """One batched argument from one argument an example: arrays with a leading axis in the place of numbers and lists."""
    first = examples[0]
    if isinstance(first, dict):
        return {key: stacked([e[key] for e in examples]) for key in first}
    if isinstance(first, tuple):
        return tuple(stacked([e[i] for e in examples]) for i in range(len(first)))
    return np.array(examples)


# ---------------------------------------------------------------------------------------------------------- writing


class Writer:
    """Writes a function line by line, and knows a bound on the magnitude of each number that it has named."""

    def __init__(self, choose: Any) -> None:
        self.choose, self.lines, self.indent = choose, list[str](), " " * 8
        self.bounds: dict[str, float] = {}  # what can be an operand
        self.vectors: list[list[str]] = []  # numbers that belong together, such as the outputs of a layer
        self.matrices: list[str] = []  # 2 by 3
        self.arrays: list[str] = []  # of 3
        self.captured: dict[str, Any] = {}
        self.has_index = False
        self.count = 0

    def open_arguments(self, kinds: list[str], has_index: bool) -> None:
        self.has_index = has_index
        for i, kind in enumerate(kinds):
            entries = [entry.format(x=f"x{i}") for entry in ENTRIES[kind]]
            self.bounds |= dict.fromkeys(entries, 1.5)
            if len(entries) == 3:
                self.vectors.append(entries)
            if kind == "matrix":
                self.matrices.append(f"x{i}")
            if kind == "vector":
                self.arrays.append(f"x{i}")

    def step(self, kind: str) -> None:
        getattr(self, kind)()

    # ------------------------------------------------------------------------------------------------- vocabulary

    def line(self, text: str) -> None:
        self.lines.append(self.indent + text)

    def name(self) -> str:
        self.count += 1
        return f"v{self.count}"

    def let(self, expression: str, bound: float) -> str:
        """A new operand: a line that names the expression, scaled down where it may be large."""
        name = self.name()
        scaled = f"({expression}) * {4 / bound:.3g}" if bound > LARGEST else expression
        self.line(f"{name} = {scaled}")
        self.bounds[name] = min(bound, LARGEST)
        return name

    def operand(self) -> str:
        """One of the operands there are, the last few more often."""
        names = list(self.bounds)
        return self.choose.choice(names[-6:] if self.choose.choice([True, False]) else names)  # type: ignore[no-any-return]

    def operands(self, count: int) -> list[str]:
        return [self.operand() for _ in range(count)]

    def number(self) -> float:
        return self.choose.choice(NUMBERS)  # type: ignore[no-any-return]

    def within(self, name: str, low: float, high: float) -> str:
        """An operand kept in an interval: itself where it lies there, else half of the interval's width times its tanh."""
        if low <= -self.bounds[name] and self.bounds[name] <= high:
            return name
        return f"({name}.tanh() * {(high - low) / 2:.6g} + {(high + low) / 2:.6g})"

    def capture(self, kind: str, make: Callable[[random.Random], Any]) -> str:
        """The name of something that the function closes over, at most two of a kind."""
        name = f"{kind}{self.choose.choice(range(2))}"
        if name not in self.captured:
            self.captured[name] = make(random.Random(name))
        return name

    # ------------------------------------------------------------------------------------------------------ steps

    def operation(self, name: str | None = None) -> None:
        op = TABLE[name or self.choose.choice(OPERATIONS)]
        if op.name in PARAMETERS:
            op = op.bind(**self.choose.choice(PARAMETERS[op.name]))
        arity = op.arity or self.choose.choice([1, 3, 5] if op.name == "dot" else [1, 2, 3])
        intervals = [_interval(op, i) for i in range(arity)]
        written = [self.within(self.operand(), *interval) for interval in intervals]
        arguments = f"[{', '.join(written)}]" if op.arity is None else ", ".join(written)
        parameters = "".join(f", {name}={value}" for name, value in op.params.items())
        chosen = f"[{arity - 1}]" if op.vector else ""
        self.let(f"ops.{op.name}({arguments}{parameters}){chosen}", _bound(op, intervals))

    def arithmetic(self) -> None:
        """An expression as one writes it with operators and methods."""
        a, b = self.operands(2)
        template, bound = self.choose.choice(EXPRESSIONS)
        positive = self.within(b, 0.4, 2.4)
        self.let(template.format(a=a, b=b, p=positive, c=self.number()), bound(self.bounds[a], self.bounds[b]))

    def weighted_sum(self) -> None:
        """Products and their sum, in one of the ways that people write it."""
        n = self.choose.choice([1, 2, 3, 5])
        w, x, b = self.operands(n), self.operands(n), self.operand()
        products = [f"{i} * {j}" for i, j in zip(w, x, strict=True)]
        forms = [
            " + ".join([*products, b]),
            " + ".join([b, *products]),
            " + ".join([b, *products][::-1]),
            f"sum([{', '.join(products)}])",
            f"sum([{', '.join(products)}], {b})",
            f"sum(reversed([{', '.join(products)}])) - {b}",
            f"micrograd.sum([{', '.join(products)}, {b}])",
            f"micrograd.dot([{', '.join(w)}], [{', '.join(x)}], {b})",
        ]
        bound = sum(self.bounds[i] * self.bounds[j] for i, j in zip(w, x, strict=True)) + self.bounds[b]
        self.let(self.choose.choice(forms), bound)

    def layer(self) -> None:
        """A matrix of parameters, or an argument, times three numbers that belong together, and an activation."""
        own = self.capture("w", lambda rng: [[Value(rng.uniform(-1, 1)) for _ in range(3)] for _ in range(3)])
        matrix = self.choose.choice([own, *self.matrices])
        x = self.choose.choice([*self.vectors[-2:], self.operands(3)])
        activation = self.choose.choice(["{}", "{}.tanh()", "{}.relu()", "{}.sigmoid()"])
        forms = [
            "sum(w * x for w, x in zip(row, {x}))",
            "row[0] * {x}[0] + row[1] * {x}[1] + row[2] * {x}[2]",
            "0.5 + sum(x * w for x, w in zip({x}[::-1], row[::-1]))",
            "micrograd.dot(row, {x}, 0.25)",
        ]
        inputs, outputs = self.name(), self.name()
        self.line(f"{inputs} = [{', '.join(x)}]")
        written = self.choose.choice(forms).format(x=inputs)
        bound = 1.5 * sum(self.bounds[i] for i in x) + 0.5
        scaled = f"({written}) * {4 / bound:.3g}" if bound > LARGEST else written
        self.line(f"{outputs} = [{activation.format(f'({scaled})')} for row in {matrix}]")
        rows = [f"{outputs}[{i}]" for i in range(2 if matrix in self.matrices else 3)]
        self.bounds |= dict.fromkeys(rows, min(max(bound, 1.0), LARGEST))
        if len(rows) == 3:
            self.vectors.append(rows)

    def array(self) -> None:
        """NumPy's own functions and operators on an array of numbers."""
        if not self.arrays:
            return self.operation()
        x = self.choose.choice(self.arrays)
        forms = ["np.tanh({x})", "{x} * {x} - 0.5", "np.exp({x} * 0.5)", "2.0 * {x}", "1.0 - {x}[::-1]"]
        forms += [f"{m} @ {{x}}" for m in self.matrices]
        form = self.choose.choice(forms)
        name = self.name()
        self.line(f"{name} = {form.format(x=x)}")
        entries = [f"{name}[{i}]" for i in range(2 if "@" in form else 3)]
        self.bounds |= dict.fromkeys(entries, LARGEST)
        if len(entries) == 3:
            self.vectors.append(entries)

    def probabilities(self) -> None:
        """The outputs of a softmax, or their logarithms."""
        inputs = self.operands(self.choose.choice([2, 3]))
        outputs, op = self.name(), self.choose.choice(["softmax", "log_softmax"])
        written = ", ".join(self.within(i, -3, 3) for i in inputs)
        self.line(f"{outputs} = micrograd.{op}([{written}])")
        self.bounds |= {f"{outputs}[{i}]": 1.0 if op == "softmax" else LARGEST for i in range(len(inputs))}

    def choice(self) -> None:
        """A branch decided by the data: a nan of the side that is not chosen must not leak."""
        a, b, x, y = self.operands(4)
        compare = self.choose.choice(["<", "<=", ">", ">="])
        offset = self.choose.choice([0.2173, -0.3391, 1.0721])  # so that no comparison hangs on roundoff
        forms = [
            (f"micrograd.where({a} {compare} {b} + {offset}, {x}, {y})", max(self.bounds[x], self.bounds[y])),
            (f"micrograd.where({a} {compare} {offset}, {x} * {y}, {self.number()})", self.bounds[x] * self.bounds[y] + 3.0),
            (f"micrograd.where({a} > 0.2173, ({a} - 0.1).sqrt(), {y})", max(3.0, self.bounds[y])),
            (f"micrograd.where({a} < 0.2173, {x}, ({a} - 0.1).log())", max(3.0, self.bounds[x])),
        ]
        self.let(*self.choose.choice(forms))

    def lookup(self) -> None:
        """An entry, or a row, of a table at the index that is an argument."""
        if not self.has_index:
            return self.choice()
        entries = self.operands(self.choose.choice([3, 4]))
        if self.choose.choice([True, False]):
            self.let(f"micrograd.take([{', '.join(entries)}], k)", max(self.bounds[e] for e in entries))
            return None
        table = self.capture("t", lambda rng: [[Value(rng.uniform(-1, 1)) for _ in range(3)] for _ in range(3)])
        row = self.name()
        self.line(f"{row} = micrograd.take({table}, k)")
        self.vectors.append([f"{row}[{i}]" for i in range(3)])
        self.bounds |= dict.fromkeys(self.vectors[-1], 1.0)
        return None

    def stopped(self) -> None:
        a, b = self.operands(2)
        self.let(f"{a} * micrograd.detach({b})", self.bounds[a] * self.bounds[b])

    def tie(self) -> None:
        """Equal operands, and the kink of relu and abs itself."""
        a = self.operand()
        forms = ["micrograd.maximum({a}, {a})", "micrograd.minimum({a}, {a})", "({a} * 0.0).relu()", "abs({a} * 0.0)"]
        self.let(self.choose.choice(forms).format(a=a), self.bounds[a])

    def network(self) -> None:
        """A module that the function closes over."""
        model = self.capture("model", lambda rng: nn.MLP(2, [3, 2], activation=rng.choice(["tanh", "relu"]), seed=1))
        x, outputs = ", ".join(self.within(i, -1.5, 1.5) for i in self.operands(2)), self.name()
        self.line(f"{outputs} = {model}([{x}])")
        self.bounds |= {f"{outputs}[{i}]": LARGEST for i in range(2)}

    def loop(self) -> None:
        """Equal steps, 3 to 30 of them, over a state of one or two numbers."""
        states = [self.let(f"{i}.tanh()", 1.0) for i in self.operands(self.choose.choice([1, 2]))]
        outside = dict(self.bounds)
        repeat = self.choose.choice([3, 4, 7, 12, 30])
        self.line(f"for i in range({repeat}):")
        self.indent += "    "
        for _ in range(self.choose.choice([0, 1, 2])):
            self.step(self.choose.choice(["arithmetic", "operation", "weighted_sum", "choice"]))
        updates = [self.choose.choice(UPDATES).format(s=s, a=self.operand()) for s in states]
        self.line(f"{', '.join(states)} = {', '.join(updates)}")
        self.indent = self.indent[:-4]
        self.bounds = outside

    # ----------------------------------------------------------------------------------------------------- result

    def result(self, kind: str) -> str:
        a, b, c = self.operands(3)
        if kind == "number":
            last = list(self.bounds)[-5:]
            forms = [f"{a} + {b} * {c}", f"{a} * 1.0", " + ".join(last), f"sum([{', '.join(last)}])"]
            return self.choose.choice(forms)  # type: ignore[no-any-return]
        forms = [f"[{a}, {b}]", f"{{'p': {a}, 'q': [{b}, {c}]}}", f"({a}, [{b}, [{c}]])", f"np.array([{a}, {b}, {c}])"]
        return self.choose.choice(forms)  # type: ignore[no-any-return]


EXPRESSIONS: list[tuple[str, Callable[[float, float], float]]] = [
    ("{a} + {b}", lambda a, b: a + b),
    ("{a} - {b}", lambda a, b: a + b),
    ("{a} * {b}", lambda a, b: a * b),
    ("{a} + {a}", lambda a, b: 2 * a),
    ("-{a}", lambda a, b: a),
    ("{c} * {a}", lambda a, b: 3 * a),
    ("{c} - {a}", lambda a, b: 3 + a),
    ("{a} / {c}", lambda a, b: 10 * a),
    ("{a} / {p}", lambda a, b: 2.5 * a),
    ("{c} / {p}", lambda a, b: 7.5),
    ("{a} ** 2", lambda a, b: a**2),
    ("{a} ** 3", lambda a, b: a**3),
    ("{p} ** 0.5", lambda a, b: 1.6),
    ("{p} ** -1.5", lambda a, b: 4.0),
    ("{p} ** {p}", lambda a, b: 8.2),
    ("2 ** ({a} * 0.25)", lambda a, b: 4.0),
    ("abs({a})", lambda a, b: a),
    ("({a} - {b}) * ({a} + {b})", lambda a, b: (a + b) ** 2),
    ("({a} * 0.5).exp()", lambda a, b: 55.0),
    ("({a}).sin() * ({b}).cos()", lambda a, b: 1.0),
    ("max(1, 2) * {a} - True", lambda a, b: 2 * a + 1),
]
UPDATES = [  # each stays within -1 .. 1
    "({s} * 0.75 + {a} * 0.25).tanh()",
    "({s} + 0.1 * {a}).sin()",
    "0.9 * {s} + 0.1 * ({a}).tanh()",
    "({s} * {s} + {a}).cos()",
    "micrograd.maximum({s} * 0.5, ({a}).tanh() - 0.25)",
]
STEPS = [
    *["operation"] * 8,
    *["arithmetic"] * 5,
    *["weighted_sum"] * 3,
    *["layer"] * 2,
    *["choice"] * 2,
    *["lookup"] * 2,
    *["array", "probabilities", "stopped", "tie", "network", "loop", "loop"],
]


def _interval(op: Op, i: int) -> tuple[float, float]:
    low, high = op.domain[min(i, len(op.domain) - 1)]
    return max(low, -3.0), min(high, 3.0)


def _bound(op: Op, intervals: list[tuple[float, float]]) -> float:
    """A bound on an operation's results, from a grid over its operands."""
    points = {1: 33, 2: 9}.get(len(intervals), 3)
    grids = [[low + (high - low) * i / (points - 1) for i in range(points)] for low, high in intervals]
    results = [op.rule(FLOATS, *operands)[0] for operands in itertools.product(*grids)]
    return 1.1 * max(abs(r) for result in results for r in (result if op.vector else [result]))
