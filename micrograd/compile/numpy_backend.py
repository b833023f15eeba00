"""The NumPy backend: a vector program as a readable NumPy program, and the program run.

The text works on two arrays, ``w`` of the numbers that all examples share and ``v`` with a row for each number that every
example has its own of and a column an example.  Addresses in an arithmetic sequence are slices; other sets of addresses are
tables beside the text, ``t[3]``.  A batch is taken in chunks, always the same ones, so that sums come out the same.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np

from micrograd.compile.emit import Code, Term
from micrograd.compile.streams import Stream
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import (
    LANES,
    Addresses,
    Instruction,
    Loop,
    Map,
    Product,
    Rolled,
    Rows,
    Scatter,
    Take,
    describe,
)

CHUNK_BYTES = 1 << 26  # of the numbers of the examples that are in work at one time


def source(rolled: Rolled, dtype: str = "float64") -> str:
    """The NumPy program of a vector program."""
    return _Writer(rolled).program(dtype)


class NumpyKernel:
    """A vector program, ready to run: ``source`` is its text."""

    name = "numpy"

    def __init__(self, rolled: Rolled, dtype: str = "float64") -> None:
        self.rolled, self.dtype = rolled, np.dtype(dtype)
        writer = _Writer(rolled)
        self.source = writer.program(dtype)
        self.tables, self._integers = writer.tables, writer.integers
        namespace: dict[str, Any] = {}
        exec(compile(self.source, "<NumPy program>", "exec"), namespace)
        self._phases: tuple[Any, ...] = tuple(namespace.get(name) for name in ("before", "batch", "after"))
        outputs = np.asarray(rolled.outputs)
        self._shared, self._lanes = outputs[outputs < LANES], outputs[outputs >= LANES] - LANES
        number_bytes = self.dtype.itemsize * max(1, rolled.lanes)
        self.chunk = max(16, min(1024, CHUNK_BYTES // number_bytes))
        numbers = self.dtype.itemsize * (rolled.shared + rolled.lanes * self.chunk)
        integers = np.dtype(np.int64).itemsize * (self._integers[0] + self._integers[1] * self.chunk)
        self.bytes = numbers + integers + sum(table.nbytes for table in self.tables)

    def run(self, inputs: Sequence[Any], examples: int = 1) -> tuple[Any, Any]:
        """The outputs that all examples share, and those of each example as an array (examples, number of them).

        ``inputs`` has an array for each space of the program, in order: of ``size`` numbers, or of so many for each example
        if it is batched.
        """
        with np.errstate(all="ignore"):
            return self._run(inputs, examples)

    def bind(self, inputs: Sequence[Any], examples: int, brief: bool) -> None:
        """There is nothing to gain: a program's run takes longer than what goes with it."""

    def _run(self, inputs: Sequence[Any], examples: int) -> tuple[Any, Any]:
        rolled = self.rolled
        w = np.zeros(rolled.shared, self.dtype)
        w[: len(rolled.constants)] = rolled.constants
        i = np.zeros(self._integers[0], np.int64)
        for (space, base), array in zip(rolled.spaces, inputs, strict=True):
            if not space.batched and space.size:
                target, start = (i, self._integers[2][base]) if space.kind == "index" else (w, base)
                target[start : start + space.size] = np.reshape(array, -1)
        before, batch, after = self._phases
        lanes = np.empty((examples, len(self._lanes)), self.dtype)
        if before is not None:
            before(w, i, self.tables)
        if batch is not None:
            for first in range(0, examples, self.chunk):
                self._run_chunk(w, i, inputs, slice(first, min(first + self.chunk, examples)), lanes)
        if after is not None:
            after(w, i, self.tables)
        return w[self._shared], lanes

    def _run_chunk(self, w: Any, i: Any, inputs: Sequence[Any], some: slice, lanes: Any) -> None:
        """The batched phase for some examples: sums over the batch are added to ``w``, outputs are set in ``lanes``."""
        count = some.stop - some.start
        v = np.empty((self.rolled.lanes, count), self.dtype)
        j = np.empty((self._integers[1], count), np.int64)
        for (space, base), array in zip(self.rolled.spaces, inputs, strict=True):
            if space.batched and space.size:
                target, start = (j, self._integers[2][base]) if space.kind == "index" else (v, base - LANES)
                target[start : start + space.size] = array[some].reshape(count, -1).T
        self._phases[1](w, v, i, j, self.tables)
        lanes[some] = v[self._lanes].T


# ------------------------------------------------------------------------------------------------------------- the text

_HELPERS = {
    "where": """
def where(condition, a, b):
    return np.where(condition, a, b).astype(real, copy=False)
""",
    "erf": """
def erf(x):
    return np.array([math.erf(a) for a in np.ravel(x)], real).reshape(np.shape(x))
""",
    "erfc": """
def erfc(x):
    return np.array([math.erfc(a) for a in np.ravel(x)], real).reshape(np.shape(x))
""",
    "grid": """
def grid(numbers, start, shape, steps):
    \"\"\"A matrix with a start and two steps: its elements are numbers, or rows of v.\"\"\"
    rest, one = numbers.shape[1:], numbers.strides[0]
    steps = tuple(one * step for step in steps) + numbers.strides[1:]
    return np.ndarray(shape + rest, real, numbers, one * start, steps)
""",
    "gather": f"""
def gather(w, v, places):
    \"\"\"Numbers of which some are shared and some, from address 2**{LANES.bit_length() - 1}, are of the examples.\"\"\"
    own = places >= {LANES}
    numbers = np.empty(places.shape + v.shape[1:], real)
    numbers[~own] = w[places[~own], None]
    numbers[own] = v[places[own] - {LANES}]
    return numbers
""",
    "pick": """
def pick(tables, index):
    \"\"\"One entry of each table: (rows,) for an index a row, (rows, examples) for an index a row and example.\"\"\"
    rows = np.arange(len(tables))
    return tables[rows.reshape(rows.shape + (1,) * (index.ndim - 1)), index]
""",
    "pick_lanes": """
def pick_lanes(v, places):
    return v[places, np.arange(v.shape[1])]
""",
    "pick_gather": f"""
def pick_gather(w, v, places):
    own, places = np.broadcast_arrays(places >= {LANES}, places)
    examples = np.arange(v.shape[1])
    if places.ndim == 1:
        own, places = own[:, None], places[:, None]
    mine = v[np.where(own, places - {LANES}, 0), examples]
    return np.where(own, mine, w[np.where(own, 0, places)])
""",
    "scatter": """
def scatter(slots, index, values, count, examples, kept):
    \"\"\"Sums of values by the slot that an index picks: one for each of ``count`` slots and, if kept, each example.\"\"\"
    rows = np.arange(len(slots)).reshape((-1,) + (1,) * (index.ndim - 1))
    slot = slots[rows, index]
    if not examples:
        return np.bincount(slot.ravel(), values.ravel(), count + 1)[:count]
    slot, values = (a.reshape(a.shape + (1,) * (3 - a.ndim)) for a in (slot, values))
    if kept:
        slot = slot * examples + np.arange(examples)
    slot, values, _ = np.broadcast_arrays(slot, values, np.empty((1, 1, examples)))
    size = (count + 1) * (examples if kept else 1)
    sums = np.bincount(slot.ravel(), values.ravel(), size)
    return sums.reshape(count + 1, examples)[:count] if kept else sums[:count]
""",
}

_FUNCTIONS = {
    "abs": "np.abs", "asin": "np.arcsin", "acos": "np.arccos", "atan": "np.arctan", "atan2": "np.arctan2",
    "asinh": "np.arcsinh", "acosh": "np.arccosh", "atanh": "np.arctanh", "pow": "np.float_power", "div": "np.divide",
    "where": "where", "erf": "erf", "erfc": "erfc",
}  # fmt: skip
_INFIX = frozenset(["+", "-", "*", "<", "<=", ">", ">=", "&", "|"])


def _spell(function: str, args: Sequence[str]) -> str:
    """An expression in NumPy; one with operators has parentheses around it."""
    if function in _INFIX:
        return f"({args[0]} {function} {args[1]})"
    if function == "neg":
        return f"(-{args[0]})"
    if function == "div" and not (_is_number(args[0]) and _is_number(args[1])):
        return f"({args[0]} / {args[1]})"
    if function == "pow" and _is_number(args[1]) and args[1] != "0.5":  # which np.power takes for a square root
        return f"np.power({', '.join(args)})"
    return f"{_FUNCTIONS.get(function, f'np.{function}')}({', '.join(args)})"


def _is_number(text: str) -> bool:
    return text.lstrip("-")[:1].isdigit() or text in ("inf", "-inf", "nan")


def _bare(text: str) -> str:
    """An expression without the parentheses that ``_spell`` put around it."""
    if text[0] != "(":
        return text
    depth = 0
    for at, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if depth == 0:
            return text[1:-1] if at == len(text) - 1 else text
    return text


def expressions(outputs: Sequence[Any], names: dict[Term, str]) -> tuple[list[str], list[str]]:
    """Lines that name what is used more than once, and an expression for each of some terms of a rule."""
    uses: dict[Term, int] = {}
    stack = [out for out in outputs if isinstance(out, Term)]
    while stack:
        term = stack.pop()
        uses[term] = uses.get(term, 0) + 1
        if uses[term] == 1:
            stack += [a for a in term.args if isinstance(a, Term)]
    texts: dict[Term, str] = {}
    lines: list[str] = []

    def text(x: Any) -> str:
        return texts[x] if isinstance(x, Term) else repr(float(x))

    for term in sorted(uses, key=lambda t: t.index):
        given = names.get(term)
        texts[term] = given if given is not None else _spell(term.function, [text(a) for a in term.args])
        if uses[term] > 1:
            name = f"x{names[term][1:-1]}" if given is not None else f"p{len(lines)}"
            lines.append(f"{name} = {_bare(texts[term])}")
            texts[term] = name
    return lines, [_bare(text(out)) for out in outputs]


@functools.lru_cache(maxsize=4096)
def _rule_lines(code: int, count: int, wanted: tuple[int, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines and expressions of an operation of some operands, {0}, {1}, ...; wanted is -1 for its value, j for a slope."""
    op = KINDS[code].op
    assert op is not None
    recorded = Code()
    operands = [recorded.operand(str(k)) for k in range(count)]
    value, derivatives = op.rule(recorded.xp, *operands)
    outputs = [value if j < 0 else derivatives[j] for j in wanted]
    lines, texts = expressions(outputs, {term: f"{{{k}}}" for k, term in enumerate(operands)})
    return tuple(lines), tuple(texts)


class _Writer:
    """Writes the text of a vector program and collects its tables."""

    def __init__(self, rolled: Rolled) -> None:
        self.rolled = rolled
        self.tables: list[Any] = []
        self._known: dict[bytes, int] = {}
        self.lines: list[str] = []
        self.indent = "    "
        counts = [0, 0]
        starts: dict[int, int] = {}  # by the address of an index space: the position of its first integer
        for space, base in rolled.spaces:
            if space.kind == "index":
                starts[base] = counts[space.batched]
                counts[space.batched] += space.size
        self.integers = counts[0], counts[1], starts

    def program(self, dtype: str) -> str:
        phases = {"before": "w, i, t", "batch": "w, v, i, j, t", "after": "w, i, t"}
        for name, instructions in self.rolled.phases():
            if instructions or (name == "batch" and self.rolled.lanes):
                self.lines += ["", "", f"def {name}({phases[name]}):"]
                if name == "batch":
                    self.lines.append("    n = v.shape[1]")
                for instruction in instructions:
                    self.write(instruction)
        body = "\n".join(self.lines)
        rolled = self.rolled
        head = [
            f'"""A program of {rolled.shared} shared numbers w and {rolled.lanes} numbers v of each example."""',
            "import math\n\nimport numpy as np\nfrom numpy import inf, nan\n",
            f"real = np.{np.dtype(dtype)}",
        ]
        helpers = [text for name, text in _HELPERS.items() if f"{name}(" in body]
        return "\n".join([*head, *(f"\n{helper.rstrip()}" for helper in helpers)]) + body + "\n"

    def write(self, instruction: Instruction | Stream) -> None:
        if isinstance(instruction, Stream):
            for part in instruction.parts:
                self.write(part.instruction)
            return
        if isinstance(instruction, Loop):
            self.write_loop(instruction)
            return
        self.line(f"# {describe(instruction)}")
        if isinstance(instruction, Map):
            self.write_map(instruction)
        elif isinstance(instruction, Rows) and instruction.lengths is not None and not instruction.largest:
            self.write_ragged(instruction)
        elif isinstance(instruction, (Product, Rows)):
            self.write_sums(instruction)
        elif isinstance(instruction, Take):
            self.write_take(instruction)
        else:
            self.write_scatter(instruction)

    def write_loop(self, loop: Loop) -> None:
        """A loop over the turns ``r``; addresses move by a step at each of them."""
        if any(isinstance(i, (Scatter, Loop)) for i in loop.body):  # whose tables are made of what they read
            for turn in range(loop.turns):
                for instruction in loop.unrolled(turn):
                    self.write(instruction)
            return
        self.line(f"for r in range({loop.turns}):")
        self.indent += "    "
        for instruction in loop.body:
            self.write(instruction)
        self.indent = self.indent[4:]

    def line(self, text: str) -> None:
        self.lines.append(f"{self.indent}{text}")

    # ------------------------------------------------------------------------------------------------------- addresses

    def table(self, addresses: Any) -> str:
        """A table of the program; equal ones are one."""
        array = np.ascontiguousarray(addresses, dtype=np.int64)
        key = str(array.shape).encode() + array.tobytes()
        number = self._known.get(key)
        if number is None:
            number = self._known[key] = len(self.tables)
            self.tables.append(array)
        return f"t[{number}]{_turns(addresses)}"

    def vector(self, addresses: Addresses, lift: bool = False, spread: bool = True) -> str:
        """The numbers at these addresses.

        ``lift`` gives shared ones an axis for the examples; ``spread`` allows one number in the place of many equal ones.
        """
        first, count = int(addresses[0]), len(addresses)
        own = first >= LANES
        step = int(addresses[1]) - first if count > 1 else 1
        name, start = ("v", first - LANES) if own else ("w", first)
        axis = ", None" if lift and not own else ""
        turns = _turns(addresses)
        is_slice = abs(step) < LANES >> 1 and (step > 0 or (step < 0 and not turns) or (step == 0 and spread))
        if is_slice and (count < 3 or (np.diff(addresses) == step).all()):
            return f"{name}[{_slice(start, step, count, turns)}{axis}]"
        if not _is_uniform(addresses):
            return f"gather(w, v, {self.table(addresses)})"
        return f"{name}[{self.table(addresses - LANES if own else addresses)}{axis}]"

    def matrix(self, addresses: Addresses, lift: bool = False) -> str:
        """The numbers at a matrix of addresses, as a view where they lie evenly."""
        rows, columns = addresses.shape
        first = int(addresses[0, 0])
        own = first >= LANES
        name, start = ("v", first - LANES) if own else ("w", first)
        even = _even(addresses)
        if even is None:
            if not _is_uniform(addresses):
                return f"gather(w, v, {self.table(addresses)})"
            axis = ", None" if lift and not own else ""
            return f"{name}[{self.table(addresses - LANES if own else addresses)}{axis}]"
        down, right = even
        turns = _turns(addresses)
        examples, lifted = (", n" if own else ""), ("[..., None]" if lift and not own else "")
        whole = f"{name}[{_slice(start, 1, rows * columns, turns)}]"
        if right == 1 and down == columns:
            return f"{whole}.reshape({rows}, {columns}{examples}){lifted}"
        if down == 1 and right == rows:
            turned = ".swapaxes(0, 1)" if own else ".T"
            return f"{whole}.reshape({columns}, {rows}{examples}){turned}{lifted}"
        return f"grid({name}, {start}{turns}, ({rows}, {columns}), ({down}, {right})){lifted}"

    # ------------------------------------------------------------------------------------------------------------ maps

    def write_map(self, m: Map) -> None:
        kind = KINDS[m.kind]
        own = any(int(a[-1]) >= LANES or not _is_uniform(a) for a in m.ins)
        own_out = any(int(out[0]) >= LANES for out in m.outs if out is not None)
        ins = [self.vector(a, own or own_out) for a in m.ins]
        if kind.key[0] == "dot":
            assert m.outs[0] is not None
            self.write_dots(kind.shape, ins, m.outs[0], own)
            return
        wanted = [(-1, m.outs[0]), *zip(m.partials, m.outs[1:], strict=True)]
        wanted = [(j, out) for j, out in wanted if out is not None]
        lines, texts = _rule_lines(m.kind, len(ins), tuple(j for j, _ in wanted))
        for line in lines:
            self.line(line.format(*ins))
        for (_, out), text in zip(wanted, texts, strict=True):
            self.line(f"{self.vector(out)} = {text.format(*ins)}")

    def write_dots(self, shape: Sequence[int], ins: list[str], out: Addresses, own: bool) -> None:
        """Sums of a few products; those over the batch gather in what was zero."""
        text = _dot_text(shape, ins)
        if not shape[-1]:
            self.line(f"{self.vector(out)} = {text}")
        else:
            self.line(f"{self.vector(out)} += {f'({text}).sum(-1)' if own else f'n * ({text})'}")

    # ------------------------------------------------------------------------------------------------- sums of products

    def write_sums(self, p: Product | Rows) -> None:
        """Apart by which factors are shared, as a row may have both kinds."""
        own_a = p.a[0] >= LANES
        own_b = own_a if p.b is None else p.b[0] >= LANES
        classes = own_a * 2 + own_b
        add = p.add
        largest = isinstance(p, Rows) and p.largest
        for number in sorted(set(classes.tolist())) if not largest else (0,):
            some = classes == number if not largest else slice(None)
            a, b = p.a[:, some], None if p.b is None else p.b[:, some]
            if isinstance(p, Product):
                self.write_product(a, b, p.c, p.sign, add, p.reduced)
            else:
                self.write_rows(Rows(a, b, p.c, p.sign, add, p.reduced, p.largest))
            add = True

    def write_product(self, a: Any, b: Any, c: Any, sign: int, add: bool, reduced: bool) -> None:
        own_a, own_b = int(a[0, 0]) >= LANES, int(b[0, 0]) >= LANES
        if own_a and not own_b:  # the shared factor stands on the left
            a, b, c, own_a, own_b = b, a, c.T, own_b, own_a
        own_c = int(c[0, 0]) >= LANES
        if own_b and not reduced:
            text, c = self.product_of_examples(a, b, c, own_a)
        elif _rising(c.T) and not _rising(c):
            text, c = self.product(b, a, own_b, own_a), c.T
        else:
            text = self.product(a, b, own_a, own_b)
        if reduced and not own_b:
            text = f"n * ({text})"
        if (reduced or not own_b) and (own_a or own_b or 1 not in c.shape):
            text = f"({text}).ravel()"
        if own_c and not own_b:
            text = f"({text})[:, None]"
        target = self.vector(c.ravel())
        if sign < 0:
            self.line(f"{target} -= {text}" if add or reduced else f"{target} = -({text})")
        else:
            self.line(f"{target} {'+=' if add or reduced else '='} {text}")

    def product(self, a: Any, b: Any, own_a: bool, own_b: bool) -> str:
        """A product of shared matrices, or one over the examples too: of rank one where it can be."""
        if own_a or own_b:
            left, right = self.over_examples(a, own_a, own_b), self.over_examples(b, own_b, own_a)
            return f"{left} @ {right}.T"
        if len(b) == 1:
            return f"{self.matrix(a)} @ {self.vector(b[0], spread=False)}"
        if len(a) == 1:
            return f"{self.vector(a[0], spread=False)} @ {self.matrix(b.T)}"
        if a.shape[1] == 1:
            return f"np.outer({self.vector(a[:, 0], spread=False)}, {self.vector(b[:, 0], spread=False)})"
        return f"{self.matrix(a)} @ {self.matrix(b.T)}"

    def over_examples(self, m: Any, own: bool, other_own: bool) -> str:
        """A matrix whose rows run over the examples too, or are summed over them where the other factor is shared."""
        if not own:
            return self.matrix(m)
        if not other_own:
            return f"{self.matrix(m)}.sum(-1)"
        return self.vector(m[:, 0], spread=False) if m.shape[1] == 1 else f"{self.matrix(m)}.reshape({len(m)}, -1)"

    def product_of_examples(self, a: Any, b: Any, c: Any, own_a: bool) -> tuple[str, Any]:
        """A product for each example, a row each of its numbers: a shared or own matrix times an own one."""
        if not own_a and len(b) == 1:
            return f"{self.matrix(a)} @ {self.vector(b[0], spread=False)}", c
        if not own_a and _rising(c.T):
            return f"({self.matrix(a)} @ {self.matrix(b)}).reshape({c.size}, n)", c.T
        left = "rkn" if own_a else "rk"
        text = f'np.einsum("{left},skn->rsn", {self.matrix(a)}, {self.matrix(b)})'
        return f"{text}.reshape({c.size}, n)", c

    def write_rows(self, p: Rows) -> None:
        own_a = not _is_uniform(p.a) or int(p.a[0, 0]) >= LANES
        own_c = int(p.c[0]) >= LANES
        a = self.matrix(p.a, lift=False)
        if p.largest:
            text = f"{a}.max(1)"
            own = own_a
        elif p.b is None:
            own = own_a
            text = f"{a}.sum({'(1, 2)' if p.reduced and own else 1})"
        else:
            own_b = int(p.b[0, 0]) >= LANES
            own = own_a or own_b
            left, right = "gkn" if own_a else "gk", "gkn" if own_b else "gk"
            result = "gn" if own and not p.reduced else "g"
            text = f'np.einsum("{left},{right}->{result}", {a}, {self.matrix(p.b)})'
        if not own:
            text = f"{text}[:, None]" if own_c else f"n * {text}" if p.reduced else text
        target = self.vector(p.c)
        if p.sign < 0:
            self.line(f"{target} -= {text}" if p.add or p.reduced else f"{target} = -{text}")
        else:
            self.line(f"{target} {'+=' if p.add or p.reduced else '='} {text}")

    def write_ragged(self, p: Rows) -> None:
        """Sums over rows of different lengths."""
        inside = np.arange(p.a.shape[1]) < np.asarray(p.lengths)[:, None]
        starts = np.concatenate([[0], np.cumsum(p.lengths)[:-1]])
        factors = [p.a[inside]] if p.b is None else [p.a[inside], p.b[inside]]
        own = any(int(f.max()) >= LANES for f in factors)
        own_c = int(p.c[0]) >= LANES
        terms = " * ".join(self.vector(f, lift=own or own_c, spread=False) for f in factors)
        text = f"np.add.reduceat({terms}, {self.table(starts)}, axis=0)"
        if p.reduced:
            text = f"{text}.sum(-1)" if own else f"n * {text}"
        if p.sign < 0:
            self.line(f"{self.vector(p.c)} {'-=' if p.add or p.reduced else '= -'}{text}")
        else:
            self.line(f"{self.vector(p.c)} {'+=' if p.add or p.reduced else '='} {text}")

    # ---------------------------------------------------------------------------------------------------------- tables

    def index(self, addresses: Addresses) -> tuple[str, bool]:
        """The integers at these addresses, and whether each example has its own."""
        own = bool(np.ravel(addresses)[0] >= LANES)
        positions = np.zeros_like(addresses)  # a place in a loop stays one
        for space, base in self.rolled.spaces:
            if space.kind == "index":
                inside = (addresses >= base) & (addresses < base + space.size)
                positions[inside] = addresses[inside] - base + self.integers[2][base]
        return f"{'j' if own else 'i'}[{self.table(positions)}]", own

    def write_take(self, p: Take) -> None:
        index, own_index = self.index(p.index)
        target = self.vector(p.out)
        if not _is_uniform(p.table):
            self.line(f"{target} = pick_gather(w, v, pick({self.table(p.table)}, {index}))")
        elif int(p.table[0, 0]) < LANES:
            self.line(f"{target} = w[pick({self.table(p.table)}, {index})]")
        elif own_index:
            self.line(f"{target} = pick_lanes(v, pick({self.table(p.table - LANES)}, {index}))")
        else:
            self.line(f"{target} = v[pick({self.table(p.table - LANES)}, {index})]")

    def write_scatter(self, p: Scatter) -> None:
        """Rows of equal indexes and values are one; where the sum for each position of the table goes is its slots."""
        both = np.concatenate([p.indexes, p.values], axis=1)
        _, row = np.unique(both, axis=0, return_inverse=True)
        copy = _occurrence(row.ravel() * p.count + p.position)  # two tables may get the same
        _, first, row = np.unique(np.stack([row.ravel(), copy], axis=1), axis=0, return_index=True, return_inverse=True)
        slots = np.full((len(first), p.count), len(p.out), dtype=np.int64)
        slots[row.ravel(), p.position] = np.arange(len(p.out))
        kept = int(p.out[0]) >= LANES
        for columns in self.alike(p.indexes, p.values):
            index, own_index = self.index(p.indexes[first][:, columns])
            places = p.values[first][:, columns]
            own = own_index or int(places[0, 0]) >= LANES
            examples = "n" if own or kept or p.reduced else 0
            call = f"scatter({self.table(slots)}, {index}, {self.matrix(places)}, {len(p.out)}, {examples}, {kept})"
            add = p.reduced or columns[0] > 0
            self.line(f"{self.vector(p.out)} {'+=' if add else '='} {call}")

    def alike(self, indexes: Any, values: Any) -> list[Any]:
        """The columns apart by which of the two are shared."""
        classes = (indexes[0] >= LANES) * 2 + (values[0] >= LANES)
        return [np.flatnonzero(classes == number) for number in dict.fromkeys(classes.tolist())]


def _occurrence(numbers: Any) -> Any:
    """For each number how many equal ones come before it."""
    order = np.argsort(numbers, kind="stable")
    firsts = np.flatnonzero(np.diff(numbers[order], prepend=numbers[order][:1] - 1))
    counts = np.diff(firsts, append=len(numbers))
    found = np.empty(len(numbers), dtype=np.int64)
    found[order] = np.arange(len(numbers)) - np.repeat(firsts, counts)
    return found


def _turns(addresses: Any) -> str:
    """What is added to addresses at the turn r of a loop."""
    shift = getattr(addresses, "shift", 0)
    return f" {'+' if shift > 0 else '-'} {abs(shift)} * r" if shift else ""


def _slice(start: int, step: int, count: int, turns: str = "") -> str:
    if turns:
        return f"{start}{turns} : {start + step * (count - 1) + 1}{turns}" + (f" : {step}" if step > 1 else "")
    if step == 0:
        return f"{start}:{start + 1}"
    if step == 1:
        return f"{start}:{start + count}"
    stop = start + step * (count - 1) + (1 if step > 0 else -1)
    return f"{start}:{stop if stop >= 0 else ''}:{step}"


def _is_uniform(addresses: Any) -> bool:
    """Whether all numbers at these addresses are shared, or all are of the examples."""
    own = np.asarray(addresses) >= LANES
    return bool(own.all() or not own.any())


def _even(addresses: Any) -> tuple[int, int] | None:
    """The steps down and right of a matrix of addresses, if they are the same everywhere."""
    rows, columns = addresses.shape
    down = int(addresses[1, 0] - addresses[0, 0]) if rows > 1 else columns
    right = int(addresses[0, 1] - addresses[0, 0]) if columns > 1 else (1 if down == columns else rows)
    if max(abs(down), abs(right)) >= LANES >> 1:
        return None
    if rows > 1 and not (np.diff(addresses[:, 0]) == down).all():
        return None
    if columns > 1 and not (np.diff(addresses, axis=1) == right).all():
        return None
    return (down, right) if rows < 2 or columns < 2 or (addresses[:, 1] - addresses[:, 0] == right).all() else None


def _rising(c: Any) -> bool:
    """Whether a matrix of addresses lies row after row without gaps."""
    return bool((np.diff(c.ravel()) == 1).all())


def _dot_text(shape: Sequence[int], ins: Sequence[str]) -> str:
    """``a * b + c * d - e``."""
    plus, minus, single, negative = shape[:4]
    products = [f"{a} * {b}" for a, b in zip(ins[: 2 * (plus + minus) : 2], ins[1 : 2 * (plus + minus) : 2], strict=True)]
    singles = list(ins[2 * (plus + minus) :])
    positive, negated = products[:plus] + singles[:single], products[plus:] + singles[single:]
    assert len(singles) == single + negative
    text = " + ".join(positive)
    return text + "".join(f" - {term}" for term in negated) if positive else "-" + " - ".join(negated)
