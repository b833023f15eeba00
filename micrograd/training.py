"""Training a classifier on a table, so that it can be stopped after any epoch and continued: the main job of the shell."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from micrograd import losses, ops
from micrograd.data import Standardiser, Table, split
from micrograd.engine import Value
from micrograd.nn import MLP
from micrograd.optim import Adam

FORMAT = "micrograd classifier 1"


class TrainingError(ValueError):
    """Settings, data and saved weights that do not fit together, or a training that diverged."""


@dataclass(frozen=True)
class Settings:
    """How to train: sizes of the hidden layers, steps of Adam, and the seed of the split, the weights and the batches."""

    hidden: list[int] = field(default_factory=lambda: [16])
    activation: str = "tanh"
    lr: float = 0.01
    batch_size: int = 16
    seed: int = 0
    test_fraction: float = 0.2


class Training:
    """A network, its optimiser, and the rows that it learns from and is tested on.

    Everything random comes from the seed, and an epoch's batches from the seed and the epoch's number: so k epochs, saved
    and continued for m more, end at the weights of k + m epochs, bit for bit.
    """

    def __init__(self, table: Table, settings: Settings, standardiser: Standardiser | None = None) -> None:
        self.table, self.settings = table, settings
        self.training, self.held_out = split(table.labels, settings.test_fraction, settings.seed)
        self.standardiser = standardiser or Standardiser.fit([table.rows[i] for i in self.training], table.features)
        self.inputs = [self.standardiser(row) for row in table.rows]
        self.targets = [table.classes.index(label) for label in table.labels]
        sizes = [*settings.hidden, len(table.classes)]
        self.model = MLP(len(table.features), sizes, activation=settings.activation, seed=settings.seed, init="xavier")
        self.optimizer = Adam(self.model.parameters(), lr=settings.lr)
        self.history: list[tuple[float, float | None]] = []
        self.history.append(self.losses())

    @property
    def epochs(self) -> int:
        """Whole epochs trained so far."""
        return len(self.history) - 1

    def run(self, epochs: int, progress: Callable[[Iterable[int]], Iterable[int]] = iter) -> bool:
        """Train for some epochs.  False where Ctrl-C stopped it, which leaves the state after the last whole epoch.

        TrainingError when the loss is no longer finite.
        """
        state = self.state()
        try:
            for _ in progress(range(epochs)):
                self.train_one_epoch()
                self.history.append(self.losses())
                state = self.state()
        except KeyboardInterrupt:
            self._load(state)
            return False
        return True

    def train_one_epoch(self) -> None:
        """One step of the optimiser for each mini-batch of the training rows, in a random order."""
        order = list(self.training)
        random.Random(f"epoch {self.settings.seed} {self.epochs}").shuffle(order)
        for start in range(0, len(order), self.settings.batch_size):
            loss = self.loss(order[start : start + self.settings.batch_size])
            self.model.zero_grad()
            loss.backward()
            self.optimizer.step()

    def loss(self, rows: Sequence[int]) -> Value:
        """The mean cross-entropy over some rows of the table, with its graph."""
        loss: Value = losses.cross_entropy([self.model(self.inputs[i]) for i in rows], [self.targets[i] for i in rows])
        return loss

    def losses(self) -> tuple[float, float | None]:
        """The loss over the training rows and over the held-out rows, None where there are none.

        TrainingError for a loss that is not finite.
        """
        return self._finite_loss(self.training), self._finite_loss(self.held_out) if self.held_out else None

    def _finite_loss(self, rows: Sequence[int]) -> float:
        loss = math.fsum(self.loss([i]).data for i in rows) / len(rows)  # row by row, so that one graph is alive at a time
        if not math.isfinite(loss):
            raise TrainingError(
                f"the loss is {loss} after {len(self.history)} epochs: use a smaller learning rate (--lr), and look for "
                "extreme numbers in the data"
            )
        return loss

    def correct(self, rows: Sequence[int]) -> int:
        """How many of some rows get the largest output at their class."""
        outputs = [[output.data for output in self.model(self.inputs[i])] for i in rows]
        return sum(output.index(max(output)) == self.targets[i] for i, output in zip(rows, outputs, strict=True))

    def example(self) -> Value:
        """The loss of the first training row after its backward pass, with inputs and outputs labelled for a picture."""
        row = self.training[0]
        inputs = [Value(x, label=name) for x, name in zip(self.inputs[row], self.table.features, strict=True)]
        outputs = self.model(inputs)
        for output, name in zip(outputs, self.table.classes, strict=True):
            output.label = name
        loss: Value = losses.cross_entropy(outputs, self.targets[row])
        loss.label = "loss"
        self.model.zero_grad()
        loss.backward()
        return loss

    # ------------------------------------------------------------------------------------------- saving, resuming

    def state(self) -> dict[str, Any]:
        """All that is needed to continue or to use the network, as plain data for a JSON file."""
        return {
            "format": FORMAT,
            "features": self.table.features,
            "target": self.table.target,
            "classes": self.table.classes,
            "rows": len(self.table.rows),
            "sha256": _digest(self.table),
            "mean": self.standardiser.mean,
            "scale": self.standardiser.scale,
            "settings": vars(self.settings),
            "loss": [list(pair) for pair in self.history],
            "parameters": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    @classmethod
    def resume(cls, table: Table, state: dict[str, Any], **changed: Any) -> Training:
        """The training that a ``state()`` describes, with lr or batch_size changed.  TrainingError where it does not fit."""
        for what in ("features", "target", "classes"):
            _compare(what, state.get(what), getattr(table, what), "the data has")
        _compare("rows", state.get("rows"), len(table.rows), "the data has")
        if state.get("sha256") != _digest(table):  # the split would mix the rows held out with those trained on
            raise TrainingError("was trained on other rows: continue it on the same file, or train anew without --resume")
        try:
            settings = Settings(**state["settings"])
            for name in changed.keys() - {"lr", "batch_size"}:
                _compare(name, getattr(settings, name), changed[name], "the command line says")
            training = cls(table, replace(settings, **changed), _standardiser(state, len(table.features)))
            training._load(state)
            training.losses()
        except TrainingError:
            raise
        except (AttributeError, KeyError, IndexError, TypeError, ValueError) as error:
            raise TrainingError(f"is damaged: {type(error).__name__}: {error}") from None
        return training

    def _load(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["parameters"])
        self.optimizer.load_state_dict(state["optimizer"])
        first, *others = state["loss"]  # the loss before the first epoch is always there
        self.history = [(float(training), held_out and float(held_out)) for training, held_out in (first, *others)]


def _digest(table: Table) -> str:
    """What tells the numbers and labels of a table, in their order, from those of any other."""
    return hashlib.sha256(json.dumps([table.rows, table.labels]).encode()).hexdigest()


def _standardiser(state: dict[str, Any], count: int) -> Standardiser:
    """The saved standardiser; TrainingError where it is not one of this count of features."""
    columns = {}
    for name in ("mean", "scale"):
        saved = state.get(name)
        numbers = [ops.real(x) for x in saved] if isinstance(saved, list) else []
        columns[name] = [x for x in numbers if x is not None and math.isfinite(x) and (x > 0.0 or name == "mean")]
        if not len(numbers) == len(columns[name]) == count:
            kind = "numbers" if name == "mean" else "numbers above 0"
            raise TrainingError(f"is damaged: {name} must be a list of {count} {kind}, one for each feature")
    return Standardiser(**columns)


def _compare(what: str, saved: Any, here: Any, where: str) -> None:
    if saved != here:
        raise TrainingError(f"was trained with {what} {_names(saved)}, but {where} {_names(here)}")


def _names(names: Any) -> str:
    return ", ".join(map(str, names)) if isinstance(names, list) else str(names)
