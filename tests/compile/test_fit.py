"""fit: it learns what hand-written loops learn, stops between steps, and goes on from a checkpoint bit for bit."""

from __future__ import annotations

import itertools
import random
import re
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import micrograd
from micrograd import MLP, Value, losses, optim
from micrograd.compile import steps
from micrograd.compile.driver import Driver
from micrograd.compile.training import orders

X = np.random.default_rng(0).normal(size=(23, 2))
Y = np.sign(X[:, 0] * X[:, 1])
ORDER, LATER = (3, 2, 1, 8, 6, 0, 7, 4, 5), [2, 1, 4, 5, 8, 7, 0, 6, 3]


def moons() -> tuple[MLP, Any]:
    model = MLP(2, [4, 1], seed=1)
    return model, micrograd.compile(lambda x, y: micrograd.relu(1 - model(x) * y), batch=(0, 0), reduce="mean")


def numbers(model: MLP) -> list[str]:
    return [p.data.hex() for p in model.parameters()]


def interrupt_after(steps: int, lr: float = 0.05) -> Callable[[int], float]:
    """A learning rate during whose step number ``steps`` the user presses Ctrl-C."""

    def rate(step: int) -> float:
        if step == steps:
            signal.raise_signal(signal.SIGINT)
        return lr

    return rate


def test_it_goes_through_all_examples_in_batches_as_a_loop_by_hand_does() -> None:
    model, program = moons()
    twin = MLP(2, [4, 1], seed=1)
    found = micrograd.fit(program, (X, Y), optim.Adam(model.parameters(), lr=0.05), 3, 5, seed=7, progress=False)
    optimizer = optim.Adam(twin.parameters(), lr=0.05)
    expected = []
    for epoch in range(3):
        order = next(orders(23, 7, epoch))
        total = 0.0
        for start in range(0, 23, 5):
            rows = order[start : start + 5]
            loss = losses.hinge([twin(X[i].tolist()) for i in rows], Y[rows].tolist())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.data * len(rows) / 23
        expected.append(total)
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    np.testing.assert_allclose(
        [p.data for p in model.parameters()], [p.data for p in twin.parameters()], rtol=1e-7, atol=1e-9
    )


def test_an_epoch_has_every_example_once_in_an_order_of_its_own() -> None:
    found = [tuple(next(orders(9, seed, epoch)).tolist()) for seed in range(5) for epoch in range(5)]
    assert all(sorted(order) == list(range(9)) for order in found)
    assert len(set(found)) == 25
    assert found[0] == ORDER  # pinned: a checkpoint goes on under any version of NumPy
    later = list(itertools.islice(orders(9, 3), 5))
    assert later[2].tolist() == LATER
    assert all(next(orders(9, 3, epoch)).tolist() == order.tolist() for epoch, order in enumerate(later))


def test_an_optimiser_of_the_program_and_one_of_the_model_come_to_the_same() -> None:
    results = []
    for flat in (True, False):
        model, program = moons()
        program(X, Y)
        optimizer = optim.SGD(program.parameters if flat else model.parameters(), lr=0.1, momentum=0.9)
        results.append(
            (micrograd.fit(program, (X, Y), optimizer, 2, 8, progress=False), numbers(model), optimizer.state_dict())
        )
    assert results[0] == results[1]


def test_a_sum_over_the_batch_gives_the_sum_over_all_examples() -> None:
    w = Value(1.0)
    program = micrograd.compile(lambda x: (w * x) ** 2, batch=0, reduce="sum")
    found = micrograd.fit(program, (X[:, 0],), optim.SGD([w], lr=0.0), 2, 4, progress=False)
    np.testing.assert_allclose(found, [(X[:, 0] ** 2).sum()] * 2, rtol=1e-14)


def test_an_argument_that_the_examples_share_is_passed_as_it_is() -> None:
    w = Value(0.0)
    program = micrograd.compile(lambda a, x: (w - a * x) ** 2, batch=(None, 0), reduce="mean")
    micrograd.fit(program, (2.0, np.full(6, 1.5)), optim.SGD([w], lr=0.3), 30, 4, progress=False)
    assert w.data == pytest.approx(3.0, abs=1e-8)


def test_examples_one_at_a_time_average_their_gradients() -> None:
    """Names of different lengths: a recording for each length, whose gradients come together."""
    words = [([0, 1, 2],), ([1, 1],), ([2, 0],), ([0],), ([2, 1, 0],)]
    table = [Value(0.1 * i) for i in range(3)]
    program = micrograd.compile(lambda word: sum((micrograd.take(table, i) - 0.5) ** 2 for i in word))
    twins = [Value(0.1 * i) for i in range(3)]
    found = micrograd.fit(program, words, optim.SGD(table, lr=0.2), 2, 2, seed=3, progress=False)
    optimizer = optim.SGD(twins, lr=0.2)
    expected = []
    for epoch in range(2):
        order = next(orders(5, 3, epoch)).tolist()
        total = 0.0
        for start in range(0, 5, 2):
            rows = order[start : start + 2]
            loss = sum(sum((twins[i] - 0.5) ** 2 for i in words[row][0]) for row in rows) * (1.0 / len(rows))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.data * len(rows) / 5
        expected.append(total)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose([v.data for v in table], [v.data for v in twins], rtol=1e-12)


def test_what_the_function_reads_is_looked_at_in_each_epoch_and_after() -> None:
    model, settings = MLP(2, [1], seed=1), {"scale": 1.0}
    program = micrograd.compile(lambda x: settings["scale"] * model(x) ** 2, batch=0, reduce="sum")

    def rate(step: int) -> float:
        settings["scale"] = 1.0 + step // 4
        return 0.0

    found = micrograd.fit(program, (X[:8],), optim.SGD(model.parameters(), lr=rate), 3, 2, progress=False)
    expected = sum(model(x).data ** 2 for x in X[:8].tolist())
    np.testing.assert_allclose(found, [expected, expected, 2 * expected], rtol=1e-12)
    settings["scale"] = 10.0
    np.testing.assert_allclose(program(X[:8]), 10.0 * expected, rtol=1e-12)


# --------------------------------------------------------------------------------------------- stretches of steps in C


def words(seed: int, count: int = 40) -> list[tuple[list[int]]]:
    """Examples of four lengths, each length a recording of its own."""
    draw = random.Random(seed)
    return [([draw.randrange(6) for _ in range(draw.randint(1, 4))],) for _ in range(count)]


def spelling() -> tuple[list[list[Value]], Any]:
    draw = random.Random(0)
    table = [[Value(draw.gauss(0, 1)) for _ in range(5)] for _ in range(6)]
    others = [[Value(draw.gauss(0, 1)) for _ in range(5)] for _ in range(6)]

    def loss(word: list[int]) -> Any:
        total = 0.0
        for letter, after in itertools.pairwise([0, *word]):
            x = micrograd.take(table, letter)
            total = total + losses.cross_entropy([micrograd.dot(row, x).tanh() for row in others], after)
        return total

    return [*table, *others], loss


def stretches(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps went to C in each call, from now on."""
    counts: list[int] = []
    train = steps.Stepper.train

    def counted(self: Any, optimizer: Any, rates: Any, *rest: Any) -> Any:
        counts.append(len(rates))
        return train(self, optimizer, rates, *rest)

    monkeypatch.setattr(steps.Stepper, "train", counted)
    return counts


def by_hand(program: Any, data: Any, optimizer: Any, epochs: int, size: int) -> None:
    """What fit does, step by step in Python."""
    for epoch in range(epochs):
        order = next(orders(len(data), 0, epoch)).tolist()
        for start in range(0, len(data), size):
            chosen = order[start : start + size]
            optimizer.zero_grad()
            for i in chosen:
                program.backward(*data[i])
            if len(chosen) > 1:
                program.parameters.grad *= 1.0 / len(chosen)
            optimizer.step()


RATES = (0.05, optim.linear(0.1, 0.0, steps=60))  # the second one is zero in the end


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("rate", RATES, ids=["constant", "schedule"])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam, optim.AdamW])
def test_steps_in_c_are_the_steps_in_python_bit_for_bit(
    kind: Any, rate: Any, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, data, found = stretches(monkeypatch), words(1), []
    for train in (micrograd.fit, by_hand):
        tables, loss = spelling()
        program = micrograd.compile(loss, backend="native")
        for example in data:
            program(*example)
        optimizer = kind(program.parameters, lr=rate)
        how = {"progress": False} if train is micrograd.fit else {}
        train(program, data, optimizer, 3, size, **how)
        found.append(
            ([[v.data.hex() for v in row] for row in tables], [v.grad for v in program.parameters], optimizer.steps)
        )
        assert all(v.has_grad for v in program.parameters)
    assert found[0] == found[1]
    assert sum(counts) == 3 * -(-len(data) // size)  # all of them
    assert max(counts) > 5


@pytest.mark.parametrize("backend", ["native", "numpy"])
@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("made_of", [np.array, list])
def test_batches_of_several_lengths_are_steps_as_they_are(
    made_of: Any, size: int, backend: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts, found, draw = stretches(monkeypatch), [], np.random.default_rng(0)
    shapes = [(5, 2), (3, 4), (9, 2), (1, 3), (200, 3), (4, 4), (9, 2), (2, 1)]
    data = [(draw.normal(), made_of(draw.integers(0, 6, shape).tolist())) for shape in shapes]
    for train in (micrograd.fit, by_hand):
        tables, loss = spelling()
        program = micrograd.compile(
            lambda scale, word, loss=loss: scale * loss(word), batch=(None, 0), reduce="mean", backend=backend
        )
        for example in data:
            program(*example)
        optimizer = optim.Adam(program.parameters, lr=0.05)
        if train is micrograd.fit:
            losses_of = micrograd.fit(program, data, optimizer, 3, size, progress=False)
        else:
            by_hand(program, data, optimizer, 3, size)
        found.append(([[v.data.hex() for v in row] for row in tables], optimizer.steps))
    assert found[0] == found[1]
    assert sum(counts) == (3 * -(-len(data) // size) if backend == "native" else 0)
    tables, loss = spelling()
    program = micrograd.compile(lambda scale, word: scale * loss(word), batch=(None, 0), reduce="mean", backend=backend)
    still = micrograd.fit(program, data, optim.SGD([v for row in tables for v in row], lr=0.0), 1, size, progress=False)
    assert still[0] == pytest.approx(np.mean([program(*batch) for batch in data]))  # an epoch's loss is the mean of theirs
    assert len(losses_of) == 3


def test_a_batch_of_a_list_is_looked_at_like_any_call() -> None:
    tables, loss = spelling()
    program = micrograd.compile(loss, batch=0, reduce="sum")
    optimizer = optim.SGD([v for row in tables for v in row], lr=0.1)
    with pytest.raises(IndexError, match="index 6 is outside a table of 6"):
        micrograd.fit(program, [(np.array([[1, 2]]),), (np.array([[1, 6]]),)], optimizer, 1, 1, progress=False)
    with pytest.raises(ValueError, match="batched"):
        micrograd.fit(program, [(np.array([[1, 2]]),), ([3, 4.5], 2)], optimizer, 1, 1, progress=False)
    with pytest.raises(ValueError, match="needs one loss for a batch"):
        micrograd.fit(micrograd.compile(loss, batch=0), [(np.array([[1, 2]]),)], optimizer, 1, 1, progress=False)


def test_a_second_training_begins_with_a_long_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, data = stretches(monkeypatch), words(1)
    tables, loss = spelling()
    program = micrograd.compile(loss, backend="native")
    optimizer = optim.SGD([v for row in tables for v in row], lr=0.1)
    for _ in range(2):
        counts.clear()
        micrograd.fit(program, data, optimizer, 3, 1, progress=False)
    assert counts[0] > 1
    assert sum(counts) == 3 * len(data)
    for others, size in ((words(2), 1), (data, 2)):  # others may take longer
        counts.clear()
        micrograd.fit(program, others, optimizer, 1, size, progress=False)
        assert counts[0] == 1


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_an_array_that_a_schedule_changes_is_read_with_its_step(backend: str) -> None:
    w, x = Value(0.5), np.array([1.0])

    def rate(step: int) -> float:
        x[0] = 1.0 + step
        return 0.01

    program = micrograd.compile(lambda x, y: (w * x[0] - y) ** 2, backend=backend)
    found = micrograd.fit(program, [(x, 1.0), (np.array([1.0]), 2.0)], optim.SGD([w], lr=rate), 3, 1, progress=False)
    assert [round(loss, 3) for loss in found] == [1.235, 1.316, 1.831]


def test_steps_are_counted_where_an_interrupt_comes_right_after_them(monkeypatch: pytest.MonkeyPatch) -> None:
    w = Value(0.0)
    program = micrograd.compile(lambda x: w * x, backend="native")
    program(1.0)
    optimizer = optim.SGD(program.parameters, lr=1.0)

    class Interrupted:
        def __init__(self, library: Any) -> None:
            self.library = library

        def mg_train(self, *args: Any) -> None:
            self.library.mg_train(*args)
            raise KeyboardInterrupt

    compiled = steps._compiled
    monkeypatch.setattr(steps, "_compiled", lambda text: Interrupted(compiled(text)))
    for _ in range(3):
        with pytest.raises(KeyboardInterrupt):
            micrograd.fit(program, [(1.0,)] * 50, optimizer, 1, 1, progress=False)
    assert -w.data == optimizer.steps > 0


def test_batches_in_c_are_those_in_python_and_the_last_may_be_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    counts, results = stretches(monkeypatch), []
    for backend in ("native", "numpy"):
        model = MLP(2, [4, 1], seed=1)
        program = micrograd.compile(
            lambda x, y, model=model: micrograd.relu(1 - model(x) * y), batch=(0, 0), reduce="mean", backend=backend
        )
        found = micrograd.fit(program, (X, Y), optim.Adam(model.parameters(), lr=0.05), 40, 5, progress=False)
        results.append((found, [p.data for p in model.parameters()]))
    assert sum(counts) == 40 * 5
    np.testing.assert_allclose(results[0][0], results[1][0], rtol=1e-9)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=1e-7, atol=1e-9)


def test_an_index_outside_its_table_is_an_error_in_a_stretch_too() -> None:
    tables, loss = spelling()
    program = micrograd.compile(loss, backend="native")
    data = words(1)
    micrograd.fit(program, data, optim.SGD(tables[0], lr=0.0), 1, 1, progress=False)
    data[7] = ([3, 6],)
    with pytest.raises(IndexError, match="index 6 is outside a table of 6"):
        micrograd.fit(program, data, optim.SGD(program.parameters, lr=0.0), 1, 1, progress=False)


@pytest.mark.parametrize("why", ["numpy", "float32", "threads", "own step", "some parameters"])
def test_what_cannot_go_to_c_is_done_step_by_step(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(optim.SGD):
        def step(self) -> None:
            super().step()

    hows: dict[str, Any] = {"numpy": {"backend": "numpy"}, "float32": {"dtype": "float32"}, "threads": {"threads": 2}}
    how = hows.get(why, {})
    counts, data = stretches(monkeypatch), words(2)
    tables, loss = spelling()
    program = micrograd.compile(loss, **how)
    moved = tables[0] if why == "some parameters" else [v for row in tables for v in row]
    before = [[v.data for v in row] for row in tables]
    micrograd.fit(program, data, (Own if why == "own step" else optim.SGD)(moved, lr=0.1), 2, 1, progress=False)
    assert counts == []
    twins, loss = spelling()
    twin = micrograd.compile(loss, **how)
    moved = twins[0] if why == "some parameters" else [v for row in twins for v in row]
    optimizer = optim.SGD(moved, lr=0.1)
    for epoch in range(2):
        for i in next(orders(len(data), 0, epoch)).tolist():
            for v in itertools.chain(*twins):
                v.grad = 0.0
            twin.backward(*data[i])
            optimizer.step()
    np.testing.assert_allclose(
        [[v.data for v in row] for row in tables], [[v.data for v in row] for row in twins], rtol=1e-6, atol=1e-7
    )
    assert [v.data for v in tables[0]] != before[0]


@pytest.mark.parametrize("called", [False, True])
def test_an_optimiser_may_have_the_parameters_in_any_order(called: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The program takes over the order, so that both have them in one stretch: the steps run in C all the same."""
    counts, found = stretches(monkeypatch), []
    for turned in (False, True):
        tables, loss = spelling()
        program = micrograd.compile(loss)
        if called:
            program.backward(*words(1)[0])
        moved = [v for row in tables for v in row][:: -1 if turned else 1]
        optimizer = optim.Adam(moved, lr=0.1)
        micrograd.fit(program, words(2), optimizer, 2, 1, progress=False)
        assert list(optimizer.parameters) == moved
        found.append([v.data for row in tables for v in row])
        assert program.parameters.data.tolist() == [v.data for v in program.parameters]
        assert list(program.parameters)[: len(moved)] == moved
    assert sum(counts) == 2 * 2 * len(words(2))
    np.testing.assert_allclose(found[0], found[1], rtol=1e-12)


def test_arrays_of_the_parameters_that_are_held_stay_theirs() -> None:
    w = [Value(1.0), Value(2.0)]
    program = micrograd.compile(lambda x: micrograd.dot(w, x) ** 2, batch=0, reduce="mean")
    program.backward(np.ones((4, 2)))
    held = program.parameters.data
    micrograd.fit(program, (np.ones((4, 2)),), optim.SGD(w[::-1], lr=0.01), 2, 2, progress=False)
    assert held.tolist() == [v.data for v in w]
    assert held[0] < 1.0


def test_some_of_the_parameters_leave_the_others_their_array() -> None:
    w = [Value(1.0), Value(2.0), Value(3.0)]
    program = micrograd.compile(lambda x: micrograd.dot(w, x) ** 2, batch=0, reduce="mean")
    micrograd.fit(program, (np.ones((4, 3)),), optim.SGD([w[2], w[0]], lr=0.01), 1, 2, progress=False)
    assert program.parameters.data.tolist() == [w[2].data, w[0].data, w[1].data]
    assert w[1].data == 2.0
    assert w[2].data < 3.0


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("count", [8, 60])
def test_examples_that_live_on_and_plain_ones_may_meet_in_a_step(count: int, batch_size: int) -> None:
    found = []
    for backend in ("numpy", "native"):
        w = [Value(0.5), Value(-0.25), Value(1.0)]
        program = micrograd.compile(lambda x, y, w=w: (micrograd.dot(w, x) - y) ** 2, backend=backend)
        kinds = (list, lambda x: [Value(v) for v in x], np.array)
        data = [(kinds[i % 3]([0.1 * i, 1.0, -0.2 * i]), np.float64(i) if i % 2 else float(i)) for i in range(count)]
        optimizer = optim.Adam(w, lr=0.01)
        losses = micrograd.fit(program, data, optimizer, 3, batch_size, progress=False)
        found.append([*losses, *(v.data for v in w)])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-12)


def pulled(kind: Any, rate: Any, examples: Any, patch: Any = None) -> tuple[float, list[float]]:
    """A number trained towards examples, step by step where ``patch`` makes the optimiser one of its own."""
    w, b = Value(0.0), Value(0.5)
    program = micrograd.compile(lambda t, x: (w * x - t * 2.0 + b) ** 2, backend="native")
    data = examples(w)
    optimizer = kind([b, w], lr=rate(w, data) if callable(rate) else rate)  # the order in which the function has them
    if patch is not None:
        optimizer.step = patch(optimizer.step)
    return w.data, [*micrograd.fit(program, data, optimizer, 4, 1, progress=False), w.data]


class Stepwise(optim.SGD):
    """An optimiser with a step of its own: fit calls it each time."""

    def step(self) -> None:
        super().step()


def numbers_only(w: Value) -> Any:
    return [(0.1 * i, 0.3 * i) for i in range(20)]


def with_the_parameter(w: Value) -> Any:
    return [(w, 0.3 * i) for i in range(20)]


class Grown(list):  # type: ignore[type-arg]
    """A list that gives its examples with noise of its own."""

    def __getitem__(self, i: Any) -> Any:
        self.asked = getattr(self, "asked", 0) + 1
        t, x = super().__getitem__(i)
        return t, x + 0.01 * self.asked


def grown(w: Value) -> Any:
    return Grown(numbers_only(w))


def looking(w: Value, data: Any) -> Callable[[int], float]:
    return lambda step: 0.05 / (1.0 + abs(w.data))


def changing(w: Value, data: Any) -> Callable[[int], float]:
    def rate(step: int) -> float:
        for i, (t, x) in enumerate(data):
            data[i] = (t, x + 0.001)
        return 0.05

    return rate


@pytest.mark.parametrize(
    ("examples", "rate"),
    [(numbers_only, 0.05), (with_the_parameter, 0.05), (grown, 0.05), (numbers_only, looking), (numbers_only, changing)],
)
def test_what_lives_on_between_the_steps_is_looked_at_in_each(examples: Any, rate: Any) -> None:
    assert pulled(optim.SGD, rate, examples) == pulled(Stepwise, rate, examples)


def test_a_step_that_was_put_onto_an_optimiser_is_called() -> None:
    calls = []

    def patch(step: Any) -> Any:
        return lambda: calls.append(step())

    assert pulled(optim.SGD, 0.05, numbers_only, patch) == pulled(Stepwise, 0.05, numbers_only)
    assert len(calls) == 4 * 20


def test_the_steps_before_a_bad_example_are_done() -> None:
    results = []
    for kind in (optim.SGD, Stepwise):
        tables, loss = spelling()
        program = micrograd.compile(loss, backend="native")
        data: list[Any] = [([1, 2, 3],)] * 40
        data[next(orders(40, 0, 0))[29]] = ([3, 6, 1],)
        with pytest.raises(IndexError, match="index 6 is outside a table of 6"):
            micrograd.fit(program, data, kind([v for row in tables for v in row], lr=0.1), 1, 1, progress=False)
        results.append([v.data for row in tables for v in row])
    assert results[0] == results[1]


def test_calls_from_another_thread_meet_whole_steps_only() -> None:
    """Both use the buffers of one kernel."""
    w = [Value(1.0 + 0.01 * i) for i in range(300)]
    program = micrograd.compile(lambda x: sum((v * x) ** 2 for v in w), backend="native")
    data = [(0.1 * i,) for i in range(50)]
    expected = [program.backward(*example) for example in data]
    program.parameters.zero_grad()
    losses: list[float] = []
    optimizer = optim.SGD(program.parameters, lr=0.0)
    thread = threading.Thread(target=lambda: losses.extend(micrograd.fit(program, data, optimizer, 100, 1, progress=False)))
    thread.start()
    found = []
    while thread.is_alive():
        found += [program(*example) for example in data]
    thread.join()
    assert all(value == pytest.approx(expected[i % 50], rel=1e-12) for i, value in enumerate(found))
    assert losses == pytest.approx([sum(expected) / 50] * 100, rel=1e-12)


def test_a_program_keeps_a_bounded_part_of_its_arguments_alive() -> None:
    import weakref

    program = micrograd.compile(lambda x: micrograd.dot(x, x), backend="numpy")
    kept = []
    for i in range(60):
        x = np.full(250_000, float(i))  # 2 MB
        program(x)
        kept.append(weakref.ref(x))
    del x
    assert sum(reference() is not None for reference in kept) <= 16


# -------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("interrupted_at", [0, 3, 4, 7])  # an epoch has five steps
def test_ctrl_c_finishes_the_step_and_a_checkpoint_goes_on_bit_for_bit(
    interrupted_at: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, program = moons()
    whole = optim.Adam(model.parameters(), lr=0.05)
    expected = micrograd.fit(program, (X, Y), whole, 3, 5, seed=2, progress=False)

    path = tmp_path / "run.npz"
    stopped, program = moons()
    handler = signal.getsignal(signal.SIGINT)
    optimizer = optim.Adam(stopped.parameters(), lr=interrupt_after(interrupted_at))
    part = micrograd.fit(program, (X, Y), optimizer, 3, 5, seed=2, checkpoint=path, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    assert optimizer.steps == interrupted_at + 1  # the step was finished
    assert part == expected[: (interrupted_at + 1) // 5]
    assert "Stopped after epoch" in capsys.readouterr().err

    resumed, program = moons()
    optimizer = optim.Adam(resumed.parameters(), lr=0.05)
    found = micrograd.fit(program, (X, Y), optimizer, 3, 5, seed=2, checkpoint=path, progress=False)
    assert found == expected
    assert numbers(resumed) == numbers(model)
    assert optimizer.state_dict() == whole.state_dict()
    assert sorted(tmp_path.iterdir()) == [path]  # nothing else is left behind
    again, program = moons()
    assert (
        micrograd.fit(
            program, (X, Y), optim.Adam(again.parameters(), lr=0.05), 3, 5, seed=2, checkpoint=path, progress=False
        )
        == expected
    )
    assert numbers(again) == numbers(model)  # a training that was over is read, not repeated


def test_ctrl_c_while_a_stretch_is_prepared_leaves_out_the_stretch(monkeypatch: pytest.MonkeyPatch) -> None:
    w = Value(0.0)
    program = micrograd.compile(lambda x: w * x, backend="native")
    program(1.0)
    optimizer = optim.SGD(program.parameters, lr=1.0)
    singles, calls = Driver.singles, itertools.count()

    def interrupted(self: Any, *args: Any, **how: Any) -> Any:
        made = singles(self, *args, **how)
        if next(calls) == 1:
            signal.raise_signal(signal.SIGINT)
        return made

    monkeypatch.setattr(Driver, "singles", interrupted)
    micrograd.fit(program, [(1.0,)] * 500, optimizer, 1, 1, progress=False)
    assert -w.data == optimizer.steps == 2


def test_without_a_checkpoint_ctrl_c_keeps_the_parameters_of_the_last_whole_step() -> None:
    model, program = moons()
    found = micrograd.fit(program, (X, Y), optim.SGD(model.parameters(), lr=interrupt_after(6)), 9, 5, progress=False)
    twin, other = moons()
    rates = itertools.chain([0.05] * 7, itertools.repeat(0.0))
    micrograd.fit(other, (X, Y), optim.SGD(twin.parameters(), lr=lambda _: next(rates)), 2, 5, progress=False)
    assert len(found) == 1
    assert numbers(model) == numbers(twin)


def test_it_trains_in_a_thread_that_gets_no_signals() -> None:
    model, program = moons()
    before, found = numbers(model), []
    thread = threading.Thread(
        target=lambda: found.extend(
            micrograd.fit(program, (X, Y), optim.SGD(model.parameters(), lr=0.1), 1, 5, progress=False)
        )
    )
    thread.start()
    thread.join()
    assert len(found) == 1
    assert numbers(model) != before


def test_an_error_in_a_step_leaves_the_checkpoint_of_the_last_epoch(tmp_path: Path) -> None:
    model, program = moons()

    def rate(step: int) -> float:
        if step == 7:
            raise ArithmeticError("in the second epoch")
        return 0.05

    path = tmp_path / "run.npz"
    with pytest.raises(ArithmeticError):
        micrograd.fit(program, (X, Y), optim.SGD(model.parameters(), lr=rate), 3, 5, checkpoint=path, progress=False)
    twin, other = moons()
    expected = micrograd.fit(other, (X, Y), optim.SGD(twin.parameters(), lr=0.05), 3, 5, progress=False)
    model, program = moons()
    assert (
        micrograd.fit(program, (X, Y), optim.SGD(model.parameters(), lr=0.05), 3, 5, checkpoint=path, progress=False)
        == expected
    )
    assert numbers(model) == numbers(twin)


# ---------------------------------------------------------------------------------------------------------- errors


def saved(tmp_path: Path) -> Path:
    path = tmp_path / "run.npz"
    model, program = moons()
    micrograd.fit(program, (X, Y), optim.Adam(model.parameters(), lr=0.05), 1, 5, checkpoint=path, progress=False)
    return path


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"batch_size": 6}, "batch_size is 5, here it is 6"),
        ({"seed": 1}, "seed is 0, here it is 1"),
        ({"data": (X[:20], Y[:20])}, "examples is 23, here it is 20"),
        ({"data": (X + 1.0, Y)}, "its data is"),
        ({"kind": optim.SGD}, "optimizer is 'Adam', here it is 'SGD'"),
        ({"sizes": [5, 1]}, "parameters is 17, here it is 21"),
    ],
)
def test_a_checkpoint_of_another_training_is_refused_and_changes_nothing(
    changed: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = saved(tmp_path)
    model = MLP(2, changed.get("sizes", [4, 1]), seed=1)
    program = micrograd.compile(lambda x, y: micrograd.relu(1 - model(x) * y), batch=(0, 0), reduce="mean")
    before = numbers(model)
    optimizer = changed.get("kind", optim.Adam)(model.parameters(), lr=0.05)
    with pytest.raises(ValueError, match=message):
        micrograd.fit(
            program, changed.get("data", (X, Y)), optimizer, 2, changed.get("batch_size", 5), seed=changed.get("seed", 0),
            checkpoint=path, progress=False,
        )  # fmt: skip
    assert numbers(model) == before


def test_a_damaged_checkpoint_is_refused_wherever_it_was_cut_or_changed(tmp_path: Path) -> None:
    path = saved(tmp_path)
    whole = path.read_bytes()
    model, program = moons()
    expected = micrograd.fit(program, (X, Y), optim.Adam(model.parameters(), lr=0.05), 1, 5, progress=False)
    pick = random.Random(0)
    damaged = [whole[: pick.randrange(len(whole))] for _ in range(20)] + [b"", b"PK\x03\x04", b"no checkpoint"]
    for _ in range(40):
        at = pick.randrange(len(whole))
        damaged.append(whole[:at] + bytes([whole[at] ^ 1 << pick.randrange(8)]) + whole[at + 1 :])
    refused = 0
    for content in damaged:
        path.write_bytes(content)
        model, program = moons()
        try:  # a byte that means nothing, such as one of a date, may change
            assert (
                micrograd.fit(
                    program, (X, Y), optim.Adam(model.parameters(), lr=0.05), 1, 5, checkpoint=path, progress=False
                )
                == expected
            )
        except ValueError as error:
            assert "checkpoint" in str(error) or "another training" in str(error)  # noqa: PT017
            refused += 1
    assert refused > 50


W = Value(1.0)


@pytest.mark.parametrize(
    ("options", "data", "error", "message"),
    [
        ({"batch": 0, "reduce": "mean"}, {"epochs": 0}, ValueError, "epochs must be a whole number from 1, got 0"),
        (
            {"batch": 0, "reduce": "mean"},
            {"batch_size": 2.0},
            ValueError,
            "batch_size must be a whole number from 1, got 2.0",
        ),
        ({"batch": 0, "reduce": "mean"}, {"seed": -1}, ValueError, "seed must be a whole number from 0, got -1"),
        ({"batch": 0}, {}, ValueError, "needs one loss for a batch: compile the program with reduce='mean'"),
        ({"batch": 0, "reduce": "mean"}, {"data": X}, TypeError, r"arguments as a tuple, got ndarray: write \(X, Y\)"),
        ({"batch": 0, "reduce": "mean"}, {"data": (X, Y[:5])}, ValueError, "same number of examples .* got 23 in x, 5 in y"),
        ({"batch": 0, "reduce": "mean"}, {"data": (X[:0], Y[:0])}, ValueError, "at least one, got 0 in x, 0 in y"),
        ({"batch": (0, 0), "reduce": "mean"}, {"data": (X,)}, TypeError, "is for 2 arguments, but the call has 1"),
        ({"batch": 0, "reduce": "mean"}, {"data": (X, 1.0)}, ValueError, "y is batched: expected numbers"),
        ({}, {}, TypeError, "without batch= takes a list of examples, tuples of arguments"),
        ({}, {"data": []}, TypeError, "without batch= takes a list of examples"),
        ({"batch": 0, "reduce": "mean"}, {"optimizer": 0.1}, TypeError, "takes an optimizer after the data, got float"),
        (
            {"batch": 0, "reduce": "mean"},
            {"optimizer": optim.SGD([Value(2.0)], lr=0.1)},
            ValueError,
            "the loss does not depend on any of the optimizer's parameters",
        ),
    ],
)
def test_what_does_not_fit_is_an_error_that_says_what_to_write(
    options: dict[str, Any], data: dict[str, Any], error: type[Exception], message: str
) -> None:
    program = micrograd.compile(lambda x, y: (W * x[0] - y) ** 2, **options)
    arguments = {
        "data": (X, Y),
        "optimizer": optim.SGD([W], lr=0.1),
        "epochs": 1,
        "batch_size": 4,
        "progress": False,
        **data,
    }
    with pytest.raises(error, match=message):
        micrograd.fit(program, **arguments)
    assert W.data == 1.0


def test_a_function_that_is_not_compiled_and_one_without_parameters_are_refused() -> None:
    with pytest.raises(TypeError, match=re.escape("write fit(micrograd.compile(loss), ...)")):
        micrograd.fit(lambda x: x, (X,), optim.SGD([W], lr=0.1), 1, 4)  # type: ignore[arg-type]
    program = micrograd.compile(lambda x: x * x, batch=0, reduce="mean")
    with pytest.raises(ValueError, match="captured no Values"):
        micrograd.fit(program, (Y,), optim.SGD([W], lr=0.1), 1, 4)


SCALE = 1.0


def test_a_schedule_that_changes_a_global_and_calls_the_program_changes_the_steps_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def train(backend: str, after: float) -> list[float]:
        w = Value(0.5)
        program = micrograd.compile(lambda x, y: (w * x * SCALE - y) ** 2, backend=backend)
        monkeypatch.setattr(f"{__name__}.SCALE", 1.0)

        def rate(step: int) -> float:
            if step == 4:  # the first step of the second epoch
                monkeypatch.setattr(f"{__name__}.SCALE", after)
                program(1.0, 1.0)
            return 0.01

        data = [(i + 1.0, 2.0 * i) for i in range(4)]
        return micrograd.fit(program, data, optim.SGD([w], lr=rate), epochs=5, batch_size=1, progress=False)

    assert train("native", 2.0) == pytest.approx(train("numpy", 2.0), rel=1e-12)
    assert train("native", 2.0)[2:] != pytest.approx(train("native", 1.0)[2:], rel=1e-3)


def test_a_training_does_not_depend_on_where_its_arrays_lie(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    rows = [(random.normal(size=(8, 24)), random.normal()) for _ in range(10)]

    def losses_after(epochs: int, offset: int, checkpoint: Path | None) -> str:
        w = [Value(0.1 * i - 0.7) for i in range(24)]
        program = micrograd.compile(
            lambda a, y: (sum(micrograd.tanh(sum(x * v for x, v in zip(row, w, strict=True))) for row in a) - y) ** 2
        )
        data = []
        for a, y in rows:
            room = np.empty(a.size + 8)
            room[offset : offset + a.size] = a.ravel()
            data.append((room[offset : offset + a.size].reshape(a.shape), y))
        optimizer = optim.SGD(w, lr=0.01)
        return micrograd.fit(program, data, optimizer, epochs, 1, checkpoint=checkpoint, progress=False)[-1].hex()

    whole = losses_after(4, 0, None)
    for offset in range(8):
        path = tmp_path / f"{offset}.npz"
        losses_after(2, offset, path)
        assert losses_after(4, 7 - offset, path) == whole


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_of_two_bad_examples_in_a_step_the_first_one_tells_what_is_wrong(backend: str) -> None:
    table = [Value(float(i)) for i in range(3)]
    program = micrograd.compile(lambda i, y: (micrograd.take(table, i) - y) ** 2, backend=backend)
    data: list[Any] = [(i % 3, 1.0) for i in range(6)]
    order = next(orders(6, 0, 0))
    data[order[0]], data[order[1]] = (7, 1.0), (2**70, 1.0)
    with pytest.raises(IndexError, match="index 7 is outside a table of 3"):
        micrograd.fit(program, data, optim.SGD(table, lr=0.1), epochs=1, batch_size=3, progress=False)
    data[order[0]], data[order[1]] = data[order[1]], data[order[0]]
    with pytest.raises(OverflowError):
        micrograd.fit(program, data, optim.SGD(table, lr=0.1), epochs=1, batch_size=3, progress=False)


@pytest.mark.parametrize("backend", ["native", "numpy"])
def test_a_recording_made_during_fit_vouches_for_no_older_ones(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    w = Value(0.5)
    program = micrograd.compile(lambda x: (w * x[0] * SCALE) ** 2, backend=backend)
    monkeypatch.setattr(f"{__name__}.SCALE", 1.0)

    def rate(step: int) -> float:
        if step:
            monkeypatch.setattr(f"{__name__}.SCALE", 2.0)
            program([1.0, 2.0])  # of a form that was not recorded before
        return 0.0

    micrograd.fit(program, [([1.0],), ([2.0],)], optim.SGD([w], lr=rate), epochs=1, batch_size=1, progress=False)
    assert (program([3.0]), program.bind([3.0])()) == (9.0, (9.0, [6.0]))
