"""Roll: groups of scalar instructions become vector instructions.

In a group of dots let A and B be the operands of the products, a row an instruction: where the distinct rows of A times the
distinct rows of B are exactly the group, it is a matrix product.  Nobody wrote it: the weights of a layer, ``W.T @ delta``
and the outer product of ``delta`` and ``x`` are all found this way.

A ``for`` loop of the traced function was unrolled when it was recorded.  Equal steps of it are found again: a run of groups
of which each period has the kinds of the one before it and addresses that moved by constant steps becomes a loop.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from micrograd.compile import tape as tapes
from micrograd.compile.groups import PHASES, Groups
from micrograd.compile.periods import Periods
from micrograd.compile.tape import KINDS, Tape
from micrograd.compile.vector import (
    LANES,
    WIDE,
    Instruction,
    Loop,
    Map,
    Product,
    Rolled,
    Rows,
    Scatter,
    Take,
    shifted,
    views,
    with_views,
)
from micrograd.compile.views import nest, strides


def roll(tape: Tape) -> Rolled:
    """The vector program of a tape."""
    return _Roller(tape).run()


class _Roller:
    def __init__(self, tape: Tape) -> None:
        self.tape = tape
        self.rolled = Rolled()
        self.groups = Groups(tape, self.rolled)
        self.address, self.alias = self.groups.address, self.groups.alias

    def run(self) -> Rolled:
        rolled, groups = self.rolled, self.groups
        for phase, name in enumerate(PHASES):
            some = np.flatnonzero(groups.phase == phase)
            setattr(rolled, name, self._instructions(some) if len(some) else [])
        rolled.outputs = self.address[[self.alias[out] for out in self.tape.outputs]]
        rolled.adjoints = self._adjoints()
        rolled.names = {
            int(self.address[self.alias[n]]): label for n, label in self.tape.labels.items() if self.alias[n] >= 0
        }
        return rolled

    def _instructions(self, some: Any) -> list[Instruction]:
        """The instructions of groups that follow each other, with loops."""
        first, last = int(some[0]), int(some[-1]) + 1
        periods = Periods(self.groups, first, last)
        made: list[Instruction] = []
        group = first
        while group < last:
            period, turns = periods.best(group)
            loop = self._loop(group, period, turns) if turns > 1 else None
            if loop is not None:
                made.append(loop)
                group += period * turns
                continue
            end = self._end_of_home(group, last)
            ragged = self._ragged(group, end) if end - group > 2 else None
            if ragged is not None:
                made.append(ragged)
                group = end
            else:
                made += self._group(group)
                group += 1
        return made

    def _end_of_home(self, group: int, last: int) -> int:
        """The first group after one that does not lie in the same stretch of memory."""
        starts, home = self.groups.starts, self.groups.home
        end = group + 1
        while end < last and home[starts[end]] == home[starts[group]]:
            end += 1
        return end

    def _ragged(self, group: int, end: int) -> Rows | None:
        """Dots that differ in their lengths only, as one instruction, or the largest of some numbers; None where they differ
        in more."""
        groups = self.groups
        found = [KINDS[groups.code[groups.order[groups.starts[g]]]] for g in range(group, end)]
        largest = found[0].key[0] == "largest"
        kinds = [(0, 0, *kind.shape, 0, 0) if largest else kind.shape for kind in found]
        signs = {tuple(n > 0 for n in kind[:4]) for kind in kinds}
        members = groups.starts[end] - groups.starts[group]
        if len(signs) != 1 or sum(*signs) != 1 or kinds[0][4] or members > 64 * len(kinds) or max(map(max, kinds)) > 256:
            return None
        (sign,) = signs
        rows_a, rows_b, places, lengths = [], [], [], []
        for g, kind in zip(range(group, end), kinds, strict=True):
            some = np.arange(*groups.starts[g : g + 2])
            operands, regions = groups.read_by(some)
            if sign[0] or sign[1]:
                a, b, *_ = _canonical(operands, regions)
            else:
                a, b = operands if largest else np.sort(operands, axis=1), None
            rows_a.append(a)
            rows_b.append(b)
            places.append(self._places(some))
            lengths.append(np.full(len(some), sum(kind[:4])))
        c, longest = np.concatenate(places), max(map(sum, (kind[:4] for kind in kinds)))
        a = np.concatenate([_padded(x, longest) for x in rows_a])
        b = None if rows_b[0] is None else np.concatenate([_padded(x, longest) for x in rows_b])
        if not all(m is None or _of_one_kind(m) for m in (a, b)):
            return None
        order = np.argsort(c, kind="stable")
        b = None if b is None else b[order]
        upward = 1 if sign[0] or sign[2] else -1
        return Rows(a[order], b, c[order], upward, False, False, largest, np.concatenate(lengths)[order])

    def _loop(self, group: int, period: int, turns: int) -> Loop | None:
        """A loop over equal periods of groups, None where the instructions that they make are not equal after all."""
        bodies: list[list[Instruction]] = [[], [], []]
        for g in range(group, group + period):
            for some in self._moving_alike(g, g + period):
                for body, turn in zip(bodies, (0, 1, turns - 1), strict=True):
                    body += self._group(g + turn * period, some)
        if len({len(body) for body in bodies}) != 1:
            return None
        looped = []
        for one, two, last in zip(*bodies, strict=True):
            moved = []
            for a, b, z in zip(views(one), views(two), views(last), strict=True):
                shift = int(b.flat[0] - a.flat[0])
                if a.shape != b.shape or not (np.array_equal(a + shift, b) and np.array_equal(a + shift * (turns - 1), z)):
                    return None
                moved.append(shifted(a, shift, turns))
            looped.append(with_views(one, moved))
        return Loop(turns, looped)

    def _moving_alike(self, group: int, later: int) -> list[Any]:
        """The members of a group apart by how far they and their operands are from those of a later one."""
        moves = []
        for g in (group, later):
            start, end = self.groups.starts[g : g + 2]
            width = int(self.groups.counts[start])
            operands = self.groups.operands[self.groups.offsets[start] : self.groups.offsets[end]].reshape(-1, width)
            moves.append(np.concatenate([self.address[self.groups.order[start:end]][:, None], operands], axis=1))
        ids, count = _row_ids(moves[1] - moves[0])
        return [np.flatnonzero(ids == i) for i in range(count)]

    def _group(self, group: int, some: Any = None) -> list[Instruction]:
        """The instructions of one group, or of some of its members."""
        self.made: list[Instruction] = []
        start, end = self.groups.starts[group : group + 2]
        self._roll_group(np.arange(start, end) if some is None else start + some, group)
        return self.made

    def _adjoints(self) -> Any:
        """The addresses of the adjoints and of what they belong to, where both are there: they have one rank."""
        if self.tape.primal is None:
            return np.zeros((2, 0), dtype=np.int64)
        nodes, ranks = (np.fromiter(x, np.int64, len(self.tape.rank)) for x in (self.tape.rank, self.tape.rank.values()))
        primal = nodes < self.tape.primal
        of_rank = np.full(int(ranks.max(initial=0)) + 1, -1)
        of_rank[ranks[primal]] = nodes[primal]
        pairs = np.stack([nodes[~primal], of_rank[ranks[~primal]]])
        # a local derivative has the rank of its operation too: it is a partial, or reads the operation's value first
        reads = np.fromiter(
            (self.tape.args[n][0] if self.tape.args[n] else -1 for n in pairs[0].tolist()), np.int64, len(pairs[0])
        )
        pairs = pairs[:, (pairs[1] >= 0) & (reads != pairs[1])]
        addresses = self.address[np.array(self.alias, dtype=np.int64)[pairs]]
        return addresses[:, (addresses >= 0).all(axis=0)]

    def _roll_group(self, members: Any, group: int) -> None:
        groups = self.groups
        kind = KINDS[groups.code[groups.order[members[0]]]]
        operands, regions = groups.read_by(members)
        what = kind.key[0]
        if what == "dot" and len(members) == 1 and sum(kind.shape[:2]) <= 2 and sum(kind.shape[:4]) <= 8:
            self.made.append(Map(kind.code, [self._places(members)], (), _of_one(operands[0], regions[0], kind.shape)))
            return
        if what == "dot":
            self._roll_dots(members, kind, *_sorted_singles(operands, regions, kind.shape))
            return
        if len(members) > 1 and not ((operands >= LANES) == (operands[:1] >= LANES)).all():
            ids, count = _row_ids((operands >= LANES).astype(np.int64))
            for i in range(count):  # apart by which operands are shared
                self._roll_group(members[ids == i], group)
            return
        out = self._places(members)
        if what == "take":
            self.made.append(Take(out, operands[:, 0], operands[:, 1:]))
        elif what == "scatter":
            self._roll_scatter(members, kind, operands)
        elif what == "largest" and operands.shape[1] > 2:
            self.made.append(Rows(operands, None, out, 1, False, False, largest=True))
        else:
            self._roll_map(members, kind, operands, group)

    def _places(self, members: Any) -> Any:
        return self.address[self.groups.order[members]]

    def _roll_scatter(self, members: Any, kind: tapes.Kind, operands: Any) -> None:
        positions = [self.tape.positions[n] for n in self.groups.order[members].tolist()]
        for count in sorted({count for _, count in positions}):
            some = np.array([c == count for _, c in positions])
            at = np.array([p for p, c in positions if c == count])
            out, indexes, values = self._places(members[some]), operands[some, ::2], operands[some, 1::2]
            self.made.append(Scatter(out, at, count, indexes, values, bool(kind.shape[-1])))

    def _roll_map(self, members: Any, kind: tapes.Kind, operands: Any, group: int) -> None:
        wanted = self.groups.wanted(group)
        out = self._places(members)
        size = self.groups.size_of[self.groups.order[members[0]]] if wanted else 0
        outs = [out, *(out + size * (1 + i) for i in range(len(wanted)))]
        self.made.append(Map(kind.code, outs, wanted, list(operands.T)))

    # ---------------------------------------------------------------------------------------------------------- dots

    def _roll_dots(self, members: Any, kind: tapes.Kind, operands: Any, regions: Any) -> None:
        plus, minus, single, negative, reduced = kind.shape
        n = 2 * (plus + minus)
        ends = [(1, 0, 2 * plus), (-1, 2 * plus, n)]
        parts = [(sign, *_canonical(operands[:, i:j], regions[:, i:j])) for sign, i, j in ends if i < j]
        split = _apart(parts, operands[:, n:], regions[:, n:]) if len(members) > 1 else None
        if split is not None:
            for some in split:
                self._roll_dots(members[some], kind, operands[some], regions[some])
            return
        segments = [s for part in parts for s in _segments(*part)]
        found = [(sign, a, b, _grid(a, b)) for sign, a, b in segments]
        matrices = any(grid is not None and _worth(grid, a.shape[1]) for _, a, _, grid in found)
        if not matrices and plus + minus + single + negative <= 8:
            places = self._places(members)
            if plus >= 4 and not (minus or single or negative or reduced) and _scattered_rows(*parts[0][1:3]):
                self.made.append(Rows(parts[0][1], parts[0][2], places, 1, False, False))
                return
            ins = [column for _, a, b, *_ in parts for pair in zip(a.T, b.T, strict=True) for column in pair] + list(
                operands[:, n:].T
            )
            self.made.append(Map(kind.code, [places], (), ins))
            return
        few = len(found) > max(len(parts), (plus + minus) // 2)  # terms in each: one from here, one from there
        if not matrices and few and all(_of_one_kind(m) for _, *ab, _, _ in parts for m in ab):
            found = [(sign, a, b, None) for sign, a, b, *_ in parts]
        places = self._places(members)
        add = self._roll_singles(operands[:, n:], single, places, bool(reduced))
        for sign, a, b, grid in found:
            for some in self._blocks(a, b, grid):
                if some is None:
                    self.made.append(Rows(a, b, places, sign, add, bool(reduced)))
                elif _beside(one := a[np.ravel(some)], other := b[np.ravel(some)], some.shape):
                    self.made.append(Rows(one, other, places[np.ravel(some)], sign, add, bool(reduced)))
                else:
                    c = places[some]
                    self.made.append(Product(a[some[:, 0]], b[some[0]], c, sign, add, bool(reduced)))
            add = True

    def _roll_singles(self, singles: Any, plus: int, places: Any, reduced: bool) -> bool:
        """The single terms of a group of dots, which come first."""
        width = singles.shape[1]
        if 0 < width <= 8:
            kind = tapes.dot(0, 0, plus, width - plus, reduced)
            self.made.append(Map(kind, [places], (), list(singles.T)))
        elif width:
            own, positive = singles[0] >= LANES, np.arange(width) < plus
            kinds = [columns for sign in (positive, ~positive) for columns in (sign & ~own, sign & own) if columns.any()]
            for number, columns in enumerate(kinds):
                sign = 1 if positive[columns][0] else -1
                self.made.append(Rows(singles[:, columns], None, places, sign, number > 0, reduced))
        return bool(width)

    def _blocks(self, a: Any, b: Any, grid: Any) -> Iterator[Any]:
        """Grids of members that are products each; a single None where rows are best taken one by one."""
        if grid is not None:
            yield grid
        else:
            yield from _complete_blocks(a, b, max(len(a) // 16, 2 if len(a) >= WIDE else 0)) or [None]


def _canonical(pairs: Any, regions: Any) -> tuple[Any, ...]:
    """The factors of products with what was there first on the left, and the products in the order of memory; and the
    regions of both."""
    a, b, ra, rb = pairs[:, ::2], pairs[:, 1::2], regions[:, ::2], regions[:, 1::2]
    swap = ra > rb
    if swap.any():
        a, b, ra, rb = (np.where(swap, y, x) for x, y in ((a, b), (b, a), (ra, rb), (rb, ra)))
    if a.shape[1] == 1:
        return a, b, ra, rb
    order = np.lexsort((b, a, rb, ra))
    for one, other in ((a, b), (b, a)) if len(a) > 1 else ():
        sets = np.sort(one, axis=1)
        if (sets == sets[0]).all():  # a factor of all members: it stands in one order, wherever the others lie
            ordered = np.take_along_axis(one, order, 1)
            order = order if (ordered == ordered[0]).all() else np.lexsort((other, one))
            break
    at = np.arange(len(a))[:, None], order
    return a[at], b[at], ra[at], rb[at]


def _of_one(operands: Any, regions: Any, shape: tuple[int, ...]) -> list[Any]:
    """The operands of one dot of few terms as ``_canonical`` and ``_sorted_singles`` put them."""
    plus, minus, single, *_ = shape
    n, at, of = 2 * (plus + minus), operands.tolist(), regions.tolist()
    pairs = [(i, i + 1) if of[i] <= of[i + 1] else (i + 1, i) for i in range(0, n, 2)]
    products = [(of[i], of[j], at[i], at[j]) for i, j in pairs]
    ordered = [*sorted(products[:plus]), *sorted(products[plus:])]
    singles = [*sorted(at[n : n + single]), *sorted(at[n + single :])]
    return list(np.array([*(a for *_, x, y in ordered for a in (x, y)), *singles])[:, None])


def _apart(parts: list[tuple[Any, ...]], singles: Any, single_regions: Any) -> list[Any] | None:
    """None where all members read the same regions, or so many different ones that taking them apart does not pay."""
    factors = [m for _, a, b, *_ in parts for m in (a, b)]
    if factors or len(singles) > 32:
        regions = [m for _, _, _, ra, rb in parts for m in (ra, rb)]
        ids, count = _row_ids(np.concatenate(regions or [single_regions], axis=1))
        if 1 < count <= (max(4, len(ids) // 8) if factors else 4):
            return [np.flatnonzero(ids == i) for i in range(count)]
    ids, count = _row_ids(np.concatenate([*factors, singles], axis=1) // LANES)
    return None if count == 1 else [np.flatnonzero(ids == i) for i in range(count)]


def _segments(sign: int, a: Any, b: Any, ra: Any, rb: Any) -> Iterator[tuple[int, Any, Any]]:
    """Products apart by the regions that they read, where all members read the same, and by whether all examples share their
    factors."""
    cuts = np.flatnonzero((ra[0, 1:] != ra[0, :-1]) | (rb[0, 1:] != rb[0, :-1])) + 1
    many = len(cuts) > 8 and a.shape[1] < 4 * len(cuts)  # a sum over the steps of a loop: one row, picked together
    if many or not len(cuts) or not ((ra == ra[0]).all() and (rb == rb[0]).all()):
        cuts = cuts[:0]
    for i, j in itertools.pairwise([0, *cuts.tolist(), a.shape[1]]):
        own = a[0, i:j] // LANES * 2 + b[0, i:j] // LANES
        for kind in sorted(set(own.tolist())):
            some = i + np.flatnonzero(own == kind) if len(own) > 1 else slice(i, j)
            yield sign, a[:, some], b[:, some]


def _scattered_rows(a: Any, b: Any) -> bool:
    """Whether the factors of a few products lie side by side in each sum, and from sum to sum at places without a rule."""
    beside = (np.diff(a, axis=1) == 1).all() and (np.diff(b, axis=1) == 1).all()
    return bool(beside and a[0, 0] < LANES and None in nest([a[:, 0], b[:, 0]]).steps)


def _of_one_kind(addresses: Any) -> bool:
    """Whether all of some numbers are shared, or all each example's own."""
    own = addresses >= LANES
    return bool((own == own[:1, :1]).all())


def _beside(a: Any, b: Any, shape: tuple[int, ...]) -> bool:
    """Whether the products of a vector with a matrix, a row for each result, are best added up row by row: those of
    neighbours lie side by side, at places without a rule."""
    if min(shape) > 1 or max(shape) < WIDE or a[0, 0] >= LANES or b[0, 0] >= LANES:
        return False
    return any((np.diff(m, axis=0) == 1).all() and strides(m) is None for m in (a, b))


def _sorted_singles(operands: Any, regions: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    """The operands of dots with the single terms of each sign in the order of memory, shared ones first; their regions."""
    plus, minus, single, *_ = shape
    start = 2 * (plus + minus)
    for some in (slice(start, start + single), slice(start + single, None)):
        if operands[:, some].shape[1] > 1:
            at = np.arange(len(operands))[:, None], np.argsort(operands[:, some], axis=1)
            operands[:, some], regions[:, some] = operands[:, some][at], regions[:, some][at]
    return operands, regions


def _padded(rows: Any, length: int) -> Any:
    """Rows made longer by repeating their last entry."""
    return np.concatenate([rows, np.repeat(rows[:, -1:], length - rows.shape[1], axis=1)], axis=1)


def _row_ids(rows: Any) -> tuple[Any, int]:
    """A number for each distinct row, counted in the order of their first appearance."""
    count, width = rows.shape
    if count == 1 or (rows == rows[0]).all():
        return np.zeros(count, dtype=np.int64), 1
    keys = rows[:, 0] if width == 1 else (rows.astype(np.uint64) * _weights(width)).sum(axis=1, dtype=np.uint64)
    known: dict[int, int] = {}
    ids = np.array([known.setdefault(key, len(known)) for key in keys.tolist()])
    first = np.empty(len(known), dtype=np.int64)
    first[ids[::-1]] = np.arange(count)[::-1]
    if width > 1 and not (rows == rows[first[ids]]).all():  # two rows with one key: take the slow way
        known_rows: dict[tuple[int, ...], int] = {}
        ids = np.array([known_rows.setdefault(tuple(row), len(known_rows)) for row in rows.tolist()])
        return ids, len(known_rows)
    return ids, len(known)


@functools.cache
def _weights(width: int) -> Any:
    """Odd numbers without a pattern, by which the entries of a row are multiplied for its key: those of splitmix64."""
    x = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31)) | np.uint64(1)


def _grid(a: Any, b: Any) -> Any:
    """The member for each distinct row of a and each of b, if there is just one for every pair; else None."""
    if len(a) == 1:
        return np.zeros((1, 1), dtype=np.int64)
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


def _complete_blocks(a: Any, b: Any, most: int) -> list[Any]:
    """The members apart by blocks in which every row of a meets every row of b; none where there are more than ``most``."""
    ra, na = _row_ids(a)
    rb, nb = _row_ids(b)
    meets = np.zeros(nb, dtype=np.uint64)
    np.add.at(meets, rb, _weights(max(na, 1))[ra])
    block_of_b, count = _row_ids(meets[:, None])
    if count > most:
        return []
    block = block_of_b[rb]
    blocks: list[Any] = []
    for number in range(count):
        some = np.flatnonzero(block == number)
        grid = _grid(a[some], b[some])
        blocks += [some[grid]] if grid is not None else some[:, None, None].tolist()
    return [np.asarray(members) for members in blocks] if len(blocks) <= most else []
