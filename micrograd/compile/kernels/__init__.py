"""The kernels: C that programs are built of, kept in sections of ``kernels/*.h`` that name the sections they need."""

from __future__ import annotations

import functools
import re
from pathlib import Path

FILES = ("math.h", "matmul.h", "train.h", "call.h", "interpret.h")


@functools.lru_cache(maxsize=256)
def prelude(needs: frozenset[str]) -> str:
    """The sections of the kernels that a program uses, in their order.

    A name that ends in a number is a kernel made for it: ``turned_7`` is the section ``turned`` and ``MG_TURNED(7)``.
    """
    wanted = needed(needs)
    made: dict[str, str] = {}
    for name in sorted(needs):
        kernel, number = _made_for(name)
        if number:
            made[kernel] = made.get(kernel, "") + f"MG_{kernel.upper()}({number})\n"
    return "\n".join(body + made.get(name, "") for name, (_, body) in _sections().items() if name in wanted)


def needed(needs: frozenset[str]) -> set[str]:
    """The names of these sections and of those that they use."""
    sections = _sections()
    wanted: set[str] = set()
    stack = [name for name in (_made_for(name)[0] for name in needs) if name in sections]
    while stack:
        name = stack.pop()
        if name not in wanted:
            wanted.add(name)
            stack += sections[name][0]
    return wanted


def declared(text: str) -> str:
    """The kernels, those that are functions of their own as declarations."""
    text = re.sub(r"^MG_APART (.*?) \{[^\n]*\n.*?^\}\n", r"\1;\n", text, flags=re.M | re.S)
    text = re.sub(r"^(MG_(?:TURNED|EXACT|FEW))(\(\d+\))\n", r"\1_OF\2;\n", text, flags=re.M)
    return re.sub(r"^MG_TILE\(\d.*\n", "", text, flags=re.M)


def _made_for(name: str) -> tuple[str, str]:
    """A kernel's section, and the number that it is made for, "" for none."""
    kernel, _, number = name.rpartition("_")
    return (kernel, number) if number.isdecimal() else (name, "")


@functools.lru_cache(maxsize=1)
def _sections() -> dict[str, tuple[list[str], str]]:
    sections: dict[str, tuple[list[str], str]] = {}
    for file in FILES:
        text = Path(__file__).with_name(file).read_text(encoding="utf-8")
        for part in re.split(r"^//@ ", text, flags=re.M)[1:]:
            head, _, body = part.partition("\n")
            name, _, needs = head.partition(":")
            sections[name.strip()] = (needs.replace("needs", "").split(), body)
    return sections
