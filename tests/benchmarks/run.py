"""Side-by-side measurements of the eager engine: ``python tests/benchmarks/run.py``.

Engines run in processes of their own, interleaved round by round on one core; what is printed are medians and ratios of
one run, and the engines' numbers are compared before any time is.  micrograd 0.1.0 is read from the folder that
``pip install --no-deps --target .ci/cache/peer micrograd==0.1.0`` makes (done here when it is missing); PyTorch and xad
are measured where they are installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PEER = ROOT / ".ci" / "cache" / "peer"
WORKER = Path(__file__).with_name("workloads.py")


def install_peer() -> None:
    if not PEER.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(PEER), "micrograd==0.1.0"]
        subprocess.run(pip, check=True)


def measure(
    engine: str, workload: str, *, repeats: int, collector: str = "on", memory: bool = False
) -> list[dict[str, Any]]:
    """The runs of one engine in a fresh process."""
    path = PEER if engine == "micrograd" else ROOT
    command = [sys.executable, str(WORKER), engine, workload, str(repeats), collector, "memory" if memory else "time"]
    if hasattr(os, "sched_setaffinity"):
        command = ["taskset", "-c", "0", *command]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(path)}, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{engine} failed on {workload}:\n{done.stderr}")
    return json.loads(done.stdout)


def compare(workload: str, engines: list[str], rounds: int, repeats: int) -> dict[tuple[str, str], float]:
    """Median milliseconds of each engine with the collector on and off, rounds interleaved."""
    runs: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for _ in range(rounds):
        for collector in ("on", "off"):
            for engine in engines:
                runs[engine, collector] += measure(engine, workload, repeats=repeats, collector=collector)
    expected = runs["ours", "on"][0]["numbers"]
    for (engine, _), found in runs.items():
        for a, b in zip(expected, found[0]["numbers"], strict=True):
            if abs(a - b) > 1e-9 * max(1.0, abs(a)):
                sys.exit(f"{engine} disagrees on {workload}: {b} where ours found {a}")
    return {key: 1e3 * statistics.median(run["seconds"] for run in found) for key, found in runs.items()}


def report(title: str, medians: dict[tuple[str, str], float]) -> None:
    print(f"\n{title}\n{'engine':>12} {'collector on':>14} {'ratio':>8} {'collector off':>14} {'ratio':>8}")
    for engine in dict.fromkeys(engine for engine, _ in medians):
        on, off = medians[engine, "on"], medians[engine, "off"]
        ratios = on / medians["ours", "on"], off / medians["ours", "off"]
        print(f"{engine:>12} {on:>11.1f} ms {ratios[0]:>7.2f}x {off:>11.1f} ms {ratios[1]:>7.2f}x")


def import_milliseconds(statement: str) -> float:
    def one(code: str) -> float:
        probe = f"import time; t = time.perf_counter(); {code}; print(time.perf_counter() - t)"
        command = [sys.executable, "-I", "-c", f"import sys; sys.path.insert(0, {str(ROOT)!r}); {probe}"]
        return 1e3 * float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    return statistics.median(one(statement) for _ in range(15))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="rounds of fresh processes (default 7)")
    parser.add_argument("--repeats", type=int, default=3, help="runs in each process (default 3)")
    options = parser.parse_args()
    install_peer()
    peers = [name for name in ("torch", "xad") if importlib.util.find_spec(name)]

    title = "moons loss written with * and + (64,000 nodes), forward + backward + free"
    report(title, compare("scalar_moons", ["ours", "micrograd", *peers], options.rounds, options.repeats))
    title = "moons loss through nn.MLP, forward + backward + free"
    report(title, compare("mlp_moons", ["ours", "micrograd"], options.rounds, options.repeats))

    peaks = {engine: measure(engine, "scalar_moons", repeats=1, memory=True)[0]["peak"] for engine in ("ours", "micrograd")}
    print("\npeak memory of the 64,000-node graph:", *(f"{name} {peak / 1e6:.1f} MB" for name, peak in peaks.items()))
    print(f"    ratio {peaks['ours'] / peaks['micrograd']:.2f}")
    runs = [measure("ours", "chain", repeats=1)[0] for _ in range(5)]
    seconds = statistics.median(run["seconds"] for run in runs)
    peak = measure("ours", "chain", repeats=1, memory=True)[0]["peak"]
    print(f"\nchain of 1,000,000 operations: record + backward + free {seconds:.2f} s, {peak / 1e6:.0f} bytes a node")
    print(f"\nimport micrograd: {import_milliseconds('import micrograd'):.1f} ms")


if __name__ == "__main__":
    main()
