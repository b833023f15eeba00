"""The C file of a program: self-contained, with its tables and a comment that says how to call it."""

from __future__ import annotations

from typing import Any

import numpy as np

from micrograd.compile import interpreter
from micrograd.compile.vector import LANES, Rolled
from micrograd.compile.writer import Writer


def c_source(rolled: Rolled, dtype: Any) -> str:
    """One self-contained C file of a vector program, with its tables, and a comment that says how to call it."""
    writer = Writer(rolled, "double" if dtype == np.float64 else "float")
    constants = ", ".join(_plain_number(x) for x in rolled.constants.tolist())
    return "\n".join(
        [
            _header(rolled, writer),
            writer.text,
            _tables(writer.tables()),
            f"const real mg_constants[{max(len(rolled.constants), 1)}] = {{{constants or '0'}}};",
            "",
        ]
    )


FILL = """int32_t mg_table[{size}];
void mg_tables(void) {{
  static const int32_t runs[][3] = {{  // how many numbers are given, how many there are, what is added in each period
  {runs}
  }};
  static const int32_t given[] = {{
  {given}
  }};
  const int32_t *next = given;
  int32_t *t = mg_table;
  for (long r = 0; r < {count}; r++) {{
    for (long i = 0; i < runs[r][1]; i++) t[i] = i < runs[r][0] ? *next++ : t[i - runs[r][0]] + runs[r][2];
    t += runs[r][1];
  }}
}}
"""
PERIOD = 32  # the longest that runs are looked for with
RUNS = (1 << 14, 1 << 10, 1 << 7, 24)  # the lengths of runs that are looked for, one after the other


def _tables(table: Any) -> str:
    """The table as C: what repeats, but for a constant step, is filled in by a function."""
    starts, periods, steps = _runs(table)
    lengths = np.diff(starts, append=len(table))
    given = np.minimum(periods, lengths)
    # each number's place in its run tells whether it is given
    place = np.arange(len(table)) - np.repeat(starts, lengths)
    numbers = table[place < np.repeat(given, lengths)].tolist()
    rows = np.stack([given, lengths, steps], axis=1).tolist()
    return FILL.format(
        size=len(table),
        count=len(rows),
        runs=",\n  ".join(", ".join(f"{{{a}, {b}, {c}}}" for a, b, c in rows[i : i + 8]) for i in range(0, len(rows), 8)),
        given=",\n  ".join(", ".join(map(str, numbers[i : i + 20])) for i in range(0, len(numbers), 20)),
    )


def _runs(table: Any) -> tuple[Any, Any, Any]:
    """Where runs begin, their periods and the step of each period; what does not repeat is a run of one period.

    >>> _runs(np.concatenate([np.arange(30), [7, 7, 0], np.tile([0, 5], 20) + np.repeat(np.arange(20), 2)]))
    (array([ 0, 30, 33]), array([1, 3, 2]), array([1, 0, 1]))
    """
    wide = table.astype(np.int64)
    owner = np.zeros(len(table), dtype=bool)  # what belongs to a run already
    found: list[Any] = [np.zeros((4, 0), dtype=np.int64)]
    longest = dict.fromkeys(range(1, PERIOD + 1), len(table))  # that a period can still have
    for least in RUNS:
        for period, length in longest.items():
            if length >= max(least, 3 * period) and not owner.all():
                runs, longest[period] = _runs_of(wide, owner, period, max(least, 3 * period))
                found.append(runs)
    starts, ends, periods, steps = np.concatenate(found, axis=1)
    order = np.argsort(starts)
    starts, ends, periods, steps = starts[order], ends[order], periods[order], steps[order]
    gaps, stops = np.concatenate([[0], ends]), np.concatenate([starts, [len(table)]])
    gap = stops > gaps
    begins = np.concatenate([starts, gaps[gap]])
    order = np.argsort(begins)
    return (
        begins[order],
        np.concatenate([periods, (stops - gaps)[gap]])[order],
        np.concatenate([steps, np.zeros(int(gap.sum()), np.int64)])[order],
    )


def _runs_of(table: Any, owner: Any, period: int, least: int) -> tuple[Any, int]:
    """Starts, ends, periods and steps of the long runs of one period in what has no owner; and the length of the next.

    They own their numbers from then on.
    """
    step = table[period:] - table[:-period]
    same = step[1:] == step[:-1]
    taken = np.concatenate([[0], np.cumsum(owner)])
    free = taken[period + 1 :] == taken[: -period - 1]  # runs do not reach over what others have
    same &= free[1:] & free[:-1]
    breaks = np.concatenate([[0], np.flatnonzero(~same) + 1, [len(step)]])
    lengths = np.diff(breaks) + period
    long = np.flatnonzero((lengths >= least) & free[breaks[:-1]])
    begins, ends = breaks[long], breaks[long + 1] + period
    longest = int(lengths[lengths < least].max(initial=0))
    begins[1:] = np.maximum(begins[1:], ends[:-1])  # a stretch begins within the last period of the one before
    usable = ends - begins >= least
    longest = max(longest, int((ends - begins)[~usable].max(initial=0)))
    begins, ends = begins[usable], ends[usable]
    marks = np.zeros(len(table) + 1, dtype=np.int64)
    marks[begins] += 1
    marks[ends] -= 1
    owner |= np.cumsum(marks[:-1]) > 0
    return np.stack([begins, ends, np.full(len(begins), period), step[begins]]), longest


def _plain_number(x: float) -> str:
    return "MG_NAN" if x != x else repr(x).replace("inf", "MG_INFINITY")


def _header(rolled: Rolled, writer: Writer) -> str:
    real = writer.real
    inputs = [
        f"   {'in' if space.kind == 'real' else 'ix'}[{k}]  {space.name}: {space.size} "
        + (real if space.kind == "real" else "int64_t")
        + (" for each example, example by example" if space.batched else "")
        + (" (of a mean one over the count of examples, and 1; else 1 and the count)" if space.name == "weight" else "")
        for k, (space, _) in enumerate(rolled.spaces)
        if space.size
    ]
    lanes = int((rolled.outputs >= LANES).sum())
    exact = "".join(f" {flag}" for flag in interpreter.EXACT) if interpreter.code(rolled) else ""
    (first, length), count = writer.results(), len(rolled.outputs) - lanes
    lines = [
        "/* A program written by micrograd.compile.  Compile with: cc -std=gnu11 -O3 -march=native -fno-math-errno",
        f"   -fno-trapping-math -fopenmp-simd{exact}, link with -lm.",
        "",
        "   Inputs, one pointer for each number (those not listed may be null):",
        *inputs,
        f"   Work space: real w[{rolled.shared + 16}]; set its first {len(rolled.constants)} numbers to mg_constants once.",
        f"   Results: real o[{length}], {count} of them from o[{first}] on.",
        "   Call mg_tables() once, and then mg_run(in, ix, w, o, v, s, mg_table, examples, out)"
        + (" with" if rolled.lanes else "."),
    ]
    if rolled.lanes:
        lines += [
            f"   real v[{rolled.lanes * writer.lanes}] and real s[{rolled.sums[1] - rolled.sums[0]}] as scratch, and {lanes}"
            " results for each example in out.",
        ]
    else:
        lines.append("   v, s and out may be null here, and examples is 1.")
    return "\n".join([*lines, "*/"])
