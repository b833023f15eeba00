"""Straight code: a program of few numbers that follow no rule is written out, number by number.

Where groups have few members, starting their loops and looking up their places takes longer than the numbers themselves.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from micrograd.compile.dialect import C, assignments, number, template
from micrograd.compile.emit import write
from micrograd.compile.places import Places, called
from micrograd.compile.tape import KINDS
from micrograd.compile.vector import Loop, Map, Product, Rows, every, plain, reads, writes

MOST = 6_000  # operations: a compiler takes about a second for so many
GROUP = 32  # about how many operations, written out, take as long as the loops of a group
CALL = 30  # operations in a function such as exp, which compilers put in line
FUNCTION = 400  # operations in a function: compilers slow down on long ones
_SHORT = {"larger", "abs", "sqrt", "root", "sign_of"}  # functions of an operation or two
_WRITTEN = (Map, Product, Rows)


class Straight(Places):
    """What writes programs without loops."""

    def is_straight(self, instructions: Sequence[Any]) -> bool:
        """Whether shared numbers are better written out."""
        sizes = [_size(i) for i in instructions]
        return sum(size for _, size in sizes) <= min(MOST, GROUP * sum(groups for groups, _ in sizes))

    def straight(self, instructions: Sequence[Any], statements: Callable[[Any], str]) -> list[str]:
        """The bodies of functions that are to be called one after the other; ``statements`` writes what picks by an
        integer, as that needs its table in memory."""
        text = _Text(self)
        for instruction in instructions:
            if isinstance(instruction, _WRITTEN):
                for member in range(_members(instruction)):
                    text.member(instruction, member)
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

    def member(self, instruction: Any, m: int) -> None:
        """One member of a group."""
        if self.operations >= FUNCTION:
            self.begin()
        if isinstance(instruction, Map):
            self._map(instruction, m)
        elif isinstance(instruction, Product):
            row, column = divmod(m, len(instruction.b))
            self._sum(instruction, instruction.c[row, column], instruction.a[row], instruction.b[column])
        else:
            length = None if instruction.lengths is None else instruction.lengths[m]
            b = None if instruction.b is None else instruction.b[m, :length]
            self._sum(instruction, instruction.c[m], instruction.a[m, :length], b)

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

    def _map(self, i: Map, m: int) -> None:
        addresses = [int(view[m]) for view in i.ins]
        operands = [self.operand(address) for address in addresses]
        constants = [text if a < self.constants else None for a, text in zip(addresses, operands, strict=True)]
        pattern = _pattern(i.kind, i.partials, tuple(constants))
        self.places.needs |= pattern.needs
        texts = [*operands, *(self.fresh() for _ in pattern.lines)]
        self.lines += [(line.format(*texts), None) for line in pattern.lines]
        self.operations += pattern.work
        for out, value in zip(i.outs, pattern.values, strict=True):
            if out is not None:
                self.put(int(out[m]), value.format(*texts))

    def _sum(self, i: Product | Rows, c: Any, a: Any, b: Any) -> None:
        """A dot, a sum or the largest of some numbers."""
        terms = [self.operand(int(x)) for x in a]
        if b is not None:
            terms = [f"{x} * {self.operand(int(y))}" for x, y in zip(terms, b, strict=True)]
        self.operations += len(terms)
        if getattr(i, "largest", False):
            name = terms[0]
            for term in terms[1:]:
                name = self._named(f"mg_larger({name}, {term})")
        else:
            sign = " - " if i.sign < 0 else " + "
            start = self.operand(int(c)) + sign if i.add else sign.strip(" +")
            name = self._named(start + sign.join(terms))
        self.put(int(c), name)

    def _named(self, text: str) -> str:
        """The name of a new number."""
        name = self.fresh()
        self.lines.append((f"const real {name} = {text};", None))
        return name

    def operand(self, address: int) -> str:
        """The name of the number at an address, which is read from memory at its first use in a function."""
        if address < self.constants:
            return number(float(self.places.rolled.constants[address]))
        if address not in self.names:
            self.names[address] = self._named(self.places.place(address))
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


def _members(instruction: Any) -> int:
    return len(instruction.ins[0]) if isinstance(instruction, Map) else int(instruction.c.size)


class _Pattern(NamedTuple):
    """A member of a group as text: ``{0}``, ``{1}``, ... are its operands, and after them the name that each line gives."""

    lines: list[str]
    values: list[str]
    needs: set[str]  # sections of the kernels
    work: int  # about how many operations it takes: a product with its sum is one


@functools.lru_cache(maxsize=4096)
def _pattern(kind: int, partials: tuple[int, ...], constants: tuple[str | None, ...]) -> _Pattern:
    """The pattern of a kind of instruction, of which some operands are constants."""
    op, count = KINDS[kind].op, len(constants)
    operands, results = template(kind, (count,) if op is not None and op.arity is None else partials)
    names = {term: constant or f"{{{i}}}" for i, (term, constant) in enumerate(zip(operands, constants, strict=True))}
    numbers = itertools.count(count)
    code, values = write(results, names, C, lambda: f"{{{next(numbers)}}}")
    needs = called(code)
    return _Pattern(assignments(code), values, needs, -(-count // 2) + CALL * len(needs - _SHORT))


def _size(instruction: Any) -> tuple[int, int]:
    """How many groups and operations an instruction has that can be written out."""
    if isinstance(instruction, Map):
        unknown = (None,) * len(instruction.ins)
        return 1, len(instruction.ins[0]) * _pattern(instruction.kind, instruction.partials, unknown).work
    if isinstance(instruction, Rows):
        return 1, instruction.a.size
    if isinstance(instruction, Product):
        return 1, instruction.a.size * len(instruction.b)
    return 0, MOST + 1 if isinstance(instruction, Loop) else 0  # a simulation's steps stay alike
