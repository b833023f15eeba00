"""A training is a function of its table, its settings and its state."""

from __future__ import annotations

import json

import pytest
from conftest import oracle

from micrograd import topological_order
from micrograd.data import IRIS, DataError, Table, read_csv
from micrograd.training import Settings, Training, TrainingError

TABLE = Table(["a", "b"], "kind", [[float(i % 7), float(i % 5)] for i in range(20)], ["x", "y", "z", "z"] * 5)
SETTINGS = Settings(hidden=[3], batch_size=4)


def trained(epochs, settings=SETTINGS):
    training = Training(TABLE, settings)
    training.run(epochs)
    return training


@pytest.mark.parametrize("parts", [[0, 3], [1, 2], [2, 1], [1, 1, 1], [3, 0]])
def test_training_in_parts_through_json_gives_the_bits_of_training_at_once(parts):
    state = Training(TABLE, SETTINGS).state()
    for epochs in parts:
        training = Training.resume(TABLE, json.loads(json.dumps(state)))
        training.run(epochs)
        state = training.state()
    assert state == trained(3).state()


@pytest.mark.parametrize("change", [{"seed": 1}, {"lr": 0.02}, {"batch_size": 5}, {"activation": "relu"}, {"hidden": [4]}])
def test_every_setting_matters(change):
    state = trained(2).state()["parameters"]
    assert state != trained(2, Settings(**{"hidden": [3], "batch_size": 4, **change})).state()["parameters"]


def test_the_loss_and_the_standardised_inputs_are_those_of_pytorch_and_of_the_training_rows():
    torch = oracle("torch")
    training = Training(read_csv(IRIS), Settings())
    rows = torch.tensor([training.table.rows[i] for i in training.training], dtype=torch.float64)
    x = (rows - rows.mean(0)) / rows.std(0, unbiased=False)
    for n, layer in enumerate(training.model.layers):
        w = torch.tensor([[v.data for v in neuron.w] for neuron in layer.neurons], dtype=torch.float64)
        b = torch.tensor([neuron.b.data for neuron in layer.neurons], dtype=torch.float64)
        x = x @ w.T + b
        x = x.tanh() if n == 0 else x
    targets = torch.tensor([training.targets[i] for i in training.training])
    assert training.losses()[0] == pytest.approx(float(torch.nn.functional.cross_entropy(x, targets)), rel=1e-12)
    assert training.correct(training.training) == int((x.argmax(1) == targets).sum())


def test_an_interruption_in_the_middle_of_an_epoch_goes_back_to_the_epoch_before(monkeypatch):
    expected, losses, calls = trained(2).state(), Training.losses, []

    def interrupted(self):
        calls.append(self)
        if len(calls) == 4:  # the first is made before training
            raise KeyboardInterrupt
        return losses(self)

    monkeypatch.setattr(Training, "losses", interrupted)
    training = Training(TABLE, SETTINGS)
    assert training.run(9) is False
    assert training.epochs == 2
    assert training.state() == expected


def test_the_picture_shows_names_and_the_gradients_of_one_example_alone():
    training = trained(2)
    loss = training.example()
    assert (loss.label, loss.grad) == ("loss", 1.0)
    assert {"a", "b", "x", "y", "z"} <= {node.label for node in topological_order(loss)}
    rested = Training.resume(TABLE, training.state())  # no gradients of a last batch are left here
    assert rested.example().data == loss.data
    for parameter, twin in zip(training.model.parameters(), rested.model.parameters(), strict=True):
        assert parameter.grad == twin.grad


def test_numbers_that_overflow_are_an_error_and_not_a_nan():
    huge = Table(["a"], "kind", [[1.7e308], [-1.7e308]], ["x", "y"])
    with pytest.raises(DataError, match="too large to standardise"):
        Training(huge, SETTINGS)
    with pytest.raises(TrainingError, match="use a smaller learning rate"):
        trained(5, Settings(hidden=[3], activation="relu", lr=1e308))
