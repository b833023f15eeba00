"""Contestants: PyTorch, eager, float64, one thread, in its standard loops."""

from __future__ import annotations

from typing import Any

import data
import torch
from contest import Entry, flat

torch.set_num_threads(1)
torch.set_default_dtype(torch.float64)
LABEL = "PyTorch eager"


def network(*sizes: int, activation: Any) -> Any:
    parts = []
    for weights, biases in data.layers(*sizes):
        linear = torch.nn.Linear(len(weights[0]), len(weights))
        with torch.no_grad():
            linear.weight[:] = torch.tensor(weights)
            linear.bias[:] = torch.tensor(biases)
        parts += [linear, activation()]
    return torch.nn.Sequential(*parts[:-1])


def mlp(times: int = 50) -> Entry:
    model = network(784, 50, 10, activation=torch.nn.Tanh)
    pixels, target = data.image()
    x, y = torch.tensor(pixels), torch.tensor(target)

    def step() -> Any:
        model.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        return loss

    def run() -> None:
        for _ in range(times):
            step()

    return Entry({"gradient": [float(step()), *(g for p in model.parameters() for g in flat(p.grad))]}, run, times)


def digits() -> Entry:
    model = network(64, 50, 10, activation=torch.nn.ReLU)
    images, targets = data.digits()
    x, y = torch.tensor(images), torch.tensor(targets)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def run() -> None:
        for i in range(0, len(x), 64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(x[i : i + 64]), y[i : i + 64])
            loss.backward()
            optimizer.step()

    run()
    return Entry({"trained": [w for p in model.parameters() for w in flat(p)]}, run)


def timed(f: Any, *args: Any) -> Entry:
    leaf = torch.tensor(args[0], requires_grad=True)
    rest = [torch.tensor(arg) for arg in args[1:]]

    def run() -> Any:
        leaf.grad = None
        value = f(leaf, *rest)
        value.backward()
        return value

    return Entry({"gradient": [float(run()), *flat(leaf.grad)]}, run)


def lu(n: int) -> Entry:
    return timed(torch.linalg.det, data.matrix(n))


def least_squares(points: int) -> Entry:
    return timed(lambda p, x, y: ((p[0] * torch.exp(-p[1] * x) + p[2] - y) ** 2).sum(), *data.decay(points))


def log_sum_exp(n: int) -> Entry:
    return timed(lambda x: torch.logsumexp(x, 0), data.spread(n))
