"""Periods: runs of groups that repeat with constant strides."""

from __future__ import annotations

from typing import Any

import numpy as np

from micrograd.compile.groups import Groups

TURNS = 4  # fewer are not worth a loop
PERIOD = 400  # groups in a turn, at most
WIDTH = 16  # operands that are followed one by one; of larger groups those of the first member


class Periods:
    """Where periods begin in a stretch of groups, how long they are and how often they repeat."""

    def __init__(self, groups: Groups, first: int, last: int) -> None:
        self.first = first
        starts, ends = groups.starts[first:last], groups.starts[first + 1 : last + 1]
        self.bases = _bases(groups, starts, ends)
        self.signature = _signatures(groups, starts, ends, self.bases)
        self.kinds = self.signature.tolist()
        self.runs: dict[int, Any] = {}
        order = np.argsort(self.signature, kind="stable")
        again = np.zeros(len(self.signature), dtype=np.int64)  # how far it is to the next group that is alike
        same = self.signature[order][1:] == self.signature[order][:-1]
        again[order[:-1][same]] = (order[1:] - order[:-1])[same]
        self.again = again.tolist()

    def best(self, group: int) -> tuple[int, int]:
        """The period that covers most from a group on, and how often it repeats: (1, 1) where nothing does."""
        at = where = group - self.first
        found, period = (1, 1), 0
        for _ in range(8):
            step = self.again[where]
            where, period = where + step, period + step
            if not step or period > PERIOD:
                break
            turns = self._run(period)[at] // period + 2 if self._may_repeat(at, period) else 1
            if turns >= TURNS and turns * period > found[0] * found[1]:
                found = period, turns
        return found

    def _may_repeat(self, at: int, period: int) -> bool:
        """Whether groups a period apart are alike so often that there may be a loop."""
        alike = self.kinds[at : at + TURNS * period : period]
        return len(alike) == TURNS and alike.count(alike[0]) == TURNS

    def _run(self, period: int) -> list[int]:
        """For each group, how many from it on are like those one and two periods later."""
        run = self.runs.get(period)
        if run is None:
            n = len(self.signature)
            counts = np.zeros(n, dtype=np.int64)
            if n > 2 * period:
                s, b = self.signature, self.bases
                like = (s[: n - 2 * period] == s[period : n - period]) & (s[: n - 2 * period] == s[2 * period :])
                first, second = b[period : n - period] - b[: n - 2 * period], b[2 * period :] - b[period : n - period]
                like &= (first == second).all(axis=1)
                breaks = np.flatnonzero(~np.append(like, False))
                counts[: len(like)] = breaks[np.searchsorted(breaks, np.arange(len(like)))] - np.arange(len(like))
            run = self.runs[period] = counts.tolist()
        return run  # type: ignore[no-any-return]


def _bases(groups: Groups, starts: Any, ends: Any) -> Any:
    """For each group the address of its first member, and of the operands of all its members, or of the first."""
    bases = np.zeros((len(starts), WIDTH + 1), dtype=np.int64)
    bases[:, 0] = groups.address[groups.order[starts]]
    counts = np.where(_is_small(groups, starts, ends), groups.offsets[ends] - groups.offsets[starts], groups.counts[starts])
    for j in range(WIDTH):
        has = counts > j
        bases[has, j + 1] = groups.operands[groups.offsets[starts[has]] + j]
    return bases


def _is_small(groups: Groups, starts: Any, ends: Any) -> Any:
    return groups.offsets[ends] - groups.offsets[starts] <= WIDTH


def _signatures(groups: Groups, starts: Any, ends: Any, bases: Any) -> Any:
    """A number for each group, equal for those of equal kind whose members and operands lie alike."""
    first, last = starts[0], ends[-1]
    of = np.repeat(np.arange(len(starts)), ends - starts)  # the group of each member
    member = np.arange(first, last) - starts[of]
    mix = (member.astype(np.uint64) + np.uint64(3)) * np.uint64(0x9E3779B97F4A7C15)
    out = (groups.address[groups.order[first:last]] - bases[of, 0]).astype(np.uint64) * mix
    counts = groups.counts[first:last]
    low, high = groups.offsets[first], groups.offsets[last]
    owner = np.repeat(np.arange(len(counts)), counts)
    column = np.arange(low, high) - groups.offsets[first:last][owner]
    base = bases[of[owner], np.minimum(column, WIDTH - 1) + 1]
    spread = (column.astype(np.uint64) + np.uint64(7)) * np.uint64(0xC2B2AE3D27D4EB4F)
    inner = (groups.operands[low:high] - base).astype(np.uint64) * (mix[owner] ^ spread)
    inner[_is_small(groups, starts, ends)[of[owner]]] = 0
    total = (
        np.add.reduceat(np.concatenate([inner, np.zeros(1, np.uint64)]), groups.offsets[first:last] - low)
        if len(inner)
        else out * np.uint64(0)
    )
    per_group = np.add.reduceat(out + total, starts - first)
    keys = groups.key[starts].astype(np.uint64) * np.uint64(0xD6E8FEB86659FD93) + (ends - starts).astype(np.uint64)
    return np.unique(per_group ^ keys, return_inverse=True)[1]
