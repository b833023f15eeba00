"""Watching a run: the numbers taken down are those of the model, in bounded memory."""

from __future__ import annotations

import math
import random
import xml.etree.ElementTree as ET
from statistics import median

import pytest

from micrograd import MLP, Layer, Module, Neuron, Value, losses, viz
from micrograd.viz.run import EXAMPLES, POINTS, RECORDS, ROWS, SAMPLE, SHOTS, Run


def blobs(count: int, seed: int = 0) -> tuple[list[list[float]], list[int]]:
    rng = random.Random(seed)
    labels = [1 - 2 * (i % 2) for i in range(count)]
    return [[rng.gauss(label, 0.5), rng.gauss(-label, 0.5)] for label in labels], labels


def trained(model: Module, run: Run, rows: list[list[float]], labels: list[int], steps: int) -> Value:
    """Some steps of gradient descent, after the last of which the weights stay."""
    for _ in range(steps):
        loss = losses.hinge([model(row) for row in rows], labels)
        model.zero_grad()
        loss.backward()
        run.record(loss)
        if len(run.records) < steps:
            for p in model.parameters():
                p.data -= 0.1 * p.grad
    return loss


class Line(Module):
    def __init__(self) -> None:
        self.slope, self.offset = Value(2.0), Value(-1.0)


@pytest.fixture(scope="module")
def watched() -> tuple[MLP, Run, list[list[float]]]:
    rows, labels = blobs(20)
    model = MLP(2, [5, 4, 1], seed=3)
    run = viz.watch(model, inputs=rows, labels=labels)
    trained(model, run, rows, labels, 4)
    return model, run, rows


def test_a_record_has_the_loss_and_the_norm_of_each_layers_gradient(watched):
    model, run, _ = watched
    assert [record.step for record in run.records] == [0, 1, 2, 3]
    last = run.records[-1]
    norms = [math.sqrt(sum(p.grad**2 for p in layer.parameters())) for layer in model.layers]
    assert last.norms == pytest.approx(norms, rel=1e-14)


def test_the_loss_is_kept_whether_a_value_or_a_number():
    run = viz.watch(Line())
    run.record(2)
    loss = Value(3.0)
    loss.backward()
    run.record(loss)
    assert [record.loss for record in run.records] == [2.0, 3.0]


def test_weights_and_gradients_of_a_small_layer_are_all_in_the_spread(watched):
    model, run, _ = watched
    last = run.records[-1]
    for k, layer in enumerate(model.layers):
        parameters = layer.parameters()
        if len(parameters) % 2:
            assert last.weights[k][2] == median(p.data for p in parameters)
            assert last.gradients[k][2] == median(p.grad for p in parameters)
        assert min(p.data for p in parameters) <= last.weights[k][0] <= last.weights[k][4] <= max(p.data for p in parameters)


@pytest.mark.parametrize("activation", ["relu", "tanh", "gelu", lambda z: z * z])
def test_outputs_are_those_of_the_engine(activation):
    model = MLP(2, [5, 3], activation=activation, seed=3)
    run = viz.watch(model, inputs=[[0.5, -1.0]])
    run.record(0.0)
    (_, weights), *_ = run.moments(2)
    assert run.outputs(weights, [0.3, 2.0]) == pytest.approx([out.data for out in model([0.3, 2.0])], rel=1e-14)
    hidden = sorted(h.data for h in model.layers[0]([0.5, -1.0]))
    assert run.records[0].activations[0][2] == pytest.approx(hidden[2], rel=1e-14)


def test_a_relu_neuron_is_dead_where_no_input_makes_it_active():
    model = MLP(2, [3, 1], seed=0)
    for neuron, bias in zip(model.layers[0].neurons, (-100.0, 100.0, -100.0), strict=True):
        neuron.b.data = bias
    run = viz.watch(model, inputs=[[0.0, 1.0], [1.0, 0.0]])
    run.record(0.0)
    assert run.records[0].dead == (2, None)


def neuron_active_only_on_the_last(rows):
    model = Layer(2, 1)
    (neuron,) = model.neurons
    neuron.w[0].data, neuron.w[1].data, neuron.b.data = 1.0, 0.0, -98.5
    run = viz.watch(model, inputs=rows)
    run.record(0.0)
    return run


def test_a_neuron_that_is_active_on_one_row_of_many_is_not_dead():
    run = neuron_active_only_on_the_last([[i, 0] for i in range(100)])
    assert run.records[0].dead == (0,)
    assert "looked at" not in run.svg


def test_of_very_many_rows_a_sample_is_looked_at_and_the_picture_says_so():
    run = neuron_active_only_on_the_last([[i % 2, 0] for i in range(ROWS + 1)])
    assert (run.records[0].dead, len(run.looked_at)) == ((1,), ROWS)
    assert "Dead relu neurons on 500 rows looked at" in run.svg
    assert "1 of its 1 relu neurons are dead at the end on 500 rows looked at." in run.svg


def test_the_repr_counts_the_steps_up_to_the_loss_that_it_shows():
    run = viz.watch(Line(), every=3)
    run.record(5.0)
    assert repr(run) == "Run(1 step, loss 5 to 5)"
    for loss in (4.0, 3.0, 2.0, 1.0):
        run.record(loss)
    assert repr(run) == "Run(4 steps, loss 5 to 2)"


def test_layers_without_relu_have_no_dead_neurons():
    run = viz.watch(MLP(2, [3, 1], activation="tanh"), inputs=[[0.0, 1.0]])
    run.record(0.0)
    assert run.records[0].dead == (None, None)


def test_a_long_run_keeps_a_bounded_number_of_evenly_spaced_steps():
    run = viz.watch(MLP(2, [1], seed=0), inputs=[[0.0, 1.0]])
    for step in range(3 * RECORDS):
        run.record(float(step))
        assert len(run.records) <= RECORDS
        assert len(run.shots) <= SHOTS
    steps = [record.step for record in run.records]
    assert len(steps) > RECORDS // 4
    assert steps == list(range(0, 3 * RECORDS, steps[1]))
    assert [record.loss for record in run.records] == steps


def test_the_first_and_the_latest_weights_are_kept():
    model = MLP(2, [1], seed=0)
    run = viz.watch(model, inputs=[[0.0, 1.0]])
    for step in range(101):
        model.layers[0].neurons[0].b.data = float(step)
        run.record(0.0)
    found = run.moments(4)
    assert [step for step, _ in (found[0], found[-1])] == [0, 100]
    assert all(weights[0][0][1] == step for step, weights in found)
    assert len(found) == 4


def test_only_every_nth_call_records():
    run = viz.watch(Line(), every=3)
    for step in range(8):
        run.record(float(step))
    assert [record.step for record in run.records] == [0, 3, 6]


def test_samples_are_bounded_and_the_same_in_every_run():
    rows, labels = blobs(500)
    first, second = (viz.watch(MLP(2, [50, 1], seed=0), rows, labels) for _ in range(2))
    assert first.points == second.points
    assert (len(first.points), len(first._examples), max(map(len, first._sampled))) == (POINTS, EXAMPLES, SAMPLE)
    assert all(labels[rows.index(row)] == label for row, label in first.points)


def test_recording_changes_neither_model_nor_random_numbers():
    model = MLP(2, [3, 1], seed=0)
    random.seed(1)
    run = viz.watch(model, inputs=[[0.0, 1.0]])
    model([1.0, 2.0]).backward()
    before = [(p.data, p.grad) for p in model.parameters()]
    run.record(0.0)
    assert [(p.data, p.grad) for p in model.parameters()] == before
    assert random.random() == random.Random(1).random()


def test_numbers_that_are_not_finite_do_not_stop_the_run():
    model = Layer(2, 2)
    model.neurons[0].w[0].data = math.nan
    run = viz.watch(model, inputs=[[1.0, 1.0]])
    run.record(math.nan)
    run.record(math.inf)
    assert all(map(math.isfinite, run.records[0].weights[0]))
    drawn = [value for element in ET.fromstring(run.svg).iter() for value in element.attrib.values()]
    assert not [value for value in drawn if "nan" in value or "inf" in value]


def test_other_modules_are_watched_as_one():
    run = viz.watch(Line())
    run.record(1.0)
    assert len(run.records[0].norms) == 1
    assert (run.records[0].activations, run.records[0].dead) == ((), ())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((3.0,), TypeError, "takes a Module, such as an MLP, got float"),
        ((Line(), [[1.0]]), ValueError, "not of Line: leave out inputs"),
        ((Neuron(2), [[1.0, 2.0]]), ValueError, "not of Neuron"),
        ((MLP(2, [1]), [[1.0]]), ValueError, "rows of 2 inputs, got a row of 1"),
        ((MLP(2, [1]), []), ValueError, "got no rows"),
        ((MLP(2, [1]), [1.0, 2.0]), TypeError, "inputs are rows of numbers"),
        ((MLP(2, [1]), [[1.0, 2.0]], [1, 2]), ValueError, "got 2 labels for 1 rows"),
        ((MLP(2, [1]), None, None, 0), ValueError, "every is a whole number of at least 1, got 0"),
        ((MLP(2, [1]), [[1.0, 2.0]], ["a"]), TypeError, r"labels are numbers, one for each row .* got \['a'\]"),
        ((MLP(2, [1]), [[1.0, 2.0]], 1), TypeError, "labels are numbers, one for each row"),
        ((MLP(2, [1]), None, [1]), ValueError, "labels belong to inputs"),
    ],
)
def test_mistakes_are_named(arguments, error, message):
    with pytest.raises(error, match=message):
        viz.watch(*arguments)


def test_recording_before_the_backward_pass_is_refused():
    run = viz.watch(Line())
    with pytest.raises(ValueError, match=r"comes after loss\.backward\(\)"):
        run.record(Value(1.0) * 2.0)
    with pytest.raises(TypeError, match="takes the loss, a Value or a number, got str"):
        run.record("1.0")


def test_an_empty_run_has_a_repr_and_no_picture(tmp_path):
    run = viz.watch(Line())
    assert repr(run) == "Run(nothing recorded)"
    assert run._repr_svg_() is None
    with pytest.raises(ValueError, match="nothing is recorded yet"):
        run.save(tmp_path / "run.svg")


def test_save_writes_the_picture_and_the_page(watched, tmp_path):
    _, run, _ = watched
    assert run.save(tmp_path / "run.svg").read_text(encoding="utf-8") == run.svg == run._repr_svg_()
    assert run.save(str(tmp_path / "run.html")).read_text(encoding="utf-8") == run.html
    with pytest.raises(ValueError, match=r"\.svg or \.html, got 'run\.png'"):
        run.save("run.png")
    assert repr(run).startswith("Run(4 steps, loss ")
