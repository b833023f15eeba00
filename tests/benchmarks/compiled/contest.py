"""What the contestants of a workload share: the form of an entry, the fixed inputs of the GPT rows, and hand-written C."""

from __future__ import annotations

import ctypes
import hashlib
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CACHE = ROOT / ".ci" / "cache" / "compiled"
PEER = ROOT / ".ci" / "cache" / "peer"  # micrograd 0.1.0, installed by tests/benchmarks/run.py

ADAM = {"lr": 0.01, "betas": (0.85, 0.99), "eps": 1e-8}  # microgpt's
NAMES, TRAINED = 500, 10  # names in one timed run; steps after which trained parameters are compared
BATCH = 64


@dataclass
class Entry:
    """One contestant, ready to run: the numbers it finds, and a function that does ``units`` units of work."""

    numbers: dict[str, Any]  # flat lists by name, "gradient" being [value, *gradient]; equal to every other contestant's
    run: Callable[[], object]
    units: int = 1
    value_only: Callable[[], object] | None = None  # the same units forward only
    seconds: float | None = None  # from nothing to the first result, where that is not what making the entry took
    notes: str = ""


class Skip(Exception):  # noqa: N818  (it is no error)
    """This contestant does not take part, for the reason given."""


def flat(tree: Any) -> list[float]:
    """The numbers of nested lists, tuples and dicts, in order."""
    if isinstance(tree, dict):
        return [x for branch in tree.values() for x in flat(branch)]
    if isinstance(tree, (list, tuple)):
        return [x for branch in tree for x in flat(branch)]
    return flat(tree.tolist()) if getattr(tree, "shape", ()) else [float(tree)]


FAST = ("-O3", "-march=native", "-ffast-math")
IEEE = ("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math")


def build(source: Path | str, flags: tuple[str, ...] = FAST) -> Path:
    """The shared object of a C file, or of C source, built when it is missing from the cache."""
    text = source.read_text() if isinstance(source, Path) else source
    CACHE.mkdir(parents=True, exist_ok=True)
    made = CACHE / f"{hashlib.sha256((text + ' '.join(flags)).encode()).hexdigest()[:16]}.so"
    if not made.exists():
        written = made.with_suffix(".c")
        written.write_text(text)
        compiler = os.environ.get("CC", "gcc")
        subprocess.run(
            [compiler, "-std=gnu11", *flags, "-shared", "-fPIC", str(written), "-o", str(made), "-lmvec", "-lm"], check=True
        )
    return made


def library(name: str, flags: tuple[str, ...] = FAST) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(HERE / "baselines" / name, flags)))


def aligned(count: int) -> Any:
    """An array of zeros on a 64-byte boundary."""
    import numpy as np

    buffer = np.zeros(count + 8)
    start = (-buffer.ctypes.data % 64) // 8
    return buffer[start : start + count]


def pointer(array: Any) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
