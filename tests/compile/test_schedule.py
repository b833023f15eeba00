"""Where the numbers of a program lie: gaps are used again, and what fills a vector register begins at a multiple of one."""

from __future__ import annotations

from typing import Any

import numpy as np

import micrograd
from micrograd.compile.schedule import _Moves
from micrograd.compile.vector import views
from micrograd.nn import MLP

rng = np.random.default_rng(5)


def scheduled(*sizes: int) -> Any:
    """The vector program of a gradient, at the places that it runs on."""
    model = MLP(sizes[0], list(sizes[1:]), seed=2)
    program = micrograd.compile(lambda x: sum(y * y for y in model(x)), backend="native")
    program.backward(rng.normal(size=sizes[0]))
    return program._last.kernel.rolled


def test_groups_that_fill_a_register_begin_at_a_multiple_and_small_ones_fill_the_gaps() -> None:
    rolled = scheduled(5, 17, 9, 3)
    leaves = max(base + space.size for space, base in rolled.spaces)
    written = [np.asarray(view).ravel() for i in rolled.before for view in views(i) if view is not None]
    whole = [v for v in written if len(v) in (9, 17) and (np.diff(v) == 1).all() and v[0] >= max(leaves, rolled.results[1])]
    assert len(whole) >= 6
    assert {int(v[0]) % (8 if len(v) == 9 else 16) for v in whole} == {0}
    highest = max(int(v.max()) for v in written)
    assert rolled.shared <= highest + 1


def test_stretches_that_live_at_once_lie_apart_and_gaps_are_taken_again() -> None:
    sizes = [3, 8, 2, 16, 5, 8, 1, 9]
    lives = [(0, 9), (0, 2), (1, 9), (1, 3), (3, 5), (4, 9), (4, 6), (6, 9)]  # first and last instruction
    moves = _Moves.__new__(_Moves)
    moves.lengths, moves.starts = np.array(sizes), np.concatenate([[0], np.cumsum(sizes)[:-1]])
    moves.bank, moves.leader, moves.delta = 0, np.arange(len(sizes)), np.zeros(len(sizes), dtype=np.int64)
    begins, ends = map(np.array, zip(*lives, strict=True))
    room = moves._allocate(np.zeros(len(sizes), dtype=bool), begins, ends, 10)
    places = (moves.starts + moves.delta).tolist()
    for i, size in enumerate(sizes):
        assert places[i] + size <= room
        assert places[i] % {1: 1, 2: 2, 3: 2, 5: 4, 8: 8, 9: 8, 16: 16}[size] == 0
        for j in range(i):
            together = lives[i][0] <= lives[j][1] and lives[j][0] <= lives[i][1]
            assert not together or places[i] + size <= places[j] or places[j] + sizes[j] <= places[i]
    assert room < sum(sizes)
