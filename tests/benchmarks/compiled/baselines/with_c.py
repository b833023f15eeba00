"""Contestants: C written by hand, ``-O3 -march=native -ffast-math``, called through ctypes."""

from __future__ import annotations

import ctypes
from typing import Any

import data
import numpy as np
from contest import ADAM, BATCH, FAST, NAMES, TRAINED, Entry, Skip, aligned, flat, library, pointer

LABEL = "hand-written C"


class Adam(ctypes.Structure):
    _fields_ = [(name, ctypes.c_double) for name in ("lr", "b1", "b2", "eps", "power1", "power2")]


class GPT:
    """The parameters, the state of Adam and the functions of gpt.c."""

    def __init__(self, flags: tuple[str, ...] = FAST) -> None:
        self.code = library("gpt.c", flags)
        self.code.gpt_grad.restype = self.code.gpt_train.restype = ctypes.c_double
        self.arrays = [aligned(4192 + 128) for _ in range(3)]
        self.start = np.array(flat(data.gpt_params()))
        self.reset()

    def reset(self) -> None:
        for array, start in zip(self.arrays, (self.start, 0.0, 0.0), strict=True):
            array[:4192] = start
        self.adam = Adam(ADAM["lr"], *ADAM["betas"], ADAM["eps"], 1.0, 1.0)

    def gradient(self, batch: Any) -> list[float]:
        tokens, found = np.array(batch, dtype=np.int32), aligned(4192)
        loss = self.code.gpt_grad(pointer(self.arrays[0]), pointer(tokens), tokens.shape[1] - 1, len(tokens), pointer(found))
        return [loss, *found.tolist()]

    def prepare(self, batches: Any) -> tuple[Any, Any]:
        tokens = np.concatenate([np.array(batch, dtype=np.int32).ravel() for batch in batches])
        return tokens, np.array([len(batch[0]) - 1 for batch in batches], dtype=np.int32)

    def train(self, tokens: Any, lengths: Any, names: int) -> None:
        self.code.gpt_train(
            *map(pointer, self.arrays), pointer(tokens), pointer(lengths), len(lengths), names, ctypes.byref(self.adam)
        )

    def entry(self, batches: Any, names: int) -> Entry:
        gradient = self.gradient(batches[0])
        self.train(*self.prepare(batches[:TRAINED]), names)
        numbers = {"gradient": gradient, "trained": self.arrays[0][:4192].tolist()}
        prepared = self.prepare(batches)

        def run() -> None:
            self.reset()
            self.train(*prepared, names)

        return Entry(numbers, run, len(batches) * names)


def gpt(flags: tuple[str, ...] = FAST) -> Entry:
    return GPT(flags).entry([[data.tokens(name)] for name in data.first_names()[:NAMES]], 1)


def gpt_batch(flags: tuple[str, ...] = FAST) -> Entry:
    return GPT(flags).entry(data.batches(BATCH), BATCH)


def mlp(flags: tuple[str, ...] = FAST, times: int = 50) -> Entry:
    code = library("mlp.c", flags)
    code.mlp_many.restype = ctypes.c_double
    pixels, target = data.image()
    params, x, found = aligned(39760), aligned(784), aligned(39760)
    params[:] = flat(data.layers(784, 50, 10))
    x[:] = pixels

    def run(times: int = times) -> float:
        return float(code.mlp_many(pointer(params), pointer(x), target, pointer(found), times))

    return Entry({"gradient": [run(1), *found.tolist()]}, run, times)


def asian(paths: int, flags: tuple[str, ...] = FAST) -> Entry:
    if paths % 40:
        raise Skip("goes by blocks of up to 40 paths")
    code = library("asian.c", flags)
    z, market, found = data.normals(paths), np.array(data.MARKET), np.zeros(4)

    def run() -> None:
        code.asian(pointer(market), pointer(z), ctypes.c_long(paths), z.shape[1], pointer(found))

    run()
    return Entry({"gradient": found.tolist()}, run, z.size)


def lu(n: int) -> Entry:
    code = library("lu.c")
    code.lu_grad.restype = ctypes.c_double
    a, room, found = np.array(data.matrix(n)), np.zeros((n, n)), np.zeros((n, n))

    arguments = pointer(a), n, pointer(room), pointer(found)
    value = code.lu_grad(*arguments)
    kept = a, room, found
    return Entry({"gradient": [value, *found.ravel().tolist()]}, lambda: (code.lu_grad(*arguments), kept))


def least_squares(points: int) -> Entry:
    code = library("least_squares.c")
    code.least_squares_grad.restype = ctypes.c_double
    p, x, y = map(np.array, data.decay(points))
    found = np.zeros(3)

    arguments = pointer(p), pointer(x), pointer(y), points, pointer(found)
    value = code.least_squares_grad(*arguments)
    kept = p, x, y, found
    return Entry({"gradient": [value, *found.tolist()]}, lambda: (code.least_squares_grad(*arguments), kept))
