"""Side-by-side measurements of the compiler: ``python tests/benchmarks/compiled/run.py [WORKLOAD[:SIZE] ...]``.

Every contestant has a process of its own on one and the same core.  First their values, gradients and trained parameters
are compared; then they take turns, round by round, and medians of that one run are printed, with the median over rounds of
the ratio to the first.  Contestants that are not installed are named and left out.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
TOLERANCE = 1e-11  # of the largest number, against the first contestant; differences above 1e-12 are shown


@dataclass
class Workload:
    title: str
    unit: str  # what one unit of work is called
    scale: float  # units of time in a second
    contestants: list[str]
    sizes: tuple[int, ...] = ()


C, PYTHON = ["ours", "with_c", "with_c_ieee"], ["with_numpy", "with_jax"]
PEERS = ["with_heyoka", "with_casadi", "with_casadi_vm", "with_ddx", "with_ddx_vm", "with_jax", "with_torch"]
SCALAR = ["ours", "with_c", *PEERS, "eager"]
WORKLOADS = {
    "gpt": Workload("microgpt, batch 1, a step with Adam", "us", 1e6, [*C, *PYTHON, "eager", "microgpt_value"]),
    "gpt_batch": Workload("microgpt, batch 64, a sample, with Adam", "us", 1e6, [*C, *PYTHON]),
    "moons": Workload("moons MLP(2, [16, 16, 1]), 100 examples", "us", 1e6, ["ours", "eager", "micrograd_010"]),
    "mlp": Workload("MLP 784-50-10, one example", "us", 1e6, [*C, *PYTHON, "with_torch", "eager"]),
    "digits": Workload("digits MLP 64-50-10, an epoch with SGD", "ms", 1e3, ["ours", "with_torch"]),
    "asian": Workload(
        "arithmetic Asian call, 252 steps, a path-step", "ns", 1e9, [*C, "with_libmvec", *PYTHON, "eager"], (100_000,)
    ),
    "lu": Workload("LU determinant", "us", 1e6, SCALAR, (12, 25, 40, 54)),
    "minors": Workload("determinant by minors", "us", 1e6, SCALAR, (5, 6, 7, 8)),
    "least_squares": Workload("least squares", "us", 1e6, SCALAR, (140, 1_400, 14_000, 140_000)),
    "log_sum_exp": Workload("log-sum-exp", "us", 1e6, SCALAR, (500, 5_000, 50_000, 500_000)),
    "ode": Workload("Runge-Kutta 4, van der Pol", "us", 1e6, SCALAR, (20, 200, 2_000, 20_000)),
}


class Contestant:
    """A worker process, ready or left out."""

    def __init__(self, module: str, workload: str, size: int | None, core: int, patience: float) -> None:
        self.module = module
        command = [sys.executable, str(HERE / "worker.py"), module, workload, *([str(size)] if size else [])]
        if hasattr(os, "sched_setaffinity"):
            command = ["taskset", "-c", str(core), *command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (closed in close; a pipe would fill up)
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, text=True, env=environment
        )
        assert self.process.stdout is not None
        alarm = threading.Timer(patience, self.process.kill)
        alarm.start()
        line = self.process.stdout.readline()
        late = not alarm.is_alive()
        alarm.cancel()
        if line:
            self.ready = json.loads(line)
        else:
            self.process.communicate()
            self.errors.seek(0)
            errors = self.errors.read().strip().splitlines()
            self.ready = {"skip": f"not ready in {patience:.0f} s" if late else (errors or ["it ended"])[-1]}

    def measure(self, what: str = "run") -> float:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self) -> None:
        self.process.communicate()
        self.errors.close()


def difference(expected: list[float], found: list[float]) -> float:
    """The largest difference, relative to the largest number."""
    if len(expected) != len(found):
        return float("inf")
    largest = max(map(abs, expected))
    return max(abs(a - b) for a, b in zip(expected, found, strict=True)) / largest


def check(contestants: list[Contestant]) -> Iterator[float]:
    """The worst difference of each contestant from the first one that has the numbers; exits where it is too large."""
    expected: dict[str, Any] = {}
    for contestant in contestants:
        worst = 0.0
        for name, numbers in contestant.ready["numbers"].items():
            off = difference(expected.setdefault(name, numbers), numbers)
            if not off <= TOLERANCE:
                sys.exit(f"{contestant.ready['label']} disagrees on {name}: off by {off:.1e} of the largest")
            worst = max(worst, off)
        yield worst


def compare(name: str, size: int | None, options: argparse.Namespace) -> None:
    workload = WORKLOADS[name]
    modules = [module for module in workload.contestants if not options.only or module in options.only]
    everyone = [Contestant(module, name, size, options.core, options.patience) for module in modules]
    print(f"\n{workload.title}{f', size {size}' if size else ''}")
    for left_out in everyone:
        if "skip" in left_out.ready:
            print(f"    without {left_out.module}: {left_out.ready['skip']}")
    contestants = [c for c in everyone if "skip" not in c.ready]
    eager_first = sorted(contestants, key=lambda c: c.module != "eager")
    worst = dict(zip([c.module for c in eager_first], check(eager_first), strict=True))
    rounds = [{c.module: c.measure() for c in contestants} for _ in range(options.rounds)]
    medians = {c.module: statistics.median(r[c.module] for r in rounds) for c in contestants}
    first = contestants[0].module if contestants else ""
    print(f"{'':>30} {workload.unit:>12} {'ratio':>10} {'best':>12} {'ready s':>9} {'off by':>8}")
    for c in contestants:
        best = min(r[c.module] for r in rounds) * workload.scale
        median, ratio = medians[c.module], statistics.median(r[c.module] / r[first] for r in rounds)
        print(
            f"{c.ready['label']:>30} {median * workload.scale:>12,.3f} {ratio:>9,.2f}x {best:>12,.3f}"
            f" {c.ready['ready']:>9.3f} {worst[c.module]:>8.0e} {c.ready['notes']}"
        )
        if c.ready["value_only"]:
            c.measure("value")  # which compiles it
            pairs = [(c.measure("value"), c.measure()) for _ in range(options.rounds)]
            alone, ratio = (statistics.median(x) for x in zip(*((v, both / v) for v, both in pairs), strict=True))
            print(f"{'its value alone':>30} {alone * workload.scale:>12,.3f} {ratio:>9,.2f}x value and gradient")
    for c in contestants:
        c.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD[:SIZE]", help=f"of {', '.join(WORKLOADS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=9, help="measurements of each contestant (default 9)")
    parser.add_argument("--core", type=int, default=0, help="the core that all run on (default 0)")
    parser.add_argument("--only", nargs="+", metavar="MODULE", help="only these contestants, such as ours with_c")
    parser.add_argument("--patience", type=float, default=60.0, help="seconds that a contestant may take (default 60)")
    options = parser.parse_args()
    for chosen in options.workloads or WORKLOADS:
        name, _, size = chosen.partition(":")
        if name not in WORKLOADS:
            parser.error(f"no workload {name!r}: there are {', '.join(WORKLOADS)}")
        for one in [int(size)] if size else WORKLOADS[name].sizes or [None]:
            compare(name, one, options)


if __name__ == "__main__":
    main()
