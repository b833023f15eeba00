"""The workloads of the compiler, written one scalar at a time as a user would write them.

Every function here is plain code on numbers in nested lists.  It runs on floats, on eager Values and on the symbols that
the compiler traces alike: nothing reads ``.data`` and nothing branches on a Value.  ``on(functions)`` gives the same code
over another library's scalars, with its ``exp``, ``log`` and so on in the place of micrograd's.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from micrograd import detach, exp, log, maximum, relu, take, tanh

Row = list[Any]
Matrix = list[Row]


def on(functions: Mapping[str, Any]) -> ModuleType:
    """This module once more, with its functions of scalars taken from ``functions``."""
    spec = importlib.util.spec_from_file_location("models_on", __file__)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    vars(module).update(functions)
    return module


def linear(x: Row, w: Matrix) -> Row:
    return [sum(wi * xi for wi, xi in zip(row, x, strict=True)) for row in w]


# ---------------------------------------------------------------------------------------------------------- microgpt

HEADS, HEAD = 4, 4


def softmax(logits: Row) -> Row:
    highest = detach(functools.reduce(maximum, logits))
    exps = [exp(z - highest) for z in logits]
    total = sum(exps)
    return [e / total for e in exps]


def rmsnorm(x: Row) -> Row:
    mean_square = sum(xi * xi for xi in x) / len(x)
    scale = (mean_square + 1e-5) ** -0.5
    return [xi * scale for xi in x]


def gpt(params: dict[str, Matrix], token: int, pos: int, keys: Matrix, values: Matrix) -> Row:
    """The logits of the token that follows; this token's key and value are appended to the cache."""
    x = [t + p for t, p in zip(take(params["wte"], token), params["wpe"][pos], strict=True)]
    x = rmsnorm(x)
    residual = x
    x = rmsnorm(x)
    q = linear(x, params["wq"])
    keys.append(linear(x, params["wk"]))
    values.append(linear(x, params["wv"]))
    attended = []
    for h in range(HEADS):
        part = slice(h * HEAD, (h + 1) * HEAD)
        q_h, k_h, v_h = q[part], [k[part] for k in keys], [v[part] for v in values]
        scores = [sum(q_h[j] * k[j] for j in range(HEAD)) / HEAD**0.5 for k in k_h]
        weights = softmax(scores)
        attended += [sum(weights[t] * v_h[t][j] for t in range(len(v_h))) for j in range(HEAD)]
    x = [a + b for a, b in zip(linear(attended, params["wo"]), residual, strict=True)]
    residual = x
    x = linear(rmsnorm(x), params["fc1"])
    x = linear([relu(xi) for xi in x], params["fc2"])
    x = [a + b for a, b in zip(x, residual, strict=True)]
    return linear(x, params["lm_head"])


def gpt_loss(params: dict[str, Matrix], tokens: list[int]) -> Any:
    """The mean of -log p(next token) over a name, ``tokens`` being BOS, its letters, BOS."""
    keys: Matrix = []
    values: Matrix = []
    losses = []
    for pos in range(len(tokens) - 1):
        probs = softmax(gpt(params, tokens[pos], pos, keys, values))
        losses.append(-log(take(probs, tokens[pos + 1])))
    return sum(losses) * (1 / len(losses))


# ----------------------------------------------------------------------------------------------- multilayer perceptrons


def neurons(layer: tuple[Matrix, Row], x: Row) -> Row:
    """Weighted sums from the left, starting with the bias."""
    out = []
    for weights, bias in zip(*layer, strict=True):
        a = bias
        for w, xi in zip(weights, x, strict=True):
            a = a + w * xi
        out.append(a)
    return out


def moons_example(layers: list[Any], point: Row, label: Any) -> Any:
    """The hinge loss of one point under MLP(2, [16, 16, 1]) with relu."""
    x = point
    for layer in layers[:-1]:
        x = [relu(a) for a in neurons(layer, x)]
    (score,) = neurons(layers[-1], x)
    return relu(score * -label + 1.0)


def moons_loss(layers: list[Any], points: Matrix, labels: Row) -> Any:
    """The mean hinge loss of all points: with 100 of them, 64,000 nodes."""
    total = 0.0
    for point, label in zip(points, labels, strict=True):
        total = total + moons_example(layers, point, label)
    return total * (1.0 / len(points))


def cross_entropy(logits: Row, target: int) -> Any:
    return log(sum(exp(z) for z in logits)) - take(logits, target)


def mlp_loss(layers: list[Any], x: Row, target: int) -> Any:
    """Cross-entropy of one image under tanh layers: 79,471 operations for 784-50-10, the first sum's zero not counted."""
    for layer in layers[:-1]:
        x = [tanh(a) for a in neurons(layer, x)]
    return cross_entropy(neurons(layers[-1], x), target)


def digits_loss(layers: list[Any], x: Row, target: int) -> Any:
    """The same with relu, for 64-50-10."""
    for layer in layers[:-1]:
        x = [relu(a) for a in neurons(layer, x)]
    return cross_entropy(neurons(layers[-1], x), target)


# -------------------------------------------------------------------------------------------------------- Asian option

STRIKE, YEARS = 100.0, 1.0


def asian_payoff(market: Row, z: Row) -> Any:
    """The discounted payoff of an arithmetic Asian call along one path; market is [spot, volatility, rate]."""
    s, sigma, r = market
    dt = YEARS / len(z)
    drift, noise = (r - 0.5 * sigma * sigma) * dt, sigma * dt**0.5
    total = 0.0
    for zt in z:
        s = s * exp(drift + noise * zt)
        total = total + s
    return exp(-r * YEARS) * relu(total / len(z) - STRIKE)


# ---------------------------------------------------------------------------------------------------- irregular graphs


def lu_determinant(a: Matrix) -> Any:
    """The determinant by Gaussian elimination without pivoting: about 2/3 n**3 operations."""
    a = [list(row) for row in a]
    n = len(a)
    determinant = a[0][0]
    for k in range(n - 1):
        for i in range(k + 1, n):
            factor = a[i][k] / a[k][k]
            for j in range(k + 1, n):
                a[i][j] = a[i][j] - factor * a[k][j]
        determinant = determinant * a[k + 1][k + 1]
    return determinant


def minors_determinant(a: Matrix) -> Any:
    """The determinant by expansion along the first row: about 3.4 n! operations, most of them repeated."""
    if len(a) == 1:
        return a[0][0]
    total: Any = 0.0
    for j, first in enumerate(a[0]):
        minor = minors_determinant([row[:j] + row[j + 1 :] for row in a[1:]])
        total = total + first * minor if j % 2 == 0 else total - first * minor
    return total


def least_squares(model: Row, xs: Row, ys: Row) -> Any:
    """The sum of squared residuals of a exp(-b x) + c: 7 operations a point."""
    a, b, c = model
    total = 0.0
    for x, y in zip(xs, ys, strict=True):
        residual = a * exp(-b * x) + c - y
        total = total + residual * residual
    return total


def log_sum_exp(x: Row) -> Any:
    """log(sum(exp(x))): 2 operations a number."""
    return log(sum(exp(xi) for xi in x))


def van_der_pol(start: Row, steps: int) -> Any:
    """x after some Runge-Kutta steps of the van der Pol oscillator; start is [x, velocity, mu]: 54 operations a step."""
    x, v, mu = start
    h = 0.01

    def slope(x: Any, v: Any) -> tuple[Any, Any]:
        return v, mu * (1.0 - x * x) * v - x

    for _ in range(steps):
        x1, v1 = slope(x, v)
        x2, v2 = slope(x + 0.5 * h * x1, v + 0.5 * h * v1)
        x3, v3 = slope(x + 0.5 * h * x2, v + 0.5 * h * v2)
        x4, v4 = slope(x + h * x3, v + h * v3)
        x = x + (h / 6) * (x1 + 2 * x2 + 2 * x3 + x4)
        v = v + (h / 6) * (v1 + 2 * v2 + 2 * v3 + v4)
    return x


IRREGULAR = {
    "lu": lu_determinant,
    "minors": minors_determinant,
    "least_squares": least_squares,
    "log_sum_exp": log_sum_exp,
    "ode": van_der_pol,
}
