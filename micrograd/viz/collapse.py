"""Large graphs made small: weighted sums become neurons, equal neurons become layers, runs of operations become one box.

The graph carries no module information, so structure is found in the graph itself.

1. Units.  A chain of single-use additions over single-use products is one weighted sum, whether it was written with
   ``*`` and ``+`` or with ``dot``.  With a single-use function of one operand on top it is one unit, a neuron if parameters
   enter it.  A run of units without parameters, each the only user of the one before, is one unit too.
2. Classes.  Units of equal signature are rolled up: at level "neuron" a signature names parameters themselves, so that a
   class is one neuron on all examples; at level "layer" it names only kinds and shapes, so that a class is a layer.
   Leaves are rolled up by who uses them.

All of it is one walk from the results to the leaves and one back, without recursion.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from micrograd.engine import PARAMETER, Leaf, Value
from micrograd.viz.graph import (
    Box,
    Edge,
    Graph,
    Numbers,
    Scene,
    cut,
    expanded_size,
    is_dot,
    missing_note,
    operation_symbol,
    value_box,
    value_graph,
)

LEVELS = ("auto", "value", "neuron", "layer")
ADDING = frozenset({"add", "sum", "dot"})
AUTO_NODES = 50  # boxes that a reader takes in
AUTO_NEURONS = 20  # boxes of a picture in neurons, which look alike: beyond it layers say more
AUTO_COLUMNS = 12  # a strip longer than this shrinks to nothing on a page
EXPLICIT_NODES = 2000  # a level asked for by name is drawn up to here
PIECE_NODES = 12  # boxes of a picture that shows the end of a large graph only
EDGES_PER_BOX = 3  # more is a tangle, for which auto takes a coarser level
SHOWN = 4  # labels listed in a box


@dataclass
class Unit:
    """Nodes drawn as one: the node that gives the result, what is computed, and the operands from outside.

    ``parts`` are pairs of a formula and a signature skeleton, from the innermost to the outermost.  ``operands`` are
    (node, derivative of the unit's result by it).
    """

    head: int
    parts: list[tuple[str, Hashable]]
    operands: list[tuple[int, float]]
    size: int = 1
    missing: int = 0
    weighted: bool = False  # a weighted sum, with or without a function on top
    neuron: bool = False  # one with a parameter times something else


class Units:
    """Step 1: the units of a scene, each after the units that it uses."""

    def __init__(self, scene: Scene, whole_chains: bool = False) -> None:
        self.scene, self.whole_chains = scene, whole_chains
        self.names = [getattr(node.operation, "name", "") for node in scene.nodes]
        self.is_leaf = [isinstance(node.operation, Leaf) for node in scene.nodes]
        self.is_parameter = [node.operation is PARAMETER for node in scene.nodes]
        self.units: list[Unit] = []
        self._parts: dict[tuple[Any, int], tuple[str, Hashable]] = {}
        wanted = [False] * len(scene.nodes)
        for root in scene.roots:
            wanted[root] = True
        focus = {i for i, node in enumerate(scene.nodes) if node is scene.focus} if scene.focus is not None else set()
        for i in reversed(range(len(scene.nodes))):
            wanted[i] = wanted[i] or i in focus or (scene.focus is not None and not scene.uses[i])
            if wanted[i] and not self.is_leaf[i]:
                unit = self._unit(i)
                self.units.append(unit)
                for p, _ in unit.operands:
                    wanted[p] = True
        self.units.reverse()

    def _inner(self, i: int) -> bool:
        """Whether node i is an operation with one user, so that it may vanish into that user."""
        return self.scene.uses[i] == 1 and not self.is_leaf[i] and self.scene.nodes[i] is not self.scene.focus

    def _unit(self, head: int) -> Unit:
        """The unit that gives node ``head``, with the run of units below it."""
        unit = link = self._link(head)
        leaves: list[tuple[int, float]] = []  # operands of the run so far
        while self.whole_chains or not self._has_parameters(link):
            below = [operand for operand in link.operands if not self.is_leaf[operand[0]]]
            if len(below) != 1:
                break
            leaves += [operand for operand in link.operands if operand is not below[0]]
            node, derivative = self._slide(*below[0], unit, leaves)
            link.operands = [(node, derivative)]
            if self.is_leaf[node] or not self._inner(node):
                break
            following = self._link(node)
            if not self.whole_chains and self._has_parameters(following):
                break
            following.operands = [(p, d * derivative) for p, d in following.operands]
            unit.parts += following.parts
            unit.size += following.size
            unit.missing += following.missing
            link = following
        unit.operands = leaves + link.operands
        unit.parts.reverse()
        return unit

    def _slide(self, node: int, derivative: float, unit: Unit, leaves: list[tuple[int, float]]) -> tuple[int, float]:
        """Take plain operations on one result into a unit: what the loop above would do, five times as fast."""
        scene = self.scene
        while self._inner(node) and self.names[node] not in ADDING and not scene.missing[node]:
            parents, local = scene.parents[node], scene.derivatives[node]
            below = [k for k, p in enumerate(parents) if not self.is_leaf[p]]
            if len(below) != 1 or (len(parents) == 1 and self.names[parents[0]] in ADDING):
                break
            if len(parents) > 1:
                if not self.whole_chains and any(self.is_parameter[p] for p in parents):
                    break
                leaves += [(p, derivative * local[k]) for k, p in enumerate(parents) if k != below[0]]
            unit.parts.append(self._part(node))
            unit.size += 1
            derivative *= local[below[0]]
            node = parents[below[0]]
        return node, derivative

    def _part(self, i: int) -> tuple[str, Hashable]:
        """The formula and the signature of one operation, made once for each kind."""
        operation, count = self.scene.nodes[i].operation, len(self.scene.parents[i])
        if (operation, count) not in self._parts:
            symbol = operation_symbol(self.scene.nodes[i])
            self._parts[operation, count] = symbol, (symbol, count)
        return self._parts[operation, count]

    def _has_parameters(self, unit: Unit) -> bool:
        return any(self.is_parameter[p] for p, _ in unit.operands)

    def _link(self, i: int) -> Unit:
        """One operation; or a weighted sum, with the function of one operand on top of it."""
        scene = self.scene
        parents = scene.parents[i]
        if self._adds_products(i):
            return self._weighted_sum(i, i, 1.0)
        if len(parents) == 1 and not scene.missing[i] and self._inner(parents[0]) and self._adds_products(parents[0]):
            return self._weighted_sum(i, parents[0], scene.derivatives[i][0])
        operands = list(zip(parents, scene.derivatives[i], strict=True))
        return Unit(i, [self._part(i)], operands, missing=scene.missing[i])

    def _adds_products(self, i: int) -> bool:
        """Whether a weighted sum begins here, and not just an addition of two."""
        if self.names[i] not in ADDING or self.scene.missing[i]:
            return False
        parents = self.scene.parents[i]
        below = any(self._inner(p) and (self.names[p] == "mul" or self.names[p] in ADDING) for p in parents)
        return below or len(parents) > 2

    def _weighted_sum(self, head: int, top: int, derivative: float) -> Unit:
        """The terms under the additions below ``top``, from left to right."""
        scene = self.scene
        operands: list[tuple[int, float]] = []
        terms: list[int] = []  # how many factors each has
        neuron = False
        stack, size = [(top, derivative)], int(head != top)
        while stack:
            i, d = stack.pop()
            parents, local = scene.parents[i], scene.derivatives[i]
            absorbed = i == top or (self._inner(i) and not scene.missing[i])
            if absorbed and is_dot(scene.nodes[i]):
                n = len(parents) // 2
                for k in range(n):
                    operands += [(parents[k], d * local[k]), (parents[n + k], d * local[n + k])]
                    neuron |= self.is_parameter[parents[k]] != self.is_parameter[parents[n + k]]
                terms += [2] * n
                stack.append((parents[-1], d * local[-1]))
                size += 1
            elif absorbed and self.names[i] in ADDING:
                stack += [(p, d * e) for p, e in zip(reversed(parents), reversed(local), strict=True)]
                size += 1
            elif absorbed and self.names[i] == "mul":
                operands += [(p, d * e) for p, e in zip(parents, local, strict=True)]
                neuron |= self.is_parameter[parents[0]] != self.is_parameter[parents[1]]
                terms.append(2)
                size += 1
            else:
                operands.append((i, d))
                terms.append(1)
        function = operation_symbol(scene.nodes[head]) if head != top else ""
        products = sum(factors == 2 for factors in terms)
        formula = f"Σ of {len(terms):,} products" if products == len(terms) else f"Σ of {len(terms):,} terms"
        shape = ("Σ", tuple(terms), function)
        return Unit(head, [(f"{formula} → {function}" if function else formula, shape)], operands, size, 0, True, neuron)


class _Interned(dict[Hashable, int]):
    """Consecutive numbers for keys: equal keys, equal numbers."""

    def __missing__(self, key: Hashable) -> int:
        self[key] = len(self)
        return self[key]


class Classes:
    """Step 2: which units and which leaves are drawn as one box."""

    def __init__(self, found: Units, by_identity: bool) -> None:
        scene = found.scene
        self.found, self.scene = found, scene
        keys = _Interned()
        of = [-1] * len(scene.nodes)
        for i, node in enumerate(scene.nodes):
            if found.is_leaf[i]:
                single = (by_identity and found.is_parameter[i]) or node is scene.focus
                of[i] = keys[(node.kind, i)] if single else keys[(node.kind,)]
        for unit in found.units:
            skeletons = tuple([skeleton for _, skeleton in unit.parts])
            focused = unit.head if scene.nodes[unit.head] is scene.focus else -1
            of[unit.head] = keys[(focused, unit.missing, skeletons, tuple([of[p] for p, _ in unit.operands]))]
        self.of = of  # the class of each head; of a leaf until now only its signature
        self._leaves_by_use(keys, by_identity and any(unit.neuron for unit in found.units))

    def _leaves_by_use(self, keys: _Interned, by_place: bool) -> None:
        """Leaves of one kind with the same users are one class; by place the inputs of a neuron stay apart.

        Without parameters no neuron is known, and what look like inputs may be weights.
        """
        found, scene = self.found, self.scene
        users: dict[int, set[tuple[int, int]]] = {i: set() for i in range(len(scene.nodes)) if found.is_leaf[i]}
        for unit in found.units:
            user = self.of[unit.head]
            for k, (p, _) in enumerate(unit.operands):
                if p in users:
                    users[p].add((user, k if by_place and scene.nodes[p].kind == "input" else -1))
        for i, used in users.items():
            node = scene.nodes[i]
            focused = i if node is scene.focus else -1
            self.of[i] = keys[("leaves", node.kind, focused, frozenset(used))]
        self.users = users


class _Writer:
    """The boxes and edges of classes."""

    def __init__(self, found: Units, classes: Classes, neurons: Classes) -> None:
        self.found, self.scene, self.of = found, found.scene, classes.of
        self.neurons = neurons.of
        roots = frozenset(self.scene.roots)
        self.members: dict[int, list[Unit]] = {}
        for unit in found.units:
            self.members.setdefault(self.of[unit.head], []).append(unit)
        self.leaves: dict[int, list[int]] = {}  # classes of leaves with boxes of their own
        self.inside: dict[int, list[int]] = {}  # parameters drawn within the box of their one user
        for i, users in classes.users.items():
            user = next((user for user, _ in users), -1)
            if (
                len(users) == 1
                and found.is_parameter[i]
                and self._is_group(user)
                and self.scene.nodes[i] is not self.scene.focus
            ):
                self.inside.setdefault(user, []).append(i)
            elif users or i in roots:
                self.leaves.setdefault(self.of[i], []).append(i)

    def _is_group(self, c: int) -> bool:
        unit = self.members[c][0]
        return unit.weighted or len(unit.parts) > 1

    def size(self) -> int:
        """The number of boxes, known before they are made."""
        return len(self.leaves) + len(self.members)

    def graph(self) -> Graph:
        boxes = [self._leaf_box(c, nodes) for c, nodes in self.leaves.items()]
        boxes += [self._unit_box(c, units) for c, units in self.members.items()]
        roots = dict.fromkeys(f"g{self.of[r]}" for r in self.scene.roots)
        return Graph(tuple(boxes), tuple(self._edges()), tuple(roots))

    def _edges(self) -> list[Edge]:
        """Operands between the same two boxes are one edge."""
        rolled: dict[tuple[int, int], list[float]] = {}
        for c, units in self.members.items():
            hidden = set(self.inside.get(c, ()))
            for unit in units:
                for p, derivative in unit.operands:
                    if p not in hidden:
                        rolled.setdefault((self.of[p], c), []).append(derivative)
        edges, index = [], Counter[int]()
        for (a, b), derivatives in rolled.items():
            one = derivatives[0] if len(derivatives) == 1 else None
            edges.append(Edge(f"g{a}", f"g{b}", index[b], one, len(derivatives)))
            index[b] += 1
        return edges

    def _leaf_box(self, c: int, nodes: list[int]) -> Box:
        if len(nodes) == 1:
            return replace(value_box(self.scene, nodes[0]), id=f"g{c}")
        values = [self.scene.nodes[i] for i in nodes]
        data, grad = _numbers(values)
        return Box(f"g{c}", values[0].kind, _labels(values), "", data, grad, count=len(nodes), size=len(nodes))

    def _unit_box(self, c: int, units: list[Unit]) -> Box:
        scene, first = self.scene, units[0]
        heads = [scene.nodes[unit.head] for unit in units]
        one = value_box(scene, first.head)
        missing = sum(unit.missing for unit in units)
        if not self._is_group(c) and len(units) == 1:
            return replace(one, id=f"g{c}")
        parameters = [scene.nodes[i] for i in self.inside.get(c, ())]
        title, count = self._title(first, units)
        notes = [_formula(first)] if self._is_group(c) else []
        if parameters:
            names = _labels(parameters)
            amount = f"{len(parameters):,} parameter{'s' * (len(parameters) != 1)}"
            notes.append(f"{amount}: {names}" if names else amount)
        data, grad = _numbers(heads)
        return Box(
            id=f"g{c}",
            kind="group" if self._is_group(c) else "operation",
            label=_labels(heads) if len({str(head.label) for head in heads}) == 1 else "",
            symbol=title,
            data=data,
            grad=grad,
            notes=(*notes, *missing_note(missing)),
            count=count,
            size=sum(unit.size for unit in units) + len(parameters),
            focus=one.focus,
            value=one.value if len(units) == 1 else None,
        )

    def _title(self, first: Unit, units: list[Unit]) -> tuple[str, int]:
        """What a box is called, and how many times it was rolled up."""
        if first.neuron and len(first.parts) == 1:
            neurons = len({self.neurons[unit.head] for unit in units})
            if neurons > 1 and len(units) % neurons == 0:
                return f"layer of {neurons:,} neurons", len(units) // neurons
            return "neuron", len(units)
        if len(first.parts) > 1:
            return f"run of {first.size:,} operations", len(units)
        return ("weighted sum" if first.weighted else first.parts[0][0]), len(units)


def _formula(unit: Unit) -> str:
    """What a unit computes, from the inside out."""
    formulas = [formula for formula, _ in unit.parts]
    if len(formulas) <= 3:
        return " → ".join(formulas)
    counts = Counter(formulas).most_common()
    return ", ".join(f"{formula} × {n:,}" for formula, n in counts[:3]) + (", …" if len(counts) > 3 else "")


def _labels(values: Sequence[Value]) -> str:
    labels = list(dict.fromkeys(str(value.label) for value in values if value.label))
    return ", ".join(labels[:SHOWN]) + (", …" if len(labels) > SHOWN else "")


def _numbers(values: Sequence[Value]) -> tuple[Numbers, Numbers | None]:
    """Data and gradient of one value, the lowest and the highest of several."""
    data = _span([value.data for value in values])
    return data, _span([value.grad for value in values]) if all(value.has_grad for value in values) else None


def _span(numbers: list[float]) -> Numbers:
    return numbers[0] if len(numbers) == 1 else (min(numbers), max(numbers))


# ------------------------------------------------------------------------------------------------------ choosing a level


def build(
    roots: Sequence[Value],
    level: str = "auto",
    max_nodes: int | None = None,
    depth: int | None = None,
    focus: Value | None = None,
    expand: bool | None = None,
    nearest: int | None = None,
) -> Graph:
    """The picture of some results at the level asked for, or at the finest level that fits; at most ``max_nodes`` boxes.

    ``nearest`` is the number of values that a picture nobody asked for looks at, at most.
    """
    by_default = max_nodes is None or nearest is not None
    scene = Scene(roots, depth, focus, nearest)
    limit = max_nodes or (AUTO_NODES if level == "auto" else EXPLICIT_NODES)
    if nearest is not None and scene.captions:
        limit = min(limit, PIECE_NODES)
    if level != "value" and not (level == "auto" and _fits_whole(scene, limit, bool(expand))):
        return _collapsed_to_fit(scene, level, limit, min(limit, AUTO_NEURONS) if by_default else limit)
    graph = value_graph(scene, expand=_fits_whole(scene, limit, True) if expand is None else expand)
    if level == "auto" and by_default and depth is None and focus is None and _columns(graph) > AUTO_COLUMNS:
        shorter = _collapsed_to_fit(scene, level, limit, limit)
        return shorter if 2 * _columns(shorter) <= _columns(graph) else graph
    return cut(graph, limit)


def _columns(graph: Graph) -> int:
    """The boxes on the longest way through the picture."""
    column: dict[str, int] = {}
    for edge in graph.edges:  # those into a box come before those out of it
        column[edge.target] = max(column.get(edge.target, 1), column.get(edge.source, 1) + 1)
    return max(column.values(), default=1)


def _fits_whole(scene: Scene, limit: int, expand: bool) -> bool:
    """Whether there is room for a box for each value."""
    boxes = expanded_size(scene) if expand else len(scene.nodes)
    return boxes <= limit and sum(map(len, scene.parents)) <= EDGES_PER_BOX * limit


def _collapsed_to_fit(scene: Scene, level: str, limit: int, neuron_limit: int) -> Graph:
    """Neurons, then layers, then the same with runs as boxes even where parameters enter them."""
    for whole_chains in (False, True):
        found = Units(scene, whole_chains)
        neurons = Classes(found, by_identity=True)
        for attempt in ("neuron", "layer") if level == "auto" else (level,):
            classes = neurons if attempt == "neuron" else Classes(found, by_identity=False)
            writer = _Writer(found, classes, neurons)
            if writer.size() <= (neuron_limit if level == "auto" and attempt == "neuron" else limit):
                graph = writer.graph()
                if len(graph.edges) <= EDGES_PER_BOX * limit:
                    return _explained(graph, scene, attempt)
    return _explained(cut(writer.graph(), limit), scene, attempt)


def _explained(graph: Graph, scene: Scene, level: str) -> Graph:
    """The graph with a caption that says what was collapsed."""
    what = "a weighted sum with its activation" if level == "neuron" else "a layer of equal neurons"
    rolled = ", equal ones are rolled up as × N" if any(box.count > 1 for box in graph.boxes) else ""
    counts = f"{sum(box.size for box in graph.boxes):,} values in {len(graph.boxes):,} boxes (level {level})"
    line = f"{counts}: {what} and a run of operations are one box each{rolled}."
    return replace(graph, captions=(*scene.captions, line, *graph.captions))
