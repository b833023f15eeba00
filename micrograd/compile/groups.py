"""Groups: which instructions run side by side, and where their numbers lie.

Instructions of equal depth and equal kind are a group; its members, and the local derivatives that come with them, lie side
by side.  All of this is done on whole arrays, as there may be a million instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from micrograd.compile.tape import KINDS, Tape
from micrograd.compile.trace import DETACH
from micrograd.compile.vector import LANES, Rolled

NEAR = 4  # levels on which it is looked whether others that are alike have come there
FEW = 4  # members of a home that may lie apart from each other
_WANTED = 8  # bits of a key for the local derivatives that are asked for
PHASES = ("before", "batch", "after")


class Groups:
    """A tape in order: ``order`` holds instructions group by group, ``starts`` where each group begins in it.

    ``address`` gives the address of each instruction, ``region`` of an address the stretch that it is part of, ``operands``
    the addresses that the instruction ``order[i]`` reads, from ``offsets[i]`` on, ``phase`` the phase of each group.
    """

    def __init__(self, tape: Tape, rolled: Rolled) -> None:
        self.tape, self.rolled = tape, rolled
        self._resolve()
        self._live_nodes()
        self._levels()
        self._sort()
        self._addresses()

    # ------------------------------------------------------------------------------------------------ what is there

    def _resolve(self) -> None:
        """What the instructions that only pass a number on stand for."""
        codes, args = self.tape.codes, self.tape.args
        what = [kind.key[0] for kind in KINDS]
        self.is_partial = [name == "partial" for name in what]
        self.reduces = [name in ("dot", "scatter") and bool(kind.shape[-1]) for name, kind in zip(what, KINDS, strict=True)]
        alias = list(range(len(codes)))
        passing = {code for code, name in enumerate(what) if name == "given" or code == DETACH}
        if not passing.isdisjoint(codes):
            for i, code in enumerate(codes):
                if code in passing:
                    alias[i] = alias[args[i][0]]
        self.alias = alias

    def _live_nodes(self) -> None:
        """Which instructions are computed at all."""
        args, alias = self.tape.args, self.alias
        live = bytearray(len(args))
        for out in self.tape.outputs:
            live[alias[out]] = 1
        for i in range(len(args) - 1, -1, -1):
            if live[i]:
                for a in args[i]:
                    live[alias[a]] = 1
        self.live = live

    def _levels(self) -> None:
        """The depth of each instruction, between the earliest that its operands allow and the latest that its readers do."""
        codes, args, alias, live, partial = self.tape.codes, self.tape.args, self.alias, self.live, self.is_partial
        size = len(codes)
        early = [0] * size
        wanted: dict[int, int] = {}  # which derivatives of an operation are asked for, as bits
        self.partials: list[tuple[int, int, int]] = []  # (instruction, of which operation's, by which operand)
        order = []
        for i in range(size):
            if live[i] and args[i] and alias[i] == i:
                level = 0
                for a in args[i]:
                    if early[alias[a]] > level:
                        level = early[alias[a]]
                if partial[codes[i]]:
                    of, by = alias[args[i][0]], KINDS[codes[i]].shape[0]
                    wanted[of] = wanted.get(of, 0) | 1 << by
                    self.partials.append((i, of, by))
                    early[i] = level
                else:
                    early[i] = level + 1
                    order.append(i)
        late = [max(early, default=0)] * size
        for i in range(size - 1, -1, -1):
            if live[i] and alias[i] == i:
                at = late[i] if partial[codes[i]] else late[i] - 1
                for a in args[i]:
                    a = alias[a]
                    if late[a] > at:
                        late[a] = at
        flags = self.tape.batched()
        self.batched = np.frombuffer(flags, dtype=np.uint8)
        self.nodes = nodes = np.array(order, dtype=np.int64)
        self.code = np.array(codes, dtype=np.int64)
        bits = np.zeros(size, dtype=np.int64)
        for of, asked in wanted.items():
            bits[of] = asked
        self.key = (self.code[nodes] << (_WANTED + 1)) | (bits[nodes] << 1) | self.batched[nodes]
        counts, operands = self.tape.operands()
        self.counts = counts[nodes]
        chosen = np.zeros(size, dtype=bool)
        chosen[nodes] = True
        self.operand_nodes = np.array(alias, dtype=np.int64)[operands[np.repeat(chosen, counts)]]
        first, last = np.array(early, dtype=np.int64)[nodes], np.array(late, dtype=np.int64)[nodes]
        self.level = self._choose(first, last) if len(nodes) and (first != last).any() else first

    def _choose(self, first: Any, last: Any) -> Any:
        """A level for each instruction: the one where most of those can meet that are alike."""
        width = int(last.max()) + 2
        alike, related = self._alike()
        settled = first == last
        firsts, lasts = _counts(alike * width + first), _counts(alike * width + last)
        crowds = _Crowds(alike[settled], first[settled], width)
        families = _Crowds(related[settled], first[settled], width)
        chosen: dict[int, int] = {}  # how many that are alike have come to a level by choice
        args, alias, codes, partial = self.tape.args, self.alias, self.tape.codes, self.is_partial
        level = [0] * len(self.tape)
        primal = len(self.tape) if self.tape.primal is None else self.tape.primal
        columns = (self.nodes, alike, related, first, last)
        for i, kind, family, earliest, latest in zip(*(x.tolist() for x in columns), strict=True):
            if earliest == latest:
                level[i] = earliest
                continue
            at = 0
            for a in args[i]:
                a = alias[a]
                if partial[codes[a]]:
                    a = alias[args[a][0]]
                if level[a] > at:
                    at = level[a]
            at += 1
            base = kind * width
            if at < latest:
                best = max(firsts.get(base + at, 0), crowds.count.get(base + at, 0))
                at, best = max((at, best), crowds.between(kind, at, latest), key=_second)
                for near in range(at, min(at + NEAR, latest + 1)):
                    if (count := chosen.get(base + near, 0)) and count >= best:
                        at, best = near, count
                crowd = max(best, firsts[base + earliest])
                if lasts[base + latest] > crowd or (i >= primal and lasts[base + latest] == crowd):
                    at = latest  # what the way back alone needs is computed there
                elif i < primal:
                    at, _ = max((at, crowd), families.between(family, at, latest), key=_second)
            chosen[base + at] = chosen.get(base + at, 0) + 1
            level[i] = at
        return np.array(level, dtype=np.int64)[self.nodes]

    def _alike(self) -> tuple[Any, Any]:
        """Two numbers for each instruction: one that is equal for those of equal kind whose operands have equal kinds, and
        one that is for those of equal family whose first operands are of one family."""
        starts = np.concatenate([[0], np.cumsum(self.counts)])[:-1]
        scattered = (self.code.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        scattered ^= scattered >> np.uint64(29)
        sums = np.add.reduceat(scattered[self.operand_nodes], starts)
        alike = np.unique(sums + self.key.astype(np.uint64), return_inverse=True)[1]
        families = np.array([_family(code) for code in range(len(KINDS))])
        family = np.where(families < 0, (1 << 20) + np.arange(len(KINDS)), families)[self.code]
        pairs = family[self.nodes] << 32 | family[self.operand_nodes[starts]] << 1 | self.batched[self.nodes]
        return alike, np.unique(pairs, return_inverse=True)[1]

    def _sort(self) -> None:
        """Groups in the order of their levels; within a group as in the user's code."""
        nodes = self.nodes
        rank = np.arange(len(self.tape), dtype=np.int64)
        if self.tape.rank:
            at = np.fromiter(self.tape.rank, np.int64, len(self.tape.rank))
            rank[at] = np.fromiter(self.tape.rank.values(), np.int64, len(self.tape.rank))
        rank = rank[nodes]
        families = np.array([_family(code) for code in range(len(KINDS))])
        plain = self.code[nodes]
        family = np.where(families[plain] < 0, self.key + (1 << 40), families[plain] << 1 | self.batched[nodes])
        phase = self._phases()[nodes]
        kinds = np.empty(len(KINDS), dtype=np.int64)  # an order of kinds that is the same in every process
        kinds[sorted(range(len(KINDS)), key=_spelled)] = np.arange(len(KINDS))
        by_kind = kinds[plain] << (_WANTED + 1) | (self.key & ((1 << _WANTED + 1) - 1))
        family = np.where(families[plain] < 0, by_kind + (1 << 40), family)
        order = np.lexsort((rank, by_kind, family, self.level, phase))
        starts = np.concatenate([[0], np.cumsum(self.counts)])
        self.order, self.key, self.counts = nodes[order], self.key[order], self.counts[order]
        self.offsets = np.concatenate([[0], np.cumsum(self.counts)])
        within = np.arange(int(self.offsets[-1])) - np.repeat(self.offsets[:-1], self.counts)
        self.operand_nodes = self.operand_nodes[np.repeat(starts[:-1][order], self.counts) + within]
        level, family, phase = self.level[order], family[order], phase[order]
        new_home = np.ones(len(order), dtype=bool)
        new_home[1:] = (np.diff(level) != 0) | (np.diff(family) != 0) | (np.diff(phase) != 0)
        new_group = new_home.copy()
        new_group[1:] |= np.diff(self.key) != 0
        self.home = np.cumsum(new_home) - 1
        self.starts = np.append(np.flatnonzero(new_group), len(order))
        self.phase = phase[self.starts[:-1]]
        self.rank = rank[order]

    def _phases(self) -> Any:
        """0 for what is computed once before the examples, 1 for each example, 2 for what needs sums over them."""
        codes, args, reduces = self.tape.codes, self.tape.args, self.reduces
        phases = self.batched.astype(np.int64)
        reduced = np.array(reduces, dtype=bool)[self.code]
        if not reduced.any():
            return phases
        phases[reduced] = 1
        after = bytearray(reduced)
        flags = bytearray(self.batched)
        alias = self.alias
        for i, operands in enumerate(args):
            if operands and not flags[i] and not reduces[codes[i]] and any(after[alias[a]] for a in operands):
                after[i] = 1
                phases[i] = 2
        return phases

    # ----------------------------------------------------------------------------------------------------- addresses

    def _addresses(self) -> None:
        tape, rolled = self.tape, self.rolled
        self.address = np.full(len(tape), -1, dtype=np.int64)
        constants = np.array([n for n in tape.constants if self.live[n]], dtype=np.int64)
        self.address[constants] = np.arange(len(constants))
        rolled.constants = np.array([tape.constants[n] for n in constants.tolist()], dtype=np.float64)
        ends = {False: len(constants), True: LANES}
        bases = []
        for space in tape.spaces:
            bases.append(ends[space.batched])
            rolled.spaces.append((space, ends[space.batched]))
            ends[space.batched] += space.size
        if tape.origins:
            leaves = np.fromiter(tape.origins, np.int64, len(tape.origins))
            where = np.array(list(tape.origins.values()), dtype=np.int64)
            self.address[leaves] = np.array(bases, dtype=np.int64)[where[:, 0]] + where[:, 1]
        shared_end, lanes_end = self._place(ends[False], ends[True])
        rolled.shared, rolled.lanes = shared_end, lanes_end - LANES
        rolled.nodes = len(self.order)
        self.operands = self.address[self.operand_nodes]
        self._regions()

    def _place(self, shared: int, lanes: int) -> tuple[int, int]:
        """Addresses for all members: outputs together in their order, then sums over the examples, then the rest."""
        order = self.order
        if not len(order):
            return shared, lanes
        reduced = np.array(self.reduces, dtype=bool)[self.code[order]]
        batched = self.batched[order].astype(bool)
        outputs = dict.fromkeys(self.alias[out] for out in self.tape.outputs)
        is_out = np.zeros(len(self.tape), dtype=bool)
        is_out[list(outputs)] = True
        homes = np.flatnonzero(np.diff(self.home, prepend=-1))
        bits = (self.key >> 1) & ((1 << _WANTED) - 1)
        free = is_out[order] & (bits == 0)
        few = np.diff(homes, append=len(order)) <= FEW  # which may lie apart, so that the outputs are all together
        pinned = free & (np.logical_and.reduceat(free, homes) | few)[self.home]
        own = np.zeros(len(self.tape), dtype=np.int8)
        own[order[pinned]] = 1 + reduced[pinned] + 2 * batched[pinned]
        for kind in (1, 2, 3):  # shared ones, sums, those of each example
            some = np.array([n for n in outputs if own[n] == kind], dtype=np.int64)
            base = lanes if kind == 3 else shared
            self.address[some] = base + np.arange(len(some))
            if kind == 3:
                lanes += len(some)
            else:
                sums_from = shared
                shared += len(some)
                if kind == 1:
                    self.rolled.results = (sums_from, shared)
        blocks = 1 + sum((bits >> j) & 1 for j in range(_WANTED))
        loose = np.lexsort((self.rank, self._turns(), self.home))
        for kind in (2, 1, 3):
            chosen = loose[(~pinned & (reduced if kind == 2 else ~reduced & (batched == (kind == 3))))[loose]]
            if len(chosen):
                base, total = (lanes if kind == 3 else shared), 0
                total = self._stack(chosen, blocks, base)
                if kind == 3:
                    lanes += total
                else:
                    shared += total
            if kind == 2:
                self.rolled.sums = (sums_from, shared)
        return shared, lanes

    def _turns(self) -> Any:
        """For each member how many of its home have its rank and come before it, at most in its group: several adjoints of
        one number, say, lie each beside those of their kind and not beside each other."""
        order = np.lexsort((self.rank, self.home))
        first = (np.diff(self.home[order], prepend=-1) != 0) | (np.diff(self.rank[order], prepend=-1) != 0)
        at = np.arange(len(order))
        turns = np.empty(len(order), dtype=np.int64)
        turns[order] = at - np.maximum.accumulate(np.where(first, at, 0))
        return np.repeat(np.maximum.reduceat(turns, self.starts[:-1]), np.diff(self.starts))

    def _stack(self, chosen: Any, blocks: Any, base: int) -> int:
        """Addresses from ``base`` on for some members, home by home: first the values, then each local derivative."""
        order, home = self.order[chosen], self.home[chosen]
        new = np.flatnonzero(np.diff(home, prepend=-1))
        sizes = np.diff(np.append(new, len(chosen)))
        room = sizes * blocks[chosen[new]]
        begins = base + np.concatenate([[0], np.cumsum(room)])
        which = np.repeat(np.arange(len(new)), sizes)
        self.address[order] = begins[which] + np.arange(len(chosen)) - new[which]
        self.size_of = getattr(self, "size_of", np.zeros(len(self.tape), dtype=np.int64))
        self.size_of[order] = sizes[which]
        bits = np.zeros(len(self.tape), dtype=np.int64)
        bits[order] = (self.key[chosen] >> 1) & ((1 << _WANTED) - 1)
        if self.partials:
            node, of, by = np.array(self.partials, dtype=np.int64).T
            mine = np.isin(of, order)
            node, of, by = node[mine], of[mine], by[mine]
            before = sum(((bits[of] >> j) & 1) * (j < by) for j in range(_WANTED))
            self.address[node] = self.address[of] + self.size_of[of] * (1 + before)
        return int(begins[-1] - base)

    def _regions(self) -> None:
        """The stretch that each address belongs to: a space, or the numbers of a home."""
        rolled = self.rolled
        self.region_shared = np.zeros(rolled.shared + 1, dtype=np.int64)
        self.region_lanes = np.zeros(rolled.lanes + 1, dtype=np.int64)
        for k, (space, base) in enumerate(rolled.spaces):
            array, start = (self.region_lanes, base - LANES) if space.batched else (self.region_shared, base)
            array[start : start + space.size] = k + 1
        count = len(rolled.spaces) + 1
        places = self.address[self.order]
        lanes = places >= LANES
        self.region_shared[places[~lanes]] = self.home[~lanes] * _WANTED + count
        self.region_lanes[places[lanes] - LANES] = self.home[lanes] * _WANTED + count
        if self.partials:
            node, of, by = np.array(self.partials, dtype=np.int64).T
            at = self.address[node]
            lanes = at >= LANES
            home = self._region_of(self.address[of]) + by % (_WANTED - 1) + 1
            self.region_shared[at[~lanes]] = home[~lanes]
            self.region_lanes[at[lanes] - LANES] = home[lanes]

        banks = (self.region_shared[:-1], self.region_lanes[:-1])
        rolled.stretches = tuple(np.flatnonzero(np.diff(bank, prepend=-1)) for bank in banks)  # type: ignore[assignment]

        self.regions = self.region(self.operands)

    def _region_of(self, address: Any) -> Any:
        lanes = address >= LANES
        shared = self.region_shared[np.where(lanes, 0, address)]
        return np.where(lanes, self.region_lanes[np.where(lanes, address - LANES, 0)], shared)

    def region(self, address: Any) -> Any:
        """The stretch that an address lies in; those of each example come after all that are shared."""
        return self._region_of(address) + (address >= LANES) * (1 << 40)

    def read_by(self, members: Any) -> tuple[Any, Any]:
        """The addresses that some members of a group read, a row for each, and the regions of those."""
        at = self.offsets[members][:, None] + np.arange(int(self.counts[members[0]]))
        return self.operands[at], self.regions[at]

    def wanted(self, group: int) -> tuple[int, ...]:
        """Which local derivatives come with the values of a group."""
        bits = int(self.key[self.starts[group]]) >> 1 & ((1 << _WANTED) - 1)
        return tuple(j for j in range(_WANTED) if bits >> j & 1)


def _spelled(code: int) -> tuple[str, str]:
    kind = KINDS[code]
    return kind.name, "" if kind.op is None else repr(kind.op.params)


def _second(pair: tuple[int, int]) -> int:
    return pair[1]


class _Crowds:
    """How many instructions of a kind are at a level, by ``kind * width + level``; and where most are."""

    def __init__(self, kinds: Any, levels: Any, width: int) -> None:
        self.count, self.width = _counts(kinds * width + levels), width
        self.levels: dict[int, list[int]] = {}
        for at in sorted(self.count, key=self.count.__getitem__, reverse=True):
            levels = self.levels.setdefault(at // width, [])
            if len(levels) < 8:
                levels.append(at % width)

    def between(self, kind: int, at: int, latest: int) -> tuple[int, int]:
        """The level in this range where most are, and how many."""
        found = next((level for level in self.levels.get(kind, ()) if at <= level <= latest), at)
        return found, self.count.get(kind * self.width + found, 0)


def _counts(numbers: Any) -> dict[int, int]:
    """How often each number occurs."""
    found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _family(code: int) -> int:
    """Dots that differ in their lengths only lie together in memory, as the rows of a triangle do, and so do the largest of
    some numbers; -1 for all else."""
    kind = KINDS[code]
    if kind.key[0] == "largest":
        return 1 << 10
    if kind.key[0] != "dot":
        return -1
    plus, minus, single, negative, reduced = kind.shape
    if plus or minus:
        return (plus > 0) | (minus > 0) << 1 | reduced << 2 | min(single, 7) << 3 | min(negative, 7) << 6
    return (single > 0) << 1 | (negative > 0) << 2 | reduced << 3 | 1 << 9
