"""Simplify: common subexpressions once, constants folded, dead code dropped, sums of products flattened to n-ary dots.

``a*b + c*d - e`` is one instruction ``dot[2, 0, 0, 1]``: a sum or a product that one other sum alone reads is part of it.
So a weighted sum is one instruction, however it was written: left to right, by ``sum()``, reversed or by ``dot``.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable
from itertools import chain

import numpy as np

from micrograd import ops
from micrograd.compile import tape as tapes
from micrograd.compile.tape import ADD, CONST, DOT, KINDS, LEAF, MEAN, MUL, NEG, SUB, SUM, Tape
from micrograd.compile.trace import DETACH
from micrograd.ops import FLOATS

SQUARE = tapes.apply(ops.power.bind(exponent=2.0))
DIV = tapes.apply(ops.div)
MAXIMUM = tapes.apply(ops.maximum)
_SUMS = frozenset({ADD, SUB, NEG, SUM, DOT})
_PRODUCT = tapes.dot(1, 0, 0, 0)
_PLUS, _MINUS = -1, -2
Terms = list[list[int]]  # products of plus sign as pairs, of minus sign, single terms of plus sign, of minus sign


def simplify(tape: Tape) -> Tape:
    """The same program in fewer instructions.  Leaves keep their origins, outputs their order."""
    return _flatten(_fold(tape))


def _fold(tape: Tape) -> Tape:
    """Without dead code, with each expression once and with what is known computed."""
    live = live_nodes(tape)
    new = tape.like()
    position = [0] * len(tape)
    memo: defaultdict[int, dict[tuple[int, ...], int]] = defaultdict(dict)  # by kind and operands
    constants, codes, args, labels, positions = new.constants, new.codes, new.args, tape.labels, tape.positions
    key: tuple[int, ...]
    mapped: tuple[int, ...]
    for i, (code, operands) in enumerate(zip(tape.codes, tape.args, strict=True)):
        if not live[i]:
            continue
        if i in positions:
            mapped = tuple([position[a] for a in operands])
            key = (*mapped, *positions[i])
        elif len(operands) == 2:  # most are so
            a, b = operands
            key = mapped = position[a], position[b]
        elif operands:
            key = mapped = tuple([position[a] for a in operands])
        else:
            position[i] = tape.copy_leaf(new, i) if code in (LEAF, CONST) else new.constant(_known(code, ()))
            continue
        known = memo[code]
        found = known.get(key)
        if found is None:
            if mapped[0] in constants and KINDS[code].key[0] == "apply" and all(a in constants for a in mapped):
                found = new.constant(_known(code, tuple([constants[a] for a in mapped])))
            else:
                found = len(codes)
                codes.append(code)
                args.append(mapped)
                if i in positions:
                    new.positions[found] = positions[i]
            known[key] = found
        position[i] = found
        if i in labels:
            new.labels.setdefault(found, labels[i])
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
    """Sums of products as instructions of a tape, each once."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self._memo: defaultdict[int, dict[tuple[int, ...], int]] = defaultdict(dict)

    def emit(self, terms: Terms, reduced: bool = False) -> int:
        """The instruction of a sum of products; a sum of one term is that term."""
        plus, minus, single, negative = terms
        if negative:
            negative = [a for a in negative if self.tape.constants.get(a) != 0.0] or (
                [] if plus or minus or single else negative
            )
        if single:
            single = self._numbers(single, bool(plus or minus or negative))
            if not reduced and len(single) == 1 and not (plus or minus or negative):
                return single[0]
        if not (plus or minus or single or negative):
            return self.tape.constant(0.0)
        code = tapes.dot(len(plus) // 2, len(minus) // 2, len(single), len(negative), reduced)
        return self.instruction(code, (*plus, *minus, *single, *negative))

    def instruction(self, code: int, args: tuple[int, ...]) -> int:
        """The instruction of this kind on these operands, one for all who ask for it."""
        known = self._memo[code]
        found = known.get(args)
        if found is None:
            found = known[args] = self.tape.add(code, args)
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
    return _Flattening(tape).run()


class _Flattening:
    """Sums and products as n-ary dots.

    A sum or a product that one other instruction reads waits until it is known what reads it: another sum gathers all that
    waits below it, anything else has it written.  Maxima wait too: of those that only ``detach`` sees one is made.
    """

    def __init__(self, tape: Tape) -> None:
        self.tape, self.new = tape, tape.like()
        self.sums = Sums(self.new)
        self.position = [-1] * len(tape)  # in the new tape; of what waits -1
        # those that wait: both factors, the first one's complement for minus their product; or one and _PLUS or _MINUS
        self.products: dict[int, tuple[int, int]] = {}
        self.units: dict[int, int] = {}  # the constants 1 and -1 of the new tape
        self.negations: dict[int, int] = {}  # those that one other instruction reads: what they negate
        self.largest: set[int] = set()  # maxima that wait

    def run(self) -> Tape:
        tape, position, products, units, largest = self.tape, self.position, self.products, self.units, self.largest
        constants, negations = self.new.constants, self.negations
        uses = _uses(tape)
        for i, (code, args) in enumerate(zip(tape.codes, tape.args, strict=True)):
            if code == MUL:
                a, b = args
                if negations and (a in negations or b in negations):
                    products[i] = self.signed_product(a, b)
                else:
                    x, y = position[a], position[b]
                    if x < 0:
                        x = self.written(a)
                    if y < 0:
                        y = self.written(b)
                    products[i] = (x, y) if x not in units and y not in units else self.product(x, y)
            elif code in _SUMS:
                if largest or code == DOT:
                    for a in args[:-1] if code == DOT else args:
                        if a in largest or code == DOT:
                            self.written(negations.get(a, a))
                if code == NEG and uses[i] == 1:
                    negations[i] = args[0]
            elif code == SQUARE:
                products[i] = self.product(self.written(args[0]), self.written(args[0]))
            elif code == DIV and (inverse := _exact_inverse(constants.get(self.written(args[1])))):
                products[i] = self.written(args[0]), self.new.constant(inverse)
            elif code == MEAN:
                total = self.sums.emit(self.gathered(args))
                inverse = _exact_inverse(float(len(args)))
                if inverse:
                    products[i] = total, self.new.constant(inverse)
                else:
                    self.place(i, self.sums.instruction(DIV, (total, self.new.constant(float(len(args))))))
                    continue
            elif code == MAXIMUM and uses[i] == 1:
                largest.add(i)
                for a in args:
                    if a not in largest:
                        self.written(a)
            elif code == DETACH and args[0] in largest:
                inner, operands = self.maxima(args[0])
                largest.difference_update(inner)
                kind = tapes.largest(len(operands)) if len(operands) > 2 else MAXIMUM
                top = self.sums.instruction(kind, tuple([position[a] for a in operands]))
                self.place(i, self.sums.instruction(DETACH, (top,)))
                continue
            elif i in tape.positions:
                node = self.new.add(code, tuple([self.written(a) for a in args]))
                self.new.positions[node] = tape.positions[i]
                self.place(i, node)
                continue
            elif args:
                self.place(i, self.sums.instruction(code, tuple([self.written(a) for a in args])))
                continue
            else:
                node = tape.copy_leaf(self.new, i)
                self.place(i, node)
                if constants.get(node) in (1.0, -1.0):
                    units[node] = _PLUS if constants[node] == 1.0 else _MINUS
                continue
            if uses[i] != 1:
                self.written(i)
        self.new.outputs = [self.written(out) for out in tape.outputs]
        return self.new

    def place(self, i: int, node: int) -> None:
        """Note where an instruction is in the new tape, which is laid out in the order of the user's code."""
        self.position[i] = node
        self.new.rank.setdefault(node, i)
        if self.tape.labels and i in self.tape.labels:
            self.new.labels.setdefault(node, self.tape.labels[i])

    def written(self, i: int) -> int:
        """The instruction in the new tape; what waited is written now."""
        if self.position[i] < 0:
            if i in self.largest:
                self.write_maxima(i)
            elif i in self.products and min(self.products[i]) >= 0:
                self.place(i, self.sums.instruction(_PRODUCT, self.products.pop(i)))
            else:
                self.place(i, self.sums.emit(self.gathered((i,))))
        return self.position[i]

    def gathered(self, operands: Iterable[int]) -> Terms:
        """The terms of a sum of these, left to right: what waits is taken apart."""
        codes, args, position, products = self.tape.codes, self.tape.args, self.position, self.products
        terms: Terms = [[], [], [], []]
        stack = list(operands)[::-1]  # of those to be subtracted the complement
        while stack:
            i = stack.pop()
            negated = i < 0
            if negated:
                i = ~i
            node = self.written(i) if i in self.largest else position[i]
            if node >= 0:
                terms[2 + negated].append(node)
                continue
            pair = products.pop(i, None)
            if pair is not None:
                if pair[0] >= 0 and pair[1] >= 0:
                    terms[negated] += pair
                else:
                    self.add(pair, negated, terms)
                continue
            code = codes[i]
            if code == DOT:
                n = len(args[i]) // 2
                for w, x in zip(args[i][:n], args[i][n:-1], strict=True):
                    self.add(self.signed_product(w, x), negated, terms)
                inner = args[i][-1:]
            else:
                inner = args[i][::-1]
            if code in (SUB, NEG):
                inner = (~inner[0], *inner[1:])
            stack += [~a for a in inner] if negated else inner
        return terms

    def add(self, pair: tuple[int, int], negated: bool, terms: Terms) -> None:
        a, b = pair
        if a < 0:
            terms[not negated] += ~a, b
        elif b >= 0:
            terms[negated] += pair
        else:
            terms[2 + (negated != (b == _MINUS))].append(a)

    def product(self, a: int, b: int) -> tuple[int, int]:
        """The factors of a product; of one with 1 or -1 the other and which of the two it was."""
        if a in self.units:
            return b, self.units[a]
        return (a, self.units[b]) if b in self.units else (a, b)

    def signed_product(self, a: int, b: int) -> tuple[int, int]:
        """The factors of a product where one or both may be negations: the first one's complement means minus."""
        minus = (a in self.negations) != (b in self.negations)
        x, y = self.product(self.written(self.negations.get(a, a)), self.written(self.negations.get(b, b)))
        if not minus:
            return x, y
        return (~x, y) if y >= 0 else (x, _PLUS if y == _MINUS else _MINUS)

    def maxima(self, i: int) -> tuple[list[int], list[int]]:
        """The maxima that wait below one, and what they are the maxima of, left to right."""
        inner, operands, stack = [], [], [i]
        while stack:
            j = stack.pop()
            if j in self.largest:
                inner.append(j)
                stack += reversed(self.tape.args[j])
            else:
                operands.append(j)
        return inner, operands

    def write_maxima(self, i: int) -> None:
        """Write a maximum that waited, with those below it, as they were recorded."""
        inner = sorted(self.maxima(i)[0])
        self.largest.difference_update(inner)
        for j in inner:
            a, b = self.tape.args[j]
            self.place(j, self.sums.instruction(MAXIMUM, (self.position[a], self.position[b])))


def _exact_inverse(divisor: float | None) -> float | None:
    """One over a power of two: the product with it is the quotient, bit for bit."""
    if divisor is None or not 2.0**-500 < divisor < 2.0**500 or math.frexp(divisor)[0] != 0.5 or divisor == 1.0:
        return None
    return 1.0 / divisor


def _uses(tape: Tape) -> list[int]:
    """How often each instruction is read; an output or a labelled one counts as read more than once, so that it stays."""
    uses = np.bincount(np.fromiter(chain.from_iterable(tape.args), np.int64), minlength=len(tape))
    for stays in (list(tape.outputs), list(tape.labels)):
        np.add.at(uses, stays, 2)
    return uses.tolist()  # type: ignore[no-any-return]
