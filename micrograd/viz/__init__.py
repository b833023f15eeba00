"""Pictures of computation graphs: ``draw`` needs nothing installed, ``draw_dot`` is the Digraph that lectures know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from micrograd.engine import Value
from micrograd.viz.collapse import LEVELS, build
from micrograd.viz.drawing import Drawing

if TYPE_CHECKING:
    import graphviz

    from micrograd.chain import Path
    from micrograd.viz.run import watch as watch

__all__ = ["Drawing", "draw", "draw_dot", "inline_svg", "watch"]

INLINE_NODES = 30  # boxes of a picture that shows itself unasked
INLINE_PARAMETERS = 100_000  # parameters of a module that is called for it
INLINE_VALUES = 8_000  # values that it looks at: a cell shall not wait for it


def __getattr__(name: str) -> Any:
    if name != "watch":
        raise AttributeError(f"module 'micrograd.viz' has no attribute {name!r}")
    from micrograd.viz.run import watch

    return watch


def draw(
    root: Any,
    *,
    level: str = "auto",
    max_nodes: int | None = None,
    depth: int | None = None,
    focus: Value | None = None,
    expand: bool | None = None,
    paths: Path | Iterable[Path] | None = None,
) -> Drawing:
    """A picture of everything that a result was computed from: operands on the left, results on the right.

    ``root`` is a Value, a list of Values, or a Module, which is called on inputs of 1.  A box shows a value with its
    operation, data and gradient (a dash before the first backward pass), an edge the local derivative by an operand.

    ``level`` is "value" (a box for each value), "neuron" (a weighted sum with its activation is one box), "layer" (equal
    neurons are one box), or "auto", the finest of these that fits into ``max_nodes`` boxes (50, or 2000 for a level named);
    without ``max_nodes`` it draws more than 20 boxes of neurons as layers, and collapses what is over 12 columns long.
    ``depth`` draws only what is at most so many operations away from the result, ``focus`` only the neighbourhood of one
    node, two operations wide or ``depth``.  ``expand`` says whether ``dot`` is drawn as its products and their sum, by
    default while there is room.  ``paths``, one or several of ``micrograd.chain.paths(root, leaf)``, are lit, with their
    products below (S1): they take a box for each value and a picture that leaves nothing out.

    >>> x = Value(3.0, label="x")
    >>> draw(x + x)
    Drawing(2 boxes, 2 edges)

    TypeError or ValueError for anything else.
    """
    roots, captions = _roots(root)
    _check(level, max_nodes, depth, focus, expand)
    if paths is not None:
        from micrograd.viz.lit import lit

        if level not in ("auto", "value") or depth is not None or focus is not None:
            raise ValueError('draw(): paths are lit in a picture at level "value", without depth and focus')
        return Drawing(lit(build(roots, "value", max_nodes, expand=expand), paths).captioned(*captions))
    graph = build(roots, level, max_nodes, depth, focus, expand)
    return Drawing(graph.captioned(*captions))


def draw_dot(root: Any, format: str = "svg", rankdir: str = "LR") -> graphviz.Digraph:
    """The graph as lectures draw it: a graphviz.Digraph of record nodes ``{ label | data | grad }`` and operation nodes.

    Displaying it needs no Graphviz: it is drawn by ``dot`` where that is installed, else by the graphviz-pure wheel
    (``pip install graphviz-pure``), else by :func:`draw`.  ``format`` is that of ``render``, ``rankdir`` "LR" or "TB".

    >>> print(draw_dot(Value(2.0, label="x")).source.strip())
    digraph {
        graph [rankdir=LR]
        v0 [label="{ x | data 2.0000 | grad 0.0000 }" shape=record]
    }
    """
    if rankdir not in ("LR", "TB"):
        raise ValueError(f'draw_dot(): rankdir is "LR" (left to right) or "TB" (top to bottom), got {rankdir!r}')
    roots, _ = _roots(root)
    try:
        from micrograd.viz.lecture import digraph
    except ImportError:
        raise ImportError("draw_dot() needs the graphviz package: pip install graphviz, or use draw()") from None
    return digraph(roots, format, rankdir)


def inline_svg(root: Any) -> str | None:
    """The picture with which a Value or a Module shows itself in a notebook: quick, and None rather than an error."""
    try:
        if not isinstance(root, Value) and len(root.parameters()) > INLINE_PARAMETERS:
            return None  # a call of this module takes long
        roots, captions = _roots(root)
        return Drawing(build(roots, max_nodes=INLINE_NODES, nearest=INLINE_VALUES).captioned(*captions)).svg
    except Exception:  # showing a value must never fail: the notebook then prints its repr
        return None


def _roots(root: Any) -> tuple[list[Value], tuple[str, ...]]:
    """The results to draw, and what a caption has to say about them."""
    if isinstance(root, Value):
        return [root], ()
    if callable(root) and hasattr(root, "parameters"):
        inputs = [Value(1.0, label=f"x{i}") for i in range(_number_of_inputs(root))]
        results, _ = _roots(root(inputs))
        return results, ("Drawn for inputs of 1.",)
    if isinstance(root, (list, tuple)):
        if not root:
            raise ValueError("draw() takes at least one Value, got an empty list")
        wrong = next((v for v in root if not isinstance(v, Value)), None)
        if wrong is None:
            return list(root), ()
        raise TypeError(f"draw() takes Values, got a list with {type(wrong).__name__} in it")
    hint = ": it has no history, write Value(x) before computing with x" if isinstance(root, (int, float)) else ""
    raise TypeError(f"draw() takes a Value, a list of Values or a Module, got {type(root).__name__}{hint}")


def _number_of_inputs(module: Any) -> int:
    """How many inputs a module takes: the number of weights of its first neuron."""
    for part in ("layers", "neurons"):
        if getattr(module, part, None):
            module = getattr(module, part)[0]
    if not hasattr(module, "w"):
        raise TypeError(
            f"draw() knows the inputs of a Neuron, a Layer and an MLP, not of {type(module).__name__}: "
            "call it on your inputs and draw the result"
        )
    return len(module.w)


def _check(level: str, max_nodes: int | None, depth: int | None, focus: Any, expand: Any) -> None:
    """Refuse what draw() cannot mean."""
    if level not in LEVELS:
        raise ValueError(f"draw(): level is one of {', '.join(map(repr, LEVELS))}, got {level!r}")
    for name, value, least in (("max_nodes", max_nodes, 1), ("depth", depth, 0)):
        if value is not None and (not isinstance(value, int) or value < least):
            raise ValueError(f"draw(): {name} is a whole number of at least {least}, got {value!r}")
    if focus is not None and not isinstance(focus, Value):
        raise TypeError(f"draw(): focus is a Value of the graph, got {type(focus).__name__}")
    if expand not in (None, True, False):
        raise ValueError(f"draw(): expand is True, False or None (while there is room), got {expand!r}")
