"""Matrix products in C: calls of kernels, with the matrices that do not lie in constant steps gathered before."""

from __future__ import annotations

from typing import Any

from micrograd.compile.places import Places
from micrograd.compile.vector import LANES, Product
from micrograd.compile.views import strides

ROWS = 12  # that a kernel is made for, at most, or products of a number: in registers they fill the 32 that there are
REGISTER = 8  # lanes, of 64 bits, in the registers that these kernels are made for


class Products(Places):
    """What writes products."""

    scratch = 0  # how many matrices were gathered

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
        single = a.shape[0] == b.shape[0] == 1 and not lanes_b
        lines, (pa, ar, ak) = self._matrix(a, 1 if single else p.sign, across=cr == 1 and cs != 1)
        more, (pb, bs, bk) = self._matrix(b, 1, across=cs == 1 and not lanes_b)
        lines += more
        r, s, k = a.shape[0], b.shape[0], a.shape[1]
        add = int(p.add)
        if lanes_b:
            if bs == 1 and cs == 1:
                call = self.call("mm", r, f"{s} * L", k, pa, ar, ak, pb, f"{bk} * L", pc, f"{cr} * L", add)
            else:
                call = f"for (int i = 0; i < {s}; i++) " + self.call(
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
        elif single:
            sign = "+" * add if p.sign > 0 else "-"
            call = f"*({pc}) {f'{sign}= ' if add else f'= {sign}'}{self.call('dot', k, pa, ak, pb, bk)}"
        elif k == 1:
            call = self._outer((pa, ar), (pb, bs), (pc, cr, cs), (r, s), add)
        elif s == 1 and ak == bk == 1:
            call = self.call("mv", r, k, pa, ar, pb, pc, cr, add)
        elif r == 1 and ak == bk == 1:
            call = self.call("mv", s, k, pb, bs, pa, pc, cs, add)
        elif (bs == 1 or s == 1) and (cs == 1 or s == 1) and s > 1:
            call = self._across((r, pa, ar, ak), (s, pb, bk), k, (pc, cr), add)
        elif (ar == 1 or r == 1) and (cr == 1 or r == 1) and r > 1:
            call = self._across((s, pb, bs, bk), (r, pa, ak), k, (pc, cs), add)
        elif (ak == 1 or k == 1) and (bk == 1 or k == 1):
            call = self._along((r, pa, ar), (s, pb, bs), k, (pc, cr, cs), add)
        else:
            call = self.call("mg", r, s, k, pa, ar, ak, pb, bs, bk, pc, cr, cs, add)
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

    def _across(self, a: tuple[int, str, int, int], b: tuple[int, str, int], k: int, c: tuple[str, int], add: int) -> str:
        """A product of rows of which one factor and the result lie side by side."""
        (r, *rows), (s, *columns) = a, b
        if 1 < k <= ROWS < r and s >= 2 * REGISTER:
            return self.call(f"few_{k}", r, s, *rows, *columns, *c, add)
        if 4 < r <= ROWS and r % 4 and s >= 2 * REGISTER:  # other counts are made of tiles that are there
            return self.call(f"exact_{r}", s, k, *rows, *columns, *c, add)
        return self.call("mm", r, s, k, *rows, *columns, *c, add)

    def _along(self, a: tuple[int, str, int], b: tuple[int, str, int], k: int, c: tuple[str, int, int], add: int) -> str:
        """A product of two matrices whose rows both lie along the contraction."""
        pc, cr, cs = c
        few, many, step = (b, a, cs) if cr == 1 and cs != 1 else (a, b, cr)
        whole = k % REGISTER == 0 and many[0] >= REGISTER and not (add and many[0] % REGISTER)
        if few[0] <= ROWS and whole and 1 in (cr, cs):
            return self.call(f"turned_{few[0]}", many[0], k, *few[1:], *many[1:], pc, step, add)
        return self.call("mt", a[0], b[0], k, *a[1:], *b[1:], 1, 0, 0, *c, add)

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
        if steps is None and sign > 0 and not lanes:
            base, places = self.listed(m)
            return [f"real {name}[{m.size}];", self.call("gather", m.size, base, places, name)], (name, columns, 1)
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
            call = self.call(
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
