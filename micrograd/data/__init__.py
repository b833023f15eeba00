"""Reading a table of measurements and classes from a CSV file, and preparing it for training.

``iris.csv`` holds Fisher's iris measurements: 150 flowers, four lengths in centimetres, three species.  The numbers are
those of R. A. Fisher, "The use of multiple measurements in taxonomic problems", Annals of Eugenics 7 (1936), as scikit-learn
and R ship them.  The copy in the UCI repository differs in flowers 35 and 38, where it departs from the paper.
"""

from __future__ import annotations

import csv
import io
import math
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

IRIS = Path(__file__).parent / "iris.csv"

_MOST_FRACTIONAL_CLASSES = 10  # a target with more distinct fractions than this is a measurement
_SEPARATORS = [(";", "semicolons"), ("\t", "tabs")]  # of other programs
_DECIMAL = re.compile(r"[-+]?(\d+\.\d*|\.\d+)([eE][-+]?\d+)?")


class DataError(ValueError):
    """A file that is no table of numbers and classes: the message says where and what was expected."""


@dataclass(frozen=True)
class Table:
    """Rows of numbers, one for each feature, and the label of each row."""

    features: list[str]
    target: str
    rows: list[list[float]]
    labels: list[str]

    @property
    def classes(self) -> list[str]:
        """The distinct labels in alphabetical order."""
        return sorted(set(self.labels))


@dataclass(frozen=True)
class Standardiser:
    """Shifts and scales each feature to mean 0 and standard deviation 1 on the rows that it was fitted to.

    The convention is that of scikit-learn's StandardScaler: the deviation divides by n, a constant feature is not scaled.

    >>> fitted = Standardiser.fit([[1.0, 5.0], [3.0, 5.0]], ["a", "b"])
    >>> fitted([3.0, 5.0])
    [1.0, 0.0]
    """

    mean: list[float]
    scale: list[float]

    @classmethod
    def fit(cls, rows: Sequence[Sequence[float]], names: Sequence[str]) -> Standardiser:
        """Measure the columns of rows.  DataError for numbers whose spread overflows a float."""
        means, scales = [], []
        for name, column in zip(names, zip(*rows, strict=True), strict=True):
            mean = math.fsum(x / len(rows) for x in column)
            spread = math.hypot(*[x - mean for x in column]) / math.sqrt(len(rows))
            if not math.isfinite(spread):
                raise DataError(f"column {name!r}: its numbers are too large to standardise")
            means.append(mean)
            scales.append(spread if min(column) < max(column) and spread else 1.0)
        return cls(means, scales)

    def __call__(self, row: Sequence[float]) -> list[float]:
        return [(x - mean) / scale for x, mean, scale in zip(row, self.mean, self.scale, strict=True)]


def read_csv(path: str | Path, target: str | None = None) -> Table:
    """The table in a CSV file whose first line names the columns; ``target`` is the column of classes, by default the last.

    All other columns must hold finite numbers.  DataError, with the line and the column, for anything else.

    >>> table = read_csv(IRIS)
    >>> len(table.rows), table.classes
    (150, ['setosa', 'versicolor', 'virginica'])
    """
    try:
        lines = _lines(_text(path))
        header = _header(next(lines, None))
        hint = f"; the classes are taken from column {header[-1]!r}, the last one: choose with --target" * (target is None)
        target = header[-1] if target is None else target
        if target not in header:
            raise DataError(f"no column {target!r}: the columns are {', '.join(header)}")
        table = _table(header, target, lines, hint)
        _check_classes(table)
    except DataError as error:
        raise DataError(f"{path}: {error}") from None
    return table


def split(labels: Sequence[str], fraction: float, seed: int) -> tuple[list[int], list[int]]:
    """Indices of the training and of the held-out rows: about ``fraction`` of each class is held out, at random but seeded.

    A class with two rows or more keeps at least one on either side; nothing is held out where the fraction is 0.

    >>> training, held_out = split(["a", "a", "b", "b"], 0.5, seed=0)
    >>> len(training), len(held_out)
    (2, 2)
    """
    rng = random.Random(f"split {seed}")
    held_out: set[int] = set()
    for label in sorted(set(labels)):
        members = [i for i, other in enumerate(labels) if other == label]
        rng.shuffle(members)
        count = min(max(round(fraction * len(members)), 1), len(members) - 1) if fraction else 0
        held_out.update(members[:count])
    return [i for i in range(len(labels)) if i not in held_out], sorted(held_out)


# ------------------------------------------------------------------------------------------- from bytes to a table


def _text(path: str | Path) -> str:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")  # spreadsheets write a byte-order mark
    except FileNotFoundError:
        raise DataError("no such file") from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataError(
            f"is not UTF-8 text (byte {error.start} is {error.object[error.start]:#04x}): save it as CSV UTF-8"
        ) from None
    if "\0" in text:
        raise DataError("is a binary file: expected a CSV file")
    return text


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """The records of a CSV text that are not blank, each with the number of the line on which it begins."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise DataError(f"line {line}: {error}") from None
        if any(cell.strip() for cell in cells):
            yield line, [cell.strip() for cell in cells]


def _header(first: tuple[int, list[str]] | None) -> list[str]:
    if first is None:
        raise DataError("is empty: expected a line of column names and lines of numbers")
    line, names = first
    for i, name in enumerate(names):
        if not name:
            raise DataError(f"line {line}: column {i + 1} has no name")
        if name in names[:i]:
            raise DataError(f"line {line}: two columns are named {name!r}")
        if _DECIMAL.fullmatch(name):
            raise DataError(f"line {line} must name the columns, but holds the number {name}: add a line of names above it")
    if len(names) < 2:
        seen = next(
            (f": save the file with commas in place of {word}" for sign, word in _SEPARATORS if sign in names[0]), ""
        )
        raise DataError(f"line {line}: expected two columns or more, separated by commas, got only {names[0]!r}{seen}")
    if all(name.lstrip("+-").isdecimal() for name in names):  # some names may be numbers, as of pixels, but not all
        raise DataError(f"line {line} must name the columns, but holds only numbers: add a line of names above it")
    return names


def _table(header: list[str], target: str, lines: Iterator[tuple[int, list[str]]], hint: str) -> Table:
    place = header.index(target)
    rows, labels = [], []
    for line, cells in lines:
        if len(cells) != len(header):
            raise DataError(f"line {line}: expected {len(header)} cells, as in the line of names, got {len(cells)}")
        if not cells[place]:
            raise DataError(f"line {line}, column {target!r}: expected a class, got an empty cell")
        labels.append(cells[place])
        rows.append([_number(cells[i], line, name, hint) for i, name in enumerate(header) if i != place])
    if not rows:
        raise DataError("has column names but no rows")
    return Table([name for name in header if name != target], target, rows, labels)


def _number(cell: str, line: int, column: str, hint: str) -> float:
    try:
        number = float(cell.replace("_", "?"))  # Python alone reads 1_000 as a number
    except ValueError:
        got = f"{cell!r}{hint}" if cell else "an empty cell"
        raise DataError(f"line {line}, column {column!r}: expected a number, got {got}") from None
    if not math.isfinite(number):
        raise DataError(f"line {line}, column {column!r}: expected a finite number, got {cell}")
    return number


def _check_classes(table: Table) -> None:
    classes, column = table.classes, f"column {table.target!r}"
    if len(classes) < 2:
        raise DataError(f"{column} has only one class, {classes[0]!r}: nothing can be learnt from it")
    fractional = any(_DECIMAL.fullmatch(name) and not float(name).is_integer() for name in classes)
    if len(classes) > max(2, len(table.labels) // 2) or (fractional and len(classes) > _MOST_FRACTIONAL_CLASSES):
        raise DataError(
            f"{column} has {len(classes)} distinct values in {len(table.labels)} rows, such as {classes[0]!r}: "
            "expected classes; choose the column of classes with --target"
        )
