"""Straight code: a program of few numbers that follow no rule is written out, number by number.

Where groups have few members, starting their loops and looking up their places takes longer than the numbers themselves.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from micrograd.compile.dialect import KEPT, assignments, number
from micrograd.compile.places import Places, called
from micrograd.compile.scalars import WRITTEN, Pattern, of_map, patterns
from micrograd.compile.vector import Loop, Map, Product, Rolled, Rows, every, plain, reads, writes

MOST = 6_000  # operations: a compiler takes about a second for so many
GROUP = 32  # about how many operations, written out, take as long as the loops of a group
CALL = 30  # operations in a function such as exp, which compilers put in line
FUNCTION = 400  # operations in a function: compilers slow down on long ones
_SHORT = {"fma", "kept", "larger", "abs", "sqrt", "root", "sign_of"}  # functions of an operation or two


def is_straight(rolled: Rolled) -> bool:
    """Whether a program is better written out: its numbers are shared by all examples, and there are few of them."""
    if rolled.lanes:
        return False
    sizes = [_size(i) for i in (*rolled.before, *rolled.after)]
    return sum(size for _, size in sizes) <= min(MOST, GROUP * sum(groups for groups, _ in sizes))


class Straight(Places):
    """What writes programs without loops."""

    def straight(self, instructions: Sequence[Any], statements: Callable[[Any], str]) -> list[str]:
        """The bodies of functions that are to be called one after the other; ``statements`` writes what picks by an
        integer, as that needs its table in memory."""
        text = _Text(self)
        for instruction in instructions:
            if isinstance(instruction, WRITTEN):
                text.members(instruction)
            else:
                text.block(instruction, statements(instruction))
        return text.functions()


class _Text:
    """Lines of straight code, in functions.  What one function makes and another one reads goes through memory."""

    def __init__(self, places: Places) -> None:
        self.places, self.constants = places, len(places.rolled.constants)
        self.lines: list[tuple[str, int | None]] = []  # with the number of the version that a line puts into memory
        self.begins: list[int] = []  # the first lines of the functions
        self.versions: dict[int, int] = {}  # of the number that is at an address now
        self.read: set[int] = set()  # the versions that are read from memory
        self.count = 0  # of names and versions
        self.begin()

    def begin(self) -> None:
        self.begins.append(len(self.lines))
        self.names: dict[int, str] = {}  # what the number at an address is called in this function
        self.operations = 0

    def functions(self) -> list[str]:
        """The bodies, without what puts numbers into memory that nothing reads there."""
        outputs = self.places.rolled.outputs.tolist()
        read = self.read | {self.versions[address] for address in outputs if address in self.versions}
        parts = [self.lines[begin:end] for begin, end in zip(self.begins, [*self.begins[1:], None], strict=True)]
        return ["\n".join(line for line, version in part if version is None or version in read) for part in parts]

    def members(self, instruction: Any) -> None:
        """All members of a group."""
        for pattern, operands, outs in patterns(instruction):
            lines, values, needs, work = _written(pattern)
            self.places.needs |= needs
            for m, addresses in enumerate(operands.tolist()):
                if self.operations >= FUNCTION:
                    self.begin()
                texts = [self.operand(address) for address in addresses]
                texts += [self.fresh() for _ in lines]
                self.lines += [(line.format(*texts), None) for line in lines]
                self.operations += work
                for out, value in zip(outs, values, strict=True):
                    if out is not None:
                        self.put(int(out[m]), value.format(*texts))

    def block(self, instruction: Any, text: str) -> None:
        """Statements that read and write memory."""
        for i in plain(instruction):
            self.read.update(self.versions[address] for view in reads(i) for address in self._known(view))
        self.lines.append((f"{{ {text} }}", None))
        for i in plain(instruction):
            for view in writes(i):
                for address in every(view).tolist():
                    self.names.pop(address, None)
                    self.versions.pop(address, None)

    def _known(self, view: Any) -> list[int]:
        """Of the addresses of a view those whose numbers were made here."""
        return [address for address in every(view).tolist() if address in self.versions]

    def operand(self, address: int) -> str:
        """The name of the number at an address, which is read from memory at its first use in a function."""
        if address < self.constants:
            return number(float(self.places.rolled.constants[address]))
        if address not in self.names:
            self.names[address] = name = self.fresh()
            self.lines.append((f"const real {name} = {self.places.place(address)};", None))
            if address in self.versions:
                self.read.add(self.versions[address])
        return self.names[address]

    def put(self, address: int, value: str) -> None:
        """Let an address have this value."""
        self.names[address] = value
        self.count += 1
        self.versions[address] = self.count
        self.lines.append((f"{self.places.place(address)} = {value};", self.count))

    def fresh(self) -> str:
        self.count += 1
        return f"x{self.count}"


@functools.lru_cache(maxsize=4096)
def _written(pattern: Pattern) -> tuple[list[str], list[str], set[str], int]:
    """A pattern as text, of which ``{0}``, ``{1}``, ... are its numbers: its steps, its values, the sections of the kernels
    that it needs, and about how many operations it takes, where a product with its sum is one."""

    def text(place: int | float) -> str:
        return f"{{{place}}}" if isinstance(place, int) else KEPT.number(place)

    names = range(pattern.operands, pattern.operands + len(pattern.steps))
    code = [(text(n), KEPT.spell(f, [text(a) for a in args])) for n, (f, args) in zip(names, pattern.steps, strict=True)]
    needs = called(code)
    return assignments(code), list(map(text, pattern.values)), needs, -(-pattern.operands // 2) + CALL * len(needs - _SHORT)


def _size(instruction: Any) -> tuple[int, int]:
    """How many groups and operations an instruction has that can be written out."""
    if isinstance(instruction, Map):
        pattern = of_map(instruction.kind, instruction.partials, len(instruction.ins))
        return 1, len(instruction.ins[0]) * _written(pattern)[3]
    if isinstance(instruction, Rows):
        return 1, instruction.a.size
    if isinstance(instruction, Product):
        return 1, instruction.a.size * len(instruction.b)
    return 0, MOST + 1 if isinstance(instruction, Loop) else 0  # a simulation's steps stay alike
