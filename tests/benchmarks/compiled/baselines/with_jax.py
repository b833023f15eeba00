"""Contestants: JAX, float64, jitted, on one thread, as a user of JAX would write it."""

from __future__ import annotations

import functools
import os
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
os.environ["JAX_ENABLE_X64"] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

import data
import jax
import jax.numpy as jnp
import numpy as np
from contest import ADAM, BATCH, NAMES, TRAINED, Entry, flat

LABEL = "JAX jit"


def rmsnorm(x: Any) -> Any:
    return x * (jnp.mean(x * x, -1, keepdims=True) + 1e-5) ** -0.5


def name_loss(p: Any, tokens: Any) -> Any:
    n = tokens.shape[0] - 1
    x = rmsnorm(p["wte"][tokens[:-1]] + p["wpe"][:n])
    residual, x = x, rmsnorm(x)
    q, k, v = (jnp.reshape(x @ p[name].T, (n, 4, 4)) for name in ("wq", "wk", "wv"))
    z = jnp.einsum("thd,shd->hts", q, k) * 0.5
    z = jax.nn.softmax(jnp.where(jnp.tril(jnp.ones((n, n), bool)), z, -jnp.inf))
    x = jnp.einsum("hts,shd->thd", z, v).reshape(n, 16) @ p["wo"].T + residual
    x = x + jax.nn.relu(rmsnorm(x) @ p["fc1"].T) @ p["fc2"].T
    logits = jax.nn.log_softmax(x @ p["lm_head"].T)
    return -jnp.take_along_axis(logits, tokens[1:, None], 1).mean()


def batch_loss(p: Any, tokens: Any) -> Any:
    return jax.vmap(name_loss, (None, 0))(p, tokens).mean()


def entry(loss: Any, batches: Any, units: int) -> Entry:
    lr, (b1, b2), eps = ADAM["lr"], ADAM["betas"], ADAM["eps"]

    @functools.partial(jax.jit, donate_argnums=(0, 1, 2, 3))
    def step(p: Any, mean: Any, square: Any, count: Any, tokens: Any) -> Any:
        value, g = jax.value_and_grad(loss)(p, tokens)
        count = count + 1
        mean = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, mean, g)
        square = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, square, g)
        rate, scale = lr / (1 - b1**count), jax.lax.rsqrt(1 - b2**count)
        p = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) * scale + eps), p, mean, square)
        return p, mean, square, count, value

    def fresh() -> Any:
        p = {name: jnp.array(rows) for name, rows in data.gpt_params().items()}
        return p, jax.tree.map(jnp.zeros_like, p), jax.tree.map(jnp.zeros_like, p), jnp.zeros(())

    tokens = [jnp.array(batch, dtype=jnp.int32) for batch in batches]
    value, g = jax.jit(jax.value_and_grad(loss))(fresh()[0], tokens[0])
    start = fresh()
    state = jax.tree.map(jnp.copy, start)
    for batch in tokens[:TRAINED]:
        *state, _ = step(*state, batch)
    order = data.GPT_SHAPES
    numbers = {
        "gradient": [float(value), *(x for name in order for x in flat(g[name]))],
        "trained": [x for name in order for x in flat(state[0][name])],
    }

    def run() -> None:
        state = jax.tree.map(jnp.copy, start)  # the steps overwrite it
        for batch in tokens:
            *state, _ = step(*state, batch)
        jax.block_until_ready(state)

    return Entry(numbers, run, units)


def gpt() -> Entry:
    return entry(name_loss, [data.tokens(name) for name in data.first_names()[:NAMES]], NAMES)


def gpt_batch() -> Entry:
    batches = data.batches(BATCH)
    return entry(batch_loss, batches, BATCH * len(batches))


def mlp(times: int = 50) -> Entry:
    pixels, target = data.image()
    params, x = [tuple(map(jnp.array, layer)) for layer in data.layers(784, 50, 10)], jnp.array(pixels)

    @jax.jit
    @jax.value_and_grad
    def gradient(params: Any, x: Any, target: Any) -> Any:
        (w1, b1), (w2, b2) = params
        logits = w2 @ jnp.tanh(w1 @ x + b1) + b2
        return jax.nn.logsumexp(logits) - logits[target]

    def run() -> None:
        for _ in range(times):
            jax.block_until_ready(gradient(params, x, target))

    value, g = gradient(params, x, target)
    return Entry({"gradient": [float(value), *(y for pair in g for part in pair for y in flat(part))]}, run, times)


def asian(paths: int) -> Entry:
    z = jnp.array(data.normals(paths))
    steps = z.shape[1]

    @jax.jit
    @jax.value_and_grad
    def price(market: Any, z: Any) -> Any:
        s, sigma, r = market
        dt = 1.0 / steps
        drift, noise = (r - 0.5 * sigma**2) * dt, sigma * dt**0.5

        def step(carry: Any, z: Any) -> Any:
            s, total = carry
            s = s * jnp.exp(drift + noise * z)
            return (s, total + s), None

        start = jnp.full(z.shape[0], s), jnp.zeros(z.shape[0])
        (_, total), _ = jax.lax.scan(step, start, z.T)
        return (jnp.exp(-r) * jax.nn.relu(total / steps - 100.0)).mean()

    market = jnp.array(data.MARKET)
    blocks = [z[i : i + 1000] for i in range(0, paths, 1000)]  # measured: faster than all paths at once

    def run() -> Any:
        found = [price(market, block) for block in blocks]
        return np.mean([[float(value), *g] for value, g in found], axis=0)

    return Entry({"gradient": run().tolist()}, run, z.size)


def timed(f: Any, *args: Any, wrt: Any = 0) -> Entry:
    gradient = jax.jit(jax.value_and_grad(f, wrt))

    def run() -> Any:
        return jax.block_until_ready(gradient(*args))

    value, g = run()
    return Entry({"gradient": [float(value), *flat(list(g) if isinstance(g, tuple) else g)]}, run)


def lu(n: int) -> Entry:
    return timed(jnp.linalg.det, jnp.array(data.matrix(n)))


def least_squares(points: int) -> Entry:
    p, x, y = map(jnp.array, data.decay(points))
    return timed(lambda p, x, y: ((p[0] * jnp.exp(-p[1] * x) + p[2] - y) ** 2).sum(), p, x, y)


def log_sum_exp(n: int) -> Entry:
    return timed(jax.nn.logsumexp, jnp.array(data.spread(n)))


def ode(steps: int) -> Entry:
    def f(start: Any) -> Any:
        mu, h = start[2], 0.01

        def slope(y: Any) -> Any:
            return jnp.array([y[1], mu * (1.0 - y[0] * y[0]) * y[1] - y[0]])

        def step(y: Any, _: Any) -> Any:
            k1 = slope(y)
            k2 = slope(y + 0.5 * h * k1)
            k3 = slope(y + 0.5 * h * k2)
            k4 = slope(y + h * k3)
            return y + (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4), None

        return jax.lax.scan(step, start[:2], None, length=steps)[0][0]

    return timed(f, jnp.array(data.OSCILLATOR))
