"""Adjoint: the chain rule, written out scalar by scalar on the tape.

The adjoint of an instruction is one n-ary sum over all paths that leave it (S1): for each reader, the reader's adjoint times
the local derivative.  The rule table gives the local derivatives, as instructions of their own.

The side of a ``where`` that was not chosen has no path to the result.  Both sides are computed here, so what lies on one
side only is *masked*: its contributions are chosen, not multiplied by zero, and a nan there never leaks.
"""

from __future__ import annotations

from micrograd.compile import tape as tapes
from micrograd.compile.emit import ConstantForm, OperandForm, ValueForm, derivative_forms
from micrograd.compile.simplify import _PRODUCT, DIV, Sums
from micrograd.compile.tape import AND, COMPARISONS, KINDS, LEAF, LESS, OR, SELECT, Tape
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
        # by instruction, what its readers sent: the adjoint of the reader, or its complement where it is to be subtracted,
        # and a derivative or -1 for one; apart what came from readers that each example has its own of
        self.sent: dict[int, list[int]] = {}
        self.sent_over: dict[int, list[int]] = {}
        self.masked = SELECT in tape.codes
        self.masks: dict[int, int | None] = {}  # when an instruction has a path to the result: None is always
        self.picks: dict[tuple[int, ...], list[int]] = {}  # by table: pairs (index, adjoint of what was picked)
        self.batched_picks: set[tuple[int, ...]] = set()
        self.tables: dict[int, list[tuple[tuple[int, ...], int]]] = {}  # by entry: (table, position in it)
        # the same the other way round: by the terms of scatters and the size of their table, adjoints by position
        self.scattered: dict[tuple[tuple[int, ...], int], dict[int, int]] = {}
        self.terms: dict[int, list[tuple[dict[int, int], int, int]]] = {}  # by term: (adjoints, size of the table, index)
        self.forms: dict[int, list[tuple[object, int]]] = {}  # by kind, for each operand: the derivative's form and kind
        self.zero = tape.constant(0.0)
        self.differing: dict[int, bool] = {}  # new masks: whether they differ between the examples of a batch
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
            self.sent[node] = [seed, -1]
            self.masks[node] = None
        codes, args, needed = self.tape.codes, self.tape.args, self.needed
        sent, sent_over, tables, terms = self.sent, self.sent_over, self.tables, self.terms
        for i in range(self.size - 1, -1, -1):
            if not needed[i] or not (i in sent or i in sent_over or i in tables or i in terms):
                continue
            total = self._total(i)
            if i in wanted:
                found[i] = total
            if codes[i] != LEAF:
                self._send(i, codes[i], args[i], total)
        return [found.get(node, self.zero) for node in self.wrt]

    # ---------------------------------------------------------------------------------------------------- gathering

    def _total(self, i: int) -> int:
        """The adjoint of an instruction: the sum of what its readers sent, over the examples too where they are batched."""
        pairs, over = self.sent.pop(i, _NOTHING), self.sent_over.pop(i, None)
        if (
            over is None and i not in self.tables and i not in self.terms and len(pairs) == 2 and pairs[0] >= 0
        ):  # most have one reader
            total, derivative = pairs
            return total if derivative < 0 else self._remember(self.sums.instruction(_PRODUCT, (total, derivative)), i)
        terms = _terms(pairs)
        for table, position in self.tables.pop(i, ()):
            reduced = table in self.batched_picks and not self.batched[i]
            picked = self.picks[table]
            node = self.tape.add(tapes.scatter(len(picked) // 2, reduced), tuple(picked))
            self.tape.positions[node] = position, len(table)
            self.tape.rank[node] = self.tape.rank.get(i, i)
            terms[2].append(node)
        for adjoints, size, index in self.terms.pop(i, ()):
            entries = [adjoints.get(position, self.zero) for position in range(size)]
            terms[2].append(self._new(tapes.take(size), (index, *entries)))
        if over is not None:
            summed = self.sums.emit(_terms(over), reduced=True)
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
            self._send_scatter(i, args, total, mask)
        elif what == "given":
            count = kind.shape[0]
            for operand, derivative in zip(args[1 : count + 1], args[count + 1 :], strict=True):
                self._contribute(i, operand, total, derivative, mask)
        elif code == DIV:
            self._send_quotient(i, args, total, mask)
        elif what == "apply":
            assert kind.op is not None
            forms = self.forms.get(code)
            if forms is None:
                forms = self.forms[code] = [
                    (form, tapes.partial(kind.op, j)) for j, form in enumerate(derivative_forms(kind.op))
                ]
            for j, (operand, form) in enumerate(zip(args, forms, strict=True)):
                if self.needed[operand]:
                    self._contribute(i, operand, total, self._derivative(*form, i, j, args, kind.op), mask)

    def _derivative(self, form: object, code: int, i: int, j: int, args: tuple[int, ...], op: Op) -> int:
        if isinstance(form, ValueForm):
            return i
        if isinstance(form, OperandForm):
            return args[form.index]
        if isinstance(form, ConstantForm):
            return self.tape.constant(form.number)
        if self.expanded:
            return self._written_out(op, j, args)
        node = self._new(code, (i,))
        self.tape.rank.setdefault(node, self.tape.rank.get(i, i))
        return node

    def _written_out(self, op: Op, j: int, args: tuple[int, ...]) -> int:
        """A local derivative as instructions of its own: the rule is run on symbols."""
        trace = Trace()
        trace.tape = self.tape
        _, derivatives = op.rule(SYMBOLS, *[trace.symbol(a) for a in args])
        return trace.nodes(op.name, (derivatives[j],))[0]

    def _send_dot(self, i: int, shape: tuple[int, ...], args: tuple[int, ...], total: int, mask: int | None) -> None:
        plus, minus, single, _, _ = shape
        products = 2 * (plus + minus)
        if self.masked or total == self.one:
            for k in range(products):
                self._contribute(i, args[k], total, args[k ^ 1], mask, k >= 2 * plus)
            for k in range(products, len(args)):
                self._contribute(i, args[k], total, self.one, mask, k >= products + single)
            return
        # the same in one loop, as most of a gradient's time goes here
        needed, batched, sent, sent_over = self.needed, self.batched, self.sent, self.sent_over
        own = batched[i]
        for k, operand in enumerate(args):
            if needed[operand]:
                if k < products:
                    pair = ~total if k >= 2 * plus else total, args[k ^ 1]
                else:
                    pair = ~total if k >= products + single else total, -1
                into = sent if not own or batched[operand] else sent_over
                if operand in into:
                    into[operand] += pair
                else:
                    into[operand] = [*pair]

    def _contribute(
        self, reader: int, operand: int, total: int, derivative: int, mask: int | None, negative: bool = False
    ) -> None:
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
            product = total if derivative < 0 else self._new(_PRODUCT, (total, derivative))
            total, derivative = self._new(SELECT, (mask, product, self.zero)), -1
        into = self.sent_over if self.batched[reader] and not self.batched[operand] else self.sent
        into.setdefault(operand, []).extend((~total if negative else total, derivative))

    def _reach(self, operand: int, mask: int | None) -> None:
        """Note a path from an operand to the result, which is there when ``mask`` holds."""
        if not self.masked:
            return
        if mask is not None and not self.batched[operand] and self._differs(mask):
            mask = self._any_example(mask)
        known = self.masks.setdefault(operand, mask)
        if known is not None and known != mask:
            self.masks[operand] = None if mask is None else self._mask(OR, known, mask)

    def _mask(self, code: int, *masks: int) -> int:
        """A mask made of others."""
        found = self._new(code, masks)
        self.differing[found] = any(map(self._differs, masks))
        return found

    def _differs(self, mask: int) -> bool:
        """Whether a mask differs between the examples of a batch."""
        return bool(self.batched[mask]) if mask < self.size else self.differing[mask]

    def _any_example(self, mask: int) -> int:
        """Whether a mask holds for any example: what all share has a path to the result then."""
        holds = self._new(tapes.dot(0, 0, 1, 0, reduced=True), (mask,))
        found = self._new(LESS, (self.zero, holds))
        self.differing[found] = False
        return found

    def _send_select(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        condition, a, b = args
        for side, chosen in ((a, condition), (b, None)):
            if self.needed[side]:
                when = chosen if chosen is not None else self._mask(tapes.NOT, condition)
                self._contribute(i, side, total, self.one, when if mask is None else self._mask(AND, mask, when))

    def _send_quotient(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        """``d(a/b)/da = 1/b`` and ``d(a/b)/db = -(a/b) * (1/b)``: one division serves all quotients by b."""
        a, b = args
        inverse = self._new(DIV, (self.one, b))
        self._contribute(i, a, total, inverse, mask)
        if self.needed[b]:
            slope = self._new(_PRODUCT, (i, inverse))
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

    def _send_scatter(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        """The adjoint of a term is that of the position which its index picks: an entry of the table of adjoints."""
        position, size = self.tape.positions[i]
        if (args, size) not in self.scattered:
            adjoints = self.scattered[args, size] = {}
            for index, term in zip(args[::2], args[1::2], strict=True):
                if self.needed[term]:
                    self.terms.setdefault(term, []).append((adjoints, size, index))
        self.scattered[args, size][position] = total
        for term in args[1::2]:
            if self.needed[term]:
                self._reach(term, mask)


_NOTHING: list[int] = []


def _terms(pairs: list[int]) -> list[list[int]]:
    """What was sent, as products and single terms of either sign."""
    terms: list[list[int]] = [[], [], [], []]
    for k in range(0, len(pairs), 2):
        total, derivative = pairs[k], pairs[k + 1]
        negative = total < 0
        if negative:
            total = ~total
        if derivative < 0:
            terms[2 + negative].append(total)
        else:
            terms[negative] += total, derivative
    return terms
