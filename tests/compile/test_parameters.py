"""program.parameters: one array that programs, optimisers and eager code share, and that is never stale."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import MLP, Value, losses, optim

X = np.random.default_rng(0).normal(size=(9, 2))
Y = np.sign(X[:, 0] + 0.3)


def network(seed: int = 1) -> tuple[MLP, Any]:
    """A model and its compiled loss, run once."""
    model = MLP(2, [4, 1], seed=seed)
    program = micrograd.compile(lambda x, y: micrograd.relu(1 - model(x) * y), batch=(0, 0), reduce="mean")
    program(X, Y)
    return model, program


def eager_loss(model: MLP) -> Value:
    loss: Value = losses.hinge([model(x) for x in X.tolist()], Y.tolist())
    return loss


def data(model: MLP) -> list[float]:
    return [p.data for p in model.parameters()]


def grads(model: MLP) -> list[float]:
    return [p.grad for p in model.parameters()]


# ------------------------------------------------------------------------------------------------------ one array


def test_the_array_and_the_values_are_the_same_numbers_both_ways() -> None:
    model, program = network()
    before = data(model)
    parameters = program.parameters
    assert list(parameters) == model.parameters()
    assert len(parameters) == 17
    assert parameters.data.tolist() == data(model) == before
    assert parameters.names[:3] == [p.label for p in model.parameters()][:3]
    model.parameters()[3].data = 5.0
    assert parameters.data[3] == parameters[3] == 5.0
    parameters.data[:] = np.arange(17.0)
    assert data(model) == list(range(17))
    assert all(type(x) is float for x in data(model))
    parameters[:] = 1.0
    parameters[2:4] = [7.0, 8.0]
    assert data(model) == [1.0, 1.0, 7.0, 8.0] + [1.0] * 13
    copied = parameters[:]
    copied[0] = 99.0
    assert parameters[0] == 1.0  # what [:] gives is a copy


def test_the_numbers_are_read_anew_before_and_after_the_values_moved_into_the_array() -> None:
    model, program = network()
    for step in range(4):
        if step == 2:
            assert program.parameters is program.parameters
        model.parameters()[step].data += 0.5
        np.testing.assert_allclose(program(X, Y), eager_loss(model).data, rtol=1e-13)
    program.parameters.data *= 0.5
    np.testing.assert_allclose(program(X, Y), eager_loss(model).data, rtol=1e-13)
    model.load_state_dict(MLP(2, [4, 1], seed=5).state_dict())
    np.testing.assert_allclose(program(X, Y), eager_loss(MLP(2, [4, 1], seed=5)).data, rtol=1e-13)


def test_backward_adds_into_the_array_and_the_values_show_it() -> None:
    model, program = network()
    twin = copy.deepcopy(model)
    parameters = program.parameters
    assert parameters.grad.tolist() == [0.0] * 17
    assert not any(p.has_grad for p in model.parameters())
    for _ in range(2):
        program.backward(X, Y)
        eager_loss(twin).backward()
    eager_loss(model).backward()  # eager code adds to the same numbers
    eager_loss(twin).backward()
    np.testing.assert_allclose(parameters.grad, grads(twin), rtol=1e-12, atol=1e-15)
    assert grads(model) == parameters.grad.tolist()
    assert all(p.has_grad for p in model.parameters())
    model.zero_grad()
    assert not parameters.grad.any()
    model.parameters()[0].grad = 3.0
    assert parameters.grad[0] == 3.0
    parameters.zero_grad()
    assert grads(model) == [0.0] * 17
    model.parameters()[0].grad = 3.0
    model.parameters()[0].grad = None  # type: ignore[assignment]
    assert model.parameters()[0].grad == 0.0


def test_before_the_first_call_there_are_none_to_give() -> None:
    program = micrograd.compile(lambda x: x * Value(2.0))
    with pytest.raises(RuntimeError, match=r"<lambda> was not recorded yet, .* call it once before"):
        _ = program.parameters


def test_a_function_that_captures_nothing_has_no_parameters() -> None:
    program = micrograd.compile(lambda x: x * x)
    program(2.0)
    assert (len(program.parameters), program.parameters.data.tolist(), repr(program.parameters)) == (0, [], "<0 parameters>")
    assert program.backward(3.0) == 9.0


def test_gradients_that_were_there_stay_and_one_that_was_none_becomes_zero() -> None:
    v, w = Value(1.0, label="v"), Value(2.0)
    v.grad, w.grad = 4.0, None  # type: ignore[assignment]
    program = micrograd.compile(lambda x: x * v * w)
    program(1.0)
    assert program.parameters.grad.tolist() == [4.0, 0.0]
    assert repr(program.parameters) == "<2 parameters: v, ...>"


# -------------------------------------------------------------------------------------------- Values stay Values


def test_eager_code_does_not_notice() -> None:
    v, w = Value(3.0, label="v"), Value(2.0)
    program = micrograd.compile(lambda x: x * v * w)
    program(1.0)
    _ = program.parameters
    fresh = Value(3.0, label="v")
    assert repr(v) == repr(fresh) == "Value(data=3.0, grad=0.0, label='v')"
    assert isinstance(v, Value)
    results = [
        (
            a + b,
            a - b,
            a * b,
            a / b,
            a**b,
            2 - a,
            a**2,
            -a,
            abs(a),
            a.tanh(),
            micrograd.dot([a, b], [b, a]),
            micrograd.maximum(a, b),
        )
        for a, b in ((v, w), (v, Value(2.0)), (fresh, w), (fresh, Value(2.0)))
    ]
    assert len({tuple(r.data for r in row) for row in results}) == 1
    assert (v > w, v < 4, bool(v), float(v), f"{v:.1f}", v.kind, v.parents) == (True, True, True, 3.0, "3.0", "input", ())
    (v * w + v).backward()
    assert (v.grad, w.grad) == (3.0, 3.0)
    assert micrograd.topological_order(v * 2)[0] is v


def test_copies_and_pickles_are_plain_values_of_their_own() -> None:
    model, program = network()
    program.backward(X, Y)
    expected = data(model), grads(model)
    _ = program.parameters
    v = model.parameters()[0]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert (data(twin), grads(twin)) == expected
        assert {type(p) for p in twin.parameters()} == {Value}
        assert all(p.has_grad for p in twin.parameters())
    for twin_v in (copy.copy(v), copy.deepcopy(v), pickle.loads(pickle.dumps(v))):
        assert (type(twin_v), twin_v.data, twin_v.label, twin_v.kind, twin_v.has_grad) == (
            Value,
            v.data,
            v.label,
            v.kind,
            True,
        )
        twin_v.data = 100.0
        assert v.data == expected[0][0]
    graph = pickle.loads(pickle.dumps(eager_loss(model)))
    assert graph.data == eager_loss(model).data
    assert json.dumps(model.state_dict()) == json.dumps(MLP(2, [4, 1], seed=1).state_dict())


# ----------------------------------------------------------------------------- several programs, several recordings


def test_another_program_of_the_same_model_reads_the_same_array() -> None:
    model, program = network()
    predict = micrograd.compile(lambda x: model(x), batch=0)
    predict(X)
    parameters = program.parameters
    assert np.shares_memory(predict.parameters.data, parameters.data)
    parameters.data += 0.25
    np.testing.assert_allclose(predict(X), [model(x).data for x in X.tolist()], rtol=1e-13)


def test_programs_that_share_a_part_pick_their_numbers_together() -> None:
    a, b, c, d = (Value(float(i)) for i in range(1, 5))
    first, second = micrograd.compile(lambda x: x * a * b * c), micrograd.compile(lambda x: x * c * d + a)
    first(1.0)
    second(1.0)
    _ = first.parameters
    mixed = second.parameters
    order = [(v.data, v) for v in mixed]
    assert mixed[:].tolist() == [number for number, _ in order]
    assert {v for _, v in order} == {a, c, d}
    with pytest.raises(RuntimeError, match=r"read and write program.parameters\[:\]"):
        _ = mixed.data
    mixed[:] = [10.0 * number for number, _ in order]
    assert (first(1.0), second(1.0)) == (600.0, 1210.0)
    for program in (first, second, first):
        assert program.backward(2.0) == program(2.0)
    assert [v.grad for v in (a, b, c, d)] == [2 * 2 * 60.0 + 1.0, 2 * 2 * 300.0, 2 * 2 * 20.0 + 80.0, 60.0]
    mixed.zero_grad()
    assert [v.grad for v in (a, b, c, d)] == [0.0, 1200.0, 0.0, 0.0]


def test_parameters_that_come_later_move_all_into_a_larger_array() -> None:
    weights = [Value(1.0), Value(2.0)]
    program = micrograd.compile(lambda x: sum(weights[i] * xi for i, xi in enumerate(x)))
    first, second = weights
    other = micrograd.compile(lambda x: x * second * first)
    assert (program([1.0, 1.0]), other(1.0)) == (3.0, 2.0)
    assert program.parameters.data.tolist() == [1.0, 2.0]
    optimizer = optim.SGD(program.parameters, lr=0.1)
    weights += [Value(3.0), Value(4.0)]
    assert program([1.0, 1.0, 1.0, 1.0]) == 10.0  # two of them lie in the array
    program.backward([1.0, 2.0, 3.0, 4.0])
    assert program.parameters.data.tolist() == [1.0, 2.0, 3.0, 4.0]
    assert program.parameters.grad.tolist() == [1.0, 2.0, 3.0, 4.0]
    program.parameters.data[:] = [10.0, 20.0, 30.0, 40.0]
    assert (program([1.0, 1.0]), program([1.0] * 4), other(1.0)) == (30.0, 100.0, 200.0)
    with pytest.raises(RuntimeError, match="captured 4 parameters by now, but this optimiser was made for 2"):
        optimizer.step()


def test_values_in_the_array_meet_traced_ones_on_either_side() -> None:
    v = Value(3.0)
    program = micrograd.compile(lambda x: x * v)
    program(1.0)
    _ = program.parameters

    def f(x: Any) -> list[Any]:
        chosen = [micrograd.where(c, 1.0, 0.0) for c in (v < x, v <= x, v > x, v >= x, x < v)]
        return [v + x, v - x, v * x, v / x, v**x, x**v, micrograd.maximum(v, x), micrograd.atan2(v, x), *chosen]

    mixed = micrograd.compile(f)
    for x in (2.0, 3.0, 4.0):
        found = mixed(x)
        np.testing.assert_allclose(
            found, [3 + x, 3 - x, 3 * x, 3 / x, 3**x, x**3, max(3, x), np.arctan2(3, x), x > 3, x >= 3, x < 3, x <= 3, x < 3]
        )


def test_constants_stay_outside_and_results_are_no_parameters() -> None:
    w = Value(2.0)
    scaled, fixed = w * 3.0, w.detach()
    program = micrograd.compile(lambda x: x * scaled * fixed * w)
    program(1.0)
    assert list(program.parameters) == [w]
    for _ in range(2):
        program.backward(5.0)
    assert w.grad == 2 * (3.0 * 2.0 * 2.0 * 5.0 + 6.0 * 2.0 * 5.0)
    fixed.data = 10.0
    assert program(1.0) == 120.0
    assert type(fixed) is Value


class Named(Value):
    """A user's own kind of Value."""

    __slots__ = ("name",)


def test_values_of_a_subclass_are_used_where_they_are() -> None:
    v, w = Named(2.0), Value(3.0)
    program = micrograd.compile(lambda x: x * v * w)
    program(1.0)
    assert program.parameters[:].tolist() == [2.0, 3.0]
    optimizer = optim.SGD(program.parameters, lr=0.5)
    program.backward(1.0)
    optimizer.step()
    assert (type(v), v.data, w.data, program(1.0)) == (Named, 0.5, 2.0, 1.0)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_programs_of_both_precisions_read_and_fill_it(dtype: str) -> None:
    model = MLP(2, [4, 1], seed=1)
    program = micrograd.compile(lambda x, y: micrograd.relu(1 - model(x) * y), batch=(0, 0), reduce="sum", dtype=dtype)
    program(X, Y)
    _ = program.parameters
    program.backward(X, Y)
    found = grads(model)
    model.zero_grad()
    (eager_loss(model) * 9.0).backward()
    np.testing.assert_allclose(
        found, grads(model), rtol=1e-12 if dtype == "float64" else 1e-4, atol=1e-5 if dtype == "float32" else 1e-14
    )


# ------------------------------------------------------------------------------------------------------ optimisers

SETTINGS: list[tuple[type[optim.Optimizer], dict[str, Any]]] = [
    (optim.SGD, {"lr": 0.05}),
    (optim.SGD, {"lr": 0.05, "weight_decay": 0.1}),
    (optim.SGD, {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}),
    (optim.SGD, {"lr": optim.linear(0.05, 0.0, steps=5), "momentum": 0.9}),
    (optim.Adam, {"lr": 0.01}),
    (optim.Adam, {"lr": 0.01, "betas": (0.0, 0.9), "weight_decay": 0.1}),
    (optim.AdamW, {"lr": optim.cosine(0.01, 0.0, steps=7)}),
    (optim.AdamW, {"lr": 0.01, "eps": 0.0}),
]
ids = [f"{kind.__name__}-{i}" for i, (kind, _) in enumerate(SETTINGS)]


@pytest.fixture(params=["native", "numpy"])
def without_compiler(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        from micrograd.compile import steps

        monkeypatch.setattr(steps, "_compiled", lambda *_: None)


@pytest.mark.usefixtures("without_compiler")
@pytest.mark.parametrize(("kind", "settings"), SETTINGS, ids=ids)
def test_a_step_on_the_array_is_the_step_on_the_values_bit_for_bit(
    kind: type[optim.Optimizer], settings: dict[str, Any]
) -> None:
    one, two = [[Value(float(x)) for x in np.random.default_rng(1).normal(size=11)] for _ in range(2)]
    program = micrograd.compile(lambda x: sum(v * x for v in one))
    program(1.0)
    parameters = program.parameters
    flat, eager = kind(parameters, **settings), kind(two, **settings)
    for step in range(9):
        gradient = np.random.default_rng(step).normal(size=11) * 10.0 ** np.arange(-5, 6)
        gradient[step] = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-310, 1e200, 1.0, 2.0][step]
        for optimizer in (flat, eager):
            optimizer.zero_grad()
        parameters.grad[:] = gradient
        for v, g in zip(two, gradient.tolist(), strict=True):
            v.grad = g
        if step == 5:  # half way through JSON
            state = json.loads(json.dumps(flat.state_dict()))
            flat = kind(parameters, **settings)
            flat.load_state_dict(state)
        if step == 7:
            flat.steps = eager.steps = 900
        flat.step()
        eager.step()
        assert [repr(v.data) for v in one] == [repr(v.data) for v in two]
        assert repr(flat.state_dict()) == repr(eager.state_dict())
    assert repr(flat) == repr(eager)


def test_an_optimiser_of_own_make_needs_one_rule() -> None:
    class Signs(optim.Optimizer):
        """Steps of one length."""

        def _rule(self, xp: Any, settings: Any, w: Any, g: Any, *_: Any) -> tuple[Any, ...]:
            return (w - settings[0] * xp.div(g, xp.sqrt(g * g)),)

    v, w = Value(1.0), Value(1.0)
    program = micrograd.compile(lambda x: v * x)
    program.backward(-3.0)
    w.grad = v.grad
    Signs(program.parameters, lr=0.25).step()
    Signs([w], lr=0.25).step()
    assert v.data == w.data == 1.25


class Fading(optim.Optimizer):
    """A rule that reads the optimiser's own attributes: what they are now, not what they were."""

    strength = 1.0

    def _rule(self, xp: Any, settings: Any, w: Any, g: Any, *_: Any) -> tuple[Any, ...]:
        return (w - settings[0] * (self.strength / self.steps) * g,)


def test_a_rule_may_read_the_count_of_steps_and_attributes_that_change() -> None:
    found = []
    for train in ("values", "array", "fit"):
        v = Value(1.0)
        program = micrograd.compile(lambda x, v=v: (v * x - 1.0) ** 2)
        program(2.0)
        optimizer = Fading([v] if train == "values" else program.parameters, lr=0.01)
        for optimizer.strength in (1.0, 3.0):
            if train == "fit":
                micrograd.fit(program, [(2.0,)] * 40, optimizer, 1, 1, progress=False)
                continue
            for _ in range(40):
                optimizer.zero_grad()
                if train == "array":
                    program.backward(2.0)
                else:
                    ((v * 2.0 - 1.0) ** 2).backward()
                optimizer.step()
        found.append((v.data, optimizer.steps))
    assert found[0] == found[1] == found[2]


def test_settings_that_ask_with_if_are_told_what_to_write() -> None:
    class Warm(optim.SGD):
        def _settings(self, xp: Any, lr: Any, steps: Any, *constants: Any) -> tuple[Any, ...]:
            return (0.1 * lr if steps < 3.0 else lr), *constants

    class Mended(optim.SGD):
        def _settings(self, xp: Any, lr: Any, steps: Any, *constants: Any) -> tuple[Any, ...]:
            return xp.where(steps < 3.0, 0.1 * lr, lr), *constants

    v, w = Value(1.0), Value(1.0)
    program = micrograd.compile(lambda x: v * v * x)
    program(1.0)
    flat, eager = Mended(program.parameters, lr=0.1), Mended([w], lr=0.1)
    for _ in range(6):
        for optimizer in (flat, eager):
            optimizer.zero_grad()
        program.backward(1.0)
        (w * w).backward()
        flat.step()
        eager.step()
        assert v.data == w.data
    with pytest.raises(TypeError, match=r"write xp\.where"):
        Warm(program.parameters, lr=0.1).step()


def test_training_on_the_array_learns_what_training_on_values_learns() -> None:
    model, program = network()
    twin = copy.deepcopy(model)
    optimizer, other = optim.Adam(program.parameters, lr=0.05), optim.Adam(twin.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        program.backward(X, Y)
        optimizer.step()
        other.zero_grad()
        eager_loss(twin).backward()
        other.step()
    np.testing.assert_allclose(data(model), data(twin), rtol=1e-6, atol=1e-8)
    assert eager_loss(model).data < 0.3


def test_an_optimiser_of_a_program_says_what_to_write() -> None:
    _, program = network()
    with pytest.raises(TypeError, match=r"write program.parameters"):
        optim.SGD(program, lr=0.1)
    empty = micrograd.compile(lambda x: x * x)
    empty(1.0)
    with pytest.raises(ValueError, match="no parameters"):
        optim.SGD(empty.parameters, lr=0.1)
