"""Contestants: the workloads on this library's eager Values."""

from __future__ import annotations

from typing import Any

import data
import models
from contest import ADAM, TRAINED, Entry, flat

from micrograd import Value, trees, value_and_grad
from micrograd.optim import Adam

LABEL = "micrograd eager"


def values(tree: Any) -> Any:
    leaves, structure = trees.flatten(tree, "numbers")
    return trees.unflatten(structure, [Value(leaf) for leaf in leaves])


def gpt(names: int = 4) -> Entry:
    batches = [data.tokens(name) for name in data.first_names()[: max(names, TRAINED)]]
    gradient = flat(value_and_grad(models.gpt_loss)(data.gpt_params(), batches[0]))
    params = values(data.gpt_params())
    optimizer = Adam(trees.flatten(params, "params")[0], **ADAM)

    def step(tokens: list[int]) -> None:
        optimizer.zero_grad()
        models.gpt_loss(params, tokens).backward()
        optimizer.step()

    def run() -> None:
        for tokens in batches[:names]:
            step(tokens)

    for tokens in batches[:TRAINED]:
        step(tokens)
    return Entry({"gradient": gradient, "trained": [p.data for p in optimizer.parameters]}, run, names)


def gpt_batch() -> Entry:
    """Only the numbers of the first batch: the rest would take minutes."""
    found = [flat(value_and_grad(models.gpt_loss)(data.gpt_params(), tokens)) for tokens in data.batches(64)[0]]
    return Entry({"gradient": [sum(column) / len(found) for column in zip(*found, strict=True)]}, lambda: None, 0)


def once(f: Any, *args: Any) -> Entry:
    def run() -> Any:
        return value_and_grad(f)(*args)

    value, g = run()
    return Entry({"gradient": [value, *flat(g)]}, run)


def moons() -> Entry:
    return once(models.moons_loss, data.moons_layers(), *data.moons())


def mlp() -> Entry:
    return once(models.mlp_loss, data.layers(784, 50, 10), *data.image())


def asian(paths: int) -> Entry:
    """A hundred paths stand for the rest, which would take ten minutes."""
    rows = data.normals(paths)[:100].tolist()

    def run() -> list[float]:
        found = [flat(value_and_grad(models.asian_payoff)(data.MARKET, z)) for z in rows]
        return [sum(column) / len(found) for column in zip(*found, strict=True)]

    return Entry({"gradient": run()} if paths == len(rows) else {}, run, len(rows) * len(rows[0]))


def lu(n: int) -> Entry:
    return once(models.lu_determinant, *data.IRREGULAR["lu"][1](n))


def minors(n: int) -> Entry:
    return once(models.minors_determinant, *data.IRREGULAR["minors"][1](n))


def least_squares(n: int) -> Entry:
    return once(models.least_squares, *data.IRREGULAR["least_squares"][1](n))


def log_sum_exp(n: int) -> Entry:
    return once(models.log_sum_exp, *data.IRREGULAR["log_sum_exp"][1](n))


def ode(n: int) -> Entry:
    return once(models.van_der_pol, *data.IRREGULAR["ode"][1](n))
