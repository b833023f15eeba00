"""Roll: scalar instructions of one kind that can run side by side become one vector instruction.

Instructions of equal depth and equal kind are a group.  They are numbered so that a group is contiguous in memory.  In a
group of dots let A and B be the operands of the products, a row an instruction: where the distinct rows of A times the
distinct rows of B are exactly the group, it is a matrix product.  Nobody wrote it: the weights of a layer, ``W.T @ delta``
and the outer product of ``delta`` and ``x`` are all found this way.

An *address* is where a number lies.  Numbers shared by all examples count from 0, those of each example from ``LANES``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.tape import KINDS, LARGEST, Tape
from micrograd.compile.trace import DETACH

LANES = 1 << 40  # the first address of the numbers that each example has its own of
Addresses = Any  # an integer array


@dataclass
class Map:
    """``outs[0][g], outs[1][g], ... = value and local derivatives of a kind at ins[0][g], ins[1][g], ...`` for each g."""

    kind: int
    outs: list[Addresses | None]  # the value, which may not be wanted, and a derivative for each of ``partials``
    partials: tuple[int, ...]
    ins: list[Addresses]


@dataclass
class Product:
    """``c[r, s] (+ or -)= sum over k of a[r, k] * b[s, k]``: a matrix product, into numbers set before when ``add``."""

    a: Addresses
    b: Addresses
    c: Addresses
    sign: int
    add: bool
    reduced: bool


@dataclass
class Rows:
    """``c[g] (+ or -)= sum over k of a[g, k] * b[g, k]``; without b a plain sum, or the largest."""

    a: Addresses
    b: Addresses | None
    c: Addresses
    sign: int
    add: bool
    reduced: bool
    largest: bool = False


@dataclass
class Take:
    """``out[g] = table[g, index[g]]``."""

    out: Addresses
    index: Addresses
    table: Addresses


@dataclass
class Scatter:
    """``out[g] = sum over u of values[g, u] where indexes[g, u] == position[g]``, the sum over the examples too if reduced."""

    out: Addresses
    position: Any
    count: int
    indexes: Addresses
    values: Addresses
    reduced: bool


Instruction = Map | Product | Rows | Take | Scatter


@dataclass
class Rolled:
    """A vector program: its instructions in three phases, where leaves and outputs lie, and how much room it takes."""

    before: list[Instruction] = field(default_factory=list)  # on shared numbers
    batch: list[Instruction] = field(default_factory=list)  # on each example
    after: list[Instruction] = field(default_factory=list)  # on sums over the examples
    spaces: list[tuple[tapes.Space, int]] = field(default_factory=list)  # with the address of its first number
    constants: Any = None  # the first addresses hold these numbers
    outputs: Any = None  # the address of each
    shared: int = 0  # how many shared numbers
    lanes: int = 0  # how many numbers an example
    sums: tuple[int, int] = (0, 0)  # the addresses of the sums over the examples
    names: dict[int, str] = field(default_factory=dict)  # labels by address
    nodes: int = 0

    def phases(self) -> Iterator[tuple[str, list[Instruction]]]:
        yield from (("before", self.before), ("batch", self.batch), ("after", self.after))

    def __str__(self) -> str:
        lines = [f"{space!r} from {base}" for space, base in self.spaces]
        for name, instructions in self.phases():
            lines += [f"{name}:", *(f"  {describe(i)}" for i in instructions)] if instructions else []
        return "\n".join(lines)


def describe(instruction: Instruction) -> str:
    """One line on an instruction."""
    if isinstance(instruction, Map):
        return f"{KINDS[instruction.kind].name} {instruction.partials or ''} of {len(instruction.ins[0])}"
    if isinstance(instruction, Product):
        (r, k), s = instruction.a.shape, len(instruction.b)
        over = " over batch" if instruction.reduced else ""
        return f"product {r}x{k} @ {k}x{s}{over}{' added' if instruction.add else ''}{' negative' if instruction.sign < 0 else ''}"
    if isinstance(instruction, Rows):
        return f"{'dots' if instruction.b is not None else 'sums'} {instruction.a.shape[0]} of length {instruction.a.shape[1]}"
    if isinstance(instruction, Take):
        return f"take {len(instruction.out)} from tables of {instruction.table.shape[1]}"
    return f"scatter {len(instruction.out)} from {instruction.values.shape[1]} terms"


def roll(tape: Tape) -> Rolled:
    """The vector program of a tape."""
    return _Roller(tape).run()


class _Roller:
    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.rolled = Rolled()

    def run(self) -> Rolled:
        self._resolve()
        self._levels()
        self._allocate_leaves()
        self._allocate_outputs()
        for members in self._groups():
            self._roll_group(members)
        rolled = self.rolled
        rolled.outputs = self.address[[self.alias[out] for out in self.tape.outputs]]
        rolled.shared, rolled.lanes = self.next_shared, self.next_lanes - LANES
        rolled.names = {int(self.address[self.alias[n]]): label for n, label in self.tape.labels.items() if self.alias[n] >= 0}
        return rolled

    # ------------------------------------------------------------------------------------------------ what is there

    def _resolve(self) -> None:
        """Which instructions are computed at all, and what those that only pass a number on stand for."""
        codes, args = self.tape.codes, self.tape.args
        what = [kind.key[0] for kind in KINDS]
        passes = [name == "given" or code == DETACH for code, name in enumerate(what)]
        self.is_partial = [name == "partial" for name in what]
        size = len(codes)
        alias = list(range(size))
        for i, code in enumerate(codes):
            if passes[code]:
                alias[i] = alias[args[i][0]]
        live = bytearray(size)
        for out in self.tape.outputs:
            live[alias[out]] = 1
        for i in range(size - 1, -1, -1):
            if live[i]:
                for a in args[i]:
                    live[alias[a]] = 1
        self.alias, self.live = alias, live

    def _levels(self) -> None:
        """The depth of each instruction: as early as can be, but as late as can be where that makes a larger group.

        An instruction waits only if all its readers do, so operands always come before.
        """
        codes, args, alias, live = self.tape.codes, self.tape.args, self.alias, self.live
        size = len(codes)
        partial = self.is_partial
        early = [0] * size
        wanted: dict[int, int] = {}  # which derivatives of an operation are asked for, as bits
        order = []
        for i in range(size):
            if live[i]:
                operands = args[i]
                if operands and alias[i] == i:
                    level = 0
                    for a in operands:
                        if early[alias[a]] > level:
                            level = early[alias[a]]
                    if partial[codes[i]]:
                        of = alias[operands[0]]
                        wanted[of] = wanted.get(of, 0) | 1 << KINDS[codes[i]].shape[0]
                        early[i] = level
                    else:
                        early[i] = level + 1
                        order.append(i)
        flags = self.tape.batched()
        deepest = max(early, default=0)
        late = [deepest] * size
        for i in range(size - 1, -1, -1):
            if live[i] and alias[i] == i:
                at = late[i] if partial[codes[i]] else late[i] - 1
                for a in args[i]:
                    if late[alias[a]] > at:
                        late[alias[a]] = at
        self.batched = flags
        self.nodes = np.array(order, dtype=np.int64)
        key = np.array([(codes[i] << 9) | (wanted.get(i, 0) << 1) | flags[i] for i in order], dtype=np.int64)
        first = np.array([early[i] for i in order], dtype=np.int64)
        last = np.array([late[i] for i in order], dtype=np.int64)
        self.level = self._choose(key, first, last)
        self.key = key

    def _choose(self, key: Any, first: Any, last: Any) -> Any:
        """A level for each instruction, between the earliest that its operands allow and the latest its readers do: the one
        where most of its kind can meet."""
        if not len(key):
            return first
        width = int(last.max()) + 2
        key = self._alike(key)
        firsts, lasts, fixed = (_counts(k * width + at) for k, at in ((key, first), (key, last), (key[first == last], first[first == last])))
        crowds: dict[int, list[int]] = {}  # by kind: the levels where most of those meet that have no choice
        for at in sorted(fixed, key=fixed.__getitem__, reverse=True):
            levels = crowds.setdefault(at // width, [])
            if len(levels) < 8:
                levels.append(at % width)
        args, alias, codes, partial = self.tape.args, self.alias, self.tape.codes, self.is_partial
        level = [0] * len(self.tape)
        primal = len(self.tape) if self.tape.primal is None else self.tape.primal
        chosen = []
        for i, kind, earliest, latest in zip(*(x.tolist() for x in (self.nodes, key, first, last)), strict=True):
            at = 0
            for a in args[i]:
                a = alias[a]
                if level[a] > at:
                    at = level[a]
                elif partial[codes[a]] and level[alias[args[a][0]]] > at:
                    at = level[alias[args[a][0]]]
            at += 1
            if at < latest:
                base = kind * width
                best = max(firsts.get(base + at, 0), fixed.get(base + at, 0))
                meeting = next((other for other in crowds.get(kind, ()) if at <= other <= latest), at)
                at, best = max((at, best), (meeting, fixed.get(base + meeting, 0)), key=lambda choice: choice[1])
                crowd = max(best, firsts[base + earliest])
                if lasts[base + latest] > crowd or (i >= primal and lasts[base + latest] == crowd):
                    at = latest  # what the way back alone needs is computed there
            level[i] = at
            chosen.append(at)
        return np.array(chosen, dtype=np.int64)

    def _alike(self, key: Any) -> Any:
        """A number for each instruction, equal for those of equal kind whose operands have equal kinds."""
        args, alias = self.tape.args, self.alias
        scattered = np.array(self.tape.codes, dtype=np.uint64) + np.uint64(1)
        scattered = scattered * np.uint64(0x9E3779B97F4A7C15)
        scattered ^= scattered >> np.uint64(29)
        nodes = self.nodes.tolist()
        self.counts = np.array([len(args[n]) for n in nodes], dtype=np.int64)
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        self.operands = np.fromiter((alias[a] for n in nodes for a in args[n]), np.int64, int(self.offsets[-1]))
        sums = np.add.reduceat(scattered[self.operands], self.offsets[:-1])
        return np.unique(sums + key.astype(np.uint64), return_inverse=True)[1]

    def _groups(self) -> Iterator[Any]:
        """The positions in ``nodes`` of the members of each group, in the order of the program."""
        if not len(self.nodes):
            return
        rank = self.nodes.copy()
        adjoints = self.tape.rank
        if adjoints:
            rank = np.array([adjoints.get(n, n) for n in self.nodes.tolist()], dtype=np.int64)
        families = np.array([_family(code) for code in range(len(KINDS))])
        family = families[self.key >> 9] << 1 | self.key & 1
        order = np.lexsort((rank, self.key, family, self.level))
        apart = np.diff(self.level[order]) != 0
        cuts = apart | (np.diff(self.key[order]) != 0)
        homes = np.concatenate([[0], np.cumsum(apart | (np.diff(family[order]) != 0))])
        groups = np.split(order, np.flatnonzero(cuts) + 1)
        sizes = np.bincount(homes)
        start = 0
        for group in groups:
            home = homes[start]
            if len(group) < sizes[home] and self.address[self.nodes[group[0]]] < 0:
                relatives = order[start : start + sizes[home]]
                self._place(relatives[np.argsort(rank[relatives], kind="stable")])
            start += len(group)
            yield group

    # ----------------------------------------------------------------------------------------------------- addresses

    def _allocate_leaves(self) -> None:
        """Constants, spaces, and the operands of all instructions as one flat array."""
        tape = self.tape
        size = len(tape)
        self.address = np.full(size, -1, dtype=np.int64)
        constants = [n for n in tape.constants if self.live[n]]
        self.address[constants] = np.arange(len(constants))
        self.rolled.constants = np.array([tape.constants[n] for n in constants], dtype=np.float64)
        self.next_shared, self.next_lanes = len(constants), LANES
        bases = []
        for space in tape.spaces:
            base = self.next_lanes if space.batched else self.next_shared
            bases.append(base)
            self.rolled.spaces.append((space, base))
            if space.batched:
                self.next_lanes += space.size
            else:
                self.next_shared += space.size
        for node, (number, position) in tape.origins.items():
            self.address[node] = bases[number] + position
        alias, args = self.alias, tape.args
        self.partials: dict[tuple[int, int], int] = {}
        for i, code in enumerate(tape.codes):
            if self.is_partial[code] and self.live[i]:
                self.partials[alias[args[i][0]], KINDS[code].shape[0]] = i
        self.region_shared = np.zeros(len(constants) + sum(s.size for s in tape.spaces if not s.batched) + 2 * size, dtype=np.int32)
        self.region_lanes = np.zeros(sum(s.size for s in tape.spaces if s.batched) + 2 * size, dtype=np.int32)
        self.regions = 1
        for space, base in self.rolled.spaces:
            self._mark(base, space.size)

    def _mark(self, base: int, count: int) -> None:
        """Give a stretch of addresses a region of its own: rows of a matrix lie in one."""
        array, start = (self.region_lanes, base - LANES) if base >= LANES else (self.region_shared, base)
        array[start : start + count] = self.regions
        self.regions += 1

    def _region(self, address: Any) -> Any:
        lanes = address >= LANES
        return np.where(lanes, self.region_lanes[np.where(lanes, address - LANES, 0)], self.region_shared[np.where(lanes, 0, address)])

    def _allocate_outputs(self) -> None:
        """Outputs lie together, in their order, where nothing stands against it."""
        kinds: dict[int, bool] = {}
        outputs = dict.fromkeys(self.alias[out] for out in self.tape.outputs)
        is_out = np.zeros(len(self.tape), dtype=bool)
        is_out[list(outputs)] = True
        self.pinned: dict[int, int] = {}
        reduced = [k.key[0] in ("dot", "scatter") and bool(k.shape[-1]) for k in KINDS]
        codes = self.tape.codes
        self.reduces = reduced
        for flag in (False, True):
            for n in outputs:
                if reduced[codes[n]] == flag and self.tape.args[n] and not self.is_partial[codes[n]] and not kinds.get(n):
                    if self.batched[n]:
                        self.pinned[n] = self.next_lanes
                        self.next_lanes += 1
                    else:
                        self.pinned[n] = self.next_shared
                        self.next_shared += 1
                    if flag and self.rolled.sums == (0, 0):
                        self.rolled.sums = (self.pinned[n], self.pinned[n])
        sums = [n for n in self.nodes.tolist() if reduced[codes[n]]]
        loose = [n for n in sums if n not in self.pinned]
        start = min((self.pinned[n] for n in sums if n in self.pinned), default=self.next_shared)
        self.loose_sums = self.next_shared
        self.next_shared += len(loose)
        self.rolled.sums = (start, self.next_shared)

    def _place(self, members: Any) -> Any:
        """Addresses for the members of a group, and for their local derivatives, in their order."""
        nodes = self.nodes[members]
        count = len(nodes)
        if (self.address[nodes] >= 0).all():
            return self.address[nodes]
        pinned = [self.pinned.get(n, -1) for n in nodes.tolist()] if self.pinned else []
        if pinned and min(pinned) >= 0:
            places = np.array(pinned, dtype=np.int64)
            self.address[nodes] = places
            for base in (places[0],):
                self._mark_many(places)
            return places
        base = self._room(count, bool(self.batched[nodes[0]]), self.reduces[self.tape.codes[nodes[0]]])
        self.address[nodes] = np.arange(base, base + count)
        return self.address[nodes]

    def _mark_many(self, places: Any) -> None:
        array, shift = (self.region_lanes, LANES) if places[0] >= LANES else (self.region_shared, 0)
        array[places - shift] = self.regions
        self.regions += 1

    def _room(self, count: int, batched: bool, reduced: bool = False) -> int:
        if reduced:
            base = self.loose_sums
            self.loose_sums += count
        elif batched:
            base = self.next_lanes
            self.next_lanes += count
        else:
            base = self.next_shared
            self.next_shared += count
        self._mark(base, count)
        return base

    # -------------------------------------------------------------------------------------------------------- groups

    def _roll_group(self, members: Any) -> None:
        nodes = self.nodes[members]
        kind = KINDS[self.tape.codes[nodes[0]]]
        width = int(self.counts[members[0]])
        operands = self.address[self.operands[self.offsets[members][:, None] + np.arange(width)]]
        what = kind.key[0]
        if what == "dot":
            operands = _sorted_singles(operands, kind.shape)
        elif self.next_lanes > LANES and not ((operands >= LANES) == (operands[:1] >= LANES)).all():
            ids, count = _row_ids((operands >= LANES).astype(np.int64))
            self._place(members)
            for i in range(count):  # apart by which operands are shared
                self._roll_group(members[ids == i])
            return
        if what == "dot":
            self._roll_dots(members, kind, operands)
        elif what == "take":
            self._emit(Take(self._place(members), operands[:, 0], operands[:, 1:]), operands)
        elif what == "scatter":
            self._roll_scatter(members, kind, operands)
        elif kind.code == LARGEST and width > 2:
            self._emit(Rows(operands, None, self._place(members), 1, False, False, largest=True), operands)
        else:
            self._roll_map(members, kind, operands)

    def _roll_scatter(self, members: Any, kind: tapes.Kind, operands: Any) -> None:
        positions = [self.tape.positions[n] for n in self.nodes[members].tolist()]
        for count in sorted({count for _, count in positions}):
            some = np.array([c == count for _, c in positions])
            at = np.array([p for p, c in positions if c == count])
            out = self._place(members[some])
            indexes, values = operands[some, ::2], operands[some, 1::2]
            self._emit(Scatter(out, at, count, indexes, values, bool(kind.shape[-1])), operands[some])

    def _roll_map(self, members: Any, kind: tapes.Kind, operands: Any) -> None:
        nodes = self.nodes[members]
        bits = (int(self.key[members[0]]) >> 1) & 255
        wanted = tuple(j for j in range(8) if bits >> j & 1)
        outs = [self._place(members)]
        for j in wanted:
            base = self._room(len(nodes), bool(self.batched[nodes[0]]))
            made = np.array([self.partials[n, j] for n in nodes.tolist()])
            self.address[made] = np.arange(base, base + len(nodes))
            outs.append(self.address[made])
        self._emit(Map(kind.code, outs, wanted, list(operands.T)), operands)

    def _emit(self, instruction: Instruction, operands: Any) -> None:
        """Append an instruction to the phase that it belongs to."""
        out = instruction.outs[0] if isinstance(instruction, Map) else getattr(instruction, "out", getattr(instruction, "c", None))
        out = np.asarray(out)
        start, end = self.rolled.sums
        if out.flat[0] >= LANES or getattr(instruction, "reduced", False) or (isinstance(instruction, Map) and self.reduces[instruction.kind]):
            self.rolled.batch.append(instruction)
        elif self._depends_on_sums(operands, out):
            self.rolled.after.append(instruction)
        else:
            self.rolled.before.append(instruction)

    def _depends_on_sums(self, operands: Any, out: Any) -> bool:
        start, end = self.rolled.sums
        if start == end:
            return False
        if not hasattr(self, "summed"):
            self.summed = np.zeros(len(self.region_shared), dtype=bool)
            self.summed[start:end] = True
        shared = operands[operands < LANES]
        depends = bool(self.summed[shared].any())
        if depends:
            self.summed[out.ravel()] = True
        return depends

    # ---------------------------------------------------------------------------------------------------------- dots

    def _roll_dots(self, members: Any, kind: tapes.Kind, operands: Any) -> None:
        plus, minus, single, negative, reduced = kind.shape
        n = 2 * (plus + minus)
        parts = [(1, *self._canonical(operands[:, : 2 * plus]))] if plus else []
        parts += [(-1, *self._canonical(operands[:, 2 * plus : n]))] if minus else []
        split = self._uniform(parts, operands[:, n:])
        if split is not None:
            self._place(members)  # together, so that their readers find them side by side
            for some in split:
                self._roll_dots(members[some], kind, operands[some])
            return
        segments = [s for sign, a, b in parts for s in self._segments(sign, a, b)]
        found = [(sign, a, b, _grid(a, b)) for sign, a, b in segments]
        if not any(grid is not None and _worth(grid, a.shape[1]) for _, a, _, grid in found) and plus + minus + single + negative <= 8:
            places = self._place(members)
            ins = [column for sign, a, b in parts for pair in zip(a.T, b.T, strict=True) for column in pair] + list(operands[:, n:].T)
            self._emit(Map(kind.code, [places], (), ins), operands)
            return
        members, found, singles = self._ordered(members, found, operands[:, n:])
        places = self._place(members)
        add = self._roll_singles(singles, single, places, bool(reduced), operands)
        for sign, a, b, grid in found:
            for some in self._blocks(a, b, grid):
                if some is None:
                    self._emit(Rows(a, b, places, sign, add, bool(reduced)), operands)
                else:
                    c = places[some]
                    self._emit(Product(a[some[:, 0]], b[some[0]], c, sign, add, bool(reduced)), operands)
            add = True

    def _roll_singles(self, singles: Any, plus: int, places: Any, reduced: bool, operands: Any) -> bool:
        """The single terms of a group of dots, which come first."""
        width = singles.shape[1]
        if 0 < width <= 8:
            kind = tapes.dot(0, 0, plus, width - plus, reduced)
            while len(self.reduces) < len(KINDS):
                self.reduces.append(bool(KINDS[len(self.reduces)].shape[-1]))
            self._emit(Map(kind, [places], (), list(singles.T)), operands)
        elif width:
            if plus:
                self._emit(Rows(singles[:, :plus], None, places, 1, False, reduced), operands)
            if plus < width:
                self._emit(Rows(singles[:, plus:], None, places, -1, plus > 0, reduced), operands)
        return width > 0

    def _canonical(self, pairs: Any) -> tuple[Any, Any]:
        """The factors of products with what was there first on the left, and the products in the order of memory."""
        a, b = pairs[:, ::2].copy(), pairs[:, 1::2].copy()
        ra, rb = self._region(a) + (a >= LANES) * self.regions, self._region(b) + (b >= LANES) * self.regions
        swap = ra > rb
        a[swap], b[swap] = b[swap], a[swap]
        if a.shape[1] > 1:
            ra, rb = np.where(swap, rb, ra), np.where(swap, ra, rb)
            order = np.lexsort(np.stack([b, a, rb, ra]), axis=-1)
            a, b = np.take_along_axis(a, order, 1), np.take_along_axis(b, order, 1)
        return a, b

    def _uniform(self, parts: list[tuple[int, Any, Any]], singles: Any) -> list[Any] | None:
        """None where all members read the same regions, or so many different ones that taking them apart does not pay."""
        factors = [m for _, a, b in parts for m in (a, b)]
        if factors:
            ids, count = _row_ids(np.concatenate([self._region(m) for m in factors], axis=1))
            if 1 < count <= max(4, len(ids) // 8):
                return [np.flatnonzero(ids == i) for i in range(count)]
        ids, count = _row_ids(np.concatenate([*factors, singles], axis=1) // LANES)
        return None if count == 1 else [np.flatnonzero(ids == i) for i in range(count)]

    def _segments(self, sign: int, a: Any, b: Any) -> Iterator[tuple[int, Any, Any]]:
        """Products apart by the regions that they read, where all members read the same."""
        ra, rb = self._region(a), self._region(b)
        if not ((ra == ra[0]).all() and (rb == rb[0]).all()):
            yield sign, a, b
            return
        cuts = np.flatnonzero((np.diff(ra[0]) != 0) | (np.diff(rb[0]) != 0)) + 1
        for columns in np.split(np.arange(a.shape[1]), cuts):
            yield sign, a[:, columns], b[:, columns]

    def _ordered(self, members: Any, found: list[Any], singles: Any) -> tuple[Any, list[Any], Any]:
        """Members in the order of the largest grid, where they do not run along one of its sides already."""
        grids = [(a.shape[1], grid) for _, a, _, grid in found if grid is not None]
        if grids and self.address[self.nodes[members[0]]] < 0:
            grid = max(grids, key=lambda g: g[0])[1]
            for way in (grid, grid.T):
                if (np.diff(way.ravel()) > 0).all():
                    break
            else:
                order = grid.ravel()
                members = members[order]
                found = [(sign, a[order], b[order], _grid(a[order], b[order])) for sign, a, b, _ in found]
                singles = singles[order]
        return members, found, singles

    def _blocks(self, a: Any, b: Any, grid: Any) -> Iterator[Any]:
        """Grids of members that are products each; a single None where rows are best taken one by one."""
        if grid is not None:
            yield grid
            return
        blocks = list(_complete_blocks(a, b))
        if len(blocks) * 16 <= len(a):
            yield from blocks
        else:
            yield None


def _counts(numbers: Any) -> dict[int, int]:
    """How often each number occurs."""
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _sorted_singles(operands: Any, shape: tuple[int, ...]) -> Any:
    """The operands of dots with the single terms of each sign in the order of memory, shared ones first."""
    plus, minus, single, negative, _ = shape
    start = 2 * (plus + minus)
    if single + negative > 1:
        operands[:, start : start + single].sort(axis=1)
        operands[:, start + single :].sort(axis=1)
    return operands


def _family(code: int) -> int:
    """Dots that differ in their lengths only lie together in memory, as the rows of a triangle do."""
    kind = KINDS[code]
    if kind.key[0] != "dot":
        return code + 1000
    plus, minus, single, negative, reduced = kind.shape
    if plus or minus:
        return (plus > 0) | (minus > 0) << 1 | reduced << 2 | min(single, 7) << 3 | min(negative, 7) << 6
    return (single > 0) << 1 | (negative > 0) << 2 | reduced << 3 | 1 << 9


def _row_ids(rows: Any) -> tuple[Any, int]:
    """A number for each distinct row, counted in the order of their first appearance."""
    if rows.shape[1] == 1:
        keys = rows[:, 0].astype(np.uint64)
    else:
        weights = np.random.default_rng(rows.shape[1]).integers(1, 1 << 63, rows.shape[1], dtype=np.uint64) | np.uint64(1)
        keys = (rows.astype(np.uint64) * weights).sum(axis=1, dtype=np.uint64)
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    if rows.shape[1] > 1 and not (rows == rows[first[inverse]]).all():  # two rows with one key: take the slow way
        _, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse.ravel()], len(first)


def _grid(a: Any, b: Any) -> Any:
    """The member for each distinct row of a and each of b, if there is just one for every pair; else None."""
    ra, na = _row_ids(a)
    rb, nb = _row_ids(b)
    if na * nb != len(a):
        return None
    grid = np.full((na, nb), -1, dtype=np.int64)
    grid[ra, rb] = np.arange(len(a))
    return grid if (grid >= 0).all() else None


def _worth(grid: Any, k: int) -> bool:
    """Whether a product is more than a vector times a number."""
    return bool(min(grid.shape) > 1 or k > 2)


def _complete_blocks(a: Any, b: Any) -> Iterator[Any]:
    """The members apart by blocks in which every row of a meets every row of b."""
    ra, na = _row_ids(a)
    rb, nb = _row_ids(b)
    random = np.random.default_rng(0).integers(1, 1 << 62, max(na, 1), dtype=np.int64)
    meets = np.zeros(nb, dtype=np.int64)
    np.add.at(meets, rb, random[ra])
    block_of_b = _row_ids(meets[:, None])[0]
    block = block_of_b[rb]
    for number in range(int(block.max(initial=-1)) + 1):
        some = np.flatnonzero(block == number)
        grid = _grid(a[some], b[some])
        if grid is None:
            for one in some:
                yield np.array([[one]])
        else:
            yield some[grid]
