"""Contestants: NumPy with backward passes written by hand, vectorised over everything."""

from __future__ import annotations

from typing import Any

import data
import numpy as np
from contest import ADAM, BATCH, NAMES, TRAINED, Entry, flat

LABEL = "NumPy by hand"


def rmsnorm(x: Any) -> tuple[Any, Any]:
    scale = (np.einsum("...i,...i->...", x, x)[..., None] / x.shape[-1] + 1e-5) ** -0.5
    return x * scale, scale


def rmsnorm_back(x: Any, scale: Any, dy: Any) -> Any:
    return scale * dy - x * (scale**3 * (np.einsum("...i,...i->...", x, dy)[..., None] / x.shape[-1]))


class GPT:
    """Parameters, gradients and moments as flat arrays, with views of the first two by name."""

    def __init__(self) -> None:
        self.p, self.g, self.mean, self.square = (np.zeros(4192) for _ in range(4))
        ends = np.cumsum([m * n for m, n in data.GPT_SHAPES.values()])
        cut = {name: (end - m * n, end, (m, n)) for end, (name, (m, n)) in zip(ends, data.GPT_SHAPES.items(), strict=True)}
        self.w = {name: self.p[a:b].reshape(shape) for name, (a, b, shape) in cut.items()}
        self.d = {name: self.g[a:b].reshape(shape) for name, (a, b, shape) in cut.items()}
        qkv = slice(cut["wq"][0], cut["wv"][1])
        self.w["qkv"], self.d["qkv"] = self.p[qkv].reshape(48, 16), self.g[qkv].reshape(48, 16)
        self.masks = {n: np.triu(np.full((n, n), -np.inf), 1) for n in range(1, 14)}
        self.start = np.array(flat(data.gpt_params()))
        self.reset()

    def reset(self) -> None:
        self.p[:] = self.start
        self.mean[:] = self.square[:] = 0.0
        self.steps = 0

    def gradient(self, tokens: Any) -> float:
        """The mean loss of names of one length, tokens being [names, length + 2]; its gradient is in g."""
        w, d = self.w, self.d
        names, n = tokens.shape[0], tokens.shape[1] - 1
        inputs, targets = tokens[:, :-1], tokens[:, 1:]
        e = w["wte"][inputs] + w["wpe"][:n]
        x1, s0 = rmsnorm(e)
        x2, s1 = rmsnorm(x1)
        q, k, v = (x2 @ w["qkv"].T).reshape(names, n, 3, 4, 4).transpose(2, 0, 3, 1, 4)
        z = q @ k.swapaxes(-1, -2) * 0.5 + self.masks[n]
        z = np.exp(z - z.max(-1, keepdims=True))
        z /= z.sum(-1, keepdims=True)
        a = (z @ v).swapaxes(1, 2).reshape(names, n, 16)
        x3 = a @ w["wo"].T + x1
        x4, s3 = rmsnorm(x3)
        r = np.maximum(x4 @ w["fc1"].T, 0.0)
        x5 = r @ w["fc2"].T + x3
        logits = x5 @ w["lm_head"].T
        logits -= logits.max(-1, keepdims=True)
        p = np.exp(logits)
        total = p.sum(-1, keepdims=True)
        at = (np.arange(names)[:, None], np.arange(n), targets)
        loss = (np.log(total[..., 0]) - logits[at]).mean()

        p /= total
        p[at] -= 1.0
        p /= names * n
        rows = names * n
        np.matmul(p.reshape(rows, 27).T, x5.reshape(rows, 16), out=d["lm_head"])
        dx5 = p @ w["lm_head"]
        np.matmul(dx5.reshape(rows, 16).T, r.reshape(rows, 64), out=d["fc2"])
        dh = dx5 @ w["fc2"] * (r > 0)
        np.matmul(dh.reshape(rows, 64).T, x4.reshape(rows, 16), out=d["fc1"])
        dx3 = dx5 + rmsnorm_back(x3, s3, dh @ w["fc1"])
        np.matmul(dx3.reshape(rows, 16).T, a.reshape(rows, 16), out=d["wo"])
        da = (dx3 @ w["wo"]).reshape(names, n, 4, 4).swapaxes(1, 2)
        dqkv = np.empty((names, n, 3, 4, 4))
        dz = da @ v.swapaxes(-1, -2)
        dz = (dz - np.einsum("...s,...s->...", dz, z)[..., None]) * z * 0.5
        dqkv[:, :, 0] = (dz @ k).swapaxes(1, 2)
        dqkv[:, :, 1] = (dz.swapaxes(-1, -2) @ q).swapaxes(1, 2)
        dqkv[:, :, 2] = (z.swapaxes(-1, -2) @ da).swapaxes(1, 2)
        np.matmul(dqkv.reshape(rows, 48).T, x2.reshape(rows, 16), out=d["qkv"])
        dx1 = dx3 + rmsnorm_back(x1, s1, dqkv.reshape(names, n, 48) @ w["qkv"])
        de = rmsnorm_back(e, s0, dx1)
        d["wte"][:] = 0.0
        np.add.at(d["wte"], inputs, de)
        d["wpe"][n:] = 0.0
        de.sum(0, out=d["wpe"][:n])
        return float(loss)

    def train(self, batches: Any) -> None:
        lr, (b1, b2), eps = ADAM["lr"], ADAM["betas"], ADAM["eps"]
        for tokens in batches:
            self.gradient(tokens)
            self.steps += 1
            self.mean += (1 - b1) * (self.g - self.mean)
            self.square += (1 - b2) * (self.g * self.g - self.square)
            root = np.sqrt(self.square)
            root *= 1 / np.sqrt(1 - b2**self.steps)
            root += eps
            self.p -= lr / (1 - b1**self.steps) * self.mean / root

    def entry(self, batches: Any) -> Entry:
        batches = [np.array(batch) for batch in batches]
        gradient = [self.gradient(batches[0]), *self.g.tolist()]
        self.train(batches[:TRAINED])
        numbers = {"gradient": gradient, "trained": self.p.tolist()}

        def run() -> None:
            self.reset()
            self.train(batches)

        return Entry(numbers, run, sum(map(len, batches)))


def gpt() -> Entry:
    return GPT().entry([[data.tokens(name)] for name in data.first_names()[:NAMES]])


def gpt_batch() -> Entry:
    return GPT().entry(data.batches(BATCH))


def mlp(times: int = 50) -> Entry:
    pixels, target = data.image()
    x = np.array(pixels)
    (w1, b1), (w2, b2) = [tuple(map(np.array, layer)) for layer in data.layers(784, 50, 10)]
    g1, g2 = np.empty_like(w1), np.empty_like(w2)

    def step() -> tuple[Any, ...]:
        h = np.tanh(w1 @ x + b1)
        logits = w2 @ h + b2
        p = np.exp(logits)
        total = p.sum()
        p /= total
        p[target] -= 1.0
        np.multiply.outer(p, h, out=g2)
        d = (p @ w2) * (1 - h * h)
        np.multiply.outer(d, x, out=g1)
        return np.log(total) - logits[target], g1, d, g2, p

    def run() -> None:
        for _ in range(times):
            step()

    return Entry({"gradient": [y for part in step() for y in flat(part)]}, run, times)


def asian(paths: int) -> Entry:
    z = data.normals(paths)
    steps = z.shape[1]
    (s0, sigma, r), dt = data.MARKET, 1.0 / steps

    def block(z: Any) -> Any:
        growth = np.exp((r - 0.5 * sigma**2) * dt + sigma * dt**0.5 * z)
        prices = np.cumprod(growth, 1)
        prices *= s0
        gain = prices.mean(1) - 100.0
        payoff = np.exp(-r) * np.maximum(gain, 0.0)
        bar = np.where(gain > 0, np.exp(-r) / steps, 0.0)[:, None]
        exponents = np.cumsum((bar * prices)[:, ::-1], 1)[:, ::-1]
        by_a, by_az = exponents.sum(), np.einsum("ij,ij->", exponents, z)
        vega = by_az * dt**0.5 - by_a * sigma * dt
        return np.array([payoff.sum(), exponents[:, 0].sum() / s0, vega, by_a * dt - payoff.sum()])

    def run() -> Any:
        return sum(block(z[i : i + 250]) for i in range(0, paths, 250)) / paths  # blocks that fit the cache

    return Entry({"gradient": run().tolist()}, run, z.size)
