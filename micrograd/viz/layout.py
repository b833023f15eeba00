"""Where to draw: a layered layout from left to right, in the four steps of Sugiyama, Tagawa and Toda (1981).

1. Each box gets a column: one more than the last of its operands, and then as close to its users as pays.
2. An edge over several columns passes each column between through a lane of its own, a box without content, so that
   no edge runs under a box.  Links of one bundle (same source, same look) share their lanes.
3. Columns are sorted by the mean and the median of their neighbours, there and back.  Then each node tries the places of
   its column ("sifting"), and shuffling a few neighbours before sifting again finds a way out where no single move gains.
4. Heights: a box wants to stand where its edges run level.  The best heights that keep the order and the gaps are an
   isotonic regression, solved by pooling neighbours.

Everything is a list in a fixed order, so that the same graph gets the same picture, byte for byte.
"""

from __future__ import annotations

import math
import random
from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from statistics import median

BOX_GAP, LANE_GAP = 18.0, 11.0  # between two boxes of a column, and beside a lane
PORT_PITCH = 22.0  # between two edges that enter a box, where there is room
LANE_WEIGHT = 4  # a long edge had better be straight than a short one
SWEEPS = 13  # one more than a multiple of four, to count what the last one gave
REACH = 40  # places up and down that a node tries
SHUFFLES = 200  # of a few neighbours, in search of an order with fewer crossings
WORK = 200_000  # pairs of neighbours compared in that search, so that a large graph takes no longer than its size asks for


@dataclass(frozen=True)
class Item:
    """A box to place: its size, and whether its operands must keep their order from top to bottom."""

    width: float
    height: float
    ordered: bool = False


@dataclass(frozen=True)
class Link:
    """An edge between two items, given by their positions; ``source < target``.

    Links of one source and one bundle may share lanes.  ``label`` is the width of the text before the target.
    """

    source: int
    target: int
    bundle: Hashable = None
    label: float = 0.0


@dataclass(frozen=True)
class Layout:
    """Left, top, width and height of each item, and the points of each link.

    From the first point a link swings to the second, runs level to the third, swings to the fourth, and so on; the last
    level stretch, before the target, has room for the label.
    """

    boxes: list[tuple[float, float, float, float]]
    routes: list[list[tuple[float, float]]]
    width: float
    height: float
    crossings: int


def arrange(items: Sequence[Item], links: Sequence[Link]) -> Layout:
    """Places for items and routes for links.

    >>> layout = arrange([Item(10, 4), Item(10, 4)], [Link(0, 1)])
    >>> [x for x, y, width, height in layout.boxes]
    [0.0, 46.0]
    """
    net = _Net(items, links)
    net.sort_columns()
    net.choose_heights()
    return net.finished()


def _columns(count: int, links: Sequence[Link]) -> list[int]:
    """Step 1.  A box moves towards its users when that shortens more edges than it lengthens."""
    operands: list[list[int]] = [[] for _ in range(count)]
    users: list[list[int]] = [[] for _ in range(count)]
    for link in links:
        operands[link.target].append(link.source)
        users[link.source].append(link.target)
    column = [0] * count
    for i in range(count):
        column[i] = max((column[p] + 1 for p in operands[i]), default=0)
    for i in reversed(range(count)):
        staying = sum(len(users[p]) > 1 or bool(operands[p]) for p in operands[i])
        if users[i] and staying < len(users[i]):
            column[i] = min(column[u] for u in users[i]) - 1
    return column


class _Net:
    """Items and lanes, joined by segments that run from one column to the next."""

    def __init__(self, items: Sequence[Item], links: Sequence[Link]) -> None:
        self.items, self.links = items, links
        self.column = _columns(len(items), links)
        self.height = [item.height for item in items]
        self.users: list[list[int]] = [[] for _ in items]  # segments out of a node
        self.operands: list[list[int]] = [[] for _ in items]  # segments into a node
        self.source: list[int] = []  # of each segment
        self.target: list[int] = []
        self.paths: list[list[int]] = []  # the segments of each link
        lanes: dict[tuple[int, Hashable, int], int] = {}
        for link in links:
            self.paths.append(self._path(link, lanes))
        self.columns: list[list[int]] = [[] for _ in range(max(self.column, default=-1) + 1)]
        for node in self._depth_first():
            self.columns[self.column[node]].append(node)
        self.place = [0] * len(self.height)
        self.port = [0.0] * len(self.source)  # where a segment enters its target: a height above or below the middle
        self.rank = [0.0] * len(self.source)  # the same as a fraction of a place, for counting crossings
        for node in range(len(items)):
            self._spread_ports(node)

    def is_lane(self, node: int) -> bool:
        return node >= len(self.items)

    def _path(self, link: Link, lanes: dict[tuple[int, Hashable, int], int]) -> list[int]:
        """Step 2: the segments of a link, through lanes that are made where they are missing."""
        path, at = [], link.source
        for column in range(self.column[link.source] + 1, self.column[link.target]):
            key = (link.source, link.bundle, column)
            if key not in lanes:
                lanes[key] = len(self.height)
                self.height.append(0.0)
                self.column.append(column)
                self.users.append([])
                self.operands.append([])
                self._segment(at, lanes[key])
            at = lanes[key]
            path.append(self.operands[at][0])
        return [*path, self._segment(at, link.target)]

    def _segment(self, source: int, target: int) -> int:
        segment = len(self.source)
        self.source.append(source)
        self.target.append(target)
        self.users[source].append(segment)
        self.operands[target].append(segment)
        return segment

    def _depth_first(self) -> list[int]:
        """All nodes, operands first, from the last result: the order in which a tree has no crossings."""
        order, seen = [], [False] * len(self.height)
        stack = [(node, False) for node in reversed(range(len(self.items))) if not self.users[node]]
        while stack:
            node, done = stack.pop()
            if done:
                order.append(node)
            elif not seen[node]:
                seen[node] = True
                stack.append((node, True))
                stack.extend((self.source[s], False) for s in reversed(self.operands[node]))
        return order

    def _spread_ports(self, node: int) -> None:
        segments = self.operands[node]
        pitch = min(PORT_PITCH, (self.height[node] - 10.0) / max(len(segments), 1))
        for k, segment in enumerate(segments):
            self.port[segment] = (k - (len(segments) - 1) / 2) * pitch
            if self.items[node].ordered:
                self.rank[segment] = (k + 1) / (len(segments) + 2) - 0.5

    # ---------------------------------------------------------------------------------------- step 3: order in columns

    def sort_columns(self) -> None:
        """Keep the order with the fewest crossings that sweeping to and fro finds, and improve it."""
        self._number_places()
        best, fewest = self.columns, math.inf
        for sweep in range(SWEEPS):
            found = self.crossings()
            if found < fewest:
                best, fewest = [list(column) for column in self.columns], found
            if not fewest:
                break
            self._sweep(forwards=sweep % 2 == 0, middle=_mean if sweep % 4 < 2 else median)
        self.columns = best
        self._number_places()
        if fewest:
            self._improve()
        self._sort_ports()

    def _improve(self) -> None:
        """Sift all columns, then again and again shuffle a few neighbours, sift around them and keep what is no worse."""
        self.work = WORK
        self._sift(set(range(len(self.columns))))
        best, fewest = self.columns, self.crossings()
        rng = random.Random(0)  # the same in every run
        for _ in range(SHUFFLES):
            if not fewest or self.work <= 0:
                break
            self.columns = [list(column) for column in best]
            first = rng.randrange(len(best))
            some = range(first, min(first + rng.randint(1, 3), len(best)))
            for c in some:
                _shuffle_a_few(self.columns[c], rng)
            self._number_places()
            self._sift({first - 1, *some, some[-1] + 1})
            found = self.crossings()
            if found <= fewest:  # an equal one too: the way on from there is another
                best, fewest = self.columns, found
        self.columns = best
        self._number_places()

    def _number_places(self) -> None:
        for column in self.columns:
            for k, node in enumerate(column):
                self.place[node] = k

    def _ends(self, node: int, forwards: bool) -> list[float]:
        """Where the segments of a node meet the column before it (or after it)."""
        if forwards:
            return [float(self.place[self.source[s]]) for s in self.operands[node]]
        return [self.place[self.target[s]] + self.rank[s] for s in self.users[node]]

    def _sweep(self, forwards: bool, middle: Callable[[list[float]], float]) -> None:
        for column in self.columns if forwards else reversed(self.columns):
            ends = {node: self._ends(node, forwards) for node in column}
            wish = {node: middle(places) for node, places in ends.items() if places}
            moved = iter(sorted(wish, key=wish.__getitem__))
            column[:] = [next(moved) if node in wish else node for node in column]
            for k, node in enumerate(column):
                self.place[node] = k

    def _sift(self, waiting: set[int]) -> None:
        """Move nodes to the place in their column where their segments cross the fewest others, until none gains.

        ``waiting`` are the columns to begin with; where a node moves, the columns on both sides are looked at again.
        """
        while waiting and self.work > 0:
            c = min(waiting)
            waiting.remove(c)
            column = self.columns[c] if 0 <= c < len(self.columns) else []
            ends = {n: (sorted(self._ends(n, True)), sorted(self._ends(n, False))) for n in column}
            if sum(self._move(node, column, ends) for node in list(column)):
                waiting |= {c - 1, c, c + 1}

    def _move(self, node: int, column: list[int], ends: dict[int, tuple[list[float], list[float]]]) -> bool:
        """Move one node to its best place within reach; whether it gained."""
        here, best, fewest = self.place[node], 0, 0
        for step in (-1, 1):
            change, k = 0, here + step
            while 0 <= k < len(column) and abs(k - here) <= REACH:
                above, below = (node, column[k]) if step > 0 else (column[k], node)
                for x, y in zip(ends[above], ends[below], strict=True):
                    change += _more_when_swapped(x, y)
                if change < fewest:
                    best, fewest = k, change
                k += step
                self.work -= 1
        if fewest:
            column.remove(node)
            column.insert(best, node)
            for k in range(min(here, best), max(here, best) + 1):
                self.place[column[k]] = k
        return fewest < 0

    def crossings(self) -> int:
        """The number of pairs of segments that cross."""
        total = 0
        for column in self.columns:
            seen: list[float] = []
            for node in column:
                ends = self._ends(node, forwards=False)
                total += sum(len(seen) - bisect_right(seen, end) for end in ends)
                for end in ends:
                    insort(seen, end)
        return total

    def _sort_ports(self) -> None:
        """Operands that may change places enter from top to bottom as they come."""
        for node, item in enumerate(self.items):
            if not item.ordered:
                self.operands[node].sort(key=lambda s: self.place[self.source[s]])
                self._spread_ports(node)

    # ------------------------------------------------------------------------------------------------- step 4: heights

    def choose_heights(self) -> None:
        """Sweep to and fro, and keep the heights at which the edges together rise and fall least."""
        self.y = [0.0] * len(self.height)
        for column in self.columns:
            self._settle(column, {node: [0.0] for node in column})
        best, least = list(self.y), self._slopes()
        for sweep in range(SWEEPS):
            sides = ((True,), (False,), (True, False))[min(sweep % 2 + 2 * (sweep >= SWEEPS - 4), 2)]
            for column in self.columns if sides[0] else reversed(self.columns):
                self._settle(column, {node: self._wishes(node, sides) for node in column})
            slopes = self._slopes()
            if slopes < least - 1e-9:
                best, least = list(self.y), slopes
        self.y = best

    def _wishes(self, node: int, sides: tuple[bool, ...]) -> list[float]:
        """The heights at which the node's segments, those in or those out or both, would run level."""
        wishes = []
        for forwards in sides:
            for s in self.operands[node] if forwards else self.users[node]:
                a, b = self.source[s], self.target[s]
                level = self.y[a] - self.port[s] if forwards else self.y[b] + self.port[s]
                wishes += [level] * (LANE_WEIGHT if self.is_lane(a) and self.is_lane(b) else 1)
        return wishes or [self.y[node]]

    def _settle(self, column: list[int], wishes: dict[int, list[float]]) -> None:
        """The heights nearest to the wishes, in the sum of distances, that keep the order and the gaps."""
        shifts, shift = [], 0.0
        for k, node in enumerate(column):
            shift += self._gap(column[k - 1], node) if k else 0.0
            shifts.append(shift)
        pools: list[tuple[list[float], int, float]] = []  # wishes, number of nodes, their common height
        for node, shift in zip(column, shifts, strict=True):
            wanted, count = sorted(w - shift for w in wishes[node]), 1
            while pools and pools[-1][2] > median(wanted):
                before, more, _ = pools.pop()
                wanted, count = sorted(before + wanted), count + more
            pools.append((wanted, count, median(wanted)))
        heights = [height for _, count, height in pools for _ in range(count)]
        for node, shift, height in zip(column, shifts, heights, strict=True):
            self.y[node] = height + shift

    def _gap(self, above: int, below: int) -> float:
        gap = LANE_GAP if self.is_lane(above) or self.is_lane(below) else BOX_GAP
        return (self.height[above] + self.height[below]) / 2 + gap

    def _slopes(self) -> float:
        ends = zip(self.source, self.target, self.port, strict=True)
        return sum(abs(self.y[a] - self.y[b] - port) for a, b, port in ends)

    # ------------------------------------------------------------------------------------------------------ coordinates

    def finished(self) -> Layout:
        """Round heights, place the columns side by side and read off the routes."""
        top = min((y - h / 2 for y, h in zip(self.y, self.height, strict=True)), default=0.0)
        y = [round(y - top, 1) for y in self.y]
        lefts, widths, swings = self._sides(y)
        boxes = []
        for node, item in enumerate(self.items):
            c = self.column[node]
            boxes.append((lefts[c], round(y[node] - item.height / 2, 1), widths[c], item.height))
        routes = []
        for link, path in zip(self.links, self.paths, strict=True):
            c = self.column[link.source]
            route = [(lefts[c] + widths[c], y[link.source])]
            for segment in path:
                c += 1
                node = self.target[segment]
                height = round(y[node] + self.port[segment], 1)
                end = lefts[c] + widths[c] if self.is_lane(node) else lefts[c]
                route += [(swings[c], height), (end, height)]
            routes.append(route)
        bottom = max((y + h / 2 for y, h in zip(y, self.height, strict=True)), default=0.0)
        right = lefts[-1] + widths[-1] if lefts else 0.0
        return Layout(boxes, routes, right, bottom, self.crossings())

    def _sides(self, y: list[float]) -> tuple[list[float], list[float], list[float]]:
        """Of each column: its left side, its width, and where the swings before it end and the labels begin."""
        widths = [max((self.items[n].width for n in column if not self.is_lane(n)), default=0.0) for column in self.columns]
        labels, rises = [0.0] * len(widths), [0.0] * len(widths)
        for link in self.links:
            labels[self.column[link.target]] = max(labels[self.column[link.target]], link.label)
        for s, (a, b) in enumerate(zip(self.source, self.target, strict=True)):
            rises[self.column[b]] = max(rises[self.column[b]], abs(y[a] - y[b] - self.port[s]))
        lefts, swings, x = [], [], 0.0
        for c, width in enumerate(widths):
            x += min(36.0 + 0.12 * rises[c], 120.0) // 1 if c else 0.0
            swings.append(x)
            x += labels[c]
            lefts.append(x)
            x += width
        return lefts, widths, swings


def _shuffle_a_few(column: list[int], rng: random.Random) -> None:
    start = rng.randrange(len(column))
    few = column[start : start + 5]
    rng.shuffle(few)
    column[start : start + 5] = few


def _mean(ends: Sequence[float]) -> float:
    return sum(ends) / len(ends)


def _more_when_swapped(above: list[float], below: list[float]) -> int:
    """How many more segments cross when two neighbours, whose segments end at these places, change places."""
    if not above or not below:
        return 0
    if above[-1] < below[0]:
        return len(above) * len(below)
    if below[-1] < above[0]:
        return -len(above) * len(below)
    return sum(len(below) - bisect_right(below, end) - bisect_left(below, end) for end in above)
