"""Loops in C: groups of instructions of one kind, and streams of several that walk together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from micrograd.compile.dialect import KEPT, C, assignments, spelling, template
from micrograd.compile.emit import Term, write
from micrograd.compile.places import Places
from micrograd.compile.streams import SHORTEST, Part, Stream
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Loop, Map, every, is_reduced, plain, reads, writes
from micrograd.compile.views import Nest, nest, strides

Span = frozenset[int]  # of addresses
Ends = dict[tuple[int, int], str]  # names of numbers by the first address and the step of the walk that they are on


class Loops(Places):
    """What writes maps and streams."""

    phase: Sequence[Any]  # the instructions that are being written
    later: Sequence[Any]  # and those of the phases after them
    spans: dict[int, tuple[Any, list[Span], list[Span]]]  # by the id of an instruction, which it keeps alive: see _spans
    packed: set[int]  # the inputs that a stream lays side by side

    def map(self, instruction: Map) -> str:
        """One loop for a group of instructions of one kind, over its members or the examples."""
        kind = KINDS[instruction.kind]
        reduced = is_reduced(instruction)
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
        code, values = write(results, names, spelling(results, operands), lambda: f"t{next(counter)}")
        self.need(code)
        lines += assignments(code)
        lanes = any(view.flat[0] >= LANES for view in views)
        number = len(instruction.ins)
        if reduced:
            ends = [self.view(view, loops, i).replace(" + l]", "]") for i, view in enumerate(views) if view.flat[0] >= LANES]
            total = self._total(kind.shape[:4], ends) if len(ends) == number else None
            return self._reduction(loops, self.view(instruction.outs[0], loops, number), " ".join(lines), values[0], total)
        for out, value in zip(instruction.outs, values, strict=True):
            if out is not None:
                lines.append(f"{self.view(out, loops, number)} = {value};")
                number += 1
        return self.loops(loops.lengths, " ".join(lines), lanes)

    def _total(self, shape: tuple[int, ...], rows: list[str]) -> str | None:
        """The sum over the examples of numbers, or of products, that lie side by side."""
        if shape == (0, 0, 1, 0):
            return self.call("sum", "count", f"&{rows[0]}")
        return self.call("dot", "count", f"&{rows[0]}, 1", f"&{rows[1]}, 1") if shape == (1, 0, 0, 0) else None

    def _reduction(self, loops: Nest, out: str, lines: str, value: str, total: str | None) -> str:
        """Members that are sums over the examples: the ``total``, or what is worked out of each."""
        inner = f"{out} += {total}"
        if total is None:
            terms = f"real terms[L];\nMG_SIMD\nfor (int l = 0; l < L; l++) {{ {lines} terms[l] = {value}; }}"
            inner = f"{terms}\n{out} += {self.call('sum', 'count', 'terms')}"
        heads = " ".join(f"for (int {v} = 0; {v} < {n}; {v}++)" for v, n in zip("ijk", loops.lengths, strict=False))
        return f"{heads} {{ {inner} }}"

    def stream(self, stream: Stream) -> str:
        """One loop over the steps of several instructions, each with its lag."""
        before, after, turns = [], [], []
        for number, parts in enumerate(_bundles(stream.parts)):
            part, steps = parts[0], parts[0].walk.steps
            sums = {id(p.instruction): f"a{number}_{i}" for i, p in enumerate(parts) if not _is_map(p)}
            for p in parts:
                if name := sums.get(id(p.instruction)):
                    before.append(f"real {name}[L]; for (int l = 0; l < L; l++) {name}[l] = 0;")
                    after.append(self._end_of_sum(p.instruction, name))
            step = f"{steps - 1} - (g - {part.lag})" if part.turned else f"g - {part.lag}"
            guard = "" if steps == stream.steps else f"if (k >= 0 && k < {steps}) "
            turns.append(f"{{ const long k = {step}; {guard}{{ {self._bundle(stream, parts, sums)} }} }}")
        if stream is next((i for i in self.phase if isinstance(i, Stream)), None):
            turns = [*self._packs(stream), *turns, *self._fetches(stream)]
        loop = f"for (long g = 0; g < {stream.steps}; g++) {{\n" + "\n".join(turns) + "\n}"
        return "\n".join([*before, loop, *after])

    def pack(self, space: int, start: str, stop: str) -> str:
        """The call that lays an input's numbers of the examples worked on together side by side."""
        self.needs.update(("vector", "pack"))
        size, base = self.rolled.spaces[space][0].size, self.rolled.spaces[space][1]
        return f"mg_pack(in[{space}], {size}, {start}, {stop}, first, last, v + {base - LANES}L * L);"

    def _packs(self, stream: Stream) -> list[str]:
        """What the first stream lays side by side itself, some steps before they are read: inputs that it walks along."""
        before = self.phase[: next(n for n, i in enumerate(self.phase) if i is stream)]
        earlier = np.concatenate([np.zeros(0, int), *(every(v) for i in before for one in plain(i) for v in reads(one))])
        made = []
        for k, (space, base) in enumerate(self.rolled.spaces):
            end = base + space.size
            if not (space.batched and space.kind == "real" and SHORTEST <= space.size <= stream.steps):
                continue
            if all(_follows(part, base, end) for part in stream.parts) and not ((earlier >= base) & (earlier < end)).any():
                self.packed.add(k)
                stop = f"g + 8 < {space.size} ? g + 8 : {space.size}"
                made.append(f"if (g % 8 == 0 && g < {space.size}) {self.pack(k, 'g', stop)}")
        return made

    def _fetches(self, stream: Stream) -> list[str]:
        """What the first stream fetches from memory at each step: its share of the next examples' inputs."""
        found = []
        for k, (space, _) in enumerate(self.rolled.spaces):
            if space.batched and space.kind == "real" and space.size >= stream.steps // 2:
                lines = f"(({space.size} * L * sizeof(real) / 64 + {stream.steps - 1}) / {stream.steps})"
                found.append(
                    f"for (unsigned q = 0; q < {lines}; q++) "
                    f"__builtin_prefetch((const char *)(in[{k}] + {space.size} * (first + L)) + 64 * ({lines} * g + q));"
                )
        return found

    def _bundle(self, stream: Stream, parts: list[Part], sums: dict[int, str]) -> str:
        """One step of some instructions, as one loop over the examples: what one makes and the next reads is not loaded."""
        mine = [i for part in parts for i in _steps_of(part.instruction)]
        lines, _ = self._turn(mine, "k", {}, sums, lambda out: self._is_read(out, stream, mine, set()))
        return f"MG_SIMD\nfor (int l = 0; l < L; l++) {{ {' '.join(lines)} }}"

    def numbers(self, loop: Loop) -> str:
        """A loop of single shared numbers: what a turn leaves to the next one stays in registers."""
        out_ends = {_step_ends(out): out for i in loop.body for out in i.outs if out is not None}
        carried: dict[tuple[int, int], Any] = {}  # what a turn reads and the turn before it wrote
        for view in (view for i in loop.body for view in i.ins):
            first, step = _step_ends(view)
            if (first + step, step) in out_ends and self._only(out_ends[first + step, step], view, loop):
                carried[first, step] = view
        names = {ends: f"c{n}" for n, ends in enumerate(carried)}
        read = set(carried)
        lines, made = self._turn(loop.body, "r", names, {}, lambda out: self._is_read(out, loop, loop.body, read))
        before = [f"real {name} = {self._one(carried[ends], '0')};" for ends, name in names.items()]
        left = [f"const real next_{name} = {made[first + step, step]};" for (first, step), name in names.items()]
        turns = [*lines, *left, *(f"{name} = next_{name};" for name in names.values())]
        return "\n".join([*before, f"for (long r = 0; r < {loop.turns}; r++) {{ {' '.join(turns)} }}"])

    def _only(self, out: Any, view: Any, loop: Loop) -> bool:
        """Whether nothing else in a loop writes where an output is read by a view in the next turn."""
        places = np.concatenate([every(out), every(view)])
        others = (other for i in loop.body for other in i.outs if other is not None and other is not out)
        return not any(np.isin(every(other), places).any() for other in others)

    def _turn(
        self, instructions: Sequence[Any], index: str, known: Ends, sums: dict[int, str], kept: Callable[[Any], bool]
    ) -> tuple[list[str], Ends]:
        """The code of one turn, and what its numbers are called; ``known`` are those that have a name before it."""
        dialect = C if self.rolled.lanes else KEPT
        lines: list[str] = []
        made = dict(known)
        counter = iter(range(1 << 30))

        def operand(view: Any) -> str:
            literal, ends = self.constant(view), _step_ends(view)
            if literal is None and ends not in made:
                made[ends] = f"x{next(counter)}"
                lines.append(f"const real {made[ends]} = {self._one(view, index)};")
            return made[ends] if literal is None else literal

        for i in instructions:
            if id(i) in sums:
                factors = [operand(m[0]) for m in (i.a, i.b) if m is not None]
                lines.append(f"{sums[id(i)]}[l] += {' * '.join(factors)};")
                continue
            operands, results = template(i.kind, i.partials)
            names = {term: operand(view) for term, view in zip(operands, i.ins, strict=True)}
            code, values = write(results, names, dialect, lambda: f"t{next(counter)}")
            self.need(code)
            lines += assignments(code)
            for out, value in zip(i.outs, values, strict=True):
                if out is None:
                    continue
                made[_step_ends(out)] = value
                if kept(out):
                    lines.append(f"{self._one(out, index)} = {value};")
        return lines, made

    def _one(self, view: Any, index: str) -> str:
        """The number of a turn on a walk along a view."""
        first, step = _step_ends(view)
        along = f" + {step}L * {index}" if step else ""
        if first >= LANES:
            return f"v[({first - LANES}{along}) * L + l]"
        base, start = self.base(view)
        return f"{base}[{first - start}{along}]"

    def _is_read(self, out: Any, within: Any, but: Sequence[Any], carried: set[tuple[int, int]]) -> bool:
        """Whether anything but these steps of its stream or loop reads an output before others take its place."""
        alive = set(every(out).tolist())
        for i in plain(within):
            for view, span in zip(reads(i), self._spans(i)[0], strict=True):
                if span.isdisjoint(alive):
                    continue
                ends = _step_ends(view)
                if not (any(i is one for one in but) and (ends == _step_ends(out) or ends in carried)):
                    return True
        at = next(n for n, i in enumerate(self.phase) if i is within)
        for i in (i for other in (*self.phase[at + 1 :], *self.later) for i in plain(other)):
            read, written = self._spans(i)
            if not all(map(alive.isdisjoint, read)):
                return True
            alive = alive.difference(*written)
            if not alive:
                return False
        return not alive.isdisjoint(self.rolled.outputs.tolist())

    def _spans(self, i: Any) -> tuple[list[Span], list[Span]]:
        """All addresses that an instruction reads, view by view, and that it writes."""
        if id(i) not in self.spans:
            read, written = ([frozenset(every(view).tolist()) for view in found] for found in (reads(i), writes(i)))
            self.spans[id(i)] = i, read, written
        return self.spans[id(i)][1:]

    def _end_of_sum(self, instruction: Any, name: str) -> str:
        sign, out = "-" if instruction.sign < 0 else "+", self.at(instruction.c.reshape(1), (0,))
        if instruction.reduced:
            return f"for (int l = 0; l < count; l++) {out} {sign}= {name}[l];"
        assign = f"{sign}=" if instruction.add else f"= {sign}"
        return f"for (int l = 0; l < L; l++) {out} {assign} {name}[l];"


def _bundles(parts: list[Part]) -> list[list[Part]]:
    """The parts of a stream, those together that are at the same step at the same time."""
    bundles: list[list[Part]] = []
    for part in parts:
        last = bundles[-1][-1] if bundles else None
        alike = last and (last.walk.steps, last.lag, last.turned) == (part.walk.steps, part.lag, part.turned)
        if last and alike:
            bundles[-1].append(part)
        else:
            bundles.append([part])
    return bundles


def _follows(part: Part, start: int, end: int) -> bool:
    """Whether an instruction of a stream reads nothing of some addresses, or each when the stream has come to it."""
    for first, step in part.walk.reads:
        low, high = sorted((first, first + step * (part.walk.steps - 1)))
        if low < end and start <= high and (step != 1 or first - start > part.lag):
            return False
    return True


def _is_map(part: Part) -> bool:
    return isinstance(part.instruction, (Map, Loop))


def _steps_of(instruction: Any) -> list[Any]:
    return instruction.body if isinstance(instruction, Loop) else [instruction]


def _step_ends(view: Any) -> tuple[int, int]:
    """The first address of a view that is walked along, and its step."""
    if hasattr(view, "shift"):
        return int(view.flat[0]), view.shift
    steps = strides(view)
    assert steps is not None
    return int(view.flat[0]), steps[-1]
