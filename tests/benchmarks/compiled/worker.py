"""One contestant in a process of its own: ``python worker.py MODULE WORKLOAD [SIZE]``, driven by run.py over pipes.

It prints one JSON line when it is ready, and one for each line that it reads: the seconds that a unit of work took.
"""

from __future__ import annotations

import importlib
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE / "baselines"), str(HERE.parent), str(HERE.parents[2])]

from contest import Skip  # noqa: E402

LEAST = 0.02  # seconds that one measurement lasts at least


def main(module: str, workload: str, *size: str) -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print goes to stderr

    def answer(message: object) -> None:
        print(json.dumps(message), file=answers, flush=True)

    start = time.perf_counter()
    try:
        contestant = importlib.import_module(module)
        begun = time.perf_counter()  # what it takes to import a library is not the workload's
        if not hasattr(contestant, workload):
            raise Skip(f"has no {workload}")
        entry = getattr(contestant, workload)(*map(int, size))
    except (Skip, ImportError) as reason:
        return answer({"skip": f"{reason}"})
    ready = time.perf_counter()
    once = timed(entry.run, 1)
    while once < LEAST and (again := timed(entry.run, 1)) < 0.9 * once:  # the first runs are those of cold caches
        once = again
    answer(
        {
            "label": contestant.LABEL,
            "numbers": entry.numbers,
            "ready": ready - begun if entry.seconds is None else entry.seconds,
            "import": begun - start,
            "notes": entry.notes,
            "value_only": entry.value_only is not None,
        }
    )
    times = max(1, math.ceil(LEAST / max(once, 1e-9)))
    for line in sys.stdin:
        run = entry.value_only if line.strip() == "value" else entry.run
        answer(timed(run, times) / times / max(1, entry.units))


def timed(run: Callable[[], object], times: int) -> float:
    """The seconds that so many runs take."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return time.perf_counter() - start


if __name__ == "__main__":
    main(*sys.argv[1:])
