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
from micrograd.compile.trace import DETACH


def adjoint(tape: Tape, seeds: dict[int, int], wrt: list[int]) -> tuple[Tape, list[int]]:
    """The tape with the adjoints of the instructions ``wrt`` appended, and where they are.

    ``seeds`` maps an instruction to the one that holds its own adjoint, the derivative of the result by it.
    """
    sweep = _Sweep(tape, wrt)
    return tape, sweep.run(seeds)


class _Sweep:
    def __init__(self, tape: Tape, wrt: list[int]) -> None:
        self.tape, self.wrt, self.size = tape, wrt, len(tape)
        tape.primal = self.size if tape.primal is None else tape.primal
        self.sums = Sums(tape)
        self.batched = tape.batched()
        self.needed = self._needed()
        self.plus: dict[int, list[int]] = {}  # by instruction: pairs (adjoint of a reader, derivative or -1 for one)
        self.minus: dict[int, list[int]] = {}
        self.masks: dict[int, int | None] = {}  # when an instruction has a path to the result: None is always
        self.picks: dict[tuple[int, ...], list[int]] = {}  # by table: pairs (index, adjoint of what was picked)
        self.tables: dict[int, list[tuple[tuple[int, ...], int]]] = {}  # by entry: (table, position in it)
        self.zero = tape.constant(0.0)
        self.one = tape.constant(1.0)
        self.flags: dict[int, int] = {}  # whether a new instruction is batched

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
            self.plus.setdefault(node, []).extend((seed, -1))
            self.masks[node] = None
        for i in range(self.size - 1, -1, -1):
            if not self.needed[i] or (i not in self.plus and i not in self.minus and i not in self.tables):
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
        """The adjoint of an instruction: the sum of what its readers sent."""
        plus, minus = self.plus.pop(i, []), self.minus.pop(i, [])
        terms: list[list[int]] = [[], [], [], []]
        for sign, pairs in ((0, plus), (1, minus)):
            for k in range(0, len(pairs), 2):
                a, b = pairs[k], pairs[k + 1]
                if b < 0:
                    terms[2 + sign].append(a)
                else:
                    terms[sign] += (a, b)
        reduced = not self.batched[i] and any(self._is_batched(a) for part in terms for a in part)
        for table, position in self.tables.pop(i, ()):
            pairs = self.picks[table]
            over = not self.batched[i] and any(self._is_batched(a) for a in pairs)
            node = self.tape.add(tapes.scatter(len(pairs) // 2, over), tuple(pairs))
            self.tape.positions[node] = position, len(table)
            self.flags[node] = int(not over and any(map(self._is_batched, pairs)))
            self.tape.rank[node] = self.tape.rank.get(i, i)
            terms[2].append(node)
        if reduced:
            return self._reduced(terms, i)
        total = self.sums.emit(terms)
        return self._remember(total, i)

    def _reduced(self, terms: list[list[int]], i: int) -> int:
        """A sum over the examples too, of those terms that differ between them."""
        parts: tuple[list[list[int]], list[list[int]]] = ([[], [], [], []], [[], [], [], []])
        for sign in (0, 1):
            for k in range(0, len(terms[sign]), 2):
                pair = terms[sign][k : k + 2]
                parts[any(map(self._is_batched, pair))][sign].extend(pair)
            for a in terms[2 + sign]:
                parts[self._is_batched(a)][2 + sign].append(a)
        shared, batched = parts
        over = self.sums.emit(batched, reduced=True)
        self.flags[over] = 0
        if any(shared):
            self._remember(over, i)
            shared[2].append(over)
            over = self.sums.emit(shared)
        return self._remember(over, i)

    def _remember(self, node: int, i: int) -> int:
        """Lay the adjoint out like what it belongs to."""
        if node >= self.size:
            self.tape.rank.setdefault(node, self.tape.rank.get(i, i))
            if node not in self.flags:
                self.flags[node] = int(any(map(self._is_batched, self.tape.args[node])))
        return node

    def _is_batched(self, node: int) -> bool:
        if node < self.size:
            return bool(self.batched[node])
        if node not in self.flags:
            self.flags[node] = int(any(map(self._is_batched, self.tape.args[node])))
        return bool(self.flags[node])

    def _new(self, code: int, args: tuple[int, ...], inherits: bool = True) -> int:
        node = self.sums.instruction(code, args)
        if node >= self.size:
            self.flags[node] = int(inherits and any(map(self._is_batched, args)))
        return node

    # ------------------------------------------------------------------------------------------------------ sending

    def _send(self, i: int, code: int, args: tuple[int, ...], total: int) -> None:
        kind = KINDS[code]
        what, mask = kind.key[0], self.masks.pop(i, None)
        if what == "dot":
            self._send_dot(kind.shape, args, total, mask)
        elif code == SELECT:
            self._send_select(args, total, mask)
        elif what == "take":
            self._send_take(args, total, mask)
        elif what == "given":
            count = kind.shape[0]
            for operand, derivative in zip(args[1 : count + 1], args[count + 1 :], strict=True):
                self._contribute(operand, total, derivative, mask)
        elif code == DIV:
            self._send_quotient(i, args, total, mask)
        elif what == "apply":
            assert kind.op is not None
            for j, (operand, form) in enumerate(zip(args, derivative_forms(kind.op), strict=True)):
                if self.needed[operand]:
                    self._contribute(operand, total, self._derivative(form, i, j, args, kind), mask)

    def _derivative(self, form: object, i: int, j: int, args: tuple[int, ...], kind: tapes.Kind) -> int:
        if isinstance(form, ValueForm):
            return i
        if isinstance(form, OperandForm):
            return args[form.index]
        if isinstance(form, ConstantForm):
            return self.tape.constant(form.number)
        assert kind.op is not None
        node = self._new(tapes.partial(kind.op, j), (i,))
        self.tape.rank.setdefault(node, self.tape.rank.get(i, i))
        return node

    def _send_dot(self, shape: tuple[int, ...], args: tuple[int, ...], total: int, mask: int | None) -> None:
        plus, minus, single, negative, _ = shape
        needed = self.needed
        products = 2 * (plus + minus)
        for k in range(0, products, 2):
            a, b = args[k], args[k + 1]
            sign = k >= 2 * plus
            if needed[a]:
                self._contribute(a, total, b, mask, sign)
            if needed[b]:
                self._contribute(b, total, a, mask, sign)
        for k in range(products, products + single + negative):
            if needed[args[k]]:
                self._contribute(args[k], total, self.one, mask, k >= products + single)

    def _contribute(self, operand: int, total: int, derivative: int, mask: int | None, negative: bool = False) -> None:
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
        self._bucket(operand, negative).extend((total, derivative))

    def _reach(self, operand: int, mask: int | None) -> None:
        """Note a path from an operand to the result, which is there when ``mask`` holds."""
        known = self.masks.setdefault(operand, mask)
        if known is not None and known != mask:
            self.masks[operand] = None if mask is None else self._new(OR, (known, mask))

    def _bucket(self, operand: int, negative: bool) -> list[int]:
        side = self.minus if negative else self.plus
        pairs = side.get(operand)
        if pairs is None:
            pairs = side[operand] = []
        return pairs

    def _send_select(self, args: tuple[int, ...], total: int, mask: int | None) -> None:
        condition, a, b = args
        for side, chosen in ((a, condition), (b, None)):
            if self.needed[side]:
                when = chosen if chosen is not None else self._new(tapes.NOT, (condition,))
                self._contribute(side, total, self.one, when if mask is None else self._new(AND, (mask, when)))

    def _send_quotient(self, i: int, args: tuple[int, ...], total: int, mask: int | None) -> None:
        """``d(a/b)/da = 1/b`` and ``d(a/b)/db = -(a/b) * (1/b)``: one division serves all quotients by b."""
        a, b = args
        inverse = self._new(DIV, (self.one, b))
        self._contribute(a, total, inverse, mask)
        if self.needed[b]:
            slope = self._new(tapes.dot(1, 0, 0, 0), (i, inverse))
            self.tape.rank.setdefault(slope, self.tape.rank.get(i, i))
            self._contribute(b, total, slope, mask, negative=True)

    def _send_take(self, args: tuple[int, ...], total: int, mask: int | None) -> None:
        index, *entries = args
        table = tuple(entries)
        if table not in self.picks:
            self.picks[table] = []
            for position, entry in enumerate(table):
                if self.needed[entry]:
                    self.tables.setdefault(entry, []).append((table, position))
        for entry in table:
            if self.needed[entry]:
                self._reach(entry, mask)
        self.picks[table] += (index, total)
