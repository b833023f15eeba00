"""fit: a training loop over a compiled loss, which can be stopped at any step and goes on from a checkpoint bit for bit."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from micrograd import engine, trees
from micrograd.compile import files
from micrograd.compile.arguments import _stacked
from micrograd.compile.driver import Driver, NotNativeError
from micrograd.compile.parameters import Parameters
from micrograd.compile.program import Program
from micrograd.compile.steps import flatten
from micrograd.optim import Optimizer

FORMAT = "micrograd checkpoint 2"
STRETCH = 0.03  # seconds in C between two looks at Ctrl-C


def fit(
    program: Program,
    data: Sequence[Any],
    optimizer: Optimizer,
    epochs: int,
    batch_size: int,
    *,
    seed: int = 0,
    checkpoint: str | os.PathLike[str] | None = None,
    progress: bool = True,
) -> list[float]:
    """Train the parameters that a compiled loss captured, and give the loss of each epoch.

    ``data`` has one entry for each argument of a batched program: arrays with an example a row, and as they are those that
    ``batch=`` shares.  For a program without a batch it is a list of examples, each a tuple of arguments, whose gradients
    are averaged over ``batch_size`` of them.  A list of tuples of arrays is one of batches for a batched program, which may
    differ in all lengths, and ``batch_size`` of them make a step; the arguments themselves come in a tuple.  Each epoch
    goes through all examples in an order that hangs on ``seed`` and the epoch's number; its last batch may be smaller.

    A native program and an optimiser of its own parameters run many steps in C before the bar moves, unless the learning
    rate is a function of yours, which may look at the training, or an example holds Values or is made as it is asked for.

    Ctrl-C stops after the steps that are running, some hundredths of a second at most.  With ``checkpoint``, the state is
    saved in that file at the end of each epoch and by Ctrl-C, and the same call goes on from there to the numbers that it
    would have come to without a stop.

    TypeError or ValueError for data that do not fit the program, and for a checkpoint of another training.

    >>> import micrograd
    >>> w = micrograd.Value(0.0)
    >>> loss = micrograd.compile(lambda x, y: (w * x - y) ** 2, batch=(0, 0), reduce="mean")
    >>> x = np.arange(4.0)
    >>> optimizer = micrograd.optim.SGD([w], lr=0.1)
    >>> losses = micrograd.fit(loss, (x, 3.0 * x), optimizer, epochs=20, batch_size=2, progress=False)
    >>> round(w.data, 6)
    3.0
    """
    if not isinstance(program, Program):
        raise TypeError(
            f"fit() takes a compiled loss, got {type(program).__name__}: write fit(micrograd.compile(loss), ...)"
        )
    if not isinstance(optimizer, Optimizer):
        raise TypeError(
            f"fit() takes an optimizer after the data, got {type(optimizer).__name__}: write optim.Adam(model.parameters())"
        )
    for name, number in (("epochs", epochs), ("batch_size", batch_size), ("seed", seed)):
        if isinstance(number, bool) or not isinstance(number, int) or number < (0 if name == "seed" else 1):
            raise ValueError(f"fit(): {name} must be a whole number from {0 if name == 'seed' else 1}, got {number!r}")
    if program.batch is not None and program.reduce is None:
        raise ValueError("fit() needs one loss for a batch: compile the program with reduce='mean' or reduce='sum'")
    whole = program.batch is None or _are_batches(data)
    source = _Examples(program, data) if whole else _Rows(program, data)
    run = _Run(source, optimizer, batch_size, seed, None if checkpoint is None else Path(checkpoint))
    with _stop_flag() as stop, _bar(run, epochs, progress) as bar:
        run.train(epochs, stop, bar)
    if run.stopped:
        saved = f", saved in {checkpoint}" if checkpoint is not None else ""
        print(f"Stopped after epoch {run.epoch}, step {run.step} of {run.steps}{saved}.", file=sys.stderr)
    return run.losses


# ------------------------------------------------------------------------------------------------------------ data


class _Data:
    """What both kinds of data have in common."""

    program: Program
    given: Any  # as the user gave it
    count: int

    def about(self, batch_size: int) -> tuple[int, ...]:
        """What tells a training on these data from one on others, so that steps take as long."""
        return id(self.given), self.count, batch_size

    def trained_before(self, batch_size: int) -> bool:
        """Whether the last training of the program was on these data."""
        return self.program._pace is not None and self.program._pace[0] == self.about(batch_size)


class _Rows(_Data):
    """The data of a batched program: arrays with an example a row."""

    def __init__(self, program: Program, data: Sequence[Any]) -> None:
        if not isinstance(data, (tuple, list)) or not data:
            got = "none" if isinstance(data, (tuple, list)) else type(data).__name__
            raise TypeError(
                f"fit() takes the program's arguments as a tuple, got {got}: write (X, Y) or (X,), or a list of batches, "
                "each such a tuple of arrays"
            )
        axes, names = program._axes(len(data)), program._argument_names(len(data))
        self.program, self.axes, self.given = program, axes, data
        self.data = [_stacked(x, name) if own else x for x, name, own in zip(data, names, axes, strict=True)]
        counts = {name: _lengths(x) for x, name, own in zip(self.data, names, axes, strict=True) if own}
        found = {count for lengths in counts.values() for count in lengths}
        if len(found) != 1 or 0 in found:
            got = ", ".join(f"{'/'.join(map(str, sorted(lengths)))} in {name}" for name, lengths in counts.items())
            raise ValueError(f"fit() needs the same number of examples in all batched arguments, at least one, got {got}")
        self.count = found.pop()

    def backward(self, rows: Any) -> float:
        """The loss of some rows, whose gradient is added up, as a share of an epoch's."""
        loss = self.program.backward(*[_rows(x, rows) if own else x for x, own in zip(self.data, self.axes, strict=True)])
        return float(loss) * self.weight(len(rows))

    def weight(self, rows: int) -> float:
        """The share of a loss of so many rows in that of an epoch."""
        return rows / self.count if self.program.reduce == "mean" else 1.0

    def jobs(self, driver: Driver, rows: Any, size: int) -> tuple[Any, int]:
        """The jobs of steps on so many rows each, and how many jobs a step has."""
        args = tuple(_rows(x, rows) if own else x for x, own in zip(self.data, self.axes, strict=True))
        return driver.batches(args, len(rows) // size, size), 1

    def first(self) -> tuple[Any, ...]:
        return tuple(_rows(x, np.arange(1)) if own else x for x, own in zip(self.data, self.axes, strict=True))

    def digest(self) -> int:
        """What tells these data from others."""
        return _crc([x for x, own in zip(self.data, self.axes, strict=True) if own])


class _Examples(_Data):
    """A tuple of arguments for each example of a program without a batch, or for each batch of one that has one."""

    def __init__(self, program: Program, data: Sequence[Any]) -> None:
        if not isinstance(data, (tuple, list)) or not data or not all(isinstance(x, tuple) for x in data):
            raise TypeError(
                "fit() of a program without batch= takes a list of examples, tuples of arguments: [(x1, y1), (x2, y2)]; "
                "to train on the rows of arrays compile with batch=(0, 0), reduce='mean'"
            )
        self.program, self.given, self.data, self.count = program, data, data, len(data)

    def backward(self, rows: Any) -> float:
        program = self.program
        loss = sum(program.backward(*self.data[i]) for i in rows.tolist())
        if len(rows) > 1:
            parameters = program._parameters
            flat = parameters._reader.flat()
            if flat is not None:
                flat[1][:] *= 1.0 / len(rows)
            else:
                for v in parameters:
                    v.grad *= 1.0 / len(rows)
        return float(loss) * self.weight(len(rows))

    def weight(self, rows: int) -> float:
        """The share of a loss in that of an epoch."""
        return 1.0 / self.count

    def jobs(self, driver: Driver, rows: Any, size: int) -> tuple[Any, int]:
        """The jobs of steps on so many examples each, and how many jobs a step has."""
        return driver.singles(rows, self.data, alone=len(rows) == size), size

    def first(self) -> tuple[Any, ...]:
        return self.data[0]  # type: ignore[no-any-return]

    def digest(self) -> int:
        return _crc(self.data)


def _are_batches(data: Any) -> bool:
    """Whether these are batches, tuples of a program's arguments, and not the arguments of all examples."""
    return (
        isinstance(data, list)
        and bool(data)
        and all(isinstance(x, tuple) and any(isinstance(part, (np.ndarray, list, dict)) for part in x) for x in data)
    )


def _lengths(x: Any) -> set[int]:
    if isinstance(x, np.ndarray):
        return {len(x)}
    return set().union(*(_lengths(part) for part in (x.values() if isinstance(x, dict) else x)))


def _rows(x: Any, rows: Any) -> Any:
    """Some rows of an array, or of all arrays in dicts and tuples."""
    if isinstance(x, np.ndarray):
        return x[rows]
    if isinstance(x, dict):
        return trees._like_dict(x, [_rows(part, rows) for part in x.values()])
    parts = [_rows(part, rows) for part in x]
    return type(x)._make(parts) if hasattr(x, "_make") else tuple(parts)


def _crc(x: Any, start: int = 0) -> int:
    """A checksum of numbers in nested containers."""
    if isinstance(x, np.ndarray) and x.dtype.kind != "O":
        start = zlib.crc32(repr((x.dtype.str, x.shape)).encode(), start)
        return zlib.crc32(np.ascontiguousarray(x).data, start)
    if isinstance(x, (list, tuple, dict)):
        for part in x.items() if isinstance(x, dict) else x:
            start = _crc(part, start)
        return zlib.crc32(f"{type(x).__name__} {len(x)}".encode(), start)
    return zlib.crc32(repr(float(x) if isinstance(x, engine.Value) else x).encode(), start)


# -------------------------------------------------------------------------------------------------------- training


def orders(count: int, seed: int, epoch: int = 0) -> Iterator[Any]:
    """The orders of the examples in this epoch and all later ones.

    They are made of raw random bits, which are the same in all versions of NumPy.

    >>> next(orders(5, 0))
    array([3, 2, 1, 0, 4])
    """
    bits = np.random.PCG64(seed).advance(epoch * count)
    while True:
        yield bits.random_raw(count).argsort(kind="stable")


def _stretch(seconds: float) -> int:
    """How many steps that take so long each are done at once."""
    return max(1, int(STRETCH / seconds))


class _Run:
    """A training and where it stands: ``epoch`` whole epochs, ``step`` steps of the next, ``share`` of that one's loss."""

    def __init__(self, source: Any, optimizer: Optimizer, batch_size: int, seed: int, checkpoint: Path | None) -> None:
        program: Program = source.program
        self.source, self.optimizer = source, optimizer
        self.batch_size, self.seed, self.checkpoint = batch_size, seed, checkpoint
        self.steps = -(-source.count // batch_size)
        self.epoch, self.step, self.share, self.stopped = 0, 0, 0.0, False
        self.losses: list[float] = []
        if not program._recordings:
            program(*source.first())
        if not isinstance(optimizer.parameters, Parameters):
            program._begin_with(optimizer.parameters)
        self.parameters = program.parameters
        flatten(optimizer)
        own_step = getattr(optimizer.step, "__func__", None) is Optimizer.step
        self.driver = Driver(program, optimizer, source.count) if own_step else None
        self.at_once = 1  # the steps that are done before the bar moves
        if source.trained_before(batch_size):
            self.at_once = _stretch(program._pace[1])
        if not len(self.parameters):
            raise ValueError(
                "fit() trains what the function captured, but it captured no Values: let it use a model from outside"
            )
        mine, moved = self.parameters, optimizer.parameters
        if mine is not moved and not {id(v) for v in mine} & {id(v) for v in moved}:
            raise ValueError("fit(): the loss does not depend on any of the optimizer's parameters")
        if checkpoint is not None and checkpoint.exists():
            self._resume(checkpoint)

    def train(self, epochs: int, stop: list[bool], bar: Any) -> None:
        shuffled = orders(self.source.count, self.seed, self.epoch)
        while self.epoch < epochs and not self.stopped:
            order = next(shuffled)
            with _Watched(self.source.program) as watched:
                if self.driver is not None:
                    self.driver.look()
                while self.step < self.steps and not self.stopped:
                    done = self._some_steps(order, stop)
                    watched.rest()
                    if bar is not None and bar.update(done):
                        bar.set_postfix_str(f"loss {self.share * self.steps / self.step:.4g}", refresh=False)
                    self.stopped = bool(stop)
            if self.step == self.steps:
                self.losses.append(self.share)
                self.epoch, self.step, self.share = self.epoch + 1, 0, 0.0
            if self.checkpoint is not None:
                self._save(self.checkpoint)
        self.stopped = self.stopped and self.epoch < epochs

    def _some_steps(self, order: Any, stop: list[bool]) -> int:
        """Do as many of the epoch's steps as take some hundredths of a second, in C if that can be; say how many."""
        start, first = time.perf_counter(), self.step * self.batch_size
        size = min(self.batch_size, self.source.count - first)  # the last batch may be smaller
        rate = self.optimizer.lr
        free = not callable(rate) or getattr(rate, "of_steps", False)  # a schedule of the user's may look at the training
        count = max(1, min(self.at_once, (self.source.count - first) // size)) if free else 1
        if not free and self.driver is not None:
            self.driver.forget_examples()
        done = self._natively(order[first : first + count * size], size, stop)
        if not done:
            self.parameters.zero_grad()
            self.share += self.source.backward(order[first : first + size])
            self.optimizer.step()
            done = 1
        self.step += done
        seconds = (time.perf_counter() - start) / done
        self.at_once = min(32 * done, _stretch(seconds)) if self.driver is not None else 1
        if done > 1:
            self.source.program._pace = self.source.about(self.batch_size), seconds
        return done

    def _natively(self, rows: Any, size: int, stop: list[bool]) -> int:
        """Do some steps in C: all of them, or up to the one whose learning rate met an interrupt; 0 where it cannot be."""
        driver, optimizer = self.driver, self.optimizer
        if driver is None:
            return 0
        try:
            jobs, each = driver.jobs(lambda: self.source.jobs(driver, rows, size))
        except NotNativeError:
            self.driver = None
            return 0
        except Exception:  # what is wrong with a later step is told when that one's turn has come
            if len(rows) == size:
                raise
            return self._natively(rows[:size], size, stop)
        steps, rate = len(rows) // size, optimizer.lr
        if not callable(rate) and not stop:
            self._train(jobs, each, [optimizer._rate(optimizer.steps)] * steps, rows.reshape(-1, size))
            return steps
        rates: list[float] = []
        try:
            while len(rates) < steps and not stop:
                rates.append(optimizer._rate(optimizer.steps + len(rates)))
        finally:  # where a learning rate raises, the steps before it are done
            if rates:
                self._train(jobs[: len(rates) * each], each, rates, rows.reshape(-1, size))
        return len(rates)

    def _train(self, jobs: Any, each: int, rates: list[float], rows: Any) -> None:
        assert self.driver is not None
        losses = self.driver.train(jobs, each, np.array(rates))
        if losses is None:  # the rule could not be compiled
            self.driver, optimizer = None, self.optimizer
            for some, rate in zip(rows, rates, strict=False):
                self.parameters.zero_grad()
                self.share += self.source.backward(some)
                optimizer.steps += 1
                optimizer._update(rate)
            return
        self.parameters._reader.mark()
        weight = self.source.weight(rows.shape[1])
        for loss in losses:
            self.share += loss * weight

    # --------------------------------------------------------------------------------------------------- checkpoints

    def _about(self) -> dict[str, Any]:
        """What must be the same when a training goes on."""
        return {
            "format": FORMAT,
            "examples": self.source.count,
            "data": self.source.digest(),
            "batch_size": self.batch_size,
            "seed": self.seed,
            "parameters": len(self.parameters),
            "optimizer": type(self.optimizer).__name__,
            "memories": list(self.optimizer.memories),
        }

    def _save(self, path: Path) -> None:
        state = self.optimizer.state_dict()
        where = {name: getattr(self, name) for name in ("epoch", "step", "share", "losses")}
        arrays = {f"memory_{name}": np.array(state[name], dtype=np.float64) for name in self.optimizer.memories}
        about = {**self._about(), **where, "steps_done": state["steps"]}
        files.write(path, about, {"parameters": self.parameters[:], **arrays})

    def _resume(self, path: Path) -> None:
        about, arrays = _read(path)
        for name, here in self._about().items():
            if about[name] != here:
                raise ValueError(
                    f"{path} is of another training: its {name} is {about[name]!r}, here it is {here!r}; continue with what "
                    "it was saved with, or name another file"
                )
        memories = {name: arrays[f"memory_{name}"].tolist() for name in self.optimizer.memories}
        self.optimizer.load_state_dict({"steps": about["steps_done"], **memories})
        self.parameters[:] = arrays["parameters"]
        self.epoch, self.step, self.share, self.losses = (about[name] for name in ("epoch", "step", "share", "losses"))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a checkpoint says about itself, and its arrays.  ValueError where it is none or not as it was written."""
    try:
        about, arrays = files.read(path, FORMAT)
        names = ["parameters", *(f"memory_{name}" for name in about["memories"])]
        if {name: array.shape for name, array in arrays.items()} != dict.fromkeys(names, (about["parameters"],)):
            raise ValueError("its parts do not fit together")
    except (ValueError, LookupError, TypeError) as error:
        raise ValueError(f"{path} is no checkpoint of fit(), or it is damaged ({error}): delete it to start anew") from None
    return about, arrays


class _Watched:
    """A program that looks for changes of what its function reads at the first step of an epoch only.

    Between the steps runs no code of the user's but the learning rate, and the look takes as long as a small step.
    """

    def __init__(self, program: Program) -> None:
        self.program, self.around, self.resting = program, program._around, False

    def changed(self) -> bool:
        return False

    def rest(self) -> None:
        """Go on not to look.  Where something was recorded meanwhile, in other surroundings, all else is forgotten."""
        program = self.program
        if program._around is not self:
            if self.resting and self.around.changed():
                program._recordings.clear()
                program._calls.clear()
            self.around, program._around, self.resting = program._around, self, True

    def __enter__(self) -> _Watched:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        self.program._around = self.around


@contextlib.contextmanager
def _stop_flag() -> Iterator[list[bool]]:
    """A list that the first Ctrl-C puts something into; the second one interrupts at once."""
    stop: list[bool] = []
    if threading.current_thread() is not threading.main_thread():  # signals go to the main thread
        yield stop
        return

    def note(number: int, frame: FrameType | None) -> None:
        stop.append(True)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)


@contextlib.contextmanager
def _bar(run: _Run, epochs: int, wanted: bool) -> Iterator[Any]:
    if not wanted:
        yield None
        return
    from tqdm import tqdm

    done = run.epoch * run.steps + run.step
    with tqdm(
        total=epochs * run.steps, initial=done, desc="fit", unit="step", disable=None
    ) as bar:  # None: in a terminal only
        yield bar
