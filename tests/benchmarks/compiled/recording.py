"""Time and memory from plain code to a ready NumPy program: ``python tests/benchmarks/compiled/recording.py [GRAPH ...]``.

Each graph of 10^3 to 10^6 nodes is recorded, differentiated and rolled in a fresh process, for its value and its gradient;
memory is by how much that raises the process's peak.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[3]))

import data
import models

SIZES = (1_000, 10_000, 100_000, 1_000_000)
STAGES = ("trace", "simplify", "adjoint", "roll", "schedule", "backend")


def mlp(nodes: int) -> tuple[Any, ...]:
    hidden = round((nodes / 8) ** 0.5)
    return models.mlp_loss, data.layers(4 * hidden, hidden, 10), *data.image(4 * hidden)


def gpt(nodes: int) -> tuple[Any, ...]:
    """The loss of as many names as it takes, at least of one of two letters."""
    names = [data.tokens(name) for name in data.first_names() if len(name) == (2 if nodes < 100_000 else 7)]

    def loss(params: Any, *names: Any) -> Any:
        return sum(models.gpt_loss(params, name) for name in names)

    return loss, data.gpt_params(), *names[: max(1, nodes // 59_631)]


def least_squares(nodes: int) -> tuple[Any, ...]:
    return models.least_squares, *data.decay(nodes // 7)


def lu(nodes: int) -> tuple[Any, ...]:
    return models.lu_determinant, data.matrix(round((1.5 * nodes) ** (1 / 3)))


GRAPHS: dict[str, Callable[[int], tuple[Any, ...]]] = {"mlp": mlp, "gpt": gpt, "least_squares": least_squares, "lu": lu}


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(graph: str, size: int) -> dict[str, Any]:
    """What one recording takes in this process."""
    import micrograd

    micrograd.compile(models.least_squares, backend="numpy").value_and_grad(*data.decay(5))  # all that is loaded once
    function, *args = GRAPHS[graph](size)
    program = micrograd.compile(function, backend="numpy")
    before = peak()
    program.value_and_grad(*args)
    return {"nodes": program.stats.nodes, "bytes": peak() - before, "seconds": program.stats.seconds}


def main(*graphs: str) -> None:
    print(f"{'graph':<14}{'nodes':>10}{'us/node':>9}{'B/node':>8}  us/node by stage: {', '.join(STAGES)}")
    for graph in graphs or GRAPHS:
        for size in SIZES[1:] if graph == "gpt" else SIZES:  # the shortest name has 27,015 nodes
            child = [sys.executable, __file__, "--one", graph, str(size)]
            found = json.loads(subprocess.run(child, check=True, capture_output=True, text=True).stdout)
            nodes, times = found["nodes"], [1e6 * found["seconds"][stage] / found["nodes"] for stage in STAGES]
            stages = "  ".join(f"{t:.2f}" for t in times)
            print(f"{graph:<14}{nodes:>10,}{sum(times):>9.2f}{found['bytes'] / nodes:>8.0f}  {stages}", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]))))
    else:
        main(*sys.argv[1:])
