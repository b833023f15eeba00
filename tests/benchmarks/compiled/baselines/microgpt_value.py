"""Contestant: the same scalar code on an engine in the manner of microgpt: four slots, local gradients, a recursive sort."""

from __future__ import annotations

import math
import sys
from typing import Any

import data
import models
from contest import ADAM, TRAINED, Entry, flat

LABEL = "scalar Value, microgpt style"
sys.setrecursionlimit(1_000_000)


class Value:
    __slots__ = ("_children", "_local_grads", "data", "grad")

    def __init__(self, data: float, children: tuple[Value, ...] = (), local_grads: tuple[float, ...] = ()) -> None:
        self.data = data
        self.grad = 0.0
        self._children = children
        self._local_grads = local_grads

    def __add__(self, other: Any) -> Value:
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data + other.data, (self, other), (1.0, 1.0))

    def __mul__(self, other: Any) -> Value:
        other = other if isinstance(other, Value) else Value(other)
        return Value(self.data * other.data, (self, other), (other.data, self.data))

    def __pow__(self, n: float) -> Value:
        return Value(self.data**n, (self,), (n * self.data ** (n - 1),))

    def log(self) -> Value:
        return Value(math.log(self.data), (self,), (1 / self.data,))

    def exp(self) -> Value:
        e = math.exp(self.data)
        return Value(e, (self,), (e,))

    def relu(self) -> Value:
        return Value(max(0.0, self.data), (self,), (float(self.data > 0),))

    def __neg__(self) -> Value:
        return self * -1

    def __sub__(self, other: Any) -> Value:
        return self + (-other)

    def __truediv__(self, other: Any) -> Value:
        return self * other**-1

    __radd__, __rmul__ = __add__, __mul__

    def backward(self) -> None:
        order: list[Value] = []
        seen = set()

        def visit(v: Value) -> None:
            if v not in seen:
                seen.add(v)
                for child in v._children:
                    visit(child)
                order.append(v)

        visit(self)
        self.grad = 1.0
        for v in reversed(order):
            for child, local in zip(v._children, v._local_grads, strict=True):
                child.grad += local * v.grad


scalar = models.on(
    {
        "exp": Value.exp,
        "log": Value.log,
        "relu": Value.relu,
        "maximum": lambda a, b: a if a.data > b.data else b,
        "detach": lambda v: v.data,
        "take": lambda table, index: table[index],
    }
)


def gpt(names: int = 4) -> Entry:
    params = {name: [[Value(x) for x in row] for row in rows] for name, rows in data.gpt_params().items()}
    leaves = [x for rows in params.values() for row in rows for x in row]
    mean, square = [0.0] * len(leaves), [0.0] * len(leaves)
    lr, (b1, b2), eps = ADAM["lr"], ADAM["betas"], ADAM["eps"]
    batches = [data.tokens(name) for name in data.first_names()[: max(names, TRAINED)]]
    steps = 0

    def step(tokens: list[int]) -> None:
        nonlocal steps
        scalar.gpt_loss(params, tokens).backward()
        steps += 1
        for i, p in enumerate(leaves):
            mean[i] = b1 * mean[i] + (1 - b1) * p.grad
            square[i] = b2 * square[i] + (1 - b2) * p.grad**2
            p.data -= lr * mean[i] / (1 - b1**steps) / ((square[i] / (1 - b2**steps)) ** 0.5 + eps)
            p.grad = 0.0

    def run() -> None:
        for tokens in batches[:names]:
            step(tokens)

    loss = scalar.gpt_loss(params, batches[0])
    loss.backward()
    gradient = [loss.data, *(p.grad for p in leaves)]
    for p in leaves:
        p.grad = 0.0
    for tokens in batches[:TRAINED]:
        step(tokens)
    return Entry({"gradient": gradient, "trained": flat([p.data for p in leaves])}, run, names)
