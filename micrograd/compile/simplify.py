"""Simplify: common subexpressions once, constants folded, dead code dropped, sums of products flattened to n-ary dots.

``a*b + c*d - e`` is one instruction ``dot[2, 0, 0, 1]``: a sum or a product that only one other sum reads becomes part of it.
So a weighted sum is one instruction, however it was written: left to right, by ``sum()``, reversed or by ``dot``.
"""

from __future__ import annotations

import math

from micrograd import ops
from micrograd.compile import tape as tapes
from micrograd.compile.tape import ADD, CONST, DOT, KINDS, LARGEST, LEAF, MEAN, MUL, NEG, SUB, SUM, Tape
from micrograd.compile.trace import DETACH
from micrograd.ops import FLOATS

SQUARE = tapes.apply(ops.power.bind(exponent=2.0))
DIV = tapes.apply(ops.div)
MAXIMUM = tapes.apply(ops.maximum)
Terms = list[list[int]]  # products of plus sign as pairs, of minus sign, single terms of plus sign, of minus sign


def simplify(tape: Tape) -> Tape:
    """The same program in fewer instructions.  Leaves keep their origins, outputs their order."""
    return _flatten(_fold(tape))


def _fold(tape: Tape) -> Tape:
    """Without dead code, with each expression once and with what is known computed."""
    live = live_nodes(tape)
    new = tape.like()
    position = [0] * len(tape)
    memo: dict[tuple[int, ...], int] = {}
    constants = new.constants
    for i, code in enumerate(tape.codes):
        if not live[i]:
            continue
        args = tape.args[i]
        if not args:
            position[i] = tape.copy_leaf(new, i) if code in (LEAF, CONST) else new.constant(_known(code, ()))
            continue
        key = (code, *[position[a] for a in args], *tape.positions.get(i, ()))
        found = memo.get(key)
        if found is None:
            mapped = key[1 : len(args) + 1]
            if mapped[0] in constants and KINDS[code].key[0] == "apply" and all([a in constants for a in mapped]):
                found = new.constant(_known(code, tuple([constants[a] for a in mapped])))
            else:
                found = new.add(code, mapped)
                if i in tape.positions:
                    new.positions[found] = tape.positions[i]
            memo[key] = found
        position[i] = found
        if i in tape.labels:
            new.labels.setdefault(found, tape.labels[i])
    new.outputs = [position[out] for out in tape.outputs]
    return new


def live_nodes(tape: Tape) -> bytearray:
    """Which instructions the outputs depend on."""
    live = bytearray(len(tape))
    for out in tape.outputs:
        live[out] = 1
    args = tape.args
    for i in range(len(tape) - 1, -1, -1):
        if live[i]:
            for a in args[i]:
                live[a] = 1
    return live


def _known(code: int, numbers: tuple[float, ...]) -> float:
    op = KINDS[code].op
    assert op is not None
    return float(op.rule(FLOATS, *numbers)[0])


class Sums:
    """The instructions of a new tape, where sums and products wait until something other than a sum reads them."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._memo: dict[tuple[int, tuple[int, ...]], int] = {}

    def emit(self, terms: Terms, reduced: bool = False) -> int:
        """The instruction of a sum of products; a sum of one term is that term."""
        plus, minus, single, negative = terms
        single = self._numbers(single, bool(plus or minus or negative))
        if not reduced and len(single) == 1 and not (plus or minus or negative):
            return single[0]
        if not (plus or minus or single or negative):
            return self.tape.constant(0.0)
        code = tapes.dot(len(plus) // 2, len(minus) // 2, len(single), len(negative), reduced)
        return self.instruction(code, (*plus, *minus, *single, *negative))

    def instruction(self, code: int, args: tuple[int, ...]) -> int:
        """The instruction of this kind on these operands, one for all who ask for it."""
        key = (code, args)
        found = self._memo.get(key)
        if found is None:
            found = self._memo[key] = self.tape.add(code, args)
        return found

    def _numbers(self, single: list[int], others: bool) -> list[int]:
        """The single terms with their constants added up, and without zeros where there are other terms."""
        constants = self.tape.constants
        known = [constants[a] for a in single if a in constants]
        if not known or (len(single) == 1 and not others):
            return single
        total = 0.0
        for number in known:
            total += number
        rest = [a for a in single if a not in constants]
        return rest if total == 0.0 and (rest or others) else [*rest, self.tape.constant(total)]


def _flatten(tape: Tape) -> Tape:
    """Sums and products as n-ary dots."""
    new = tape.like()
    sums = Sums(new)
    uses = _uses(tape)
    position = [-1] * len(tape)
    waiting: dict[int, Terms] = {}
    largest: set[int] = set()  # maxima that one other instruction reads: of those that only detach sees one is made

    rank = new.rank  # laid out in the order of the user's code, not in that in which sums happen to be written

    def final(i: int) -> int:
        """The instruction in the new tape; a sum that waited is written now."""
        if i in waiting:
            position[i] = sums.emit(waiting.pop(i))
            rank.setdefault(position[i], i)
        elif i in largest:
            write_maxima(i)
        return position[i]

    def maxima(i: int) -> tuple[list[int], list[int]]:
        """The maxima that wait below one, and what they are the maxima of, left to right."""
        inner, operands, stack = [], [], [i]
        while stack:
            j = stack.pop()
            if j in largest:
                inner.append(j)
                stack += reversed(tape.args[j])
            else:
                operands.append(j)
        return inner, operands

    def write_maxima(i: int) -> None:
        """Write a maximum that waited, with those below it, as they were recorded."""
        inner = sorted(maxima(i)[0])
        largest.difference_update(inner)
        for j in inner:
            position[j] = sums.instruction(MAXIMUM, (final(tape.args[j][0]), final(tape.args[j][1])))
            rank.setdefault(position[j], j)

    def terms_of(i: int) -> Terms:
        """The terms of an operand of a sum: its own if it waited, else itself as a single one."""
        return waiting.pop(i) if i in waiting else [[], [], [final(i)], []]

    def added(left: Terms, right: Terms) -> Terms:
        for into, terms in zip(left, right, strict=True):
            into += terms
        return left

    def product(i: int, j: int) -> Terms:
        a, b = final(i), final(j)
        for x, y in ((a, b), (b, a)):
            if x in new.constants and new.constants[x] in (1.0, -1.0):
                return [[], [], [y], []] if new.constants[x] == 1.0 else [[], [], [], [y]]
        return [[a, b], [], [], []]

    for i, (code, args) in enumerate(zip(tape.codes, tape.args, strict=True)):
        if code == ADD or code == SUB:
            left, right = terms_of(args[0]), terms_of(args[1])
            if code == SUB:
                right = [right[1], right[0], right[3], right[2]]
            longer = len(right[0]) + len(right[2]) > len(left[0]) + len(left[2])
            terms = added(right, left) if longer else added(left, right)
        elif code == MUL:
            terms = product(*args)
        elif code == NEG:
            terms = terms_of(args[0])
            terms = [terms[1], terms[0], terms[3], terms[2]]
        elif code == SUM:
            terms = terms_of(args[0])
            for a in args[1:]:
                added(terms, terms_of(a))
        elif code == DOT:
            n = len(args) // 2
            terms = terms_of(args[-1])
            for w, x in zip(args[:n], args[n:-1], strict=True):
                added(terms, product(w, x))
        elif code == SQUARE:
            terms = product(args[0], args[0])
        elif code == DIV and (inverse := _exact_inverse(new.constants.get(final(args[1])))):
            terms = [[final(args[0]), new.constant(inverse)], [], [], []]
        elif code == MEAN:
            total: Terms = [[], [], [], []]
            for a in args:
                added(total, terms_of(a))
            inverse = _exact_inverse(float(len(args)))
            if not inverse:
                position[i] = sums.instruction(DIV, (sums.emit(total), new.constant(float(len(args)))))
                rank.setdefault(position[i], i)
                _label(tape, new, i, position[i])
                continue
            terms = [[sums.emit(total), new.constant(inverse)], [], [], []]
        elif code == MAXIMUM and uses[i] == 1:
            largest.add(i)
            continue
        elif code == DETACH and args[0] in largest:
            inner, operands = maxima(args[0])
            largest.difference_update(inner)
            position[i] = sums.instruction(DETACH, (sums.instruction(LARGEST, tuple([final(a) for a in operands])),))
            rank.setdefault(position[i], i)
            continue
        else:
            position[i] = tape.copy_leaf(new, i) if not args else sums.instruction(code, tuple([final(a) for a in args]))
            rank.setdefault(position[i], i)
            _label(tape, new, i, position[i])
            continue
        if uses[i] == 1:
            waiting[i] = terms
        else:
            position[i] = sums.emit(terms)
            rank.setdefault(position[i], i)
            _label(tape, new, i, position[i])
    new.outputs = [final(out) for out in tape.outputs]
    return new


def _exact_inverse(divisor: float | None) -> float | None:
    """One over a power of two: the product with it is the quotient, bit for bit."""
    if divisor is None or not 2.0**-500 < divisor < 2.0**500 or math.frexp(divisor)[0] != 0.5 or divisor == 1.0:
        return None
    return 1.0 / divisor


def _label(old: Tape, new: Tape, i: int, node: int) -> None:
    if i in old.labels:
        new.labels.setdefault(node, old.labels[i])


def _uses(tape: Tape) -> list[int]:
    """How often each instruction is read; an output or a labelled one counts as read more than once, so that it stays."""
    uses = [0] * len(tape)
    for args in tape.args:
        for a in args:
            uses[a] += 1
    for out in tape.outputs:
        uses[out] += 2
    for labelled in tape.labels:
        uses[labelled] += 2
    return uses
