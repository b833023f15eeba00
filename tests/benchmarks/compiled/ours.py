"""Contestant: the compiler, by its public interface."""

from __future__ import annotations

import functools
import os
import tempfile
import time
from collections.abc import Callable
from typing import Any

import data
import models
import numpy as np
from contest import ADAM, BATCH, NAMES, TRAINED, Entry, flat

import micrograd
from micrograd import Value, trees
from micrograd.compile.training import orders
from micrograd.optim import SGD, Adam

LABEL = "micrograd.compile"
EPOCHS = 4  # in one run

CACHE = tempfile.TemporaryDirectory()  # a new one: no workload is there yet
os.environ["MICROGRAD_CACHE"] = CACHE.name
micrograd.compile(lambda x: x * x, backend="native")(1.0)  # but the interpreter is, which a machine compiles once


def values(tree: Any) -> Any:
    leaves, structure = trees.flatten(tree, "numbers")
    return trees.unflatten(structure, [Value(leaf) for leaf in leaves])


def trained(program: Any, tree: Any) -> list[float]:
    """The program's numbers in the order of the tree's Values: its own order is that of their first use."""
    numbers = dict(zip(map(id, program.parameters.values), program.parameters.data.tolist(), strict=True))
    return [numbers[id(v)] for v in trees.flatten(tree, "numbers")[0]]


def in_order(examples: Any) -> Any:
    """The examples so placed that the first epoch of ``fit`` goes through them in this order."""
    placed = list(examples)
    for example, place in zip(examples, next(orders(len(examples), 0)).tolist(), strict=True):
        placed[place] = example
    return placed


def train_gpt(steps: list[Any], batched: bool = False) -> Entry:
    """One name a step, or one batch of names."""
    how: dict[str, Any] = {"batch": (None, 0), "reduce": "mean"} if batched else {}
    gradient = micrograd.compile(models.gpt_loss, **how).value_and_grad(data.gpt_params(), steps[0])

    def ready() -> tuple[Callable[[], list[float]], Callable[..., object]]:
        params = values(data.gpt_params())
        how: dict[str, Any] = {"batch": (0,), "reduce": "mean"} if batched else {}
        program = micrograd.compile(lambda tokens: models.gpt_loss(params, tokens), **how)
        program(steps[0])  # records, so that the program knows its parameters
        optimizer = Adam(program.parameters, **ADAM)

        def train(some: Any, epochs: int = 1) -> object:
            return micrograd.fit(program, some, optimizer, epochs, 1, progress=False)

        return (lambda: trained(program, params)), train

    read, train = ready()
    train(in_order([(step,) for step in steps[:TRAINED]]))
    numbers = {"gradient": flat(gradient), "trained": read()}
    _, train = ready()
    examples = in_order([(step,) for step in steps])
    names = sum(map(len, steps)) if batched else len(steps)
    return Entry(numbers, lambda: train(examples, EPOCHS), EPOCHS * names)


def gpt() -> Entry:
    return train_gpt([data.tokens(name) for name in data.first_names()[:NAMES]])


def gpt_batch() -> Entry:
    return train_gpt([np.array(batch) for batch in data.batches(BATCH)], batched=True)


def gradient_of(f: Any, *args: Any, **how: Any) -> Entry:
    start = time.perf_counter()
    program = micrograd.compile(f, backend="native", **how)
    value, found = program.value_and_grad(*args)
    first = time.perf_counter() - start
    bound = program.bind(*args)
    value_alone = functools.cache(lambda: program.bind(*args, wrt=None))  # compiled when it is first asked for
    return Entry({"gradient": [float(value), *flat(found)]}, bound, 1, lambda: value_alone()(), first)


def arrays(layers: Any) -> Any:
    return [tuple(map(np.array, layer)) for layer in layers]


def moons() -> Entry:
    points, labels = (np.array(part, float) for part in data.moons())
    layers = arrays(data.moons_layers())
    return gradient_of(models.moons_example, layers, points, labels, batch=(None, 0, 0), reduce="mean")


def mlp() -> Entry:
    pixels, target = data.image()
    return gradient_of(models.mlp_loss, arrays(data.layers(784, 50, 10)), np.array(pixels), target)


def digits() -> Entry:
    images, targets = map(np.array, data.digits())
    layers = values(data.layers(64, 50, 10))
    program = micrograd.compile(lambda x, y: models.digits_loss(layers, x, y), batch=(0, 0), reduce="mean")
    program(images[:64], targets[:64])
    optimizer = SGD(program.parameters, lr=0.1)

    def run() -> None:
        for i in range(0, len(images), 64):
            program.backward(images[i : i + 64], targets[i : i + 64])
            optimizer.step()
            optimizer.zero_grad()

    run()
    return Entry({"trained": trained(program, layers)}, run)


def asian(paths: int) -> Entry:
    z = data.normals(paths)
    entry = gradient_of(models.asian_payoff, np.array(data.MARKET), z, batch=(None, 0), reduce="mean")
    entry.units = z.size
    return entry


def lu(n: int) -> Entry:
    return gradient_of(models.lu_determinant, np.array(data.matrix(n)))


def minors(n: int) -> Entry:
    return gradient_of(lambda matrix: models.minors_determinant(list(map(list, matrix))), np.array(data.matrix(n)))


def least_squares(points: int) -> Entry:
    return gradient_of(models.least_squares, *map(np.array, data.decay(points)))


def log_sum_exp(n: int) -> Entry:
    return gradient_of(models.log_sum_exp, np.array(data.spread(n)))


def ode(steps: int) -> Entry:
    return gradient_of(models.van_der_pol, np.array(data.OSCILLATOR), steps)
