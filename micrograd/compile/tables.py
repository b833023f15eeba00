"""Dots, sums and tables in C: what is done member by member, at places that may follow no rule."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from micrograd.compile.places import Places, turn
from micrograd.compile.scalars import LONG, in_memory
from micrograd.compile.vector import LANES, WIDE, Rows, Scatter, Take, shifted
from micrograd.compile.views import nest

MOST = 256  # members that are computed across, in an array on the stack
MANY = 8  # rows that are multiplied four at once, which takes the compiler longer


class Tables(Places):
    """What writes rows, takes and scatters."""

    def rows(self, rows: Rows) -> str:
        """Dots, sums or largest numbers of a length, member by member."""
        c, ragged = rows.c, rows.lengths is not None
        lanes = any(view is not None and view.flat[0] >= LANES for view in (c, rows.a, rows.b))
        if sums := in_memory(rows):
            return self._in_memory(rows, sums.kernel)
        if not (lanes or rows.largest or rows.reduced) and (found := _block(rows)):
            return self._blocks(*found)
        if lanes and (fours := _fours(rows)):
            return self._beside(fours)
        walk = _Walk(self, [c, rows.a, *([] if rows.b is None else [rows.b])], rows.lengths)
        if not (lanes or ragged or rows.add or rows.sign < 0) and (text := self._short(walk)):
            return text
        length = self._length(rows.lengths, walk) if ragged else str(rows.a.shape[1])
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
                f"real sums[L];\n{self.call('lanes', length, 'v', walk.row(1)[1], walk.row(2)[1], 'sums')}\n"
                f"for (int l = 0; l < L; l++) {end}sums[l];"
            )
        if lanes:
            step = f"sums[l] = mg_larger(sums[l], {x})" if rows.largest else f"sums[l] += {product}"
            return walk.loops(
                f"real sums[L];\nfor (int l = 0; l < L; l++) sums[l] = {start};\n"
                f"for (int k = 0; k < {length}; k++) {{\nMG_SIMD\nfor (int l = 0; l < L; l++) {step}; }}\n"
                f"for (int l = 0; l < L; l++) {end}sums[l];"
            )
        if not ragged:
            turn = f"sum = mg_larger(sum, {x})" if rows.largest else f"sum += {product}"
            simd = "" if rows.largest else "MG_SUM\n"
            return walk.loops(f"real sum = {start};\n{simd}for (int k = 0; k < {length}; k++) {turn};\n{end}sum;")

        def row(walk: _Walk, name: str) -> tuple[str, str, str]:
            terms = " * ".join(walk.text(n, "k") for n in range(1, len(walk.views)))
            start, term = ("0", f"+= {terms}") if not rows.largest else (walk.text(1, "0"), f"= mg_larger({name}, {terms})")
            return f"real {name} = {start};", f"{name} {term};", f"{walk.text(0)} = {sign}{name};"

        return self._together(walk.views, rows.lengths, row)

    def _in_memory(self, rows: Rows, kernel: str) -> str:
        """Sums, or largest numbers, that a kernel finds where they lie."""
        walk = _Walk(self, [rows.c, rows.a])
        sign = "-" if rows.sign < 0 else ""
        end = f"{sign or '+'}= " if rows.add else f"= {sign}"
        call = self.call(kernel, rows.a.shape[1], f"&{walk.text(1, '0')}")
        return walk.loops(f"{walk.text(0)} {end}{call}")

    def _together(self, views: list[Any], lengths: Any, row: Callable[[_Walk, str], tuple[str, str, str]]) -> str:
        """Loops over rows of these lengths, four neighbours in one where their lengths agree: fewer ends are mispredicted.

        ``row`` gives what comes before the loop along a row, in it and after it, given a name for the sum.
        """
        walks = [_Walk(self, views, lengths)]
        if len(lengths) % 4 == 0 and (lengths.reshape(-1, 4) == lengths[::4, None]).all():
            fours = [_Walk(self, [view[n::4] for view in views], lengths[n::4]) for n in range(4)]
            if len({walk.nest.lengths for walk in fours}) == 1:
                walks = fours
        length = self._length(lengths[:: len(walks)], walks[0])
        before, turn, after = map(" ".join, zip(*(row(walk, f"s{n}") for n, walk in enumerate(walks)), strict=True))
        return walks[0].loops(f"{before}\nfor (int k = 0; k < {length}; k++) {{ {turn} }}\n{after}")

    def _short(self, walk: _Walk) -> str | None:
        """Rows of numbers side by side, of which several are multiplied together."""
        count, length = walk.views[1].shape
        if walk.steps != [0, 1, 1] or walk.nest.lengths != (count,) or length < 4 or count < MANY:
            return None
        return self.call("short", count, length, *(x for n in (1, 2, 0) for x in walk.list(n)))

    def _blocks(self, rows: Rows, block: int) -> str:
        """Rows of which so many neighbours lie side by side and have the same factors or such side by side."""
        views = [view for view in (rows.c, rows.a, rows.b) if view is not None]
        firsts = [view[::block] for view in views]
        steps = [int(view.reshape(len(view), -1)[1, 0] - view.flat[0]) for view in views]
        lengths = np.full(len(firsts[0]), rows.a.shape[1]) if rows.lengths is None else rows.lengths[::block]
        sign, add = "-" if rows.sign < 0 else "", f"{'-' if rows.sign < 0 else '+'}" if rows.add else ""

        def end(walk: _Walk, sums: str) -> str:
            out = f"{walk.text(0)[:-1]} + {steps[0]} * b] {add}= {'' if add else sign}"
            return f"for (int b = 0; b < {block}; b++) {out}{sums}[b];"

        def four(walk: _Walk, sums: str) -> tuple[str, str, str]:
            terms = [f"MG_FOUR(&{walk.text(n, 'k')})" if step else walk.text(n, "k") for n, step in enumerate(steps) if n]
            return f"mg_q {sums} = {{0}};", f"{sums} += {' * '.join(terms)};", end(walk, sums)

        if block == 4:
            self.needs.add("four")
            return self._together(firsts, lengths, four)
        walk = _Walk(self, firsts, lengths)
        length = self._length(lengths, walk)
        if block >= WIDE and rows.b is not None and steps[1] == 1:
            factors = [f"{base}, {places}" for base, places in (walk.row(n) for n in (1, 2))]
            sums = self.call("across", block, length, *factors, steps[2], "sums")
        else:
            texts = [f"{walk.text(n, 'k')[:-1]} + {step} * b]" for n, step in enumerate(steps) if n]
            sums = f"for (int k = 0; k < {length}; k++) {{\nMG_SIMD\n"
            sums += f"for (int b = 0; b < {block}; b++) sums[b] += {' * '.join(texts)}; }}"
        return walk.loops(f"real sums[{block}] = {{0}};\n{sums}\n{end(walk, 'sums')}")

    def _beside(self, rows: Rows) -> str:
        """Dots of each example, four side by side that share a factor at a time."""
        lengths = None if rows.lengths is None else rows.lengths[::4]
        walk = _Walk(self, [view[::4] for view in (rows.c, rows.a, rows.b)], lengths)  # type: ignore[index]
        length = str(rows.a.shape[1]) if lengths is None else self._length(lengths, walk)
        sums = walk.text(0).replace(" + l]", "]")
        return walk.loops(self.call("beside", length, "v", walk.row(1)[1], walk.row(2)[1], f"&{sums}"))

    def _length(self, lengths: Any, walk: _Walk) -> str:
        """The length of a member's row."""
        alike = (lengths == lengths[0]).all()
        return str(lengths[0]) if alike else f"t[{self.tabled(lengths)} + {walk.member()}]"

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
            moving = shifted(places, addresses.shift, addresses.turns) if turn(addresses) else places
            return moving, lambda walk: f"ix[{of.flat[0]}][{example}{walk.place(number, k)}]", batched

        def text(walk: _Walk) -> str:  # from several arguments
            at = f"{places.size // len(places)} * ({walk.member()}){f' + {k}' if k else ''}"
            example = f"(long)t[{self.tabled(step)} + {at}] * MG_EXAMPLE + " if batched else ""
            place = " + ".join([f"t[{self.tabled(places)} + {at}]", *turn(addresses)])
            return f"ix[t[{self.tabled(of)} + {at}]][{example}{place}]"

        return places, text, batched

    def take(self, take: Take) -> str:
        count = take.table.shape[1]
        lanes = bool(take.out.flat[0] >= LANES)
        places, index_text, _ = self.index(take.index, 2)
        walk = _Walk(self, [take.out, take.table, places])
        index = index_text(walk)
        pick = f"long pick = (long){index}; pick += pick < 0 ? {count} : 0;"
        put = f"{walk.text(0)} = {walk.text(1, 'pick')};"
        if not walk.is_outside(index):
            return walk.loops(f"for (int l = 0; l < L; l++) {{ {pick} {put} }}" if lanes else f"{pick} {put}")
        if not lanes:
            return walk.loops(put, f"{pick}\nMG_SIMD\n")
        put = f"\nMG_SIMD\nfor (int l = 0; l < L; l++) {{ const long pick = picks[l]; {put} }}"
        return walk.loops(put, f"long picks[L];\nfor (int l = 0; l < L; l++) {{ {pick} picks[l] = pick; }}\n")

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
        pick = f"long pick = (long){index}; pick += pick < 0 ? {scatter.count} : 0;"
        turn = f"{pick} {place} += {value};"
        each = f"for (int l = 0; l < {'count' if scatter.reduced else 'L'}; l++) " if lanes else ""
        if complete and not lanes_out and len(walk.nest.lengths) == 1 and walk.is_outside(index):
            turned, count = "", walk.nest.lengths[0]
            if value.startswith("v[") and walk.nest.steps[0] == (1,) and LONG <= count <= MOST:
                rows = self.call("transpose", count, "L", f"&{value}".replace(" + l]", "]"), "L", "rows", count)
                turned = f"real rows[{count} * L]; {{ const int i = 0; {rows} }}\n"  # those of an example side by side
                value = f"rows[{count} * l + i]"
            members = walk.loops(f"{place} += {value};")  # each has a table of its own
            return f"{zero}for (int k = 0; k < {terms}; k++) {{ {turned}{each}{{ {pick}\nMG_SIMD\n{members} }} }}"
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


class _Walk:
    """Loops over the members of an instruction whose views are rows: a start for each member and a step along the row."""

    def __init__(self, writer: Places, views: list[Any], lengths: Any = None) -> None:
        self.writer, self.views = writer, views
        self.starts = [view if view.ndim == 1 else view[:, 0] for view in views]
        self.nest = nest(self.starts)
        self.steps = [_row_step(view, lengths) for view in views]

    def loops(self, body: str, before: str = "") -> str:
        """Loops over the members; ``before`` comes before the innermost one."""
        heads = [f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip("ijh", self.nest.lengths, strict=False)]
        if before:
            return f"{' '.join(heads[:-1])} {{ {before}{heads[-1]} {{ {body} }} }}"
        return f"{' '.join(heads)} {{ {body} }}"

    def is_outside(self, text: str) -> bool:
        """Whether a text is the same for all turns of the innermost loop."""
        count = len(self.nest.lengths)
        return count > 0 and not re.search(rf"\b{'ijh'[count - 1]}\b", text)

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
            start = int(view.flat[0])  # apart: the same places from elsewhere are not looked up again
            if step is None and view.ndim == 2:
                at = self.writer.tabled(np.asarray(view) - start)
                return " + ".join([f"{start} + t[{at} + {view.shape[1]} * ({self.member()}) + {k}]", *turn(view)])
            first = f"{start} + t[{self.writer.tabled(self.starts[number] - start)} + {self.member()}]"
        else:
            terms = [f"{s} * {v}" for s, v in zip(steps, "ijh", strict=False) if s]
            first = " + ".join([str(int(self.starts[number].flat[0])), *terms])
        first = " + ".join([first, *turn(view)])
        return f"{first} + {step}L * {k}" if k not in ("", "0") and step else first

    def row(self, number: int) -> tuple[str, str]:
        """The array that a row lies in, and where: its places in a table, or none, the first place and the step."""
        view = self.views[number]
        base, start = ("v", LANES) if view.flat[0] >= LANES else self.writer.base(view)
        if self.steps[number] is None:
            places = f"t + {self.writer.tabled(view - start)} + {view.shape[1]} * ({self.member()})"
            return base, ", ".join([places, " + ".join(["0", *turn(view)]), "0"])
        self.views[number], self.starts[number] = view - start, self.starts[number] - start
        place = self.place(number)
        self.views[number], self.starts[number] = view, self.starts[number] + start
        return base, f"0, {place}, {self.steps[number]}"

    def list(self, number: int) -> tuple[str, str]:
        """The array that rows lie in, and where each begins: its place in a table, or none, the first place and the step."""
        base, start = self.writer.base(self.views[number])
        steps, places, moved = self.nest.steps[number], self.starts[number] - start, turn(self.views[number])
        if steps is None:
            return base, f"t + {self.writer.tabled(places)}, {' + '.join(['0', *moved])}, 0"
        return base, f"0, {' + '.join([str(places[0]), *moved])}, {steps[0]}"

    def text(self, number: int, k: str = "") -> str:
        """A number of a view: the k-th of the row."""
        view, writer = self.views[number], self.writer
        if view.flat[0] >= LANES:
            self.views[number], self.starts[number] = view - LANES, self.starts[number] - LANES
            place = self.place(number, k)
            self.views[number], self.starts[number] = view, self.starts[number] + LANES
            return f"v[(long)({place}) * L + l]"
        base, shift = writer.base(view)
        self.views[number], self.starts[number] = view - shift, self.starts[number] - shift
        place = self.place(number, k)
        self.views[number], self.starts[number] = view, self.starts[number] + shift
        return f"{base}[{place}]"


def _row_step(view: Any, lengths: Any = None) -> int | None:
    """The constant step along the rows of a view, which may differ in their lengths; None where there is none."""
    if view.ndim == 1 or view.shape[1] == 1:
        return 0
    steps = np.diff(view, axis=1)
    within = np.ones(steps.shape, dtype=bool) if lengths is None else np.arange(1, view.shape[1]) < lengths[:, None]
    found = steps[within]
    return int(found[0]) if len(found) and (found == found[0]).all() else None


def _fours(rows: Rows) -> Rows | None:
    """The same dots with the factor second that four neighbours share, the others being side by side; None for others."""
    if rows.b is None or rows.add or rows.sign < 0 or min(rows.c.flat[0], rows.a.flat[0], rows.b.flat[0]) < LANES:
        return None
    found = _block(rows)
    if found is None or found[1] % 4 or (rows := found[0]).b is None or (rows.b[::4] != rows.b[1::4]).any():
        return None
    return rows


def _block(rows: Rows) -> tuple[Rows, int] | None:
    """How many neighbouring rows can fill the lanes of registers together: 16, 8 or 4, or all of them; where their factors
    are one number and numbers side by side, the one is put second."""
    count, length = rows.a.shape
    blocks = [block for block in (16, 8, 4) if count % block == 0]
    for block in [count, *blocks] if 16 < count <= MOST or (not blocks and count > 4) else blocks:
        if (np.diff(rows.c.reshape(-1, block)) != 1).any():
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
