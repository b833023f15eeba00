"""Optimisers against torch.optim, schedules against torch's, and training that resumes bit for bit."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from conftest import oracle

from micrograd import MLP, Value, losses
from micrograd.optim import SGD, Adam, AdamW, Optimizer, cosine, linear, step_decay

SETTINGS: list[tuple[type[Optimizer], dict[str, Any]]] = [
    (SGD, {"lr": 0.05}),
    (SGD, {"lr": 0.05, "weight_decay": 0.1}),
    (SGD, {"lr": 0.02, "momentum": 0.9}),
    (SGD, {"lr": 0.02, "momentum": 0.9, "weight_decay": 0.01}),
    (SGD, {"lr": 0.02, "momentum": 0.8, "nesterov": True}),
    (SGD, {"lr": 0.02, "momentum": 0.8, "weight_decay": 0.01, "nesterov": True}),
    (Adam, {}),
    (Adam, {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}),
    (Adam, {"lr": 0.1, "weight_decay": 0.05}),
    (Adam, {"lr": 0.1, "betas": (0.0, 0.5)}),
    (AdamW, {}),
    (AdamW, {"lr": 0.1, "weight_decay": 0.2}),
]
START = [1.5, -0.7, 0.3]


def bowl(w: Any) -> Any:
    """A function of three numbers with curved and coupled slopes, in Values and in tensors."""
    a, b, c = w
    return (a * a - b) ** 2 + 0.5 * (1.0 - a) ** 2 + (b * c).tanh() + 3.0 * c * c


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_fifty_steps_are_those_of_torch(kind: type[Optimizer], settings: dict[str, Any]) -> None:
    torch = oracle("torch")
    ours = [Value(x) for x in START]
    theirs = [torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in START]
    optimizer, reference = kind(ours, **settings), getattr(torch.optim, kind.__name__)(theirs, **settings)
    for _ in range(50):
        for each, parameters in ((optimizer, ours), (reference, theirs)):
            each.zero_grad()
            bowl(parameters).backward()
            each.step()
        assert [p.data for p in ours] == pytest.approx([p.item() for p in theirs], rel=1e-12, abs=1e-12)
    assert [p.data for p in ours] != START


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_training_resumes_bit_for_bit_through_json(kind: type[Optimizer], settings: dict[str, Any]) -> None:
    settings = {**settings, "lr": cosine(0.1, 0.01, steps=20, warmup=3)}

    def train(optimizer: Optimizer, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            bowl(optimizer.parameters).backward()
            optimizer.step()

    whole = kind([Value(x) for x in START], **settings)
    train(whole, 12)
    half = kind([Value(x) for x in START], **settings)
    train(half, 5)
    saved = [half.state_dict(), [p.data for p in half.parameters]]
    train(half, 1)  # what was saved does not move with the optimiser
    state, data = json.loads(json.dumps(saved))
    resumed = kind([Value(x) for x in data], **settings)
    resumed.load_state_dict(state)
    train(resumed, 7)
    assert [p.data.hex() for p in resumed.parameters] == [p.data.hex() for p in whole.parameters]
    assert resumed.state_dict() == whole.state_dict()


def test_a_non_finite_gradient_is_stepped_with_as_torch_does() -> None:
    torch = oracle("torch")
    for kind in (SGD, Adam, AdamW):
        for grad in (math.nan, math.inf):
            w, tensor = Value(1.0), torch.tensor(1.0, dtype=torch.float64, requires_grad=True)
            w.grad, tensor.grad = grad, torch.tensor(grad, dtype=torch.float64)
            kind([w], lr=0.1).step()
            getattr(torch.optim, kind.__name__)([tensor], lr=0.1).step()
            assert repr(w.data) == repr(tensor.item())


def test_a_gradient_of_zero_without_eps_is_nan_as_in_torch_and_does_not_raise() -> None:
    w = Value(1.0)
    Adam([w], eps=0.0).step()
    assert math.isnan(w.data)


def test_an_infinite_weight_stays_infinite_under_decay_as_in_torch() -> None:
    for lr in (0.0, 0.1):
        w = Value(math.inf)
        AdamW([w], lr=lr, weight_decay=0.1).step()
        assert w.data == math.inf


def test_zero_grad_sets_every_gradient_to_zero() -> None:
    model = MLP(2, [3, 1], seed=0)
    optimizer = SGD(model.parameters(), lr=0.1)
    model([1.0, 2.0]).backward()
    optimizer.zero_grad()
    assert [p.grad for p in model.parameters()] == [0.0] * 13


def test_an_mlp_learns_xor() -> None:
    xs, ys = [[0, 0], [0, 1], [1, 0], [1, 1]], [0, 1, 1, 0]
    model = MLP(2, [8, 1], activation="tanh", seed=1)
    optimizer = AdamW(model.parameters(), lr=linear(0.1, 0.0, steps=100))
    for _ in range(100):
        loss = losses.binary_cross_entropy([model(x) for x in xs], ys)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert [int(model(x) > 0) for x in xs] == ys
    assert loss.data < 0.05


# ------------------------------------------------------------------------------------------------------- schedules


def test_a_schedule_is_asked_for_the_rate_with_the_count_of_steps_done() -> None:
    asked = []

    def rate(step: int) -> float:
        asked.append(step)
        return 0.5 if step else 0.25

    w = Value(1.0)
    w.grad = 1.0
    optimizer = SGD([w], lr=rate)
    moved = []
    for _ in range(3):
        optimizer.step()
        moved.append(w.data)
    assert (asked, moved) == ([0, 1, 2], [0.75, 0.25, -0.25])


def test_the_rate_can_be_changed_by_hand() -> None:
    w = Value(1.0)
    w.grad = 1.0
    optimizer = SGD([w], lr=0.5)
    optimizer.lr = 0.25
    optimizer.step()
    assert w.data == 0.75


def test_schedules_are_those_of_torch() -> None:
    torch = oracle("torch")

    def rates(make: Callable[[Any], Any], steps: int) -> list[float]:
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.4)
        scheduler, seen = make(optimizer), []
        for _ in range(steps):
            seen.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            scheduler.step()
        return seen

    of = torch.optim.lr_scheduler
    cases = [
        (linear(0.4, 0.1, 10), lambda o: of.LinearLR(o, start_factor=1.0, end_factor=0.25, total_iters=10), 15),
        (cosine(0.4, 0.1, 10), lambda o: of.CosineAnnealingLR(o, T_max=10, eta_min=0.1), 11),
        (step_decay(0.4, 0.5, 3), lambda o: of.StepLR(o, step_size=3, gamma=0.5), 12),
    ]
    for schedule, make, steps in cases:
        assert [schedule(step) for step in range(steps)] == pytest.approx(rates(make, steps), rel=1e-12)


def test_cosine_warms_up_evenly_and_stays_at_its_end() -> None:
    rate = cosine(0.8, 0.2, steps=8, warmup=4)
    assert [rate(step) for step in (0, 1, 2, 3, 4, 6, 8, 100)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.8, 0.5, 0.2, 0.2])


# ---------------------------------------------------------------------------------------------------------- errors

W = Value(1.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SGD([], 0.1), ValueError, r"of no parameters: .* model\.parameters\(\)"),
        (lambda: SGD(MLP(1, [1]), 0.1), TypeError, r"list of Values, got MLP: write model\.parameters\(\)"),
        (lambda: SGD(W, 0.1), TypeError, r"list of Values, got Value: write \[w\]"),
        (lambda: SGD(1.0, 0.1), TypeError, "list of Values, got float"),
        (lambda: SGD([1.0], 0.1), TypeError, "a parameter must be a Value, got float"),
        (lambda: SGD([W * 2.0], 0.1), ValueError, r"must be a leaf, got the result of '\*'"),
        (lambda: SGD([W, W], 0.1), ValueError, "listed twice"),
        (lambda: SGD([W], -0.1), ValueError, r"lr must be a number of 0 or more, got -0\.1"),
        (lambda: SGD([W], math.nan), ValueError, "lr must be a number of 0 or more, got nan"),
        (lambda: SGD([W], "fast"), ValueError, "lr must be a number of 0 or more, got 'fast'"),
        (lambda: SGD([W], lambda step: -1.0).step(), ValueError, r"lr must be a number of 0 or more, got -1\.0"),
        (lambda: SGD([W], 0.1, momentum=-1.0), ValueError, "momentum must be a number of 0 or more"),
        (lambda: SGD([W], 0.1, weight_decay=-1.0), ValueError, "weight_decay must be a number of 0 or more"),
        (lambda: SGD([W], 0.1, nesterov=True), ValueError, r"needs a momentum, such as momentum=0\.9"),
        (lambda: Adam([W], eps=-1.0), ValueError, "eps must be a number of 0 or more"),
        (
            lambda: Adam([W], betas=(0.9, 1.0)),
            ValueError,
            r"betas must be two numbers from 0 to below 1, got \(0\.9, 1\.0\)",
        ),
        (lambda: Adam([W], betas=0.9), ValueError, r"betas must be two numbers .*, got 0\.9"),
        (lambda: AdamW([W], weight_decay=-1.0), ValueError, "weight_decay must be a number of 0 or more"),
        (lambda: linear(-1.0, 0.0, 10), ValueError, "start must be a number of 0 or more"),
        (lambda: linear(1.0, 0.0, 0), ValueError, "steps must be a whole number from 1, got 0"),
        (lambda: cosine(1.0, 0.0, 10, warmup=-1), ValueError, "warmup must be a whole number from 0, got -1"),
        (lambda: cosine(1.0, 0.0, 10, warmup=10), ValueError, "steps must be a whole number from 11, got 10"),
        (lambda: step_decay(1.0, 0.5, 2.5), ValueError, r"every must be a whole number from 1, got 2\.5"),
        (lambda: Optimizer([W], 0.1).step(), NotImplementedError, r"Optimizer needs a method _rule\(xp, settings, w, g"),
    ],
)
def test_bad_input_gives_an_error_that_names_expected_and_got(
    call: Callable[[], Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"steps": 1}, r"Adam\.load_state_dict\(\) takes a dict of steps, mean, square, got \['steps'\]"),
        ({"steps": 1, "velocity": [0.0]}, r"got \['steps', 'velocity'\]"),
        ([1], "got list"),
        ({"steps": -1, "mean": [0.0], "square": [0.0]}, "steps must be a whole number from 0, got -1"),
        ({"steps": 1.5, "mean": [0.0], "square": [0.0]}, r"steps must be a whole number from 0, got 1\.5"),
        (
            {"steps": 1, "mean": [1.0], "square": [0.0, 0.0]},
            "square must be a list of 1 numbers, one a parameter, got 2 items",
        ),
        ({"steps": 1, "mean": [1.0], "square": ["0"]}, "square must be a list of 1 numbers, one a parameter, got 1 items"),
        ({"steps": 1, "mean": None, "square": [0.0]}, "mean must be a list of 1 numbers, one a parameter, got NoneType"),
    ],
)
def test_loading_a_state_that_does_not_fit_says_why_and_changes_nothing(state: Any, message: str) -> None:
    optimizer = Adam([Value(1.0)])
    optimizer.step()
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(state)
    assert optimizer.state_dict() == before


# ------------------------------------------------------------------------------------------ grad None, and the repr


@pytest.mark.parametrize("make", [lambda p: SGD(p, 0.1, momentum=0.9), lambda p: Adam(p, 0.1), lambda p: AdamW(p, 0.1)])
def test_a_parameter_whose_grad_is_none_is_skipped_with_its_state(make: Any) -> None:
    moved, skipped, twin = Value(1.0), Value(2.0), Value(1.0)
    both, one = make([moved, skipped]), make([twin])
    moved.grad = twin.grad = 3.0
    skipped.grad = None  # type: ignore[assignment]
    for optimizer in (both, one):
        optimizer.step()
        optimizer.step()
    assert (moved.data, skipped.data) == (twin.data, 2.0)
    assert all(numbers[1] == 0.0 for numbers in both.state.values())


@pytest.mark.parametrize(
    ("optimizer", "text"),
    [
        (SGD([Value(1.0)], 0.1), "SGD(<1 parameter>, lr=0.1, steps=0, momentum=0.0, weight_decay=0.0, nesterov=False)"),
        (
            Adam([Value(1.0), Value(2.0)], lambda step: 0.1),
            "Adam(<2 parameters>, lr=schedule, steps=0, betas=(0.9, 0.999), eps=1e-08, weight_decay=0.0)",
        ),
    ],
)
def test_repr_shows_the_settings(optimizer: Optimizer, text: str) -> None:
    assert repr(optimizer) == text


@pytest.mark.parametrize("name", ["clip", "maximum", "where"])
def test_a_rule_of_the_users_may_use_all_that_operations_use(name: str) -> None:
    """Signs of gradients, written in three ways; over some numbers it gives what it gives for each of them alone."""

    class Signs(Optimizer):
        memories = ("count", "sign")

        def _rule(self, xp: Any, settings: Any, w: Any, g: Any, count: Any, sign: Any) -> tuple[Any, ...]:
            sign = {
                "clip": lambda: xp.clip(g * 1e300, low=-1.0, high=1.0),
                "maximum": lambda: -xp.minimum(xp.maximum(-g * 1e300, -1.0), 1.0),
                "where": lambda: xp.where((g > 0.0) & (w > -9.0), 1.0, xp.where(g < 0.0, -1.0, 0.0)),
            }[name]()
            return w - settings[0] * sign, 7.0, sign

    weights = [Value(x) for x in (1.0, 2.0, 3.0)]
    for w, gradient in zip(weights, (0.5, -0.125, 0.0), strict=True):
        w.grad = gradient
    optimizer = Signs(weights, lr=0.25)
    optimizer.step()
    assert [w.data for w in weights] == [0.75, 2.25, 3.0]
    assert optimizer.state_dict() == {"steps": 1, "count": [7.0] * 3, "sign": [1.0, -1.0, 0.0]}


@pytest.mark.parametrize(("kind", "settings"), SETTINGS)
def test_the_rule_is_run_once_for_all_parameters_with_the_bits_of_one_at_a_time(
    kind: type[Optimizer], settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(1.5, 0.1), (-0.7, -3.0), (0.0, 0.0), (1e300, 1e300), (1.0, math.inf), (2.0, 5e-324)]
    together, alone = ([Value(x) for x, _ in pairs] for _ in range(2))
    for parameters in (together, alone):
        for parameter, (_, gradient) in zip(parameters, pairs, strict=True):
            parameter.grad = gradient
    for parameter in alone:
        kind([parameter], **settings).step()
    calls = []
    rule = kind._rule
    monkeypatch.setattr(kind, "_rule", lambda *args: calls.append(1) or rule(*args))
    kind(together, **settings).step()
    assert len(calls) == 1
    assert [p.data.hex() for p in together] == [p.data.hex() for p in alone]
