"""The printed equations of a vector program, and the names of parameters in them."""

from __future__ import annotations

import functools
import math
import random
import re
from typing import Any

import numpy as np
import pytest
from programs import Program
from stages import Recorded

import micrograd
from micrograd import Value, nn
from micrograd.compile.equations import equations
from micrograd.compile.naming import parameter_names
from micrograd.compile.streams import Stream


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


# ------------------------------------------------------------------------------------------- what a program prints


def shown(fn: Any, *args: Any, wrt: Any = 0, **options: Any) -> list[str]:
    program = micrograd.compile(fn, backend="numpy", **options)
    program.value_and_grad(*args, wrt=wrt)
    return lines(str(program))


def walk(start: Any, drift: Any) -> Any:
    """A product over steps that each have a number of their own."""
    for d in drift:
        start = start * d.exp()
    return start


def test_a_loop_shows_how_the_places_move_with_its_turns() -> None:
    found = shown(walk, 1.0, np.linspace(0.1, 0.2, 20), wrt=(0, 1))
    begin = next(i for i, line in enumerate(found) if line.endswith(" times:"))
    turns = int(found[begin].removesuffix(" times:").split()[-1])
    assert found[begin] == f"for t in 0..{turns - 1}, {turns} times:"
    assert re.fullmatch(r"(t\d+)\[t\] = t1\[t\+2\] \* \1\[t-1\]", found[begin + 1]), found
    name = found[begin + 1].split("[")[0]
    assert f"{name}[-1] = t3" in found[:begin]
    back = next(line for line in found[found.index("backward:") :] if "t1[" in line and "-t]" in line)
    assert re.fullmatch(r"(t\d+)\[t\] = \1\[t-1\] \* t1\[17-t\]", back), found


def pendulum(x: Any) -> Any:
    v = x * 0.5
    for _ in range(20):
        v = v - 0.125 * x.sin()
        x = x + 0.25 * v
    return x


def two_before(x: Any) -> Any:
    a, b = x, x * x
    for _ in range(30):
        a, b = b, (a * b).tanh() * 0.5 + a * 0.25
    return b


def shrinking(x: Any) -> Any:
    """The gradient of the last turn is no number of its own, but a local derivative."""
    s = x * 0.5
    for _ in range(12):
        s = ((s * 0.25).sin() + s * 0.5).tanh()
    return s


def calculated(text: str, x: float) -> dict[str, float]:
    """What the equations say, computed line by line: a number by its name and place."""
    known = {"x": x, "seed": 1.0}
    code = ["def run(known):"]
    for line in text.splitlines():
        indent, line = "  " + " " * (len(line) - len(line.lstrip())), line.strip()
        if line.startswith("for t in "):
            code.append(f"{indent}for t in range({int(line.split()[-2])}):")
        elif not line.endswith(":"):
            left, right = line.split(" = ")
            place = r"([A-Za-z_]\w*)\[([^\]]*)\]"
            named = [re.sub(place, lambda m: f"known['{m[1]}', {m[2]}]", side) for side in (left, right)]
            bare = [re.sub(r"(?<!')\b(?!known\b|t\b)([A-Za-z_]\w*)\b(?![('])", r"known['\1']", side) for side in named]
            code.append(f"{indent}{bare[0]} = {bare[1]}")
    functions: dict[str, Any] = {name: getattr(math, name) for name in ("sin", "cos", "tanh", "exp")}
    exec("\n".join(code), functions)
    functions["run"](known)
    return known


@pytest.mark.parametrize("fn", [pendulum, two_before, shrinking])
def test_a_loop_reads_the_numbers_of_the_turns_that_it_says(fn: Any) -> None:
    """The equations are a program: run as Python it gives the gradient."""
    program = micrograd.compile(fn, backend="numpy")
    _, gradient = program.value_and_grad(0.5)
    assert str(program).count(" times:") == 2, str(program)
    assert calculated(str(program), 0.5)["dx"] == pytest.approx(gradient, rel=1e-12), str(program)


def test_places_that_move_by_several_in_a_turn() -> None:
    def f(x: Any, drift: Any) -> Any:
        for a, b in zip(drift[::2], drift[1::2], strict=True):
            x = (a * x + b).tanh()
        return x

    text = "\n".join(shown(f, 0.5, np.linspace(0.1, 0.2, 40)))
    assert re.search(r"= drift\[2\*t(\+\d)?\] \* t\d\[t\] \+ drift\[2\*t\+\d\]", text), text


def test_what_a_turn_makes_of_the_one_before_it_says_so() -> None:
    def f(x: Any, friction: Any) -> Any:
        for _ in range(20):
            x = x - friction * x.sin()
        return x

    found = shown(f, 0.5, 0.1)
    begin = found.index("for t in 0..17, 18 times:")
    assert found[begin - 1 : begin + 3] == [
        "t4[-1] = t2",
        "for t in 0..17, 18 times:",
        "t3[t] = sin(t4[t-1])",
        "t4[t] = -friction * t3[t] + t4[t-1]",
    ]


def test_constants_that_differ_from_turn_to_turn_are_listed() -> None:
    def f(x: Any) -> Any:
        for i in range(20):
            x = x.sin() * (i + 0.5)
        return x

    assert any(re.search(r"\[\d+\.5, \d+\.5, \.\.\.\]\[t-1\] \* ", line) for line in shown(f, 0.5))


def test_a_gradient_that_is_another_number_has_an_equation() -> None:
    def neuron(w: Any, b: Any, x: Any) -> Any:
        return micrograd.tanh(sum(p * q for p, q in zip(w, x, strict=True)) + b)

    found = shown(neuron, np.ones(3), 0.5, np.ones(3), wrt=(0, 1))
    assert "db = 1 - h1**2" in found, found
    assert sum(line.startswith("db") for line in found) == sum(line.startswith("dw") for line in found) == 1


def layer(w: Any, b: Any, x: Any) -> Any:
    return sum(micrograd.tanh(sum(p * q for p, q in zip(row, x, strict=True)) + c) ** 2 for row, c in zip(w, b, strict=True))


def test_the_gradient_by_the_biases_of_a_layer_is_that_by_its_sums() -> None:
    found = shown(layer, np.ones((4, 3)), np.ones(4), np.ones(3), wrt=(0, 1, 2))
    assert [line for line in found if line.startswith(("dw", "db", "dx"))] == [
        "dw = dz1 @ x.T",
        "dx = w.T @ dz1",
        "db = dz1",
    ]


def test_gradients_that_have_an_equation_are_not_written_again() -> None:
    found = shown(layer, np.ones((4, 3)), np.ones(4), np.ones((2, 3)), wrt=(0, 1), batch=(None, None, 0), reduce="mean")
    assert [line for line in found if line.startswith(("dw", "db", "[d"))] == [
        "dw = sum over batch of dz1 @ x.T",
        "db = sum over batch of dz1",
    ]


def test_gradients_that_are_numbers_of_the_forward_pass_or_constants() -> None:
    assert shown(lambda w, b, x: w * x + b, 1.0, 2.0, 3.0, wrt=(0, 1, 2))[-3:] == ["dw = x", "db = 1", "dx = w"]


def test_the_gradient_by_what_is_not_used_is_zero() -> None:
    found = shown(lambda w, b, x: w * x, 1.0, 2.0, 3.0, wrt=(0, 1, 2))
    assert sorted(found[-3:]) == ["db = 0", "dw = x", "dx = w"]


def test_the_parts_of_a_gradient_say_which_they_are() -> None:
    found = shown(lambda w, b: (w[0] * 2.0).exp() + b[1], [1.0, 2.0], [3.0, 4.0], wrt=(0, 1))
    assert found[found.index("backward:") + 1 :] == ["dw[0] = 2 * t2", "[dw[1], db[0]] = 0", "db[1] = 1"]


def jacobian(fn: Any, *args: Any, wrt: Any = 0) -> list[str]:
    program = micrograd.compile(fn, backend="numpy")
    program.jacobian(*args, wrt=wrt)
    found = lines(str(program))
    return [line for line in found[found.index("backward:") + 1 :] if "/d" in line.split(" = ")[0]]


def test_each_of_several_results_has_its_gradient() -> None:
    def matrix_times(w: Any, x: Any) -> Any:
        return [sum(p * q for p, q in zip(row, x, strict=True)) for row in w]

    assert jacobian(matrix_times, np.ones((2, 3)), np.ones(3), wrt=(0, 1)) == [
        "dz1[0]/dw = [x, 0]",
        "dz1[0]/dx = w[0:3]",
        "dz1[1]/dw = [0, x]",
        "dz1[1]/dx = w[3:6]",
    ]


def test_a_result_that_is_an_argument_has_a_gradient_too() -> None:
    assert jacobian(lambda w, b: [w[0] * 2.0 + b, w[0] * w[1], b], [1.0, 2.0], 3.0, wrt=(0, 1)) == [
        "dt3[0]/dw = [2, 0]",
        "dt3[0]/db = 1",
        "dt3[1]/dw = [w[1], w[0]]",
        "dt3[1]/db = 0",
        "dt3[2]/dw = 0",
        "dt3[2]/db = 1",
    ]


def test_a_gradient_of_numbers_in_another_order_says_in_which() -> None:
    assert shown(lambda w: w[0] * w[1], [2.0, 3.0])[-1] == "dw = [w[1], w[0]]"


def correlation(step: int) -> Any:
    def outputs(w: Any, x: Any) -> Any:
        return [sum(p * x[step * i + j] for j, p in enumerate(w)) for i in range(4)]

    return outputs


@pytest.mark.parametrize(("step", "windows"), [(1, "windows(x, 3) @ w"), (2, "windows(x, 3, step=2) @ w"), (3, "x @ w")])
def test_a_matrix_whose_rows_overlap_is_one_of_windows(step: int, windows: str) -> None:
    program = micrograd.compile(correlation(step), backend="numpy")
    program([1.0, 2.0, 3.0], np.ones(3 * step + 3))
    assert lines(str(program)) == ["forward:", f"z1 = {windows}"]


def test_windows_of_a_picture_have_their_places() -> None:
    def outputs(w: Any, x: Any) -> Any:
        places = [(a, b) for a in range(2) for b in range(2)]
        return [sum(w[a][b] * x[i + a][j + b] for a, b in places) for i in range(4) for j in range(4)]

    program = micrograd.compile(outputs, backend="numpy")
    program(np.ones((2, 2)), np.ones((5, 5)))
    assert lines(str(program)) == ["forward:", "z1 = windows(x, [0, 1, 5, 6]) @ w"]


def test_the_equations_are_those_before_the_schedule() -> None:
    """What runs goes over the steps side by side; what is read does not."""
    program = micrograd.compile(walk, batch=(None, 0), reduce="mean", backend="numpy")
    program.value_and_grad(1.0, np.full((3, 40), 0.01))
    assert program._last is not None
    assert not any(isinstance(i, Stream) for _, instructions in program._last.rolled.phases() for i in instructions)
    assert lines(str(program))[0] == "forward:"


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
