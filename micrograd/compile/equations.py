"""The vector program as equations, forward and then backward: ``z1 = W1 @ x + b1``, ``dz1 = dh1 * step(z1)``.

What one instruction computes is a variable.  It has the user's label, or ``z1`` for a matrix product and ``h1`` for the
activation after it, or ``t1``; what is the derivative of the result by ``z1`` is ``dz1``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from micrograd.compile.factors import Equation, as_product, joined, made_by
from micrograd.compile.spelling import applied, bare, in_all_turns, is_name, slope_text
from micrograd.compile.tape import KINDS
from micrograd.compile.variables import COPY, UNKNOWN, Variable, Variables, part_of
from micrograd.compile.vector import LANES, Instruction, Loop, Map, Product, Rolled, Scatter, Take, is_reduced, views


def equations(rolled: Rolled, names: Mapping[int, str] | None = None, limit: int = 200) -> str:
    """The vector program as text, at most about ``limit`` lines: of a longer one the middle is left out.

    ``names`` has the names of leaves by address; the leaves of a space that have none get the name of the space.

    >>> from micrograd.compile import tape as tapes
    >>> from micrograd.compile.roll import roll
    >>> tape = tapes.Tape()
    >>> x = tape.leaf(tape.space(tapes.Space("x")), 0)
    >>> tape.outputs = [tape.add(tapes.dot(1, 0, 0, 0), (x, x))]
    >>> print(equations(roll(tape)))
    forward:
      t1 = x**2
    """
    try:
        forward, backward = _Equations(rolled, names or {}).lines()
    except Exception:  # a picture of the program must never stand in the way of the program
        return str(rolled)
    half = limit // 2 if backward else limit
    text = ["forward:", *_shortened(forward, half)]
    return "\n".join([*text, "backward:", *_shortened(backward, half)] if backward else text)


def _shortened(lines: list[str], limit: int) -> list[str]:
    if len(lines) > limit:
        half = max(1, limit // 2)
        lines = [*lines[:half], f"... ({len(lines) - 2 * half} equations left out)", *lines[-half:]]
    return [f"  {line}" for line in lines]


class _Equations(Variables):
    def lines(self) -> tuple[list[str], list[str]]:
        parts: tuple[list[str], list[str]] = ([], [])
        everything = (part for _, instructions in self.rolled.phases() for i in instructions for part in self.apart(i))
        for equation in joined(map(as_product, self.equations(everything)), self):
            parts[equation.backward].extend(self.written(equation))
        parts[1].extend(self.gradients_that_are_other_numbers())
        return parts

    def apart(self, instruction: Instruction) -> list[Instruction]:
        """Results and gradients that are put in their places together, one after the other."""
        if (
            self.rolled.wrt is None
            or not isinstance(instruction, Map)
            or instruction.kind != COPY
            or instruction.outs[0] is None
        ):
            return [instruction]
        out, source = instruction.outs[0], instruction.ins[0]
        results = np.isin(out, self.rolled.outputs[self.rolled.wrt < 0])
        return [Map(COPY, [out[some]], (), [source[some]]) for some in (results, ~results) if some.any()]

    def gradients_that_are_other_numbers(self) -> Iterator[str]:
        """Equations for the gradients that have none yet, as they are numbers that have another name.

        Of several results each has its own: ``dy[0]/dx``.
        """
        if self.rolled.wrt is None:
            return
        own = self.rolled.wrt >= 0
        results, outs, wrt = self.rolled.outputs[~own], self.rolled.outputs[own], self.rolled.wrt[own]
        if len(results) == 1:
            other = self.belongs_to(outs) != wrt
            yield from self.gradient("", outs[other], wrt[other])
            return
        for r, (gradient, leaves) in enumerate(zip(*(np.split(a, len(results)) for a in (outs, wrt)), strict=True)):
            name = self.operand(np.array([self.sources.get(int(results[r]), results[r])]))
            yield from self.gradient(f"{name if is_name(name) else f'result[{r}]'}/d", gradient, leaves)

    def gradient(self, of: str, outs: Any, wrt: Any) -> Iterator[str]:
        """The derivatives of a result by some leaves."""
        for leaf in self.leaves:
            mine = np.isin(wrt, leaf.addresses)
            if mine.any():
                part = "" if mine.sum() == len(leaf.addresses) else part_of(wrt[mine], leaf.addresses)
                yield f"d{of}{leaf.name}{part} = {bare(self.in_order(outs[mine]))}"

    def equations(self, instructions: Iterable[Instruction]) -> Iterator[Equation]:
        """Instructions that add to the same numbers, together."""
        open_: Equation | None = None
        for instruction in instructions:
            out = np.sort(made_by(instruction))
            if open_ is not None and getattr(instruction, "add", False) and np.array_equal(out, open_.out):
                open_.instructions.append(instruction)
                continue
            if open_ is not None:
                yield open_
            own = int(out[0] >= LANES)
            backward = bool((self.belongs_to(out) >= 0).any()) or any(map(self.is_later, _ins(instruction)))
            self.later[own][out - LANES if own else out] |= backward
            open_ = Equation([instruction], out, backward)
        if open_ is not None:
            yield open_

    def is_later(self, addresses: Any) -> bool:
        """Whether the backward pass sets any of these numbers."""
        own = addresses >= LANES
        return bool(self.later[1][addresses[own] - LANES].any() or self.later[0][addresses[~own]].any())

    def written_loop(self, loop: Loop) -> Iterator[str]:
        """The equations of one turn ``t``, and what its formulas mean where they leave the loop: ``s[-1] = s0``."""
        self.name_loop(loop)
        first = max(1, (loop.turns - 3) // 2)  # where all that is read was made by the loop, if it ever is
        lines = self.turns_as_one(loop, first)
        if any("...]" in line for line in lines):  # a list is written from its first entries
            lines = self.turns_as_one(loop, 1)
        before, after = self.ends(loop, first)
        yield from before
        yield f"for t in 0..{loop.turns - 1}, {loop.turns} times:"
        yield from (f"  {line}" for line in lines)
        yield from after

    def turns_as_one(self, loop: Loop, first: int) -> list[str]:
        """The equations of three turns, as one for all turns."""
        turns = range(first, first + 3)
        texts = [[line for e in self.equations(loop.unrolled(turn)) for line in self.written(e)] for turn in turns]
        if len(set(map(len, texts))) > 1:
            return texts[0]
        return [in_all_turns(lines, first) for lines in zip(*texts, strict=True)]

    def name_loop(self, loop: Loop) -> None:
        """Names for all that a loop sets, which are those of the first turn where they are not adjoints of something."""
        for instruction in loop.body:
            if isinstance(instruction, Map) and instruction.partials:
                self.define_slopes(instruction, loop.turns)
        for equation in self.equations(loop.unrolled(0)):
            list(self.written(equation))
        for instruction in loop.body:
            for addresses in _out_views(instruction):
                self.extend(addresses, loop.turns)

    def define_slopes(self, m: Map, turns: int) -> None:
        """The local derivatives of an operation in a loop, which are written by the turn that they are of."""
        op = KINDS[m.kind].op
        assert op is not None
        for j, slope in zip(m.partials, m.outs[1:], strict=True):
            if slope is not None:
                everywhere = _in_turns(slope, turns)
                order = np.argsort(everywhere)

                def text(places: Any, j: int = j, everywhere: Any = everywhere, order: Any = order) -> str:
                    found = order[np.searchsorted(everywhere, places, sorter=order)]
                    operands = [self.operand(_in_turns(a, turns)[found]) for a in m.ins]
                    value = "" if m.outs[0] is None else self.operand(_in_turns(m.outs[0], turns)[found])
                    return slope_text(op, j, operands, value)

                self.define("", everywhere, derivative=True).text = text

    def extend(self, addresses: Any, turns: int) -> None:
        """Names for what is set at later turns of a loop where the first one sets what has names."""
        everywhere = _in_turns(addresses, turns)
        names = np.tile(self.ids_of(np.ravel(np.asarray(addresses))), turns)
        free = self.ids_of(everywhere) == UNKNOWN
        for number in set(names[free].tolist()):
            new = everywhere[free & (names == number)]
            of = self.belongs_to(new)
            owners = self.ids_of(of) if (of >= 0).all() else np.full(len(new), UNKNOWN)
            if self.variables[number].of is not None and (owners >= 0).all():
                for owner in set(owners.tolist()):
                    if not self.adjoint_variable(new[owners == owner]):
                        self.join(number, new[owners == owner])
            else:
                self.join(number, new)

    def join(self, number: int, new: Any) -> None:
        """Let a variable have more numbers: they are counted in the order in which they lie."""
        own, variable = int(new[0] >= LANES), self.variables[number]
        self.ids[own][new - LANES if own else new] = number
        variable.addresses, variable.of = np.union1d(variable.addresses, new), None

    def ends(self, loop: Loop, first: int) -> tuple[list[str], list[str]]:
        """Equations for what the first and the last turns read and set that has another name than the formula of a turn."""
        before: list[str] = []
        after: list[str] = []
        turns = [turn for turn in (0, 1, loop.turns - 2, loop.turns - 1) if not first <= turn < first + 3]
        for instruction in loop.body:
            outs = len(_out_views(instruction))
            for k, addresses in enumerate(v for v in views(instruction) if v is not None):
                texts = [self.operand(addresses + addresses.shift * turn) for turn in range(first, first + 3)]
                for turn in turns:
                    text = self.operand(addresses + addresses.shift * turn)
                    formula = in_all_turns(texts, first, turn)
                    if text == formula or frozenset((text, formula)) in self.noted or not is_name(formula):
                        continue
                    self.noted.add(frozenset((text, formula)))
                    if k >= outs:
                        before.append(f"{formula} = {bare(text)}")
                    elif is_name(text):
                        after.append(f"{text} = {formula}")
        return before, after

    def written(self, e: Equation) -> Iterator[str]:
        first = e.instructions[0]
        if isinstance(first, Loop):
            yield from self.written_loop(first)
            return
        if isinstance(first, Map) and KINDS[first.kind].key[0] == "apply":
            yield from self.written_map(first, e)
            return
        if isinstance(first, Map) and self.is_result(first):  # a copy has no line
            self.sources.update(zip(made_by(first).tolist(), first.ins[0].tolist(), strict=True))
            return
        terms: list[tuple[int, str]] = []
        form = None
        for instruction in e.instructions:
            if isinstance(instruction, Product):
                text, form = self.product(instruction)
                terms.append((instruction.sign, text))
            else:
                terms += self.terms(instruction)
        terms.sort(key=lambda term: "@" not in term[1])
        text = "".join(f" {'+' if sign > 0 else '-'} {term}" for sign, term in terms)
        text = text[3:] if text.startswith(" + ") else f"-{text[3:]}"
        if any(is_reduced(i) for i in e.instructions):
            text = f"sum over batch of {text}" if len(terms) == 1 else f"sum over batch of ({text})"
        has_product = any(isinstance(i, Product) for i in e.instructions)
        variable, left = self.variable(e, "z" if has_product else "t")
        if variable is not None and variable.form is None and len(variable.addresses) == len(e.out):
            variable.form = form
        if getattr(first, "add", False):
            yield f"{left} -= {text[1:]}" if len(terms) == 1 and text[0] == "-" else f"{left} += {text}"
        else:
            yield f"{left} = {text}"

    def is_result(self, m: Map) -> bool:
        """Whether an instruction does no more than putting results that were computed before in their places."""
        if self.rolled.wrt is None or m.kind != COPY:
            return False
        computed = self.ids_of(m.ins[0]).tolist()
        results = self.rolled.outputs[self.rolled.wrt < 0]
        named = all(number >= 0 and not self.variables[number].leaf for number in computed)
        return named and bool(np.isin(np.asarray(m.outs[0]), results).all())

    def written_map(self, m: Map, e: Equation) -> Iterator[str]:
        """An operation, and names for its local derivatives."""
        op = KINDS[m.kind].op
        assert op is not None
        operands = [self.operand(a) for a in m.ins]
        value = ""
        if m.outs[0] is not None:
            of = self.only_variable(m.ins[0])
            name = None
            if len(m.ins) == 1 and of is not None and of.name[:1] == "z" and of.name[1:].isdigit():
                name = f"h{of.name[1:]}" if f"h{of.name[1:]}" not in self.taken else None
            out: Any = np.sort(m.outs[0])
            variable, value = self.variable(Equation([m], out, e.backward), name or "t")
            if variable and name and of is not None and of.form is not None and len(out) == of.form.size:
                variable.form = of.form + (out[0] - of.addresses[0])
            yield f"{value} = {applied(op, operands)}"
        for j, slope in zip(m.partials, m.outs[1:], strict=True):
            if slope is not None and self.ids_of(slope[:1]) == UNKNOWN:  # of a loop they are known
                self.define(slope_text(op, j, operands, value), np.asarray(slope), e.backward, derivative=True)

    def variable(self, e: Equation, default: str) -> tuple[Variable | None, str]:
        """The variable that an equation sets or sets a part of, None if they are several, and how that is written.

        It has the user's label, or d and the name of what it is the adjoint of, or a default with a number.
        """
        found = self.only_variable(e.out) or self.adjoint_variable(e.out)
        of = self.belongs_to(e.out)
        ids = self.ids_of(of) if (of >= 0).all() else np.full(len(of), UNKNOWN)
        if found is None and (ids >= 0).all() and 1 < len(set(ids.tolist())) <= 3:
            parts = [e.out[ids == number] for number in dict.fromkeys(ids.tolist())]
            if all(self.only_variable(part) or self.adjoint_variable(part) for part in parts):
                return None, f"[{', '.join(self.operand(part) for part in parts)}]"
        if found is None:
            found = self.define(self.name(e, default), e.out, e.backward)
        return found, self.operand(e.out)

    def name(self, e: Equation, default: str) -> str:
        labels = {self.rolled.names.get(int(address)) for address in e.out[:64]}
        common = _common(labels)
        if common:
            return common
        if default == "z" and e.backward:
            default = "t"
        if default not in self.counts:
            return default
        self.counts[default] += 1
        while f"{default}{self.counts[default]}" in self.taken:
            self.counts[default] += 1
        return f"{default}{self.counts[default]}"


def _in_turns(addresses: Any, turns: int) -> Any:
    """The addresses at all turns of a loop, one turn after the other."""
    flat = np.ravel(np.asarray(addresses))
    return (flat + addresses.shift * np.arange(turns)[:, None]).ravel()


def _out_views(instruction: Instruction) -> list[Any]:
    """What an instruction sets, as it holds the addresses."""
    if isinstance(instruction, Map):
        return [out for out in instruction.outs if out is not None]
    return [views(instruction)[0]]


def _ins(instruction: Instruction) -> list[Any]:
    if isinstance(instruction, Loop):
        return [a for i in instruction.unrolled(0) for a in _ins(i)]
    if isinstance(instruction, Map):
        return [np.asarray(a) for a in instruction.ins]
    if isinstance(instruction, Take):
        return [np.asarray(instruction.table)]
    if isinstance(instruction, Scatter):
        return [np.asarray(instruction.values)]
    return [np.asarray(a) for a in (instruction.a, instruction.b) if a is not None]


def _common(labels: set[str | None]) -> str:
    """The label that all have, or the letters with which all of them start: h for h0, h1, h2."""
    if None in labels or not labels:
        return ""
    if len(labels) == 1:
        return str(labels.pop())
    stems = {str(label).rstrip("0123456789_,.[]() ") for label in labels}
    return stems.pop() if len(stems) == 1 else ""
