"""The native backend: a vector program as one C file, compiled and loaded.

Numbers that all examples share lie in ``w``, those of each example in ``v``, ``L`` examples side by side, so that either the
members of a group or the examples of a batch fill the lanes of a vector.  Matrix products are calls of kernels; the rest
are plain loops for the compiler to vectorise.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.resources
import queue
import re
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from micrograd.compile import toolchain
from micrograd.compile.buffers import aligned
from micrograd.compile.emit import Code, Dialect, Term, write
from micrograd.compile.streams import Part, Stream
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Instruction, Loop, Map, Product, Rolled, Rows, Scatter, Take, reads, shifted
from micrograd.compile.views import Nest, nest, strides

STATEMENTS = 60  # in a function: compilers slow down on long ones
CACHE_BYTES, OUTER_CACHE_BYTES = 1 << 18, 1 << 20  # where the numbers of the examples worked on together should stay


# ------------------------------------------------------------------------------------------------------------ dialect

_C = {"+": "({} + {})", "-": "({} - {})", "*": "({} * {})", "neg": "(-{})", "div": "({} / {})", "where": "({} ? {} : {})",
      "&": "({} & {})", "|": "({} | {})", "maximum": "mg_larger({}, {})"}  # fmt: skip


def _spell(function: str, args: Sequence[str]) -> str:
    if function == "pow" and (exponent := re.fullmatch(r"MG\((-?[\d.e+-]+)\)", args[1])):
        power = _power(args[0], float(exponent[1]))
        if power is not None:
            return power
    if function in _C:
        return _C[function].format(*args)
    if function in ("<", "<=", ">", ">="):
        return f"({args[0]} {function} {args[1]})"
    return f"mg_{function}({', '.join(args)})"


def _power(a: str, exponent: float) -> str | None:
    """A power with a small whole or half exponent, without a logarithm."""
    size = abs(exponent)
    whole, half = divmod(size, 1.0)
    if size > 4 or half not in (0.0, 0.5):
        return None
    factors = [a if half == 0.0 else f"mg_abs({a})"] * int(whole) + [f"mg_root({a})"] * (half == 0.5)
    product = " * ".join(factors) or "MG(1.0)"
    return f"({product})" if exponent >= 0 else f"(MG(1.0) / ({product}))"


def _number(x: float) -> str:
    if x != x:
        return "MG_NAN"
    if x in (float("inf"), -float("inf")):
        return "MG_INFINITY" if x > 0 else "(-MG_INFINITY)"
    return f"MG({x!r})"


C = Dialect(_spell, _number)


@functools.lru_cache(maxsize=4096)
def template(kind: int, partials: tuple[int, ...]) -> tuple[list[Term], list[Any]]:
    """The operands of a kind of instruction, and its value and local derivatives as code on them."""
    code, what = Code(), KINDS[kind].key[0]
    if what == "dot":
        plus, minus, single, negative, _ = KINDS[kind].shape
        x = [code.operand(str(i)) for i in range(2 * (plus + minus) + single + negative)]
        n = 2 * (plus + minus)
        value: Any = None
        terms = [(x[i] * x[i + 1], i < 2 * plus) for i in range(0, n, 2)]
        terms += [(x[i], i < n + single) for i in range(n, len(x))]
        for term, positive in sorted(terms, key=lambda t: not t[1]):
            value = (term if positive else -term) if value is None else (value + term if positive else value - term)
        return x, [value]
    op = KINDS[kind].op
    assert op is not None
    count = op.arity if op.arity is not None else partials[0]
    x = [code.operand(str(i)) for i in range(count)]
    value, derivatives = op.rule(code.xp, *x)
    return x, [value, *(derivatives[j] for j in partials)] if op.arity is not None else [value]


# -------------------------------------------------------------------------------------------------------------- writer


class Writer:
    """The C text of a program."""

    def __init__(self, rolled: Rolled, real: str) -> None:
        self.rolled, self.real = rolled, real
        size = 8 if real == "double" else 4
        self.lanes = 64 // size
        register = self.lanes
        while self.lanes < 64:  # two registers at least, as each number of a matrix then serves two products
            cache = CACHE_BYTES if self.lanes > register else OUTER_CACHE_BYTES
            if rolled.lanes * self.lanes * 2 * size > cache:
                break
            self.lanes *= 2
        self._reads: list[tuple[int, int, int, Any]] | None = None
        self.table: list[Any] = []
        self.table_size = 0
        self.parts: list[str] = []
        self.needs: set[str] = {"base"}
        self.leaves = [
            (base, base + space.size, k)
            for k, (space, base) in enumerate(rolled.spaces)
            if space.kind == "real" and not space.batched and space.size
        ]
        self.scratch = 0
        self.copied: set[int] = set()  # spaces that some table reaches into: they are copied next to the other numbers
        shared, (start, end) = rolled.outputs[rolled.outputs < LANES], rolled.results
        # whether the outputs lie side by side in an array of their own, which the caller gets; else they are copied there
        inside = len(shared) and start <= shared[0] and shared[-1] < end
        self.results_apart = bool(inside and (np.diff(shared) == 1).all())
        self._copy(rolled.outputs)
        for _ in range(2):  # the first writing finds out which, and whether the outputs can be apart
            self.parts, self.table, self.table_size = [], [], 0
            self.text = self._program()

    # ---------------------------------------------------------------------------------------------------- addresses

    def at(self, addresses: Any, steps: tuple[int, ...], loops: Sequence[str] = "ijk") -> str:
        """A number of a view with constant steps, within its loops."""
        first = int(addresses.flat[0])
        terms = [v if s == 1 else f"{s} * {v}" for s, v in zip(steps, loops, strict=False) if s] + _turn(addresses)
        if first >= LANES:
            where = " + ".join([str(first - LANES), *terms])
            return f"v[({where}) * L + l]" if terms else f"v[{where} * L + l]"
        base, start = self._base(addresses)
        return f"{base}[{' + '.join([str(first - start), *terms])}]"

    def _base(self, addresses: Any, looked_up: bool = False) -> tuple[str, int]:
        """The array that some shared numbers lie in, and the address where it begins."""
        first = addresses.flat[0]
        if getattr(addresses, "shift", 0):
            addresses = np.concatenate(
                [np.asarray(addresses).ravel(), np.asarray(addresses).ravel() + addresses.shift * (addresses.turns - 1)]
            )
        start, end = self.rolled.sums
        if start <= first < end and (not looked_up or ((start <= addresses) & (addresses < end)).all()):
            return "s", start
        begin, stop = self.rolled.results
        if begin <= first < stop and self.results_apart and ((begin <= addresses) & (addresses < stop)).all():
            return "o", begin
        for begin, stop, space in self.leaves:
            if begin <= first < stop and space not in self.copied and ((begin <= addresses) & (addresses < stop)).all():
                return f"in[{space}]", begin
        self._copy(addresses)
        return "w", 0

    def _copy(self, addresses: Any) -> None:
        """Note that leaves or outputs are read together with other numbers, or through a table."""
        begin, stop = self.rolled.results
        if self.results_apart and addresses is not self.rolled.outputs and ((begin <= addresses) & (addresses < stop)).any():
            self.results_apart = False
        for begin, stop, space in self.leaves:
            if space not in self.copied and ((begin <= addresses) & (addresses < stop)).any():
                self.copied.add(space)

    def pointer(self, addresses: Any) -> str:
        """A pointer to the first number of a view with constant steps."""
        first, turn = int(addresses.flat[0]), _turn(addresses)
        if first >= LANES:
            return f"v + ({' + '.join([f'{first - LANES}L', *turn])}) * L"
        base, start = self._base(addresses)
        return " + ".join([f"{base} + {first - start}", *turn])

    def lookup(self, addresses: Any, index: str) -> str:
        """A number of a view without constant steps: its place stands in a table."""
        flat = np.asarray(addresses).ravel()
        lanes = flat[0] >= LANES
        name, begin = "v", LANES
        if not lanes:
            moved = flat + addresses.shift * (addresses.turns - 1) if _turn(addresses) else flat
            name, begin = self._base(np.concatenate([flat, moved]), looked_up=True)
        at = self.tabled(flat - begin)
        place = " + ".join([f"t[{at} + {index}]", *_turn(addresses)])
        return f"v[(long)({place}) * L + l]" if lanes else f"{name}[{place}]"

    def tabled(self, numbers: Any) -> int:
        """The place in the table of these numbers."""
        at = self.table_size
        self.table.append(np.asarray(numbers, dtype=np.int32).ravel())
        self.table_size += self.table[-1].size
        return at

    def view(self, addresses: Any, loops: Nest, number: int) -> str:
        """A number of a view of a nest."""
        steps = loops.steps[number]
        if steps is not None:
            return self.at(addresses.reshape(loops.lengths), steps)
        return self.lookup(addresses, "i")

    def constant(self, addresses: Any) -> str | None:
        """The literal of a view that is one constant of the program."""
        first = addresses.flat[0]
        if _turn(addresses):
            return None
        constants = self.rolled.constants
        return _number(float(constants[first])) if first < len(constants) and (addresses == first).all() else None

    # -------------------------------------------------------------------------------------------------- instructions

    def statements(self, instruction: Instruction | Stream) -> str:
        if isinstance(instruction, Loop):
            body = "\n".join("{ " + self.statements(i) + " }" for i in instruction.body)
            return f"for (long r = 0; r < {instruction.turns}; r++) {{\n{body} }}"
        if isinstance(instruction, Stream):
            return self.stream(instruction)
        if isinstance(instruction, Map):
            return self.map(instruction)
        if isinstance(instruction, Product):
            return self.product(instruction)
        if isinstance(instruction, Rows):
            return self.rows(instruction)
        if isinstance(instruction, Take):
            return self.take(instruction)
        return self.scatter(instruction)

    def loops(self, lengths: Sequence[int], body: str, lanes: bool, names: str = "ijk") -> str:
        """Loops around a body; the innermost one has no dependences between its turns."""
        heads = [f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip(names, lengths, strict=False)]
        if lanes:
            heads.append("for (int l = 0; l < L; l++)")
        if not heads:
            return f"{{ {body} }}"
        return " ".join([*heads[:-1], "{"]) + f"\nMG_SIMD\n{heads[-1]} {{ {body} }}" + ("\n}" if len(heads) >= 1 else "")

    def stream(self, stream: Stream) -> str:
        """One loop over the steps of several instructions, each with its lag."""
        before, after, turns = [], [], []
        for number, parts in enumerate(_bundles(stream.parts)):
            part, steps = parts[0], parts[0].walk.steps
            if isinstance(part.instruction, (Map, Loop)):
                body = self._bundle(parts)
            else:
                name = f"a{number}"
                body = self._step_of_sum(part.instruction, name)
                before.append(f"real {name}[L]; for (int l = 0; l < L; l++) {name}[l] = 0;")
                after.append(self._end_of_sum(part.instruction, name))
            step = f"{steps - 1} - (g - {part.lag})" if part.turned else f"g - {part.lag}"
            guard = "" if steps == stream.steps else f"if (k >= 0 && k < {steps}) "
            turns.append(f"{{ const long k = {step}; {guard}{{ {body} }} }}")
        loop = f"for (long g = 0; g < {stream.steps}; g++) {{\n" + "\n".join(turns) + "\n}"
        return "\n".join([*before, loop, *after])

    def _bundle(self, parts: list[Part]) -> str:
        """One step of some instructions, as one loop over the examples: what one makes and the next reads is not loaded."""
        lines: list[str] = []
        made: dict[tuple[int, int], str] = {}  # numbers by first address and step
        counter = iter(range(1 << 30))
        mine = {id(i) for part in parts for i in _steps_of(part.instruction)}
        for i in (i for part in parts for i in _steps_of(part.instruction)):
            operands, results = template(i.kind, i.partials)
            names: dict[Term, str] = {}
            for term, view in zip(operands, i.ins, strict=True):
                literal, ends = self.constant(view), _step_ends(view)
                names[term] = literal if literal is not None else made.get(ends, f"x{next(counter)}")
                if literal is None and ends not in made:
                    made[ends] = names[term]
                    lines.append(f"const real {names[term]} = {self._one(view)};")
            code, values = write(results, names, C, lambda: f"t{next(counter)}")
            self.need(code)
            lines += [f"const {'int' if _is_test(text) else 'real'} {name} = {text};" for name, text in code]
            for out, value in zip(i.outs, values, strict=True):
                made[_step_ends(out)] = value
                if self._is_read(out, mine):
                    lines.append(f"{self._one(out)} = {value};")
        return f"MG_SIMD\nfor (int l = 0; l < L; l++) {{ {' '.join(lines)} }}"

    def _one(self, view: Any) -> str:
        """The number of step k of a walk along a view."""
        first, step = _step_ends(view)
        along = f" + {step}L * k" if step else ""
        if first >= LANES:
            return f"v[({first - LANES}{along}) * L + l]"
        base, start = self._base(view)
        return f"{base}[{first - start}{along}]"

    def _is_read(self, out: Any, but: set[int]) -> bool:
        """Whether anything but some instructions reads numbers of each example that one writes."""
        if self._reads is None:
            units = [*_units(self.rolled.batch), *_units(self.rolled.after)]
            self._reads = [(*_reach(v), id(i), v) for i in units for v in reads(i)]
            outs = self.rolled.outputs[self.rolled.outputs >= LANES]
            self._reads += [(int(outs.min()), int(outs.max()), 0, outs)] if len(outs) else []
        low, high = _reach(out)
        return any(
            low <= top and bottom <= high and (number not in but or _step_ends(view) != _step_ends(out))
            for bottom, top, number, view in self._reads
        )

    def _step_of_sum(self, instruction: Any, name: str) -> str:
        factors = [self._along(m[0]) for m in (instruction.a, instruction.b) if m is not None]
        return f"MG_SIMD\nfor (int l = 0; l < L; l++) {name}[l] += {' * '.join(factors)};"

    def _along(self, row: Any) -> str:
        steps = strides(row)
        assert steps is not None
        return self.at(row, steps, "k")

    def _end_of_sum(self, instruction: Any, name: str) -> str:
        sign, out = "-" if instruction.sign < 0 else "+", self.at(instruction.c.reshape(1), (0,))
        if instruction.reduced:
            return f"for (int l = 0; l < count; l++) {out} {sign}= {name}[l];"
        assign = f"{sign}=" if instruction.add else f"= {sign}"
        return f"for (int l = 0; l < L; l++) {out} {assign} {name}[l];"

    def map(self, instruction: Map) -> str:
        """One loop for a group of instructions of one kind, over its members or the examples."""
        kind = KINDS[instruction.kind]
        reduced = kind.key[0] == "dot" and bool(kind.shape[-1])
        variadic = kind.op is not None and kind.op.arity is None
        operands, results = template(instruction.kind, (len(instruction.ins),) if variadic else instruction.partials)
        views = [*instruction.ins, *(out for out in instruction.outs if out is not None)]
        loops = nest(views)
        names: dict[Term, str] = {}
        lines = []
        for i, (term, view) in enumerate(zip(operands, instruction.ins, strict=True)):
            literal = self.constant(view)
            names[term] = literal if literal is not None else f"x{i}"
            if literal is None:
                lines.append(f"const real x{i} = {self.view(view, loops, i)};")
        counter = iter(range(1 << 30))
        code, values = write(results, names, C, lambda: f"t{next(counter)}")
        self.need(code)
        lines += [f"const {'int' if text[:1] == '(' and _is_test(text) else 'real'} {name} = {text};" for name, text in code]
        lanes = any(view.flat[0] >= LANES for view in views)
        number = len(instruction.ins)
        if reduced:
            return self._reduction(loops, self.view(instruction.outs[0], loops, number), " ".join(lines), values[0])
        for out, value in zip(instruction.outs, values, strict=True):
            if out is not None:
                lines.append(f"{self.view(out, loops, number)} = {value};")
                number += 1
        return self.loops(loops.lengths, " ".join(lines), lanes)

    def _reduction(self, loops: Nest, out: str, lines: str, value: str) -> str:
        """Members that are sums over the examples."""
        inner = f"real sum = 0;\nMG_SUM\nfor (int l = 0; l < count; l++) {{ {lines} sum += {value}; }}\n{out} += sum;"
        heads = " ".join(f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip("ijk", loops.lengths, strict=False))
        return f"{heads} {{ {inner} }}"

    def need(self, code: Sequence[tuple[str, str]]) -> None:
        for _, text in code:
            self.needs.update(re.findall(r"mg_(\w+)\(", text))

    # ----------------------------------------------------------------------------------------------------- products

    def product(self, p: Product) -> str:
        a, b, c = p.a, p.b, p.c
        lanes_a, lanes_b = a.flat[0] >= LANES, b.flat[0] >= LANES
        if p.reduced:
            return self._reduced_product(p, lanes_a, lanes_b)
        if lanes_a and not lanes_b:
            a, b, c, lanes_a, lanes_b = b, a, c.T, lanes_b, lanes_a
        if lanes_a and lanes_b:
            return self._lanes_product(a, b, c, p)
        if c.flat[0] >= LANES and not lanes_b:
            return self._shared_product(a, b, c, p)
        out, (pc, cr, cs), after = self._target(c)
        lines, (pa, ar, ak) = self._matrix(a, p.sign, across=cr == 1 and cs != 1)
        more, (pb, bs, bk) = self._matrix(b, 1, across=cs == 1 and not lanes_b)
        lines += more
        r, s, k = a.shape[0], b.shape[0], a.shape[1]
        add = int(p.add)
        if lanes_b:
            if bs == 1 and cs == 1:
                call = self._call("mm", r, f"{s} * L", k, pa, ar, ak, pb, f"{bk} * L", pc, f"{cr} * L", add)
            else:
                call = f"for (int i = 0; i < {s}; i++) " + self._call(
                    "mm",
                    r,
                    "L",
                    k,
                    pa,
                    ar,
                    ak,
                    f"{pb} + {bs}L * i * L",
                    f"{bk} * L",
                    f"{pc} + {cs}L * i * L",
                    f"{cr} * L",
                    add,
                )
        elif k == 1:
            call = self._outer((pa, ar), (pb, bs), (pc, cr, cs), (r, s), add)
        elif (r == 1 or s == 1) and (ak == 1 or k == 1) and (bk == 1 or k == 1) and k > 1:
            call = self._call("mt", r, s, k, pa, ar, pb, bs, 1, 0, 0, pc, cr, cs, add)
        elif (bs == 1 or s == 1) and (cs == 1 or s == 1) and s > 1:
            call = self._call("mm", r, s, k, pa, ar, ak, pb, bk, pc, cr, add)
        elif (ar == 1 or r == 1) and (cr == 1 or r == 1) and r > 1:
            call = self._call("mm", s, r, k, pb, bs, bk, pa, ak, pc, cs, add)
        elif (ak == 1 or k == 1) and (bk == 1 or k == 1):
            call = self._call("mt", r, s, k, pa, ar, pb, bs, 1, 0, 0, pc, cr, cs, add)
        else:
            call = self._call("mg", r, s, k, pa, ar, ak, pb, bs, bk, pc, cr, cs, add)
        return "\n".join([*lines, *out, call, *after])

    def _outer(
        self, a: tuple[str, int], b: tuple[str, int], c: tuple[str, int, int], shape: tuple[int, int], add: int
    ) -> str:
        """A column times a row, the longer steps of the target outside."""
        (pa, ar), (pb, bs), (pc, cr, cs), (r, s) = a, b, c, shape
        if (cs != 1 and cr == 1) or s == 1:
            (pa, ar), (pb, bs), (cr, cs), (r, s) = (pb, bs), (pa, ar), (cs, cr), (s, r)
        return (
            f"for (int i = 0; i < {r}; i++) {{ const real x = ({pa})[{ar}L * i]; const real *const y = {pb}; "
            f"real *const z = {pc} + {cr}L * i;\nMG_SIMD\nfor (int j = 0; j < {s}; j++) "
            f"z[{cs}L * j] {'+' * add}= x * y[{bs}L * j]; }}"
        )

    def _call(self, name: str, *args: Any) -> str:
        self.needs.add(name)
        return f"mg_{name}({', '.join(map(str, args))});"

    def _matrix(self, m: Any, sign: int, across: bool = False) -> tuple[list[str], tuple[str, int, int]]:
        """A matrix as pointer and steps; one that does not lie so is gathered first, column by column if ``across``."""
        steps = strides(m)
        if steps is not None and sign > 0:
            return [], (self.pointer(m), steps[0], steps[1])
        if across:
            lines, (name, column, row) = self._matrix(m.T, sign)
            return lines, (name, row, column)
        rows, columns = m.shape
        name = f"g{self.scratch}"
        self.scratch += 1
        lanes = m.flat[0] >= LANES
        source = self.at(m, steps) if steps is not None else self.lookup(m, f"{columns} * i + j")
        size = f"{m.size} * L" if lanes else str(m.size)
        target = f"{name}[({columns} * i + j) * L + l]" if lanes else f"{name}[{columns} * i + j]"
        body = self.loops((rows, columns), f"{target} = {'-' if sign < 0 else ''}{source};", bool(lanes))
        return [f"real {name}[{size}];", body], (name, columns, 1)

    def _target(self, c: Any) -> tuple[list[str], tuple[str, int, int], list[str]]:
        """Where a product is put; a place without constant steps is copied out and in again."""
        steps = strides(c)
        if steps is not None:
            return [], (self.pointer(c), steps[0], steps[1]), []
        columns = c.shape[1]
        name = f"g{self.scratch}"
        self.scratch += 1
        lanes = c.flat[0] >= LANES
        place = self.lookup(c, f"{columns} * i + j")
        scratch = f"{name}[({columns} * i + j) * L + l]" if lanes else f"{name}[{columns} * i + j]"
        before = [
            f"real {name}[{c.size}{' * L' if lanes else ''}];",
            self.loops(c.shape, f"{scratch} = {place};", bool(lanes)),
        ]
        after = [self.loops(c.shape, f"{place} = {scratch};", bool(lanes))]
        return before, (name, columns, 1), after

    def _lanes_product(self, a: Any, b: Any, c: Any, p: Product) -> str:
        """A product of two matrices that each example has its own of."""
        (la, (pa, ar, ak)), (lb, (pb, bs, bk)), (out, (pc, cr, cs), after) = (
            self._matrix(a, p.sign),
            self._matrix(b, 1),
            self._target(c),
        )
        start = "o[l]" if p.add else "0"
        body = (
            f"for (int i = 0; i < {a.shape[0]}; i++) for (int j = 0; j < {b.shape[0]}; j++) {{\n"
            f"real *const o = {pc} + ({cr}L * i + {cs}L * j) * L; real sum[L];\n"
            f"for (int l = 0; l < L; l++) sum[l] = {start};\n"
            f"for (int k = 0; k < {a.shape[1]}; k++) {{ const real *const x = {pa} + ({ar}L * i + {ak}L * k) * L, "
            f"*const y = {pb} + ({bs}L * j + {bk}L * k) * L;\n"
            "MG_SIMD\nfor (int l = 0; l < L; l++) sum[l] += x[l] * y[l]; }\n"
            f"for (int l = 0; l < L; l++) o[l] = sum[l]; }}"
        )
        return "\n".join([*la, *lb, *out, body, *after])

    def _shared_product(self, a: Any, b: Any, c: Any, p: Product) -> str:
        """A product of two matrices that all examples share, as a part of sums that each has its own of."""
        (la, (pa, ar, ak)), (lb, (pb, bs, bk)), (out, (pc, cr, cs), after) = (
            self._matrix(a, p.sign),
            self._matrix(b, 1),
            self._target(c),
        )
        body = (
            f"for (int i = 0; i < {a.shape[0]}; i++) for (int j = 0; j < {b.shape[0]}; j++) {{ real sum = 0;\n"
            f"for (int k = 0; k < {a.shape[1]}; k++) sum += ({pa})[{ar}L * i + {ak}L * k] * ({pb})[{bs}L * j + {bk}L * k];\n"
            f"for (int l = 0; l < L; l++) ({pc})[({cr}L * i + {cs}L * j) * L + l] {'+' if p.add else ''}= sum; }}"
        )
        return "\n".join([*la, *lb, *out, body, *after])

    def _reduced_product(self, p: Product, lanes_a: bool, lanes_b: bool) -> str:
        a, b, c = p.a, p.b, p.c
        la, (pa, ar, ak) = self._matrix(a, p.sign)
        lb, (pb, bs, bk) = self._matrix(b, 1)
        out, (pc, cr, cs), after = self._target(c)
        if lanes_a and lanes_b:
            call = self._call(
                "mt",
                a.shape[0],
                b.shape[0],
                "count",
                pa,
                f"{ar} * L",
                pb,
                f"{bs} * L",
                a.shape[1],
                f"{ak} * L",
                f"{bk} * L",
                pc,
                cr,
                cs,
                1,
            )
            return "\n".join([*la, *lb, *out, call, *after])
        x = f"({pa})[({ar}L * i + {ak}L * k){' * L + l' if lanes_a else ''}]"
        y = f"({pb})[({bs}L * j + {bk}L * k){' * L + l' if lanes_b else ''}]"
        body = (
            f"for (int i = 0; i < {a.shape[0]}; i++) for (int j = 0; j < {b.shape[0]}; j++) {{ real sum = 0;\n"
            f"for (int k = 0; k < {a.shape[1]}; k++) {{\nMG_SUM\nfor (int l = 0; l < count; l++) sum += {x} * {y}; }}\n"
            f"({pc})[{cr}L * i + {cs}L * j] += sum; }}"
        )
        return "\n".join([*la, *lb, *out, body, *after])

    # --------------------------------------------------------------------------------------------------- rows, tables

    def rows(self, rows: Rows) -> str:
        """Dots, sums or largest numbers of a length, member by member."""
        c, ragged = rows.c, rows.lengths is not None
        lanes = any(view is not None and view.flat[0] >= LANES for view in (c, rows.a, rows.b))
        if not (lanes or rows.largest or rows.reduced) and (found := _block(rows)):
            return self._blocks(*found)
        walk = _Walk(self, [c, rows.a, *([] if rows.b is None else [rows.b])], rows.lengths)
        length = f"t[{self.tabled(rows.lengths)} + {walk.member()}]" if ragged else rows.a.shape[1]
        out, x = walk.text(0), walk.text(1, "k")
        product = x if rows.b is None else f"{x} * {walk.text(2, 'k')}"
        sign = "-" if rows.sign < 0 else ""
        if rows.reduced:
            inner = f"MG_SUM\nfor (int l = 0; l < count; l++) sum += {product};" if lanes else f"sum += count * ({product});"
            return walk.loops(f"real sum = 0;\nfor (int k = 0; k < {length}; k++) {{\n{inner} }}\n{out} += {sign}sum;")
        start, end = "0", f"{out} {sign or '+'}= " if rows.add else f"{out} = {sign}"
        if rows.largest:
            self.needs.add("larger")
            start = walk.text(1, "0")
        if lanes and rows.b is not None and all(view.flat[0] >= LANES for view in (rows.a, rows.b)):
            return walk.loops(
                f"real sums[L];\n{self._call('lanes', length, 'v', walk.row(1), walk.row(2), 'sums')}\n"
                f"for (int l = 0; l < L; l++) {end}sums[l];"
            )
        if lanes:
            turn = f"sums[l] = mg_larger(sums[l], {x})" if rows.largest else f"sums[l] += {product}"
            return walk.loops(
                f"real sums[L];\nfor (int l = 0; l < L; l++) sums[l] = {start};\n"
                f"for (int k = 0; k < {length}; k++) {{\nMG_SIMD\nfor (int l = 0; l < L; l++) {turn}; }}\n"
                f"for (int l = 0; l < L; l++) {end}sums[l];"
            )
        turn = f"sum = mg_larger(sum, {x})" if rows.largest else f"sum += {product}"
        simd = "" if rows.largest or ragged else "MG_SUM\n"
        return walk.loops(f"real sum = {start};\n{simd}for (int k = 0; k < {length}; k++) {turn};\n{end}sum;")

    def _blocks(self, rows: Rows, block: int) -> str:
        """Short rows, of which so many neighbours lie side by side and have the same factors or such side by side."""
        views = [view for view in (rows.c, rows.a, rows.b) if view is not None]
        walk = _Walk(self, [view[::block] for view in views], None if rows.lengths is None else rows.lengths[::block])
        steps = [int(view.reshape(len(view), -1)[1, 0] - view.flat[0]) for view in views]
        length = rows.a.shape[1]
        if rows.lengths is not None:
            length = f"t[{self.tabled(rows.lengths[::block])} + {walk.member()}]"
        texts = [walk.text(n, "" if n == 0 else "k")[:-1] + f" + {step} * b]" for n, step in enumerate(steps)]
        sign, add = "-" if rows.sign < 0 else "", f"{'-' if rows.sign < 0 else '+'}" if rows.add else ""
        return walk.loops(
            f"real sums[{block}] = {{0}};\nfor (int k = 0; k < {length}; k++) {{\nMG_SIMD\n"
            f"for (int b = 0; b < {block}; b++) sums[b] += {' * '.join(texts[1:])}; }}\n"
            f"for (int b = 0; b < {block}; b++) {texts[0]} {add}= {'' if add else sign}sums[b];"
        )

    def index(self, addresses: Any, number: int, k: str = "") -> tuple[Any, Callable[[_Walk], str], bool]:
        """Where integers come from: their places, as the view of this number of a walk; in it their text; and whether each
        example has its own."""
        places = np.asarray(addresses).copy()
        of, step = np.zeros_like(places), np.zeros_like(places)
        for i, (space, base) in enumerate(self.rolled.spaces):
            if space.kind == "index":
                inside = (base <= addresses) & (addresses < base + space.size)
                places[inside], of[inside], step[inside] = addresses[inside] - base, i, space.size * space.batched
        batched = bool(step.any())
        if (of == of.flat[0]).all():
            example = f"{step.flat[0]} * MG_EXAMPLE + " if batched else ""
            moving = shifted(places, addresses.shift, addresses.turns) if _turn(addresses) else places
            return moving, lambda walk: f"ix[{of.flat[0]}][{example}{walk.place(number, k)}]", batched

        def text(walk: _Walk) -> str:  # from several arguments
            at = f"{places.size // len(places)} * ({walk.member()}){f' + {k}' if k else ''}"
            example = f"(long)t[{self.tabled(step)} + {at}] * MG_EXAMPLE + " if batched else ""
            place = " + ".join([f"t[{self.tabled(places)} + {at}]", *_turn(addresses)])
            return f"ix[t[{self.tabled(of)} + {at}]][{example}{place}]"

        return places, text, batched

    def take(self, take: Take) -> str:
        count = take.table.shape[1]
        lanes = bool(take.out.flat[0] >= LANES)
        places, index_text, _ = self.index(take.index, 2)
        walk = _Walk(self, [take.out, take.table, places])
        index = index_text(walk)
        body = f"long pick = (long){index}; pick += pick < 0 ? {count} : 0; {walk.text(0)} = {walk.text(1, 'pick')};"
        return walk.loops(f"for (int l = 0; l < L; l++) {{ {body} }}" if lanes else body)

    def scatter(self, scatter: Scatter) -> str:
        """Terms that go where their index says: to the entries of a table that was picked from."""
        lanes_out = bool(scatter.out.flat[0] >= LANES)
        zeros = _Walk(self, [scatter.out])
        zero = "" if scatter.reduced else zeros.loops(self._each_lane(f"{zeros.text(0)} = 0;", lanes_out)) + "\n"
        tables = self._tables(scatter)
        terms = scatter.values.shape[1]
        first = [int(row[row >= 0][0]) for row in tables]
        slots = np.where(tables >= 0, scatter.out[np.maximum(tables, 0)], -1)
        complete = bool((slots >= 0).all())
        places, index_text, batched = self.index(scatter.indexes[first], 1, "k")
        lanes = bool(scatter.values.flat[0] >= LANES) or batched
        walk = _Walk(self, [scatter.values[first], places, *([slots] if complete else [])])
        index, value = index_text(walk), walk.text(0, "k")
        if complete:
            place = walk.text(2, "pick")
        else:
            start = (LANES if lanes_out else 0) + (self.rolled.sums[0] if scatter.reduced else 0)
            at = self.tabled(np.where(slots >= 0, slots - start, -1))
            slot = f"t[{at} + {scatter.count} * ({walk.member()}) + pick]"
            name = "v" if lanes_out else ("s" if scatter.reduced else "w")
            place = f"if ({slot} >= 0) {name}[{f'(long){slot} * L + l' if lanes_out else slot}]"
        turn = f"long pick = (long){index}; pick += pick < 0 ? {scatter.count} : 0; {place} += {value};"
        each = f"for (int l = 0; l < {'count' if scatter.reduced else 'L'}; l++) " if lanes else ""
        return f"{zero}{walk.loops(f'for (int k = 0; k < {terms}; k++) {each}{{ {turn} }}')}"

    def _each_lane(self, body: str, lanes: bool) -> str:
        return f"for (int l = 0; l < L; l++) {body}" if lanes else body

    def _tables(self, scatter: Scatter) -> Any:
        """For each table the member that stands for each of its positions, -1 where none does."""
        rows = np.concatenate([scatter.indexes, scatter.values], axis=1)
        _, inverse = np.unique(rows, axis=0, return_inverse=True)
        tables = np.full((inverse.max() + 1, scatter.count), -1, dtype=np.int64)
        copies = []
        for member, (table, position) in enumerate(zip(inverse.ravel(), scatter.position, strict=True)):
            if tables[table, position] < 0:
                tables[table, position] = member
            else:
                copies.append((table, position, member))
        while copies:  # two tables that the same terms go to
            more = np.full_like(tables, -1)
            left = []
            for table, position, member in copies:
                if more[table, position] < 0:
                    more[table, position] = member
                else:
                    left.append((table, position, member))
            tables, copies = np.concatenate([tables, more[(more >= 0).any(axis=1)]]), left
        order = np.argsort([int(row[row >= 0][0]) for row in tables], kind="stable")
        return tables[order]

    # ------------------------------------------------------------------------------------------------------ program

    def _program(self) -> str:
        rolled = self.rolled
        before = self._phase("before", rolled.before)
        after = self._phase("after", rolled.after) + self._results_out()
        if not rolled.lanes:
            before += after
        batch = self._phase("batch", rolled.batch) if rolled.lanes else ""
        copies = "".join(
            f"  memcpy(w + {begin}, in[{space}], {stop - begin} * sizeof(real));\n"
            for begin, stop, space in self.leaves
            if space in self.copied
        )
        start = rolled.sums[0]
        unused = "(void)in; (void)ix; (void)o; (void)s; (void)t;"
        text = [f"{ENTRY.format(name='before')} {{\n  real *const s = w + {start}; {unused}\n{copies}{before}}}\n"]
        if rolled.lanes:
            text.append(self._batch_entry(batch))
            text.append(f"{ENTRY.format(name='after')} {{\n  real *const s = w + {start}; {unused}\n{after}}}\n")
            text.append(RUN_BATCH.format(start=start, sums=rolled.sums[1] - start, chunks=CHUNKS))
        else:
            text.append(RUN)
        head = f"#define real {self.real}\n#define L {self.lanes}\n"
        self.entries = "\n".join(text)
        return "\n".join([head, _prelude(frozenset(self.needs)), MACROS, *self.parts, self.entries])

    def _results_out(self) -> str:
        """Copy the shared outputs into the array of results, where they are not computed there."""
        shared = self.rolled.outputs[self.rolled.outputs < LANES]
        if self.results_apart or not len(shared):
            return ""
        steps = strides(shared)
        place = f"{shared[0]} + {steps[0]} * i" if steps is not None else f"t[{self.tabled(shared)} + i]"
        return f"  for (int i = 0; i < {len(shared)}; i++) o[i] = w[{place}];\n"

    def results(self) -> tuple[int, int]:
        """Where the shared outputs begin in the array of results, and how long that is."""
        shared, (start, end) = self.rolled.outputs[self.rolled.outputs < LANES], self.rolled.results
        return (int(shared[0] - start), end - start) if self.results_apart else (0, max(len(shared), 1))

    def units(self) -> list[str]:
        """The same in two files, compiled side by side: the program, and the kernels of matrix products it uses."""
        if "tiles" not in _needed(frozenset(self.needs)):
            return [self.text]
        sizes, prelude = f"#define real {self.real}\n#define L {self.lanes}\n", _prelude(frozenset(self.needs))
        hidden = '#define MG_LINKAGE __attribute__((visibility("hidden")))\n'
        program = "\n".join([sizes, _declared(prelude), MACROS, *self.parts, self.entries])
        return [program, f"{hidden}{sizes}{prelude}"]

    def _phase(self, name: str, instructions: list[Instruction]) -> str:
        """Functions of some statements each, and the calls of them."""
        calls = []
        for number in range(0, len(instructions), STATEMENTS):
            body = "\n".join("{ " + self.statements(i) + " }" for i in instructions[number : number + STATEMENTS])
            part = f"{name}_{number // STATEMENTS}"
            self.parts.append(f"static void {part}(MG_STATE) {{ MG_USED;\n{body}\n}}\n")
            calls.append(f"  {part}(in, ix, w, o, v, s, t, first, last, count);\n")
        if name == "batch":
            return "".join("  " + call for call in calls)
        return ("  real *const v = 0; const long first = 0, last = 0, count = 0;\n" + "".join(calls)) if calls else ""

    def _batch_entry(self, calls: str) -> str:
        """Blocks of L examples: their inputs are laid side by side, the last example standing in beyond the end."""
        rolled = self.rolled
        lines = []
        for k, (space, base) in enumerate(rolled.spaces):
            if space.batched and space.kind == "real" and space.size:
                lines.append(f"    mg_pack(in[{k}], {space.size}, first, last, v + {base - LANES}L * L);\n")
        outs = rolled.outputs[rolled.outputs >= LANES]
        if len(outs):
            steps = strides(outs)
            source = self.at(outs, steps) if steps is not None else self.lookup(outs, "i")
            lines_out = (
                f"    for (int l = 0; l < count; l++) for (int i = 0; i < {len(outs)}; i++) "
                f"out[{len(outs)} * (first + l) + i] = {source};\n"
            )
        else:
            lines_out = ""
        if lines:
            self.needs.update(("vector", "pack"))
        return (
            f"{BATCH} {{\n  (void)out; (void)o; (void)t; (void)ix; (void)s;\n  const long last = examples - 1;\n"
            f"  for (long first = from; first < to; first += L) {{\n"
            "    const long count = to - first < L ? to - first : L; (void)count;\n"
            f"{''.join(lines)}{calls}{lines_out}  }}\n}}\n"
        )


class _Walk:
    """Loops over the members of an instruction whose views are rows: a start for each member and a step along the row."""

    def __init__(self, writer: Writer, views: list[Any], lengths: Any = None) -> None:
        self.writer, self.views = writer, views
        self.starts = [view if view.ndim == 1 else view[:, 0] for view in views]
        self.nest = nest(self.starts)
        self.steps = [_row_step(view, lengths) for view in views]

    def loops(self, body: str) -> str:
        heads = " ".join(f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip("ijh", self.nest.lengths, strict=False))
        return f"{heads} {{ {body} }}"

    def member(self) -> str:
        """The number of the member within the loops."""
        lengths = self.nest.lengths
        return (
            " + ".join([f"{int(np.prod(lengths[i + 1 :]))} * {v}" for i, v in zip(range(len(lengths)), "ijh", strict=False)])
            or "0"
        )

    def place(self, number: int, k: str = "") -> str:
        """The place of a number, relative to the array that it lies in."""
        view, step = self.views[number], self.steps[number]
        steps = self.nest.steps[number]
        if (view.ndim == 2 and step is None) or steps is None:
            if step is None and view.ndim == 2:
                at = self.writer.tabled(view)
                return " + ".join([f"t[{at} + {view.shape[1]} * ({self.member()}) + {k}]", *_turn(view)])
            first = f"t[{self.writer.tabled(self.starts[number])} + {self.member()}]"
        else:
            terms = [f"{s} * {v}" for s, v in zip(steps, "ijh", strict=False) if s]
            first = " + ".join([str(int(self.starts[number].flat[0])), *terms])
        first = " + ".join([first, *_turn(view)])
        return f"{first} + {step}L * {k}" if k not in ("", "0") and step else first

    def row(self, number: int) -> str:
        """Where a row of numbers of each example lies: its places in a table, or none, the first place and the step."""
        view = self.views[number] - LANES
        if self.steps[number] is None:
            places = f"t + {self.writer.tabled(view)} + {view.shape[1]} * ({self.member()})"
            return ", ".join([places, " + ".join(["0", *_turn(self.views[number])]), "0"])
        self.views[number], self.starts[number] = view, self.starts[number] - LANES
        return f"0, {self.place(number)}, {self.steps[number]}"

    def text(self, number: int, k: str = "") -> str:
        """A number of a view: the k-th of the row."""
        view, writer = self.views[number], self.writer
        if view.flat[0] >= LANES:
            self.views[number], self.starts[number] = view - LANES, self.starts[number] - LANES
            place = self.place(number, k)
            self.views[number], self.starts[number] = view, self.starts[number] + LANES
            return f"v[(long)({place}) * L + l]"
        base, shift = writer._base(view)
        self.views[number], self.starts[number] = view - shift, self.starts[number] - shift
        place = self.place(number, k)
        self.views[number], self.starts[number] = view, self.starts[number] + shift
        return f"{base}[{place}]"


def _turn(addresses: Any) -> list[str]:
    """How far a loop over turns has moved a view."""
    shift = getattr(addresses, "shift", 0)
    return [f"{shift}L * r"] if shift else []


def _row_step(view: Any, lengths: Any = None) -> int | None:
    """The constant step along the rows of a view, which may differ in their lengths; None where there is none."""
    if view.ndim == 1 or view.shape[1] == 1:
        return 0
    steps = np.diff(view, axis=1)
    within = np.ones(steps.shape, dtype=bool) if lengths is None else np.arange(1, view.shape[1]) < lengths[:, None]
    found = steps[within]
    return int(found[0]) if len(found) and (found == found[0]).all() else None


MACROS = """#ifdef __clang__  // without -fopenmp-simd the pragmas are left out, which costs speed and nothing else
#pragma GCC diagnostic ignored "-Wsource-uses-openmp"
#else
#pragma GCC diagnostic ignored "-Wunknown-pragmas"
#endif
#define MG(x) ((real)(x))
#define MG_SIMD _Pragma("omp simd")
#define MG_SUM _Pragma("omp simd reduction(+ : sum)")
#define MG_EXAMPLE (first + l < last ? first + l : last)
#define MG_STATE const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, const int32_t *t, \\
  long first, long last, long count
#define MG_USED (void)in, (void)ix, (void)w, (void)o, (void)v, (void)s, (void)t, (void)first, (void)last, (void)count
static inline __attribute__((unused)) real mg_larger(real a, real b) { return a > b || a != a ? a : b; }
static inline __attribute__((unused)) real mg_root(real a) { return a == -MG_INFINITY ? MG_INFINITY : mg_sqrt(a) + 0; }
"""
ENTRY = "void mg_{name}(const real *const *in, const int64_t *const *ix, real *w, real *o, const int32_t *t)"
BATCH = (
    "void mg_batch(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, "
    "const int32_t *t, long from, long to, "
    "long examples, real *out)"
)
RUN_HEAD = (
    "void mg_run(const real *const *in, const int64_t *const *ix, real *w, real *o, real *v, real *s, "
    "const int32_t *t, long examples, real *out)"
)
RUN = f"""{RUN_HEAD} {{
  (void)v, (void)s, (void)examples, (void)out;
  mg_before(in, ix, w, o, t);
}}
"""
# the examples in chunks that do not depend on the count of threads: their sums are added up in order
RUN_BATCH = f"""{RUN_HEAD} {{{{
  const long blocks = (examples + L - 1) / L, chunks = blocks < {{chunks}} ? blocks : {{chunks}};
  mg_before(in, ix, w, o, t);
  memset(w + {{start}}, 0, {{sums}} * sizeof(real));
  for (long c = 0; c < chunks; c++) {{{{
    const long from = blocks * c / chunks * L, to = c + 1 < chunks ? blocks * (c + 1) / chunks * L : examples;
    if (c) memset(s, 0, {{sums}} * sizeof(real));
    mg_batch(in, ix, w, o, v, c ? s : w + {{start}}, t, from, to, examples, out);
    for (long i = 0; c && i < {{sums}}; i++) w[{{start}} + i] += s[i];
  }}}}
  mg_after(in, ix, w, o, t);
}}}}
"""
CHUNKS = 32


def _bundles(parts: list[Part]) -> list[list[Part]]:
    """The parts of a stream, those together that are at the same step at the same time."""
    bundles: list[list[Part]] = []
    for part in parts:
        last = bundles[-1][-1] if bundles else None
        alike = last and (last.walk.steps, last.lag, last.turned) == (part.walk.steps, part.lag, part.turned)
        if last and alike and isinstance(part.instruction, (Map, Loop)) and isinstance(last.instruction, (Map, Loop)):
            bundles[-1].append(part)
        else:
            bundles.append([part])
    return bundles


def _steps_of(instruction: Any) -> list[Map]:
    return instruction.body if isinstance(instruction, Loop) else [instruction]


def _step_ends(view: Any) -> tuple[int, int]:
    """The first address of a view that is walked along, and its step."""
    if hasattr(view, "shift"):
        return int(view.flat[0]), view.shift
    steps = strides(view)
    assert steps is not None
    return int(view[0]), steps[0]


def _units(instructions: list[Any]) -> list[Any]:
    found = []
    for i in instructions:
        if isinstance(i, Stream):
            found += _units([part.instruction for part in i.parts])
        else:
            found += i.body if isinstance(i, Loop) else [i]
    return found


def _reach(view: Any) -> tuple[int, int]:
    """The lowest and the highest address of a view."""
    low, high = int(view.min()), int(view.max())
    moved = getattr(view, "shift", 0) * (getattr(view, "turns", 1) - 1)
    return min(low, low + moved), max(high, high + moved)


def _block(rows: Rows) -> tuple[Rows, int] | None:
    """How many neighbouring rows can fill the lanes of a register together: 16, 8 or 4; where their factors are one number
    and numbers side by side, the one is put second."""
    count, length = rows.a.shape
    if rows.lengths is None and length > 16:
        return None
    for block in (16, 8, 4):
        if count % block or (np.diff(rows.c.reshape(-1, block)) != 1).any():
            continue
        if rows.lengths is not None and np.diff(rows.lengths.reshape(-1, block)).any():
            continue
        views = [view.reshape(-1, block, length) for view in (rows.a, rows.b) if view is not None]
        steps = [np.diff(view, axis=1).reshape(len(view), -1) for view in views]
        firsts = [step[:, 0] for step in steps]
        if any((step != first[:, None]).any() for step, first in zip(steps, firsts, strict=True)):
            continue
        if rows.b is None:
            if (firsts[0] == 1).all():
                return rows, block
            continue
        if (firsts[0] + firsts[1] == 1).all() and (firsts[0] * firsts[1] == 0).all():
            a, b = (np.where((firsts[0] == 1)[:, None, None], x, y).reshape(count, length) for x, y in (views, views[::-1]))
            return replace(rows, a=a, b=b), block
        if all((first == first[0]).all() and 0 <= first[0] <= 1 for first in firsts):
            return rows, block
    return None


def _is_test(text: str) -> bool:
    return bool(re.search(r" (<|<=|>|>=|&|\|) ", text)) and "?" not in text


@functools.lru_cache(maxsize=256)
def _prelude(needs: frozenset[str]) -> str:
    """The sections of the kernels that a program uses, in their order."""
    wanted = _needed(needs)
    return "\n".join(body for name, (_, body) in _sections().items() if name in wanted)


def _needed(needs: frozenset[str]) -> set[str]:
    """The names of these sections and of those that they use."""
    sections = _sections()
    wanted: set[str] = set()
    stack = [name for name in needs if name in sections]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += sections[name][0]
    return wanted


def _declared(prelude: str) -> str:
    """The kernels, those that are functions of their own as declarations."""
    declared = re.sub(r"^MG_APART (.*?) \{[^\n]*\n.*?^\}\n", r"\1;\n", prelude, flags=re.M | re.S)
    return re.sub(r"^MG_TILE\(\d.*\n", "", declared, flags=re.M)


@functools.lru_cache(maxsize=1)
def _sections() -> dict[str, tuple[list[str], str]]:
    sections: dict[str, tuple[list[str], str]] = {}
    for file in ("math.h", "matmul.h", "train.h"):
        text = (importlib.resources.files("micrograd.compile") / "kernels" / file).read_text()
        for part in re.split(r"^//@ ", text, flags=re.M)[1:]:
            head, _, body = part.partition("\n")
            name, _, needs = head.partition(":")
            sections[name.strip()] = (needs.replace("needs", "").split(), body)
    return sections


# -------------------------------------------------------------------------------------------------------------- running


class NativeKernel:
    """A compiled program with its buffers."""

    name = "native"

    def __init__(self, rolled: Rolled, dtype: Any, threads: int) -> None:
        writer = Writer(rolled, "double" if dtype == np.float64 else "float")
        self.table = _joined(writer.table)
        self.loaded = toolchain.load(*writer.units())
        self.rolled, self.dtype, self.threads, self.block = rolled, np.dtype(dtype), threads, writer.lanes
        self.c_run = self.loaded.library.mg_run
        self.w = aligned(rolled.shared + 16, self.dtype)
        self.w[: len(rolled.constants)] = rolled.constants
        self.lanes = rolled.outputs[rolled.outputs >= LANES]
        first, self.length = writer.results()
        self.picked = slice(first, first + len(rolled.outputs) - len(self.lanes))
        self.pool: list[Any] = []
        self.v = aligned(rolled.lanes * self.block + 64, self.dtype)
        self.s = aligned(rolled.sums[1] - rolled.sums[0] + 1, self.dtype)
        spaces = max(len(rolled.spaces), 1)
        self.pointers, self.indexes = (ctypes.c_void_p * spaces)(), (ctypes.c_void_p * spaces)()
        self.o, self.out, self.examples = ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_long(1)
        w, v, sums, t = (ctypes.c_void_p(array.ctypes.data) for array in (self.w, self.v, self.s, self.table))
        self.fixed = (self.pointers, self.indexes, w, self.o, v, sums, t, self.examples, self.out)
        self.kinds = [space.kind == "real" for space, _ in rolled.spaces]
        self.types = [self.dtype if real else np.dtype(np.int64) for real in self.kinds]
        self.held: list[Any] = [None] * len(rolled.spaces)
        self.kept: dict[int, Any] = {}
        self.bytes = self.w.nbytes + self.v.nbytes + self.s.nbytes + self.table.nbytes

    def _fresh(self) -> Any:
        """An array for the outputs: one that nobody holds a part of any more, or a new one."""
        for owner, first in self.pool:
            if sys.getrefcount(owner) == 3:  # the pool, this loop and the call: all parts of an array refer to its owner
                return owner[first : first + self.length]
        array = aligned(self.length, self.dtype, 1)  # the first is the value, the rest the gradient
        if len(self.pool) < 8:
            self.pool.append((array.base, (array.ctypes.data - array.base.ctypes.data) // self.dtype.itemsize))
        return array

    def run(self, inputs: Sequence[Any], examples: int) -> tuple[Any, Any]:
        """The shared outputs, and those of each example, a row each; the caller may keep both."""
        held = self.held
        for k, array in enumerate(inputs):
            if array is not held[k]:
                self._hold(k, array)
        result, lanes = self._fresh(), None
        self.o.value = result.__array_interface__["data"][0]
        if self.rolled.lanes:
            lanes = np.empty((examples, len(self.lanes)), self.dtype)
            self.out.value, self.examples.value = lanes.__array_interface__["data"][0], examples
        if self.threads > 1 and self.rolled.lanes:
            self._run_threads(examples)
        else:
            self.c_run(*self.fixed)
        return result[self.picked], lanes

    def _hold(self, k: int, array: Any) -> None:
        """Point at the numbers of a space, which must not go away while they are pointed at."""
        usable = array
        if array.dtype is not self.types[k] or not array.flags.c_contiguous:
            usable = np.ascontiguousarray(array, self.types[k])
        self.held[k] = array if usable is array else None  # a copy is made anew at each call, as the original may change
        self.kept[k] = usable
        (self.pointers if self.kinds[k] else self.indexes)[k] = usable.__array_interface__["data"][0]

    @property
    def address(self) -> int:
        """Where ``mg_run`` lies."""
        return ctypes.cast(self.c_run, ctypes.c_void_p).value or 0

    def addresses(self, inputs: Sequence[Any]) -> tuple[list[Any], Any]:
        """The numbers of all spaces as arrays that C reads, and where those lie."""
        usable = [np.ascontiguousarray(array, kind) for array, kind in zip(inputs, self.types, strict=True)]
        return usable, np.array([array.__array_interface__["data"][0] for array in usable], np.uintp)

    def _run_threads(self, examples: int) -> None:
        """The chunks of a batch as ``mg_run`` makes them, each by the next thread that is free."""
        library, (ins, ixs, w, o, _, _, t, count, out) = self.loaded.library, self.fixed
        start, end = self.rolled.sums
        blocks = -(-examples // self.block)
        chunks = min(blocks, CHUNKS)
        edges = [blocks * i // chunks * self.block for i in range(chunks)] + [examples]
        width = -(-max(end - start, 1) // 8) * 8
        sums = aligned(chunks * width, self.dtype).reshape(chunks, width)[:, : max(end - start, 1)]
        free = queue.SimpleQueue[Any]()
        for _ in range(min(self.threads, chunks)):
            free.put(aligned(len(self.v), self.dtype))

        def work(chunk: int) -> None:
            v = free.get()
            s, first, last = sums[chunk].ctypes.data, edges[chunk], edges[chunk + 1]
            library.mg_batch(
                *(ins, ixs, w, o, ctypes.c_void_p(v.ctypes.data), ctypes.c_void_p(s), t),
                *(ctypes.c_long(first), ctypes.c_long(last), count, out),
            )
            free.put(v)

        library.mg_before(ins, ixs, w, o, t)
        with ThreadPoolExecutor(self.threads) as pool:
            list(pool.map(work, range(chunks)))
        if end > start:
            total = sums[0]
            for chunk in sums[1:]:
                total += chunk
            self.w[start:end] = total
        library.mg_after(ins, ixs, w, o, t)


def c_source(rolled: Rolled, dtype: Any) -> str:
    """One self-contained C file of a vector program, with its tables, and a comment that says how to call it."""
    writer = Writer(rolled, "double" if dtype == np.float64 else "float")
    constants = ", ".join(_plain_number(x) for x in rolled.constants.tolist())
    return "\n".join(
        [
            _header(rolled, writer),
            writer.text,
            _tables(_joined(writer.table)),
            f"const real mg_constants[{max(len(rolled.constants), 1)}] = {{{constants or '0'}}};",
            "",
        ]
    )


FILL = """int32_t mg_table[{size}];
void mg_tables(void) {{
  static const int32_t runs[][3] = {{  // how many numbers are given, how many there are, what is added in each period
  {runs}
  }};
  static const int32_t given[] = {{
  {given}
  }};
  const int32_t *next = given;
  int32_t *t = mg_table;
  for (long r = 0; r < {count}; r++) {{
    for (long i = 0; i < runs[r][1]; i++) t[i] = i < runs[r][0] ? *next++ : t[i - runs[r][0]] + runs[r][2];
    t += runs[r][1];
  }}
}}
"""
PERIOD = 32  # the longest that runs are looked for with
RUNS = (1 << 14, 1 << 10, 1 << 7, 24)  # the lengths of runs that are looked for, one after the other


def _tables(table: Any) -> str:
    """The table as C: what repeats, but for a constant step, is filled in by a function."""
    starts, periods, steps = _runs(table)
    lengths = np.diff(starts, append=len(table))
    given = np.minimum(periods, lengths)
    # each number's place in its run tells whether it is given
    place = np.arange(len(table)) - np.repeat(starts, lengths)
    numbers = table[place < np.repeat(given, lengths)].tolist()
    rows = np.stack([given, lengths, steps], axis=1).tolist()
    return FILL.format(
        size=len(table),
        count=len(rows),
        runs=",\n  ".join(", ".join(f"{{{a}, {b}, {c}}}" for a, b, c in rows[i : i + 8]) for i in range(0, len(rows), 8)),
        given=",\n  ".join(", ".join(map(str, numbers[i : i + 20])) for i in range(0, len(numbers), 20)),
    )


def _runs(table: Any) -> tuple[Any, Any, Any]:
    """Where runs begin, their periods and the step of each period; what does not repeat is a run of one period.

    >>> _runs(np.concatenate([np.arange(30), [7, 7, 0], np.tile([0, 5], 20) + np.repeat(np.arange(20), 2)]))
    (array([ 0, 30, 33]), array([1, 3, 2]), array([1, 0, 1]))
    """
    wide = table.astype(np.int64)
    owner = np.zeros(len(table), dtype=bool)  # what belongs to a run already
    found: list[Any] = [np.zeros((4, 0), dtype=np.int64)]
    longest = dict.fromkeys(range(1, PERIOD + 1), len(table))  # that a period can still have
    for least in RUNS:
        for period, length in longest.items():
            if length >= max(least, 3 * period) and not owner.all():
                runs, longest[period] = _runs_of(wide, owner, period, max(least, 3 * period))
                found.append(runs)
    starts, ends, periods, steps = np.concatenate(found, axis=1)
    order = np.argsort(starts)
    starts, ends, periods, steps = starts[order], ends[order], periods[order], steps[order]
    gaps, stops = np.concatenate([[0], ends]), np.concatenate([starts, [len(table)]])
    gap = stops > gaps
    begins = np.concatenate([starts, gaps[gap]])
    order = np.argsort(begins)
    return (
        begins[order],
        np.concatenate([periods, (stops - gaps)[gap]])[order],
        np.concatenate([steps, np.zeros(int(gap.sum()), np.int64)])[order],
    )


def _runs_of(table: Any, owner: Any, period: int, least: int) -> tuple[Any, int]:
    """Starts, ends, periods and steps of the long runs of one period in what has no owner; and the length of the next.

    They own their numbers from then on.
    """
    step = table[period:] - table[:-period]
    same = step[1:] == step[:-1]
    taken = np.concatenate([[0], np.cumsum(owner)])
    free = taken[period + 1 :] == taken[: -period - 1]  # runs do not reach over what others have
    same &= free[1:] & free[:-1]
    breaks = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(step)]])
    lengths = np.diff(breaks) + period
    long = np.flatnonzero((lengths >= least) & free[breaks[:-1]])
    begins, ends = breaks[long], breaks[long + 1] + period
    longest = int(lengths[lengths < least].max(initial=0))
    begins[1:] = np.maximum(begins[1:], ends[:-1])  # a stretch begins within the last period of the one before
    usable = ends - begins >= least
    longest = max(longest, int((ends - begins)[~usable].max(initial=0)))
    begins, ends = begins[usable], ends[usable]
    marks = np.zeros(len(table) + 1, dtype=np.int64)
    marks[begins] += 1
    marks[ends] -= 1
    owner |= np.cumsum(marks[:-1]) > 0
    return np.stack([begins, ends, np.full(len(begins), period), step[begins]]), longest


def _plain_number(x: float) -> str:
    return "NAN" if x != x else repr(x).replace("inf", "INFINITY")


def _header(rolled: Rolled, writer: Writer) -> str:
    real = writer.real
    inputs = [
        f"   {'in' if space.kind == 'real' else 'ix'}[{k}]  {space.name}: {space.size} "
        + (real if space.kind == "real" else "int64_t")
        + (" for each example, example by example" if space.batched else "")
        for k, (space, _) in enumerate(rolled.spaces)
        if space.size
    ]
    lanes = int((rolled.outputs >= LANES).sum())
    (first, length), count = writer.results(), len(rolled.outputs) - lanes
    lines = [
        "/* A program written by micrograd.compile.  Compile with: cc -std=gnu11 -O3 -march=native -fno-math-errno",
        "   -fno-trapping-math -fopenmp-simd, link with -lm.",
        "",
        "   Inputs, one pointer for each number (those not listed may be null):",
        *inputs,
        f"   Work space: real w[{rolled.shared + 16}]; set its first {len(rolled.constants)} numbers to mg_constants once.",
        f"   Results: real o[{length}], {count} of them from o[{first}] on.",
        "   Call mg_tables() once, and then mg_run(in, ix, w, o, v, s, mg_table, examples, out)"
        + (" with" if rolled.lanes else "."),
    ]
    if rolled.lanes:
        lines += [
            f"   real v[{rolled.lanes * writer.lanes}] and real s[{rolled.sums[1] - rolled.sums[0]}] as scratch, and {lanes}"
            " results for each example in out.",
        ]
    else:
        lines.append("   v, s and out may be null here, and examples is 1.")
    return "\n".join([*lines, "*/"])


def _joined(tables: list[Any]) -> Any:
    return np.concatenate(tables) if tables else np.zeros(1, np.int32)
