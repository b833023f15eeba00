"""Stretches of a training in C: many steps of native programs and of an optimiser's rule in one call.

A step in Python costs tens of microseconds besides its numbers, as much as a small network does.  Where a program is native
and the optimiser works on its array, ``fit`` hands over as many steps as take some hundredths of a second.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np

from micrograd.compile import parameters
from micrograd.compile.arguments import Argument
from micrograd.compile.jobs import EXAMPLES, INPUTS, JOB, PROGRAM, Entry, Inputs, forms, is_plain, rows_of
from micrograd.compile.native import NativeKernel
from micrograd.compile.program import Program
from micrograd.compile.recording import Recording
from micrograd.optim import Optimizer


class NotNativeError(Exception):
    """A program or an optimiser that has to be run step by step."""


class StretchError(Exception):
    """Steps that can be done one at a time only."""


class Driver:
    """Runs steps of one training.  What it prepares for an example is kept until the program has changed."""

    def __init__(self, program: Program, optimizer: Optimizer, examples: int) -> None:
        self.program, self.optimizer = program, optimizer
        self.known = np.zeros((examples, len(JOB)), np.uintp)  # of single examples, program 0 where there is none yet
        self.present: Any = None
        self.forget()

    def forget(self) -> None:
        """Drop all that was prepared."""
        self.moves = parameters._moves
        self.known[:, PROGRAM] = 0
        self.held: list[Any] = []  # the arrays that the known jobs point at
        self.alike: dict[Any, Recording] = {}  # the recording that fits examples of a form
        self.programs: dict[tuple[int, int], Entry] = {}  # by id of the recording and count of examples: see _program

    def forget_examples(self) -> None:
        """Look at all examples anew."""
        self.known[:, PROGRAM] = 0
        self.held.clear()
        self.alike.clear()

    def look(self) -> None:
        """Forget what was prepared for a program that would be recorded anew."""
        if self.program._around.changed():
            self.forget()

    def train(self, jobs: Any, each: int, rates: Any) -> list[float] | None:
        """Do steps of so many jobs each at these learning rates, and give their losses; None without a compiler."""
        optimizer = self.optimizer
        arrays = *optimizer._arrays(), *(optimizer.state[name] for name in optimizer.memories)  # type: ignore[misc]
        stepper = optimizer._stepper
        if not stepper.compiles(optimizer, arrays):
            return None
        with self.program._lock:
            losses = stepper.train(optimizer, rates, jobs, np.arange(len(rates) + 1, dtype=np.int64) * each)
        return losses.tolist()  # type: ignore[no-any-return]

    def jobs(self, make: Callable[[], Any]) -> Any:
        """What ``make`` prepares; once more if new parameters moved all others meanwhile."""
        with self.program._lock:
            while True:
                if self.moves != parameters._moves:
                    self.forget()
                made = make()
                if self.moves == parameters._moves:
                    return made

    def singles(self, numbers: Any, data: Sequence[tuple[Any, ...]], alone: bool) -> Any:
        """The jobs of some examples, ``alone`` of one step only: StretchError where an example may change meanwhile."""
        missing = numbers[self.known[numbers, PROGRAM] == 0].tolist()
        own = type(data) not in (list, tuple)  # a container of the user's, which is asked once a step
        if own and missing and not alone:
            raise StretchError
        self.program._renew()
        try:
            living, plain = self._inputs(missing, data, own, alone, at_once=True)
        except Exception:  # the first example in which anything is wrong is to tell what
            living, plain = self._inputs(missing, data, own, alone, at_once=False)
        self.present = living  # until the next step
        if plain.groups:
            self.held.append(plain)
        for inputs in (living, plain):
            for numbers_of, made in inputs.jobs():
                self.known[numbers_of] = made
        jobs = self.known[numbers]
        for group in living.groups.values():
            self.known[group.numbers, PROGRAM] = 0
        return jobs

    def _inputs(
        self, numbers: list[int], data: Sequence[tuple[Any, ...]], own: bool, alone: bool, at_once: bool
    ) -> tuple[Inputs, Inputs]:
        """The inputs of some examples: of those that may change, and of the others, of which those of one form are looked at
        together."""
        living, plain = Inputs(), Inputs()
        alone_each = self.program.batch is None
        alike: dict[Any, list[int]] = {}  # the numbers of examples of one form
        examples = [data[number] for number in numbers]
        found = forms(examples) if alone_each and at_once and not own else [None] * len(numbers)
        for number, example, form in zip(numbers, examples, found, strict=True):
            if form is not None:
                alike.setdefault(form, []).append(number)
                continue
            lives = own or not is_plain(example)
            if lives and not alone:
                raise StretchError
            self._add(living if lives else plain, number, example)
        for form, some in alike.items():
            self._add_alike(plain, form, some, data)
        return living, plain

    def _add(self, inputs: Inputs, number: int, example: tuple[Any, ...]) -> None:
        """One more example."""
        recording, arguments, examples = self.program._fitting(example, ())
        parts = [part for argument in arguments for part in argument.parts]
        inputs.add([number], self._program(recording, examples), [np.asarray(part)[None] for part in parts])

    def _add_alike(self, inputs: Inputs, form: Any, some: list[int], data: Sequence[tuple[Any, ...]]) -> None:
        """Examples of one form: all at once where one recording fits all of them."""
        if form not in self.alike:
            self.alike[form] = self.program._fitting(data[some[0]], ())[0]
        recording = self.alike[form]
        if recording.trace.frozen:  # integers are part of the program
            for number in some:
                self._add(inputs, number, data[number])
            return
        program = self._program(recording, 1)
        columns = zip(*[data[number] for number in some], strict=True)
        parts = [_numbers(column, kind) for column, kind in zip(columns, program.kernel.types[1:], strict=False)]
        recording.check([Argument(None, [part]) for part in parts], stacked=True)
        inputs.add(some, program, parts)

    def batches(self, args: tuple[Any, ...], steps: int, examples: int) -> Any:
        """The jobs of batches that lie one after another in the arguments."""
        recording, arguments, _ = self.program._recorded(args, ())
        kernel, entry, *_ = self._program(recording, examples)
        arrays, places = kernel.addresses(recording.inputs(arguments, examples))
        spaces = [space for space, _ in kernel.rolled.spaces]
        ahead = [a.itemsize * space.size * examples * space.batched for a, space in zip(arrays, spaces, strict=True)]
        table = np.array(places, np.uintp) + np.arange(steps, dtype=np.uintp)[:, None] * np.array(ahead, np.uintp)
        self.present = arrays, table  # what the jobs point at, until the next ones are made
        jobs = np.empty((steps, len(JOB)), np.uintp)
        jobs[:, PROGRAM], jobs[:, EXAMPLES], jobs[:, INPUTS] = entry, examples, rows_of(table)
        return jobs

    def _program(self, recording: Recording, examples: int) -> Entry:
        """How a recording is run on so many examples at once.  NotNativeError if it cannot be driven from C."""
        known = self.programs.get((id(recording), examples))
        if known is None:
            kernel = self.program._routine(recording, "grad", ()).kernel
            if not self._fits(recording, kernel):
                raise NotNativeError
            none = [Argument(None, [np.zeros(0)] * len(spaces)) for spaces in recording.spaces]
            arrays, fixed = kernel.addresses(recording.inputs(none, examples))
            known = Entry(kernel, kernel.entry.ctypes.data, examples, fixed, (recording, arrays))
            self.programs[id(recording), examples] = known
        return known

    def _fits(self, recording: Recording, kernel: Any) -> bool:
        """Whether a kernel gives the gradient by just the array that the optimiser moves."""
        mine, moved = recording.reader.flat(), self.optimizer._arrays()
        return (
            isinstance(kernel, NativeKernel)
            and (kernel.dtype, kernel.threads) == (np.float64, 1)
            and not len(kernel.lanes)
            and mine is not None
            and moved is not None
            and (mine[0].ctypes.data, len(mine[0])) == (moved[0].ctypes.data, len(moved[0]))
        )


def _numbers(column: tuple[Any, ...], kind: Any) -> Any:
    """An array of numbers, or of equally long rows of them."""
    if type(column[0]) not in (list, tuple):
        return np.array(column, kind)
    return np.fromiter(chain.from_iterable(column), kind).reshape(len(column), -1)
