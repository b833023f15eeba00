"""The printed equations of a vector program, and the names of parameters in them."""

from __future__ import annotations

import functools
import random
from typing import Any

import pytest
from programs import Program
from stages import Recorded

import micrograd
from micrograd import Value, nn
from micrograd.compile.equations import equations, parameter_names


def printed(fn: Any, *args: Any, batched: bool = False, gradients: bool = True, limit: int = 200) -> str:
    recorded = Recorded(fn, args, batched, gradients)
    base = recorded.rolled.spaces[0][1]
    names = dict(enumerate(parameter_names(fn, recorded.captured), start=base))
    return equations(recorded.rolled, names, limit)


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


@pytest.mark.parametrize("batched", [False, True])
def test_a_network_reads_like_the_lecture(batched: bool) -> None:
    model = nn.MLP(4, [5, 6, 3], activation="relu", seed=1)
    text = printed(lambda x: micrograd.sum(z.tanh() for z in model(x)), [0.1, 0.2, 0.3, 0.4], batched=batched)
    over = "sum over batch of " if batched else ""
    expected = [
        "z1 = W1 @ x0 + b1",
        "h1 = relu(z1)",
        "z2 = W2 @ h1 + b2",
        "h2 = relu(z2)",
        "z3 = W3 @ h2 + b3",
        "h3 = tanh(z3)",
        "backward:",
        "dz3 = seed * (1 - h3**2)",
        "dh2 = W3.T @ dz3",
        "dz2 = dh2 * step(z2)",
        "dh1 = W2.T @ dz2",
        "dz1 = dh1 * step(z1)",
    ]
    found = lines(text)
    assert [line for line in expected if line not in found] == [], text
    assert [found.index(line) for line in expected] == sorted(found.index(line) for line in expected), text
    for line in ("dW1 = {}dz1 @ x0.T", "dW2 = {}dz2 @ h1.T", "dW3 = {}dz3 @ h2.T", "dx0 = W1.T @ dz1"):
        assert line.format(over if "dW" in line else "") in found, text


LOSSES: dict[str, Any] = {
    "sum of squares": lambda z: micrograd.sum(v * v for v in z),
    "cross-entropy of a class": lambda z: -micrograd.log_softmax(z)[1],
    "logsumexp": micrograd.logsumexp,
}


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu"])
@pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES.keys())
def test_a_layer_is_one_product_forward_and_two_backward(loss: Any, activation: str, batched: bool) -> None:
    model = nn.MLP(4, [5, 6, 3], activation=activation, seed=1)
    text = printed(lambda x: loss(model(x)), [0.1, 0.2, 0.3, 0.4], batched=batched)
    forward, backward = text.split("backward")
    assert (forward.count("@"), backward.count("@")) == (3, 6), text  # the gradient by x too


SLOPES: dict[str, Any] = {
    "(1 - t1**2)": lambda x: x[0].tanh(),
    "t1 * (1 - t1)": lambda x: x[0].sigmoid(),
    "step(x0)": lambda x: x[0].relu(),
    "(1 / x0)": lambda x: x[0].log(),
    "cos(x0)": lambda x: x[0].sin(),
    "3 * x0**2": lambda x: x[0] ** 3,
    "sign(x0)": lambda x: abs(x[0]),
    "(1 / (2 * t1))": lambda x: x[0].sqrt(),
    "t1": lambda x: x[0].exp(),
    "gelu'(x0)": lambda x: x[0].gelu(),
}


@pytest.mark.parametrize("slope", SLOPES)
def test_local_derivatives_are_written_as_one_knows_them(slope: str) -> None:
    assert f"dx0 = seed * {slope}" in lines(printed(SLOPES[slope], [0.5]))


def test_labels_name_what_they_are_given_to() -> None:
    def f(x: Any) -> Any:
        total = x[0] * x[1]
        total.label = "area"
        return total.exp() + total

    assert "area = x0[0] * x0[1]" in lines(printed(f, [1.0, 2.0]))


def test_a_loop_is_written_once() -> None:
    def f(x: Any) -> Any:
        s, v = x[0], x[1]
        for _ in range(50):
            v = v + 0.1 * (x[2] - s * v).tanh()
            s = s + 0.1 * v.sin()
        return s * v

    text = printed(f, [0.5, 0.25, 0.125])
    assert text.count(" times:") == 2, text  # forward and backward
    assert len(text.splitlines()) < 60
    assert "+ x0[2]" in text.split(" times:")[1], text


def test_a_long_program_is_cut_in_the_middle() -> None:
    def f(x: Any) -> Any:
        y = x[0]
        for k in range(60):
            y = (y.tanh() if k % 2 else y.sin()) if k * k % 7 < 3 else y.exp() * 0.125
        return y

    whole = printed(f, [0.5], limit=10_000).splitlines()
    short = printed(f, [0.5], limit=20).splitlines()
    assert len(short) < len(whole)
    assert len(short) <= 20 + 4
    assert any("equations left out)" in line for line in short)
    assert short[0] == "forward:"
    assert "backward:" in short
    assert short[1] == whole[1]
    assert short[-1] == whole[-1]


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("seed", range(40))
def test_every_random_program_has_equations(seed: int, batched: bool) -> None:
    program = Program(random.Random(seed), size=3 + seed % 4 * 5)
    recorded = Recorded(program.function, program.example(), batched)
    names = parameter_names(program.function, recorded.captured)
    assert "p" not in names
    text = equations(recorded.rolled, dict(enumerate(names, start=recorded.rolled.spaces[0][1])))
    assert text.startswith("forward:"), text  # and not the plain form


# ---------------------------------------------------------------------------------------------- names of parameters


def column(n: int) -> list[Value]:
    return [Value(float(i)) for i in range(n)]


def test_the_layers_of_a_network_are_numbered() -> None:
    model = nn.MLP(2, [3, 1])
    names = parameter_names(lambda x: model(x), model.parameters())
    assert names == ["W1", "W1", "b1"] * 3 + ["W2"] * 3 + ["b2"]


def test_a_module_a_bound_method_and_a_partial_function_are_looked_into() -> None:
    class Line(nn.Module):
        def __init__(self) -> None:
            self.slope, self.offset = Value(2.0), Value(1.0)

        def __call__(self, x: Any) -> Any:
            return self.slope * x + self.offset

    line = Line()
    for fn in (line, line.__call__, functools.partial(line), lambda x: line(x)):
        assert parameter_names(fn, [line.offset, line.slope]) == ["offset", "slope"]


def test_lists_dicts_defaults_and_labels() -> None:
    w = [column(2), column(2)]
    params = {"wq": [column(2)], "wk": column(3)}
    labelled = [Value(1.0, label="gain") for _ in range(2)]
    default = Value(3.0)

    def fn(x: Any, scale: Any = default) -> Any:
        return (w, params, labelled, x, scale)

    captured = [w[1][0], params["wk"][2], params["wq"][0][1], labelled[0], default]  # type: ignore[index]
    assert parameter_names(fn, captured) == ["w", "wk", "wq", "gain", "scale"]


def test_the_parts_of_an_irregular_list_have_names_of_their_own() -> None:
    layers = [([column(2), column(2)], column(2)), ([column(2)], column(1))]
    captured = [layers[0][0][1][0], layers[0][1][0], layers[1][0][0][0]]
    assert parameter_names(lambda x: layers, captured) == ["layers[0][0]", "layers[0][1]", "layers[1][0]"]


def test_two_networks_are_told_apart() -> None:
    actor, critic = nn.MLP(1, [1]), nn.MLP(1, [1])
    names = parameter_names(lambda x: actor(x) + critic(x), actor.parameters() + critic.parameters())
    assert len(set(names)) == 4
    assert names[:2] == ["W1", "b1"]
    assert names[2:] == ["critic.W1", "critic.b1"]


def test_what_is_found_nowhere_has_a_name_too() -> None:
    loop: list[Any] = []
    loop.append(loop)
    assert parameter_names(lambda x: loop, [Value(1.0), Value(1.0, label="w")]) == ["p", "w"]
