"""Contestant: micrograd 0.1.0 on the moons loss, by the code of the eager engine's own measurement."""

from __future__ import annotations

import itertools
import sys

from contest import PEER, Entry, Skip

LABEL = "micrograd 0.1.0"


def moons() -> Entry:
    if not PEER.exists():
        raise Skip("run tests/benchmarks/run.py once: it installs micrograd 0.1.0")
    sys.path.insert(0, str(PEER))
    import workloads

    engine = workloads.micrograd_010()
    value, *rest = workloads.scalar_moons(engine)["numbers"]  # neuron by neuron, the bias last
    by_layer, numbers = iter(rest), [value]
    for n, m in itertools.pairwise(workloads.SIZES):
        neurons = [[next(by_layer) for _ in range(n + 1)] for _ in range(m)]
        numbers += [w for neuron in neurons for w in neuron[:-1]] + [neuron[-1] for neuron in neurons]
    return Entry({"gradient": numbers}, lambda: workloads.scalar_moons(engine))
