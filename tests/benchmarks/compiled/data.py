"""The numbers that the workloads run on: real names, images, normals and starting weights, the same on every run."""

from __future__ import annotations

import importlib
import itertools
import math
import random
from pathlib import Path
from typing import Any

BOS, VOCABULARY, WIDTH, BLOCK = 26, 27, 16, 16
GPT_SHAPES = {
    "wte": (VOCABULARY, WIDTH),
    "wpe": (BLOCK, WIDTH),
    "lm_head": (VOCABULARY, WIDTH),
    "wq": (WIDTH, WIDTH),
    "wk": (WIDTH, WIDTH),
    "wv": (WIDTH, WIDTH),
    "wo": (WIDTH, WIDTH),
    "fc1": (4 * WIDTH, WIDTH),
    "fc2": (WIDTH, 4 * WIDTH),
}


def gpt_params() -> dict[str, list[list[float]]]:
    """4,192 normals of deviation 0.08, as rows of outputs."""
    draw = random.Random(42)
    return {name: [[draw.gauss(0, 0.08) for _ in range(n)] for _ in range(m)] for name, (m, n) in GPT_SHAPES.items()}


def first_names() -> list[str]:
    """The distinct first names of 2 to 12 letters of the ``names`` package, shuffled."""
    import names

    files = [names.FILES["first:male"], names.FILES["first:female"]]
    words = {line.split()[0].lower() for file in files for line in Path(file).read_text().splitlines()}
    chosen = sorted(word for word in words if 2 <= len(word) <= 12 and word.isascii() and word.isalpha())
    random.Random(42).shuffle(chosen)
    return chosen


def tokens(name: str) -> list[int]:
    return [BOS, *(ord(letter) - ord("a") for letter in name), BOS]


def batches(size: int) -> list[list[list[int]]]:
    """The names in batches of one length each, shuffled; names are used again where a length has too few."""
    by_length: dict[int, list[list[int]]] = {}
    for name in first_names():
        by_length.setdefault(len(name), []).append(tokens(name))
    found = []
    for group in by_length.values():
        count = max(1, round(len(group) / size))
        found += [[group[(i * size + j) % len(group)] for j in range(size)] for i in range(count)]
    random.Random(42).shuffle(found)
    return found


def layers(*sizes: int) -> list[Any]:
    """For each layer its rows of weights and its biases."""
    draw = random.Random(1337)
    found = []
    for n, m in itertools.pairwise(sizes):
        weights = [[draw.uniform(-1, 1) / math.sqrt(n) for _ in range(n)] for _ in range(m)]
        found.append((weights, [draw.uniform(-0.1, 0.1) for _ in range(m)]))
    return found


def moons() -> tuple[list[list[float]], list[float]]:
    """The 100 points of the eager engine's workload, and their labels -1 and 1."""
    return importlib.import_module("workloads").moons()  # type: ignore[no-any-return]


def moons_layers() -> list[Any]:
    found = importlib.import_module("workloads").initial_weights()
    return [([weights for weights, _ in layer], [bias for _, bias in layer]) for layer in found]


def image(size: int = 784) -> tuple[list[float], int]:
    draw = random.Random(7)
    return [draw.random() for _ in range(size)], 3


def digits() -> tuple[list[list[float]], list[int]]:
    """The 1,797 images of scikit-learn with pixels from 0 to 1, and their digits."""
    from sklearn.datasets import load_digits

    found = load_digits()
    return (found.data / 16.0).tolist(), found.target.tolist()


MARKET = [100.0, 0.2, 0.05]  # spot, volatility, rate


def normals(paths: int, steps: int = 252) -> Any:
    """An array of paths by steps."""
    import numpy as np

    return np.random.default_rng(42).standard_normal((paths, steps))


def matrix(n: int) -> list[list[float]]:
    """A matrix that needs no pivoting, of a determinant near 1."""
    draw = random.Random(n)
    return [[draw.uniform(-1, 1) / n + (1.0 if i == j else 0.0) for j in range(n)] for i in range(n)]


def decay(points: int) -> tuple[list[float], list[float], list[float]]:
    """A model [a, b, c] and noisy points of a decay near it."""
    draw = random.Random(points)
    xs = [3.0 * i / points for i in range(points)]
    return [2.0, 1.1, 0.3], xs, [2.5 * math.exp(-1.3 * x) + 0.5 + draw.gauss(0, 0.1) for x in xs]


def spread(n: int) -> list[float]:
    draw = random.Random(n)
    return [draw.gauss(0, 1) for _ in range(n)]


OSCILLATOR = [1.0, 0.5, 1.0]  # x, velocity, mu

IRREGULAR: dict[str, Any] = {  # name: (sizes with 10**3 to 10**6 operations, arguments by size)
    "lu": ((12, 25, 40, 54, 115), lambda n: (matrix(n),)),
    "minors": ((5, 6, 7, 8, 9), lambda n: (matrix(n),)),
    "least_squares": ((140, 1_400, 14_000, 140_000), decay),
    "log_sum_exp": ((500, 5_000, 50_000, 500_000), lambda n: (spread(n),)),
    "ode": ((20, 200, 2_000, 20_000), lambda n: (OSCILLATOR, n)),
}
