"""The workloads, written once for every engine, and the engines that run them.

Each engine runs in a process of its own (two of them are named micrograd), as ``python workloads.py ENGINE WORKLOAD``,
and prints its seconds, its peak memory and the numbers that it found as JSON.
"""

from __future__ import annotations

import gc
import importlib
import itertools
import json
import math
import random
import sys
import time
import tracemalloc
from types import SimpleNamespace
from typing import Any

SIZES = [2, 16, 16, 1]


def moons(n: int = 100) -> tuple[list[list[float]], list[float]]:
    """Two interleaved half circles with noise, and their labels -1 and 1."""
    draw = random.Random(1337)
    points, labels = [], []
    for i in range(n):
        angle, upper = math.pi * (i // 2) / (n // 2), i % 2 == 0
        x, y = (math.cos(angle), math.sin(angle)) if upper else (1 - math.cos(angle), 0.5 - math.sin(angle))
        points.append([x + draw.gauss(0, 0.1), y + draw.gauss(0, 0.1)])
        labels.append(1.0 if upper else -1.0)
    return points, labels


def initial_weights() -> list[list[tuple[list[float], float]]]:
    """For each layer the (weights, bias) of its neurons, drawn as micrograd draws them."""
    draw = random.Random(1337)
    return [[([draw.uniform(-1, 1) for _ in range(n)], 0.0) for _ in range(m)] for n, m in itertools.pairwise(SIZES)]


# ----------------------------------------------------------------------------------------------------------- engines


def our_engine() -> SimpleNamespace:
    from micrograd.engine import Value

    return SimpleNamespace(
        number=Value, relu=Value.relu, backward=lambda v: v.backward(), grad=lambda v: v.grad, data=lambda v: v.data
    )


def micrograd_010() -> SimpleNamespace:
    return our_engine()  # the same names, from the other folder on sys.path


def torch_scalars() -> SimpleNamespace:
    torch = importlib.import_module("torch")
    torch.set_num_threads(1)
    return SimpleNamespace(
        number=lambda x: torch.tensor(x, dtype=torch.float64, requires_grad=True),
        relu=torch.relu,
        backward=lambda v: v.backward(),
        grad=lambda v: v.grad.item(),
        data=lambda v: v.item(),
    )


def xad_engine() -> SimpleNamespace:
    xad, maths = importlib.import_module("xad.adj_1st"), importlib.import_module("xad.math")
    tape = xad.Tape()
    tape.activate()

    def number(x: float) -> Any:
        real = xad.Real(x)
        tape.registerInput(real)
        return real

    def backward(v: Any) -> None:
        tape.registerOutput(v)
        v.setDerivative(1.0)
        tape.computeAdjoints()

    return SimpleNamespace(
        number=number,
        relu=lambda v: maths.max(v, 0.0),
        backward=backward,
        grad=lambda v: v.getDerivative(),
        data=lambda v: v.getValue(),
        begin=tape.newRecording,
        clear=tape.clearAll,
    )


ENGINES = {"ours": our_engine, "micrograd": micrograd_010, "torch": torch_scalars, "xad": xad_engine}


# --------------------------------------------------------------------------------------------------------- workloads


def scalar_moons(engine: SimpleNamespace) -> dict[str, Any]:
    """The moons loss written with * and +: 64,000 nodes forward and backward."""
    number, relu = engine.number, engine.relu
    points, labels = moons()
    layers = [[([number(w) for w in ws], number(b)) for ws, b in layer] for layer in initial_weights()]
    if hasattr(engine, "begin"):
        engine.begin()
    start = time.perf_counter()
    total = number(0.0)
    for point, label in zip(points, labels, strict=True):
        h = [number(x) for x in point]
        for depth, layer in enumerate(layers):
            out = []
            for weights, bias in layer:
                a = bias
                for w, x in zip(weights, h, strict=True):
                    a = a + w * x
                out.append(relu(a) if depth < len(layers) - 1 else a)
            h = out
        total = total + relu(h[0] * -label + 1.0)
    loss = total * (1.0 / len(points))
    forward = time.perf_counter()
    engine.backward(loss)
    backward = time.perf_counter()
    value, grads = engine.data(loss), [engine.grad(w) for layer in layers for ws, b in layer for w in [*ws, b]]
    read = time.perf_counter()
    del loss, total, h, out, a
    seconds = time.perf_counter() - read + backward - start
    if hasattr(engine, "clear"):
        engine.clear()
    return {"seconds": seconds, "forward": forward - start, "backward": backward - forward, "numbers": [value, *grads]}


def mlp_moons(engine: SimpleNamespace) -> dict[str, Any]:
    """The same loss through the package's own nn.MLP."""
    from micrograd.nn import MLP

    points, labels = moons()
    model = MLP(SIZES[0], SIZES[1:])
    for p, value in zip(
        model.parameters(), [x for layer in initial_weights() for ws, b in layer for x in [*ws, b]], strict=True
    ):
        p.data = value
    start = time.perf_counter()
    losses = [(model(point) * -label + 1.0).relu() for point, label in zip(points, labels, strict=True)]
    loss = sum(losses) * (1.0 / len(losses))
    forward = time.perf_counter()
    loss.backward()
    backward = time.perf_counter()
    numbers = [loss.data, *(p.grad for p in model.parameters())]
    read = time.perf_counter()
    del loss, losses
    seconds = time.perf_counter() - read + backward - start
    return {"seconds": seconds, "forward": forward - start, "backward": backward - forward, "numbers": numbers}


def chain(engine: SimpleNamespace) -> dict[str, Any]:
    """A chain of 1,000,000 additions."""
    x = engine.number(1.0)
    start = time.perf_counter()
    y = x
    for _ in range(1_000_000):
        y = y + x
    forward = time.perf_counter()
    engine.backward(y)
    backward = time.perf_counter()
    numbers = [engine.data(y), engine.grad(x)]
    read = time.perf_counter()
    del y
    seconds = time.perf_counter() - read + backward - start
    return {"seconds": seconds, "forward": forward - start, "backward": backward - forward, "numbers": numbers}


WORKLOADS = {"scalar_moons": scalar_moons, "mlp_moons": mlp_moons, "chain": chain}


def main(engine_name: str, workload: str, repeats: int, collector: str, memory: str) -> None:
    engine = ENGINES[engine_name]()
    if collector == "off":
        gc.disable()
    if memory == "memory":
        gc.collect()
        tracemalloc.start()
        run = WORKLOADS[workload](engine)
        print(json.dumps([{**run, "peak": tracemalloc.get_traced_memory()[1]}]))
        return
    runs = [WORKLOADS[workload](engine) for _ in range(repeats)]
    print(json.dumps(runs))


if __name__ == "__main__":
    name, what, count, gc_state, measure = sys.argv[1:]
    main(name, what, int(count), gc_state, measure)
