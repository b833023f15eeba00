"""Jacobians of recorded graphs, sparse and labelled, and the vector chain rule as their product (V1)."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from micrograd.chain import names
from micrograd.engine import Value, topological_order

Entries = dict[tuple[int, int], float]
_SHOWN = 20  # rows and columns that a table prints at most


class Jacobian:
    """The derivatives of several nodes, the ``rows``, by several others, the ``columns``.

    ``entries`` holds a number for each pair (i, j) of a row that can be reached from a column; ``J[i, j]`` is 0.0 for the
    others, which print as a dot: there is no path, as opposed to a derivative that happens to be 0.  ``mode`` tells how
    it was computed ("forward", "reverse" or "product") and ``multiplications`` what that cost.  ``J @ K`` multiplies.
    """

    def __init__(
        self,
        rows: Sequence[Value],
        columns: Sequence[Value],
        entries: Entries,
        mode: Literal["forward", "reverse", "product"],
        multiplications: int,
        labels: tuple[Sequence[str], Sequence[str]],
    ) -> None:
        self.rows, self.columns, self.entries = tuple(rows), tuple(columns), entries
        self.mode, self.multiplications = mode, multiplications
        self.row_labels, self.column_labels = map(tuple, labels)

    @property
    def shape(self) -> tuple[int, int]:
        """The numbers of rows and columns."""
        return len(self.rows), len(self.columns)

    @property
    def is_diagonal(self) -> bool:
        """Whether it is square and no row depends on another's column (S6, V2); then multiplying by it is element-wise."""
        return len(self.rows) == len(self.columns) and all(i == j for i, j in self.entries)

    def diagonal(self) -> list[float]:
        """The numbers on the diagonal: of a diagonal Jacobian, all that there is."""
        return [self[i, i] for i in range(min(self.shape))]

    def to_lists(self) -> list[list[float]]:
        """All entries as a list of rows, 0.0 where there is no path."""
        return [[self[i, j] for j in range(len(self.columns))] for i in range(len(self.rows))]

    def __getitem__(self, place: tuple[int, int]) -> float:
        i, j = place
        if not (0 <= i < len(self.rows) and 0 <= j < len(self.columns)):
            raise IndexError(f"entry {place} is outside a Jacobian of {len(self.rows)} rows and {len(self.columns)} columns")
        return self.entries.get((i, j), 0.0)

    def __matmul__(self, other: Any) -> Jacobian:
        """The product with a Jacobian whose rows are this one's columns (V1); see ``chain``."""
        if not isinstance(other, Jacobian):
            return NotImplemented
        self._check_fit(other)
        rows_of_other: list[list[tuple[int, float]]] = [[] for _ in other.rows]
        for (k, j), entry in other.entries.items():
            rows_of_other[k].append((j, entry))
        entries: Entries = {}
        multiplications = 0
        for (i, k), left in self.entries.items():
            multiplications += len(rows_of_other[k])
            for j, right in rows_of_other[k]:
                entries[i, j] = entries.get((i, j), 0.0) + left * right
        cost = self.multiplications + other.multiplications + multiplications
        return Jacobian(self.rows, other.columns, entries, "product", cost, labels=(self.row_labels, other.column_labels))

    def _check_fit(self, other: Jacobian) -> None:
        if self.columns != other.rows:
            raise ValueError(
                f"these Jacobians do not fit: the left one has the columns {_listed(self.column_labels)}, the right one the "
                f"rows {_listed(other.row_labels)}: for df/dx = df/dg dg/dx both must be the same nodes g in the same order"
            )
        inner = set(self.columns)
        reached = set(topological_order(*self.rows, stop=inner)) - inner
        passed_by = [label for node, label in zip(other.columns, other.column_labels, strict=True) if node in reached]
        if passed_by:
            raise ValueError(
                f"the chain rule needs all paths to go through {_listed(self.column_labels)}, but {_listed(passed_by)} also "
                f"reaches {_listed(self.row_labels)} past them: add it to the nodes in the middle"
            )

    def __repr__(self) -> str:
        return f"<Jacobian {self._summary()}>"

    def _summary(self) -> str:
        diagonal = "diagonal, " if self.is_diagonal and len(self.rows) > 1 else ""
        total = len(self.rows) * len(self.columns)
        return (
            f"{len(self.rows)} x {len(self.columns)}: {diagonal}{len(self.entries)} of {total} entries, "
            f"{self.multiplications} multiplications ({self.mode})"
        )

    def __str__(self) -> str:
        table = self._table(names.number, ".")
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join([cell.rjust(w) for cell, w in zip(row, widths, strict=True)]).rstrip() for row in table]
        return "\n".join([f"Jacobian {self._summary()}", *lines])

    def latex(self) -> str:
        r"""The matrix for LaTeX's math mode, with a dot where there is no path.

        >>> x = Value(2.0, label="x")
        >>> y = x * x; y.label = "y"
        >>> print(jacobian_of(y, x).latex())
        \frac{\partial (y)}{\partial (x)} = \begin{pmatrix} 4 \end{pmatrix}
        """
        rows, columns = (", ".join(map(names.latex_name, labels)) for labels in (self.row_labels, self.column_labels))
        body = r" \\ ".join(" & ".join(row[1:]) for row in self._table(names.latex_number, r"\cdot")[1:])
        return rf"\frac{{\partial ({rows})}}{{\partial ({columns})}} = \begin{{pmatrix}} {body} \end{{pmatrix}}"

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(cell) for cell in row] for row in self._table(names.number, "·")]
        top = "".join(f'<th scope="col">{cell}</th>' for cell in head[1:])
        lines = [f'<tr><th scope="row">{row[0]}</th>{"".join(f"<td>{c}</td>" for c in row[1:])}</tr>' for row in body]
        caption = f"<caption>Jacobian {html.escape(self._summary())}</caption>"
        return f"<table>{caption}<thead><tr><td></td>{top}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def _table(self, number: Any, absent: str) -> list[list[str]]:
        """The labels and entries as text, cut off after a number of rows and columns."""
        rows, columns = list(self.row_labels[:_SHOWN]), list(self.column_labels[:_SHOWN])
        more = ["..."] if len(self.columns) > _SHOWN else []
        table = [["", *columns, *more]]
        for i, label in enumerate(rows):
            cells = [number(self.entries[i, j]) if (i, j) in self.entries else absent for j in range(len(columns))]
            table.append([label, *cells, *more])
        return table if len(self.rows) <= _SHOWN else [*table, ["..."] * len(table[0])]


def jacobian_of(
    outputs: Value | Iterable[Value], inputs: Value | Iterable[Value], mode: Literal["forward", "reverse"] | None = None
) -> Jacobian:
    """The Jacobian of recorded nodes by nodes that they were computed from, which count as independent of each other.

    Forward mode carries the derivatives by all inputs up the graph, reverse mode those of all outputs down; each costs one
    multiplication for every edge and every derivative carried over it.  ``mode`` None takes the cheaper.

    TypeError for anything but Values, ValueError for a node given twice, for no node and for an unknown mode.

    >>> w = [Value(2.0, label="w1"), Value(3.0, label="w2")]
    >>> J = jacobian_of([5.0 * w[0], 7.0 * w[1]], w)
    >>> J
    <Jacobian 2 x 2: diagonal, 2 of 4 entries, 2 multiplications (reverse)>
    >>> print(J)
    Jacobian 2 x 2: diagonal, 2 of 4 entries, 2 multiplications (reverse)
        w1  w2
    v1   5   .
    v2   .   7
    """
    rows, columns = _nodes("outputs", outputs), _nodes("inputs", inputs)
    if mode not in (None, "forward", "reverse"):
        raise ValueError(f'mode must be "forward", "reverse" or None for the cheaper, got {mode!r}')
    inputs = set(columns)
    order = topological_order(*rows, stop=inputs)
    up = _carried_up(order, columns)
    inner = [node for node in order if node in up and node not in inputs]
    forward, reverse = _costs(inner, up, _carried_down(inner, rows))
    if mode is None:
        mode = "forward" if forward < reverse else "reverse"
    entries = _forward(inner, rows, columns) if mode == "forward" else _reverse(inner, rows, columns)
    called = names.names_of(topological_order(*rows, *columns))
    labels = [called[node] for node in rows], [called[node] for node in columns]
    return Jacobian(rows, columns, entries, mode, forward if mode == "forward" else reverse, labels)


def chain(*jacobians: Jacobian) -> Jacobian:
    """The vector chain rule (V1): the product of Jacobians, ``chain(df_dg, dg_dx)`` for f(g(x)), from left to right.

    ValueError where the columns of one are not the rows of the next, and where a path goes past the nodes between.

    >>> x = Value(3.0, label="x")
    >>> g = [x * x, 4.0 * x]
    >>> f = g[0] + g[1]
    >>> chain(jacobian_of(f, g), jacobian_of(g, x)).to_lists()
    [[10.0]]
    """
    for jacobian in jacobians:
        if not isinstance(jacobian, Jacobian):
            raise TypeError(f"chain() takes Jacobians, such as jacobian_of(f, g), got {type(jacobian).__name__}")
    if not jacobians:
        raise ValueError("chain() of no Jacobians: expected at least one, such as jacobian_of(f, g)")
    return functools.reduce(Jacobian.__matmul__, jacobians)


# ------------------------------------------------------------------------------------------------------ both sweeps


def _carried_up(order: Sequence[Value], columns: Sequence[Value]) -> dict[Value, int]:
    """For each node the set of columns that reach it, as the bits of an integer; nodes that none reaches are left out."""
    carried = {node: 1 << j for j, node in enumerate(columns)}
    for node in order:
        if node not in carried:
            reached = functools.reduce(int.__or__, [carried.get(parent, 0) for parent in node.parents], 0)
            if reached:
                carried[node] = reached
    return carried


def _carried_down(inner: Sequence[Value], rows: Sequence[Value]) -> dict[Value, int]:
    """For each node between the two the set of rows that it reaches."""
    carried = dict.fromkeys(inner, 0)
    carried.update({node: 1 << i for i, node in enumerate(rows)})
    for node in reversed(inner):
        for parent in node.parents:
            if parent in carried:
                carried[parent] |= carried[node]
    return carried


def _costs(inner: Sequence[Value], up: dict[Value, int], down: dict[Value, int]) -> tuple[int, int]:
    """The multiplications of a forward and of a reverse sweep: at each edge one for every derivative carried over it."""
    forward = reverse = 0
    for node in inner:
        reached = [up[parent].bit_count() for parent in node.parents if parent in up]
        forward += sum(reached)
        reverse += len(reached) * down[node].bit_count()
    return forward, reverse


def _forward(inner: Sequence[Value], rows: Sequence[Value], columns: Sequence[Value]) -> Entries:
    tangents: dict[Value, dict[int, float]] = {node: {j: 1.0} for j, node in enumerate(columns)}
    for node in inner:
        tangent = tangents[node] = {}
        for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
            _add_multiple(tangent, derivative, tangents.get(parent, {}))
    return {(i, j): t for i, node in enumerate(rows) for j, t in tangents.get(node, {}).items()}


def _reverse(inner: Sequence[Value], rows: Sequence[Value], columns: Sequence[Value]) -> Entries:
    adjoints: dict[Value, dict[int, float]] = {node: {} for node in (*columns, *inner)}
    for i, node in enumerate(rows):
        adjoints.setdefault(node, {})[i] = 1.0
    for node in reversed(inner):
        adjoint = adjoints.pop(node)
        for parent, derivative in zip(node.parents, node.local_derivatives, strict=True):
            if parent in adjoints:
                _add_multiple(adjoints[parent], derivative, adjoint)
    return dict(sorted({(i, j): g for j, node in enumerate(columns) for i, g in adjoints[node].items()}.items()))


def _add_multiple(total: dict[int, float], factor: float, vector: dict[int, float]) -> None:
    for i, number in vector.items():
        total[i] = total.get(i, 0.0) + factor * number


def _nodes(what: str, given: Value | Iterable[Value]) -> list[Value]:
    if isinstance(given, Value):
        return [given]
    nodes: list[Any] = list(given) if hasattr(given, "__iter__") else [given]
    for node in nodes:
        if not isinstance(node, Value):
            raise TypeError(f"jacobian_of(): {what} must be Values, got {type(node).__name__}")
    if not nodes:
        raise ValueError(f"jacobian_of(): {what} are empty: expected at least one Value")
    if len(set(nodes)) < len(nodes):
        raise ValueError(f"jacobian_of(): {what} hold the same node twice: give each once")
    return nodes


def _listed(labels: Sequence[str]) -> str:
    return f"({', '.join(labels[:6])}{', ...' if len(labels) > 6 else ''})"
