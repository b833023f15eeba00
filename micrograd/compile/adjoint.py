"""Adjoint: the chain rule, written out scalar by scalar on the tape.

The adjoint of an instruction is one n-ary sum over all paths that leave it (S1): for each reader, the reader's adjoint times
the local derivative.  The rule table gives the local derivatives, as instructions of their own.

The side of a ``where`` that was not chosen has no path to the result.  Both sides are computed here, so what lies on one
side only is *masked*: its contributions are chosen, not multiplied by zero, and a nan there never leaks.
"""

from __future__ import annotations

from micrograd.compile import tape as tapes
from micrograd.compile.emit import ConstantForm, OperandForm, ValueForm, derivative_forms
from micrograd.compile.simplify import DIV, Sums
from micrograd.compile.tape import AND, COMPARISONS, KINDS, LEAF, OR, SELECT, Tape
from micrograd.compile.trace import DETACH, SYMBOLS, Trace
from micrograd.ops import Op


def adjoint(tape: Tape, seeds: dict[int, int], wrt: list[int], expanded: bool = False) -> list[int]:
    """Append the adjoints of the instructions ``wrt`` to a tape, and give their positions.

    ``seeds`` maps an instruction to the one that holds its own adjoint, the derivative of the result by it.  ``expanded``
    writes local derivatives out by the rules, so that they can be differentiated again.
    """
    return _Sweep(tape, wrt, expanded).run(seeds)


class _Sweep:
    def __init__(self, tape: Tape, wrt: list[int], expanded: bool) -> None:
        self.expanded = expanded
        self.tape, self.wrt, self.size = tape, wrt, len(tape)
        tape.primal = self.size if tape.primal is None else tape.primal
        self.sums = Sums(tape)
        self.batched = tape.batched()
        self.needed = self._needed()
        # by instruction, what its readers sent: pairs (adjoint of the reader, derivative or -1 for one) to be added, to be
        # subtracted, and both once more for readers that each example has its own of
        self.sent: dict[int, tuple[list[int], list[int], list[int], list[int]]] = {}
        self.masks: dict[int, int | None] = {}  # when an instruction has a path to the result: None is always
        self.picks: dict[tuple[int, ...], list[int]] = {}  # by table: pairs (index, adjoint of what was picked)
        self.batched_picks: set[tuple[int, ...]] = set()
        self.tables: dict[int, list[tuple[tuple[int, ...], int]]] = {}  # by entry: (table, position in it)
        self.zero = tape.constant(0.0)
        self.one = tape.constant(1.0)

    def _needed(self) -> bytearray:
        """Which instructions depend on what the gradient is asked for."""
        needed = bytearray(self.size)
        for node in self.wrt:
            needed[node] = 1
        for i, (code, args) in enumerate(zip(self.tape.codes, self.tape.args, strict=True)):
            if args and code not in COMPARISONS and code != DETACH:
                for a in args:
                    if needed[a]:
                        needed[i] = 1
                        break
        return needed

    def run(self, seeds: dict[int, int]) -> list[int]:
        wanted = set(self.wrt)
        found: dict[int, int] = {}
        for node, seed in seeds.items():
            self.sent[node] = ([seed, -1], [], [], [])
            self.masks[node] = None
        for i in range(self.size - 1, -1, -1):
            if not self.needed[i] or (i not in self.sent and i not in self.tables):
                continue
            total = self._total(i)
            if i in wanted:
                found[i] = total
            code = self.tape.codes[i]
            if code != LEAF:
                self._send(i, code, self.tape.args[i], total)
        return [found.get(node, self.zero) for node in self.wrt]

    # ---------------------------------------------------------------------------------------------------- gathering

    def _total(self, i: int) -> int:
        """The adjoint of an instruction: the sum of what its readers sent, over the examples too where they are batched."""
        plus, minus, over_plus, over_minus = self.sent.pop(i, ([], [], [], []))
        terms, over = _terms(plus, minus), _terms(over_plus, over_minus)
        for table, position in self.tables.pop(i, ()):
            reduced = table in self.batched_picks and not self.batched[i]
            pairs = self.picks[table]
            node = self.tape.add(tapes.scatter(len(pairs) // 2, reduced), tuple(pairs))
            self.tape.positions[node] = position, len(table)
            self.tape.rank[node] = self.tape.rank.get(i, i)
            terms[2].append(node)
        if any(over):
            summed = self.sums.emit(over, reduced=True)
            self._remember(summed, i)
            if not any(terms):
                return summed
            terms[2].append(summed)
        return self._remember(self.sums.emit(terms), i)

    def _remember(self, node: int, i: int) -> int:
        """Lay the adjoint out like what it belongs to."""
        if node >= self.size:
            self.tape.rank.setdefault(node, self.tape.rank.get(i, i))
        return node

    def _new(self, code: int, args: tuple[int, ...]) -> int:
        return self.sums.instruction(code, args)

    # ------------------------------------------------------------------------------------------------------ sending

    def _send(self, i: int, code: int, args: tuple[int, ...], total: int) -> None:
        kind = KINDS[code]
        what, mask = kind.key[0], self.masks.pop(i, None)
        if what == "dot":
            self._send_dot(i, kind.shape, args, total, mask)
        elif code == SELECT:
            self._send_select(i, args, total, mask)
        elif what == "take":
            self._send_take(i, args, total, mask)
        elif what == "scatter":
            raise NotImplementedError("hvp through take: the Hessian of what an index picked is not written yet")
        elif what == "given":
            count = kind.shape[0]
            for operand, derivative in zip(args[1 : count + 1], args[count + 1 :], strict=True):
                self._contribute(i, operand, total, derivative, mask)
        elif code == DIV:
            self._send_quotient(i, args, total, mask)
        elif what == "apply":
            assert kind.op is not None
            for j, (operand, form) in enumerate(zip(args, derivative_forms(kind.op), strict=True)):
                if self.needed[operand]:
                    self._contribute(i, operand, total, self._derivative(form, i, j, args, kind), mask)

    def _derivative(self, form: object, i: int, j: int, args: tuple[int, ...], kind: tapes.Kind) -> int:
        if isinstance(form, ValueForm):
            return i
        if isinstance(form, OperandForm):
            return args[form.index]
        if isinstance(form, ConstantForm):
            return self.tape.constant(form.number)
        assert kind.op is not None
        if self.expanded:
            return self._written_out(kind.op, j, args)
        node = self._new(tapes.partial(kind.op, j), (i,))
        self.tape.rank.setdefault(node, self.tape.rank.get(i, i))
        return node

    def _written_out(self, op: Op, j: int, args: tuple[int, ...]) -> int:
        """A local derivative as instructions of its own: the rule is run on symbols."""
        trace = Trace()
        trace.tape = self.tape
        _, derivatives = op.rule(SYMBOLS, *[trace.symbol(a) for a in args])
        return trace.nodes(op.name, (derivatives[j],))[0]

    def _send_dot(self, i: int, shape: tuple[int, ...], args: tuple[int, ...], total: int, mask: int | None) -> None:
        plus, minus, single, negative, _ = shape
        needed = self.needed
        products = 2 * (plus + minus)
        for k in range(0, products, 2):
            a, b = args[k], args[k + 1]
            sign = k >= 2 * plus
            if needed[a]:
                self._contribute(i, a, total, b, mask, sign)
            if needed[b]:
                self._contribute(i, b, total, a, mask, sign)
        for k in range(products, products + single + negative):
            if needed[args[k]]:
                self._contribute(i, args[k], total, self.one, mask, k >= products + single)

    def _contribute(self, reader: int, operand: int, total: int, derivative: int, mask: int | None, negative: bool = False) -> None:
        """Add adjoint times derivative to what an operand has received."""
        if not self.needed[operand]:
            return
        self._reach(operand, mask)
        number = self.tape.constants.get(derivative)
        if number == -1.0:
            negative, derivative = not negative, -1
        elif number == 1.0:
            derivative = -1
        elif total == self.one:
            total, derivative = derivative, -1
        if mask is not None:
            product = total if derivative < 0 else self._new(tapes.dot(1, 0, 0, 0), (total, derivative))
            total, derivative = self._new(SELECT, (mask, product, self.zero)), -1
        sent = self.sent.get(operand)
        if sent is None:
            sent = self.sent[operand] = ([], [], [], [])
        over = 2 if self.batched[reader] and not self.batched[operand] else 0
        sent[over + negative].extend((total, derivative))

    def _reach(self, operand: int, mask: int | None) -> None:
        """Note a path from an operand to the result, which is there when ``mask`` holds."""
        known = self.masks.setdefault(operand, mask)
        if known is not None and known != mask:
            self.masks[operand] = None if mask is None else self._new(OR, (known, mask))

    def _send_select(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        condition, a, b = args
        for side, chosen in ((a, condition), (b, None)):
            if self.needed[side]:
                when = chosen if chosen is not None else self._new(tapes.NOT, (condition,))
                self._contribute(i, side, total, self.one, when if mask is None else self._new(AND, (mask, when)))

    def _send_quotient(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        """``d(a/b)/da = 1/b`` and ``d(a/b)/db = -(a/b) * (1/b)``: one division serves all quotients by b."""
        a, b = args
        inverse = self._new(DIV, (self.one, b))
        self._contribute(i, a, total, inverse, mask)
        if self.needed[b]:
            slope = self._new(tapes.dot(1, 0, 0, 0), (i, inverse))
            self.tape.rank.setdefault(slope, self.tape.rank.get(i, i))
            self._contribute(i, b, total, slope, mask, negative=True)

    def _send_take(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        index, *entries = args
        table = tuple(entries)
        if table not in self.picks:
            self.picks[table] = []
            for position, entry in enumerate(table):
                if self.needed[entry]:
                    self.tables.setdefault(entry, []).append((table, position))
        if self.batched[i]:
            self.batched_picks.add(table)
        for entry in table:
            if self.needed[entry]:
                self._reach(entry, mask)
        self.picks[table] += (index, total)


def _terms(plus: list[int], minus: list[int]) -> list[list[int]]:
    """Pairs (adjoint, derivative or -1 for one) as products and single terms of either sign."""
    terms: list[list[int]] = [[], [], [], []]
    for sign, pairs in ((0, plus), (1, minus)):
        for k in range(0, len(pairs), 2):
            if pairs[k + 1] < 0:
                terms[2 + sign].append(pairs[k])
            else:
                terms[sign] += pairs[k : k + 2]
    return terms
