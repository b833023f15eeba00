"""Loops in C: groups of instructions of one kind, and streams of several that walk together."""

from __future__ import annotations

import re
from typing import Any

from micrograd.compile.dialect import C, template
from micrograd.compile.emit import Term, write
from micrograd.compile.places import Places
from micrograd.compile.streams import Part, Stream
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import LANES, Loop, Map, reads
from micrograd.compile.views import Nest, nest, strides


class Loops(Places):
    """What writes maps and streams."""

    _reads: list[tuple[int, int, int, Any]] | None = None

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
        base, start = self.base(view)
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


def _is_test(text: str) -> bool:
    return bool(re.search(r" (<|<=|>|>=|&|\|) ", text)) and "?" not in text
